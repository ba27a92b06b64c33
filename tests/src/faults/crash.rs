//! Processes and power that end at any moment (R01 to R06).

use super::{
    Bench, Found, Row,
    rig_recorder::{Calls, Heard, Recorder, Sent, Site, Tracker, Try, hear, tail, wait, while_},
};
use crate::generator::{calls::Spec, chance::Chance};
use nix::sys::signal::Signal;
use std::{collections::BTreeMap, fs, path::Path, thread, time::Duration};

/// The rows.
pub(super) const ROWS: [Row; 5] = [
    Row {
        id: "R01",
        fault: "kill -9 at any moment, of recovery too",
        promised: "all but the last second is playable, told once",
        run: |bench| Found::of(killed(bench)),
    },
    Row {
        id: "R03",
        fault: "the n-th write, sync, rename or open fails",
        promised: "no panic, alarm, the rest goes on",
        run: |bench| Found::of(injected(bench)),
    },
    Row {
        id: "R04",
        fault: "a sync of a tape fails once",
        promised: "it is never told to be ready",
        run: |bench| Found::of(unsynced(bench)),
    },
    Row {
        id: "R05",
        fault: "abort, too little memory, a panic in a decoder",
        promised: "one recording ends, or the next start recovers",
        run: |bench| Found::of(aborted(bench)),
    },
    Row {
        id: "R06",
        fault: "SIGTERM with many live calls",
        promised: "all closed and told in 10 s, exit 0",
        run: |bench| Found::of(terminated(bench)),
    },
];

/// Recordings may lack this at their end after a kill, in blocks of 10 ms.
const SECOND: u64 = 100;
const PATIENCE: Duration = Duration::from_secs(60);

/// Some calls, told apart by their seed.
pub(super) fn spec(seed: u64, calls: u32, seconds: f64, stagger: f64) -> Spec {
    Spec { calls, seconds, stagger, seed, ..Spec::default() }
}

/// What was recorded of calls, by how much of them was sent.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Calls of which more than a second was sent.
    pub(super) expected: u64,
    /// Recordings of them.
    pub(super) recordings: u64,
    /// Nothing was told of them.
    pub(super) untold: u64,
    /// Told more than once.
    pub(super) repeated: u64,
    /// Told, but there is no such file, or none that plays.
    pub(super) unplayable: u64,
    /// What is missing at the end of each, in blocks.
    pub(super) tails: Vec<u64>,
    /// All of them together.
    pub(super) sum: Heard,
}

impl Account {
    /// Adds what was sent of `calls`.
    pub(super) fn add(
        &mut self,
        tracker: &Tracker,
        site: &Site,
        calls: &Calls,
        sent: &Sent,
    ) -> Try<()> {
        let readies = tracker.readies()?;
        for (number, id) in (0..).zip(&calls.ids) {
            let sent = sent.get(&number).copied().unwrap_or_default();
            let due = u64::from(sent.into_iter().max().unwrap_or(0)) > SECOND;
            self.expected += u64::from(due);
            let told = readies.get(id).map(Vec::as_slice).unwrap_or_default();
            if told.is_empty() && due {
                self.untold += 1;
            }
            self.repeated += u64::from(told.len() > 1);
            for message in told {
                self.recordings += 1;
                match hear(&site.tapes().join(&message.filename), number, sent) {
                    Ok(heard) => {
                        self.tails.push(heard.tail);
                        self.sum.right += heard.right;
                        self.sum.holes += heard.holes;
                        self.sum.wrong += heard.wrong;
                    }
                    Err(_) => self.unplayable += 1,
                }
            }
        }
        self.tails.sort_unstable();
        Ok(())
    }

    /// Every call has one recording that plays, and nothing on it is out of place.
    pub(super) const fn told_once(&self) -> bool {
        let wrong = self.untold + self.repeated + self.unplayable + self.sum.wrong;
        wrong == 0 && self.recordings > 0
    }

    fn tail_ms(&self, percent: usize) -> u64 {
        let at = self.tails.len().saturating_sub(1) * percent / 100;
        self.tails.get(at).copied().unwrap_or(0) * 10
    }

