//! Holds the recordings below a folder against its ledger, and the ledger against itself.

use crate::{
    book::{days, last_line},
    digest::Digest,
    ledger::{Chain, EXTENSION, End, Event, FOLDER, Fault, Line, Link, MAX_LINE},
    shelf::{self, Finding, Kind, Shelf, Wanted},
};
use serde::Serialize;
use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::{Component, Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime},
};

/// A file that was finished just now may wait for its line.
const YOUNG: Duration = Duration::from_secs(5);
/// Its line is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// Rows looked at between two looks at the disk.
const AT_ONCE: u32 = 1_000;

/// What was looked at.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Totals {
    /// Files of the ledger.
    pub days: u64,
    /// Lines in them.
    pub lines: u64,
    /// Files that ought to be there.
    pub files: u64,
    /// Bytes of them that were read.
    pub bytes: u64,
    /// Files that were deleted by whoever may.
    pub gone: u64,
    /// Recordings of which nothing was kept.
    pub not_kept: u64,
    /// Torn lines that were cut off, and told.
    pub cut: u64,
    /// Number of the last line.
    pub sequence: u64,
    /// Its hash: who notes it elsewhere can tell later that no line behind it was taken away.
    pub head: String,
    /// What is wrong.
    pub findings: u64,
}

/// What is looked at.
#[derive(Clone, Debug)]
pub struct Task {
    /// The folder of recordings.
    pub root: PathBuf,
    /// How lines are linked.
    pub link: Link,
    /// Only lines of this day and later, and files changed since.
    pub since: Option<String>,
    /// A hash that somebody noted: a line must have it.
    pub head: Option<String>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Progress {
    /// Files looked at.
    pub files: u64,
    /// Of so many.
    pub of: u64,
    /// Bytes read.
    pub bytes: u64,
}

/// Looks at everything; changes nothing.
///
/// # Errors
/// When the folders cannot be read, or there is no room for a temporary file.
pub fn verify(
    task: &Task,
    progress: &mut dyn FnMut(Progress),
    tell: &mut dyn FnMut(Finding),
) -> io::Result<Totals> {
    let mut totals = Totals::default();
    let mut findings = 0;
    let mut tell = |finding: Finding| {
        findings += 1;
        tell(finding);
    };
    let mut shelf = Shelf::new()?;
    let mut reader = LedgerReader::open(task)?;
    reader.read_on(&mut |item| load(item, &shelf, &mut totals, &mut tell))?;
    if reader.day.is_none() {
        let path = task.root.join(FOLDER).display().to_string();
        tell(Finding::new(Kind::Ledger, path, "there is no ledger"));
    }
    let (files, _) = shelf.counts()?;
    let mut now = Progress { of: files, ..Progress::default() };
    let mut last = String::new();
    loop {
        let batch = shelf.after(&last, AT_ONCE)?;
        let Some(end) = batch.last() else { break };
        last.clone_from(&end.path);
        for wanted in &batch {
            let file = open(&task.root, &wanted.path);
            let found = shelf.compare(wanted, file, &mut |bytes| {
                now.bytes += bytes;
                progress(now);
            })?;
            now.files += 1;
            match found {
                Some(finding) if finding.kind == Kind::Missing => shelf.doubt(&finding)?,
                Some(finding) => tell(finding),
                None => {}
            }
        }
    }
    let mut young = false;
    shelf::walk(&task.root, &task.root.join(FOLDER), &mut |path| {
        let below = path.strip_prefix(&task.root).unwrap_or(&path).to_string_lossy().into_owned();
        if shelf.knows(&below)? == Some(true) || !is_meant(task, &path) {
            return Ok(());
        }
        let age = path.metadata().and_then(|about| about.modified()).ok();
        let age = age.and_then(|changed| SystemTime::now().duration_since(changed).ok());
        young |= age.is_none_or(|age| age < YOUNG);
        shelf.doubt(&Finding::new(Kind::Added, below, "the ledger does not know this file"))
    })?;
    // What was finished or deleted while we looked.
    let until = Instant::now() + PATIENCE;
    loop {
        reader.read_on(&mut |item| load(item, &shelf, &mut totals, &mut tell))?;
        if !young || Instant::now() >= until {
            break;
        }
        thread::sleep(Duration::from_millis(250));
    }
    shelf.standing(&mut tell)?;
    if let Some(head) = task.head.as_ref().filter(|_| !reader.head_seen) {
        let path = task.root.join(FOLDER).display().to_string();
        let detail = format!("no line has the hash {head}: lines were taken away from the end");
        tell(Finding::new(Kind::Ledger, path, detail));
    }
    (totals.files, totals.gone) = shelf.counts()?;
    totals.bytes = now.bytes;
    let End { sequence, hash } = reader.chain.end();
    (totals.sequence, totals.head) = (sequence, hash.to_string());
    totals.findings = findings;
    Ok(totals)
}

/// Whether a file is young enough to be looked for.
fn is_meant(task: &Task, path: &Path) -> bool {
    let Some(since) = &task.since else { return true };
    let changed = path.metadata().and_then(|about| about.modified()).ok();
    let changed = changed.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    changed.is_none_or(|at| crate::ledger::day(at.as_secs()) >= *since)
}

fn open(root: &Path, path: &str) -> io::Result<File> {
    let leads_out = |part: Component<'_>| matches!(part, Component::ParentDir);
    if Path::new(path).components().any(leads_out) {
        return Err(io::Error::other("its name leads out of the folder"));
    }
    shelf::open(&root.join(path))
}

fn load(
    item: Item,
    shelf: &Shelf,
    totals: &mut Totals,
    tell: &mut dyn FnMut(Finding),
) -> io::Result<()> {
    match item {
        Item::Day => totals.days += 1,
        Item::Wrong(path, detail) => tell(Finding::new(Kind::Ledger, path, detail)),
        Item::Line(line) => {
            totals.lines += 1;
            match line.event {
                Event::Day { .. } => {}
                Event::Kept { recid, path, bytes, sha256, .. } => {
                    shelf.keep(&Wanted { path, recid, digest: Digest { bytes, sha256 } })?;
                }
                Event::Gone { path, .. } => shelf.remove(&path)?,
                Event::NotKept { .. } => totals.not_kept += 1,
                Event::Cut { .. } => totals.cut += 1,
            }
        }
    }
    Ok(())
}

/// What reading a ledger gives.
#[derive(Debug)]
pub enum Item {
    /// A file begins.
    Day,
    /// A line; it may be told as wrong besides.
    Line(Line),
    /// Something is wrong: which file, and what.
    Wrong(String, String),
}

/// Reads a ledger, and later what was added to it.
#[derive(Debug)]
pub struct LedgerReader {
    folder: PathBuf,
    since: Option<String>,
    head: Option<String>,
    head_seen: bool,
    chain: Chain,
    /// The day that is read.
    day: Option<String>,
    /// Bytes of it that were read.
    at: u64,
}

impl LedgerReader {
    /// At the begin of a ledger, or of a day of it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(task: &Task) -> io::Result<Self> {
        let folder = task.root.join(FOLDER);
        let mut end = End::default();
        if let Some(since) = &task.since {
            let before = days(&folder)?.into_iter().rfind(|day| day < since);
            if let Some(day) = before {
                let mut file = File::open(folder.join(format!("{day}.{EXTENSION}")))?;
                end = last_line(&mut file)?.2.unwrap_or_default();
            }
        }
        let (since, head) = (task.since.clone(), task.head.clone());
        let head_seen = head.as_ref().is_some_and(|head| *head == end.hash.to_string());
        let chain = Chain::after(task.link.clone(), end);
        Ok(Self { folder, since, head, head_seen, chain, day: None, at: 0 })
    }

