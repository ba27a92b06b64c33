//! PostgreSQL: the same schema in its words; one writer at a time among all trackers, as in `SQLite`.
//!
//! A batch of messages takes a lock for the length of its transaction, so what is decided from what was
//! read stays true until it is written, whichever tracker does it. Readers see a snapshot and wait for
//! nobody.

use super::{
    encryption,
    session::{DbError, Row, Session, SessionExt, Value},
    upgrade::{SCHEMA, STEPS, UpgradeError, VERSION},
};
use bytes::BytesMut;
use postgres::{
    Client, NoTls, Statement,
    config::SslMode,
    types::{IsNull, ToSql, Type, to_sql_checked},
};
use std::{collections::HashMap, error::Error, time::Duration};

/// The lock of the one writer: `ORKT`.
const LOCK: i64 = 0x4f52_4b54;
/// The first version that PostgreSQL had.
const FIRST: usize = 3;
/// How long to wait for the server to be there.
const PATIENCE: Duration = Duration::from_secs(5);
/// Statements kept prepared; searches have a shape for every combination of filters.
const STATEMENTS: usize = 256;
/// What a connection promises itself: durable commits, and no waiting without end. The original
/// recorder gives the tracker 5 s to answer.
const SETTINGS: &str = "SET synchronous_commit = on; SET lock_timeout = '3s';
     SET statement_timeout = '60s'; SET client_min_messages = warning;";

/// A connection to a server.
pub(super) struct Postgres {
    client: Client,
    statements: HashMap<String, Statement>,
}

impl Postgres {
    /// Connects for writing, making the tables in an empty database.
    pub(super) fn open(url: &str) -> Result<Self, UpgradeError> {
        let server = |error: DbError| UpgradeError::Server(error.to_string());
        let mut session = connect(url).map_err(server)?;
        session.begin().map_err(server)?;
        match version(&mut session).map_err(server)? {
            None => {
                for part in SCHEMA {
                    session.batch(&in_words_of_postgres(part)).map_err(server)?;
                }
                let made = format!(
                    "CREATE TABLE orktrack_version (version BIGINT NOT NULL);
                     INSERT INTO orktrack_version VALUES ({VERSION})"
                );
                session.batch(&made).map_err(server)?;
            }
            Some(found) if found > VERSION => {
                return Err(UpgradeError::Newer { found, known: VERSION });
            }
            Some(found) if found < FIRST => return Err(UpgradeError::Foreign),
            Some(VERSION) => {}
            Some(found) => {
                for part in STEPS.iter().skip(found - 1).flat_map(|step| step.iter()) {
                    session.batch(&in_words_of_postgres(part)).map_err(server)?;
                }
                let now = format!("UPDATE orktrack_version SET version = {VERSION}");
                session.batch(&now).map_err(server)?;
            }
        }
        session.batch("COMMIT").map_err(server)?;
        Ok(session)
    }

    /// Connects for reading.
    pub(super) fn open_reading(url: &str) -> Result<Self, DbError> {
        let mut session = connect(url)?;
        session.batch("SET default_transaction_read_only = on")?;
        match version(&mut session)? {
            Some(VERSION) => Ok(session),
            _ => Err(DbError::Down("this is not the database of this orktrack".to_owned())),
        }
    }

    fn prepared(&mut self, sql: &str) -> Result<Statement, DbError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        if self.statements.len() >= STATEMENTS {
            self.statements.clear();
        }
        let statement = self.client.prepare(&sql.replace('?', "$")).map_err(trouble)?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

fn connect(url: &str) -> Result<Postgres, DbError> {
    let (url, wanted) = encryption::wanted(url);
    let mut config: postgres::Config = url.parse().map_err(trouble)?;
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(PATIENCE);
    }
    if config.get_application_name().is_none() {
        config.application_name("orktrack");
    }
    let client = match wanted {
        None => config.ssl_mode(SslMode::Disable).connect(NoTls),
        Some(roots) => config
            .ssl_mode(SslMode::Require)
            .connect(encryption::connector(roots.as_deref()).map_err(DbError::Down)?),
    };
    let client = client.map_err(trouble)?;
    let mut session = Postgres { client, statements: HashMap::new() };
    session.batch(SETTINGS)?;
    Ok(session)
}

/// The version of the tables, if they are there.
fn version(session: &mut Postgres) -> Result<Option<usize>, DbError> {
    let there: Option<bool> =
        session.value("SELECT to_regclass('orktrack_version') IS NOT NULL", &[])?;
    if there != Some(true) {
        return Ok(None);
    }
    let version: Option<i64> = session.value("SELECT max(version) FROM orktrack_version", &[])?;
    Ok(Some(version.and_then(|version| usize::try_from(version).ok()).unwrap_or(usize::MAX)))
}

