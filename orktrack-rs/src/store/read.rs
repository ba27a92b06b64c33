//! Reading: recordings newest first, page by page. Opens the file read-only.

use rusqlite::{Connection, OpenFlags, Row, named_params};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

/// Most recordings in one page.
pub const MAX_LIMIT: u32 = 1000;
/// Recordings in a page if nobody says.
pub const DEFAULT_LIMIT: u32 = 100;

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read database {path}: {cause}")]
pub struct ReadError {
    path: PathBuf,
    cause: rusqlite::Error,
}

/// A recording as the API and the list show it. Times are Unix seconds.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Recording {
    /// Its row; with `started`, its place in the list.
    #[serde(skip)]
    pub id: i64,
    /// Recorder that has the file.
    pub hostname: String,
    /// The recording's name (orkuid).
    pub recid: String,
    /// `live`, `stopped` or `ready`.
    pub state: String,
    /// First packet.
    pub started: i64,
    /// End of the call; not known while live.
    pub stopped: Option<i64>,
    /// When the file was reported finished.
    pub ready: Option<i64>,
    /// Seconds.
    pub duration: i64,
    /// `in`, `out` or `unkn`.
    pub direction: String,
    /// The monitored party.
    pub localparty: String,
    /// The number the call came in through.
    pub localentrypoint: String,
    /// The other party.
    pub remoteparty: String,
    /// Address of the local party.
    pub localip: String,
    /// Address of the remote party.
    pub remoteip: String,
    /// SIP Call-ID.
    pub nativecallid: String,
    /// Recorder channel.
    pub captureport: String,
    /// Service name of the recorder.
    pub service: String,
    /// Somebody asked for it.
    pub ondemand: bool,
    /// Which sides are kept.
    pub side: String,
    /// Relative to the recorder's audio directory.
    pub filename: String,
    /// Tags such as `codec`, `packets`, `lost`.
    pub tags: BTreeMap<String, String>,
    /// Tags of moments such as `dtmfdigit`, in the order of their offsets.
    pub moments: Vec<Moment>,
}

/// A tag of a moment of a recording.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Moment {
    /// Milliseconds from the start of the recording.
    pub offsetmsec: i64,
    /// What kind of tag.
    pub tagtype: String,
    /// What it says.
    pub tagtext: String,
}

/// A place in the list; the page behind it follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cursor {
    started: i64,
    id: i64,
}

impl Cursor {
    /// Reads what [`Cursor`] prints.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (started, id) = text.split_once('.')?;
        Some(Self { started: started.parse().ok()?, id: id.parse().ok()? })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.started, self.id)
    }
}

/// Which recordings.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Query {
    /// Begun at this Unix second or later.
    pub since: Option<i64>,
    /// Begun before this Unix second.
    pub until: Option<i64>,
    /// The local or the remote party, exactly.
    pub party: Option<String>,
    /// At most so many: 1 to [`MAX_LIMIT`]; [`DEFAULT_LIMIT`] if `None`.
    pub limit: Option<u32>,
    /// Only what follows this place.
    pub cursor: Option<Cursor>,
}

/// Recordings, newest first, and where to go on if there are more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page {
    /// Newest first.
    pub recordings: Vec<Recording>,
    /// The place behind the last one; `None` if there are no more.
    pub next: Option<Cursor>,
}

/// An open database that is only read.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    connection: Connection,
}

