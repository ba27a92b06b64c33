//! A tape whose end finds no room.

use super::*;
use crate::tape::file::part_of;
use std::{
    path::PathBuf,
    sync::mpsc::SyncSender,
    thread,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what must come.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Both calls recorded and closed, while after `before` requests the disk takes nothing any more.
fn fill_up(rig: &Rig, before: u32) -> Receiver<Step> {
    failpoint::set(before, u32::MAX, ENOSPC);
    let mut all = calls("PCMU", true);
    all.extend([close(0), close(1)]);
    let steps = rig.do_all(all);
    failpoint::clear();
    steps
}

/// Hands steps on and keeps the way open until told.
fn hand_on(steps: &Receiver<Step>) -> (SyncSender<Step>, Receiver<Step>) {
    let (to, from) = sync_channel(64);
    steps.try_iter().for_each(|step| to.send(step).unwrap());
    (to, from)
}

#[test]
fn a_sealed_tape_is_finished_when_there_is_room() {
    let home = folder();
    let root = home.path();
    let rig = Rig::new(root, true);
    let steps = fill_up(&rig, 25);
    let (open, steps) = hand_on(&steps);
    let mut recorded = None;
    thread::scope(|scope| {
        let rig = &rig;
        let finishing = scope.spawn(move || {
            // Each failing try is a few requests.
            failpoint::set(0, 30, ENOSPC);
            let recorded = rig.finish(&steps);
            (recorded, failpoint::clear())
        });
        until("they wait", || rig.counters.finish_waiting.load(Ordering::Relaxed) == 2);
        assert!(rig.settings.volume.problems().iter().any(|why| why.contains("refuses")));
        assert!(lines(root).is_empty(), "nothing is told of what waits");
        until("they are finished", || rig.counters.finished.load(Ordering::Relaxed) == 2);
        // Only then does the recorder stop.
        drop(open);
        recorded = Some(finishing.join().unwrap());
    });
    let (recorded, failed) = recorded.unwrap();
    assert!(failed && recorded.tagged.is_empty());
    assert_eq!(recorded.finished.len(), 2, "told once");
    for finished in &recorded.finished {
        let Outcome::Ready(name) = &finished.outcome else { panic!("{:?}", finished.outcome) };
        let missing = hold_against(&root.join(name), finished.order, false);
        assert!(missing == finished.lost_frames && missing > 0, "{missing}");
        assert!(finished.damage.is_some() && finished.stored.len() == 2);
        let raw = &finished.closing.message.tags["rawfile"];
        assert!(root.join(raw).exists() && finished.packets_lost > 0);
    }
    assert_eq!(recorded.counters.finish_failed.load(Ordering::Relaxed), 0);
    assert_eq!(recorded.counters.finish_waiting.load(Ordering::Relaxed), 0);
    let kept = |event: &&Event| matches!(event, Event::Kept { .. });
    assert_eq!(lines(root).iter().filter(kept).count(), 4);
}

#[test]
fn what_waits_for_room_when_the_recorder_stops_waits_for_the_next_start() {
    let home = folder();
    let root = home.path();
    let rig = Rig::new(root, true);
    let steps = fill_up(&rig, 25);
    failpoint::set(0, u32::MAX, ENOSPC);
    let recorded = rig.finish(&steps);
    failpoint::clear();
    for finished in &recorded.finished {
        let why = &finished.outcome;
        assert!(matches!(why, Outcome::Unsure(_)), "{why:?}");
        let part = part_of(&root.join(format!("a/r{}.wav.sealed", finished.order)));
        let saved = crate::tape::recover::recover(root, &part, Some(&keys())).unwrap().unwrap();
        let missing = hold_against(&root.join(&saved.path), finished.order, false);
        assert!(missing <= finished.lost_frames, "{missing} of {}", finished.lost_frames);
    }
    assert!(recorded.tagged.is_empty());
    assert_eq!(crate::tape::recover::parts(root).unwrap(), [] as [PathBuf; 0]);
}
