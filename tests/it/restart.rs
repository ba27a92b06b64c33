//! A killed recorder: every tape is saved and reported exactly once.

use ork_tests::programs::{Running, program, wait_until};
use ork_tests::skip;
use orktrack::config::Config;
use rusqlite::Connection;
use std::{
    fs,
    net::UdpSocket,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

const CALLS: u16 = 100;
const SIP: u16 = 35_060;
const RTP: u16 = 36_000;

/// Simulated phones on the loopback interface: `CALLS` calls of two-way G.711 until told to stop.
struct Phones {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Phones {
    fn call() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let (flag, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::Builder::new()
            .name("phones".to_owned())
            .spawn(move || talk(&flag, &count));
        Self { stop, sent, thread: Some(thread.unwrap()) }
    }

    fn seconds(&self) -> f64 {
        self.sent.load(Ordering::Relaxed) as f64 * 0.02
    }

    fn hang_up(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn sdp(address: &str, port: u16) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
    )
}

fn sip(first: &str, call: u16, to_tag: &str, cseq: &str, body: &str) -> String {
    format!(
        "{first}\r\nVia: SIP/2.0/UDP 127.0.0.1:{SIP};branch=z9hG4bK{call}{}\r\nFrom: <sip:{}@127.0.0.1>;tag=f{call}\r\n\
         To: <sip:{}@127.0.0.2>{to_tag}\r\nCall-ID: kill-{call}\r\nCSeq: {cseq}\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{body}",
        cseq.len(),
        1000 + call,
        2000 + call,
        body.len()
    )
}

fn talk(stop: &AtomicBool, sent: &AtomicU64) {
    let bind = |address: &str, port: u16| UdpSocket::bind((address, port)).unwrap();
    let (a, b) = (bind("127.0.0.1", SIP), bind("127.0.0.2", SIP));
    let media: Vec<(UdpSocket, UdpSocket)> = (0..CALLS)
        .map(|n| (bind("127.0.0.1", RTP + 2 * n), bind("127.0.0.2", RTP + 2 * n)))
        .collect();
    for n in 0..CALLS {
        let port = RTP + 2 * n;
        let invite = format!("INVITE sip:{}@127.0.0.2 SIP/2.0", 2000 + n);
        a.send_to(
            sip(&invite, n, "", "1 INVITE", &sdp("127.0.0.1", port)).as_bytes(),
            ("127.0.0.2", SIP),
        )
        .unwrap();
        b.send_to(
            sip("SIP/2.0 200 OK", n, ";tag=t", "1 INVITE", &sdp("127.0.0.2", port)).as_bytes(),
            ("127.0.0.1", SIP),
        )
        .unwrap();
    }
    let begin = Instant::now();
    let mut packet = [0x55u8; 172];
    for index in 0u32.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        for (n, (from, to)) in (0..CALLS).zip(&media) {
            packet[..12].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            packet[2..4].copy_from_slice(&u16::try_from(index % 65_536).unwrap().to_be_bytes());
            packet[4..8].copy_from_slice(&(index * 160).to_be_bytes());
            packet[10..12].copy_from_slice(&n.to_be_bytes());
            let port = RTP + 2 * n;
            from.send_to(&packet, ("127.0.0.2", port)).unwrap();
            packet[8] = 1;
            to.send_to(&packet, ("127.0.0.1", port)).unwrap();
        }
        sent.store(u64::from(index) + 1, Ordering::Relaxed);
        let next = begin + Duration::from_millis(20) * (index + 1);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    for n in 0..CALLS {
        let bye = format!("BYE sip:{}@127.0.0.2 SIP/2.0", 2000 + n);
        a.send_to(sip(&bye, n, ";tag=t", "2 BYE", "").as_bytes(), ("127.0.0.2", SIP)).unwrap();
    }
}

fn recorder(home: &Path, tracker: &str, log: &str) -> Running {
    let set = |key: &str, value: &str| ["--set".to_owned(), format!("{key}={value}")];
    let mut command = Command::new(program("orkaudio"));
    command.args(["run", "--interface", "lo"]);
    command.args(set("tapes.folder", &home.join("tapes").display().to_string()));
    command.args(set("tracker.state_folder", &home.join("state").display().to_string()));
    command.args(set("tracker.urls", tracker));
    command.args(set("tapes.packets", "always")).args(set("tapes.sidecar", "true"));
    command.args(set("capture.filter", &format!("udp and portrange {SIP}-{}", RTP + 2 * CALLS)));
    command
        .args(set("doors.command", ""))
        .args(set("doors.events", ""))
        .args(set("doors.live", ""));
    Running::start(&mut command, &home.join(log))
}

fn count(database: &Connection, sql: &str) -> i64 {
    database.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn parts(folder: &Path) -> usize {
    orkaudio::tape::recover::parts(folder).map_or(0, |parts| parts.len())
}

#[test]
fn killed_in_the_middle_of_a_hundred_calls() {
    if !nix::unistd::Uid::effective().is_root() {
        skip::note("kill -9 of a live recorder", "capturing needs root");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let database = home.path().join("track.db");
    let config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        database: database.clone(),
        ..Config::default()
    };
    let tracker = orktrack::start(&config).unwrap();
    let url = format!("http://{}/orktrack", tracker.address());
    let tapes = home.path().join("tapes");

    let mut first = recorder(home.path(), &url, "first.log");
    wait_until("the recorder listens", || {
        assert!(first.runs(), "{}", fs::read_to_string(home.path().join("first.log")).unwrap());
        fs::read_to_string(home.path().join("first.log")).unwrap().contains("recording")
    });
    let phones = Phones::call();
    wait_until("all tapes are open", || parts(&tapes) == usize::from(CALLS));
    wait_until("three seconds are talked", || phones.seconds() >= 3.0);
    let talked = phones.seconds();
    drop(first);
    phones.hang_up();
    assert_eq!(parts(&tapes), usize::from(CALLS), "killed before any tape was finished");
    let packets = orkaudio::tape::recover::packet_parts(&tapes).unwrap();
    assert_eq!(packets.len(), usize::from(CALLS));

    let second = recorder(home.path(), &url, "second.log");
    let reader = Connection::open(&database).unwrap();
    let ready = "SELECT count(*) FROM tape_stage WHERE stage = 'ready'";
    wait_until("all tapes are reported", || count(&reader, ready) >= i64::from(CALLS));
    drop(second);
    // A third start finds nothing to save and reports nothing again.
    let third = recorder(home.path(), &url, "third.log");
    wait_until("the third recorder listens", || {
        fs::read_to_string(home.path().join("third.log")).unwrap().contains("recording")
    });
    drop(third);
    assert_eq!(count(&reader, ready), i64::from(CALLS));
    assert_eq!(parts(&tapes), 0);
    let mut names = reader.prepare("SELECT filename FROM tape").unwrap();
    let names: Vec<String> =
        names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(names.len(), usize::from(CALLS));
    let mut least = f64::MAX;
    assert!(orkaudio::tape::recover::packet_parts(&tapes).unwrap().is_empty());
    for name in names {
        let beside = orkaudio::tape::packets::beside(&tapes.join(&name));
        let packets = fs::read(beside).unwrap();
        let (whole, count) = orkbase::packet::pcapng::whole(&packets);
        // Two ways, fifty a second; the last second may be missing.
        assert!(whole == packets.len() && count > 150, "{name}: {count} packets");
        let told = fs::read(tapes.join(&name).with_extension("json")).unwrap();
        let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
        assert_eq!(told["file"], name);
        assert_eq!(told["raw_file"], name.replace(".wav", ".pcapng"));
        let wav = hound::WavReader::open(tapes.join(name)).unwrap();
        least = least.min(f64::from(wav.duration()) / 8000.0);
        let mut samples = wav.into_samples::<i16>();
        let silent = samples.by_ref().map(Result::unwrap).filter(|s| *s == 0).count();
        assert_eq!(silent % 2, silent % 2);
    }
    assert!(least >= talked - 1.0, "a tape ends {:.2} s before the kill", talked - least);
}
