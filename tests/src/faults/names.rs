//! Names that want to be paths, lines, or commands (R68).

use super::{
    Bench, Found,
    blocks::replay,
    maker::{MS, Maker, START},
    net::Sender,
    subject::{Subject, below, let_in, until, with_extension},
};
use crate::{
    generator::law::{Codec, Law},
    wrap::Capture,
};
use orkbase::message::url;
use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::Duration,
};

/// What somebody may be called; `HERE` is a file that no shell may make.
pub(super) fn evil(here: &Path) -> Vec<Vec<u8>> {
    let shell = |text: &str| text.replace("HERE", &here.display().to_string()).into_bytes();
    vec![
        b"../../../../../../tmp/evil".to_vec(),
        b"..".to_vec(),
        b"/etc/passwd".to_vec(),
        b"%2e%2e%2f%2e%2e%2fevil".to_vec(),
        b"a%00b".to_vec(),
        b"a\0b".to_vec(),
        b"a%0d%0atype=tape&recid=forged".to_vec(),
        b"a%0atype=tape&recid=forged".to_vec(),
        shell("$(touch HERE)"),
        shell("`touch HERE`"),
        shell(";touch HERE;"),
        shell("|touch HERE"),
        b"-rf".to_vec(),
        b"[IN]".to_vec(),
        b"[OUT] [ORKUID]".to_vec(),
        "\u{202e}gnp.exe\u{2066}".as_bytes().to_vec(),
        b"\xff\xfe\x80".to_vec(),
        vec![b'n'; 4_000],
        "\u{1f4de}".repeat(100).into_bytes(),
        b"CON".to_vec(),
        b"a:b*c?d\"e<f>g|h".to_vec(),
        b".hidden".to_vec(),
        b"a/../../b".to_vec(),
        b"\\..\\..\\windows".to_vec(),
    ]
}

