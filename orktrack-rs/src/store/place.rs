//! Where the database is, and how it is opened.

use super::{
    postgres::Postgres,
    search::{self, Page, Query},
    session::{DbError, Session},
    sqlite::Sqlite,
    upgrade::UpgradeError,
};
use std::{
    io,
    path::{Path, PathBuf},
};

/// Where the database is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// An `SQLite` file.
    File(PathBuf),
    /// A PostgreSQL server: the URL, password and all.
    Server(String),
}

/// Why the database cannot be opened for writing.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not there, or not ours, or not usable.
    #[error("cannot open database {place}: {cause}")]
    Open {
        /// The file, or the server without its password.
        place: String,
        /// Why.
        cause: UpgradeError,
    },
    /// A thread cannot be started.
    #[error("cannot start a store thread: {0}")]
    Thread(io::Error),
}

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read database {place}: {cause}")]
pub struct ReadError {
    place: String,
    cause: DbError,
}

impl Place {
    /// Reads the setting `database`.
    #[must_use]
    pub fn of(database: &Path) -> Self {
        match database.to_str() {
            Some(url) if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
                Self::Server(url.to_owned())
            }
            _ => Self::File(database.to_owned()),
        }
    }

    /// For people: without a password.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            // What stands behind the last `@` has no password in it, unless as a parameter.
            Self::Server(url) => {
                let end = url.rsplit_once('@').map_or(url.as_str(), |(_, end)| end);
                let end = end.split('?').next().unwrap_or_default();
                format!("postgres://{}", end.trim_start_matches("postgres://"))
            }
        }
    }

    /// Opens it for writing, creating and upgrading it as need be.
    pub(super) fn open_writing(&self) -> Result<Box<dyn Session>, OpenError> {
        let opened: Result<Box<dyn Session>, UpgradeError> = match self {
            Self::File(path) => Sqlite::open(path).map(|open| Box::new(open) as Box<dyn Session>),
            Self::Server(url) => Postgres::open(url).map(|open| Box::new(open) as Box<dyn Session>),
        };
        opened.map_err(|cause| OpenError::Open { place: self.shown(), cause })
    }

    /// Opens it for reading only.
    pub(super) fn open_reading(&self) -> Result<Box<dyn Session>, DbError> {
        match self {
            Self::File(path) => Ok(Box::new(Sqlite::open_reading(path)?)),
            Self::Server(url) => Ok(Box::new(Postgres::open_reading(url)?)),
        }
    }

    #[cfg(test)]
    pub(crate) fn open_for_tests(&self) -> Box<dyn Session> {
        self.open_writing().unwrap()
    }

    #[cfg(test)]
    pub(crate) fn open_scratch() -> Box<dyn Session> {
        // SQLite wants a file that can be looked at; an unlinked one goes with its connection.
        let home = tempfile::tempdir().unwrap();
        let session = Self::File(home.path().join("scratch.db")).open_writing().unwrap();
        drop(home);
        session
    }
}

/// An open database that is only read, for the command line.
#[derive(Debug)]
pub struct Reader {
    place: Place,
    session: Box<dyn Session>,
}

impl Reader {
    /// Opens the database read-only.
    ///
    /// # Errors
    /// It is not there, or not ours to read, or not a tracker's database.
    pub fn open(database: &Path) -> Result<Self, ReadError> {
        let place = Place::of(database);
        let opened = place.open_reading();
        match opened {
            Ok(session) => Ok(Self { place, session }),
            Err(cause) => Err(ReadError { place: place.shown(), cause }),
        }
    }

    /// One page of recordings.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn recordings(&mut self, query: &Query) -> Result<Page, ReadError> {
        self.read(|session| search::page(session, query))
    }

    /// Anything that only reads.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn read<T>(
        &mut self,
        work: impl FnOnce(&mut dyn Session) -> Result<T, DbError>,
    ) -> Result<T, ReadError> {
        work(self.session.as_mut()).map_err(|cause| ReadError { place: self.place.shown(), cause })
    }
}

/// Carries out one piece of work on a database that no tracker has to be serving.
///
/// # Errors
/// It cannot be opened, or the work came to nothing and nothing is changed.
pub fn once<T>(
    database: &Path,
    work: impl FnOnce(&mut dyn Session) -> Result<T, DbError>,
) -> Result<T, String> {
    let place = Place::of(database);
    let mut session = place.open_writing().map_err(|error| error.to_string())?;
    let worked = session.begin().and_then(|()| work(session.as_mut())).and_then(|result| {
        session.batch("COMMIT")?;
        Ok(result)
    });
    worked.map_err(|error| format!("cannot change database {}: {error}", place.shown()))
}
