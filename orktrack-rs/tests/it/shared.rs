//! Two processes of the tracker on one PostgreSQL database: one truth, whichever is asked.

use crate::{
    program::{ORKTRACK, tracker_on, wait_until},
    server::{Server, skip},
};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    thread,
};

const DONE: &str = "class=simpleresponse success=true comment= \n";
const TAKEN: &str = "class=taperesponse success=true comment= deletetape=false \n";

/// Sends a request; returns head and body.
fn send(port: u16, head: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let length = body.len();
    write!(stream, "{head}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

/// Carries out a command; returns what became of it, and the answer.
fn tell(port: u16, query: &str) -> (String, String) {
    let (head, body) = send(port, &format!("GET /orktrack/command?{query} HTTP/1.0\r\n"), "");
    assert!(head.starts_with("http/1.0 200 "), "{query}: {head}{body}");
    let stored = head.lines().find_map(|line| line.strip_prefix("x-ork-stored: "));
    (stored.unwrap_or_default().to_owned(), body)
}

/// A request to our own API; returns the status and the answer.
fn ask(port: u16, token: &str, request: &str, body: &str) -> (u16, serde_json::Value) {
    let (method, path) = request.split_once(' ').unwrap();
    let head = format!("{method} /api/v1/{path} HTTP/1.0\r\nAuthorization: Bearer {token}\r\n");
    let (head, body) = send(port, &head, body);
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(&body).unwrap_or_default())
}

fn tape(recid: &str, stage: &str, more: &str) -> String {
    format!(
        "type=tape&recid={recid}&stage={stage}&captureport=A&timestamp=1795227424&filename={recid}.wav\
         &localparty=5001&remoteparty=5145551234&hostname=vm{more}&"
    )
}

fn count(database: &str, sql: &str) -> i64 {
    let mut client = postgres::Client::connect(database, postgres::NoTls).unwrap();
    client.query_one(sql, &[]).unwrap().get(0)
}

#[test]
fn two_processes_have_one_truth() {
    let Some(server) = Server::start(&[]) else {
        return skip("two processes of the tracker on one database");
    };
    let home = tempfile::tempdir().unwrap();
    let database = format!("postgres://ork@127.0.0.1:{}/postgres", server.port);
    let log = |name: &str| home.path().join(name);
    let roots = format!("vm={}", home.path().display());
    let (one, a) = tracker_on(&database, &log("a"), &roots);
    // The newest set-up token is the one that counts.
    setup_token(&log("a"));
    let (_other, b) = tracker_on(&database, &log("b"), &roots);
    fs::write(home.path().join("R0_1.wav"), "sound").unwrap();

    sign_in(&log("b"), a, b);
    messages(a, b, &database);
    agents_and_wishes(a, b, &database);
    deleted(a, b, &database);
    assert!(!home.path().join("R0_1.wav").exists());

    // One is killed; the other goes on where it was.
    tell(a, &tape("Last", "start", ""));
    drop(one);
    let (stored, body) = tell(b, &tape("Last", "stop", "&duration=9"));
    assert_eq!((stored.as_str(), body.as_str()), ("yes", TAKEN));
    assert_eq!(tell(b, &tape("Last", "start", "")).0, "repeated");
    assert_eq!(count(&database, "SELECT duration FROM tape WHERE recid = 'Last'"), 9);
    let checked = Command::new(ORKTRACK).args(["check", "--database", &database]).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success() && said.contains("audit log whole"), "{said}");
}

/// What a tracker without accounts logs at its start.
fn setup_token(log: &std::path::Path) -> String {
    let mut token = String::new();
    wait_until("the set-up token is told", || {
        let said = fs::read_to_string(log).unwrap();
        let rest = said.split("set-up token ").nth(1).and_then(|rest| rest.split(':').next());
        rest.unwrap_or_default().clone_into(&mut token);
        !token.is_empty()
    });
    token
}

