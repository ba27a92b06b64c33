//! Trackers, recorders and what stands between them, for the rows that break them.

use super::Bench;
use crate::{
    generator::{
        calls::{Spec, write},
        law::{Codec, Law, Side},
    },
    programs::Running,
    wav::Wav,
    wrap::{Capture, agents::hep3},
};
use orkaudio::track::{Reporter, ReporterConfig, ReporterHandle};
use orkbase::message::{
    Message,
    init::InitMessage,
    tape::{Direction, KeepSide, Stage, TapeMessage},
    url,
};
use rusqlite::{Connection, OpenFlags};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// The longest start of a program.
const START: Duration = Duration::from_secs(60);

/// A message about a recording of the host `vm`.
pub(super) fn message(recid: &str, stage: Stage) -> TapeMessage {
    TapeMessage {
        recid: recid.to_owned(),
        stage,
        captureport: "AAAA".to_owned(),
        timestamp: 1_795_227_424,
        filename: format!("2026/11/21/02/{recid}"),
        localparty: "100000".to_owned(),
        localentrypoint: String::new(),
        remoteparty: "200000".to_owned(),
        direction: Direction::Out,
        duration: 0,
        service: "faults".to_owned(),
        localip: "10.1.0.1".to_owned(),
        remoteip: "10.2.0.1".to_owned(),
        nativecallid: format!("{recid}@vm"),
        tags: BTreeMap::new(),
        ondemand: false,
        side: KeepSide::Both,
        live: true,
        hostname: "vm".to_owned(),
    }
}

/// A link to these trackers.
pub(super) fn reporter(
    urls: &[String],
    state: Option<&Path>,
) -> Result<(Reporter, ReporterHandle), String> {
    let trackers: Result<_, _> = urls.iter().map(|url| url.parse()).collect();
    let trackers = trackers.map_err(|e| format!("{e}"))?;
    let init = InitMessage::new("faults", "vm", 1, "/nowhere");
    let link = ReporterConfig {
        state_db: state.map(Path::to_owned),
        retry_min: Duration::from_millis(100),
        retry_max: Duration::from_secs(2),
        init_retry_max: Duration::from_millis(500),
        ..ReporterConfig::new(trackers, init)
    };
    Reporter::start(link).map_err(|e| e.to_string())
}

/// Resident memory of a process, in MB.
pub(super) fn rss_mb(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u32>().ok());
    f64::from(kib.unwrap_or(0)) * 1024.0 / 1e6
}

/// Tells a tracker one message; whether it says that it is stored.
pub(super) fn told_by(port: u16, message: &TapeMessage) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let body = url::encode(&message.fields());
        write!(stream, "GET /orktrack/command?{body} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(64 << 10).read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains(" 200 ") && answer.contains("success=true"))
}

/// A port that is free now.
fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| e.to_string())?;
    listener.local_addr().map(|address| address.port()).map_err(|e| e.to_string())
}

