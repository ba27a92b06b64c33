//! Hours of mixed calls with random faults: nothing may be lost that nothing tells of, and nothing may grow.
//!
//! Law: it works in a network namespace and a folder of its own, breaks only processes that it started, and
//! ends by itself. The same seed makes the same calls and faults; when each of them happens to meet which is up
//! to the machine.

mod clients;
mod faults;
mod judge;
mod report;
mod rig;
mod slipped;
mod traffic;
mod watch;

pub use report::Report;

use clients::Served;
use faults::Chaos;
use judge::{Judge, Tally};
use rig::{COMMAND, Rig, Which, locked};
use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, TryRecvError, sync_channel},
    },
    thread,
    time::Duration,
};
use traffic::{Sent, Wire};
use watch::Samples;

/// How long what was sent may take to arrive when everything is over, in milliseconds.
const DRAIN: u64 = 120_000;

/// Faults that end a process come in the first half of a run, and for so long at most, in milliseconds: what
/// memory does shows over a long life.
const RESTARTS: u64 = 40 * 60_000;

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// Minutes of calls; faults that end a process come in the first half (40 minutes at most), memory is judged after it.
    #[arg(long, default_value_t = 2.0)]
    pub minutes: f64,
    /// Calls at a time, about.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    pub calls: u32,
    /// Seconds between faults, about; 3 to 15 by the length of the run if not given.
    #[arg(long)]
    pub every: Option<f64>,
    /// Seed of calls and faults; a random one if not given.
    #[arg(long)]
    pub seed: Option<u64>,
    /// The folder with orkaudio and orktrack.
    #[arg(long)]
    pub programs: PathBuf,
    /// Where a folder is made for tapes, databases and logs; 3 GB at most.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    pub scratch: PathBuf,
    /// Leave that folder when something is broken.
    #[arg(long)]
    pub keep: bool,
}

/// What the threads of a run share.
struct Stage {
    rig: Rig,
    wire: Wire,
    served: Served,
    over: AtomicBool,
    samples: Mutex<Samples>,
}

/// Runs it; `say` is told how it goes.
///
/// # Errors
/// When it cannot be run here, or a program does not start.
pub fn run(settings: &Settings, seed: u64, say: fn(&str)) -> Result<Report, String> {
    let folder = tempfile::Builder::new().prefix("ork-soak-").tempdir_in(&settings.scratch);
    let folder = folder.map_err(|e| format!("{}: {e}", settings.scratch.display()))?;
    let report = soak(settings, seed, folder.path(), say);
    if settings.keep && !report.as_ref().is_ok_and(Report::is_good) {
        say(&format!("left in {}", folder.keep().display()));
    }
    report
}

fn soak(settings: &Settings, seed: u64, home: &Path, say: fn(&str)) -> Result<Report, String> {
    let rig = Rig::new(settings.programs.clone(), home.to_owned())?;
    let length = whole(settings.minutes * 60_000.0).max(30_000);
    // Calls last up to a quarter of the run, and three minutes.
    let longest = (settings.minutes * 15.0).clamp(5.0, 180.0);
    let mean = 2.0 + (longest - 2.0) / 3.0;
    let every = whole(mean * 1000.0 / f64::from(settings.calls)).max(1);
    let faults = settings.every.unwrap_or((settings.minutes / 2.0).clamp(3.0, 15.0));
    let faults = whole(faults * 1000.0).max(100);
    let step = (length / 120).clamp(500, 10_000);

    rig.start(Which::Tracker)?;
    rig.administrator()?;
    rig.start(Which::Recorder)?;
    let begin = rig.now();
    let (until, steady) = (begin + length, begin + (length / 2).min(RESTARTS));
    let (wire, served) = (Wire::default(), Served::default());
    let stage =
        Stage { rig, wire, served, over: AtomicBool::new(false), samples: Mutex::default() };
    let Stage { rig, wire, served, over, samples } = &stage;
    let idle = Which::BOTH.map(|which| watch::look(rig, which).map_or(0, |(_, now)| now.fds));
    let judge = Judge::new(rig)?;
    let chaos = Chaos::new(rig, wire, seed)?;
    let (planned, plans) = traffic::ahead();
    let (ended, ends) = sync_channel::<Sent>(100_000);

    let outcome = thread::scope(|scope| {
        let spawn = |name: &str| thread::Builder::new().name(name.to_owned());
        let failed = |e: std::io::Error| e.to_string();
        let planner = spawn("plan")
            .spawn_scoped(scope, move || traffic::plan(seed, longest, &planned, wire))
            .map_err(failed)?;
        let sender = spawn("send")
            .spawn_scoped(scope, move || {
                let sent = traffic::send(rig, wire, (seed, every, until), &plans, &ended);
                wire.over.store(true, Relaxed);
                sent
            })
            .map_err(failed)?;
        let chaos = spawn("faults")
            .spawn_scoped(scope, move || {
                let mut chaos = chaos;
                let done = chaos.rage(faults, steady);
                wire.over.store(true, Relaxed);
                done.map(|()| chaos.made)
            })
            .map_err(failed)?;
        let client = spawn("client");
        client.spawn_scoped(scope, || clients::ask(rig, seed, served, over)).map_err(failed)?;
        let watcher = spawn("watch").spawn_scoped(scope, move || {
            while !over.load(Relaxed) {
                watch::note(rig, &mut locked(samples));
                thread::sleep(Duration::from_millis(step));
            }
        });
        watcher.map_err(failed)?;
        // This thread judges; whatever happens the others are told to end.
        let told = listen(judge, &ends, &stage, say);
        let sent = sender.join().map_err(|_| "the sender panicked".to_owned());
        let planned = planner.join().map_err(|_| "the planner panicked".to_owned());
        let made = chaos.join().map_err(|_| "the faults panicked".to_owned());
        let told = told.and_then(|judge| {
            sent??;
            if let Some(why) = planned? {
                return Err(why);
            }
            let made = made??;
            settle(judge, rig).map(|tally| (tally, made))
        });
        over.store(true, Relaxed);
        told
    });
    let (mut tally, made) = outcome?;
    let fds = Which::BOTH.map(|which| watch::look(rig, which).map_or(0, |(_, now)| now.fds));
    let stopped = last_words(&stage, &mut tally);
    let mut report = Report::new(tally, seed, settings.minutes);
    report.traffic(wire, served);
    report.faults(&made, &rig.outages());
    report.memory(&locked(samples), steady, idle, fds);
    report.stopped(&stopped);
    Ok(report)
}

