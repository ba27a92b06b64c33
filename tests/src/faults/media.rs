//! RTP, session descriptions and documents that were never meant well (R65, R66).

use super::{
    Bench, Found,
    core::Core,
    maker::Maker,
    subject::{Subject, memory, until},
};
use crate::{
    generator::chance::Chance,
    programs::Running,
    tcp::{Connection, From},
    wire::Frame,
};
use orkbase::call::settings::Settings;
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    process::Command,
    time::Duration,
};

/// Malformed packets to and from the ports of a live call.
pub(super) fn rtp(bench: &Bench) -> Result<Found, String> {
    let count = bench.times(20_000, 500_000);
    let mut chance = Chance::new(65, 0);
    let mut core = Core::new(Settings { unannounced_after: 5, ..Settings::default() });
    let me = std::process::id();
    let before = memory(me, "VmRSS");
    for n in 0..count {
        core.pass(1);
        let mut payload: Vec<u8> =
            (0..chance.below(400)).map(|_| chance.word().to_le_bytes()[0]).collect();
        let mut put = |bytes: &[u8]| {
            for (place, byte) in payload.iter_mut().zip(bytes) {
                *place = *byte;
            }
        };
        match n % 12 {
            // Padding longer than the packet, fifteen sources, an extension beyond the end.
            0 => put(&[0xa0, 0]),
            1 => put(&[0x8f, 0]),
            2 => put(&[0x90, 0, 0, 1, 0, 0, 0, 1, 9, 9, 9, 9, 0xbe, 0xde, 0xff, 0xff]),
            // Versions 0, 1 and 3; payload types that are RTCP's.
            3 => put(&[0, 0]),
            4 => put(&[0x40, 0]),
            5 => put(&[0xc0, 0]),
            6 => put(&[0x80, 72 + u8::try_from(n % 5).unwrap_or(0)]),
            7 => payload.truncate(1),
            8 => payload = vec![0x80; 8_900],
            // STUN, DTLS, RTCP whose lengths lie.
            9 => put(&[0, 1, 0xff, 0xff, 0x21, 0x12, 0xa4, 0x42]),
            10 => put(&[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
            _ => put(&[0x9f, 200, 0xff, 0xff]),
        }
        // Between the call's own ports from elsewhere, into them, and somewhere else.
        let [a, b] = core.call().media;
        let other: SocketAddr =
            ([172, 20, 0, 9], 4_000 + 2 * u16::try_from(n % 999).unwrap_or(0)).into();
        let (from, to) = match chance.below(3) {
            0 => (other, a),
            1 => (b, other),
            _ => (other, SocketAddr::from(([172, 20, 0, 8], 6_000))),
        };
        core.hostile(Frame::udp(&[], from, to, &payload).bytes())?;
    }
    let grown = memory(me, "VmRSS").saturating_sub(before);
    let (wrong, counters) = core.finish();
    let kept = wrong.is_none() && grown < (64 << 10);
    let figure = format!(
        "{count} packets: {} taken for streams of strangers, {} refused, {} of no kind; memory +{} MiB; the call \
         {}",
        counters.calls.candidate_packets,
        counters.calls.rtp_refused,
        counters.calls.other_datagrams,
        grown / 1_024,
        wrong.unwrap_or_else(|| "is whole".to_owned())
    );
    Ok(Found::when(kept, count, figure))
}

/// Descriptions of everything and nothing, over UDP and TCP.
pub(super) fn sdp(bench: &Bench) -> Result<Found, String> {
    let rounds = bench.times(20, 500);
    let mut core = Core::new(Settings::default());
    let lines = |count: usize, line: &str| line.repeat(count);
    let me = std::process::id();
    let (mut runs, mut warm) = (0, 0);
    for round in 0..rounds {
        let bodies = [
            lines(10_000, "m=audio 4000 RTP/AVP 0\r\n"),
            (0..2_000).map(|n| format!("m=audio {} RTP/AVP 0\r\n", 4_000 + 2 * n)).collect(),
            (0..900)
                .map(|n| {
                    format!("a=candidate:1 1 UDP 1 10.8.{}.{} 9000 typ host\r\n", n / 200, n % 200)
                })
                .collect(),
            lines(10_000, "a=candidate:1 1 UDP 1 10.0.0.1 9 typ host\r\n"),
            lines(3_000, "a=rtpmap:96 x/8000\r\n"),
            format!("m=audio 4000 RTP/AVP{}\r\n", lines(20_000, " 0")),
            "m=audio 0 RTP/AVP 0\r\n".to_owned(),
            "m=audio 65536 RTP/AVP 0\r\n".to_owned(),
            "m=audio 99999999999999999999/99999999999 RTP/AVP 0\r\n".to_owned(),
            "c=IN IP4 239.1.1.1/127/99999999\r\nm=audio 4000 RTP/AVP 0\r\n".to_owned(),
            "c=IN IP6 fe80::1%25eth0\r\nm=audio 4000 RTP/AVP 0\r\n".to_owned(),
            "c=IN IP6 ::ffff:10.0.0.1\r\nm=audio 4000 RTP/AVP 0\r\n".to_owned(),
            "c=IN IP4 255.255.255.255\r\nm=audio 4000 RTP/AVP 0\r\n".to_owned(),
            format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{}\r\n", lines(60_000, "A")),
            format!("a=fmtp:0 {}\r\n", lines(60_000, "x=y;")),
            "a=rtpmap:0 PCMU/0/0\r\na=ptime:-1\r\na=rtpmap:300 x/99999999999\r\n".to_owned(),
        ];
        for (n, body) in (0_u32..).zip(&bodies) {
            let maker = Maker::new(1_000 + n + 100 * u32::try_from(round % 50).unwrap_or(0));
            let head = "v=0\r\no=- 1 1 IN IP4 10.9.9.9\r\ns=-\r\nc=IN IP4 10.9.9.9\r\nt=0 0\r\n";
            let sdp = format!("{head}{body}");
            let text = maker.dialog.text(super::maker::request("INVITE", 1, Some(&sdp)));
            core.pass(20);
            runs += 1;
            if text.len() < 60_000 {
                core.hostile(&maker.message(true, &text))?;
            }
            let end = |host: u8, port| SocketAddrV4::new([10, 7, host, 1].into(), port);
            let client = end(1, 30_000 + u16::try_from(runs % 30_000).unwrap_or(0));
            let mut connection = Connection::open(core.now, client, end(2, 5060));
            connection.send(core.now, From::Client, &text, 1_400);
            for (_, frame) in connection.frames {
                core.hostile(&frame)?;
            }
        }
        if round == rounds / 4 {
            warm = memory(me, "VmRSS");
        }
    }
    let grown = memory(me, "VmRSS").saturating_sub(warm);
    let held = core.tap.held();
    let (wrong, counters) = core.finish();
    // 64 of each call, and so many calls.
    let kept = wrong.is_none() && grown < (96 << 10) && held.endpoints <= 64 * held.calls;
    let figure = format!(
        "{runs} descriptions over UDP and TCP: {} addresses known of {} calls, {} refused; memory +{} MiB; the call beside them {}",
        held.endpoints,
        held.calls,
        counters.calls.endpoints_refused,
        grown / 1_024,
        wrong.unwrap_or_else(|| "is whole".to_owned())
    );
    Ok(Found::when(kept, runs, figure))
}

/// Bodies and documents at the doors of both programs.
pub(super) fn bodies(bench: &Bench) -> Result<Found, String> {
    let home = bench.folder("R66");
    let mut recorder = Subject::of_agents(bench, &home, &[])?;
    let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let tracker = free.map_err(|error| error.to_string())?;
    let mut command = Command::new(bench.programs.join("orktrack"));
    for set in [
        format!("listen={tracker}"),
        format!("database={}", home.join("track.db").display()),
        format!("import.root={}", home.display()),
    ] {
        command.args(["--set", &set]);
    }
    let argument: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut command = Command::new(bench.programs.join("orktrack"));
    command.arg("run").args(argument);
    let mut running = Running::start(&mut command, &home.join("track.log"));
    until("the tracker listens", || {
        if !running.runs() {
            return Err(fs::read_to_string(home.join("track.log")).unwrap_or_default());
        }
        Ok(TcpStream::connect(tracker).is_ok())
    })?;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let laughs = "<?xml version=\"1.0\"?><!DOCTYPE l [<!ENTITY a \"ha\">\
                  <!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;\"><!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\">\
                  <!ENTITY x SYSTEM \"file:///etc/passwd\">]><l>&c;&x;</l>";
    let long = format!("type=addtag&tagtext={}", "a".repeat(50 << 20));
    let many = "type=ping&".repeat(500_000);
    let bodies = [deep.as_str(), &objects, laughs, &long, &many];
    let paths: [(SocketAddr, &str, &str); 7] = [
        (recorder.address("command=")?, "/command", "application/x-www-form-urlencoded"),
        (recorder.address("command=")?, "/command", "application/json"),
        (tracker, "/orktrack/command", "application/x-www-form-urlencoded"),
        (tracker, "/orktrack/command", "text/xml"),
        (tracker, "/api/v1/login", "application/json"),
        (tracker, "/api/v1/setup", "application/json"),
        (tracker, "/api/v1/recordings", "application/json"),
    ];
    let before = [recorder.memory("VmRSS"), memory(running.0.id(), "VmRSS")];
    let (mut runs, mut leaked, mut codes) = (0, 0, std::collections::BTreeMap::new());
    for _ in 0..bench.times(1, 20) {
        for (door, path, kind) in paths {
            for body in bodies {
                runs += 1;
                let answer = post(door, path, kind, body.as_bytes());
                leaked += u64::from(answer.contains("root:"));
                let code = answer.split(' ').nth(1).unwrap_or("closed").to_owned();
                *codes.entry(code).or_insert(0_u64) += 1;
            }
        }
    }
    // A table of people that overwhelms: a line of 4 MB, 200,000 columns.
    fs::write(home.join("long.csv"), format!("loginstring\n{}\n", "x".repeat(4 << 20)))
        .map_err(|error| error.to_string())?;
    fs::write(home.join("wide.csv"), ",".repeat(200_000)).map_err(|error| error.to_string())?;
    for file in ["long.csv", "wide.csv", "../../../../etc/passwd"] {
        runs += 1;
        let target = format!("/orktrack/command?cmd=addusers&filename={file}");
        let (_, body) = super::subject::ask(tracker, &target)?;
        leaked += u64::from(body.contains("root:"));
    }
    let alive = recorder.runs() && running.runs();
    let answers = recorder.ask("/command?type=ping").is_ok_and(|(_, body)| body.contains("true"))
        && super::subject::ask(tracker, "/healthz").is_ok();
    let after = [recorder.memory("VmHWM"), memory(running.0.id(), "VmHWM")];
    let grown: Vec<u64> = after
        .iter()
        .zip(before)
        .map(|(after, before)| after.saturating_sub(before) / 1_024)
        .collect();
    let codes: Vec<String> = codes.iter().map(|(code, n)| format!("{code}: {n}")).collect();
    let kept = alive && answers && leaked == 0 && grown.iter().all(|mib| *mib < 160);
    recorder.stop()?;
    let figure = format!(
        "{runs} bodies and files at the doors of both programs (answers {}), memory +{} and +{} MiB, both answer \
         after",
        codes.join(", "),
        grown.first().copied().unwrap_or(0),
        grown.last().copied().unwrap_or(0)
    );
    Ok(Found::when(kept, runs, figure))
}

/// Sends a body; the first line of what comes back, or nothing if the connection was closed.
fn post(door: SocketAddr, path: &str, kind: &str, body: &[u8]) -> String {
    let Ok(mut stream) = TcpStream::connect(door) else { return String::new() };
    drop(stream.set_read_timeout(Some(Duration::from_secs(20))));
    drop(stream.set_write_timeout(Some(Duration::from_secs(20))));
    let head = format!(
        "POST {path} HTTP/1.0\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    // It may be cut off in the middle of this.
    drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)));
    let mut answer = vec![0; 4_096];
    let length = stream.read(&mut answer).unwrap_or(0);
    answer.truncate(length);
    String::from_utf8_lossy(&answer).into_owned()
}