    pub(super) fn figure(&self) -> String {
        let Self { expected, recordings, untold, repeated, unplayable, sum, .. } = self;
        format!(
            "{recordings} recordings of {expected} calls, tail p99 {} ms, worst {} ms; untold {untold}, twice {repeated}, unplayable {unplayable}, holes {} ms, wrong {}",
            self.tail_ms(99),
            self.tail_ms(100),
            sum.holes * 10,
            sum.wrong
        )
    }
}

/// Recorders one after another on one folder, each killed.
fn killed(bench: &Bench) -> Try<Found> {
    let home = bench.folder("R01");
    let tracker = Tracker::start(&home)?;
    let site = Site::new(&home, &[&tracker.setting(), "tapes.reserve_mib=0"]);
    let times = bench.times(10, 500);
    let mut chance = Chance::new(1, 1);
    let (mut kills, mut all) = (0, Vec::new());
    for number in 0..times {
        // The recorder that recovers what was left is killed as well, once or twice.
        for _ in 0..chance.below(3) {
            let mut child = Recorder::spawn(bench, &site, &home.join("recovery.log"), &[])?;
            thread::sleep(Duration::from_millis(chance.below(60)));
            child.kill().and_then(|()| child.wait()).map_err(while_("kill"))?;
            kills += 1;
        }
        let calls = Calls::make(&spec(1_000 + number, 8, 2.0, 1.5), &home)?;
        let mut recorder = Recorder::start(bench, &site, "R01.log", &[])?;
        let sending = calls.send(recorder.agents)?;
        let until =
            200 + chance.below(u64::try_from(calls.length().as_millis()).unwrap_or(0) + 100);
        thread::sleep(Duration::from_millis(until));
        recorder.kill();
        kills += 1;
        all.push((calls, sending.sent()));
    }
    let mut last = Recorder::start(bench, &site, "R01.log", &[])?;
    delivered(&last)?;
    let (_, code) = last.stop(PATIENCE)?;
    let mut account = Account::default();
    for (calls, sent) in &all {
        account.add(&tracker, &site, calls, sent)?;
    }
    let parts = site.files(".part").len();
    let orphans = orphans(&tracker, &site)?;
    let kept = account.told_once()
        && account.sum.holes == 0
        && account.tails.last().is_some_and(|worst| *worst <= SECOND)
        && parts + orphans == 0
        && code == Some(0);
    let figure = format!("{}; orphans {}", account.figure(), parts + orphans);
    Ok(Found::when(kept, kills, figure))
}

/// Waits until the trackers know everything.
pub(super) fn delivered(recorder: &Recorder) -> Try<()> {
    let empty = wait(PATIENCE, || {
        recorder.counter("track.outbox_rows") == 0 && recorder.counter("track.delivered") > 0
            || recorder.counter("track.queued") == 0 && recorder.counter("capture.frames") == 0
    });
    if empty { Ok(()) } else { Err(format!("the tracker is not told: {}", tail(&recorder.said()))) }
}

/// Finished tapes that the tracker does not know.
pub(super) fn orphans(tracker: &Tracker, site: &Site) -> Try<usize> {
    let readies = tracker.readies()?;
    let known: Vec<_> =
        readies.values().flatten().map(|told| site.tapes().join(&told.filename)).collect();
    Ok(site.files(".wav").iter().filter(|file| !known.contains(file)).count())
}

/// What one injected fault did.
struct Injected {
    account: Account,
    /// What the log says of panics.
    panics: usize,
    /// Exit code of the recorder under strace.
    code: Option<i32>,
    /// Damaged files, and those of them that were told to be ready.
    damaged: (usize, usize),
    orphans: usize,
    /// The log, for when something is wrong.
    said: String,
}