/// The schema is written for `SQLite`; these are all the words that differ. Text is compared by its
/// bytes, as `SQLite` does.
fn in_words_of_postgres(schema: &str) -> String {
    let identity = "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY";
    schema
        .replace("INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT", identity)
        .replace("INTEGER NOT NULL PRIMARY KEY", identity)
        .replace(" INTEGER", " BIGINT")
        .replace(" TEXT", " TEXT COLLATE \"C\"")
        .replace(") STRICT, WITHOUT ROWID;", ");")
        .replace(") STRICT;", ");")
}

impl Session for Postgres {
    fn rows(&mut self, sql: &str, args: &[Value]) -> Result<Vec<Row>, DbError> {
        let statement = self.prepared(sql)?;
        let args: Vec<&(dyn ToSql + Sync)> =
            args.iter().map(|arg| arg as &(dyn ToSql + Sync)).collect();
        let rows = self.client.query(&statement, &args).map_err(trouble)?;
        rows.iter().map(row).collect()
    }

    fn change(&mut self, sql: &str, args: &[Value]) -> Result<u64, DbError> {
        let statement = self.prepared(sql)?;
        let args: Vec<&(dyn ToSql + Sync)> =
            args.iter().map(|arg| arg as &(dyn ToSql + Sync)).collect();
        self.client.execute(&statement, &args).map_err(trouble)
    }

    fn batch(&mut self, sql: &str) -> Result<(), DbError> {
        self.client.batch_execute(sql).map_err(trouble)
    }

    fn begin(&mut self) -> Result<(), DbError> {
        self.batch(&format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK})"))
    }

    fn begin_reading(&mut self) -> Result<(), DbError> {
        self.batch("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    }

    fn is_in_place(&mut self) -> bool {
        !self.client.is_closed()
    }

    fn plan(&mut self, sql: &str, args: &[Value]) -> Result<String, DbError> {
        let mut text = sql.to_owned();
        for (place, arg) in args.iter().enumerate().rev() {
            let literal = match arg {
                Value::Null => "NULL".to_owned(),
                Value::Int(number) => number.to_string(),
                Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
            };
            text = text.replace(&format!("?{}", place + 1), &literal);
        }
        let lines: Vec<String> = self.column(&format!("EXPLAIN {text}"), &[])?;
        Ok(lines.join("\n"))
    }
}

fn row(row: &postgres::Row) -> Result<Row, DbError> {
    let value = |(place, column): (usize, &postgres::Column)| {
        let kind = column.type_();
        let read = if *kind == Type::INT8 {
            row.try_get::<_, Option<i64>>(place).map(Value::from)
        } else if *kind == Type::INT4 {
            row.try_get::<_, Option<i32>>(place).map(|number| number.map(i64::from).into())
        } else if *kind == Type::BOOL {
            row.try_get::<_, Option<bool>>(place).map(Value::from)
        } else {
            row.try_get::<_, Option<String>>(place).map(Value::from)
        };
        read.map_err(|error| DbError::Strange(error.to_string()))
    };
    row.columns().iter().enumerate().map(value).collect::<Result<_, _>>().map(Row)
}

/// What the server says about the request itself is a law; everything else is trouble of its own.
fn trouble(error: postgres::Error) -> DbError {
    let Some(told) = error.as_db_error() else {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        return DbError::Down(format!("{error}{cause}"));
    };
    let text = told.message().to_owned();
    match told.code().code().get(..2) {
        // Integrity, data, and limits such as the size of an index entry.
        Some("22" | "23" | "54") => DbError::Law(text),
        _ => DbError::Down(text),
    }
}

impl ToSql for Value {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(number) if *kind == Type::INT4 => i32::try_from(*number)?.to_sql(kind, out),
            Self::Int(number) if *kind == Type::INT8 => number.to_sql(kind, out),
            Self::Int(number) => Err(format!("the number {number} where {kind} belongs").into()),
            // The one character that PostgreSQL's text cannot have.
            Self::Text(text) if text.contains('\0') => text.replace('\0', " ").to_sql(kind, out),
            Self::Text(text) => text.to_sql(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_of_sqlite_is_left() {
        let schema = in_words_of_postgres(&SCHEMA.concat());
        let statements: String =
            schema.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
        for word in ["STRICT", "ROWID", "AUTOINCREMENT", "INTEGER"] {
            assert!(!statements.contains(word), "{word}");
        }
        assert!(schema.contains("id         BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,"));
        assert!(schema.contains("hostname      TEXT COLLATE \"C\"    NOT NULL PRIMARY KEY"));
    }
}
