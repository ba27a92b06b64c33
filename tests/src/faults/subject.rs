//! The recorder that faults are made for: a process, and what it says of itself.

use super::{Bench, net::FAR};
use crate::{generator::check::Tape, programs::Running};
use nix::{sys::signal::Signal, unistd::Pid};
use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// Longer than anything takes that goes on.
const PATIENCE: Duration = Duration::from_secs(60);

/// A recorder with all doors open at ports of their own, sidecars beside its tapes, and no tracker.
pub(super) struct Subject {
    home: PathBuf,
    running: Running,
}

impl Subject {
    /// Captures on the far end of the cable; with further settings.
    pub(super) fn on_cable(bench: &Bench, home: &Path, sets: &[&str]) -> Result<Self, String> {
        let cable = format!("capture.interfaces={FAR}");
        Self::start(bench, home, &[], &[&[cable.as_str()], sets].concat())
    }

    /// Hears capture agents only.
    pub(super) fn of_agents(bench: &Bench, home: &Path, sets: &[&str]) -> Result<Self, String> {
        Self::start(bench, home, &[], &[&["capture.hep_listen=127.0.0.1:0"], sets].concat())
    }

    /// Started by `before` (a program and its arguments, or nothing); returns when it records.
    pub(super) fn start(
        bench: &Bench,
        home: &Path,
        before: &[&str],
        sets: &[&str],
    ) -> Result<Self, String> {
        let mut command = command(bench, home, before, sets);
        let mut subject = Self {
            home: home.to_owned(),
            running: Running::start(&mut command, &home.join("log")),
        };
        until("it records", || {
            if !subject.running.runs() {
                return Err(format!("it did not start: {}", subject.log()));
            }
            Ok(subject.log().contains("recording interfaces="))
        })?;
        Ok(subject)
    }

    /// All it logged.
    pub(super) fn log(&self) -> String {
        let log = fs::read(self.home.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The address that the log gives behind a word, as `command=`.
    pub(super) fn address(&self, word: &str) -> Result<SocketAddr, String> {
        let log = self.log();
        let rest = log.split(word).nth(1).and_then(|rest| rest.split_whitespace().next());
        rest.and_then(|word| word.parse().ok()).ok_or_else(|| format!("no {word} in {log}"))
    }

    /// A request to the command port; head and body of the answer.
    pub(super) fn ask(&self, target: &str) -> Result<(String, String), String> {
        ask(self.address("command=")?, target)
    }

    /// A number of its status; 0 when there is none.
    pub(super) fn number(&self, name: &str) -> Result<u64, String> {
        Ok(self.status()?.get("counters").and_then(|all| all.get(name)?.as_u64()).unwrap_or(0))
    }

    /// All of its status.
    pub(super) fn status(&self) -> Result<Value, String> {
        let (_, body) = self.ask("/api/status")?;
        serde_json::from_str(&body).map_err(|error| format!("status: {error}: {body}"))
    }

    /// A line of `/proc/PID/status` in KiB, as `VmRSS` or `VmHWM`.
    pub(super) fn memory(&self, line: &str) -> u64 {
        memory(self.pid(), line)
    }

    /// Processor time used so far.
    pub(super) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
        let ticks: u64 = fields.take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        // USER_HZ is 100 on Linux, whatever the kernel's own is.
        Duration::from_millis(ticks * 10)
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.running.0.id()
    }

    /// It has not ended.
    pub(super) fn runs(&mut self) -> bool {
        self.running.runs()
    }

    /// Where its tapes are.
    pub(super) fn tapes(&self) -> PathBuf {
        self.home.join("tapes")
    }

    /// Ends it as an operator does; its exit code.
    pub(super) fn stop(&mut self) -> Result<Option<i32>, String> {
        let pid = i32::try_from(self.pid()).map_err(|error| error.to_string())?;
        nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGTERM)
            .map_err(|error| error.to_string())?;
        let mut code = None;
        until("it ends", || {
            let over = self.running.0.try_wait().map_err(|error| error.to_string())?;
            code = over.and_then(|status| status.code());
            Ok(over.is_some())
        })?;
        Ok(code)
    }

    /// Waits until so many tapes are finished; all there are by then, by what lies beside them.
    pub(super) fn finished(&self, tapes: usize) -> Result<Vec<Tape>, String> {
        until("all tapes are finished", || Ok(sidecars(&self.tapes()).len() >= tapes))?;
        Ok(sidecars(&self.tapes()))
    }
}

/// The command line of a recorder in `home`.
pub(super) fn command(bench: &Bench, home: &Path, before: &[&str], sets: &[&str]) -> Command {
    let program = bench.programs.join("orkaudio");
    let mut command = if let [first, rest @ ..] = before {
        let mut command = Command::new(first);
        command.args(rest).arg(program);
        command
    } else {
        Command::new(program)
    };
    drop(fs::write(home.join("orkaudio.toml"), ""));
    command.arg("run").arg("--config").arg(home.join("orkaudio.toml")).env("NO_COLOR", "1");
    for set in [
        "tracker.urls=",
        "doors.command=127.0.0.1:0",
        "doors.events=127.0.0.1:0",
        "doors.live=127.0.0.1:0",
        "tapes.sidecar=true",
        "capture.interfaces=",
        &format!("tapes.folder={}", home.join("tapes").display()),
        &format!("tracker.state_folder={}", home.join("state").display()),
    ]
    .iter()
    .chain(sets)
    {
        command.args(["--set", set]);
    }
    command
}

/// Lets other users pass through to a folder of a row.
pub(super) fn let_in(bench: &Bench, folder: &Path) -> Result<(), String> {
    for open in folder.ancestors().take_while(|path| path.starts_with(&bench.scratch)) {
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(open, all).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// A request over a connection of its own; head and body of the answer.
pub(super) fn ask(door: SocketAddr, target: &str) -> Result<(String, String), String> {
    let asked = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(door)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {target} HTTP/1.0\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = asked().map_err(|error| format!("{target}: {error}"))?;
    let (head, body) =
        answer.split_once("\r\n\r\n").ok_or_else(|| format!("{target}: answered {answer:?}"))?;
    Ok((head.to_owned(), body.to_owned()))
}

/// Waits until `done`; an error when that takes longer than anything does.
pub(super) fn until(
    what: &str,
    mut done: impl FnMut() -> Result<bool, String>,
) -> Result<(), String> {
    let last = Instant::now() + PATIENCE;
    while !done()? {
        if Instant::now() > last {
            return Err(format!("waited in vain until {what}"));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A line of `/proc/PID/status` in KiB.
pub(super) fn memory(pid: u32, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let found = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    let number = found.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0)
}

/// Every file below a folder, in order of their names.
pub(super) fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Files below a folder with this extension.
pub(super) fn with_extension(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = below(folder);
    found.retain(|path| path.extension().is_some_and(|ends| ends == extension));
    found
}

/// What the sidecars below a folder say.
pub(super) fn sidecars(folder: &Path) -> Vec<Tape> {
    let read = |path: PathBuf| serde_json::from_slice(&fs::read(path).ok()?).ok();
    with_extension(folder, "json").into_iter().filter_map(read).collect()
}
