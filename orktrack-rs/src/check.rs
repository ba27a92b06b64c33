//! `orktrack check` and `orktrack backup`: is everything there that the database says, and the other way
//! round; and a copy of the database while the tracker runs.

use crate::{
    config::AudioRoot,
    files::{self, FileError},
    store::{Place, Reader, audit, retention, session::SessionExt},
};
use serde::Serialize;
use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Rows looked at between two looks at the disk.
const AT_ONCE: i64 = 1000;
/// Names told of each kind; all are counted.
const TOLD: usize = 100;
/// Files that no recording has are looked for among these.
const SOUNDS: [&str; 6] = ["wav", "mp3", "flac", "opus", "ogg", "sealed"];
/// Deepest folder looked into below a root.
const DEPTH: usize = 16;

/// What was found.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Found {
    /// Finished recordings in the database.
    pub recordings: u64,
    /// Files that are there.
    pub files: u64,
    /// Recordings whose folder is not in `audio.roots`: not looked for.
    pub elsewhere: u64,
    /// Recordings that were to be deleted by their recorder: not looked for.
    pub discarded: u64,
    /// Recordings without their file.
    pub missing: u64,
    /// The names of some of them.
    pub missing_names: Vec<String>,
    /// Files that no recording has.
    pub orphans: u64,
    /// The names of some of them.
    pub orphan_names: Vec<PathBuf>,
    /// The first row of the audit log that was changed, or stands behind one that is gone.
    pub audit_broken_at: Option<i64>,
    /// What the database says about itself.
    pub database: String,
}

impl Found {
    /// Whether all is as it should be.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.missing == 0
            && self.orphans == 0
            && self.audit_broken_at.is_none()
            && self.database == "ok"
    }
}

/// Looks at everything; changes nothing.
///
/// # Errors
/// The database cannot be read, or a folder.
pub fn check(database: &Path, roots: &[AudioRoot]) -> Result<Found, String> {
    let text = |error: crate::store::ReadError| error.to_string();
    let mut reader = Reader::open(database).map_err(text)?;
    let mut found = Found { database: "ok".to_owned(), ..Found::default() };
    if let Place::File(_) = Place::of(database) {
        let said: Option<String> =
            reader.read(|session| session.value("PRAGMA integrity_check", &[])).map_err(text)?;
        found.database = said.unwrap_or_default();
    }
    found.audit_broken_at = reader.read(audit::broken).map_err(text)?;
    let (mut last, mut known) = (0, HashSet::new());
    loop {
        let files = reader.read(|s| retention::files_after(s, last, AT_ONCE)).map_err(text)?;
        let Some(end) = files.last() else { break };
        last = end.tape;
        for file in files {
            found.recordings += 1;
            known.insert(file.filename.clone());
            match files::open(roots, &file) {
                Ok(_) => found.files += 1,
                Err(FileError::Outside) => found.elsewhere += 1,
                Err(FileError::Missing) => {
                    found.missing += 1;
                    if found.missing_names.len() < TOLD {
                        found.missing_names.push(format!("{} {}", file.hostname, file.filename));
                    }
                }
                Err(error @ (FileError::Sealed(_) | FileError::Failed(_))) => {
                    return Err(format!("{}: {error}", file.filename));
                }
            }
        }
    }
    let discarded = "SELECT count(*) FROM tape WHERE discarded IS NOT NULL";
    let discarded: Option<i64> = reader.read(|s| s.value(discarded, &[])).map_err(text)?;
    found.discarded = discarded.and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
    for root in roots {
        walk(&root.folder, DEPTH, &mut |path| {
            let below = path.strip_prefix(&root.folder).unwrap_or(path);
            let mut tails = below.ancestors().map(|head| below.strip_prefix(head).unwrap_or(below));
            // A recorder's folder may lie deeper than the root: any tail of the path may be its name.
            let whole = below.to_str().is_some_and(|name| known.contains(name));
            if !whole && !tails.any(|tail| tail.to_str().is_some_and(|tail| known.contains(tail))) {
                found.orphans += 1;
                if found.orphan_names.len() < TOLD {
                    found.orphan_names.push(path.to_owned());
                }
            }
        })
        .map_err(|error| format!("cannot look into {}: {error}", root.folder.display()))?;
    }
    found.orphan_names.sort();
    Ok(found)
}

