//! The tracker as a program: what it acknowledged outlives it, and its command line.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

pub(crate) const ORKTRACK: &str = env!("CARGO_BIN_EXE_orktrack");

/// A tracker that runs; dropping it is kill -9.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < until, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Starts the tracker on a free port; returns when it answers.
fn tracker(home: &Path) -> (Running, u16) {
    tracker_on(&home.join("t.db").display().to_string(), &home.join("log"), "")
}

/// The same on any database, with folders for `audio.roots`.
pub(crate) fn tracker_on(database: &str, log: &Path, roots: &str) -> (Running, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new(ORKTRACK);
    command.args(["run", "--set"]).arg(format!("listen=127.0.0.1:{port}")).arg("--set");
    command.arg(format!("database={database}")).args(["--set", &format!("audio.roots={roots}")]);
    let log = File::create(log).unwrap();
    let running = Running(command.stdin(Stdio::null()).stderr(log).spawn().unwrap());
    wait_until("the tracker listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    (running, port)
}

/// Tells about calls, 125 a second, until the tracker is gone; notes what was acknowledged.
fn lane(port: u16, lane: usize, acknowledged: &Mutex<Vec<String>>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let begun = Instant::now();
    for n in 0..u32::MAX {
        let due = begun + Duration::from_millis(8) * n;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let recid = format!("L{lane}_{n}");
        let request = format!(
            "GET /orktrack/command?type=tape&recid={recid}&stage=ready&captureport=A\
             &timestamp=1795227424&filename={recid}.wav&localparty=1001&duration=5&hostname=vm& \
             HTTP/1.1\r\nHost: x\r\n\r\n"
        );
        if stream.write_all(request.as_bytes()).is_err() {
            return;
        }
        let (mut line, mut good, mut bytes) = (String::new(), false, 0);
        loop {
            line.clear();
            if answers.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            good |= line.starts_with("HTTP/1.1 200");
            if let Some(length) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                bytes = length.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; bytes];
        if answers.read_exact(&mut body).is_err() {
            return;
        }
        assert!(good && body.starts_with(b"class=taperesponse success=true"));
        acknowledged.lock().unwrap().push(recid);
    }
}

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    let home = tempfile::tempdir().unwrap();
    let acknowledged = Mutex::new(Vec::new());
    for round in 0..3 {
        let (running, port) = tracker(home.path());
        std::thread::scope(|scope| {
            for n in 0..4 {
                let acknowledged = &acknowledged;
                scope.spawn(move || lane(port, round * 4 + n, acknowledged));
            }
            let enough = (round + 1) * 700;
            wait_until("enough is acknowledged", || acknowledged.lock().unwrap().len() > enough);
            drop(running);
        });
    }
    let (_running, port) = tracker(home.path());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    let database = rusqlite::Connection::open(home.path().join("t.db")).unwrap();
    let count = |sql: &str, name: &str| -> i64 {
        database.query_row(sql, [name], |row| row.get(0)).unwrap()
    };
    let acknowledged = acknowledged.into_inner().unwrap();
    for recid in &acknowledged {
        let kept = count("SELECT count(*) FROM tape WHERE state = 'ready' AND recid = ?", recid);
        assert_eq!(kept, 1, "{recid}");
    }
    let found = count("SELECT count(*) FROM tape_key WHERE word = ?", "party:1001");
    assert!(found >= i64::try_from(acknowledged.len()).unwrap());
    let whole: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
}

