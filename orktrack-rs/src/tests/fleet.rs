//! Recorders as the tracker sees them: commands carried to them, audio from them, and their death.

use super::{Bench, INIT, START, STOP};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

/// A recorder that answers every request with what it was given, and remembers the requests.
struct FakeRecorder {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeRecorder {
    fn answering(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = asked.clone();
        let serve = move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                // One packet, as the original reads it.
                let mut packet = [0; 2047];
                let read = stream.read(&mut packet).unwrap();
                let text = String::from_utf8_lossy(&packet[..read]);
                let line = text.lines().next().unwrap_or_default().to_owned();
                // Who asked may be gone by now.
                drop(stream.write_all(&answer(&line)));
                heard.lock().unwrap().push(line);
            }
        };
        thread::Builder::new().spawn(serve).unwrap();
        Self { port, asked }
    }

    /// The newest request that is not about its health.
    fn asked(&self) -> String {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .rfind(|line| !line.contains("status") && !line.contains("version"))
            .unwrap()
            .clone()
    }
}

fn original(line: &str) -> Vec<u8> {
    let comment = if line.contains("version") { "" } else { "Pausing%scapture%sfor%sparty:" };
    format!(
        "HTTP/1.0 200 OK\r\nContent-type: text/single-line\r\n\r\n\
         success=true comment={comment} version=1.7 "
    )
    .into_bytes()
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < until, "waited too long until {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn known(bench: &Bench, recorder: &FakeRecorder) {
    let init = INIT.replace("59140", &recorder.port.to_string());
    let init = init.replace("streamingport=", &format!("streamingport={}", recorder.port));
    assert_eq!(bench.tell(&init).status(), "200");
}

#[test]
pub(super) fn commands_reach_the_recorder_of_the_call() {
    let bench = Bench::new();
    let recorder = FakeRecorder::answering(original);
    known(&bench, &recorder);
    let none = "class=simpleresponse success=false comment=ERROR_NO_RECORDING_FOUND \n";
    let ask = |text: &str| bench.tell(&format!("cmd=ondemand&type={text}"));
    assert_eq!(ask("pause&localparty=100000").body, none);
    bench.tell(START);
    let done = "class=simpleresponse success=true comment=Pausing%scapture%sfor%sparty: \n";
    let paused = || bench.sql::<i64>("SELECT paused FROM tape");
    let to = |verb: &str, side: &str| {
        format!("GET /command?type={verb}&orkuid=20261121_021704_EZIP&side={side}& HTTP/1.1")
    };
    assert_eq!(ask("pause&localparty=100000&side=both").body, done);
    assert_eq!((recorder.asked(), paused()), (to("pause", "both"), 1));
    assert!(bench.tell("cmd=livestatus&localparty=100000").body.contains("--PAUSED "));
    assert_eq!(ask("resume&orkuid=20261121_021704_EZIP&side=local").body, done);
    assert_eq!((recorder.asked(), paused()), (to("record", "local"), 0));
    assert_eq!(ask("record&localparty=100000").body, done);
    assert_eq!(ask("stop&localparty=100000").body, done);
    assert_eq!(recorder.asked(), to("stop", "both"));
    bench.tell(STOP);
    assert_eq!(ask("pause&localparty=100000").body, none, "the call is over");
    let audited = bench.sql::<i64>("SELECT count(*) FROM audit WHERE action = 'ondemand'");
    assert_eq!(audited, 6);
    let target = bench.sql::<String>("SELECT target FROM audit WHERE id = 2");
    assert_eq!(target, "type=pause localparty=100000");
}

/// A recorder of ours that has the one call.
fn ours(line: &str) -> Vec<u8> {
    let found = u8::from(line.contains("20261121_021704_EZIP") || line.contains("party=100000"));
    let text = String::from_utf8(original(line)).unwrap();
    text.replace("\r\n\r\n", &format!("\r\nX-Matched: {found}\r\n\r\n")).into_bytes()
}

const DONE: &str = "class=simpleresponse success=true comment= \n";

