//! Brings a database to the version this program knows, in one transaction.

use rusqlite::{Connection, TransactionBehavior};
use std::io;

const PEOPLE: &str = include_str!("schema/people.sql");
const TAPE: &str = include_str!("schema/tape.sql");
const RULES: &str = include_str!("schema/rules.sql");
const ACCESS: &str = include_str!("schema/access.sql");

/// The whole schema of the newest version, in an order in which it can be made.
pub(super) const SCHEMA: [&str; 4] = [PEOPLE, TAPE, RULES, ACCESS];
/// Step `n` leads from version `n + 1` to `n + 2`. Released steps never change.
pub(super) const STEPS: [&[&str]; 5] = [
    &[include_str!("schema/step_2.sql")],
    &[
        PEOPLE,
        include_str!("schema/step_3.sql"),
        include_str!("schema/step_3_rules.sql"),
        ACCESS,
        include_str!("schema/step_3_keys.sql"),
    ],
    &[include_str!("schema/step_4.sql")],
    &[include_str!("schema/step_5.sql")],
    &[include_str!("schema/step_6.sql")],
];
/// The newest version.
pub(super) const VERSION: usize = STEPS.len() + 1;
/// Marks a `SQLite` file as ours: `ORKT`.
const APPLICATION_ID: i64 = 0x4f52_4b54;

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// `SQLite` says no.
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    /// The file cannot be looked at.
    #[error("{0}")]
    Look(io::Error),
    /// The database server says no.
    #[error("{0}")]
    Server(String),
    /// Some other program's file.
    #[error("this database belongs to another program; give another `database`")]
    Foreign,
    /// Written by a newer tracker.
    #[error(
        "database version {found} is newer than {known}, which this orktrack knows; upgrade orktrack"
    )]
    Newer {
        /// The version of the file.
        found: usize,
        /// The newest version known here.
        known: usize,
    },
}

/// Creates the tables in an empty database, or upgrades an older one.
///
/// # Errors
/// See [`UpgradeError`]; the database is unchanged then.
pub(super) fn upgrade(connection: &mut Connection) -> Result<(), UpgradeError> {
    upgrade_with(connection, &SCHEMA, &STEPS)
}

