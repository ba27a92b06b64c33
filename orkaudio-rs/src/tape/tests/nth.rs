//! The n-th request fails, for every n: of tapes, of the packets and of the ledger beside them.

use super::*;
use crate::tape::{
    file::{damaged_of, is_doomed, part_of},
    ledger::Stored,
    packets as beside, recover,
};
use orkvault::digest;
use std::path::PathBuf;

/// What fails, and of what.
#[derive(Clone, Copy, Debug)]
struct Fault {
    /// So many requests, after so many others.
    count: u32,
    before: u32,
    errno: i32,
    sealed: bool,
    packets: bool,
}

/// Records two calls; whether all that was to fail was asked for.
fn fail(fault: Fault) -> bool {
    let Fault { count, before, errno, sealed, packets } = fault;
    let home = folder();
    let root = home.path();
    fs::create_dir(root.join("a")).unwrap();
    fs::write(root.join("a/old.wav"), [7; 100]).unwrap();
    let rig = Rig::new(root, sealed);
    failpoint::set(before, count, errno);
    let recorded = rig.record("PCMU", packets);
    let failed = failpoint::clear();
    assert_eq!(fs::read(root.join("a/old.wav")).unwrap(), [7; 100]);
    assert_eq!(recorded.finished.len(), 2);
    let mut unsynced = Vec::new();
    for finished in &recorded.finished {
        let (number, recid) = (finished.order, &finished.closing.message.recid);
        let end = if sealed { ".sealed" } else { "" };
        let path = root.join(format!("a/r{number}.wav{end}"));
        match &finished.outcome {
            Outcome::Ready(name) => {
                let missing = hold_against(&root.join(name), number, count > 1);
                // Where not even half a write could be taken back, some of it is there after all.
                let told = finished.lost_frames;
                assert!(
                    missing == told || count > 1 && missing < told,
                    "{fault:?}: {missing} of {told}"
                );
                assert!(missing == 0 || finished.damage.is_some(), "{fault:?}");
                assert!(!part_of(&path).exists(), "{fault:?}");
                let digest = digest::of_file(&root.join(name)).unwrap();
                let tape = Stored { path: name.clone(), digest };
                assert_eq!(finished.stored.first(), Some(&tape), "{fault:?}");
            }
            Outcome::Failed(why) => {
                assert!(recorded.tagged.contains(recid), "{fault:?}");
                let wrong = why.contains("sync") || why.contains("rename") || why.contains("error");
                assert!(wrong, "{fault:?}: {why}");
                assert!(!path.exists(), "{fault:?}");
                let kept = damaged_of(&path).exists();
                assert!(count > 1 || kept == why.contains("sync"), "{fault:?}");
                unsynced.extend(kept.then(|| path.clone()));
            }
            Outcome::Unsure(_) => {
                let left = recorded.volume.given_up().is_some() || part_of(&path).exists();
                assert!(left, "{fault:?}");
            }
            Outcome::TooShort | Outcome::Discarded => panic!("{fault:?}"),
        }
        hold_packets_against(root, finished, fault);
    }
    // One that fails hurts one recording only, unless it is the folder of both.
    let whole = recorded.finished.iter().filter(|finished| {
        matches!(finished.outcome, Outcome::Ready(_)) && finished.damage.is_none()
    });
    let whole = whole.count();
    let given_up = recorded.volume.given_up().is_some();
    assert!(!failed || count > 1 || given_up || whole >= 1, "{fault:?}");
    // What lies beside a tape hurts none.
    let lost = recorded.finished.iter().map(|finished| finished.packets_lost).sum::<u64>();
    assert_eq!(lost, recorded.counters.packets_failed.load(Ordering::Relaxed), "{fault:?}");
    let ledger = rig.settings.ledger.as_ref().unwrap();
    let beside = lost > 0 || ledger.counts().failed > 0;
    assert!(!failed || count > 1 || !beside || whole == 2, "{fault:?}");
    ledger.enter([]);
    assert_eq!((ledger.counts().waiting, ledger.counts().lost), (0, 0), "{fault:?}");
    drop(rig);
    start_again(root, sealed, &recorded, fault);
    assert!(unsynced.iter().all(|path| !path.exists() && damaged_of(path).exists()), "{fault:?}");
    failed
}

