//! The programs under load, in a network namespace of this process's own.

use nix::{
    sched::{CloneFlags, unshare},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Where the calls are sent from; its other end is [`MIRROR`].
pub(super) const WIRE: &str = "ork0";
/// What the recorder listens to.
const MIRROR: &str = "ork1";
/// The doors as they come: nobody else lives in this namespace.
pub(super) const COMMAND: u16 = 59_140;
pub(super) const EVENTS: u16 = 59_150;
pub(super) const LIVE: u16 = 59_120;
pub(super) const TRACKER: u16 = 8_080;
/// The longest start.
const START: Duration = Duration::from_secs(60);

/// One of the two programs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(super) enum Which {
    Recorder,
    Tracker,
}

impl Which {
    pub(super) const BOTH: [Self; 2] = [Self::Recorder, Self::Tracker];

    /// Its program.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Recorder => "orkaudio",
            Self::Tracker => "orktrack",
        }
    }

    /// What its log says when it is ready.
    const fn ready(self) -> &'static str {
        match self {
            Self::Recorder => " recording ",
            Self::Tracker => "tracker ready",
        }
    }
}

/// A span in which no recorder ran, in milliseconds of the run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outage {
    /// When it was told to end.
    pub(super) from: u64,
    /// When the next one was ready; `u64::MAX` before that.
    pub(super) until: u64,
    /// Killed, not asked to stop.
    pub(super) killed: bool,
}

/// A running program, or none.
#[derive(Debug, Default)]
struct Program {
    child: Option<Child>,
    /// How often it was started.
    lives: u32,
}

/// Both programs and where they live.
#[derive(Debug)]
pub(super) struct Rig {
    begin: Instant,
    programs: PathBuf,
    /// The folder of everything.
    pub(super) home: PathBuf,
    recorder: Mutex<Program>,
    tracker: Mutex<Program>,
    outages: Mutex<Vec<Outage>>,
    token: Mutex<String>,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Rig {
    /// Enters a namespace with a wire in it and writes both configurations. No thread may run yet: threads
    /// that do stay outside.
    pub(super) fn new(programs: PathBuf, home: PathBuf) -> Result<Self, String> {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|e| format!("no network namespace: {e}"))?;
        let links = [
            "link set lo up",
            &format!("link add {WIRE} type veth peer name {MIRROR}"),
            &format!("link set {WIRE} up"),
            &format!("link set {MIRROR} up"),
        ];
        for words in links {
            let done = Command::new("ip").args(words.split(' ')).output();
            let done = done.map_err(|e| format!("ip: {e}"))?;
            if !done.status.success() {
                return Err(format!("ip {words}: {}", String::from_utf8_lossy(&done.stderr)));
            }
        }
        let rig = Self {
            begin: Instant::now(),
            programs,
            home,
            recorder: Mutex::default(),
            tracker: Mutex::default(),
            outages: Mutex::default(),
            token: Mutex::default(),
        };
        let put = |name: &str, text: String| {
            fs::write(rig.home.join(name), text).map_err(|e| format!("{name}: {e}"))
        };
        let home = rig.home.display();
        put(
            "orkaudio.toml",
            format!(
                "[capture]\ninterfaces = [\"{MIRROR}\"]\n[calls]\nsetup_timeout_s = 30\n\
                 [tapes]\nfolder = \"{home}/tapes\"\nsidecar = true\n\
                 [tracker]\nstate_folder = \"{home}/state\"\nhostname = \"soak\"\n"
            ),
        )?;
        put(
            "orktrack.toml",
            format!(
                "listen = \"127.0.0.1:{TRACKER}\"\ndatabase = \"{home}/track.db\"\n\
                 [audio]\nroots = [\"{home}/tapes\"]\n"
            ),
        )?;
        Ok(rig)
    }

