//! The database file: opened for writing, and noticed when it is no longer where it was.

use super::upgrade::{UpgradeError, upgrade};
use rusqlite::{Connection, OpenFlags};
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long a write waits for another program that holds the file (a backup), before it is a failure.
/// The original recorder gives the tracker 5 s to answer.
const BUSY: Duration = Duration::from_secs(3);
/// Pages in the WAL before it is moved into the file: 4 MB.
const CHECKPOINT_PAGES: i64 = 1000;
/// The WAL file is cut to this size after a checkpoint, in bytes.
const WAL_LIMIT: i64 = 16 << 20;

/// Why the database cannot be opened for writing.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// `SQLite` or the file system says no.
    #[error("cannot open database {path}: {cause}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What `SQLite` said.
        cause: rusqlite::Error,
    },
    /// It is open but not usable.
    #[error("cannot use database {path}: {cause}")]
    Upgrade {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: UpgradeError,
    },
    /// The file cannot be looked at.
    #[error("cannot open database {0}")]
    Look(io::Error),
    /// The writer thread cannot be started.
    #[error("cannot start the store thread: {0}")]
    Thread(io::Error),
}

/// The open database.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    identity: (u64, u64),
    /// The connection; `&mut` for transactions.
    pub(super) connection: Connection,
}

impl File {
    /// Opens the database, creating and upgrading it as need be.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let cannot = |cause| OpenError::Open { path: path.to_owned(), cause };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(cannot)?;
        prepare(&connection).map_err(cannot)?;
        upgrade(&mut connection)
            .map_err(|cause| OpenError::Upgrade { path: path.to_owned(), cause })?;
        let identity = identity(path).map_err(|error| OpenError::Look(super::at(path, &error)))?;
        Ok(Self { path: path.to_owned(), identity, connection })
    }

    /// Where it is, or was.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to the open file. `SQLite` in WAL mode would happily go on writing
    /// to a deleted one.
    pub(super) fn is_in_place(&self) -> bool {
        identity(&self.path).is_ok_and(|now| now == self.identity)
    }
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", WAL_LIMIT)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}
