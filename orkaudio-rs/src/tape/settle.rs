//! One closed tape: its packets, its end, its bytes on the disk, its name.

use super::{
    closed,
    file::{ClosedTape, damaged_of},
    finish::{Finish, Finished, Outcome},
    packets::{self, PacketFile},
    worker::{TapeCounters, TapeSettings, relative},
};
use orkbase::call::output::Closing;
use std::{collections::BTreeSet, io, path::PathBuf, sync::atomic::Ordering};

/// A closed tape that has no name yet.
#[derive(Debug)]
pub(super) struct Pending {
    finished: Finished,
    file: Option<ClosedTape>,
    packets: Option<PacketFile>,
    /// Why it could not be created.
    error: Option<String>,
    /// It is to be processed.
    process: bool,
}

/// A tape whose fate is known, and the part that is to be processed, if there is one.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) finished: Finished,
    pub(super) part: Option<PathBuf>,
}

impl Pending {
    pub(super) fn new(finish: Finish, process: bool) -> Self {
        let Finish { file, packets, error, damage, ending, lost_frames, heard } = finish;
        let mut finished = Finished {
            closing: ending.closing,
            order: ending.order,
            overrun_ms: ending.overrun_ms,
            packets_lost: ending.packets_lost,
            lost_frames,
            heard,
            damage,
            outcome: Outcome::TooShort,
            files: Vec::new(),
            stored: Vec::new(),
        };
        // Only packets that are there are named: any client may put on a tag of this name.
        finished.closing.message.tags.remove(packets::TAG);
        Self { finished, file, packets, error, process }
    }

    pub(super) fn done(self, part: Option<PathBuf>) -> Settled {
        Settled { finished: self.finished, part }
    }

    /// Sets the outcome; gives the part that is to be processed, if there is one.
    ///
    /// # Errors
    /// When it may wait and the disk has no room for its end: it is as it was, and is to be asked of again.
    pub(super) fn settle(
        &mut self,
        settings: &TapeSettings,
        counters: &TapeCounters,
        waits: bool,
        folders: &mut BTreeSet<PathBuf>,
    ) -> io::Result<Option<PathBuf>> {
        self.header(settings, waits)?;
        // Where its header found room they find it, too.
        let unnamed = self.packets(settings);
        let part = self.tape(settings, waits, folders)?;
        if let Some((packets, error)) =
            unnamed.and_then(|error| Some((self.packets.take()?, error)))
        {
            let (recid, count) = (&self.finished.closing.message.recid, packets.count());
            tracing::error!(orkuid = %recid, packets = count, %error, "the packets of a call could not be finished");
            counters.packets_failed.fetch_add(count, Ordering::Relaxed);
            self.finished.packets_lost += count;
        }
        Ok(part)
    }

    /// Makes the header tell of everything; when it must be, that can be left undone.
    fn header(&mut self, settings: &TapeSettings, waits: bool) -> io::Result<()> {
        let Some(tape) = self.file.as_mut().filter(|tape| !tape.whole_header) else {
            return Ok(());
        };
        if thrown_away(settings, &self.finished.closing).is_some() {
            return Ok(());
        }
        match tape.tell_header() {
            Err(error) if waits => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Gives the packets of a tape their name, and the name to whoever is told of the tape; why not, if so.
    fn packets(&mut self, settings: &TapeSettings) -> Option<io::Error> {
        let packets = self.packets.as_mut()?;
        let finished = &mut self.finished;
        let done = if self.file.is_some() && thrown_away(settings, &finished.closing).is_some() {
            packets.remove().map(|()| None)
        } else {
            packets.finish(settings.sync).map(Some)
        };
        match done {
            Ok(path) => {
                if let Some(path) = path {
                    let name = relative(&settings.root, &path);
                    finished.closing.message.tags.insert(packets::TAG.to_owned(), name);
                }
                self.packets = None;
                None
            }
            Err(error) => Some(error),
        }
    }

    fn tape(
        &mut self,
        settings: &TapeSettings,
        waits: bool,
        folders: &mut BTreeSet<PathBuf>,
    ) -> io::Result<Option<PathBuf>> {
        let finished = &mut self.finished;
        let Some(tape) = &mut self.file else {
            let error = self.error.take();
            finished.outcome = Outcome::Failed(error.unwrap_or_else(|| "no file".to_owned()));
            return Ok(None);
        };
        let failed = |what: &str, tape: &ClosedTape, error: &io::Error| {
            Outcome::Failed(format!("cannot {what} {}: {error}", tape.part().display()))
        };
        if let Some(outcome) = thrown_away(settings, &finished.closing) {
            finished.outcome = match tape.file.store().remove() {
                Ok(()) => outcome,
                Err(error) => failed("remove", tape, &error),
            };
            return Ok(None);
        }
        if !tape.whole_header {
            // Recovery goes by what is there.
            finished.outcome = Outcome::Unsure("its header could not be written".to_owned());
            return Ok(None);
        }
        if self.process
            && let Err(error) = closed::mark(tape, &crate::announce::ready(finished, ""))
        {
            // It is processed all the same; only a kill before that would lose what is told at the end.
            tracing::warn!(part = %tape.part().display(), %error, "cannot mark a tape as closed");
        }
        if let Err(error) = tape.file.close() {
            if waits && is_for_room(&error) {
                return Err(error);
            }
            finished.damage.get_or_insert_with(|| format!("its end could not be sealed: {error}"));
        }
        let folder = tape.path.parent();
        // What could be written is kept under its final name too: half a call is better than none, and
        // the report tells what is missing.
        if settings.sync
            && let Err(error) = tape.file.sync_data()
        {
            settings.volume.refused(&error);
            finished.outcome = failed("sync", tape, &error);
            // What memory still shows of it may not be on the disk: no start is to take it for a recording.
            if let Err(error) = tape.file.store().rename(&damaged_of(&tape.path)) {
                tracing::error!(part = %tape.part().display(), %error, "a damaged tape keeps its name");
            }
            folders.extend(folder.map(Into::into));
            return Ok(None);
        }
        if self.process {
            let part = tape.part();
            finished.outcome = Outcome::Ready(relative(&settings.root, &part));
            folders.extend(folder.map(Into::into));
            return Ok(Some(part));
        }
        if let Err(error) = tape.file.store().rename(&tape.path) {
            if waits && is_for_room(&error) {
                return Err(error);
            }
            settings.volume.refused(&error);
            finished.outcome = failed("rename", tape, &error);
            return Ok(None);
        }
        folders.extend(folder.map(Into::into));
        finished.outcome = Outcome::Ready(relative(&settings.root, &tape.path));
        Ok(None)
    }
}

/// Whether the disk only takes nothing for now.
fn is_for_room(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    [StorageFull, QuotaExceeded, ReadOnlyFilesystem].contains(&error.kind())
}

/// What becomes of a tape that nobody wants; of one that is pinned nothing.
fn thrown_away(settings: &TapeSettings, closing: &Closing) -> Option<Outcome> {
    let discard = closing.discard.then_some(Outcome::Discarded);
    let short = (closing.duration_ms < settings.min_duration_ms).then_some(Outcome::TooShort);
    let pinned = || settings.pins.as_ref().is_some_and(|pins| pins.has(&closing.message.recid));
    discard.or(short).filter(|_| !pinned())
}
