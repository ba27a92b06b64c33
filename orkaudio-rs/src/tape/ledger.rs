//! What becomes of recordings goes into the ledger beside them ([`orkvault::book`]), and their hashes to whoever
//! is told.
//!
//! Law: the line is on the disk before a recording is told to be ready. A ledger that cannot be written
//! stops no recording: that is logged once and counted, and its lines wait.

use super::{
    disk,
    finish::{Finished, Outcome},
    packets,
};
use orkbase::{call::output::MarkKind, message::tape::TapeMessage};
use orkvault::{
    book::{Book, Counts, Rules},
    digest::{self, Digest},
    ledger::Event,
};
use serde_json::{Map, Value};
use std::{
    io,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

/// The tag of `ready` with the hash of its file.
pub const TAG: &str = "sha256";

/// The ledger of a folder.
#[derive(Debug)]
pub struct Ledger {
    book: Book,
    failing: AtomicBool,
}

/// A finished file, as messages name it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stored {
    /// Its name.
    pub path: String,
    /// What it is.
    pub digest: Digest,
}

impl Ledger {
    /// The ledger of recordings below `root`.
    ///
    /// # Errors
    /// When it cannot be read and written.
    pub fn open(root: &Path, rules: Rules) -> io::Result<Self> {
        let book = Book::open_on(root, rules, Box::new(disk::Tapes))?;
        Ok(Self { book, failing: AtomicBool::new(false) })
    }

    /// Writes lines; what the disk refuses waits for the next time.
    pub fn enter(&self, events: impl IntoIterator<Item = Event>) {
        match self.book.append(events) {
            Ok(()) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the ledger is written again");
                }
            }
            Err(error) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, "cannot write the ledger: its lines wait");
                }
            }
        }
    }

    /// Writes down a recording whose files are these.
    pub fn recovered(&self, message: &TapeMessage, duration_ms: u64, stored: &[Stored]) {
        let begin_ms = message.timestamp.saturating_mul(1_000);
        self.enter(stored.iter().map(|file| kept(message, begin_ms, duration_ms, "", file)));
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.book.counts()
    }

    /// The same among the other counters.
    pub fn count_into(&self, counters: &mut Map<String, Value>) {
        let Counts { lines, failed, lost, waiting } = self.counts();
        let rows = [
            ("ledger.lines", lines),
            ("ledger.failed", failed),
            ("ledger.lost", lost),
            ("ledger.waiting", waiting),
        ];
        counters.extend(rows.map(|(name, value)| (name.to_owned(), Value::from(value))));
    }
}

fn kept(
    message: &TapeMessage,
    begin_ms: u64,
    duration_ms: u64,
    marks: &str,
    file: &Stored,
) -> Event {
    Event::Kept {
        recid: message.recid.clone(),
        path: file.path.clone(),
        bytes: file.digest.bytes,
        sha256: file.digest.sha256,
        begin_ms,
        duration_ms,
        marks: marks.to_owned(),
    }
}

/// What is written down of the end of a tape.
#[must_use]
pub fn of(finished: &Finished) -> Vec<Event> {
    let closing = &finished.closing;
    let why = match &finished.outcome {
        Outcome::Ready(_) => {
            let begin_ms = closing.start.0 / 1_000_000;
            let marks = marks(finished);
            let line = |file| kept(&closing.message, begin_ms, closing.duration_ms, &marks, file);
            return finished.stored.iter().map(line).collect();
        }
        Outcome::TooShort => "too short".to_owned(),
        Outcome::Discarded => "an operator said so".to_owned(),
        Outcome::Failed(why) => why.clone(),
        // The next start looks what is there, and writes that down.
        Outcome::Unsure(_) => return Vec::new(),
    };
    vec![Event::NotKept { recid: closing.message.recid.clone(), why }]
}

/// What operators did.
fn marks(finished: &Finished) -> String {
    let by_operators = finished.closing.marks.iter().filter(|mark| match mark.what {
        MarkKind::Record | MarkKind::Pause | MarkKind::PauseOver => true,
        MarkKind::Hold(_) | MarkKind::Resume | MarkKind::Transfer(_) => false,
    });
    let words: Vec<String> =
        by_operators.map(|mark| format!("{}@{}", mark.what.as_str(), mark.offset_ms)).collect();
    words.join(",")
}

/// Reads files back, and the packets that `message` names; a file that cannot be read is logged and left out.
#[must_use]
pub fn stored(root: &Path, names: &[String], message: &TapeMessage) -> Vec<Stored> {
    let packets = packets::named(message);
    let one = |path: &str| match digest::of_file(&root.join(path)) {
        Ok(digest) => Some(Stored { path: path.to_owned(), digest }),
        Err(error) => {
            tracing::error!(path, %error, "cannot read a finished file back: the ledger will not know it");
            None
        }
    };
    names.iter().map(String::as_str).chain(packets).filter_map(one).collect()
}

/// Tells the hash of the file that `message` names.
pub fn tag(message: &mut TapeMessage, stored: &[Stored]) {
    if let Some(file) = stored.iter().find(|file| file.path == message.filename) {
        message.tags.insert(TAG.to_owned(), file.digest.sha256.to_string());
    }
}
