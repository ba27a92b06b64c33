//! What a killed process left: finished, and told of exactly once, while recording goes on.
//!
//! Law: what there is to save is listed before the first tape of this process begins, and only that is touched:
//! a thousand tapes take the disk a minute, in which calls must not go unrecorded. Ended in the middle it goes
//! on at the next start.

use super::RunError;
use crate::{
    report,
    tape::{
        ledger::{self, Ledger},
        packets,
        recover::{self, Recovered},
        sidecar::Sidecars,
    },
    track::{OpenTape, ReporterError, ReporterHandle},
};
use orkbase::message::tape::{Stage, TapeMessage};
use orkvault::{keys::KeyRing, ledger::Event, sealed};
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::SyncSender,
    },
    thread::{self, JoinHandle},
};

/// Tapes saved at a time: they wait for the same disk, which forces several out as quickly as one.
const AT_ONCE: usize = 8;

/// What is to be saved, and with what.
#[derive(Debug)]
pub(super) struct Salvage {
    pub(super) folder: PathBuf,
    pub(super) track: ReporterHandle,
    /// Takes those that are to be processed, where that is so.
    pub(super) processed: Option<SyncSender<PathBuf>>,
    pub(super) sidecars: Option<Sidecars>,
    pub(super) ledger: Option<Arc<Ledger>>,
    pub(super) keys: Option<Arc<KeyRing>>,
}

/// All of it, as it was before this process recorded anything.
#[derive(Debug)]
pub(super) struct Left {
    packets: Vec<PathBuf>,
    parts: Vec<PathBuf>,
    open: Vec<OpenTape>,
}

/// A salvage under way.
#[derive(Debug)]
pub(super) struct Saving {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    /// Tapes that were found, and those of them done with.
    pub(super) found: u64,
    pub(super) done: Arc<AtomicU64>,
}

impl Saving {
    /// Ends it after the tapes it is at.
    pub(super) fn stop(self) {
        self.stop.store(true, Relaxed);
        if self.thread.join().is_err() {
            tracing::error!(
                "the thread that saves interrupted tapes panicked; the next start goes on"
            );
        }
    }
}

impl Salvage {
    /// Lists what there is.
    pub(super) fn list(&self) -> Result<Left, RunError> {
        let unreadable = |error| RunError::Io { what: "cannot look for unfinished tapes", error };
        let recover::Parts { tapes: parts, packets } =
            recover::all_parts(&self.folder).map_err(unreadable)?;
        Ok(Left { packets, parts, open: self.track.open_tapes()? })
    }

    /// Saves it on a thread of its own.
    pub(super) fn start(self, left: Left) -> io::Result<Saving> {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let found = u64::try_from(left.parts.len()).unwrap_or(u64::MAX);
        let (flag, counter) = (Arc::clone(&stop), Arc::clone(&done));
        let thread = thread::Builder::new().name("salvage".to_owned()).spawn(move || {
            if let Err(error) = self.save(&left, &flag, &counter) {
                tracing::error!(%error, "interrupted tapes are not all saved; the next start goes on");
            }
        })?;
        Ok(Saving { thread, stop, found, done })
    }

    fn save(&self, left: &Left, stop: &AtomicBool, done: &AtomicU64) -> Result<(), ReporterError> {
        each(&left.packets, stop, |part| {
            self.packets(part);
            Ok(())
        })?;
        let recids = Mutex::new(BTreeSet::new());
        each(&left.parts, stop, |part| {
            if let Some(recid) = self.part(part)? {
                recids.lock().unwrap_or_else(PoisonError::into_inner).insert(recid);
            }
            done.fetch_add(1, Relaxed);
            Ok(())
        })?;
        let recids = recids.into_inner().unwrap_or_else(PoisonError::into_inner);
        if !left.parts.is_empty() {
            tracing::info!(tapes = left.parts.len(), "what an earlier process left is saved");
        }
        // A process killed between giving a file its name and telling of it left a finished file.
        each(
            &left.open,
            stop,
            |open| {
                if recids.contains(&open.recid) { Ok(()) } else { self.open(open) }
            },
        )
    }

