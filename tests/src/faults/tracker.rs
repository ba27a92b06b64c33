//! Trackers that are away, frozen, or lie (R20 to R25).

use super::{
    Bench, Found, Row,
    peers::{Calls, Forgetful, Tracker, message, reporter, rss_mb, told_by},
};
use crate::generator::chance::Chance;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use orkaudio::track::ReporterHandle;
use orkbase::message::tape::Stage;
use std::{
    fs,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// The rows.
pub(super) const ROWS: [Row; 6] = [
    Row {
        id: "R20",
        fault: "the tracker is away while messages queue up",
        promised: "P3: every `ready` is there once when it is back, in order per call",
        run: away,
    },
    Row {
        id: "R21",
        fault: "one of two trackers is frozen (SIGSTOP)",
        promised: "recording and the other tracker go on as if nothing were; it has all once it thaws",
        run: frozen,
    },
    Row {
        id: "R22",
        fault: "the tracker answers 200 empty, 400, 500, garbage, a byte at a time, never, 10 MB",
        promised: "sent again but for 400; 64 KiB read; nobody else waits",
        run: nonsense,
    },
    Row {
        id: "R23",
        fault: "the answer is lost after the tracker has committed",
        promised: "told again, stored once",
        run: unanswered,
    },
    Row {
        id: "R24",
        fault: "`kill -9` orktrack at random under load",
        promised: "nothing that was acknowledged is missing",
        run: killed,
    },
    Row {
        id: "R25",
        fault: "a webhook's or a queue's consumer is down",
        promised: "told later, from a bounded disk",
        run: |_| Found::NotRun("no webhook or queue sinks yet".to_owned()),
    },
];

/// The clock of a row's patience.
const PATIENCE: Duration = Duration::from_secs(600);

fn until(mut done: impl FnMut() -> bool) -> bool {
    let limit = Instant::now() + PATIENCE;
    while !done() {
        if Instant::now() > limit {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
    true
}

fn delivered(track: &ReporterHandle) -> u64 {
    track.counters().delivered.load(Relaxed)
}

fn waiting(track: &ReporterHandle) -> u64 {
    track.counters().outbox_rows.load(Relaxed)
}

/// Half as many recordings as messages: `start` and `stop` are dropped once a later stage waits as well.
fn away(bench: &Bench) -> Found {
    let recordings = bench.times(2_500, 50_000);
    let home = bench.folder("R20");
    let state = home.join("state.db");
    let mut tracker = match Tracker::start(bench, &home, "a") {
        Ok(tracker) => tracker,
        Err(why) => return Found::NotRun(why),
    };
    tracker.kill();
    let (link, track) = match reporter(&[tracker.url()], Some(&state)) {
        Ok(link) => link,
        Err(why) => return Found::NotRun(why),
    };
    let known = || track.counters().trackers().iter().any(|state| !state.trouble.is_empty());
    if !until(known) {
        return Found::NotRun("the link does not notice that nobody is there".to_owned());
    }
    let empty = rss_mb(std::process::id());
    for number in 0..recordings {
        let recid = format!("away{number}");
        for stage in [Stage::Start, Stage::Update, Stage::Stop] {
            track.tell(message(&recid, stage));
        }
        if let Err(error) = track.ready(message(&recid, Stage::Ready), format!("{recid}.wav")) {
            return Found::NotRun(error.to_string());
        }
    }
    // A question is answered behind everything that was told before.
    drop(track.is_ready("away0"));
    let (queued, full) = (waiting(&track), rss_mb(std::process::id()));
    let outbox: u64 = ["state.db", "state.db-wal"]
        .iter()
        .filter_map(|name| fs::metadata(home.join(name)).ok())
        .map(|about| about.len())
        .sum();
    let dropped = track.counters().dropped.load(Relaxed);
    let begin = Instant::now();
    if let Err(why) = tracker.again() {
        return Found::NotRun(why);
    }
    let drained = until(|| waiting(&track) == 0);
    let seconds = begin.elapsed().as_secs_f64();
    let sent = delivered(&track);
    drop(link);
    let count = |sql: &str| tracker.count(sql);
    let there = count("SELECT count(*) FROM tape WHERE state = 'ready'");
    let doubled = count(
        "SELECT count(*) FROM (SELECT 1 FROM tape_stage GROUP BY tape, stage HAVING count(*) > 1)",
    );
    let disordered = count(
        "SELECT count(*) FROM tape_stage u JOIN tape_stage r ON r.tape = u.tape
         WHERE u.stage = 'update' AND r.stage = 'ready' AND u.id > r.id",
    );
    let lost = i64::try_from(recordings).unwrap_or(i64::MAX) - there;
    // Of what is told faster than the disk takes it `start`, `stop` and `update` go first, and are counted.
    let kept = drained && (lost, doubled, disordered) == (0, 0, 0);
    Found::when(
        kept,
        1,
        format!(
            "{queued} messages of {recordings} recordings: lost {lost}, doubled {doubled}, out of order \
             {disordered}; {dropped} of start, stop and update dropped and counted; {sent} told in {seconds:.1} s \
             ({:.0}/s); outbox {:.1} MB, memory +{:.1} MB",
            float(sent) / seconds,
            float(outbox) / 1e6,
            full - empty
        ),
    )
}

fn float(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

fn frozen(bench: &Bench) -> Found {
    let home = bench.folder("R21");
    let run = || -> Result<Found, String> {
        let stopped = Tracker::start(bench, &home, "stopped")?;
        let other = Tracker::start(bench, &home, "other")?;
        let calls = Calls::new(20, 6.0);
        let recorder = calls.recorder(bench, &home, &[stopped.url(), other.url()])?;
        let recordings =
            |tracker: &Tracker| tracker.count("SELECT count(*) FROM tape WHERE state = 'ready'");
        let pid = i32::try_from(stopped.pid()).map_err(|e| e.to_string())?;
        kill(Pid::from_raw(pid), Signal::SIGSTOP).map_err(|e| e.to_string())?;
        calls.send(recorder.agents)?;
        let begin = Instant::now();
        let told = until(|| recordings(&other) == 20);
        let lag = begin.elapsed().as_secs_f64();
        let threads = recorder.threads();
        kill(Pid::from_raw(pid), Signal::SIGCONT).map_err(|e| e.to_string())?;
        let thawed = until(|| recordings(&stopped) == 20);
        let missing = calls.missing(&recorder.tapes)?;
        let kept = told && thawed && missing == 0;
        let figure = format!(
            "20 calls: blocks missing {missing}; the other tracker had the last `ready` {lag:.1} s after it \
             was hung up; {threads} threads; the frozen one has {} recordings now",
            recordings(&stopped)
        );
        Ok(Found::when(kept, 1, figure))
    };
    run().unwrap_or_else(Found::NotRun)
}

fn nonsense(bench: &Bench) -> Found {
    let tests = [
        "a_message_that_fails_waits_alone_and_keeps_its_order",
        "answers_without_end_or_measure_are_bounded",
        "an_answer_that_drips_costs_its_time_out",
        "refused_for_good_is_dropped_and_counted",
        "a_lost_answer_means_once_more",
        "nothing_before_init_succeeds",
    ];
    bench.suite("orkaudio", &["--lib"], &tests)
}

fn unanswered(bench: &Bench) -> Found {
    let recordings = bench.times(50, 1_000);
    let home = bench.folder("R23");
    let run = || -> Result<Found, String> {
        let tracker = Tracker::start(bench, &home, "t")?;
        let proxy = Forgetful::start(tracker.port)?;
        let (link, track) = reporter(&[proxy.url()], Some(&home.join("state.db")))?;
        let stages = [Stage::Start, Stage::Update, Stage::Stop, Stage::Ready];
        for number in 0..recordings {
            for stage in stages {
                track.tell(message(&format!("once{number}"), stage));
            }
        }
        let sent = 4 * recordings;
        let done = until(|| waiting(&track) == 0 && delivered(&track) >= sent);
        let coalesced = track.counters().coalesced.load(Relaxed);
        drop(link);
        let there = tracker.count("SELECT count(*) FROM tape WHERE state = 'ready'");
        let rows = tracker.count("SELECT count(*) FROM tape_stage");
        let distinct =
            tracker.count("SELECT count(*) FROM (SELECT DISTINCT tape, stage FROM tape_stage)");
        let doubled = rows - distinct;
        let lost = i64::try_from(recordings).unwrap_or(i64::MAX) - there;
        let swallowed = proxy.swallowed();
        let kept = done && doubled == 0 && lost == 0 && swallowed + coalesced >= sent;
        let figure = format!(
            "{sent} messages, {swallowed} answers swallowed: lost {lost}, duplicate rows {doubled}"
        );
        Ok(Found::when(kept, swallowed, figure))
    };
    run().unwrap_or_else(Found::NotRun)
}

/// Recorders that tell as fast as they are answered, and note what they were answered.
const TELLERS: u64 = 8;

fn killed(bench: &Bench) -> Found {
    let kills = bench.times(5, 200);
    let home = bench.folder("R24");
    let run = || -> Result<Found, String> {
        let mut tracker = Tracker::start(bench, &home, "t")?;
        let port = tracker.port;
        let (over, told) = (AtomicBool::new(false), AtomicU64::new(0));
        let acknowledged = Mutex::new(Vec::new());
        let mut chance = Chance::new(kills, 24);
        let done: Result<Duration, String> = thread::scope(|scope| {
            for teller in 0..TELLERS {
                let (over, told, acknowledged) = (&over, &told, &acknowledged);
                let tell = move || {
                    for number in 0_u64.. {
                        let recid = format!("k{teller}x{number}");
                        for stage in [Stage::Start, Stage::Stop, Stage::Ready] {
                            let body = message(&recid, stage);
                            while !told_by(port, &body) {
                                if over.load(Relaxed) {
                                    return;
                                }
                                thread::sleep(Duration::from_millis(20));
                            }
                            told.fetch_add(1, Relaxed);
                            let mut list =
                                acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
                            list.push((recid.clone(), stage));
                        }
                        if over.load(Relaxed) {
                            return;
                        }
                    }
                };
                let name = format!("teller-{teller}");
                let spawned = thread::Builder::new().name(name).spawn_scoped(scope, tell);
                if let Err(error) = spawned {
                    over.store(true, Relaxed);
                    return Err(error.to_string());
                }
            }
            let mut worst = Duration::ZERO;
            let mut rage = || {
                for _ in 0..kills {
                    thread::sleep(Duration::from_millis(50 + chance.below(400)));
                    tracker.kill();
                    let begin = Instant::now();
                    tracker.again()?;
                    worst = worst.max(begin.elapsed());
                }
                Ok(())
            };
            let raged = rage();
            over.store(true, Relaxed);
            raged.map(|()| worst)
        });
        let worst = done?;
        let list = acknowledged.into_inner().unwrap_or_else(PoisonError::into_inner);
        let known = tracker.stages();
        let missing = list
            .iter()
            .filter(|(recid, stage)| !known.contains(&(recid.clone(), stage.as_str().to_owned())))
            .count();
        let checked = tracker.check(bench);
        let figure = format!(
            "{} acknowledged, missing {missing}; back within {:.0} ms at worst; orktrack check {}",
            told.load(Relaxed),
            worst.as_secs_f64() * 1000.0,
            if checked { "good" } else { "BAD" }
        );
        let rose = u64::try_from(list.len()).unwrap_or(0) > kills;
        Ok(Found::when(missing == 0 && checked && rose, kills, figure))
    };
    run().unwrap_or_else(Found::NotRun)
}