/// Records some calls while the kernel answers some requests with an error, then starts once more without.
fn inject(bench: &Bench, home: &Path, seed: u64, what: &str) -> Try<Injected> {
    drop(fs::remove_dir_all(home));
    fs::create_dir_all(home).map_err(while_("folder"))?;
    let tracker = Tracker::start(home)?;
    let sets = [&tracker.setting(), "tapes.reserve_mib=0", "tapes.sync_interval_s=1"];
    let site = Site::new(home, &sets);
    let calls = Calls::make(&spec(seed, 6, 3.0, 1.0), home)?;
    let inject = format!("inject={what}");
    let trace = format!("trace={}", what.split(':').next().unwrap_or_default());
    let strace = [
        "strace",
        "-D",
        "-f",
        "-qq",
        "--seccomp-bpf",
        "-o",
        "/dev/null",
        "-e",
        &trace,
        "-e",
        &inject,
    ];
    let (sent, code, said) = match Recorder::start(bench, &site, "inject.log", &strace) {
        Ok(mut recorder) => {
            let sent = calls.send(recorder.agents)?.finish();
            // Calls end, or the recorder gives up.
            wait(Duration::from_secs(15), || {
                !recorder.runs() || recorder.counter("call.live") == 0
            });
            let code = if recorder.runs() {
                recorder.stop(PATIENCE)?.1
            } else {
                recorder.ended(PATIENCE)?
            };
            (sent, code, recorder.said())
        }
        // It did not even start: nothing was lost.
        Err(why) => (Sent::new(), Some(1), why),
    };
    let mut again = Recorder::start(bench, &site, "again.log", &[])?;
    delivered(&again)?;
    again.stop(PATIENCE)?;
    let mut account = Account::default();
    account.add(&tracker, &site, &calls, &sent)?;
    let damaged = site.files(".damaged");
    let readies = tracker.readies()?;
    let lies = damaged.iter().filter(|file| {
        let name = file.with_extension("");
        readies.values().flatten().any(|told| site.tapes().join(&told.filename) == name)
    });
    Ok(Injected {
        panics: said.matches("panicked").count(),
        code,
        damaged: (damaged.len(), lies.count()),
        orphans: orphans(&tracker, &site)?,
        said,
        account,
    })
}

fn has(tool: &str) -> bool {
    std::process::Command::new(tool).arg("-V").output().is_ok_and(|done| done.status.success())
}

fn injected(bench: &Bench) -> Try<Found> {
    let loops = bench.suite("orkaudio", &["--lib"], &["tape::tests", "tape::sync", "tape::volume"]);
    let (Found::Kept { figure: suite, .. }, true) = (&loops, has("strace")) else {
        return Ok(match loops {
            Found::Kept { .. } => Found::NotRun("no strace".to_owned()),
            other => other,
        });
    };
    let mut faults = Vec::new();
    let most = bench.times(2, 12);
    for n in 0..most {
        let n = 1 + n * 3;
        for fault in [
            "pwrite64:error=ENOSPC",
            "pwrite64:error=EIO",
            "rename:error=EIO",
            "fdatasync:error=EIO",
        ] {
            faults.push(format!("{fault}:when={n}"));
        }
        faults.push(format!("pwrite64:error=ENOSPC:when={n}..{}", n + 10));
        faults.push(format!("fsync:error=EIO:when={n}"));
        faults.push(format!("openat:error=ENOSPC:when={}", 60 + n * 4));
    }
    let (mut wrong, mut whole, mut damaged) = (Vec::new(), 0, 0);
    for (seed, fault) in (3_000..).zip(&faults) {
        let found = inject(bench, &bench.folder("R03").join("at"), seed, fault)?;
        whole += found.account.recordings;
        damaged += found.damaged.0;
        let Account { repeated, unplayable, sum, .. } = &found.account;
        let fine = found.panics == 0
            && repeated + unplayable + sum.wrong == 0
            && found.orphans + found.damaged.1 == 0
            && matches!(found.code, Some(0 | 1));
        if !fine {
            wrong.push(format!(
                "{fault}: {}, panics {}, exit {:?}, orphans {}, {}",
                found.account.figure(),
                found.panics,
                found.code,
                found.orphans,
                tail(&found.said)
            ));
        }
    }
    let runs = u64::try_from(faults.len()).unwrap_or(0);
    let kept = wrong.is_empty() && whole > 0;
    let figure =
        format!("{suite}; {whole} recordings, {damaged} damaged and told so {}", wrong.join("; "));
    Ok(Found::when(kept, runs, figure))
}

fn unsynced(bench: &Bench) -> Try<Found> {
    if !has("strace") {
        return Ok(Found::NotRun("no strace".to_owned()));
    }
    let (mut damaged, mut lies, mut recordings) = (0, 0, 0);
    let times = bench.times(3, 20);
    for n in 1..=times {
        // Each thread counts for itself: the one that syncs, the one that finishes, the database's.
        let fault = format!("fdatasync:error=EIO:when={n}");
        let found = inject(bench, &bench.folder("R04").join("at"), 4_000 + n, &fault)?;
        damaged += found.damaged.0;
        lies += found.damaged.1;
        recordings += found.account.recordings;
    }
    let figure =
        format!("{damaged} damaged files, of which told to be ready {lies}; {recordings} others");
    Ok(Found::when(lies == 0 && damaged > 0, times, figure))
}

