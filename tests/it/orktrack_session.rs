//! A session with the tracker: every command of its API in the published form, by curl, with two recorders
//! behind it that have live calls. Each answer is compared to the byte, each change looked up in the
//! database.

use crate::agents::{Recorder, envelopes, recorder};
use ork_tests::{
    programs::{Running, program, wait_until},
    scenario::play,
    skip,
};
use std::{
    fs,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const DONE: &str = "class=simpleresponse success=true comment= \n";
const USER: &str = "class=userresponse success=true comment= returncode=NO_ERROR \n";
const TAPE: &str = "class=taperesponse success=true comment= deletetape=false \n";

/// A call that an agent sends to a recorder until it is hung up.
struct Call {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Call {
    fn begin(scene: &str, to: SocketAddr) -> Self {
        let packets = envelopes(&play(scene).unwrap(), "");
        let over = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&over);
        let send = move || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let begin = Instant::now();
            for (at, packet) in &packets {
                let due = begin + Duration::from_nanos(at - packets[0].0);
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if flag.load(Relaxed) {
                    break;
                }
                socket.send_to(packet, to).unwrap();
            }
            // BYE and its answer.
            for (_, packet) in &packets[packets.len() - 2..] {
                socket.send_to(packet, to).unwrap();
            }
        };
        let thread = thread::Builder::new().name("call".to_owned()).spawn(send).unwrap();
        Self { over, thread: Some(thread) }
    }

    fn hang_up(mut self) {
        self.over.store(true, Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The tracker that runs.
struct Tracker {
    port: u16,
    database: PathBuf,
    _running: Running,
}

impl Tracker {
    fn start(home: &Path) -> Self {
        let (port, database, log) = (free_port(), home.join("t.db"), home.join("tracker.log"));
        let import = home.join("import");
        fs::create_dir(&import).unwrap();
        fs::write(import.join("people.csv"), "loginstring,firstname,lastname\n7001,Ann,Lee\n")
            .unwrap();
        fs::write(import.join("hr.csv"), "loginstring,firstname,lastname\n7002,Bob,Roe\n").unwrap();
        let mut command = Command::new(program("orktrack"));
        command.arg("run");
        for set in [
            format!("listen=127.0.0.1:{port}"),
            format!("database={}", database.display()),
            format!("import.root={}", import.display()),
            "import.tasks=taskname=hr.csv".to_owned(),
            "fleet.heartbeat_s=1".to_owned(),
        ] {
            command.args(["--set", &set]);
        }
        let running = Running::start(&mut command, &log);
        wait_until("the tracker listens", || {
            fs::read_to_string(&log).unwrap().contains("tracker ready")
        });
        Self { port, database, _running: running }
    }

    /// What curl says of an address of the API document, taken literally: only the connection goes
    /// where the tracker listens here.
    fn curl(&self, url: &str, more: &[&str]) -> (String, String) {
        let mut command = Command::new("curl");
        command.args(["-sS", "-D", "-", "--max-time", "60", "--connect-to"]);
        let done = command.arg(format!("::127.0.0.1:{}", self.port)).args(more).arg(url).output();
        let done = done.unwrap();
        assert!(done.status.success(), "{url}: {}", String::from_utf8_lossy(&done.stderr));
        let text = String::from_utf8(done.stdout).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_ascii_lowercase(), body.to_owned())
    }

    /// The answer to an address, which is always said to be good.
    fn ask(&self, url: &str) -> String {
        let (head, body) = self.curl(url, &[]);
        assert!(head.starts_with("http/1.1 200 "), "{url}: {head}");
        body
    }

    /// The answer to a command.
    fn tell(&self, query: &str) -> String {
        self.ask(&format!("http://localhost:8080/orktrack/command?{query}"))
    }

    /// What the database says, through its own door.
    fn sql(&self, sql: &str) -> String {
        let database = rusqlite::Connection::open(&self.database).unwrap();
        let text = format!("SELECT coalesce(CAST(({sql}) AS TEXT), 'nothing')");
        database.query_row(&text, [], |row| row.get(0)).unwrap()
    }

    fn becomes(&self, sql: &str, expected: &str) {
        wait_until(&format!("{sql} gives {expected}"), || self.sql(sql) == expected);
    }
}

fn a_recorder(name: &str, tracker: &Tracker, live_port: u16) -> Recorder {
    recorder(&[
        &format!("tracker.urls=http://127.0.0.1:{}/orktrack", tracker.port),
        &format!("tracker.hostname={name}"),
        &format!("doors.command=127.0.0.1:{}", free_port()),
        &format!("doors.live=127.0.0.1:{live_port}"),
    ])
}

fn scene(local: &str, host: u8, remote: &str) -> String {
    format!(
        "a = {local}@192.168.1.{host} rtp={}; b = {remote}@203.0.113.{host} rtp={}; b->a INVITE; a->b 180; \
         a->b 200; b->a ACK; rtp 180s; b->a BYE; a->b 200",
        10_000 + 100 * u16::from(host),
        20_000 + 100 * u16::from(host),
    )
}

#[test]
fn every_command_of_the_tracker_in_its_published_form() {
    if Command::new("curl").arg("--version").output().is_err() {
        return skip::note("the tracker's published examples", "no curl");
    }
    let home = tempfile::tempdir().unwrap();
    let live_port = free_port();
    let tracker = Tracker::start(home.path());
    let near = a_recorder("localhost", &tracker, live_port);
    let far = a_recorder("annex", &tracker, free_port());
    tracker.becomes("SELECT count(*) FROM recorder WHERE health = 'up' AND version <> ''", "2");

    // A person by the published request, before any call, so that the call is that person's.
    assert_eq!(
        tracker.tell("cmd=adduser&firstname=John&lastname=Doe&loginstring=5001&groupname=Sales"),
        USER
    );
    let user = "SELECT id || firstname || lastname || recordable || external FROM orkuser";
    assert_eq!(tracker.sql(user), "1JohnDoe10");
    let group =
        "SELECT name || kind || orkuser FROM orkgroup g JOIN group_member m ON m.orkgroup = g.id";
    assert_eq!(tracker.sql(group), "Salesregular1");
    tracker.tell("cmd=adduser&firstname=Jane&lastname=Roe&loginstring=5002");

    let (first, second) = (
        Call::begin(&scene("5001", 11, "5145551234"), near.address),
        Call::begin(&scene("5002", 12, "5145559999"), far.address),
    );
    tracker.becomes("SELECT count(*) FROM tape WHERE state = 'live'", "2");
    let uid = tracker.sql("SELECT recid FROM tape WHERE hostname = 'localhost'");
    let other = tracker.sql("SELECT recid FROM tape WHERE hostname = 'annex'");
    let whose = "SELECT group_concat(orkuser || side || loginstring) FROM
         (SELECT * FROM segment ORDER BY orkuser)";
    assert_eq!(tracker.sql(whose), "1local5001,2local5002");

    recordings(&tracker);
    live_calls(&tracker, &uid, live_port);
    people(&tracker);
    agents(&tracker);
    tags(&tracker, &uid);
    small_ones(&tracker);
    wishes(&tracker, &uid, &other, &far);
    on_demand(&tracker, &uid, &other);

    first.hang_up();
    second.hang_up();
    let state = |uid: &str| format!("SELECT state FROM tape WHERE recid = '{uid}'");
    tracker.becomes(&state(&uid), "ready");
    tracker.becomes("SELECT count(*) FROM tape WHERE state = 'live'", "0");
    tracker.becomes(&state(&other), "stopped");
    wait_until("both tapes of the first recorder are there", || near.finished().len() == 2);
    wait_until("the discarded one is deleted", || far.finished().is_empty());
    let file = tracker.sql(&format!("SELECT filename FROM tape WHERE recid = '{uid}'"));
    assert!(near.finished().iter().any(|tape| tape.ends_with(&file)), "{file}");
    let kept = format!("SELECT keep || (discarded IS NULL) FROM tape WHERE recid = '{uid}'");
    assert_eq!(tracker.sql(&kept), "KEEP1");
    let discarded = format!("SELECT keep || (discarded IS NULL) FROM tape WHERE recid = '{other}'");
    assert_eq!(tracker.sql(&discarded), "DROP0");
    let idle = tracker.tell("cmd=livestatus&users=1");
    assert!(idle.contains("userstatuses=inactive--NEITHER--"), "{idle}");
    assert_eq!(
        tracker.tell("cmd=queryuser&localparty=5001"),
        "class=queryuserresponse success=true comment= returncode=NO_ERROR wanted=true active=false \n"
    );
}

/// The published recording messages and those of a telephone system about the same call.
fn recordings(tracker: &Tracker) {
    tracker.tell("cmd=adduser&firstname=Al&lastname=Fa&loginstring=3125551234");
    let message = |kind: &str, stage: &str, end: &str| {
        format!(
            "http://localhost:8080//orktrack/command?type={kind}&recid=20081116_190128_KUU&stage={stage}\
             &captureport=KUU&timestamp=1226880088{end}"
        )
    };
    let start = "&filename=2008/11/16/19/20081116_190128_KUU&localparty=3125551234&localentrypoint=\
         &remoteparty=3125550001&direction=unkn&duration=0&service=orkaudio&localip=192.168.1.1\
         &remoteip=192.168.10.1&nativecallid=&tags=&hostname=orkaudio&mediatype=A&live=true";
    let end = "&filename=2008/11/16/19/20081116_190128_KUU.wav&localparty=3125551234&localentrypoint=\
         &remoteparty=3125550001&direction=in&duration=35&service=orkaudio&localip=192.168.1.1\
         &remoteip=192.168.10.1&nativecallid=&tags=&hostname=orkaudio&mediatype=S&live=true";
    let row =
        "SELECT state || direction || duration || filename FROM tape WHERE hostname = 'orkaudio'";
    assert_eq!(tracker.ask(&message("metadata", "start", start)), DONE);
    assert_eq!(
        tracker.sql("SELECT captureport || localparty FROM cti WHERE stopped IS NULL"),
        "KUU3125551234"
    );
    assert_eq!(tracker.ask(&message("tape", "start", start)), TAPE);
    assert_eq!(tracker.sql(row), "liveunkn02008/11/16/19/20081116_190128_KUU");
    assert_eq!(tracker.ask(&message("tape", "stop", end)), TAPE);
    assert_eq!(tracker.sql(row), "stoppedin352008/11/16/19/20081116_190128_KUU.wav");
    let ready = message("tape", "ready", end).replace("//orktrack", "/orktrack");
    for stored in ["yes", "repeated", "repeated"] {
        let (head, body) = tracker.curl(&ready, &[]);
        assert!(head.contains(&format!("x-ork-stored: {stored}")) && body == TAPE, "{head}{body}");
    }
    assert_eq!(tracker.sql(row), "readyin352008/11/16/19/20081116_190128_KUU.wav");
    assert_eq!(tracker.sql("SELECT count(*) FROM tape WHERE recid = '20081116_190128_KUU'"), "1");
    let cti = "SELECT orkuser || loginstring FROM segment WHERE side = 'cti'";
    assert_eq!(tracker.sql(cti), "nothing", "the telephone system has not told the end");
    assert_eq!(tracker.ask(&message("metadata", "stop", end)), DONE);
    assert_eq!(tracker.sql("SELECT stopped FROM cti"), "1226880123");
    assert_eq!(tracker.sql(cti), "33125551234");
    rusqlite::Connection::open(&tracker.database)
        .unwrap()
        .execute("DELETE FROM segment WHERE side = 'cti'", [])
        .unwrap();
    assert_eq!(tracker.tell("cmd=evalmetadata&ids=1,2,87&startid=1"), DONE);
    assert_eq!(tracker.sql(cti), "33125551234", "matched again");
    let file = tracker.tell("cmd=addusers&keeppls=false&recordall=true&file=people.csv");
    assert_eq!(file, "class=simpleresponse success=true comment=added:1%supdated:0%srefused:0 \n");
}

/// The two statuses of the document, and the question about a party.
fn live_calls(tracker: &Tracker, uid: &str, live_port: u16) {
    let all =
        tracker.ask("http://localhost:8080/orktrack/command?cmd=livestatus&users=12,34,57,78,45");
    let idle = ["inactive--NEITHER--86401"; 5].join(",");
    let head = "class=livestatusresponse success=true returncode=NO_ERROR comment= userstatuses=";
    assert_eq!(all, format!("{head}{idle} \n"));
    let started: u64 =
        tracker.sql(&format!("SELECT started FROM tape WHERE recid = '{uid}'")).parse().unwrap();
    let (before, said) = (unix_now(), tracker.tell("cmd=livestatus&localparty=5000,5001"));
    let expected = (before..=unix_now()).map(|now| {
        format!(
            "{head}inactive--NEITHER--86401,localhost--{live_port}!5001--5145551234--NEITHER--{}--{uid}--IN\
             --both--REC \n",
            now - started
        )
    });
    assert!(
        expected.clone().any(|one| one == said),
        "{said} is none of {:?}",
        expected.collect::<Vec<_>>()
    );
    assert_eq!(
        tracker.ask("http://localhost:8080/orktrack/command?cmd=queryuser&localparty=5001"),
        "class=queryuserresponse success=true comment= returncode=NO_ERROR wanted=true active=true \n"
    );
}

fn people(tracker: &Tracker) {
    let add = "cmd=addloginstring&findloginstring=5001&newloginstring=6001";
    assert_eq!(tracker.tell(add), USER);
    let strings = "SELECT group_concat(loginstring) FROM login_string WHERE orkuser = 1";
    assert_eq!(tracker.sql(strings), "5001,6001");
    assert_eq!(
        tracker.tell("cmd=addloginstring&findloginstring=999&newloginstring=998"),
        "class=userresponse success=false comment=Error:%sERROR_NO_USER_FOUND_FOR_LOGINSTRING \
         returncode=ERROR_NO_USER_FOUND_FOR_LOGINSTRING \n"
    );
    assert_eq!(
        tracker.tell("cmd=adduser&firstname=John&lastname=Doe"),
        "class=userresponse success=false comment=Error:%sERROR_SAVING_USER returncode=ERROR_SAVING_USER \n"
    );
    assert_eq!(
        tracker.ask("http://localhost:8080/orktrack/command?cmd=extdbsync&name=taskname"),
        "class=simpleresponse success=true comment=added:1%supdated:0%srefused:0 \n"
    );
    let known = "SELECT group_concat(loginstring) FROM
         (SELECT * FROM login_string WHERE loginstring LIKE '700_' ORDER BY 1)";
    assert_eq!(tracker.sql(known), "7001,7002");
    let delete = "http://localhost:8080/orktrack/command?cmd=deletegroup&groupname=Sales";
    assert_eq!(
        tracker.ask(delete),
        "class=groupresponse success=true comment= returncode=NO_ERROR \n"
    );
    assert_eq!(tracker.sql("SELECT count(*) FROM orkgroup"), "0");
    assert!(tracker.ask(delete).starts_with("class=groupresponse success=false comment=Error:%s"));
}

/// The usage examples of agent tracking, as they stand, and the older form.
fn agents(tracker: &Tracker) {
    rusqlite::Connection::open(&tracker.database)
        .unwrap()
        .execute("INSERT INTO workstation (hostname, device) VALUES ('HomePC', '')", [])
        .unwrap();
    tracker.tell("cmd=adduser&firstname=Ag&lastname=Ent&loginstring=5000");
    let state = |rest: &str| {
        tracker.ask(&format!(
            "http://orktrack-server:8080/orktrack/command?cmd=agentstate&state={rest}"
        ))
    };
    let there = "SELECT coalesce(group_concat(agent || '@' || place || ':' || rfbport || ':' || agentgroup), '')
         FROM (SELECT * FROM agent_session WHERE until IS NULL ORDER BY place)";
    for (rest, now) in [
        ("login&agent=5000&device=2000&agentgroup=6000", "5000@2000::6000"),
        ("login&agent=5000&workstation=HomePC", "5000@2000::6000,5000@HomePC::"),
        (
            "login&agent=5000&device=2000&agentgroup=6000&workstation=HomePC",
            "5000@2000::6000,5000@HomePC::6000",
        ),
        ("logout&agent=5000&device=2000", "5000@HomePC::6000"),
        ("login&agent=5000&device=2000&agentgroup=6000", "5000@2000::6000,5000@HomePC::6000"),
        ("logout&device=2000", "5000@HomePC::6000"),
        ("logout&agent=5000&workstation=HomePC", ""),
        ("login&agent=5000&workstation=HomePC", "5000@HomePC::"),
        ("logout&workstation=HomePC", ""),
        ("login&agent=5000&workstation=HomePC&rfbport=5900", "5000@HomePC:5900:"),
        ("logout&workstation=HomePC&rfbport=5900", ""),
    ] {
        assert_eq!((state(rest).as_str(), tracker.sql(there).as_str()), (DONE, now), "{rest}");
    }
    assert_eq!(tracker.tell("cmd=userstate&userstate=LOGIN&loginstring=5000&recport=2002"), DONE);
    assert_eq!(tracker.sql(there), "5000@2002::");
    assert_eq!(tracker.tell("cmd=userstate&userstate=LOGOUT&loginstring=5000&recport=2002"), DONE);
    assert_eq!(tracker.sql(there), "");
}

fn tags(tracker: &Tracker, uid: &str) {
    let tags = "SELECT group_concat(recid || ' ' || tagtype || '=' || tagtext) FROM
         (SELECT * FROM moment_tag WHERE tagtype <> 'dtmfdigit' ORDER BY tagtype)";
    let by_uid = format!("cmd=addtag&orkuid={uid}&tagentry=CustomerNo:1234&tagentry=AgentID:3001");
    assert_eq!(tracker.tell(&by_uid), DONE);
    assert_eq!(tracker.sql(tags), format!("{uid} AgentID=3001,{uid} CustomerNo=1234"));
    assert_eq!(tracker.tell("cmd=addtag&localparty=5001&tagtype=Monitored&tagtext=test2"), DONE);
    let by_tag = "cmd=addtag&findtagtype=CustomerNo&findtagtext=1234&tagtype=Vip&tagtext=yes";
    assert_eq!(tracker.tell(by_tag), DONE);
    let expected = ["AgentID=3001", "CustomerNo=1234", "Monitored=test2", "Vip=yes"];
    assert_eq!(tracker.sql(tags), expected.map(|tag| format!("{uid} {tag}")).join(","));
    let shown = tracker.tell("cmd=livestatus&users=1");
    assert!(
        shown.ends_with("--REC--AgentID-3001;CustomerNo-1234;Monitored-test2;Vip-yes \n"),
        "{shown}"
    );
}

fn small_ones(tracker: &Tracker) {
    let base = "http://localhost:8080/orktrack/command?cmd=";
    assert_eq!(
        tracker.ask(&format!("{base}ping")),
        "class=simpleresponse success=true comment=pong \n"
    );
    for command in ["updatecache", "updatecache&cache=programsremoteparty", "reloadloggingconfig"] {
        assert_eq!(tracker.ask(&format!("{base}{command}")), DONE);
    }
    let json = tracker.curl(&format!("{base}ping"), &["-H", "Accept: application/json"]).1;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["success"], true);
}

/// `keep`, `discard`, `neither` 30 seconds into the call, as published; the recorder knows, too.
fn wishes(tracker: &Tracker, uid: &str, other: &str, far: &Recorder) {
    let begun: u64 = tracker
        .sql(&format!("SELECT max(started) FROM tape WHERE recid IN ('{uid}', '{other}')"))
        .parse()
        .unwrap();
    let early = tracker.tell("cmd=keep&userid=1&elapsedtime=3000");
    assert_eq!(early, "class=simpleresponse success=false comment=ERROR_NO_RECORDING_FOUND \n");
    let due = (begun + 30).saturating_sub(unix_now());
    thread::sleep(Duration::from_secs(due));
    let wish = |tape: &str| format!("SELECT keep FROM tape WHERE recid = '{tape}'");
    let tag = |tape: &str| {
        format!(
            "SELECT g.value FROM tape_tag g JOIN tape t ON t.id = g.tape
             WHERE t.recid = '{tape}' AND g.key = 'Keep'"
        )
    };
    for (command, user, tape, word) in [
        ("discard", 1, uid, "DROP"),
        ("neither", 1, uid, "NEITHER"),
        ("keep", 1, uid, "KEEP"),
        ("discard", 2, other, "DROP"),
    ] {
        let url = format!(
            "http://localhost:8080/orktrack/command?cmd={command}&userid={user}&elapsedtime=30"
        );
        let (head, body) = tracker.curl(&url, &[]);
        assert_eq!((body.as_str(), tracker.sql(&wish(tape)).as_str()), (DONE, word), "{command}");
        assert!(head.contains("x-ork-recorder: told"), "{head}");
        let status = tracker.tell(&format!("cmd=livestatus&users={user}"));
        assert!(status.contains(&format!("--{word}--")), "{status}");
    }
    // Each recorder tells it back of its own call.
    tracker.becomes(&tag(uid), "1");
    tracker.becomes(&tag(other), "0");
    assert!(far.finished().is_empty());
}

/// Commands for a recorder, which reach the one that has the call.
fn on_demand(tracker: &Tracker, uid: &str, other: &str) {
    let ask = |rest: &str| {
        tracker.ask(&format!("http://localhost:8080/orktrack/command?cmd=ondemand&type={rest}"))
    };
    let done = |what: &str, uid: &str, tail: &str| {
        format!(
            "class=simpleresponse success=true comment={what}%scapture%sfor%sparty:%sorkuid:{uid}\
             %snativecallid:{tail} \n"
        )
    };
    let paused = "SELECT group_concat(paused) FROM
         (SELECT paused FROM tape WHERE state = 'live' ORDER BY localparty)";
    for (rest, what, tape, tail, now) in [
        ("record&localparty=5001&side=both".to_owned(), "Starting", uid, "%sside:both", "0,0"),
        ("pause&localparty=5001&side=both".to_owned(), "Pausing", uid, "", "1,0"),
        ("pause&localparty=5002&side=both".to_owned(), "Pausing", other, "", "1,1"),
        ("resume&localparty=5001&side=both".to_owned(), "Starting", uid, "%sside:both", "0,1"),
        (format!("resume&orkuid={other}&side=both"), "Starting", other, "%sside:both", "0,0"),
    ] {
        assert_eq!(ask(&rest), done(what, tape, tail), "{rest}");
        assert_eq!(tracker.sql(paused), now, "{rest}");
        let status = tracker.tell("cmd=livestatus&users=1");
        let word = if now.starts_with('1') { "--both--PAUSED--" } else { "--both--REC--" };
        assert!(status.contains(word), "{status}");
    }
    let marked = format!("SELECT ondemand FROM tape WHERE recid = '{uid}'");
    tracker.becomes(&marked, "1");

    // What is said, while it is said: 8000 samples of 16 bits a second, from either recorder.
    for party in ["5001", "5002"] {
        let url = format!(
            "http://localhost:8080/orktrack/command?cmd=ondemand&type=streamaudio&localparty={party}"
        );
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "3", "--connect-to"]);
        let heard =
            curl.arg(format!("::127.0.0.1:{}", tracker.port)).arg(url).output().unwrap().stdout;
        let samples: Vec<i16> =
            heard.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
        assert!((12_000..28_000).contains(&samples.len()), "{} of {party}", samples.len());
        let loud = samples.iter().filter(|sample| sample.unsigned_abs() > 1000).count();
        assert!(loud > samples.len() / 2, "{loud} of {}", samples.len());
    }

    let nobody = "class=simpleresponse success=false comment=ERROR_NO_RECORDING_FOUND \n";
    for rest in [
        "pause&localparty=5999",
        "pause&localparty=5002&orkuid=ABCD&side=both",
        "record&localparty=5999",
    ] {
        assert_eq!(ask(rest), nobody, "{rest}");
    }
    let stopped = ask("stop&localparty=5001&side=both");
    let expected = done("Stopping", uid, "%sRtpNumPkts:");
    assert!(stopped.starts_with(expected.trim_end()), "{stopped}");
    tracker.becomes(&format!("SELECT state FROM tape WHERE recid = '{uid}'"), "ready");
    assert_eq!(ask("pause&localparty=5001"), nobody, "it is not recorded");
    // The call goes on; asked for, it is recorded again.
    let again = ask("record&localparty=5001&side=both");
    assert!(
        again.starts_with(
            "class=simpleresponse success=true comment=Starting%scapture%sfor%sparty:5001%s"
        ),
        "{again}"
    );
    let anew = "SELECT count(*) FROM tape WHERE localparty = '5001' AND state = 'live'";
    tracker.becomes(anew, "1");
    let audited =
        "SELECT count(*) FROM audit WHERE action = 'ondemand' AND target LIKE 'type=pause%'";
    assert_eq!(tracker.sql(audited), "5");
}
