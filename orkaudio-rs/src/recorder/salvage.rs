//! What a killed process left: finished, and told of exactly once, while recording goes on.
//!
//! Law: what there is to save is listed before the first tape of this process begins, and only that is touched:
//! a thousand tapes take the disk a minute, in which calls must not go unrecorded. Ended in the middle it goes
//! on at the next start.

use super::RunError;
use crate::{
    report,
    tape::{
        file::{damaged_of, doomed_of, is_doomed},
        finish::no_recording,
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
    collections::BTreeMap,
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

/// Why there is no recording of a call.
const DAMAGED: &str = "the disk could not keep what was written of it; it is kept as .damaged";
const NOTHING: &str = "the recorder was killed before anything of it was on the disk";

/// What became of a part that is not told of here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// The processors have it.
    Processed,
    /// It is damaged.
    Damaged,
}

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
        let fates = Mutex::new(BTreeMap::new());
        each(&left.parts, stop, |part| {
            if let Some((recid, fate)) = self.part(part)? {
                fates.lock().unwrap_or_else(PoisonError::into_inner).insert(recid, fate);
            }
            done.fetch_add(1, Relaxed);
            Ok(())
        })?;
        let fates = fates.into_inner().unwrap_or_else(PoisonError::into_inner);
        if !left.parts.is_empty() {
            tracing::info!(tapes = left.parts.len(), "what an earlier process left is saved");
        }
        // A process killed between giving a file its name and telling of it left a finished file.
        each(&left.open, stop, |open| match fates.get(&open.recid) {
            Some(Fate::Processed) => Ok(()),
            Some(Fate::Damaged) => {
                self.not_kept(open, DAMAGED);
                Ok(())
            }
            None => self.open(open),
        })
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

    /// Makes a tape of a part and tells of it, or gives it to the processors, or sets it aside: which recording
    /// is not to be looked for any more then.
    fn part(&self, part: &Path) -> Result<Option<(String, Fate)>, ReporterError> {
        let keys = self.keys.as_deref();
        if is_doomed(part) {
            return Ok(self.set_aside(part));
        }
        let saved = if let Some(processed) = &self.processed {
            recover::mend(part, keys).map(|mended| {
                let tape = mended?;
                tracing::warn!(orkuid = %tape.message.recid, ms = tape.duration_ms, "an earlier process left a tape to be processed");
                // The next start finds it again if nobody takes it any more.
                drop(processed.send(part.to_owned()));
                Some((tape.message.recid, Fate::Processed))
            })
        } else {
            match recover::recover(&self.folder, part, keys) {
                Ok(Some(tape)) => {
                    tracing::warn!(orkuid = %tape.message.recid, file = tape.path, ms = tape.duration_ms, "recovered an interrupted tape");
                    self.tell(tape)?;
                    Ok(None)
                }
                Ok(None) => {
                    tracing::info!(part = %part.display(), "removed an unfinished tape without audio");
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        };
        Ok(saved.unwrap_or_else(|error| {
            refused(part, &error);
            // It could not be forced to the disk.
            let doomed = doomed_of(part);
            if doomed.exists() { self.set_aside(&doomed) } else { None }
        }))
    }

    /// Keeps what a sync failed of, and what nobody is told to be a recording.
    fn set_aside(&self, part: &Path) -> Option<(String, Fate)> {
        match recover::set_aside(part, self.keys.as_deref()) {
            Ok(recid) => {
                tracing::error!(part = %part.display(), orkuid = ?recid, "an interrupted tape is damaged: {DAMAGED}");
                recid.map(|recid| (recid, Fate::Damaged))
            }
            Err(error) => {
                refused(part, &error);
                None
            }
        }
    }

    /// What was begun and is no part any more: a finished file nobody told of, or nothing.
    fn open(&self, open: &OpenTape) -> Result<(), ReporterError> {
        let Some(message) = &open.message else { return Ok(()) };
        if self.track.is_ready(&open.recid)? {
            return Ok(());
        }
        let plain = format!("{}.wav", open.path);
        let both = [format!("{plain}.{}", sealed::EXTENSION), plain];
        let found =
            |path: &str| recover::finished(&self.folder, path, message, self.keys.as_deref());
        if let Some(tape) = both.iter().find_map(|path| found(path)) {
            return self.tell(tape);
        }
        let damaged = |path: &String| found(&damaged_of(Path::new(path)).to_string_lossy());
        let damaged = both.iter().find_map(damaged).is_some();
        self.not_kept(open, if damaged { DAMAGED } else { NOTHING });
        Ok(())
    }

    /// Tells the end of what was begun, and that there is no recording of it.
    fn not_kept(&self, open: &OpenTape, why: &str) {
        let Some(message) = &open.message else { return };
        // Nobody else ends what was begun: a tracker would take the call for live for ever.
        if message.stage != Stage::Stop {
            self.track.tell(TapeMessage { stage: Stage::Stop, ..message.clone() });
        }
        if why == DAMAGED {
            self.track.tag(no_recording(message));
        }
        let event = Event::NotKept { recid: open.recid.clone(), why: why.to_owned() };
        self.ledger.iter().for_each(|ledger| ledger.enter([event.clone()]));
        self.track.discarded(&open.recid);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        format::Labels,
        tape::{file::TapeFile, wav::Layout},
        track::{Reporter, ReporterConfig},
    };
    use jiff::tz::TimeZone;
    use orkbase::{
        audio::tape::PcmSink as _,
        call::output::{Opening, TapeId},
        ids::{OrkUid, TrackingIds},
        message::{init::InitMessage, url},
        time::Timestamp,
    };
    use orkvault::{book::Rules, ledger::Link};
    use std::{
        fs,
        time::{Duration, Instant},
    };

    const START: Timestamp = Timestamp(1_390_822_905_000_000_000);

    /// A second of a call, left as by a kill.
    fn leave(root: &Path, recid: &str, track: &ReporterHandle) -> PathBuf {
        let text = format!(
            "type=tape&recid={recid}&stage=start&captureport=AAAB&timestamp=1390822905&\
             filename=a/{recid}.wav&localparty=1001&remoteparty=2002&direction=in&"
        );
        let message = TapeMessage::from_pairs(&url::decode(text.as_bytes()).unwrap()).unwrap();
        let path = format!("a/{recid}");
        let labels = Labels::of(&message, "2014-01-27T11:41:45+00:00");
        let layout = Layout { rate: 8_000, channels: 2 };
        let file = root.join(format!("{path}.wav"));
        let mut tape = TapeFile::create(&file, layout, &labels.info(), 0o640).unwrap();
        tape.write(0, &[[5, 6]; 8_000]);
        let orkuid = OrkUid::new(START, &TimeZone::UTC, TrackingIds::new(1).next_id());
        let (tape_id, rate) = (TapeId(1), 8_000);
        track.opened(&Opening { tape: tape_id, orkuid, start: START, path, rate, message });
        tape.close().part()
    }

    fn outbox(database: &Path) -> Vec<(String, String)> {
        let database = rusqlite::Connection::open(database).unwrap();
        let mut rows = database.prepare("SELECT recid, body FROM outbox ORDER BY seq").unwrap();
        let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    #[test]
    fn what_a_sync_failed_of_is_told_as_damaged_and_once() {
        let home = tempfile::tempdir().unwrap();
        let (root, database) = (home.path().join("tapes"), home.path().join("state.db"));
        // Nobody listens: what is told waits there.
        let tracker = "http://127.0.0.1:9/orktrack".parse().unwrap();
        let init = InitMessage::new("OrkAudio", "host", 0, "");
        let state_db = Some(database.clone());
        let config = ReporterConfig { state_db, ..ReporterConfig::new(vec![tracker], init) };
        let (reporter, track) = Reporter::start(config).unwrap();
        // Damaged while it was written; damaged and closed; nothing is wrong with the third.
        let parts = ["r0", "r1", "r2"].map(|recid| leave(&root, recid, &track));
        fs::rename(&parts[0], doomed_of(&parts[0])).unwrap();
        fs::rename(&parts[1], damaged_of(&root.join("a/r1.wav"))).unwrap();
        let rules = Rules { link: Link::default(), mode: 0o600, sync: false };
        let ledger = Arc::new(Ledger::open(&root, rules).unwrap());
        let salvage = Salvage {
            folder: root.clone(),
            track: track.clone(),
            processed: None,
            sidecars: None,
            ledger: Some(Arc::clone(&ledger)),
            keys: None,
        };
        // The second start finds nothing to tell any more.
        for _ in 0..2 {
            let left = salvage.list().unwrap();
            salvage.save(&left, &AtomicBool::new(false), &AtomicU64::new(0)).unwrap();
            assert!(track.is_ready("r2").unwrap());
        }
        assert_eq!(track.open_tapes().unwrap(), []);
        assert!(!track.is_ready("r0").unwrap() && !track.is_ready("r1").unwrap());
        let begin = Instant::now();
        while !outbox(&database).iter().any(|(_, body)| body.contains("stage=ready")) {
            assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", outbox(&database));
            thread::sleep(Duration::from_millis(5));
        }
        let told = outbox(&database);
        let of = |recid: &str, what: &str| {
            told.iter().filter(|(of, body)| of == recid && body.contains(what)).count()
        };
        for recid in ["r0", "r1"] {
            let all = ["stage=ready", "notrecorded", "stage=stop"].map(|what| of(recid, what));
            assert_eq!(all, [0, 1, 1], "{told:?}");
            assert!(root.join(format!("a/{recid}.wav.damaged")).exists());
        }
        assert_eq!((of("r2", "stage=ready"), of("r2", "notrecorded")), (1, 0), "{told:?}");
        assert!(recover::parts(&root).unwrap().is_empty());
        assert_eq!(ledger.counts().lines, 3, "two not kept, one kept");
        drop((salvage, track));
        assert!(reporter.stop(Duration::ZERO) > 0, "they are still to be told");
    }
}
