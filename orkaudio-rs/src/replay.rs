//! `orkaudio replay`: captures handled as a live interface would deliver them, without waiting.
//!
//! Law: nothing is dropped; the same captures give the same tapes, messages and output at any speed.

use crate::{
    capture::{
        CaptureError, filter::Filter, pace, pace::Pace, progress::Progress, set::CaptureSet,
    },
    config::Config,
    engine::{Engine, Frames as _, Listener},
    keylog, report, setup,
    tape::{
        finish::{Finished, Outcome, Report},
        ledger::Ledger,
    },
};
use jiff::tz::TimeZone;
use orkbase::{
    call::output::{AddTag, EndReason, Opening, TapeId},
    message::tape::TapeMessage,
    time::Timestamp,
};
use serde_json::json;
use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};
use thiserror::Error;

/// The progress bar is looked after every so many frames.
const PROGRESS: u64 = 1 << 14;

/// What to replay, and how.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Files, folders, or `-`.
    pub captures: Vec<PathBuf>,
    /// Where tapes go.
    pub folder: PathBuf,
    /// At the speed of the capture instead of as fast as it goes.
    pub paced: bool,
    /// What is said of each tape on standard output.
    pub print: Print,
    /// BPF text; empty for everything.
    pub filter: String,
}

/// What is said of tapes on standard output.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Print {
    /// Nothing.
    Nothing,
    /// One JSON object per tape, and one of every counter.
    Json,
    /// One line per tape, for people.
    Table,
}

/// Why a replay failed.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// A capture.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The output folder.
    #[error("cannot make the output folder {}: {error}; name another with --output", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The key log.
    #[error("cannot read the key log {}: {error}; name another with --key-log", path.display())]
    KeyLog {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// The ledger.
    #[error("{0}")]
    Ledger(String),
    /// What tapes are sealed with.
    #[error("{0}")]
    Keys(String),
    /// Tapes.
    #[error("{0} tape(s) could not be written whole; the log names them")]
    Tapes(u64),
}

