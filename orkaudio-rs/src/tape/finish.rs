//! After the last sample: bytes to the disk, the final name, the name to the disk, `ready`.
//!
//! Law (in this order): header, data sync, rename, folder sync, ledger, report. A sync that failed is final:
//! the tape is kept as `X.damaged`, is told as failed and never as ready. A tape that only lacks room for its
//! end waits for it, open, and nothing is told of it meanwhile.

use super::{
    disk,
    file::ClosedTape,
    ledger::{self, Stored},
    packets::PacketFile,
    recover::Recovered,
    settle::{Pending, Settled},
    volume::up_to,
    worker::{Ending, TapeCounters, TapeSettings},
};
use crate::process::{Pool, Work};
use orkbase::{
    call::{
        output::{AddTag, Closing},
        party::Side,
    },
    message::{tag::AddTagMessage, tape::TapeMessage},
};
use std::{
    collections::{BTreeSet, VecDeque},
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

/// What the audio of a tape was like.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Heard {
    /// Payloads that their decoder refused.
    pub refused: u64,
    /// Audio that was made up where packets were lost, in milliseconds, both sides together.
    pub concealed_ms: u64,
    /// Loudest sample of the local and of the remote side, 0 to 32768.
    pub peaks: [u16; 2],
}

/// Tapes finished together: one folder sync for all of them.
const TOGETHER: usize = 64;
/// With so many of them the file system is asked to write everything first: what follows is quick.
const MANY: usize = 16;
/// Tapes that may wait for room, each with its file open; others are told of at the next start.
const WAITING: usize = 1_024;
/// How often the disk is asked whether it takes their end.
const AGAIN: Duration = Duration::from_secs(1);

/// A closed tape on its way.
#[derive(Debug)]
pub struct Finish {
    /// Its file; `None` if it could not be created.
    pub file: Option<ClosedTape>,
    /// Its packets, if any were kept.
    pub packets: Option<PacketFile>,
    /// Why it could not be created.
    pub error: Option<String>,
    /// Why it is not whole.
    pub damage: Option<String>,
    /// How it ended.
    pub ending: Ending,
    /// Frames that could not be written.
    pub lost_frames: u64,
    /// What its audio was like.
    pub heard: Heard,
}

/// What workers hand on.
#[derive(Debug)]
pub enum Step {
    /// Something is said about a moment of an open tape.
    Tagged(Box<AddTag>),
    /// A tape was closed.
    Closed(Box<Finish>),
}

/// What became of a tape.
#[derive(Debug)]
pub enum Outcome {
    /// A finished file; the path is relative to the audio folder. What could not be written of it is
    /// in [`Finished::damage`] and [`Finished::lost_frames`].
    Ready(String),
    /// Thrown away: shorter than the least duration.
    TooShort,
    /// Thrown away: an operator said so.
    Discarded,
    /// Not, or not wholly, on the disk.
    Failed(String),
    /// Its name or its header may not be on the disk: nothing is told of it until the next start has looked.
    Unsure(String),
}

/// The end of a tape, for whoever reports it.
#[derive(Debug)]
pub struct Finished {
    /// What the core said of it.
    pub closing: Closing,
    /// Closing number.
    pub order: u64,
    /// Audio thrown away because the disk could not keep up, in milliseconds.
    pub overrun_ms: u64,
    /// Packets not kept because the disk could not keep up.
    pub packets_lost: u64,
    /// Frames that could not be written.
    pub lost_frames: u64,
    /// What its audio was like.
    pub heard: Heard,
    /// Why it is not whole, if it is not.
    pub damage: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// All files, where a recording has several; the first is that of [`Outcome::Ready`].
    pub files: Vec<String>,
    /// The finished files and their hashes, packets too; none without a ledger.
    pub stored: Vec<Stored>,
}

/// What whoever reports is told of.
#[derive(Debug)]
pub enum Report {
    /// Something is said about a moment of a tape that is not finished yet.
    Tagged(Box<AddTag>),
    /// A tape of this process, as recorded.
    Finished(Box<Finished>),
    /// A tape of this process that was processed: what it was made of goes once this is stored.
    Processed(Box<Finished>),
    /// A tape that an earlier process left, or one whose story had to wait on the disk.
    Recovered(Box<Recovered>),
}

/// Finishes tapes until none come any more. With a pool it takes what is to be processed.
pub fn run(
    settings: &TapeSettings,
    counters: &Arc<TapeCounters>,
    tapes: &Receiver<Step>,
    pool: Option<&Pool>,
    report: &mut dyn FnMut(Report),
) {
    let mut waiting = Waiting::default();
    loop {
        let first = match waiting.rest() {
            None => tapes.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(rest) => tapes.recv_timeout(rest),
        };
        let over = matches!(first, Err(RecvTimeoutError::Disconnected));
        let mut batch = Vec::from_iter(first.ok());
        batch.extend(tapes.try_iter().take(TOGETHER - 1));
        if settings.sync && batch.len() >= MANY {
            sync_all(&settings.root);
        }
        let mut folders = BTreeSet::new();
        let mut done: Vec<Settled> = Vec::with_capacity(batch.len());
        for step in batch {
            match step {
                Step::Tagged(tag) => report(Report::Tagged(tag)),
                Step::Closed(finish) => {
                    let mut pending = Pending::new(*finish, pool.is_some());
                    let waits = waiting.tapes.len() < WAITING;
                    match pending.settle(settings, counters, waits, &mut folders) {
                        Ok(part) => done.push(pending.done(part)),
                        Err(error) => waiting.push(settings, pending, &error),
                    }
                }
            }
        }
        waiting.retry(settings, counters, over, &mut folders, &mut done);
        let waits = u64::try_from(waiting.tapes.len()).unwrap_or(u64::MAX);
        counters.finish_waiting.store(waits, Ordering::Relaxed);
        tell(settings, counters, pool, done, &folders, report);
        if over {
            return;
        }
    }
}

