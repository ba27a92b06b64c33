//! A live recorder that capture agents feed over loopback, and a tracker it tells.

use super::Bench;
use crate::wav::Wav;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use orkbase::message::{tape::TapeMessage, url};
use orktrack::config::Config;
use orkvault::{keys::KeyRing, sealed::Vessel};
use rusqlite::{Connection, OpenFlags};
use std::{
    collections::BTreeMap,
    fmt::Display,
    fs::{self, File, Permissions},
    io::{BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// What went wrong with the rig, or with what is under test.
pub(super) type Try<T> = Result<T, String>;

/// Puts a name to an error.
pub(super) fn while_<E: Display>(doing: &str) -> impl FnOnce(E) -> String {
    move |error| format!("{doing}: {error}")
}

/// Waits until `done`, at most so long; false when it never was.
pub(super) fn wait(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + patience;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Where a recorder writes.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// Below it everything lies.
    pub(super) home: PathBuf,
    /// Further settings.
    pub(super) more: Vec<String>,
    /// What recordings are sealed with.
    keys: Option<Arc<KeyRing>>,
}

impl Site {
    pub(super) fn new(home: &Path, more: &[&str]) -> Self {
        let more = more.iter().map(|set| (*set).to_owned()).collect();
        Self { home: home.to_owned(), more, keys: None }
    }

    /// The same; recordings and the packets of all calls are sealed with the key in a file that is made at
    /// `keys`.
    pub(super) fn sealed(self, keys: &Path) -> Try<Self> {
        let text = format!("faults:{}\n", "5a".repeat(32));
        fs::write(keys, &text).map_err(while_("keys"))?;
        fs::set_permissions(keys, Permissions::from_mode(0o600)).map_err(while_("keys"))?;
        let ring = KeyRing::parse(text.as_bytes()).map_err(while_("keys"))?;
        let sets = [format!("tapes.encrypt_key={}", keys.display()), "tapes.packets=always".into()];
        let more = self.more.into_iter().chain(sets).collect();
        Ok(Self { more, keys: Some(Arc::new(ring)), ..self })
    }

    /// What recordings end in.
    pub(super) fn extension(&self) -> &'static str {
        if self.keys.is_some() { ".wav.sealed" } else { ".wav" }
    }

    /// A recording, opened by its key if it must be.
    pub(super) fn wav(&self, name: &str) -> Try<Wav> {
        let file = File::open(self.tapes().join(name)).map_err(while_(name))?;
        let file = Vessel::open(file, self.keys.as_deref()).map_err(while_(name))?;
        match (&file, &self.keys) {
            (Vessel::Plain(_), Some(_)) => Err(format!("{name} is not sealed")),
            _ => Wav::of(BufReader::new(file), name),
        }
    }

    pub(super) fn tapes(&self) -> PathBuf {
        self.home.join("tapes")
    }

    pub(super) fn state(&self) -> PathBuf {
        self.home.join("state")
    }

    /// Files below the folder of tapes that end so.
    pub(super) fn files(&self, end: &str) -> Vec<PathBuf> {
        let (mut found, mut folders) = (Vec::new(), vec![self.tapes()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.to_string_lossy().ends_with(end) {
                    found.push(path);
                }
            }
        }
        found
    }
}

/// A running recorder; killed when dropped.
#[derive(Debug)]
pub(super) struct Recorder {
    child: Child,
    log: PathBuf,
    /// Where agents send to.
    pub(super) agents: SocketAddr,
    command: SocketAddr,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Recorder {
    /// Starts one, behind the words of `before` (`strace`, `prlimit`); its log is `log` in the site's home.
    pub(super) fn spawn(bench: &Bench, site: &Site, log: &Path, before: &[&str]) -> Try<Child> {
        let program = bench.programs.join("orkaudio").display().to_string();
        let mut words = before.iter().copied().chain([program.as_str(), "run"]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        let own = [
            "capture.interfaces=".to_owned(),
            "capture.hep_listen=127.0.0.1:0".to_owned(),
            "doors.command=127.0.0.1:0".to_owned(),
            "doors.events=".to_owned(),
            "doors.live=".to_owned(),
            format!("tapes.folder={}", site.tapes().display()),
            format!("tracker.state_folder={}", site.state().display()),
        ];
        for set in own.iter().chain(&site.more) {
            command.args(["--set", set]);
        }
        let file = File::create(log).map_err(while_("log"))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        command.env("NO_COLOR", "1").spawn().map_err(while_("starting the recorder"))
    }

    /// Starts one and waits until it listens.
    pub(super) fn start(bench: &Bench, site: &Site, log: &str, before: &[&str]) -> Try<Self> {
        let log = bench.scratch.join(log);
        let mut child = Self::spawn(bench, site, &log, before)?;
        let mut said = String::new();
        let listens = wait(Duration::from_secs(60), || {
            said = fs::read_to_string(&log).unwrap_or_default();
            said.contains("recording\u{1b}") || said.contains(" recording ") || !runs(&mut child)
        });
        let address = |word: &str| {
            let plain = plain(&said);
            let rest = plain.split(&format!("{word}=")).nth(1)?;
            rest.split_whitespace().next()?.parse().ok()
        };
        match (address("agents"), address("command")) {
            (Some(agents), Some(command)) if listens => Ok(Self { child, log, agents, command }),
            _ => {
                drop(child.kill());
                drop(child.wait());
                Err(format!("the recorder does not start: {}", tail(&plain(&said))))
            }
        }
    }

    /// Its process.
    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX))
    }

    pub(super) fn signal(&self, signal: Signal) -> Try<()> {
        kill(self.pid(), signal).map_err(while_("signal"))
    }

    /// What it logged.
    pub(super) fn said(&self) -> String {
        plain(&fs::read_to_string(&self.log).unwrap_or_default())
    }

    pub(super) fn runs(&mut self) -> bool {
        runs(&mut self.child)
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// SIGTERM; how long it took to end, and its exit code.
    pub(super) fn stop(&mut self, patience: Duration) -> Try<(Duration, Option<i32>)> {
        let begin = Instant::now();
        self.signal(Signal::SIGTERM)?;
        self.ended(patience).map(|code| (begin.elapsed(), code))
    }

    /// Waits for its end.
    pub(super) fn ended(&mut self, patience: Duration) -> Try<Option<i32>> {
        let mut code = None;
        let ended = wait(patience, || match self.child.try_wait() {
            Ok(Some(status)) => {
                code = status.code();
                true
            }
            Ok(None) | Err(_) => false,
        });
        if ended { Ok(code) } else { Err(format!("it does not end: {}", tail(&self.said()))) }
    }

    /// The answer of its command port.
    pub(super) fn get(&self, path: &str) -> Try<(u16, String)> {
        let asked = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&self.command, Duration::from_secs(5))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.command)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = asked().map_err(while_(path))?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Ok((code, body.to_owned()))
    }

    /// One of its counters.
    pub(super) fn counter(&self, name: &str) -> u64 {
        self.known(name).unwrap_or(0)
    }

    /// The same; none if it does not tell it (yet).
    fn known(&self, name: &str) -> Option<u64> {
        let (_, body) = self.get("/api/status").ok()?;
        let status: serde_json::Value = serde_json::from_str(&body).ok()?;
        status.get("counters")?.get(name)?.as_u64()
    }

    /// Waits until a counter is this, or more.
    pub(super) fn reaches(&self, name: &str, least: u64, patience: Duration) -> bool {
        wait(patience, || self.counter(name) >= least)
    }
}

