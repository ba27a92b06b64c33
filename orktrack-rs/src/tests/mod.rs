//! The tracker from outside: bytes in, bytes out, over a real socket.

mod api;
mod commands;
mod fleet;
mod holds;
mod observed;
mod postgres;
mod rights;
mod search;
mod server;

use crate::{
    Tracker,
    config::Config,
    sample::{INIT, READY, START, STOP},
    start,
    store::{
        Query, Reader, Recording,
        accounts::{self, Issue, Role, Written},
        once, recorders,
        session::{FromValue, SessionExt},
    },
};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    time::Duration,
};

struct Bench {
    tracker: Tracker,
    database: PathBuf,
    _home: tempfile::TempDir,
}

struct Answer {
    head: String,
    body: String,
}

impl Answer {
    fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("place");
        fs::create_dir(&place).unwrap();
        let database = postgres::fresh().unwrap_or_else(|| place.join("orktrack.db"));
        let mut config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            database: database.clone(),
            ..Config::default()
        };
        change(&mut config);
        Self { tracker: start(&config).unwrap(), database, _home: home }
    }

    fn send(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.tracker.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Answer { head: head.to_owned(), body: body.to_owned() }
    }

    fn get(&self, target: &str) -> Answer {
        self.send(format!("GET {target} HTTP/1.0\r\nHost: 127.0.0.1:8080\r\n\r\n").as_bytes())
    }

    /// An account of this role; returns a token for it.
    fn account(&self, name: &str, role: Role, userid: Option<i64>, groups: &[i64]) -> String {
        let token = format!("token-of-{name}");
        let written = Written {
            name: name.to_owned(),
            role,
            password: None,
            userid,
            disabled: false,
            groups: groups.to_vec(),
        };
        let hash = crate::secret::sha256(&token);
        let made = once(&self.database, |session| {
            accounts::revoke(session, &hash)?;
            let account = accounts::put(session, &written, 5)?;
            let issue =
                Issue { account, kind: "token", hash, name: String::new(), expires: u64::MAX };
            accounts::issue(session, &issue, 5)
        });
        made.unwrap();
        token
    }

    /// A request with a token.
    fn ask(&self, token: &str, method: &str, target: &str, body: &str) -> Answer {
        let length = body.len();
        self.send(
            format!(
                "{method} {target} HTTP/1.0\r\nAuthorization: Bearer {token}\r\n\
                 Content-Length: {length}\r\n\r\n{body}"
            )
            .as_bytes(),
        )
    }

    /// A request by an admin.
    fn api(&self, target: &str) -> Answer {
        let token = self.account("root", Role::Admin, None, &[]);
        self.ask(&token, "GET", target, "")
    }

    fn tell(&self, query: &str) -> Answer {
        self.get(&format!("/orktrack/command?{query}"))
    }

    /// What the database says, through its own door.
    fn sql<T: FromValue>(&self, sql: &str) -> T {
        let said = Reader::open(&self.database).unwrap().read(|session| session.value(sql, &[]));
        said.unwrap_or_else(|error| panic!("{sql}: {error}")).unwrap_or_else(|| panic!("{sql}"))
    }

    /// Changes something behind the tracker's back.
    fn change(&self, sql: &str) {
        once(&self.database, |session| session.change(sql, &[])).unwrap();
    }

    fn recordings(&self) -> Vec<Recording> {
        Reader::open(&self.database).unwrap().recordings(&Query::default()).unwrap().recordings
    }
}

const TAKEN: &str = "class=taperesponse success=true comment= deletetape=false \n";

#[test]
fn an_original_recorder_is_answered_as_it_expects() {
    let bench = Bench::new();
    let init = bench.tell(INIT);
    assert_eq!((init.status(), init.header("x-ork-stored")), ("200", Some("yes")));
    assert!(init.head.starts_with("HTTP/1.0 200 OK") && init.head.contains("text/plain"));
    assert_eq!(init.body, "class=simpleresponse success=true comment= \n");
    for (query, state) in [(START, "live"), (STOP, "stopped"), (READY, "ready")] {
        let told = bench.tell(query);
        assert_eq!((told.status(), told.body.as_str()), ("200", TAKEN));
        let recordings = bench.recordings();
        assert_eq!((recordings.len(), recordings[0].state.as_str()), (1, state));
    }
    let one = &bench.recordings()[0];
    assert_eq!((one.recid.as_str(), one.duration), ("20261121_021704_EZIP", 2));
    assert_eq!((one.started, one.stopped), (1_795_227_424, Some(1_795_227_426)));
    assert_eq!(one.filename, "2026/11/21/02/20261121_021704_EZIP.wav");
    assert_eq!(Reader::open(&bench.database).unwrap().read(recorders::count).unwrap(), 1);
}