/// The person of 100000 with a live call on a recorder.
fn in_a_call(recorder: &FakeRecorder) -> Bench {
    let bench = Bench::new();
    known(&bench, recorder);
    bench.tell("cmd=adduser&loginstring=100000&groupname=Sales");
    bench.tell(START);
    bench
}

#[test]
pub(super) fn wishes_reach_the_recorder() {
    let recorder = FakeRecorder::answering(ours);
    let bench = in_a_call(&recorder);
    for (command, word) in [("keep", "KEEP"), ("neither", "NEITHER"), ("discard", "DROP")] {
        let answer = bench.tell(&format!("cmd={command}&userid=1"));
        assert_eq!((answer.body.as_str(), answer.header("x-ork-recorder")), (DONE, Some("told")));
        let asked = format!("GET /command?type={command}&orkuid=20261121_021704_EZIP& HTTP/1.1");
        assert_eq!(
            (recorder.asked(), bench.sql::<String>("SELECT keep FROM tape")),
            (asked, word.into())
        );
    }
    // A recorder that deletes it says no more than that the call is over.
    bench.tell(STOP);
    assert_eq!(bench.sql::<i64>("SELECT count(*) FROM tape WHERE discarded IS NOT NULL"), 1);
}

#[test]
pub(super) fn what_is_held_is_not_discarded() {
    let recorder = FakeRecorder::answering(ours);
    let bench = in_a_call(&recorder);
    let token = bench.account("root", crate::store::accounts::Role::Admin, None, &[]);
    let hold = |method: &str, body: &str| {
        bench.ask(&token, method, "/api/v1/recordings/1/hold", body).status().to_owned()
    };
    bench.tell("cmd=discard&userid=1");
    assert_eq!(hold("POST", r#"{"reason":"court"}"#), "200");
    let command =
        |verb: &str| format!("GET /command?type={verb}&orkuid=20261121_021704_EZIP& HTTP/1.1");
    let asked = command("neither");
    // Nor may anybody else have it deleted there.
    assert_eq!(recorder.asked(), command("pin"));
    bench.tell("cmd=keep&userid=1");
    assert_eq!(bench.tell("cmd=discard&userid=1").header("x-ork-recorder"), Some("told"));
    assert_eq!(recorder.asked(), asked, "nor again");
    bench.tell(STOP);
    assert_eq!(bench.sql::<i64>("SELECT count(*) FROM tape WHERE discarded IS NOT NULL"), 0);
    assert!(bench.tell(super::READY).body.contains("deletetape=false"));
    assert_eq!(hold("POST", r#"{"reason":"another court"}"#), "200");
    assert_eq!(hold("DELETE", ""), "200");
    assert_eq!(recorder.asked(), command("unpin"));
}

#[test]
pub(super) fn an_original_recorder_does_not_know_wishes() {
    let recorder = FakeRecorder::answering(|line| {
        if line.contains("version") {
            return original(line);
        }
        b"HTTP/1.0 404 not found\r\nContent-type: text/html\r\n\r\nError\r\nCommand not found:keep\r\n".to_vec()
    });
    let bench = in_a_call(&recorder);
    let answer = bench.tell("cmd=discard&userid=1");
    assert_eq!((answer.body.as_str(), answer.header("x-ork-recorder")), (DONE, Some("unknown")));
    assert!(bench.tell(super::READY).body.contains("deletetape=true"), "it is told at the end");
    assert!(bench.tell(super::READY).body.contains("deletetape=true"), "and again");
    let audited =
        "SELECT count(*) FROM audit WHERE action = 'delete' AND target = 'vm 20261121_021704_EZIP'";
    assert_eq!(bench.sql::<i64>(audited), 1, "and written down");
}

/// As from the command line, which has no way to a recorder, and while the recorder is not there.
#[test]
pub(super) fn holds_that_the_recorder_does_not_know_are_told_until_it_does() {
    use crate::store::{once, retention};
    let pinned = Arc::new(Mutex::new("success=false"));
    let answer = pinned.clone();
    let recorder = FakeRecorder::answering(move |line| {
        let text = String::from_utf8(ours(line)).unwrap();
        text.replace("success=true", *answer.lock().unwrap()).into_bytes()
    });
    let bench = Bench::with(|config| config.heartbeat = Duration::from_millis(50));
    known(&bench, &recorder);
    bench.tell(START);
    bench.tell(super::READY);
    let untold = || bench.sql::<i64>("SELECT count(*) FROM hold_untold");
    let told = |verb: &str| {
        let line = format!("GET /command?type={verb}&orkuid=20261121_021704_EZIP& HTTP/1.1");
        recorder.asked.lock().unwrap().iter().filter(|asked| **asked == line).count()
    };
    once(&bench.database, |s| retention::hold(s, 1, "court", "command line", 5)).unwrap();
    wait("it was told and refused, twice", || told("pin") >= 2);
    assert_eq!(untold(), 1);
    assert!(!once(&bench.database, |s| retention::holds(s, 9)).unwrap()[0].told);
    *pinned.lock().unwrap() = "success=true";
    wait("it is known there", || untold() == 0);
    assert!(once(&bench.database, |s| retention::holds(s, 9)).unwrap()[0].told);
    assert_eq!(told("unpin"), 0);
    once(&bench.database, |s| retention::release(s, 1, 6)).unwrap();
    wait("its end is known there", || untold() == 0 && told("unpin") == 1);
    // A recorder that is not there hears of it when it is.
    bench.change("UPDATE recorder SET health = 'lost', tcpport = '1'");
    once(&bench.database, |s| retention::hold(s, 1, "court", "command line", 7)).unwrap();
    let before = told("pin");
    known(&bench, &recorder);
    wait("it came back and was told", || untold() == 0 && told("pin") > before);
}

#[test]
pub(super) fn a_party_that_is_not_recorded_is_looked_for() {
    let bench = Bench::new();
    let (here, there) = (
        FakeRecorder::answering(ours),
        FakeRecorder::answering(|line| ours(&line.replace("party=100000", "party=none"))),
    );
    known(&bench, &here);
    let init =
        INIT.replace("59140", &there.port.to_string()).replace("hostname=vm", "hostname=annex");
    assert_eq!(bench.tell(&init).status(), "200");
    let record = bench.tell("cmd=ondemand&type=record&localparty=100000&side=local");
    assert!(
        record.body.starts_with("class=simpleresponse success=true comment="),
        "{}",
        record.body
    );
    let asked = "GET /command?type=record&party=100000&side=local& HTTP/1.1";
    assert_eq!((there.asked().as_str(), here.asked().as_str()), (asked, asked));
    let nobody = bench.tell("cmd=ondemand&type=record&localparty=7");
    assert!(nobody.body.contains("comment=ERROR_NO_RECORDING_FOUND"), "{}", nobody.body);
    for other in ["record&orkuid=x", "resume&localparty=7", "pause&localparty=7"] {
        bench.tell(&format!("cmd=ondemand&type={other}"));
        assert!(here.asked().contains("type=record&party=7&"), "nobody is asked: {}", here.asked());
    }
}

#[test]
pub(super) fn a_recorder_that_found_nothing_is_not_believed_to_have() {
    let bench = Bench::new();
    let recorder = FakeRecorder::answering(|line| {
        let text = String::from_utf8(original(line)).unwrap();
        text.replace("\r\n\r\n", "\r\nX-Matched: 0\r\n\r\n").into_bytes()
    });
    known(&bench, &recorder);
    bench.tell(START);
    let answer = bench.tell("cmd=ondemand&type=pause&localparty=100000");
    assert!(answer.body.contains("comment=ERROR_NO_RECORDING_FOUND"));
    assert_eq!(answer.header("x-ork-status"), Some("404"));
    assert_eq!(bench.sql::<i64>("SELECT paused FROM tape"), 0);
}

#[test]
pub(super) fn a_recorder_that_freezes_or_is_gone_costs_one_time_out() {
    let bench = Bench::with(|config| config.fleet_timeout = Duration::from_millis(200));
    let frozen = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = frozen.local_addr().unwrap().port();
    bench.tell(&INIT.replace("59140", &port.to_string()));
    bench.tell(START);
    let begun = Instant::now();
    let late = bench.tell("cmd=ondemand&type=pause&localparty=100000");
    assert_eq!(late.header("x-ork-status"), Some("504"));
    assert!(late.body.contains("ERROR_RECORDER_UNREACHABLE"));
    assert!(begun.elapsed() < Duration::from_secs(5));
    drop(frozen);
    let gone = bench.tell("cmd=ondemand&type=pause&localparty=100000");
    assert_eq!(gone.header("x-ork-status"), Some("502"));
}

#[test]
pub(super) fn audio_streams_while_it_is_made() {
    let bench = Bench::new();
    let (release, gate) = std::sync::mpsc::sync_channel::<()>(1);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = thread::Builder::new()
        .spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut packet = [0; 2047];
            let read = stream.read(&mut packet).unwrap();
            stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Type: audio/L16\r\n\r\nfirst ").unwrap();
            gate.recv().unwrap();
            stream.write_all(b"second").unwrap();
            String::from_utf8_lossy(&packet[..read]).lines().next().unwrap().to_owned()
        })
        .unwrap();
    bench.tell(&INIT.replace("streamingport=", &format!("streamingport={port}")));
    bench.tell(START);
    let mut client = TcpStream::connect(bench.tracker.address()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let target = "/orktrack/command?cmd=ondemand&type=streamaudio&localparty=100000&stereo=true";
    client.write_all(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
    let mut seen = Vec::new();
    let mut buffer = [0; 1000];
    while !seen.ends_with(b"first ") {
        let read = client.read(&mut buffer).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..read]);
    }
    release.send(()).unwrap();
    client.read_to_end(&mut seen).unwrap();
    let text = String::from_utf8(seen).unwrap();
    assert!(text.starts_with("HTTP/1.0 200") && text.ends_with("first second"), "{text}");
    assert!(text.contains("content-type: audio/L16"));
    let asked = asked.join().unwrap();
    assert_eq!(asked, "GET /?type=stream&recid=20261121_021704_EZIP&stereo=true& HTTP/1.1");
}

#[test]
pub(super) fn the_calls_of_a_recorder_that_died_are_interrupted() {
    let bench = Bench::with(|config| {
        config.heartbeat = Duration::from_millis(50);
        config.lost_after = Duration::from_secs(1);
    });
    let recorder = FakeRecorder::answering(original);
    known(&bench, &recorder);
    bench.tell(START);
    let health = || bench.sql::<String>("SELECT health || ' ' || version FROM recorder");
    wait("the heartbeat is answered", || health() == "up 1.7");
    assert_eq!(bench.sql::<i64>("SELECT count(*) FROM tape WHERE interrupted IS NULL"), 1);
    // Nobody listens at its port any more.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = gone.local_addr().unwrap().port().to_string();
    drop(gone);
    bench.change(&format!("UPDATE recorder SET tcpport = '{port}'"));
    wait("it is lost", || health() == "lost 1.7");
    assert_eq!(bench.sql::<i64>("SELECT count(*) FROM tape WHERE interrupted IS NULL"), 0);
    let status = bench.tell("cmd=livestatus&localparty=100000").body;
    assert!(status.contains("userstatuses=inactive--"), "{status}");
    assert_eq!(bench.recordings()[0].state, "interrupted");
    // It was only cut off, and says so.
    bench.tell(STOP);
    assert_eq!(bench.recordings()[0].state, "stopped");
}

#[test]
pub(super) fn a_recorder_that_begins_anew_has_no_calls() {
    let bench = Bench::new();
    bench.tell(INIT);
    bench.tell(START);
    // A replay on its host is none.
    bench.tell(&INIT.replace("tcpport=59140", "tcpport=0"));
    assert_eq!(bench.recordings()[0].state, "live");
    assert_eq!(bench.sql::<String>("SELECT tcpport FROM recorder"), "59140");
    bench.tell(INIT);
    assert_eq!(bench.recordings()[0].state, "interrupted");
    bench.tell(&START.replace("stage=start", "stage=update"));
    assert_eq!(bench.recordings()[0].state, "live");
}