/// Set-up, sign-in, its lock and its end count at both.
fn sign_in(log: &std::path::Path, a: u16, b: u16) {
    let token = setup_token(log);
    let first =
        |name: &str| format!(r#"{{"token":"{token}","name":"{name}","password":"correct horse"}}"#);
    assert_eq!(
        ask(a, "", "POST setup", &first("root")).0,
        200,
        "the newest token counts everywhere"
    );
    assert_eq!(ask(b, "", "POST setup", &first("second")).0, 403, "and once");
    let enter = |port, password: &str| {
        let body = format!(r#"{{"name":"root","password":"{password}"}}"#);
        let (status, said) = ask(port, "", "POST login", &body);
        (status, said["token"].as_str().unwrap_or_default().to_owned())
    };
    let (status, session) = enter(b, "correct horse");
    assert_eq!(status, 200);
    for port in [a, b] {
        assert_eq!(ask(port, &session, "GET me", "").1["account"]["name"], "root");
    }
    assert_eq!(ask(a, &session, "POST logout", "").0, 200);
    for port in [a, b] {
        assert_eq!(ask(port, &session, "GET me", "").0, 401, "signed out everywhere");
    }
    for port in [a, b, a, b, a] {
        assert_eq!(enter(port, "wrong horse").0, 401);
    }
    for port in [a, b] {
        assert_eq!(enter(port, "correct horse").0, 401, "five wrong ones at both together lock");
    }
}

/// Stages of the same recordings, told to both at once, crosswise and twice.
fn messages(a: u16, b: u16, database: &str) {
    thread::scope(|scope| {
        for lane in 0..4_u16 {
            let (mine, theirs) = if lane % 2 == 0 { (a, b) } else { (b, a) };
            // Two lanes tell of the same recordings.
            let group = lane / 2;
            scope.spawn(move || {
                for n in 0..25 {
                    let recid = format!("R{group}_{n}");
                    for (port, stage) in [
                        (mine, "start"),
                        (theirs, "stop"),
                        (mine, "ready"),
                        (theirs, "ready"),
                        (mine, "start"),
                    ] {
                        let query = tape(&recid, stage, "&duration=5");
                        assert_eq!(tell(port, &query).1, TAKEN, "{query}");
                    }
                }
            });
        }
    });
    assert_eq!(count(database, "SELECT count(*) FROM tape"), 50);
    assert_eq!(count(database, "SELECT count(*) FROM tape_stage"), 150, "no stage twice");
    for port in [a, b] {
        assert_eq!(tell(port, &tape("R0_1", "ready", "&duration=5")).0, "repeated");
    }
    assert_eq!(count(database, "SELECT count(*) FROM tape WHERE state = 'ready'"), 50);
}

/// What one is told of people, agents and wishes the other acts upon.
fn agents_and_wishes(a: u16, b: u16, database: &str) {
    assert!(
        tell(a, "cmd=adduser&loginstring=5001&firstname=John&lastname=Doe").1.contains("=true")
    );
    let more = "cmd=addloginstring&findloginstring=5001&newloginstring=6001";
    assert!(tell(b, more).1.contains("returncode=NO_ERROR"));
    thread::scope(|scope| {
        for port in [a, b] {
            scope.spawn(move || {
                for n in 0..20 {
                    let login = format!("cmd=agentstate&state=login&agent=6001&device=D{port}_{n}");
                    assert_eq!(tell(port, &login).1, DONE);
                }
            });
        }
    });
    let there = "SELECT count(*) FROM agent_session WHERE until IS NULL";
    assert_eq!(count(database, there), 1, "one device for each agent");
    tell(a, &tape("Live", "start", ""));
    let status = tell(b, "cmd=livestatus&users=1").1;
    assert!(status.contains("--NEITHER--") && status.contains("--Live--"), "{status}");
    assert_eq!(tell(b, "cmd=discard&userid=1").1, DONE);
    assert!(tell(a, "cmd=livestatus&localparty=5001").1.contains("--DROP--"));
    let tag = "cmd=addtag&localparty=5001&tagtype=Case&tagtext=7";
    assert_eq!(
        (tell(a, tag), tell(b, tag).0),
        (("yes".to_owned(), DONE.to_owned()), "repeated".to_owned())
    );
    let ready = tape("Live", "ready", "&duration=5");
    for port in [a, b, a] {
        assert!(tell(port, &ready).1.contains("deletetape=true"), "the same answer everywhere");
    }
}

/// A hold at one stops the other; what one deleted the other does not bring back.
fn deleted(a: u16, b: u16, database: &str) {
    let run = |arguments: &[&str], input: &str| {
        let mut command = Command::new(ORKTRACK);
        command.args(arguments).args(["--database", database]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "{arguments:?}");
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    };
    run(&["accounts", "add", "boss", "--role", "admin", "--no-password"], "");
    let token = run(&["tokens", "add", "boss"], "");
    let id = count(database, "SELECT id FROM tape WHERE recid = 'R0_1'");
    let hold = format!("recordings/{id}/hold");
    assert_eq!(ask(a, &token, &format!("POST {hold}"), r#"{"reason":"court"}"#).0, 200);
    assert_eq!(ask(b, &token, &format!("DELETE recordings/{id}"), "").0, 409);
    assert_eq!(ask(b, &token, &format!("DELETE {hold}"), "").0, 200);
    let seen = |port| ask(port, &token, &format!("GET recordings/{id}"), "").0;
    assert_eq!((seen(a), seen(b)), (200, 200));
    assert_eq!(ask(b, &token, &format!("DELETE recordings/{id}"), "").0, 200);
    assert_eq!((seen(a), seen(b)), (404, 404));
    for port in [a, b] {
        let (stored, body) = tell(port, &tape("R0_1", "ready", "&duration=5"));
        assert_eq!(stored, "gone");
        assert!(body.contains("deletetape=true"), "{body}");
    }
    assert_eq!(count(database, "SELECT count(*) FROM tape WHERE recid = 'R0_1'"), 0);
}