fn upgrade_with(
    connection: &mut Connection,
    schema: &[&str],
    steps: &[&[&str]],
) -> Result<(), UpgradeError> {
    let known = steps.len() + 1;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let pragma = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let version = usize::try_from(pragma("user_version")?).unwrap_or(usize::MAX);
    let tables: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (version, pragma("application_id")?) {
        (0, 0) if tables == 0 => transaction.execute_batch(&schema.concat())?,
        (1.., APPLICATION_ID) if version > known => {
            return Err(UpgradeError::Newer { found: version, known });
        }
        (1.., APPLICATION_ID) => {
            for step in steps.iter().skip(version - 1) {
                transaction.execute_batch(&step.concat())?;
            }
        }
        _ => return Err(UpgradeError::Foreign),
    }
    let target = i64::try_from(known).unwrap_or(i64::MAX);
    if usize::try_from(target) != Ok(version) {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", target)?;
    }
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns and indexes, in whatever order and words they were made.
    fn shape(connection: &Connection) -> Vec<String> {
        let sql = "SELECT t.name || '.' || c.name || ' ' || c.type || ' ' || c.\"notnull\" || ' '
                 || coalesce(c.dflt_value, '') || ' ' || c.pk
             FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table'
             UNION ALL SELECT i.name || ' on ' || i.tbl_name || ' ' || coalesce(c.name, '')
             FROM sqlite_schema i, pragma_index_info(i.name) c WHERE i.type = 'index' ORDER BY 1";
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    fn version(connection: &Connection) -> i64 {
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_new_database_is_complete_and_stays_so() {
        let mut new = Connection::open_in_memory().unwrap();
        upgrade(&mut new).unwrap();
        let before = shape(&new);
        assert!(before.iter().any(|line| line.starts_with("tape_stage.body TEXT")));
        upgrade(&mut new).unwrap();
        assert_eq!((shape(&new), version(&new)), (before, 6));
    }

    #[test]
    fn the_database_of_version_2_becomes_like_a_new_one_with_all_it_knew() {
        let mut old = Connection::open_in_memory().unwrap();
        upgrade_with(&mut old, &[include_str!("old/v2.sql")], &[&[]]).unwrap();
        assert_eq!(version(&old), 2);
        old.execute_batch(
            "INSERT INTO recorder VALUES ('vm','s','A','59140','','8080','/audio','','/x','','','22',5,9);
             INSERT INTO tape VALUES (7,'vm','R1','ready',100,112,200,12,'AAAB','f.wav','1001','','1002',
                 'out','s','10.1.0.1','10.2.0.1','c@d',0,'both',1);
             INSERT INTO tape VALUES (8,'vm','R2','live',300,NULL,NULL,0,'AAAC','g','1001','','1001',
                 'in','s','10.1.0.1','10.2.0.1','',0,'both',1);
             INSERT INTO tape_tag VALUES (7,'codec','PCMU');
             INSERT INTO moment_tag VALUES ('R1','dtmfdigit','5',900,'1001',150);
             INSERT INTO tape_stage (tape, stage, received, body) VALUES (7,'ready',200,'type=tape&');",
        )
        .unwrap();
        upgrade(&mut old).unwrap();
        let mut new = Connection::open_in_memory().unwrap();
        upgrade(&mut new).unwrap();
        assert_eq!((shape(&old), version(&old)), (shape(&new), 6));
        let count = |sql: &str| old.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(
            count("SELECT count(*) FROM tape WHERE keep = 'NEITHER' AND expires IS NULL"),
            2
        );
        assert_eq!(count("SELECT count(*) FROM recorder WHERE health = 'unknown'"), 1);
        assert_eq!(count("SELECT count(*) FROM tape_stage"), 1);
        let mut words = old.prepare("SELECT word, tape FROM tape_key ORDER BY word, tape").unwrap();
        let words: Vec<(String, i64)> = words
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let expected =
            [("party:1001", 7), ("party:1001", 8), ("party:1002", 7), ("tag:codec=PCMU", 7)];
        assert_eq!(words, expected.map(|(word, tape)| (word.to_owned(), tape)));
    }

    #[test]
    fn the_segments_of_version_3_begin_with_their_calls() {
        let mut old = Connection::open_in_memory().unwrap();
        upgrade_with(&mut old, &[include_str!("old/v2.sql")], &[&[]]).unwrap();
        upgrade_with(&mut old, &[], &STEPS[..2]).unwrap();
        assert_eq!(version(&old), 3);
        old.execute_batch(
            "INSERT INTO orkuser (id, firstname, lastname, email, created) VALUES (4,'A','B','',1);
             INSERT INTO tape (id, hostname, recid, state, started, duration, captureport, filename,
                 localparty, localentrypoint, remoteparty, direction, service, localip, remoteip,
                 nativecallid, ondemand, side, live)
                 VALUES (7,'vm','R1','ready',100,12,'','f.wav','1','','2','in','s','','','',0,'both',1);
             INSERT INTO segment (tape, side, orkuser, loginstring) VALUES (7,'local',4,'1');",
        )
        .unwrap();
        upgrade(&mut old).unwrap();
        let sql = "SELECT tape || side || since || orkuser || loginstring FROM segment WHERE until IS NULL";
        let segment: String = old.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(segment, "7local10041");
    }

    #[test]
    fn a_newer_database_is_not_touched() {
        let mut newer = Connection::open_in_memory().unwrap();
        upgrade_with(&mut newer, &["CREATE TABLE a (x INTEGER);"], &[&[], &[], &[], &[], &[], &[]])
            .unwrap();
        let error = upgrade(&mut newer).unwrap_err();
        assert!(matches!(error, UpgradeError::Newer { found: 7, known: 6 }));
    }

    #[test]
    fn a_failed_step_changes_nothing() {
        let mut old = Connection::open_in_memory().unwrap();
        upgrade_with(&mut old, &["CREATE TABLE a (x INTEGER);"], &[]).unwrap();
        let before = shape(&old);
        let steps: [&[&str]; 2] = [&["CREATE TABLE b (y TEXT);"], &["CREATE TABLE a (x INTEGER);"]];
        assert!(upgrade_with(&mut old, &[], &steps).is_err());
        assert_eq!((shape(&old), version(&old)), (before, 1));
    }

    #[test]
    fn the_file_of_another_program_is_left_alone() {
        let mut other = Connection::open_in_memory().unwrap();
        other.execute_batch("CREATE TABLE theirs (x)").unwrap();
        assert!(matches!(upgrade(&mut other), Err(UpgradeError::Foreign)));
    }
}