/// Replays; `listener` hears what happens, `done` of every finished tape. Prints nothing but the tapes.
///
/// # Errors
/// When a capture cannot be read, or a tape not be written.
pub fn run(
    config: &Config,
    replay: &Replay,
    listener: Box<dyn Listener>,
    mut done: impl FnMut(&Report) + Send + 'static,
    stop: &Arc<AtomicBool>,
) -> Result<(), ReplayError> {
    let mut set = CaptureSet::expand(&replay.captures)?;
    let mut filter = match replay.filter.as_str() {
        "" => None,
        text => Some(Filter::new(text)?),
    };
    let mut key_log = match &config.capture.key_log {
        Some(path) => Some(open_key_log(path)?),
        None => None,
    };
    let failed = Arc::new(AtomicU64::new(0));
    let mut printer = Printer {
        print: replay.print,
        next: 0,
        waiting: BTreeMap::new(),
        failed: Arc::clone(&failed),
    };
    let report = move |report: Report| {
        // Nothing of an earlier process is taken up by a replay.
        done(&report);
        if let Report::Finished(finished) | Report::Processed(finished) = report {
            printer.take(&finished);
        }
        true
    };
    // The engine begins with the first frame: what is no capture leaves no trace, and tracking ids
    // follow from the capture alone.
    let mut waiting_to_start = Some((listener, report));
    let mut engine: Option<Engine> = None;
    let mut ledger = None;
    let mut pace = replay.paced.then(Pace::default);
    let progress = Progress::new(set.total_bytes());
    let mut failure = None;
    let (mut frames, mut next_progress) = (0u64, PROGRESS);
    // Brought by capture files, not taken in yet.
    let mut keys = VecDeque::new();
    loop {
        let more = set.advance();
        if set.has_keys() {
            keys.extend(set.take_keys());
        }
        let frame = match more {
            Ok(true) => set.frame(),
            Ok(false) => break,
            Err(error) => {
                // The next file may be whole; the exit code will tell of this one.
                tracing::warn!("{error}");
                failure.get_or_insert(error);
                continue;
            }
        };
        if let Some(filter) = filter.as_mut()
            && !filter.keeps(&frame)?
        {
            continue;
        }
        if let Some(pace) = pace.as_mut() {
            let wait = pace.wait(frame.at, Instant::now());
            if !pace::hold(wait, &mut || stop.load(Ordering::Relaxed)) {
                break;
            }
        }
        if engine.is_none()
            && let Some((listener, report)) = waiting_to_start.take()
        {
            let (started, kept) = start(config, replay, frame.at, listener, report)?;
            (engine, ledger) = (Some(started), kept);
        }
        if let Some(engine) = engine.as_mut() {
            if key_log.is_some()
                && let Some((path, file)) = key_log.take()
            {
                keylog::read(file, &mut |text| engine.handle_keys(text))
                    .map_err(|error| ReplayError::KeyLog { path, error })?;
            }
            while let Some(text) = keys.pop_front() {
                engine.handle_keys(&text);
            }
            engine.handle_frame(&frame);
            while let Some(frame) = set.soon() {
                let seen = engine.foresee(&frame);
                set.note(seen);
            }
            if filter.is_none() && pace.is_none() {
                frames += engine.handle_frames(&mut set);
            }
        }
        frames += 1;
        if frames >= next_progress {
            next_progress = frames + PROGRESS;
            progress.update(set.position(), frames);
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
    }
    progress.close();
    if let Some(mut engine) = engine {
        for text in keys {
            engine.handle_keys(&text);
        }
        let last = engine.last();
        let (tap, tapes, overrun_ms) = engine.close(last, EndReason::Shutdown);
        if replay.print == Print::Json {
            let mut summary = report::counters(&tap, &tapes, overrun_ms);
            if let Some(ledger) = &ledger {
                ledger.count_into(&mut summary);
            }
            print_line(&json!({ "summary": summary }).to_string());
        }
    } else if replay.print == Print::Json {
        print_line(&json!({ "summary": { "capture.frames": 0 } }).to_string());
    }
    match (failed.load(Ordering::Relaxed), failure) {
        (0, None) => Ok(()),
        (0, Some(error)) => Err(error.into()),
        (failed, _) => Err(ReplayError::Tapes(failed)),
    }
}

fn open_key_log(path: &Path) -> Result<(PathBuf, File), ReplayError> {
    let path = path.to_owned();
    match File::open(&path) {
        Ok(file) => Ok((path, file)),
        Err(error) => Err(ReplayError::KeyLog { path, error }),
    }
}

fn start(
    config: &Config,
    replay: &Replay,
    first: Timestamp,
    listener: Box<dyn Listener>,
    report: impl FnMut(Report) -> bool + Send + 'static,
) -> Result<(Engine, Option<Arc<Ledger>>), ReplayError> {
    let folder = &replay.folder;
    std::fs::create_dir_all(folder)
        .map_err(|error| ReplayError::Folder { path: folder.clone(), error })?;
    let seed = u32::try_from(first.0 / 1_000_000 % 456_976).unwrap_or(0);
    let mut settings = setup::engine(config, folder.clone(), seed, true, config.tapes.sync);
    let ledger = setup::ledger(config, folder, config.tapes.sync).map_err(ReplayError::Ledger)?;
    settings.tapes.ledger.clone_from(&ledger);
    settings.tapes.keys = setup::keys(config).map_err(ReplayError::Keys)?;
    let engine = Engine::start(settings, listener, report).map_err(ReplayError::Thread)?;
    Ok((engine, ledger))
}

/// Prints tapes in the order in which their calls ended.
struct Printer {
    print: Print,
    next: u64,
    waiting: BTreeMap<u64, Option<String>>,
    failed: Arc<AtomicU64>,
}

impl Printer {
    fn take(&mut self, finished: &Finished) {
        if matches!(finished.outcome, Outcome::Failed(_) | Outcome::Unsure(_))
            || finished.damage.is_some()
        {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        let line = match (&finished.outcome, self.print) {
            (Outcome::Ready(_), Print::Json) => Some(report::tape(finished).to_string()),
            (Outcome::Ready(file), Print::Table) => Some(row(finished, file)),
            (Outcome::Ready(_), Print::Nothing)
            | (
                Outcome::TooShort | Outcome::Discarded | Outcome::Failed(_) | Outcome::Unsure(_),
                _,
            ) => None,
        };
        if self.print == Print::Table && finished.order == 0 {
            print_line(&heading());
        }
        self.waiting.insert(finished.order, line);
        while let Some(line) = self.waiting.remove(&self.next) {
            self.next += 1;
            if let Some(line) = line {
                print_line(&line);
            }
        }
    }
}

fn heading() -> String {
    let [start, length, direction, local, remote] =
        ["start (UTC)", "seconds", "way", "local party", "remote party"];
    format!("{start:<19} {length:>8}  {direction:<4} {local:<20} {remote:<20} file")
}

/// One line of the table.
fn row(finished: &Finished, file: &str) -> String {
    let closing = &finished.closing;
    let message = &closing.message;
    let start = closing.start.to_zoned(&TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S").to_string();
    let files = if finished.files.is_empty() { file.to_owned() } else { finished.files.join(", ") };
    let (seconds, tenths) = (closing.duration_ms / 1000, closing.duration_ms % 1000 / 100);
    let length = format!("{seconds}.{tenths}");
    let (way, local, remote) =
        (message.direction.as_str(), &message.localparty, &message.remoteparty);
    format!("{start:<19} {length:>8}  {way:<4} {local:<20} {remote:<20} {files}")
}

/// A reader that has gone away (`| head`) is no reason to stop recording.
fn print_line(line: &str) {
    drop(writeln!(io::stdout().lock(), "{line}"));
}

/// A listener that tells nobody.
#[derive(Debug)]
pub struct Nobody;

impl Listener for Nobody {
    fn opened(&mut self, _opening: &Opening) {}
    fn told(&mut self, _message: &TapeMessage) {}
    fn tagged(&mut self, _tag: &AddTag) {}
    fn closed(&mut self, _tape: TapeId) {}
}