/// Ends recorders by other means than kill, and recovers.
fn aborted(bench: &Bench) -> Try<Found> {
    let suite =
        bench.suite("orkaudio", &["--lib"], &["tape::tests::a_fault_ends_one_recording_only"]);
    if !matches!(suite, Found::Kept { .. }) {
        return Ok(suite);
    }
    let home = bench.folder("R05");
    let tracker = Tracker::start(&home)?;
    let site = Site::new(&home, &[&tracker.setting(), "tapes.reserve_mib=0"]);
    let mut account = Account::default();
    let times = bench.times(2, 20);
    for number in 0..times {
        let calls = Calls::make(&spec(5_000 + number, 6, 4.0, 1.0), &home)?;
        let mut recorder = Recorder::start(bench, &site, "R05.log", &[])?;
        let sending = calls.send(recorder.agents)?;
        thread::sleep(Duration::from_millis(2_500));
        if number % 2 == 0 {
            recorder.signal(Signal::SIGABRT)?;
        } else {
            // Hardly more memory than it has.
            let limit = format!("--as={}", 64 << 20);
            let pid = format!("--pid={}", recorder.pid());
            let set = std::process::Command::new("prlimit").args([limit, pid]).status();
            set.map_err(while_("prlimit"))?;
            thread::sleep(Duration::from_millis(500));
            recorder.signal(Signal::SIGABRT)?;
        }
        recorder.ended(PATIENCE)?;
        let sent = sending.sent();
        drop(sending);
        let mut again = Recorder::start(bench, &site, "R05.log", &[])?;
        delivered(&again)?;
        again.stop(PATIENCE)?;
        account.add(&tracker, &site, &calls, &sent)?;
    }
    let kept = account.told_once() && account.tails.last().is_some_and(|worst| *worst <= SECOND);
    Ok(Found::when(
        kept,
        times + 1,
        format!("{}; a panic ends one recording (suite)", account.figure()),
    ))
}

fn terminated(bench: &Bench) -> Try<Found> {
    let home = bench.folder("R06");
    let tracker = Tracker::start(&home)?;
    let site = Site::new(&home, &[&tracker.setting(), "tapes.reserve_mib=0"]);
    let count = u32::try_from(bench.times(200, 1_000)).unwrap_or(0);
    // Long packets: it is the calls that count.
    let calls = Calls::make(&Spec { ptime: 100, ..spec(6_000, count, 30.0, 3.0) }, &home)?;
    let mut recorder = Recorder::start(bench, &site, "R06.log", &[])?;
    let sending = calls.send(recorder.agents)?;
    let live = wait(PATIENCE, || recorder.counter("tape.opened") == u64::from(count));
    thread::sleep(Duration::from_secs(3));
    let (took, code) = recorder.stop(PATIENCE)?;
    let sent = sending.sent();
    drop(sending);
    // What was not delivered in time waits for the next start.
    let mut again = Recorder::start(bench, &site, "R06.log", &[])?;
    delivered(&again)?;
    again.stop(PATIENCE)?;
    let mut account = Account::default();
    account.add(&tracker, &site, &calls, &sent)?;
    let parts = site.files(".part").len();
    let kept = live
        && code == Some(0)
        && took < Duration::from_secs(10)
        && parts == 0
        && account.told_once()
        && account.recordings == u64::from(count);
    let figure = format!(
        "{count} calls closed in {:.1} s, exit {code:?}; {}",
        took.as_secs_f64(),
        account.figure()
    );
    Ok(Found::when(kept, 1, figure))
}

/// Recordings by what is said of them in their tags.
pub(super) fn tagged(tracker: &Tracker, tag: &str) -> Try<BTreeMap<String, u64>> {
    let readies = tracker.readies()?;
    let value =
        |told: &orkbase::message::tape::TapeMessage| told.tags.get(tag)?.parse::<u64>().ok();
    let all = readies.into_iter();
    Ok(all.map(|(id, told)| (id, told.iter().filter_map(value).sum())).collect())
}