#[test]
fn a_tag_may_come_before_its_recording_and_counts_once() {
    let bench = Bench::new();
    let tag = |text: &str, offset: u32| {
        format!(
            "type=addtag&localparty=100000&orkuid=20261121_021704_EZIP&tagtype=dtmfdigit\
             &tagtext={text}&offsetmsec={offset}&"
        )
    };
    for (query, stored) in [
        (tag("5", 900), "yes"),
        (tag("5", 900), "repeated"),
        (tag("%23", 100), "yes"),
        (tag("5", 901), "yes"),
        (START.to_owned(), "yes"),
        (tag("%23", 100), "repeated"),
    ] {
        let told = bench.tell(&query);
        assert_eq!((told.status(), told.header("x-ork-stored")), ("200", Some(stored)));
    }
    assert_eq!(bench.tell(&tag("1", 1)).body, "class=simpleresponse success=true comment= \n");
    let moments = &bench.recordings()[0].moments;
    let moments: Vec<_> = moments.iter().map(|m| (m.tagtext.as_str(), m.offsetmsec)).collect();
    assert_eq!(moments, [("1", 1), ("#", 100), ("5", 900), ("5", 901)]);
    let refused = bench.tell("type=addtag&tagtype=a&tagtext=b&");
    assert_eq!((refused.status(), refused.header("x-ork-stored")), ("200", Some("refused")));
}

#[test]
fn a_repeated_message_is_acknowledged_and_not_kept_twice() {
    let bench = Bench::new();
    for (query, stored) in
        [(READY, "yes"), (READY, "repeated"), (START, "yes"), (READY, "repeated")]
    {
        let told = bench.tell(query);
        assert_eq!((told.body.as_str(), told.header("x-ork-stored")), (TAKEN, Some(stored)));
    }
    let recordings = bench.recordings();
    assert_eq!((recordings.len(), recordings[0].state.as_str()), (1, "ready"));
    assert_eq!(recordings[0].filename, "2026/11/21/02/20261121_021704_EZIP.wav");
    assert_eq!(bench.tracker.counters().store_repeated.now(), 2);
}

#[test]
fn what_is_not_on_the_disk_is_answered_503() {
    let bench = Bench::new();
    let place = bench.database.parent().unwrap();
    fs::remove_dir_all(place).unwrap();
    let told = bench.tell(READY);
    assert_eq!((told.status(), told.header("retry-after")), ("503", Some("2")));
    assert!(told.body.starts_with("class=taperesponse success=false comment=not%sstored:"));
    let init = bench.tell(INIT);
    assert_eq!((init.status(), init.header("x-ork-stored")), ("200", Some("pending")));
    assert_eq!(init.body, "class=simpleresponse success=true comment= \n");
    assert_eq!(bench.tell("cmd=ping").header("x-ork-health"), Some("failing"));
    assert_eq!(bench.get("/healthz").status(), "503");
    assert_eq!(bench.ask("x", "GET", "/api/v1/recordings", "").status(), "503");

    fs::create_dir(place).unwrap();
    assert_eq!(bench.tell(READY).body, TAKEN);
    assert_eq!(bench.recordings().len(), 1);
    let health = bench.get("/healthz");
    assert_eq!((health.status(), &health.json()["recorders"]), ("200", &1.into()));
}

#[test]
fn the_command_is_found_where_people_put_it() {
    let bench = Bench::new();
    let pong = "class=simpleresponse success=true comment=pong \n";
    for target in [
        "/orktrack/command?cmd=ping",
        "//orktrack//command?type=ping&",
        "/command?class=PING",
        "/any/prefix/command/?cmd=ping&type=tape",
    ] {
        let answer = bench.get(target);
        assert_eq!((answer.body.as_str(), answer.header("x-ork-health")), (pong, Some("ok")));
    }
    let form = "type=ping";
    let post = format!(
        "POST /orktrack/command HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{form}",
        form.len()
    );
    assert_eq!(bench.send(post.as_bytes()).body, pong);
    assert_eq!(bench.get("/").status(), "404");
    let deleted = bench.send(b"DELETE /orktrack/command HTTP/1.0\r\n\r\n");
    assert_eq!((deleted.status(), deleted.header("allow")), ("405", Some("GET, POST")));
}

#[test]
fn what_cannot_be_understood_is_refused_with_a_reason() {
    let bench = Bench::new();
    for (query, comment) in [
        ("foo=bar", "no%scommand:%sgive%sone%sof%scmd,%sclass,%stype"),
        ("cmd=livestat", "command%snot%sknown:%slivestat"),
        ("type=tape&recid=&stage=start", "parameter%smissing:%srecid"),
        ("type=tape&recid=a&stage=no&timestamp=1", "invalid%svalue%sfor%sstage:%sno"),
        ("type=init&name=x", "parameter%smissing:%shostname"),
        ("type=a%0d%0aX-Evil:1", "command%snot%sknown:%sa%s%sx-evil:1"),
    ] {
        let answer = bench.tell(query);
        let expected = format!("class=simpleresponse success=false comment={comment} \n");
        assert_eq!((answer.status(), &answer.body), ("200", &expected));
        assert_eq!(answer.header("x-ork-stored"), Some("refused"));
    }
    assert_eq!(bench.tracker.counters().http_refused.now(), 6);
}

