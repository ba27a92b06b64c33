//! Too few descriptors, too few threads.

use super::{
    Bench, Found,
    blocks::Calls,
    net::Sender,
    subject::{Subject, command, let_in, until},
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::{
    io::Write,
    net::TcpStream,
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Lets this process open so many files, if it may.
pub(super) fn raise_files(wanted: u64) -> Result<(), String> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| error.to_string())?;
    let wanted = wanted.max(soft).min(hard);
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).map_err(|error| error.to_string())
}

/// Clients take every descriptor they can get, then calls come.
pub(super) fn files(bench: &Bench) -> Result<Found, String> {
    const LIMIT: u64 = 256;
    let home = bench.folder("R33");
    raise_files(4_096)?;
    let limit = format!("--nofile={LIMIT}:{LIMIT}");
    let cable = format!("capture.interfaces={}", super::net::FAR);
    let mut subject = Subject::start(bench, &home, &["prlimit", &limit], &[&cable])?;
    let calls = Calls::of(&home, 100, if bench.times(0, 1) == 0 { 5.0 } else { 60.0 })?;
    let doors = ["command=", "events=", "live="];
    let doors =
        doors.map(|word| subject.address(word)).into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut held = Vec::new();
    for n in 0..900 {
        let door = doors.get(n % doors.len()).ok_or("no door")?;
        let Ok(mut stream) = TcpStream::connect(door) else { continue };
        drop(stream.write_all(b"GET /command?type=streamevents"));
        held.push(stream);
    }
    let (cpu, begin) = (subject.cpu(), Instant::now());
    thread::sleep(Duration::from_secs(2));
    let idle = (subject.cpu() - cpu).as_secs_f64() / begin.elapsed().as_secs_f64();
    let over = AtomicBool::new(false);
    thread::scope(|scope| -> Result<(), String> {
        // They come again as often as they are turned away.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for door in &doors {
                    drop(TcpStream::connect(door));
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        let played = Sender::open()?.play(&calls.frames(), || true);
        over.store(true, Ordering::Relaxed);
        played
    })?;
    drop(held);
    until("a client is answered again", || {
        Ok(subject.ask("/command?type=ping").is_ok_and(|(_, body)| body.contains("true")))
    })?;
    subject.finished(calls.truth.calls.len())?;
    let clean = subject.stop()? == Some(0);
    let (found, foreign) = calls.found(&subject.tapes())?;
    let said = calls.said();
    let missing = said.difference(&found).count();
    let kept = missing == 0 && foreign == 0 && idle < 0.2 && clean;
    let figure = format!(
        "{LIMIT} files, 900 clients, then {} calls: {missing} of {} blocks missing; processor {:.0} % \
         while full; clients are answered again",
        calls.truth.calls.len(),
        said.len(),
        idle * 100.0
    );
    Ok(Found::when(kept, calls.truth.calls.len() as u64, figure))
}

/// From one thread on, until it records.
pub(super) fn threads(bench: &Bench) -> Found {
    if !nix::unistd::geteuid().is_root() {
        return Found::NotRun("only root can become a user who has no other process".to_owned());
    }
    super::net::said(ramp(bench))
}

/// A user who has no other process here.
const NOBODY_ELSE: u32 = 61_734;

fn ramp(bench: &Bench) -> Result<Found, String> {
    let folder = bench.folder("R34");
    let mut errors = Vec::new();
    let mut runs = 0;
    for most in 1..64 {
        let home = folder.join(most.to_string());
        std::fs::create_dir(&home).map_err(|error| error.to_string())?;
        std::os::unix::fs::chown(&home, Some(NOBODY_ELSE), Some(NOBODY_ELSE))
            .map_err(|error| error.to_string())?;
        let_in(bench, &folder)?;
        let user = NOBODY_ELSE.to_string();
        let (user, group) = (format!("--reuid={user}"), format!("--regid={user}"));
        let limit = format!("--nproc={most}");
        // The limit last: root is above it.
        let before = ["setpriv", &user, &group, "--clear-groups", "prlimit", &limit];
        let sets = ["capture.hep_listen=127.0.0.1:0"];
        let log = std::fs::File::create(home.join("log")).map_err(|error| error.to_string())?;
        let mut command = command(bench, &home, &before, &sets);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let mut running = crate::programs::Running(child.map_err(|error| error.to_string())?);
        let said = || {
            let log = std::fs::read(home.join("log")).unwrap_or_default();
            String::from_utf8_lossy(&log).into_owned()
        };
        until("it ends or records", || {
            Ok(!running.runs() || said().contains("recording interfaces="))
        })?;
        runs += 1;
        let log = said();
        if log.contains("panicked") || log.contains("by a fault") {
            return Ok(Found::Broken { runs, figure: format!("with {most} threads: {log}") });
        }
        if running.runs() {
            let kinds: std::collections::BTreeSet<&str> =
                errors.iter().map(String::as_str).collect();
            let kinds: Vec<&str> = kinds.into_iter().collect();
            let figure =
                format!("records from {most} threads on; below that: {}", kinds.join("; "));
            return Ok(Found::when(!errors.is_empty(), runs, figure));
        }
        let status = running.0.wait().map_err(|error| error.to_string())?;
        let last = log.lines().next_back().unwrap_or_default().to_owned();
        if !matches!(status.code(), Some(1 | 2)) || last.is_empty() {
            let figure = format!("with {most} threads: {status}, and it said {last:?}");
            return Ok(Found::Broken { runs, figure });
        }
        errors.push(last);
    }
    Err("it never recorded".to_owned())
}