/// Every packet is in the file that is told of, or is told to be lost.
fn hold_packets_against(root: &Path, finished: &Finished, fault: Fault) {
    let sent = if fault.packets { PACKETS * u64::from(SECONDS) } else { 0 };
    let kept = finished.closing.message.tags.get("rawfile").map_or(0, |name| {
        let mut bytes = Vec::new();
        let file = File::open(root.join(name)).unwrap();
        Vessel::open(file, Some(&keys())).unwrap().read_to_end(&mut bytes).unwrap();
        let (whole, packets) = pcapng::whole(&bytes);
        assert_eq!(whole, bytes.len(), "{fault:?}");
        packets
    });
    assert_eq!(kept + finished.packets_lost, sent, "{fault:?}");
}

/// The ledger has a line for each tape, none is torn; what has no name gets one.
fn start_again(root: &Path, sealed: bool, recorded: &Recorded, fault: Fault) {
    drop(Ledger::open(root, rules()).unwrap());
    let lines = lines(root);
    for finished in &recorded.finished {
        let is_of = |event: &&Event| match event {
            Event::Kept { path, sha256, .. } => finished
                .stored
                .iter()
                .any(|file| file.path == *path && file.digest.sha256 == *sha256),
            Event::NotKept { recid, .. } => *recid == finished.closing.message.recid,
            Event::Day { .. } | Event::Cut { .. } | Event::Gone { .. } => false,
        };
        let wanted = match &finished.outcome {
            Outcome::Ready(_) => finished.stored.len(),
            Outcome::Failed(_) => 1,
            Outcome::Unsure(_) | Outcome::TooShort | Outcome::Discarded => 0,
        };
        // Lines that were written before the disk said no may be there twice.
        assert!(lines.iter().filter(is_of).count() >= wanted, "{fault:?}: {lines:?}");
    }
    let keys = sealed.then(keys);
    for part in recover::packet_parts(root).unwrap() {
        beside::recover(&part, keys.as_ref()).unwrap();
    }
    for part in recover::parts(root).unwrap() {
        if is_doomed(&part) {
            recover::set_aside(&part, keys.as_ref()).unwrap();
        } else if let Some(tape) = recover::recover(root, &part, keys.as_ref()).unwrap() {
            let number = u64::from(tape.path.contains("r1"));
            hold_against(&root.join(&tape.path), number, true);
        }
    }
    assert_eq!(recover::parts(root).unwrap(), [] as [PathBuf; 0], "{fault:?}");
    assert_eq!(recover::packet_parts(root).unwrap(), [] as [PathBuf; 0], "{fault:?}");
}

/// Every request fails, one at a time, and then many.
fn every(errno: i32, sealed: bool, packets: bool) {
    let mut fault = Fault { count: 1, before: 0, errno, sealed, packets };
    while fail(fault) {
        fault.before += 1;
    }
    let n = fault.before;
    assert!(n >= if packets { 50 } else { 30 }, "only {n} requests of {fault:?}");
    // The disk is full from there on, or for a while.
    for before in 0..n {
        for count in [5, u32::MAX] {
            fail(Fault { before, count, ..fault });
        }
    }
}

#[test]
fn the_nth_request_finds_no_room() {
    every(ENOSPC, false, true);
}

#[test]
fn the_nth_request_fails() {
    every(EIO, false, false);
}

#[test]
fn the_nth_request_of_sealed_tapes_finds_no_room() {
    every(ENOSPC, true, false);
}

#[test]
fn the_nth_request_of_sealed_tapes_fails() {
    every(EIO, true, true);
}