/// The same bytes in another place of a message.
fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        let (before, after) = rest.split_at(at);
        out.extend_from_slice(before);
        out.extend_from_slice(to);
        rest = after.get(from.len()..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

/// Calls whose parties and Call-IDs are such names.
pub(super) fn calls(names: &[Vec<u8>], law: &Law) -> Vec<(u64, Vec<u8>)> {
    let mut frames = Vec::new();
    for (n, name) in (0_u32..).zip(names) {
        let at = START + u64::from(n) * 20 * MS;
        let mut maker = Maker::new(100 + n);
        maker.dialog.caller.number = "CALLER".to_owned();
        maker.dialog.callee.number = "CALLEE".to_owned();
        let id = maker.dialog.call_id.clone();
        for (at, frame) in maker.whole(law, at, 25) {
            let payload = frame.get(42..).unwrap_or_default();
            if payload.first() == Some(&0x80) {
                frames.push((at, frame));
                continue;
            }
            // Each of them in its turn also as a Call-ID.
            let mut text = replaced(payload, b"CALLER", name);
            text = replaced(&text, b"CALLEE", name);
            if n % 2 == 0 {
                let named = [id.as_bytes(), b"-", name].concat();
                text = replaced(&text, id.as_bytes(), &named);
            }
            let from_caller = frame.get(26..30) == Some(&maker_ip(&maker)[..]);
            frames.push((at, maker.message(from_caller, &text)));
        }
    }
    frames.sort_by_key(|(at, _)| *at);
    frames
}

fn maker_ip(maker: &Maker) -> [u8; 4] {
    match maker.dialog.caller.sip.ip() {
        std::net::IpAddr::V4(four) => four.octets(),
        std::net::IpAddr::V6(_) => [0; 4],
    }
}

/// Through signalling into paths, through processors, through events, through commands.
pub(super) fn hostile(bench: &Bench) -> Result<Found, String> {
    let home = bench.folder("R68");
    // Programs run as nobody.
    let_in(bench, &home)?;
    let here = home.join("pwned");
    let (names, law) = (evil(&here), Law::new(Codec::Pcmu));
    let frames = calls(&names, &law);
    let path = home.join("names.pcap");
    Capture::ethernet(&frames).write(&path).map_err(|error| error.to_string())?;
    let mut wrong = Vec::new();
    let outside = || -> Result<BTreeSet<_>, String> {
        let all = below(&bench.scratch).into_iter().chain(below(Path::new("/tmp/evil")));
        Ok(all
            .filter(|path| {
                !path.starts_with(home.join("out")) && !path.starts_with(home.join("live"))
            })
            .collect())
    };
    let before = outside()?;
    // As paths, and as arguments of a program.
    let sets = [
        "--set",
        "tapes.naming=[localparty]/[remoteparty]/[nativecallid]-[localentrypoint]-[orkuid]",
        "--set",
        "output.rename=[remoteparty]/[localparty]-[nativecallid]-[orkuid]",
        "--set",
        "output.command=/bin/cp,--,[IN],[OUT]",
    ];
    let done = replay(bench, &path, home.join("out"), &sets)?;
    if done.tapes.len() != names.len() {
        wrong.push(format!("{} tapes of {} calls", done.tapes.len(), names.len()));
    }
    let [processed, failed] = ["process.done", "process.failed"].map(|name| done.number(name));
    if processed != names.len() as u64 || failed > 0 {
        wrong.push(format!("{processed} tapes processed, {failed} failed"));
    }
    let root = done.folder.canonicalize().map_err(|error| error.to_string())?;
    for tape in &done.tapes {
        let real = done.folder.join(&tape.file).canonicalize();
        if !real.as_ref().is_ok_and(|real| real.starts_with(&root)) {
            wrong.push(format!("{} is {real:?}", tape.file.display()));
        }
    }
    // As lines and commands of a running recorder.
    // A message must fit into a frame of the cable.
    let cut = |name: &Vec<u8>| name.iter().copied().take(700).collect::<Vec<u8>>();
    let short = calls(&names.iter().map(cut).collect::<Vec<_>>(), &law);
    let live = bench.folder("R68/live");
    let root = format!("doors.import_folders={}", live.join("in").display());
    fs::create_dir(live.join("in")).map_err(|error| error.to_string())?;
    std::os::unix::fs::symlink("/etc", live.join("in/etc")).map_err(|error| error.to_string())?;
    let mut subject = Subject::on_cable(bench, &live, &[&root])?;
    let mut events = TcpStream::connect(subject.address("events=")?).map_err(|e| e.to_string())?;
    events.write_all(b"GET /?type=streamevents HTTP/1.0\r\n\r\n").map_err(|e| e.to_string())?;
    events.set_read_timeout(Some(Duration::from_millis(500))).map_err(|e| e.to_string())?;
    until("it is served", || {
        Ok(subject.status()?.pointer("/http/events_sessions").and_then(|n| n.as_u64()) == Some(1))
    })?;
    let mut commands = 0;
    std::thread::scope(|scope| -> Result<(), String> {
        let playing = scope.spawn(|| Sender::open()?.play(&short, || true));
        for name in &names {
            let mut escaped = String::new();
            for byte in name.iter().take(1_000) {
                escaped.push_str(&format!("%{byte:02x}"));
            }
            for target in [
                format!("/command?type=addtag&tagtype={escaped}&tagtext={escaped}&party={escaped}"),
                format!("/command?type=pause&nativecallid={escaped}"),
                format!("/command?type=record&orkuid={escaped}&side={escaped}"),
                format!(
                    "/command?type=importtape&mediatype=A&url={escaped}&timestamp=1&duration=0"
                ),
                format!("/command?type={escaped}"),
            ] {
                // An answer of any kind; a request that is none is cut off.
                drop(subject.ask(&target));
                commands += 1;
            }
        }
        playing.join().map_err(|_| "the sender panicked".to_owned())?
    })?;
    for file in ["/etc/passwd", "../live/log", "etc/passwd"] {
        let base = live.join("in").display().to_string();
        for url in [file.to_owned(), format!("{base}/{file}")] {
            let mut target =
                "/command?type=importtape&mediatype=A&timestamp=1&duration=0&localparty=1&url="
                    .to_owned();
            target.push_str(&url);
            let (_, body) = subject.ask(&target)?;
            if !body.contains("<success>false") {
                wrong.push(format!("importtape of {url}: {body}"));
            }
            commands += 1;
        }
    }
    let (head, body) = subject.ask("/command?type=tcpping&hostname=127.0.0.1&port=22")?;
    if !head.contains(" 404 ") {
        wrong.push(format!("tcpping: {head} {body}"));
    }
    subject.finished(names.len())?;
    let mut heard = Vec::new();
    let mut piece = [0; 65_536];
    while let Ok(length @ 1..) = events.read(&mut piece) {
        heard.extend_from_slice(piece.get(..length).unwrap_or_default());
    }
    let published = subject.status()?.pointer("/http/events_published").and_then(|n| n.as_u64());
    if !subject.runs() {
        wrong.push(format!("it ended: {}", subject.log()));
    }
    subject.stop()?;
    let body = heard.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
    let text = String::from_utf8_lossy(heard.get(body..).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    if published != Some(lines.len() as u64) {
        wrong.push(format!("{published:?} events in {} lines", lines.len()));
    }
    for line in &lines {
        let whole = line.starts_with("type=") && url::decode(line.as_bytes()).is_ok();
        if !whole
            || line.chars().any(char::is_control)
            || line.starts_with("type=tape&recid=forged")
        {
            wrong.push(format!("the line {line}"));
        }
    }
    for folder in [subject.tapes(), live.join("state")] {
        for path in with_extension(&folder, "jsonl") {
            let audit = fs::read_to_string(&path).map_err(|error| error.to_string())?;
            let broken =
                audit.lines().filter(|l| serde_json::from_str::<serde_json::Value>(l).is_err());
            if broken.count() > 0 {
                wrong.push(format!("{} has broken lines", path.display()));
            }
        }
    }
    let after: BTreeSet<_> = outside()?;
    let new: Vec<String> = after
        .difference(&before)
        .map(|path| path.display().to_string())
        .filter(|path| !["out.out", "out.err"].iter().any(|own| path.ends_with(own)))
        .collect();
    if !new.is_empty() || here.exists() {
        wrong.push(format!("files outside: {}", new.join(", ")));
    }
    wrong.truncate(4);
    let figure = format!(
        "{} names as parties and Call-IDs in paths, a command's arguments, {} event lines and {commands} commands: \
         nothing outside the root, no line broken, no shell {}",
        names.len(),
        lines.len(),
        wrong.join("; ")
    );
    Ok(Found::when(wrong.is_empty(), names.len() as u64 + commands, figure.trim_end().to_owned()))
}
