//! Processes that end at any moment (R01, R05, R06, R08).

use super::{
    Bench, Found, Row,
    rig_calls::{Account, Calls, SECOND, orphans, spec},
    rig_recorder::{Recorder, Site, Tracker, Try, delivered, wait, while_},
};
use crate::generator::{calls::Spec, chance::Chance};
use nix::sys::signal::Signal;
use std::{thread, time::Duration};

/// The rows.
pub(super) const ROWS: [Row; 4] = [
    Row {
        id: "R01",
        fault: "kill -9 at any moment, of recovery too",
        promised: "all but the last second is playable, told once",
        run: |bench| Found::of(killed(bench, "R01", false)),
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
    Row {
        id: "R08",
        fault: "R01 with `tapes.encrypt_key`, and packets kept",
        promised: "the same, sealed all the time, opened by the key",
        run: |bench| Found::of(killed(bench, "R08", true)),
    },
];

const PATIENCE: Duration = Duration::from_secs(60);

/// Recorders one after another on one folder, each killed.
fn killed(bench: &Bench, row: &str, sealed: bool) -> Try<Found> {
    let home = bench.folder(row);
    let log = format!("{row}.log");
    let tracker = Tracker::start(&home)?;
    let mut site = Site::new(&home, &[&tracker.setting(), "tapes.reserve_mib=0"]);
    if sealed {
        site = site.sealed(&home.join("keys"))?;
    }
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
        let mut recorder = Recorder::start(bench, &site, &log, &[])?;
        let sending = calls.send(recorder.agents)?;
        let until =
            200 + chance.below(u64::try_from(calls.length().as_millis()).unwrap_or(0) + 100);
        thread::sleep(Duration::from_millis(until));
        recorder.kill();
        kills += 1;
        all.push((calls, sending.sent()));
    }
    let mut last = Recorder::start(bench, &site, &log, &[])?;
    delivered(&last)?;
    let (_, code) = last.stop(PATIENCE)?;
    let mut account = Account::default();
    for (calls, sent) in &all {
        account.add(&tracker, &site, calls, sent)?;
    }
    let parts = site.files(".part").len();
    let orphans = orphans(&tracker, &site)?;
    let bare = if sealed { site.files(".wav").len() + site.files(".pcapng").len() } else { 0 };
    let kept = account.told_once()
        && account.sum.holes == 0
        && account.tails.last().is_some_and(|worst| *worst <= SECOND)
        && parts + orphans + bare == 0
        && code == Some(0);
    let mut figure = format!("{}; orphans {}", account.figure(), parts + orphans);
    if sealed {
        let packets = site.files(".pcapng.sealed").len();
        figure.push_str(&format!("; {packets} sealed files of packets, {bare} files bare"));
    }
    Ok(Found::when(kept, kills, figure))
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
