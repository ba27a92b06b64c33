//! `orktrack verify`: are recordings what their recorders said they were?

use crate::{
    config::{AudioRoot, Config},
    files,
    store::{Place, Reader, audit, retention, session::SessionExt},
};
use orkvault::{
    digest::Digest,
    ledger::{Event, FOLDER, Sum},
    names,
    shelf::{self, Finding, Kind, Shelf, Wanted},
    verify::{Item, LedgerReader, Task},
};
use serde::Serialize;
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

/// Rows looked at between two looks at the disk.
const AT_ONCE: u32 = 1_000;

/// What was looked at.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Totals {
    /// Finished recordings in the database.
    pub recordings: u64,
    /// Files that were read.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Recordings whose recorder told no hash: only looked for.
    pub unhashed: u64,
    /// Recordings whose folder is not in `audio.roots`: not looked for.
    pub elsewhere: u64,
    /// Lines of recorders' ledgers.
    pub lines: u64,
    /// What is wrong.
    pub findings: u64,
}

/// Looks at everything; changes nothing. `progress` hears of files and bytes.
///
/// # Errors
/// In words, when something cannot be looked at.
pub fn verify(
    database: &Path,
    config: &Config,
    progress: &mut dyn FnMut(u64, u64),
    tell: &mut dyn FnMut(Finding),
) -> Result<Totals, String> {
    let mut totals = Totals::default();
    let mut findings = 0;
    let tell = &mut |finding: Finding| {
        findings += 1;
        tell(finding);
    };
    let text = |error: crate::store::ReadError| error.to_string();
    let disk = |error: io::Error| format!("cannot look through the recordings: {error}");
    let mut reader = Reader::open(database).map_err(text)?;
    let place = Place::of(database);
    look_at_database(&mut reader, &place, tell).map_err(text)?;
    let mut shelf = Shelf::new().map_err(disk)?;
    // Recorders first: what they wrote down is told about more closely.
    let folders = recorders(&mut reader, &config.audio_roots).map_err(text)?;
    let mut ledgers = Vec::new();
    for root in folders {
        let link = files::ledger_link(config.ledger_key.as_deref())?;
        let task = Task { root: root.clone(), link, since: None, head: None };
        ledgers.push((root, LedgerReader::open(&task).map_err(disk)?));
    }
    read_on(&mut ledgers, &shelf, &mut totals, tell).map_err(disk)?;
    let mut row = 0;
    rows(&mut reader, config, &shelf, &mut row, &mut totals, tell)?;
    let mut last = String::new();
    loop {
        let batch = shelf.after(&last, AT_ONCE).map_err(disk)?;
        let Some(end) = batch.last() else { break };
        last.clone_from(&end.path);
        for wanted in &batch {
            let file = shelf::open(Path::new(&wanted.path));
            let files = totals.files;
            let found = shelf
                .compare(wanted, file, &mut |bytes| {
                    totals.bytes += bytes;
                    progress(files, totals.bytes);
                })
                .map_err(disk)?;
            totals.files += 1;
            let (recid, other) = (wanted.recid.clone(), wanted.recid.clone());
            if let Some(finding) = found
                // Deleted while we looked, as it should be.
                && !(finding.kind == Kind::Missing
                    && reader.read(move |s| retention::is_deleted(s, &other)).map_err(text)?)
            {
                tell(finding);
            }
            if !reader.read(move |s| retention::was_here(s, &recid)).map_err(text)? {
                let detail = format!(
                    "the recorder's ledger tells of recording {}, the database does not: it is older, lost it, or was not told yet",
                    wanted.recid
                );
                tell(Finding::new(Kind::Database, wanted.path.as_str(), detail));
            }
        }
    }
    for root in &config.audio_roots {
        added(&root.folder, &shelf).map_err(disk)?;
    }
    // What came while we looked.
    read_on(&mut ledgers, &shelf, &mut totals, tell).map_err(disk)?;
    rows(&mut reader, config, &shelf, &mut row, &mut totals, tell)?;
    shelf.standing(tell).map_err(disk)?;
    totals.findings = findings;
    Ok(totals)
}

fn look_at_database(
    reader: &mut Reader,
    place: &Place,
    tell: &mut dyn FnMut(Finding),
) -> Result<(), crate::store::ReadError> {
    let shown = place.shown();
    if let Place::File(_) = place {
        let said: Option<String> =
            reader.read(|session| session.value("PRAGMA integrity_check", &[]))?;
        let said = said.unwrap_or_default();
        if said != "ok" {
            tell(Finding::new(Kind::Database, shown.as_str(), said));
        }
    }
    if let Some(row) = reader.read(audit::broken)? {
        let detail =
            format!("row {row} of the log of who did what was changed, or one before is gone");
        tell(Finding::new(Kind::Database, shown, detail));
    }
    Ok(())
}