/// Every sound file below a folder; links are not followed.
fn walk(folder: &Path, depth: usize, see: &mut impl FnMut(&Path)) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (kind, path) = (entry.file_type()?, entry.path());
        if kind.is_dir() && depth > 0 {
            walk(&path, depth - 1, see)?;
        } else if kind.is_file()
            && path
                .extension()
                .and_then(|end| end.to_str())
                .is_some_and(|end| SOUNDS.contains(&end))
        {
            see(&path);
        }
    }
    Ok(())
}

/// Copies the database of a running tracker to a new file. The copy is whole: it is checked.
///
/// # Errors
/// In words for people.
pub fn backup(database: &Path, to: &Path) -> Result<(), String> {
    let Place::File(from) = Place::of(database) else {
        return Err("this database is a PostgreSQL server: use pg_dump".to_owned());
    };
    if to.exists() {
        return Err(format!("{} is there already; give another name", to.display()));
    }
    let failed = |error: rusqlite::Error| format!("cannot copy {}: {error}", from.display());
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let source = rusqlite::Connection::open_with_flags(&from, flags).map_err(failed)?;
    source.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let copied = copy(&source, &part);
    let finished = copied.map_err(failed).and_then(|()| {
        let synced = fs::File::open(&part).and_then(|file| file.sync_all());
        synced.and_then(|()| fs::rename(&part, to)).map_err(|error| error.to_string())
    });
    if finished.is_err()
        && let Err(error) = fs::remove_file(&part)
    {
        tracing::debug!("no half copy to remove: {error}");
    }
    finished
}

fn copy(source: &rusqlite::Connection, part: &Path) -> rusqlite::Result<()> {
    let mut target = rusqlite::Connection::open(part)?;
    {
        let backup = rusqlite::backup::Backup::new(source, &mut target)?;
        backup.run_to_completion(1000, Duration::from_millis(2), None)?;
    }
    target.pragma_update(None, "journal_mode", "DELETE")?;
    let said: String = target.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    if said == "ok" { Ok(()) } else { Err(rusqlite::Error::InvalidQuery) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        sample,
        store::{Query, once, tapes},
    };
    use orkbase::message::tape::Stage;

    #[test]
    fn what_is_missing_and_what_is_too_much() {
        let home = tempfile::tempdir().unwrap();
        let (audio, database) = (home.path().join("audio"), home.path().join("t.db"));
        let roots = [AudioRoot { hostname: Some("vm".to_owned()), folder: audio.clone() }];
        once(&database, |session| {
            for recid in ["A", "B"] {
                tapes::put(session, &sample::tape(recid, Stage::Ready), 10, "")?;
            }
            Ok(())
        })
        .unwrap();
        let folder = audio.join("2026/11/21/02");
        fs::create_dir_all(&folder).unwrap();
        for name in ["A.wav", "B.wav"] {
            fs::write(folder.join(name), "sound").unwrap();
        }
        fs::write(folder.join("C.wav.part"), "half").unwrap();
        let good = check(&database, &roots).unwrap();
        assert!(good.is_good() && (good.recordings, good.files) == (2, 2), "{good:?}");
        fs::rename(folder.join("B.wav"), folder.join("X.wav")).unwrap();
        let bad = check(&database, &roots).unwrap();
        assert_eq!((bad.files, bad.missing, bad.orphans), (1, 1, 1));
        assert_eq!(bad.missing_names, ["vm 2026/11/21/02/B.wav"]);
        assert_eq!(bad.orphan_names, [folder.join("X.wav")]);
        assert_eq!(check(&database, &[]).unwrap().elsewhere, 2);
    }

    #[test]
    fn a_copy_while_somebody_writes() {
        let home = tempfile::tempdir().unwrap();
        let (database, copy) = (home.path().join("t.db"), home.path().join("copy.db"));
        let put = |recid: &str| {
            once(&database, |s| tapes::put(s, &sample::tape(recid, Stage::Ready), 10, "")).unwrap()
        };
        put("A");
        let writer = rusqlite::Connection::open(&database).unwrap();
        writer.execute_batch("BEGIN IMMEDIATE; DELETE FROM tape_key").unwrap();
        backup(&database, &copy).unwrap();
        writer.execute_batch("ROLLBACK").unwrap();
        let page = Reader::open(&copy).unwrap().recordings(&Query::default()).unwrap();
        assert_eq!(page.recordings.len(), 1);
        assert!(backup(&database, &copy).unwrap_err().contains("is there already"));
        assert!(backup(Path::new("/nonexistent/x"), &home.path().join("y")).is_err());
        assert!(!home.path().join("y.part").exists());
    }
}