#[test]
fn json_on_request() {
    let bench = Bench::new();
    let target = format!("/orktrack/command?{START}");
    let request =
        format!("GET {target} HTTP/1.0\r\nAccept: text/html, application/json;q=1\r\n\r\n");
    let answer = bench.send(request.as_bytes());
    assert!(answer.head.contains("application/json"));
    let expected = serde_json::json!({
        "class": "taperesponse", "success": true, "comment": "", "deletetape": false
    });
    assert_eq!(answer.json(), expected);
}

#[test]
fn bounds_hold() {
    let bench = Bench::new();
    let long = "a".repeat(20_000);
    assert_eq!(bench.tell(&format!("type=ping&x={long}")).status(), "431");
    let post = format!(
        "POST /command HTTP/1.1\r\nConnection: close\r\nContent-Length: 70000\r\n\r\n{}",
        "a".repeat(70_000)
    );
    let mut stream = TcpStream::connect(bench.tracker.address()).unwrap();
    stream.write_all(post.as_bytes()).unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 413");
}

#[test]
fn one_connection_at_a_time_still_serves_everybody() {
    let bench = Bench::with(|config| config.max_connections = 1);
    let mut first = TcpStream::connect(bench.tracker.address()).unwrap();
    first.write_all(b"GET /command?cmd=ping HTTP/1.0\r\n").unwrap();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| bench.tell("cmd=ping").status().to_owned());
        first.write_all(b"\r\n").unwrap();
        let mut text = String::new();
        first.read_to_string(&mut text).unwrap();
        assert!(text.contains("comment=pong"));
        assert_eq!(second.join().unwrap(), "200");
    });
}

#[test]
fn pages_follow_one_another_newest_first() {
    let bench = Bench::new();
    for n in 0..5 {
        let recid = format!("R{n}");
        // Two of them began in the same second.
        let began = format!("timestamp={}", 1000 + n / 2);
        let query = START
            .replace("20261121_021704_EZIP", &recid)
            .replace("timestamp=1795227424", &began)
            .replace("tags=", "tags=codec%3APCMU");
        assert_eq!(bench.tell(&query).body, TAKEN);
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let target = format!("/api/v1/recordings?limit=2&party=200000&cursor={cursor}");
        let page = bench.api(&target).json();
        for one in page["recordings"].as_array().unwrap() {
            assert_eq!(one["tags"]["codec"], "PCMU");
            seen.push(one["recid"].as_str().unwrap().to_owned());
        }
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    assert_eq!(seen, ["R4", "R3", "R2", "R1", "R0"]);
    let count = |query: &str| {
        let page = bench.api(&format!("/api/v1/recordings?{query}")).json();
        page["recordings"].as_array().unwrap().len()
    };
    assert_eq!(count("party=300000"), 0);
    assert_eq!(count("since=1970-01-01T00:16:41Z&until=1970-01-01T00:16:42Z"), 2);
    let wrong = bench.api("/api/v1/recordings?since=soon");
    assert_eq!(wrong.status(), "400");
    assert!(wrong.body.contains("is not a moment"));
}

#[test]
fn stopping_finishes_what_is_under_way() {
    let bench = Bench::new();
    assert_eq!(bench.tell(START).body, TAKEN);
    // An idle connection does not hold up the end.
    let mut idle = TcpStream::connect(bench.tracker.address()).unwrap();
    idle.write_all(b"GET /command?cmd=ping HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut first = [0; 15];
    idle.read_exact(&mut first).unwrap();
    let Bench { tracker, database, _home } = bench;
    let (address, running) = (tracker.address(), tracker.is_running());
    tracker.stop();
    assert!(running && TcpStream::connect(address).is_err());
    let wal = database.with_extension("db-wal");
    assert!(!wal.exists(), "the database was closed in order");
    assert_eq!(Reader::open(&database).unwrap().read(recorders::count).unwrap(), 1);
}

#[test]
fn a_taken_port_is_told_in_one_line_with_a_remedy() {
    let bench = Bench::new();
    let config = Config {
        listen: bench.tracker.address(),
        database: bench.database.clone(),
        ..Config::default()
    };
    let error = start(&config).unwrap_err().to_string();
    assert!(error.contains("cannot listen on 127.0.0.1:") && error.contains("--set listen="));
    assert_eq!(error.lines().count(), 1);
    let config = Config {
        listen: ([127, 0, 0, 1], 0).into(),
        database: "/nonexistent/orktrack.db".into(),
        ..Config::default()
    };
    let error = start(&config).unwrap_err().to_string();
    assert!(
        error.contains("cannot open database /nonexistent") && error.contains("--set database")
    );
    assert_eq!(error.lines().count(), 1);
}
