//! After the last sample: bytes to the disk, the final name, the name to the disk, `ready`.
//!
//! Law (in this order): header, data sync, rename, folder sync, ledger, report. A sync that failed is final:
//! the tape keeps its `.part` name, is told as failed and never as ready.

use super::{
    closed, disk,
    file::{ClosedTape, damaged_of},
    ledger::{self, Stored},
    packets::{self, PacketFile},
    recover::Recovered,
    volume::up_to,
    worker::{Ending, TapeCounters, TapeSettings, relative},
};
use crate::process::{Pool, Work};
use orkbase::{
    call::{
        output::{AddTag, Closing},
        party::Side,
    },
    message::tag::AddTagMessage,
};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering, mpsc::Receiver},
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
    while let Ok(first) = tapes.recv() {
        let mut batch = vec![first];
        batch.extend(tapes.try_iter().take(TOGETHER - 1));
        if settings.sync && batch.len() >= MANY {
            sync_all(&settings.root);
        }
        let mut folders = BTreeSet::new();
        let mut done: Vec<(Finished, Option<PathBuf>)> = Vec::with_capacity(batch.len());
        for step in batch {
            let finish = match step {
                Step::Tagged(tag) => {
                    report(Report::Tagged(tag));
                    continue;
                }
                Step::Closed(finish) => *finish,
            };
            let mut finished = Finished {
                closing: finish.ending.closing,
                order: finish.ending.order,
                overrun_ms: finish.ending.overrun_ms,
                packets_lost: finish.ending.packets_lost,
                lost_frames: finish.lost_frames,
                heard: finish.heard,
                damage: finish.damage,
                outcome: Outcome::TooShort,
                files: Vec::new(),
                stored: Vec::new(),
            };
            // Only packets that are there are named: any client may put on a tag of this name.
            finished.closing.message.tags.remove(packets::TAG);
            let process = pool.is_some();
            let error = finish.error;
            let short = thrown_away(settings, &finished.closing).is_some();
            if let Some(packets) = finish.packets {
                settle(settings, packets, short && finish.file.is_some(), &mut finished);
            }
            let part =
                finish_one(settings, finish.file, error, &mut finished, process, &mut folders);
            done.push((finished, part));
        }
        let synced = if settings.sync { sync_folders(&settings.root, &folders) } else { Ok(()) };
        if let Err(error) = &synced {
            // The next start looks at what really is there.
            settings.volume.give_up(format!("cannot sync a folder of tapes: {error}"));
        }
        let mut told = Vec::with_capacity(done.len());
        for (mut finished, part) in done {
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
        if let Some(ledger) = &settings.ledger {
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
}

/// Gives the packets of a tape their name, and the name to whoever is told of the tape.
fn settle(settings: &TapeSettings, packets: PacketFile, short: bool, finished: &mut Finished) {
    let done = if short {
        packets.remove().map(|()| None)
    } else {
        packets.finish(settings.sync, settings.keys.as_deref()).map(Some)
    };
    match done {
        Ok(None) => {}
        Ok(Some(path)) => {
            let name = relative(&settings.root, &path);
            finished.closing.message.tags.insert(packets::TAG.to_owned(), name);
        }
        Err(error) => {
            let recid = &finished.closing.message.recid;
            tracing::error!(orkuid = %recid, %error, "the packets of a call could not be finished");
        }
    }
}

/// What becomes of a tape that nobody wants; of one that is pinned nothing.
fn thrown_away(settings: &TapeSettings, closing: &Closing) -> Option<Outcome> {
    let discard = closing.discard.then_some(Outcome::Discarded);
    let short = (closing.duration_ms < settings.min_duration_ms).then_some(Outcome::TooShort);
    let pinned = || settings.pins.as_ref().is_some_and(|pins| pins.has(&closing.message.recid));
    discard.or(short).filter(|_| !pinned())
}

/// Sets the outcome; gives the part that is to be processed, if there is one.
fn finish_one(
    settings: &TapeSettings,
    file: Option<ClosedTape>,
    error: Option<String>,
    finished: &mut Finished,
    process: bool,
    folders: &mut BTreeSet<PathBuf>,
) -> Option<PathBuf> {
    let Some(mut tape) = file else {
        finished.outcome = Outcome::Failed(error.unwrap_or_else(|| "no file".to_owned()));
        return None;
    };
    if let Some(outcome) = thrown_away(settings, &finished.closing) {
        finished.outcome = match fs::remove_file(&tape.part) {
            Ok(()) => outcome,
            Err(error) => {
                Outcome::Failed(format!("cannot remove {}: {error}", tape.part.display()))
            }
        };
        return None;
    }
    if !tape.whole_header {
        // Recovery goes by what is there.
        finished.outcome = Outcome::Unsure("its header could not be written".to_owned());
        return None;
    }
    if process && let Err(error) = closed::mark(&mut tape, &crate::announce::ready(finished, "")) {
        // It is processed all the same; only a kill before that would lose what is told at the end.
        tracing::warn!(part = %tape.part.display(), %error, "cannot mark a tape as closed");
    }
    if let Err(error) = tape.file.close() {
        finished.damage.get_or_insert_with(|| format!("its end could not be sealed: {error}"));
    }
    // What could be written is kept under its final name too: half a call is better than none, and
    // the report tells what is missing.
    if settings.sync
        && let Err(error) = tape.file.sync_data()
    {
        settings.volume.refused(&error);
        finished.outcome = Outcome::Failed(format!("cannot sync {}: {error}", tape.part.display()));
        // What memory still shows of it may not be on the disk: no start is to take it for a recording.
        if let Err(error) = disk::rename(&tape.part, &damaged_of(&tape.path)) {
            tracing::error!(part = %tape.part.display(), %error, "a damaged tape keeps its name");
        }
        return None;
    }
    if process {
        finished.outcome = Outcome::Ready(relative(&settings.root, &tape.part));
        folders.extend(tape.part.parent().map(Path::to_owned));
        return Some(tape.part);
    }
    if let Err(error) = disk::rename(&tape.part, &tape.path) {
        settings.volume.refused(&error);
        finished.outcome =
            Outcome::Failed(format!("cannot rename {}: {error}", tape.part.display()));
        return None;
    }
    if let Some(folder) = tape.path.parent() {
        folders.insert(folder.to_owned());
    }
    finished.outcome = Outcome::Ready(relative(&settings.root, &tape.path));
    None
}

/// Tells the tracker that there is no whole recording of a call.
fn not_recorded(closing: &Closing) -> AddTag {
    let message = AddTagMessage {
        localparty: closing.message.localparty.clone(),
        orkuid: closing.message.recid.clone(),
        tagtype: "notrecorded".to_owned(),
        tagtext: "disk".to_owned(),
        offsetmsec: 0,
    };
    AddTag { tape: closing.tape, side: Side::Local, message }
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