/// Tapes for whose end the disk has no room, or none now.
#[derive(Debug, Default)]
struct Waiting {
    tapes: VecDeque<Pending>,
    /// When the disk was asked last.
    asked: Option<Instant>,
}

impl Waiting {
    /// How long until the disk is to be asked again, if there is a reason to.
    fn rest(&self) -> Option<Duration> {
        let rest = || self.asked.map_or(Duration::ZERO, |at| AGAIN.saturating_sub(at.elapsed()));
        (!self.tapes.is_empty()).then(rest)
    }

    fn push(&mut self, settings: &TapeSettings, pending: Pending, error: &io::Error) {
        settings.volume.refused(error);
        if self.tapes.is_empty() {
            tracing::error!(%error, "closed tapes wait until the disk takes their end");
            self.asked = Some(Instant::now());
        }
        self.tapes.push_back(pending);
    }

    /// Finishes as many as the disk takes; all that wait, one way or another, when it is `over`.
    fn retry(
        &mut self,
        settings: &TapeSettings,
        counters: &TapeCounters,
        over: bool,
        folders: &mut BTreeSet<PathBuf>,
        done: &mut Vec<Settled>,
    ) {
        if !over && self.rest().is_none_or(|rest| !rest.is_zero()) {
            return;
        }
        while let Some(mut pending) = self.tapes.pop_front() {
            match pending.settle(settings, counters, !over, folders) {
                Ok(part) => done.push(pending.done(part)),
                Err(error) => {
                    settings.volume.refused(&error);
                    // Another one is asked for next time.
                    self.tapes.push_back(pending);
                    self.asked = Some(Instant::now());
                    return;
                }
            }
            if self.tapes.is_empty() && !over {
                tracing::warn!("the tapes that waited for the disk are finished");
            }
            if done.len() >= TOGETHER && !over {
                return;
            }
        }
    }
}

/// Forces names to the disk and tells what became of tapes.
fn tell(
    settings: &TapeSettings,
    counters: &TapeCounters,
    pool: Option<&Pool>,
    done: Vec<Settled>,
    folders: &BTreeSet<PathBuf>,
    report: &mut dyn FnMut(Report),
) {
    let synced = if settings.sync { sync_folders(&settings.root, folders) } else { Ok(()) };
    if let Err(error) = &synced {
        // The next start looks at what really is there.
        settings.volume.give_up(format!("cannot sync a folder of tapes: {error}"));
    }
    let mut told = Vec::with_capacity(done.len());
    for Settled { mut finished, part } in done {
        if let (Some(pool), Some(part), true) = (pool, part, synced.is_ok()) {
            pool.give(Work::Fresh(Box::new(finished), part));
            continue;
        }
        if let (Err(error), Outcome::Ready(_)) = (&synced, &finished.outcome) {
            finished.outcome = Outcome::Unsure(format!("cannot sync the folder: {error}"));
        }
        if let (Some(_), Outcome::Ready(path)) = (&settings.ledger, &finished.outcome) {
            let names = std::slice::from_ref(path);
            finished.stored = ledger::stored(&settings.root, names, &finished.closing.message);
        }
        told.push(finished);
    }
    if let Some(ledger) = settings.ledger.as_ref().filter(|_| !told.is_empty()) {
        // One sync for all of them.
        ledger.enter(told.iter().flat_map(ledger::of));
    }
    for finished in told {
        let counter = match &finished.outcome {
            Outcome::Ready(_) => &counters.finished,
            Outcome::TooShort => &counters.too_short,
            Outcome::Discarded => &counters.discarded,
            Outcome::Failed(why) => {
                tracing::error!(orkuid = %finished.closing.message.recid, why, "a tape could not be finished");
                report(Report::Tagged(Box::new(not_recorded(&finished.closing))));
                &counters.finish_failed
            }
            Outcome::Unsure(why) => {
                tracing::error!(orkuid = %finished.closing.message.recid, why, "a tape is told of at the next start");
                &counters.finish_failed
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if let (Some(sidecars), Outcome::Ready(path)) = (settings.sidecars, &finished.outcome) {
            sidecars.tell(&settings.root, path, &finished);
        }
        report(Report::Finished(Box::new(finished)));
    }
}

/// Tells the tracker that there is no whole recording of a call.
fn not_recorded(closing: &Closing) -> AddTag {
    AddTag { tape: closing.tape, side: Side::Local, message: no_recording(&closing.message) }
}

/// What the tracker is told when there is no whole recording of this.
pub(crate) fn no_recording(of: &TapeMessage) -> AddTagMessage {
    AddTagMessage {
        localparty: of.localparty.clone(),
        orkuid: of.recid.clone(),
        tagtype: "notrecorded".to_owned(),
        tagtext: "disk".to_owned(),
        offsetmsec: 0,
    }
}

/// Forces everything to the disk that waits for it; an error is told by the sync of the file it hurt.
fn sync_all(root: &Path) {
    if let Ok(root) = File::open(root)
        && let Err(error) = rustix::fs::syncfs(&root)
    {
        tracing::debug!(%error, "syncfs");
    }
}

/// Forces the names in `folders`, and the folders' own names up to `root`, to the disk.
fn sync_folders(root: &Path, folders: &BTreeSet<PathBuf>) -> io::Result<()> {
    let all: BTreeSet<PathBuf> = folders.iter().flat_map(|folder| up_to(root, folder)).collect();
    all.iter().try_for_each(|folder| disk::sync_folder(folder))
}
