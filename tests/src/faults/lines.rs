//! Names that want to be lines, headers, or words to a terminal, wherever names are told (R74).

use super::{
    Bench, Found,
    names::{calls, evil},
    net::Sender,
    subject::{Subject, let_in, until, with_extension},
};
use crate::generator::law::{Codec, Law};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// What ends a line here or there, hides it, turns it, or makes another one of it.
const SIGNS: [&str; 12] = [
    "a\r\n2026-11-22T00:00:00.000000Z  INFO orkaudio: forged",
    "a\nINFO forged",
    "a\rforged",
    "a\r\nX-Forged: 1\r\n\r\n",
    "a\0b",
    "a\u{1b}[2J\u{1b}]0;forged\u{7}",
    "a\u{7f}\u{8}\u{b}\u{c}",
    "a\u{85}forged",
    "a\u{2028}forged\u{2029}",
    "\u{202e}degrof\u{2066}\u{200f}",
    "$(touch HERE)`touch HERE`",
    "\"}\n{\"command\":\"forged\"",
];

/// Seen as what it is.
fn legible(c: char) -> bool {
    let turns = ['\u{61c}', '\u{200e}', '\u{200f}'].contains(&c);
    let ends = ('\u{2028}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c);
    !c.is_control() && !turns && !ends
}

/// Heads of requests.
type Asked = Arc<Mutex<Vec<String>>>;

/// A tracker that keeps what it is asked and answers with such signs.
fn tracker() -> Result<(SocketAddr, Asked), String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let heads = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heads);
    let serve = move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let mut reader = BufReader::new(&stream);
            let (mut head, mut line) = (String::new(), Vec::new());
            while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 2) {
                head.push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
            if head == "GET /over HTTP/1.0\r\n" {
                return;
            }
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(head);
            let sign = SIGNS.get(number % SIGNS.len()).copied().unwrap_or_default();
            let sign = sign.replace(['\r', '\n'], " ");
            let body = format!("class=taperesponse success=true comment={sign} deletetape=false ");
            let length = body.len();
            let answer =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
            drop(
                (&stream)
                    .write_all(answer.as_bytes())
                    .and_then(|()| (&stream).write_all(body.as_bytes())),
            );
        }
    };
    thread::Builder::new().spawn(serve).map_err(|error| error.to_string())?;
    Ok((address, heads))
}

/// Bytes as they are, to a door; the head of what it answers.
fn raw(door: SocketAddr, bytes: &[u8]) -> String {
    let asked = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(door)?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        stream.write_all(bytes)?;
        let (mut answer, mut piece) = (Vec::new(), [0; 4_096]);
        while let Ok(count @ 1..) = stream.read(&mut piece) {
            answer.extend_from_slice(piece.get(..count).unwrap_or_default());
            if answer.windows(4).any(|four| four == b"\r\n\r\n") {
                break;
            }
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        Ok(answer.split("\r\n\r\n").next().unwrap_or_default().to_owned())
    };
    // One that is cut off had no answer to say anything in.
    asked().unwrap_or_default()
}

