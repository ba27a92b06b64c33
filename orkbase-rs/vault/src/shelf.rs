//! What ought to be there, in a temporary database on the disk: memory does not grow with the number of
//! recordings.

use crate::{
    digest::{self, Digest},
    ledger::Sum,
};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// What is wrong.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A recording is not there.
    Missing,
    /// It is not what it was.
    Changed,
    /// It is shorter than it was.
    Truncated,
    /// It holds what another recording held.
    Swapped,
    /// Nobody knows of it.
    Added,
    /// It cannot be read.
    Unreadable,
    /// The ledger itself.
    Ledger,
    /// The tracker's database.
    Database,
}

/// Something that is wrong.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// The file.
    pub path: String,
    /// In words.
    pub detail: String,
}

impl Finding {
    /// A finding.
    #[must_use]
    pub fn new(kind: Kind, path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind, path: path.into(), detail: detail.into() }
    }
}

/// A file that ought to be there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wanted {
    /// Its name.
    pub path: String,
    /// Its recording.
    pub recid: String,
    /// What it was; the length is 0 where it is not known.
    pub digest: Digest,
}

/// All that is known.
#[derive(Debug)]
pub struct Shelf {
    db: Connection,
    indexed: bool,
}

/// The database failed.
fn failed(error: rusqlite::Error) -> io::Error {
    io::Error::other(error)
}

impl Shelf {
    /// An empty one.
    ///
    /// # Errors
    /// When no temporary file can be made.
    pub fn new() -> io::Result<Self> {
        // Without a name: SQLite keeps it in a temporary file that nobody else sees.
        let db = Connection::open("").map_err(failed)?;
        db.execute_batch(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN;
             CREATE TABLE file (path TEXT PRIMARY KEY, recid TEXT NOT NULL, bytes INTEGER NOT NULL,
                 sha256 BLOB NOT NULL, gone INTEGER NOT NULL) STRICT, WITHOUT ROWID;
             CREATE TABLE unhashed (path TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
             CREATE TABLE doubt (id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, path TEXT NOT NULL,
                 detail TEXT NOT NULL) STRICT;",
        )
        .map_err(failed)?;
        Ok(Self { db, indexed: false })
    }

    /// A file ought to be there, and be this.
    ///
    /// # Errors
    /// When the temporary database fails.
    pub fn keep(&self, wanted: &Wanted) -> io::Result<()> {
        let bytes = i64::try_from(wanted.digest.bytes).unwrap_or(i64::MAX);
        let Wanted { path, recid, digest } = wanted;
        let mut put = self
            .db
            .prepare_cached("INSERT OR REPLACE INTO file VALUES (?1, ?2, ?3, ?4, 0)")
            .map_err(failed)?;
        put.execute(params![path, recid, bytes, digest.sha256.0]).map_err(failed)?;
        Ok(())
    }

    /// A file was deleted by whoever may.
    ///
    /// # Errors
    /// When the temporary database fails.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        let mut put = self
            .db
            .prepare_cached(
                "INSERT INTO file VALUES (?1, '', 0, x'', 1) ON CONFLICT (path) DO UPDATE SET gone = 1",
            )
            .map_err(failed)?;
        put.execute([path]).map_err(failed)?;
        Ok(())
    }

    /// Files that ought to be there and that were deleted.
    ///
    /// # Errors
    /// When the temporary database fails.
    pub fn counts(&self) -> io::Result<(u64, u64)> {
        let sql =
            "SELECT count(*) FILTER (WHERE gone = 0), count(*) FILTER (WHERE gone = 1) FROM file";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
        let (here, gone) = self.db.query_row(sql, [], read).map_err(failed)?;
        Ok((u64::try_from(here).unwrap_or(0), u64::try_from(gone).unwrap_or(0)))
    }