    /// Whether there is any line.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.day.is_none()
    }

    /// Reads what was not read yet, as far as lines are whole.
    ///
    /// # Errors
    /// When it cannot be read, or `each` says so.
    pub fn read_on(&mut self, each: &mut dyn FnMut(Item) -> io::Result<()>) -> io::Result<()> {
        let all = days(&self.folder)?;
        let first = self.day.clone().or_else(|| self.since.clone()).unwrap_or_default();
        for (number, day) in all.iter().enumerate().filter(|(_, day)| **day >= first) {
            let before = number.checked_sub(1).and_then(|number| all.get(number));
            if self.day.as_ref() != Some(day) {
                (self.day, self.at) = (Some(day.clone()), 0);
                each(Item::Day)?;
            }
            self.read_day(day, before.map_or("", String::as_str), each)?;
        }
        Ok(())
    }

    fn read_day(
        &mut self,
        day: &str,
        before: &str,
        each: &mut dyn FnMut(Item) -> io::Result<()>,
    ) -> io::Result<()> {
        let name = format!("{day}.{EXTENSION}");
        let path = self.folder.join(&name);
        let name = format!("{FOLDER}/{name}");
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(self.at))?;
        let mut file = BufReader::new(file);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let most = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
            let count = file.by_ref().take(most).read_until(b'\n', &mut bytes)?;
            let whole = bytes.last() == Some(&b'\n');
            if count == 0 || (!whole && count < MAX_LINE) {
                // The end, or a line that is being written, or was torn.
                return Ok(());
            }
            let is_first = self.at == 0;
            self.at += u64::try_from(count).unwrap_or(0);
            if whole {
                bytes.pop();
            }
            let (line, fault) = self.chain.take(&bytes);
            if let Some(fault) = fault {
                each(Item::Wrong(name.clone(), told(fault, self.at)))?;
            }
            if is_first {
                self.first_line(line.as_ref(), day, before, &name, each)?;
            }
            if let Some(line) = line {
                self.head_seen |= self.head.as_ref().is_some_and(|h| *h == line.hash.to_string());
                each(Item::Line(line))?;
            }
        }
    }

    /// The first line of a file names it, and the file before.
    fn first_line(
        &self,
        line: Option<&Line>,
        day: &str,
        before: &str,
        name: &str,
        each: &mut dyn FnMut(Item) -> io::Result<()>,
    ) -> io::Result<()> {
        let Some(Line { event: Event::Day { day: said, previous }, .. }) = line else {
            let why = "it does not begin with the line that names the day: lines were taken away";
            return each(Item::Wrong(name.to_owned(), why.to_owned()));
        };
        if said != day {
            each(Item::Wrong(name.to_owned(), format!("it is the file of {said}")))?;
        }
        if previous != before {
            let (missing, why) = if previous.is_empty() {
                (name.to_owned(), format!("it says that no day was before it, but {before} was"))
            } else {
                let missing = format!("{FOLDER}/{previous}.{EXTENSION}");
                (missing, format!("the file is missing: {day} goes on from it"))
            };
            each(Item::Wrong(missing, why))?;
        }
        Ok(())
    }
}

fn told(fault: Fault, at: u64) -> String {
    match fault {
        Fault::Unreadable => format!("{fault} (before byte {at})"),
        Fault::Broken(1) => format!("{fault}, or it was made with another key"),
        Fault::Lost { .. } | Fault::Moved(_) | Fault::Broken(_) => fault.to_string(),
    }
}

#[cfg(test)]
mod tests;