fn orktrack(home: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(ORKTRACK);
    command.args(arguments).arg("--database").arg(home.join("t.db"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn the_command_line_from_people_to_backup() {
    let home = tempfile::tempdir().unwrap();
    let say = |arguments: &[&str], input: &str| {
        let done = orktrack(home.path(), arguments, input);
        let error = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{arguments:?}: {error}");
        String::from_utf8(done.stdout).unwrap()
    };
    let csv = home.path().join("people.csv");
    std::fs::write(&csv, "loginstring,firstname\n5001;5002,Ann\n5003,Bob\n").unwrap();
    let imported = say(&["users", "import", csv.to_str().unwrap()], "");
    assert_eq!(imported, "added:2 updated:0 refused:0\n");
    say(&["groups", "add", "East", "--security"], "");
    say(&["users", "add", "5003", "--security", "East", "--lastname", "Roe"], "");
    let users = say(&["users"], "");
    for word in ["Ann", "5001, 5002", "Bob", "Roe", "East"] {
        assert!(users.contains(word), "{word} in\n{users}");
    }
    let short = orktrack(home.path(), &["accounts", "add", "ann", "--role", "admin"], "short\n");
    assert_eq!(short.status.code(), Some(1));
    say(&["accounts", "add", "Ann", "--role", "supervisor", "--group", "1"], "correct horse\n");
    assert!(say(&["accounts"], "").contains("supervisor"));
    let token = say(&["tokens", "add", "ann", "--name", "crm"], "");
    assert_eq!(token.trim().len(), 64);
    say(&["retention", "put", "year", "--days", "365", "--standard"], "");
    let json: serde_json::Value = serde_json::from_str(&say(&["retention", "--json"], "")).unwrap();
    assert_eq!(json["retention"][0]["keep_days"], 365);

    let put = [
        "programs",
        "put",
        "desk",
        "--localparty",
        "50*",
        "--from",
        "00:00",
        "--retention",
        "year",
    ];
    say(&put, "");
    let json: serde_json::Value = serde_json::from_str(&say(&["programs", "--json"], "")).unwrap();
    assert_eq!(
        (&json["programs"][0]["to_minute"], &json["programs"][0]["retention"]),
        (&1440.into(), &1.into())
    );
    for wrong in
        [["programs", "put", "x", "--direction", "up"], ["programs", "put", "x", "--group", "None"]]
    {
        assert_eq!(orktrack(home.path(), &wrong, "").status.code(), Some(1), "{wrong:?}");
    }

    let (running, port) = tracker(home.path());
    let mut told = TcpStream::connect(("127.0.0.1", port)).unwrap();
    told.write_all(
        b"GET /orktrack/command?type=tape&recid=R1&stage=ready&captureport=A&timestamp=1795227424\
          &filename=R1.wav&localparty=5003&duration=5&hostname=vm&tags=case%3A7& HTTP/1.0\r\n\r\n",
    )
    .unwrap();
    told.read_to_end(&mut Vec::new()).unwrap();
    let shown = say(&["show", "R1"], "");
    assert!(shown.contains("localparty      5003") && shown.contains("Bob Roe"), "{shown}");
    assert!(say(&["tags"], "").contains("case"));
    let mut asked = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = format!(
        "GET /api/v1/recordings HTTP/1.0\r\nAuthorization: Bearer {}\r\n\r\n",
        token.trim()
    );
    asked.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    asked.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"recid\":\"R1\""), "{answer}");

    assert!(say(&["holds", "add", "R1", "--reason", "court"], "").starts_with("hold "));
    let json: serde_json::Value = serde_json::from_str(&say(&["holds", "--json"], "")).unwrap();
    assert_eq!(
        (&json["holds"][0]["recid"], &json["holds"][0]["reason"]),
        (&"R1".into(), &"court".into())
    );
    say(&["holds", "remove", "1"], "");
    assert_eq!(say(&["holds"], ""), "nothing\n");
    let again = orktrack(home.path(), &["holds", "remove", "R1"], "");
    assert_eq!(again.status.code(), Some(1));
    say(&["programs", "remove", "1"], "");

    let copy = home.path().join("copy.db");
    say(&["backup", copy.to_str().unwrap()], "");
    drop(running);
    assert!(copy.metadata().unwrap().len() > 10_000);
    let whole = say(&["check"], "");
    assert!(whole.contains("audit log whole") && whole.contains("database ok"), "{whole}");
    let gone = orktrack(home.path(), &["check", "--set", "audio.roots=vm=/nonexistent"], "");
    assert_eq!(gone.status.code(), Some(1));
    let help = Command::new(ORKTRACK).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("First steps:") && help.contains("orktrack tokens add"));
}