    /// Milliseconds of the run.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn program(&self, which: Which) -> &Mutex<Program> {
        match which {
            Which::Recorder => &self.recorder,
            Which::Tracker => &self.tracker,
        }
    }

    /// A program of this tree with its configuration.
    pub(super) fn command(&self, which: Which, words: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join(which.name()));
        let config = self.home.join(format!("{}.toml", which.name()));
        let variable = format!("{}_CONFIG", which.name().to_uppercase());
        command.args(words).env_clear().env(variable, config);
        command
    }

    fn log(&self, which: Which, life: u32) -> PathBuf {
        self.home.join(format!("{}-{life}.log", which.name()))
    }

    /// Starts a program and does not wait until it is ready.
    pub(super) fn spawn(&self, which: Which) -> Result<(), String> {
        let mut program = locked(self.program(which));
        program.lives += 1;
        let log = File::create(self.log(which, program.lives)).map_err(|e| e.to_string())?;
        let mut command = self.command(which, &["run"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        program.child = Some(child.map_err(|e| format!("{}: {e}", which.name()))?);
        Ok(())
    }

    /// Starts a program and waits until it is ready.
    pub(super) fn start(&self, which: Which) -> Result<(), String> {
        self.spawn(which)?;
        let log = self.log(which, locked(self.program(which)).lives);
        let until = Instant::now() + START;
        loop {
            let said = fs::read_to_string(&log).unwrap_or_default();
            if said.contains(which.ready()) {
                return Ok(());
            }
            let ended =
                locked(self.program(which)).child.as_mut().map(|child| child.try_wait().ok());
            if !matches!(ended, Some(Some(None))) || Instant::now() > until {
                return Err(format!("{} does not start: {said}", which.name()));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its process and how often it was started.
    pub(super) fn pid(&self, which: Which) -> Option<(u32, u32)> {
        let program = locked(self.program(which));
        program.child.as_ref().map(|child| (child.id(), program.lives))
    }

    /// Sends a signal to that life of the program; nothing happens when it is over.
    pub(super) fn signal(&self, which: Which, life: u32, signal: Signal) {
        // Locked, so that nobody reaps it meanwhile and its number stays its own.
        let program = locked(self.program(which));
        let child = program.child.as_ref().filter(|_| program.lives == life);
        if let Some(pid) = child.and_then(|child| i32::try_from(child.id()).ok()) {
            let _ended_by_itself = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Kills a program.
    pub(super) fn kill(&self, which: Which) {
        let mut program = locked(self.program(which));
        if let Some(mut child) = program.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Asks a program to end and waits; its exit code and how long it took, in milliseconds.
    pub(super) fn stop(&self, which: Which) -> Result<u64, String> {
        let begin = Instant::now();
        let Some((_, life)) = self.pid(which) else { return Err("it does not run".to_owned()) };
        self.signal(which, life, Signal::SIGTERM);
        loop {
            let mut program = locked(self.program(which));
            let Some(child) = program.child.as_mut() else { return Err("it is gone".to_owned()) };
            if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
                program.child = None;
                let took = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
                return if status.success() { Ok(took) } else { Err(status.to_string()) };
            }
            drop(program);
            if begin.elapsed() > START {
                self.kill(which);
                return Err("it did not end when it was asked to".to_owned());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Notes that the recorder ends now.
    pub(super) fn outage_begins(&self, killed: bool) {
        locked(&self.outages).push(Outage { from: self.now(), until: u64::MAX, killed });
    }

    /// Notes that the recorder is ready again.
    pub(super) fn outage_ends(&self) {
        let now = self.now();
        if let Some(last) = locked(&self.outages).last_mut() {
            last.until = now;
        }
    }

    /// All outages so far.
    pub(super) fn outages(&self) -> Vec<Outage> {
        locked(&self.outages).clone()
    }

    /// What the logs of all lives of a program say.
    pub(super) fn logs(&self, which: Which) -> Vec<String> {
        let lives = locked(self.program(which)).lives;
        (1..=lives).filter_map(|life| fs::read_to_string(self.log(which, life)).ok()).collect()
    }

    /// Makes an administrator of the tracker and keeps his token.
    pub(super) fn administrator(&self) -> Result<(), String> {
        let mut command =
            self.command(Which::Tracker, &["accounts", "add", "soak", "--role", "admin"]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        let mut child = child.map_err(|e| e.to_string())?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(b"nobody types this one\n").map_err(|e| e.to_string())?;
        }
        child.wait().map_err(|e| e.to_string())?;
        let told = self.command(Which::Tracker, &["tokens", "add", "soak"]).output();
        let told = told.map_err(|e| e.to_string())?;
        let token = String::from_utf8_lossy(&told.stdout).trim().to_owned();
        if token.is_empty() {
            return Err(format!("no token: {}", String::from_utf8_lossy(&told.stderr)));
        }
        *locked(&self.token) = token;
        Ok(())
    }

    /// Asks over HTTP, as the administrator: status and body.
    pub(super) fn ask(&self, port: u16, method: &str, target: &str) -> Option<(u16, Vec<u8>)> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let token = locked(&self.token).clone();
        let bearer = format!("Authorization: Bearer {token}\r\n");
        // The recorder's doors know nothing of the tracker's tokens.
        let bearer = if port == TRACKER { bearer.as_str() } else { "" };
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n{bearer}\r\n"
        );
        stream.write_all(head.as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.take(64 << 20).read_to_end(&mut answer).ok()?;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let body = answer.split_off(end);
        let code = String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok()?;
        Some((code, body))
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for which in Which::BOTH {
            self.kill(which);
        }
    }
}