impl Reader {
    /// Opens the database read-only.
    ///
    /// # Errors
    /// It is not there, or not ours to read, or not a tracker's database.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let connection = connect(path);
        let connection = connection.map_err(|cause| ReadError { path: path.to_owned(), cause })?;
        Ok(Self { path: path.to_owned(), connection })
    }

    /// One page of recordings.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn recordings(&self, query: &Query) -> Result<Page, ReadError> {
        self.page(query).map_err(|cause| self.error(cause))
    }

    /// How many recorders introduced themselves.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn recorders(&self) -> Result<u64, ReadError> {
        let count = self
            .connection
            .query_row("SELECT count(*) FROM recorder", [], |row| row.get::<_, i64>(0));
        count.map(|count| u64::try_from(count).unwrap_or(0)).map_err(|cause| self.error(cause))
    }

    fn error(&self, cause: rusqlite::Error) -> ReadError {
        ReadError { path: self.path.clone(), cause }
    }

    fn page(&self, query: &Query) -> rusqlite::Result<Page> {
        let limit = query.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
        let mut sql = "SELECT * FROM tape WHERE started >= :since AND started < :until
             AND (started, id) < (:started, :id)"
            .to_owned();
        // The party is bound in either case, so that both forms take the same parameters.
        sql.push_str(match query.party {
            Some(_) => " AND (localparty = :party OR remoteparty = :party)",
            None => " AND :party = ''",
        });
        sql.push_str(" ORDER BY started DESC, id DESC LIMIT :limit");
        let place = query.cursor.unwrap_or(Cursor { started: i64::MAX, id: i64::MAX });
        let mut statement = self.connection.prepare(&sql)?;
        let found = statement.query_map(
            named_params! {
                ":since": query.since.unwrap_or(0), ":until": query.until.unwrap_or(i64::MAX),
                ":started": place.started, ":id": place.id,
                ":party": query.party.as_deref().unwrap_or_default(),
                ":limit": i64::from(limit) + 1,
            },
            recording,
        )?;
        let mut recordings = found.collect::<rusqlite::Result<Vec<_>>>()?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = recordings.len() > limit;
        recordings.truncate(limit);
        for recording in &mut recordings {
            recording.tags = self.tags(recording.id)?;
            recording.moments = self.moments(&recording.recid)?;
        }
        let last = recordings.last().filter(|_| more);
        let next = last.map(|last| Cursor { started: last.started, id: last.id });
        Ok(Page { recordings, next })
    }

    fn tags(&self, tape: i64) -> rusqlite::Result<BTreeMap<String, String>> {
        let sql = "SELECT key, value FROM tape_tag WHERE tape = ?";
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.query_map([tape], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    }

    fn moments(&self, recid: &str) -> rusqlite::Result<Vec<Moment>> {
        let sql = "SELECT offsetmsec, tagtype, tagtext FROM moment_tag WHERE recid = ?
             ORDER BY offsetmsec, tagtype, tagtext";
        let mut statement = self.connection.prepare_cached(sql)?;
        let moment = |row: &Row<'_>| {
            Ok(Moment { offsetmsec: row.get(0)?, tagtype: row.get(1)?, tagtext: row.get(2)? })
        };
        statement.query_map([recid], moment)?.collect()
    }
}

/// A closed WAL database in a directory that the reader may not write to can only be opened as
/// immutable; that is sound then, for without a `-wal` file nobody writes.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = |connection: Connection| -> rusqlite::Result<Connection> {
        connection.busy_timeout(Duration::from_secs(3))?;
        connection.prepare("SELECT id FROM tape")?;
        Ok(connection)
    };
    let plain = Connection::open_with_flags(path, flags).and_then(open);
    let wal = PathBuf::from(format!("{}-wal", path.display()));
    match plain {
        Err(error) if path.is_file() && !wal.exists() => {
            let mut uri = "file:".to_owned();
            for byte in path.as_os_str().as_encoded_bytes() {
                match byte {
                    b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                        uri.push(char::from(*byte));
                    }
                    other => uri.push_str(&format!("%{other:02X}")),
                }
            }
            uri.push_str("?immutable=1");
            let flags = flags | OpenFlags::SQLITE_OPEN_URI;
            Connection::open_with_flags(uri, flags).and_then(open).map_err(|_| error)
        }
        other => other,
    }
}

fn recording(row: &Row<'_>) -> rusqlite::Result<Recording> {
    Ok(Recording {
        id: row.get("id")?,
        hostname: row.get("hostname")?,
        recid: row.get("recid")?,
        state: row.get("state")?,
        started: row.get("started")?,
        stopped: row.get("stopped")?,
        ready: row.get("ready")?,
        duration: row.get("duration")?,
        direction: row.get("direction")?,
        localparty: row.get("localparty")?,
        localentrypoint: row.get("localentrypoint")?,
        remoteparty: row.get("remoteparty")?,
        localip: row.get("localip")?,
        remoteip: row.get("remoteip")?,
        nativecallid: row.get("nativecallid")?,
        captureport: row.get("captureport")?,
        service: row.get("service")?,
        ondemand: row.get("ondemand")?,
        side: row.get("side")?,
        filename: row.get("filename")?,
        tags: BTreeMap::new(),
        moments: Vec::new(),
    })
}
