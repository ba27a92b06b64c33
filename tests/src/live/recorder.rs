//! A recorder of the program under test, and those who listen to it.

use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Patience with it.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// The doors of the namespace, which nobody else is in.
const COMMANDS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 59_140);
const AUDIO: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 59_120);

/// A running recorder; killed when dropped.
#[derive(Debug)]
pub(super) struct Recorder(Child);

impl Drop for Recorder {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Recorder {
    /// Starts it and waits until it is ready.
    pub(super) fn start(
        program: &Path,
        interface: &str,
        tapes: &Path,
        scratch: &Path,
        log: &Path,
        settings: &[String],
    ) -> Result<Self, String> {
        let own = scratch.join("orkaudio.toml");
        fs::write(&own, "").map_err(|e| e.to_string())?;
        let mut command = Command::new(program);
        command.args(["run", "--interface", interface, "--config"]).arg(own);
        let folder = |key: &str, path: &Path| format!("{key}={}", path.display());
        let state = scratch.join("state");
        for setting in [
            folder("tapes.folder", tapes),
            folder("tracker.state_folder", &state),
            "tracker.urls=".to_owned(),
        ]
        .iter()
        .chain(settings)
        {
            command.arg("--set").arg(setting);
        }
        let log = File::create(log).map_err(|e| e.to_string())?;
        let quiet = log.try_clone().map_err(|e| e.to_string())?;
        let child = command.stdin(Stdio::null()).stdout(quiet).stderr(log).spawn();
        let mut recorder = Self(child.map_err(|e| format!("{}: {e}", program.display()))?);
        let begun = Instant::now();
        while !get(COMMANDS, "/healthz").is_ok_and(|answer| answer.contains(" 200 ")) {
            if let Ok(Some(status)) = recorder.0.try_wait() {
                return Err(format!("the recorder ended: {status}"));
            }
            if begun.elapsed() > PATIENCE {
                return Err("the recorder does not answer".to_owned());
            }
            thread::sleep(LOOK);
        }
        Ok(recorder)
    }

    /// CPU of its threads so far, by what they are called without their numbers.
    pub(super) fn cpu(&self) -> Result<BTreeMap<String, Duration>, String> {
        let path = format!("/proc/{}/task", self.0.id());
        let mut used: BTreeMap<String, Duration> = BTreeMap::new();
        for task in fs::read_dir(path).map_err(|e| e.to_string())?.flatten() {
            let read = |name| fs::read_to_string(task.path().join(name)).unwrap_or_default();
            let nanos = read("schedstat").split(' ').next().and_then(|n| n.parse::<u64>().ok());
            let name = read("comm");
            let name = name.trim().trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
            *used.entry(name.to_owned()).or_default() += Duration::from_nanos(nanos.unwrap_or(0));
        }
        Ok(used)
    }

    /// Most memory it had, in megabytes.
    pub(super) fn peak_mb(&self) -> Result<u64, String> {
        let path = format!("/proc/{}/status", self.0.id());
        let text = fs::read_to_string(path).map_err(|e| e.to_string())?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(number.unwrap_or(0) / 1024)
    }

    fn counters() -> Result<BTreeMap<String, u64>, String> {
        let answer = get(COMMANDS, "/api/status").map_err(|e| e.to_string())?;
        let (_, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
        let status: Value = serde_json::from_str(body).map_err(|e| e.to_string())?;
        let counters = status.get("counters").and_then(Value::as_object).into_iter().flatten();
        Ok(counters.filter_map(|(name, value)| Some((name.clone(), value.as_u64()?))).collect())
    }

    /// Waits until all calls are finished, or nothing is finished any more; gives the counters.
    pub(super) fn settle(&self, calls: u64) -> Result<BTreeMap<String, u64>, String> {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let counters = Self::counters()?;
            let finished = counters.get("tape.finished").copied().unwrap_or(0);
            if finished > last {
                (last, since) = (finished, Instant::now());
            }
            // Calls whose BYE was lost end when nobody has spoken for long enough.
            if finished >= calls || since.elapsed() > PATIENCE {
                return Ok(counters);
            }
            thread::sleep(LOOK);
        }
    }

    /// So many begin to listen, each as soon as its call is there.
    pub(super) fn listen(&self, numbers: &[String], listeners: u32) -> Ears {
        let heard = Arc::new(AtomicU64::new(0));
        for number in numbers.iter().cycle().take(usize::try_from(listeners).unwrap_or(0)) {
            let (number, heard) = (number.clone(), Arc::clone(&heard));
            let ear = thread::Builder::new().name("ear".to_owned());
            drop(ear.spawn(move || hear(&number, &heard)));
        }
        Ears(heard)
    }

    /// Ends it, with patience.
    pub(super) fn stop(mut self) -> Result<(), String> {
        let id = i32::try_from(self.0.id()).map_err(|e| e.to_string())?;
        let pid = nix::unistd::Pid::from_raw(id);
        nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).map_err(|e| e.to_string())?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            match self.0.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("the recorder ended: {status}")),
                Ok(None) => thread::sleep(LOOK),
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("the recorder does not end".to_owned())
    }
}

/// Those who listen.
#[derive(Debug)]
pub(super) struct Ears(Arc<AtomicU64>);

impl Ears {
    /// Bytes heard so far.
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Asks until the call is there, then reads to its end.
fn hear(number: &str, heard: &AtomicU64) {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let Ok(mut stream) = ask(AUDIO, &format!("/?type=stream&localparty={number}")) else {
            return;
        };
        let mut bytes = [0; 8192];
        let mut any = 0;
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            any += u64::try_from(count).unwrap_or(0);
            heard.fetch_add(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
        }
        // An answer alone is no audio.
        if any > 4096 {
            return;
        }
        thread::sleep(LOOK);
    }
}

fn ask(door: SocketAddr, path: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&door, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {door}\r\nConnection: close\r\n\r\n")?;
    Ok(stream)
}

fn get(door: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut answer = String::new();
    ask(door, path)?.read_to_string(&mut answer)?;
    Ok(answer)
}