/// Judges while calls end, until the last has.
fn listen<'a>(
    mut judge: Judge<'a>,
    ends: &Receiver<Sent>,
    stage: &Stage,
    say: fn(&str),
) -> Result<Judge<'a>, String> {
    let mut next = stage.rig.now() + 60_000;
    loop {
        let gone = loop {
            match ends.try_recv() {
                Ok(call) => judge.take(call),
                Err(TryRecvError::Empty) => break false,
                Err(TryRecvError::Disconnected) => break true,
            }
        };
        let waiting = judge.pass(false)?;
        if gone {
            return Ok(judge);
        }
        if stage.rig.now() >= next {
            next += 60_000;
            let Tally { calls, broken, .. } = judge.tally;
            let minute = stage.rig.now() / 60_000;
            say(&format!(
                "{minute} min: {calls} calls over, {waiting} to be judged, {broken} wrong"
            ));
        }
        thread::sleep(Duration::from_secs(1));
    }
}

/// Waits for what is still on its way, then looks at the whole.
fn settle(mut judge: Judge<'_>, rig: &Rig) -> Result<Tally, String> {
    let until = rig.now() + DRAIN;
    loop {
        let waiting = judge.pass(false)?;
        let late = rig.now() > until;
        if late || (outbox(rig) == Some(0) && (waiting == 0 || rig.now() + DRAIN > until + 10_000))
        {
            break;
        }
        thread::sleep(Duration::from_millis(500));
    }
    judge.pass(true)?;
    if outbox(rig) != Some(0) {
        judge.tally.wrong(format!("messages are left in the outbox: {:?}", outbox(rig)));
    }
    judge.finish()?;
    Ok(judge.tally)
}

/// What the recorder tells of itself.
fn status(rig: &Rig) -> Option<serde_json::Value> {
    let (_, body) = rig.ask(COMMAND, "GET", "/api/status")?;
    serde_json::from_slice(&body).ok()
}

/// Messages that wait for the tracker.
fn outbox(rig: &Rig) -> Option<u64> {
    status(rig)?.get("counters")?.get("track.outbox_rows")?.as_u64()
}

/// Frames that the kernel dropped in this life of the recorder.
fn drops(rig: &Rig) -> Option<u64> {
    let status = status(rig)?;
    let interfaces = status.get("interfaces")?.as_array()?;
    interfaces.iter().map(|interface| interface.get("dropped")?.as_u64()).sum()
}

/// Stops both programs; how long each took, in milliseconds. What their logs and counters say is noted.
fn last_words(stage: &Stage, tally: &mut Tally) -> [u64; 2] {
    let rig = &stage.rig;
    let drops = drops(rig);
    if drops.is_none_or(|drops| drops > 0) {
        tally
            .notes
            .push(format!("note: frames that the kernel dropped in the last life: {drops:?}"));
    }
    let stopped = Which::BOTH.map(|which| match rig.stop(which) {
        Ok(took) => took,
        Err(why) => {
            tally.wrong(format!("{} does not end well: {why}", which.name()));
            0
        }
    });
    for which in Which::BOTH {
        let (mut panics, mut errors) = (0_u64, Vec::new());
        for log in rig.logs(which) {
            panics += log.lines().filter(|line| line.contains("panicked")).fold(0, |n, _| n + 1);
            errors.extend(log.lines().filter(|line| line.contains("ERROR")).map(str::to_owned));
        }
        if panics > 0 {
            tally.wrong(format!("{} panicked {panics} times", which.name()));
        }
        if let Some(error) = errors.first() {
            let count = errors.len();
            tally.notes.push(format!(
                "note: {} errors in the log of {}: {error}",
                count,
                which.name()
            ));
        }
    }
    stopped
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates; a negative time becomes 0"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}