/// Calls, commands, headers and a tracker's answers, told in every way there is.
pub(super) fn told(bench: &Bench) -> Result<Found, String> {
    let home = bench.folder("R74");
    let_in(bench, &home)?;
    let here = home.join("pwned");
    let signs: Vec<String> =
        SIGNS.iter().map(|sign| sign.replace("HERE", &here.display().to_string())).collect();
    let mut names = evil(&here);
    // What ends a line of SIP is no part of a name there.
    let within = |sign: &&String| !sign.contains(['\r', '\n']);
    names.extend(signs.iter().filter(within).map(|sign| sign.clone().into_bytes()));
    names.iter_mut().for_each(|name| name.truncate(700));
    let frames = calls(&names, &Law::new(Codec::Pcmu));
    let (address, heads) = tracker()?;
    let url = format!("tracker.urls={address}");
    let sets = [url.as_str(), "log.level=debug"];
    let mut subject = Subject::on_cable(bench, &home, &sets)?;
    let (command, events) = (subject.address("command=")?, subject.address("events=")?);
    let live = subject.address("live=")?;
    let mut listening = TcpStream::connect(events).map_err(|error| error.to_string())?;
    let begin = b"GET /?type=streamevents HTTP/1.0\r\n\r\n";
    listening.write_all(begin).map_err(|error| error.to_string())?;
    listening.set_read_timeout(Some(Duration::from_millis(500))).map_err(|e| e.to_string())?;
    let sessions = "/http/events_sessions";
    until("it is served", || {
        Ok(subject.status()?.pointer(sessions).and_then(|n| n.as_u64()) == Some(1))
    })?;
    let mut answers = Vec::new();
    thread::scope(|scope| -> Result<(), String> {
        let playing = scope.spawn(|| Sender::open()?.play(&frames, || true));
        for sign in &signs {
            let escaped: String = sign.bytes().map(|byte| format!("%{byte:02x}")).collect();
            for path in [
                format!("/command?type=addtag&tagtype={escaped}&tagtext={escaped}&party={escaped}"),
                format!("/command?type=pause&nativecallid={escaped}&{escaped}={escaped}"),
                format!(
                    "/command?type=importtape&mediatype={escaped}&url={escaped}&timestamp=1&duration=0"
                ),
                format!("/command?type=deletetape&filename={escaped}&orkuid={escaped}"),
                format!("/command?type={escaped}"),
                format!("/{escaped}?{escaped}"),
            ] {
                answers.push(raw(command, format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()));
            }
            for door in [command, events, live] {
                let header = format!("User-Agent: {sign}\r\nAuthorization: Bearer {sign}");
                let request =
                    format!("GET /?type={sign}&localparty={escaped} HTTP/1.0\r\n{header}\r\n\r\n");
                answers.push(raw(door, request.as_bytes()));
            }
        }
        playing.join().map_err(|_| "the sender panicked".to_owned())?
    })?;
    subject.finished(names.len())?;
    let asked = || heads.lock().unwrap_or_else(PoisonError::into_inner).clone();
    until("the tracker heard of all", || {
        let ready = asked().iter().filter(|head| head.contains("stage=ready")).count();
        Ok(ready >= names.len())
    })?;
    let mut heard = Vec::new();
    let mut piece = [0; 65_536];
    while let Ok(length @ 1..) = listening.read(&mut piece) {
        heard.extend_from_slice(piece.get(..length).unwrap_or_default());
    }
    if !subject.runs() {
        return Err(format!("it ended: {}", subject.log()));
    }
    subject.stop()?;
    raw(address, b"GET /over HTTP/1.0\r\n\r\n");

    let mut wrong = Vec::new();
    let log = subject.log();
    for line in log.lines() {
        let begun = line.starts_with("20") && line.as_bytes().get(10) == Some(&b'T');
        if !begun || !line.chars().all(legible) {
            wrong.push(format!("in the log {line:?}"));
        }
    }
    let mut commands = 0;
    for path in with_extension(&home.join("state"), "jsonl") {
        let audit = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        for line in audit.lines() {
            commands += 1;
            let read = serde_json::from_str::<serde_json::Value>(line);
            if read.is_err() || !line.chars().all(legible) {
                wrong.push(format!("in the audit file {line:?}"));
            }
        }
    }
    let heard = String::from_utf8_lossy(&heard).into_owned();
    let body = heard.split_once("\r\n\r\n").map_or(heard.as_str(), |(_, body)| body);
    let lines: Vec<&str> = body.lines().filter(|line| !line.is_empty()).collect();
    for line in &lines {
        if !line.starts_with("type=") || !line.bytes().all(|byte| byte.is_ascii_graphic()) {
            wrong.push(format!("in the event stream {line:?}"));
        }
    }
    let plain = |c: char| c == ' ' || c.is_ascii_graphic();
    let heads = asked();
    for head in &heads {
        let mut lines = head.split_terminator("\r\n");
        let first = lines.next().unwrap_or_default();
        let whole = first.starts_with("GET /") && first.ends_with(" HTTP/1.1");
        if !whole || first.split(' ').count() != 3 || !first.chars().all(plain) {
            wrong.push(format!("to the tracker {first:?}"));
        }
        if !lines.all(|line| line.to_ascii_lowercase().starts_with("host: ")) {
            wrong.push(format!("to the tracker {head:?}"));
        }
    }
    for answer in answers.iter().filter(|answer| !answer.is_empty()) {
        let mut lines = answer.split("\r\n");
        let status = lines.next().is_some_and(|line| line.starts_with("HTTP/1."));
        let header = |line: &str| {
            let name = line.split_once(':').map(|(name, _)| name.to_ascii_lowercase());
            name.is_some_and(|name| !name.contains("forged")) && line.chars().all(plain)
        };
        if !status || !lines.all(header) {
            wrong.push(format!("in the head of an answer {answer:?}"));
        }
    }
    if here.exists() {
        wrong.push("a shell ran".to_owned());
    }
    if commands == 0 || lines.is_empty() || log.lines().count() < names.len() {
        wrong.push("hardly anything was told".to_owned());
    }
    let count = wrong.len();
    wrong.truncate(4);
    let figure = format!(
        "{} names with line ends, NUL, ESC, bidi and shell signs: {} lines of the log (debug), {commands} of the audit \
         file, {} events, {} messages to a tracker, {} answers of doors; {count} broken {}",
        names.len(),
        log.lines().count(),
        lines.len(),
        heads.len(),
        answers.len(),
        wrong.join("; ")
    );
    Ok(Found::when(
        wrong.is_empty(),
        (names.len() + answers.len()) as u64,
        figure.trim_end().to_owned(),
    ))
}
