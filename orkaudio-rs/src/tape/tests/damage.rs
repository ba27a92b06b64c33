//! A sync fails, and then the process is killed.

use super::*;
use crate::tape::{
    file::{self, is_doomed},
    packets,
    recover::{self, Recovered},
    sync::ByHand,
};
use std::{path::PathBuf, thread};

/// Records two calls whose `nth` file cannot be forced to the disk while they last, and is killed; gives what it
/// leaves.
fn killed(root: &Path, sealed: bool, with_packets: bool, nth: u32) -> Vec<PathBuf> {
    let mut rig = Rig::new(root, sealed);
    let mut syncing = ByHand::new(root.to_owned(), Arc::clone(&rig.counters));
    rig.syncing = Some(syncing.opened());
    let all = calls("PCMU", with_packets);
    let bytes = AtomicUsize::new(all.iter().map(Job::bytes).sum());
    let (jobs_in, jobs) = sync_channel(64);
    thread::scope(|scope| {
        let (rig, waiting) = (&rig, &bytes);
        let worker = scope.spawn(move || drop(rig.work(&jobs, waiting)));
        all.into_iter().for_each(|job| jobs_in.send(vec![job]).unwrap());
        // A batch is taken when the one before it is done with.
        (0..2).for_each(|_| jobs_in.send(Vec::new()).unwrap());
        while bytes.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
        // Folders come after the files in them.
        failpoint::set(nth, 1, EIO);
        syncing.go();
        assert!(failpoint::clear());
        // Nobody closes anything.
        drop(jobs_in);
        worker.join().unwrap();
    });
    assert_eq!(rig.counters.sync_failed.load(Ordering::Relaxed), 1);
    let mut left = recover::parts(root).unwrap();
    left.extend(recover::packet_parts(root).unwrap());
    left
}

/// The next start: what is damaged is set aside, the other tapes are saved.
fn recovered(root: &Path, sealed: bool) -> Vec<Recovered> {
    let keys = sealed.then(keys);
    for part in recover::packet_parts(root).unwrap() {
        packets::recover(&part, keys.as_ref()).unwrap();
    }
    let mut saved = Vec::new();
    for part in recover::parts(root).unwrap() {
        if is_doomed(&part) {
            let recid = recover::set_aside(&part, keys.as_ref()).unwrap().unwrap();
            let number = u64::from(recid == "r1");
            // As much of it as there is can be heard.
            assert!(hold_against(&part.with_extension(""), number, false) <= 8_000);
        } else {
            saved.extend(recover::recover(root, &part, keys.as_ref()).unwrap());
        }
    }
    assert_eq!(recover::parts(root).unwrap(), [] as [PathBuf; 0]);
    assert_eq!(recover::packet_parts(root).unwrap(), [] as [PathBuf; 0]);
    saved
}

#[test]
fn what_a_sync_failed_of_is_never_recovered_as_a_tape() {
    for (sealed, nth) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let home = folder();
        let root = home.path();
        let left = killed(root, sealed, false, nth);
        let damaged: Vec<_> = left.iter().filter(|part| is_doomed(part)).collect();
        let ([damaged], [_, _]) = (&damaged[..], &left[..]) else { panic!("{left:?}") };
        let kept = damaged.with_extension("");
        let saved = recovered(root, sealed);
        let [tape] = &saved[..] else { panic!("{saved:?}") };
        let number = u64::from(tape.message.recid == "r1");
        assert!(hold_against(&root.join(&tape.path), number, false) <= 8_000);
        let end = if sealed { ".sealed" } else { "" };
        assert_eq!(kept, root.join(format!("a/r{}.wav{end}.damaged", 1 - number)));
        assert!(kept.exists() && !kept.with_extension("").exists());
    }
}

#[test]
fn packets_are_forced_to_the_disk_and_set_aside_like_tapes() {
    let mut hit = [0, 0];
    // Two tapes and the packets of each: whichever comes first.
    for nth in 0..4 {
        let home = folder();
        let root = home.path();
        let left = killed(root, false, true, nth);
        let damaged: Vec<_> = left.iter().filter(|part| is_doomed(part)).collect();
        let ([damaged], 4) = (&damaged[..], left.len()) else { panic!("{left:?}") };
        let kept = damaged.with_extension("");
        let of_packets = packets::is_part(damaged);
        hit[usize::from(of_packets)] += 1;
        let saved = recovered(root, false);
        assert!(kept.exists() && !kept.with_extension("").exists());
        assert_eq!(saved.len(), if of_packets { 2 } else { 1 });
        for tape in saved {
            let named = tape.message.tags.get("rawfile").map(|name| root.join(name));
            let own = packets::beside(&root.join(&tape.path));
            // What was damaged is nobody's.
            let wanted = Some(own).filter(|own| kept != file::damaged_of(own));
            assert_eq!(named, wanted, "{}", tape.path);
        }
    }
    assert_eq!(hit, [2, 2]);
}

#[test]
fn a_start_that_cannot_sync_what_it_saves_sets_it_aside() {
    let home = folder();
    let root = home.path();
    let rig = Rig::new(root, false);
    drop(rig.do_all(calls("PCMU", false)));
    let [one, _] = &recover::parts(root).unwrap()[..] else { panic!("two tapes") };
    failpoint::set(0, 1, EIO);
    assert!(recover::recover(root, one, None).is_err());
    assert!(failpoint::clear());
    // The disk says yes now: the next start does not ask.
    let parts = recover::parts(root).unwrap();
    assert!(parts.iter().filter(|part| is_doomed(part)).count() == 1 && !one.exists());
}