/// Takes in what the ledgers tell and was not read yet.
fn read_on(
    ledgers: &mut [(PathBuf, LedgerReader)],
    shelf: &Shelf,
    totals: &mut Totals,
    tell: &mut dyn FnMut(Finding),
) -> io::Result<()> {
    for (root, ledger) in ledgers {
        ledger.read_on(&mut |item| load(item, root, shelf, totals, tell))?;
    }
    Ok(())
}

/// Folders of recorders that are seen from here and have a ledger.
fn recorders(
    reader: &mut Reader,
    roots: &[AudioRoot],
) -> Result<BTreeSet<PathBuf>, crate::store::ReadError> {
    let known: Vec<String> = reader.read(|session| {
        let rows = session.rows("SELECT absolutepath FROM recorder", &[])?;
        rows.iter().map(|row| row.get(0)).collect()
    })?;
    let mut folders: BTreeSet<PathBuf> = roots.iter().map(|root| root.folder.clone()).collect();
    let below = |path: &PathBuf| {
        let open = roots.iter().filter(|root| root.hostname.is_none());
        open.into_iter().any(|root| path.starts_with(&root.folder))
    };
    folders.extend(known.into_iter().map(PathBuf::from).filter(below));
    folders.retain(|folder| folder.join(FOLDER).is_dir());
    Ok(folders)
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn load(
    item: Item,
    root: &Path,
    shelf: &Shelf,
    totals: &mut Totals,
    tell: &mut dyn FnMut(Finding),
) -> io::Result<()> {
    let event = match item {
        Item::Day => return Ok(()),
        Item::Wrong(path, detail) => {
            tell(Finding::new(Kind::Ledger, shown(&root.join(path)), detail));
            return Ok(());
        }
        Item::Line(line) => line.event,
    };
    totals.lines += 1;
    // A second copy has its whole name, as its recorder sees it, and is none of the tracker's.
    let own = |path: &str| Path::new(path).is_relative();
    match event {
        Event::Kept { recid, path, bytes, sha256, .. } if own(&path) => {
            let path = shown(&root.join(path));
            shelf.keep(&Wanted { path, recid, digest: Digest { bytes, sha256 } })
        }
        Event::Gone { path, .. } if own(&path) => shelf.remove(&shown(&root.join(path))),
        Event::Kept { .. }
        | Event::Gone { .. }
        | Event::Day { .. }
        | Event::NotKept { .. }
        | Event::Cut { .. } => Ok(()),
    }
}

/// What the database says, held against what the ledgers said.
fn rows(
    reader: &mut Reader,
    config: &Config,
    shelf: &Shelf,
    last: &mut i64,
    totals: &mut Totals,
    tell: &mut dyn FnMut(Finding),
) -> Result<(), String> {
    let disk = |error: io::Error| format!("cannot write a temporary file: {error}");
    loop {
        let (after, at_once) = (*last, i64::from(AT_ONCE));
        let rows = reader.read(move |session| retention::sums_after(session, after, at_once));
        let rows = rows.map_err(|error| error.to_string())?;
        let Some((end, _)) = rows.last() else { return Ok(()) };
        *last = end.tape;
        for (file, sum) in rows {
            totals.recordings += 1;
            let Ok(path) = files::place(&config.audio_roots, &file) else {
                totals.elsewhere += 1;
                continue;
            };
            let path = shown(&path);
            let told = shelf.get(&path).map_err(disk)?;
            let Some(sha256) = Sum::read(&sum) else {
                totals.unhashed += u64::from(told.is_none());
                if told.is_none() && !Path::new(&path).is_file() {
                    let detail = format!("the file of recording {} is not there", file.recid);
                    tell(Finding::new(Kind::Missing, path.as_str(), detail));
                }
                if told.is_none() {
                    shelf.allow(&path).map_err(disk)?;
                }
                continue;
            };
            match told {
                Some((_, true)) => {
                    let detail = format!(
                        "the ledger says that the file of recording {} was deleted, the database does not: it is older",
                        file.recid
                    );
                    tell(Finding::new(Kind::Database, path, detail));
                }
                Some((wanted, false)) if wanted.digest.sha256 != sha256 => {
                    let detail = format!(
                        "the database says that its SHA-256 was {sha256}, the recorder's ledger says {}",
                        wanted.digest.sha256
                    );
                    tell(Finding::new(Kind::Database, path, detail));
                }
                Some(_) => {}
                None => {
                    let digest = Digest { bytes: 0, sha256 };
                    shelf.keep(&Wanted { path, recid: file.recid, digest }).map_err(disk)?;
                }
            }
        }
    }
}

/// Files that neither the database nor a ledger knows.
fn added(root: &Path, shelf: &Shelf) -> io::Result<()> {
    shelf::walk(root, &root.join(FOLDER), &mut |path| {
        let path = shown(&path);
        if shelf.knows(&path)?.is_some_and(|here| here) {
            return Ok(());
        }
        // What lies beside a recording belongs to it.
        for beside in names::beside(&path) {
            if shelf.knows(&beside)?.is_some_and(|here| here) {
                return Ok(());
            }
        }
        shelf.doubt(&Finding::new(Kind::Added, path, "no recording has this file"))
    })
}

#[cfg(test)]
mod tests;
