//! `SQLite`: one file, opened for writing or for reading, and noticed when it is no longer there.

use super::{
    session::{DbError, Row, Session, Value},
    upgrade::{UpgradeError, upgrade},
};
use rusqlite::{Connection, ErrorCode, OpenFlags, types::ValueRef};
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
/// Pages kept in memory by the writer, in KiB: the index of words is written all over.
const WRITER_CACHE_KIB: i64 = 64 << 10;
/// Pages kept in memory by each reader, in KiB.
const READER_CACHE_KIB: i64 = 8 << 10;
/// Statements kept compiled.
const STATEMENTS: usize = 128;

/// The open database.
#[derive(Debug)]
pub(super) struct Sqlite {
    path: PathBuf,
    identity: (u64, u64),
    /// The connection.
    pub(super) connection: Connection,
}

impl Sqlite {
    /// Opens the database for writing, creating and upgrading it as need be.
    pub(super) fn open(path: &Path) -> Result<Self, UpgradeError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        prepare(&connection)?;
        upgrade(&mut connection)?;
        let identity =
            identity(path).map_err(|error| UpgradeError::Look(super::at(path, &error)))?;
        Ok(Self { path: path.to_owned(), identity, connection })
    }

    /// Opens the database for reading only.
    pub(super) fn open_reading(path: &Path) -> Result<Self, DbError> {
        let connection = connect_reading(path).map_err(trouble)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let identity = identity(path).map_err(|error| DbError::Down(error.to_string()))?;
        Ok(Self { path: path.to_owned(), identity, connection })
    }
}

impl Session for Sqlite {
    fn rows(&mut self, sql: &str, args: &[Value]) -> Result<Vec<Row>, DbError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(trouble)?;
        bind(&mut statement, args)?;
        let columns = statement.column_count();
        let mut answer = Vec::new();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(trouble)? {
            let value = |column| row.get_ref(column).map_err(trouble).and_then(value);
            answer.push(Row((0..columns).map(value).collect::<Result<_, _>>()?));
        }
        Ok(answer)
    }

    fn change(&mut self, sql: &str, args: &[Value]) -> Result<u64, DbError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(trouble)?;
        bind(&mut statement, args)?;
        let touched = statement.raw_execute().map_err(trouble)?;
        Ok(u64::try_from(touched).unwrap_or(u64::MAX))
    }

    fn batch(&mut self, sql: &str) -> Result<(), DbError> {
        self.connection.execute_batch(sql).map_err(trouble)
    }

    fn begin(&mut self) -> Result<(), DbError> {
        self.batch("BEGIN IMMEDIATE")
    }

    fn begin_reading(&mut self) -> Result<(), DbError> {
        self.batch("BEGIN")
    }

    /// `SQLite` in WAL mode would happily go on writing to a deleted file.
    fn is_in_place(&mut self) -> bool {
        identity(&self.path).is_ok_and(|now| now == self.identity)
    }

    fn plan(&mut self, sql: &str, args: &[Value]) -> Result<String, DbError> {
        let rows = self.rows(&format!("EXPLAIN QUERY PLAN {sql}"), args)?;
        let lines: Result<Vec<String>, _> = rows.iter().map(|row| row.get(3)).collect();
        Ok(lines?.join("\n"))
    }
}

fn bind(statement: &mut rusqlite::CachedStatement<'_>, args: &[Value]) -> Result<(), DbError> {
    for (place, arg) in (1..).zip(args) {
        let bound = match arg {
            Value::Null => statement.raw_bind_parameter(place, rusqlite::types::Null),
            Value::Int(number) => statement.raw_bind_parameter(place, number),
            Value::Text(text) => statement.raw_bind_parameter(place, text),
        };
        bound.map_err(trouble)?;
    }
    Ok(())
}

fn value(value: ValueRef<'_>) -> Result<Value, DbError> {
    match value {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(number) => Ok(Value::Int(number)),
        ValueRef::Text(text) => Ok(Value::Text(String::from_utf8_lossy(text).into_owned())),
        ValueRef::Real(_) | ValueRef::Blob(_) => {
            Err(DbError::Strange("neither a whole number nor text".to_owned()))
        }
    }
}

fn trouble(error: rusqlite::Error) -> DbError {
    if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) {
        DbError::Law(error.to_string())
    } else {
        DbError::Down(error.to_string())
    }
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", WAL_LIMIT)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

/// A closed WAL database in a directory that the reader may not write to can only be opened as
/// immutable; that is sound then, for without a `-wal` file nobody writes.
fn connect_reading(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = |connection: Connection| -> rusqlite::Result<Connection> {
        connection.busy_timeout(Duration::from_secs(3))?;
        connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
        connection.prepare("SELECT tape FROM tape_key")?;
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

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}