    fn packets(&self, part: &Path) {
        match packets::recover(part, self.keys.as_deref()) {
            Ok(Some(path)) => {
                tracing::warn!(path = %path.display(), "recovered the packets of an interrupted tape");
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(part = %part.display(), %error, "cannot recover packets; they are left as they are");
            }
        }
    }

    /// Makes a tape of a part and tells of it, or gives it to the processors: which recording they have then.
    fn part(&self, part: &Path) -> Result<Option<String>, ReporterError> {
        let keys = self.keys.as_deref();
        if let Some(processed) = &self.processed {
            match recover::mend(part, keys) {
                Ok(Some(tape)) => {
                    tracing::warn!(orkuid = %tape.message.recid, ms = tape.duration_ms, "an earlier process left a tape to be processed");
                    // The next start finds it again if nobody takes it any more.
                    drop(processed.send(part.to_owned()));
                    return Ok(Some(tape.message.recid));
                }
                Ok(None) => {}
                Err(error) => refused(part, &error),
            }
            return Ok(None);
        }
        match recover::recover(&self.folder, part, keys) {
            Ok(Some(tape)) => {
                tracing::warn!(orkuid = %tape.message.recid, file = tape.path, ms = tape.duration_ms, "recovered an interrupted tape");
                self.tell(tape)?;
            }
            Ok(None) => {
                tracing::info!(part = %part.display(), "removed an unfinished tape without audio");
            }
            Err(error) => refused(part, &error),
        }
        Ok(None)
    }

    /// What was begun and is no part any more: a finished file nobody told of, or nothing.
    fn open(&self, open: &OpenTape) -> Result<(), ReporterError> {
        let Some(message) = &open.message else { return Ok(()) };
        if self.track.is_ready(&open.recid)? {
            return Ok(());
        }
        let plain = format!("{}.wav", open.path);
        let both = [format!("{plain}.{}", sealed::EXTENSION), plain];
        let keys = self.keys.as_deref();
        let mut found =
            both.iter().filter_map(|path| recover::finished(&self.folder, path, message, keys));
        if let Some(tape) = found.next() {
            return self.tell(tape);
        }
        // Nobody else ends what was begun: a tracker would take the call for live for ever.
        if message.stage != Stage::Stop {
            self.track.tell(TapeMessage { stage: Stage::Stop, ..message.clone() });
        }
        self.track.discarded(&open.recid);
        let why = "the recorder was killed before anything of it was on the disk".to_owned();
        let event = Event::NotKept { recid: open.recid.clone(), why };
        self.ledger.iter().for_each(|ledger| ledger.enter([event.clone()]));
        Ok(())
    }

    fn tell(&self, mut tape: Recovered) -> Result<(), ReporterError> {
        if self.track.is_ready(&tape.message.recid)? {
            return Ok(());
        }
        if let Some(ledger) = &self.ledger {
            let names = std::slice::from_ref(&tape.path);
            let stored = ledger::stored(&self.folder, names, &tape.message);
            ledger::tag(&mut tape.message, &stored);
            ledger.recovered(&tape.message, tape.duration_ms, &stored);
        }
        if let Some(sidecars) = self.sidecars {
            sidecars.write(&self.folder.join(&tape.path), &report::recovered(&tape));
        }
        self.track.ready(tape.message, &tape.path)
    }
}

fn refused(part: &Path, error: &io::Error) {
    tracing::error!(part = %part.display(), %error, "cannot recover a tape; it is left as it is");
}

/// Does it to all, several at a time, until told to stop or one fails.
fn each<T: Sync>(
    all: &[T],
    stop: &AtomicBool,
    work: impl Fn(&T) -> Result<(), ReporterError> + Sync,
) -> Result<(), ReporterError> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    let turn = || {
        while !stop.load(Relaxed) {
            let Some(one) = all.get(next.fetch_add(1, Relaxed)) else { return };
            if let Err(error) = work(one) {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..AT_ONCE.min(all.len()) {
            let thread = thread::Builder::new().name("salvage".to_owned());
            if let Err(error) = thread.spawn_scoped(scope, turn) {
                tracing::warn!(%error, "tapes are saved by fewer threads");
            }
        }
        turn();
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}