    /// The next files by name that ought to be there.
    ///
    /// # Errors
    /// When the temporary database fails.
    pub fn after(&self, path: &str, limit: u32) -> io::Result<Vec<Wanted>> {
        let sql = "SELECT path, recid, bytes, sha256 FROM file WHERE path > ?1 AND gone = 0
             ORDER BY path LIMIT ?2";
        let mut rows = self.db.prepare_cached(sql).map_err(failed)?;
        let read = |row: &rusqlite::Row<'_>| {
            let bytes = u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0);
            let digest = Digest { bytes, sha256: Sum(row.get(3)?) };
            Ok(Wanted { path: row.get(0)?, recid: row.get(1)?, digest })
        };
        let rows = rows.query_map(params![path, limit], read).map_err(failed)?;
        rows.collect::<Result<_, _>>().map_err(failed)
    }

    /// A file may be there, whatever it is.
    ///
    /// # Errors
    /// When the temporary database fails.
    pub fn allow(&self, path: &str) -> io::Result<()> {
        let sql = "INSERT OR IGNORE INTO unhashed VALUES (?1)";
        self.db.prepare_cached(sql).map_err(failed)?.execute([path]).map_err(failed)?;
        Ok(())
    }

    /// Whether a file is known: `Some(true)` if it ought to be there, `Some(false)` if it was deleted.
    ///
    /// # Errors
    /// When the temporary database fails.
    pub fn knows(&self, path: &str) -> io::Result<Option<bool>> {
        let mut row = self
            .db
            .prepare_cached(
                "SELECT gone FROM file WHERE path = ?1
                 UNION ALL SELECT 0 FROM unhashed WHERE path = ?1 LIMIT 1",
            )
            .map_err(failed)?;
        let gone: Option<i64> =
            row.query_row([path], |row| row.get(0)).optional().map_err(failed)?;
        Ok(gone.map(|gone| gone == 0))
    }

    /// What a file was, if it is known.
    ///
    /// # Errors
    /// When the temporary database fails.
    pub fn get(&self, path: &str) -> io::Result<Option<(Wanted, bool)>> {
        let sql = "SELECT recid, bytes, sha256, gone FROM file WHERE path = ?1";
        let mut row = self.db.prepare_cached(sql).map_err(failed)?;
        let read = |row: &rusqlite::Row<'_>| {
            let bytes = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
            let gone: bool = row.get(3)?;
            let sha256 = if gone { [0; 32] } else { row.get(2)? };
            let digest = Digest { bytes, sha256: Sum(sha256) };
            Ok((Wanted { path: path.to_owned(), recid: row.get(0)?, digest }, gone))
        };
        row.query_row([path], read).optional().map_err(failed)
    }

    /// Another file that was this.
    fn who_was(&mut self, sha256: &Sum, path: &str) -> io::Result<Option<String>> {
        if !self.indexed {
            self.db.execute_batch("CREATE INDEX file_sum ON file (sha256)").map_err(failed)?;
            self.indexed = true;
        }
        let sql = "SELECT path FROM file WHERE sha256 = ?1 AND path <> ?2 LIMIT 1";
        let mut row = self.db.prepare_cached(sql).map_err(failed)?;
        row.query_row(params![sha256.0, path], |row| row.get(0)).optional().map_err(failed)
    }

    /// Holds a file against what it was. `read` hears of bytes that were read.
    ///
    /// # Errors
    /// When the temporary database fails.
    pub fn compare(
        &mut self,
        wanted: &Wanted,
        file: io::Result<File>,
        read: &mut dyn FnMut(u64),
    ) -> io::Result<Option<Finding>> {
        let path = wanted.path.as_str();
        let now = match file.and_then(|mut file| digest::of(&mut file, read)) {
            Ok(now) => now,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let detail = format!("the file of recording {} is not there", wanted.recid);
                return Ok(Some(Finding::new(Kind::Missing, path, detail)));
            }
            Err(error) => {
                return Ok(Some(Finding::new(Kind::Unreadable, path, error.to_string())));
            }
        };
        if now.sha256 == wanted.digest.sha256 {
            return Ok(None);
        }
        if let Some(other) = self.who_was(&now.sha256, path)? {
            let detail = format!("it holds what {other} held");
            return Ok(Some(Finding::new(Kind::Swapped, path, detail)));
        }
        let was = wanted.digest.bytes;
        let (kind, detail) = if was > 0 && now.bytes < was {
            (Kind::Truncated, format!("{} bytes of {was} are there", now.bytes))
        } else if was > 0 && now.bytes > was {
            (Kind::Changed, format!("it grew from {was} to {} bytes", now.bytes))
        } else {
            (Kind::Changed, format!("its content has another SHA-256, {}", now.sha256))
        };
        Ok(Some(Finding::new(kind, path, detail)))
    }

    /// Keeps what may turn out to be nothing.
    ///
    /// # Errors
    /// When the temporary database fails.
    pub fn doubt(&self, finding: &Finding) -> io::Result<()> {
        let added = finding.kind == Kind::Added;
        let sql = "INSERT INTO doubt (kind, path, detail) VALUES (?1, ?2, ?3)";
        let mut put = self.db.prepare_cached(sql).map_err(failed)?;
        put.execute(params![added, finding.path, finding.detail]).map_err(failed)?;
        Ok(())
    }

    /// What is doubted and stands: files that are missing and were not deleted meanwhile, files that were
    /// added and are not known by now.
    ///
    /// # Errors
    /// When the temporary database fails.
    pub fn standing(&self, tell: &mut dyn FnMut(Finding)) -> io::Result<()> {
        let sql = "SELECT d.kind, d.path, d.detail FROM doubt d LEFT JOIN file f ON f.path = d.path
             LEFT JOIN unhashed u ON u.path = d.path
             WHERE CASE d.kind WHEN 1 THEN coalesce(f.gone, 1) = 1 AND u.path IS NULL ELSE coalesce(f.gone, 0) = 0 END
             ORDER BY d.id";
        let mut rows = self.db.prepare(sql).map_err(failed)?;
        let mut rows = rows.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let added: bool = row.get(0).map_err(failed)?;
            let kind = if added { Kind::Added } else { Kind::Missing };
            let (path, detail): (String, String) =
                (row.get(1).map_err(failed)?, row.get(2).map_err(failed)?);
            tell(Finding { kind, path, detail });
        }
        Ok(())
    }
}

/// Opens a regular file; never waits for a pipe.
///
/// # Errors
/// When it cannot be read, or is none.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no file")) }
}

/// Files with one of these extensions are recordings.
pub const SOUNDS: [&str; 7] = ["wav", "mp3", "flac", "opus", "ogg", "pcapng", "sealed"];

/// Every recording below a folder; links are not followed, folders that begin with a dot are left out.
///
/// # Errors
/// When a folder cannot be read.
pub fn walk(
    root: &Path,
    left_out: &Path,
    see: &mut dyn FnMut(PathBuf) -> io::Result<()>,
) -> io::Result<()> {
    const DEPTH: usize = 16;
    let mut folders = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, entry.path());
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if kind.is_dir() && depth < DEPTH && !hidden && path != left_out {
                folders.push((path, depth + 1));
            } else if kind.is_file()
                && path
                    .extension()
                    .and_then(|end| end.to_str())
                    .is_some_and(|e| SOUNDS.contains(&e))
            {
                see(path)?;
            }
        }
    }
    Ok(())
}
