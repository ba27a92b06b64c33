//! Brings a database to the version this program knows, in one transaction.

use rusqlite::{Connection, TransactionBehavior};

/// The whole schema of the newest version.
const SCHEMA: &str = include_str!("schema.sql");
/// Step `n` leads from version `n + 1` to `n + 2`. Released steps never change.
const STEPS: [&str; 1] = [include_str!("step_2.sql")];
/// Marks a `SQLite` file as ours: `ORKT`.
const APPLICATION_ID: i64 = 0x4f52_4b54;

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// `SQLite` says no.
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    /// Some other program's file.
    #[error("this SQLite file belongs to another program; give another `database`")]
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
    upgrade_with(connection, SCHEMA, &STEPS)
}

fn upgrade_with(
    connection: &mut Connection,
    schema: &str,
    steps: &[&str],
) -> Result<(), UpgradeError> {
    let known = steps.len() + 1;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let pragma = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let version = usize::try_from(pragma("user_version")?).unwrap_or(usize::MAX);
    let tables: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (version, pragma("application_id")?) {
        (0, 0) if tables == 0 => transaction.execute_batch(schema)?,
        (1.., APPLICATION_ID) if version > known => {
            return Err(UpgradeError::Newer { found: version, known });
        }
        (1.., APPLICATION_ID) => {
            for step in steps.iter().skip(version - 1) {
                transaction.execute_batch(step)?;
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

    fn shape(connection: &Connection) -> Vec<String> {
        let sql = "SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY name";
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
        assert!(before.iter().any(|sql| sql.contains("CREATE TABLE tape_stage")));
        upgrade(&mut new).unwrap();
        assert_eq!((shape(&new), version(&new)), (before, 2));
    }

    #[test]
    fn an_old_database_becomes_like_a_new_one() {
        const V1: &str = "CREATE TABLE a (x INTEGER);";
        const V3: &str =
            "CREATE TABLE a (x INTEGER); CREATE TABLE b (y TEXT); CREATE TABLE c (z TEXT);";
        let steps = ["CREATE TABLE b (y TEXT);", "CREATE TABLE c (z TEXT);"];
        let mut old = Connection::open_in_memory().unwrap();
        upgrade_with(&mut old, V1, &[]).unwrap();
        upgrade_with(&mut old, V3, &steps).unwrap();
        let mut new = Connection::open_in_memory().unwrap();
        upgrade_with(&mut new, V3, &steps).unwrap();
        assert_eq!((shape(&old), version(&old)), (shape(&new), 3));
        let newer = upgrade_with(&mut old, V1, &[]).unwrap_err();
        assert!(matches!(newer, UpgradeError::Newer { found: 3, known: 1 }));
    }

    #[test]
    fn a_failed_step_changes_nothing() {
        let mut old = Connection::open_in_memory().unwrap();
        upgrade_with(&mut old, "CREATE TABLE a (x INTEGER);", &[]).unwrap();
        let before = shape(&old);
        let steps = ["CREATE TABLE b (y TEXT);", "CREATE TABLE a (x INTEGER);"];
        assert!(upgrade_with(&mut old, "", &steps).is_err());
        assert_eq!((shape(&old), version(&old)), (before, 1));
    }

    #[test]
    fn the_file_of_another_program_is_left_alone() {
        let mut other = Connection::open_in_memory().unwrap();
        other.execute_batch("CREATE TABLE theirs (x)").unwrap();
        assert!(matches!(upgrade(&mut other), Err(UpgradeError::Foreign)));
    }
}