/// Starts a program and waits for a word of its log.
fn start(command: &mut Command, log: &Path, word: &str) -> Result<Running, String> {
    let mut running = Running::start(command, log);
    let limit = Instant::now() + START;
    loop {
        let said = fs::read_to_string(log).unwrap_or_default();
        if said.contains(word) {
            return Ok(running);
        }
        if !running.runs() || Instant::now() > limit {
            return Err(format!("{command:?} does not start: {said}"));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// A tracker that runs, or did.
pub(super) struct Tracker {
    program: PathBuf,
    pub(super) port: u16,
    database: PathBuf,
    log: PathBuf,
    running: Option<Running>,
}

impl Tracker {
    pub(super) fn start(bench: &Bench, home: &Path, name: &str) -> Result<Self, String> {
        let mut tracker = Self {
            program: bench.programs.join("orktrack"),
            port: free_port()?,
            database: home.join(format!("{name}.db")),
            log: home.join(format!("{name}.log")),
            running: None,
        };
        tracker.again()?;
        Ok(tracker)
    }

    /// Starts it on the same port and database.
    pub(super) fn again(&mut self) -> Result<(), String> {
        let mut command = Command::new(&self.program);
        command.env_clear().arg("run").arg("--config").arg("/dev/null");
        command.arg("--set").arg(format!("listen=127.0.0.1:{}", self.port));
        command.arg("--set").arg(format!("database={}", self.database.display()));
        self.running = Some(start(&mut command, &self.log, "tracker ready")?);
        Ok(())
    }

    /// Kills it.
    pub(super) fn kill(&mut self) {
        self.running = None;
    }

    pub(super) fn pid(&self) -> u32 {
        self.running.as_ref().map_or(0, |running| running.0.id())
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/orktrack", self.port)
    }

    fn read(&self) -> rusqlite::Result<Connection> {
        let database =
            Connection::open_with_flags(&self.database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        database.busy_timeout(Duration::from_secs(10))?;
        Ok(database)
    }

    /// A number out of its database; -1 if there is none.
    pub(super) fn count(&self, sql: &str) -> i64 {
        self.read().and_then(|db| db.query_row(sql, [], |row| row.get(0))).unwrap_or(-1)
    }

    /// All it knows: recordings and stages.
    pub(super) fn stages(&self) -> BTreeSet<(String, String)> {
        let all = || -> rusqlite::Result<BTreeSet<(String, String)>> {
            let database = self.read()?;
            let sql = "SELECT recid, stage FROM tape_stage s JOIN tape t ON t.id = s.tape";
            let mut ask = database.prepare(sql)?;
            ask.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        all().unwrap_or_default()
    }

    /// Whether `orktrack check` finds nothing.
    pub(super) fn check(&self, bench: &Bench) -> bool {
        let mut command = Command::new(bench.programs.join("orktrack"));
        command.env_clear().args(["check", "--database"]).arg(&self.database);
        command.output().is_ok_and(|done| done.status.success())
    }
}

/// A proxy that swallows the answer to every message when it passes for the first time.
pub(super) struct Forgetful {
    port: u16,
    swallowed: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Forgetful {
    pub(super) fn start(tracker: u16) -> Result<Self, String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| e.to_string())?;
        let port = listener.local_addr().map_err(|e| e.to_string())?.port();
        let (swallowed, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (Arc::clone(&swallowed), Arc::clone(&over));
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let accept = move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if end.load(Relaxed) {
                    return;
                }
                let (seen, count) = (Arc::clone(&seen), Arc::clone(&count));
                let pass = move || drop(pass(stream, tracker, &seen, &count));
                drop(thread::Builder::new().name("forgetful".to_owned()).spawn(pass));
            }
        };
        thread::Builder::new()
            .name("forgetful".to_owned())
            .spawn(accept)
            .map_err(|e| e.to_string())?;
        Ok(Self { port, swallowed, over })
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/orktrack", self.port)
    }

    pub(super) fn swallowed(&self) -> u64 {
        self.swallowed.load(Relaxed)
    }
}

impl Drop for Forgetful {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        // So that it wakes up and sees it.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

/// One request a connection: asks the tracker, reads all it says, and says it or does not.
fn pass(
    mut client: TcpStream,
    tracker: u16,
    seen: &Mutex<BTreeSet<Vec<u8>>>,
    swallowed: &AtomicU64,
) -> std::io::Result<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if client.read(&mut byte)? == 0 || head.len() > 64 << 10 {
            return Ok(());
        }
        head.extend(byte);
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default().to_vec();
    let target = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, tracker))?;
    server.write_all(&[b"GET ", target, b" HTTP/1.0\r\n\r\n"].concat())?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    let tape = target.windows(9).any(|nine| nine == b"type=tape");
    let first = seen.lock().unwrap_or_else(PoisonError::into_inner).insert(line);
    if tape && first {
        swallowed.fetch_add(1, Relaxed);
        return client.shutdown(Shutdown::Both);
    }
    client.write_all(&answer)
}

/// A recorder that capture agents send to.
pub(super) struct Recorder {
    running: Running,
    pub(super) agents: SocketAddr,
    pub(super) tapes: PathBuf,
}

impl Recorder {
    /// Threads it has.
    pub(super) fn threads(&self) -> usize {
        let folder = format!("/proc/{}/task", self.running.0.id());
        fs::read_dir(folder).map_or(0, Iterator::count)
    }
}

/// Calls whose audio tells what it is.
pub(super) struct Calls {
    frames: Capture,
    law: Law,
}

/// Headers before the payload of RTP: Ethernet, IPv4, UDP, RTP.
const HEADERS: usize = 14 + 20 + 8 + 12;

impl Calls {
    pub(super) fn new(calls: u32, seconds: f64) -> Self {
        let spec = Spec { calls, seconds, stagger: 1.0, nanoseconds: true, ..Spec::default() };
        let frames = || -> Result<Capture, String> {
            let file = tempfile::NamedTempFile::new().map_err(|e| e.to_string())?;
            let out = File::create(file.path()).map_err(|e| e.to_string())?;
            write(&spec, out).map_err(|e| e.to_string())?;
            Capture::read(file.path())
        };
        let frames = frames().unwrap_or_else(|_| Capture::ethernet(&[]));
        Self { frames, law: Law::new(Codec::Pcmu) }
    }

    /// A recorder for them that tells these trackers.
    pub(super) fn recorder(
        &self,
        bench: &Bench,
        home: &Path,
        trackers: &[String],
    ) -> Result<Recorder, String> {
        let (tapes, log) = (home.join("tapes"), home.join("recorder.log"));
        let port = free_port()?;
        let mut command = Command::new(bench.programs.join("orkaudio"));
        command.env_clear().args(["run", "--config", "/dev/null"]);
        for set in [
            "capture.interfaces=".to_owned(),
            format!("capture.hep_listen=127.0.0.1:{port}"),
            format!("tracker.urls={}", trackers.join(",")),
            "doors.command=".to_owned(),
            "doors.events=".to_owned(),
            "doors.live=".to_owned(),
            format!("tapes.folder={}", tapes.display()),
            format!("tracker.state_folder={}", home.join("state").display()),
        ] {
            command.args(["--set", &set]);
        }
        let running = start(&mut command, &log, " recording ")?;
        Ok(Recorder { running, agents: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), tapes })
    }

    /// Sends every packet when it is due.
    pub(super) fn send(&self, to: SocketAddr) -> Result<(), String> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| e.to_string())?;
        let begin = Instant::now();
        let first = self.frames.frames.first().map_or(0, |frame| frame.at);
        for frame in &self.frames.frames {
            let (Some(head), Some(payload)) = (frame.bytes.get(..42), frame.bytes.get(42..)) else {
                continue;
            };
            let end = |address: usize, port: usize| {
                let ip: [u8; 4] = head.get(address..address + 4)?.try_into().ok()?;
                let port: [u8; 2] = head.get(port..port + 2)?.try_into().ok()?;
                Some(SocketAddr::from((ip, u16::from_be_bytes(port))))
            };
            let (Some(from), Some(dst)) = (end(26, 34), end(30, 36)) else { continue };
            let due = begin + Duration::from_nanos(frame.at - first);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let packet = hep3(frame.at, from, dst, payload, "").map_err(|e| e.to_string())?;
            socket.send_to(&packet, to).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// Blocks of audio that were sent and are on no tape.
    pub(super) fn missing(&self, tapes: &Path) -> Result<usize, String> {
        let mut sent = BTreeSet::new();
        for frame in &self.frames.frames {
            if frame.bytes.get(HEADERS - 12) == Some(&0x80) {
                let payload = frame.bytes.get(HEADERS..).unwrap_or_default();
                let samples: Vec<i16> =
                    payload.iter().map(|code| Codec::Pcmu.decode(*code)).collect();
                let marks = self.law.marks(&samples);
                sent.extend(marks.iter().map(|(_, m)| (m.call, m.side == Side::Caller, m.block)));
            }
        }
        for tape in crate::generator::check::find_tapes(tapes)? {
            let wav = Wav::read(&tape.file)?;
            for (channel, samples) in wav.channels.iter().enumerate() {
                for (_, mark) in self.law.marks(samples) {
                    if (mark.side == Side::Caller) == (channel == 0) {
                        sent.remove(&(mark.call, channel == 0, mark.block));
                    }
                }
            }
        }
        Ok(sent.len())
    }
}