fn runs(child: &mut Child) -> bool {
    matches!(child.try_wait(), Ok(None))
}

/// The end of a log, for a table.
pub(super) fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ").replace('|', "/")
}

/// Without colours.
fn plain(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + part.split_once('m').map_or("", |(_, rest)| rest))
}

/// A tracker in this process.
#[derive(Debug)]
pub(super) struct Tracker {
    database: PathBuf,
    server: orktrack::Tracker,
}

impl Tracker {
    pub(super) fn start(folder: &Path) -> Try<Self> {
        let database = folder.join("track.db");
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config { listen, database: database.clone(), ..Config::default() };
        let server = orktrack::start(&config).map_err(while_("tracker"))?;
        Ok(Self { database, server })
    }

    /// The setting that names it.
    pub(super) fn setting(&self) -> String {
        format!("tracker.urls=http://{}/orktrack", self.server.address())
    }

    /// Every `ready` it has, by Call-ID.
    pub(super) fn readies(&self) -> Try<BTreeMap<String, Vec<TapeMessage>>> {
        let bodies = self.column("SELECT body FROM tape_stage WHERE stage = 'ready'")?;
        let mut all: BTreeMap<String, Vec<TapeMessage>> = BTreeMap::new();
        for body in bodies {
            let pairs = url::decode(body.as_bytes()).map_err(while_("ready"))?;
            let message = TapeMessage::from_pairs(&pairs).map_err(while_("ready"))?;
            all.entry(message.nativecallid.clone()).or_default().push(message);
        }
        Ok(all)
    }

    /// One column of text.
    pub(super) fn column(&self, sql: &str) -> Try<Vec<String>> {
        column(&self.database, sql)
    }
}

/// One column of text of a database.
pub(super) fn column(database: &Path, sql: &str) -> Try<Vec<String>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let read = || -> rusqlite::Result<Vec<String>> {
        let database = Connection::open_with_flags(database, flags)?;
        database.busy_timeout(Duration::from_secs(10))?;
        let mut rows = database.prepare(sql)?;
        rows.query_map([], |row| row.get(0))?.collect()
    };
    read().map_err(while_("database"))
}

/// Waits until what was left is saved, and the trackers know everything.
pub(super) fn delivered(recorder: &Recorder) -> Try<()> {
    const PATIENCE: Duration = Duration::from_secs(60);
    if !wait(PATIENCE, || recorder.known("tape.to_be_saved") == Some(0)) {
        return Err(format!("not all is saved: {}", tail(&recorder.said())));
    }
    let empty = wait(PATIENCE, || {
        recorder.counter("track.outbox_rows") == 0 && recorder.counter("track.delivered") > 0
            || recorder.counter("track.queued") == 0 && recorder.counter("capture.frames") == 0
    });
    if empty { Ok(()) } else { Err(format!("the tracker is not told: {}", tail(&recorder.said()))) }
}
