//! The audit log: rows are only added, and each carries the hash of the one before it, so that a row
//! that was changed or taken out shows.

use super::session::{DbError, Session, SessionExt, args};
use crate::secret;
use serde::Serialize;

/// Something that somebody did.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Deed {
    /// When, Unix seconds.
    pub at: i64,
    /// Account, `command port` or `system`.
    pub who: String,
    /// From where.
    pub address: String,
    /// What.
    pub action: String,
    /// To what.
    pub target: String,
    /// With what result.
    pub result: String,
}

impl Deed {
    fn hash(&self, before: &str) -> String {
        let Self { at, who, address, action, target, result } = self;
        // JSON: no two different rows are written alike.
        let text = serde_json::json!([before, at, who, address, action, target, result]);
        secret::sha256(&text.to_string())
    }
}

/// Adds to the log.
///
/// # Errors
/// See [`DbError`].
pub fn note(session: &mut dyn Session, deed: &Deed) -> Result<(), DbError> {
    let last: Option<String> =
        session.value("SELECT hash FROM audit ORDER BY id DESC LIMIT 1", &[])?;
    let hash = deed.hash(last.as_deref().unwrap_or_default());
    session.change(
        "INSERT INTO audit (at, who, address, action, target, result, hash)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        args![deed.at, &deed.who, &deed.address, &deed.action, &deed.target, &deed.result, hash,],
    )?;
    Ok(())
}

fn deed(row: &super::session::Row) -> Result<Deed, DbError> {
    Ok(Deed {
        at: row.get(1)?,
        who: row.get(2)?,
        address: row.get(3)?,
        action: row.get(4)?,
        target: row.get(5)?,
        result: row.get(6)?,
    })
}

/// The newest deeds before this row, the newest first, with their rows.
///
/// # Errors
/// See [`DbError`].
pub fn before(
    session: &mut dyn Session,
    row: i64,
    limit: i64,
) -> Result<Vec<(i64, Deed)>, DbError> {
    let rows = session.rows(
        "SELECT id, at, who, address, action, target, result FROM audit
         WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
        args![row, limit],
    )?;
    rows.iter().map(|row| Ok((row.get(0)?, deed(row)?))).collect()
}

/// The first row whose hash is not what it must be; `None` if the log is whole.
///
/// # Errors
/// See [`DbError`].
pub fn broken(session: &mut dyn Session) -> Result<Option<i64>, DbError> {
    let (mut last, mut before) = (0_i64, String::new());
    loop {
        let rows = session.rows(
            "SELECT id, at, who, address, action, target, result, hash FROM audit
             WHERE id > ?1 ORDER BY id LIMIT 1000",
            args![last],
        )?;
        if rows.is_empty() {
            return Ok(None);
        }
        for row in &rows {
            let hash: String = row.get(7)?;
            last = row.get(0)?;
            if deed(row)?.hash(&before) != hash {
                return Ok(Some(last));
            }
            before = hash;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::scratch;

    #[test]
    fn a_changed_or_missing_row_shows() {
        let mut session = scratch();
        for n in 0..5 {
            let deed =
                Deed { at: n, who: "admin".into(), action: "listen".into(), ..Deed::default() };
            note(session.as_mut(), &deed).unwrap();
        }
        assert_eq!(broken(session.as_mut()), Ok(None));
        session.batch("SAVEPOINT x; UPDATE audit SET who = 'nobody' WHERE id = 3").unwrap();
        assert_eq!(broken(session.as_mut()), Ok(Some(3)));
        session.batch("ROLLBACK TO x; DELETE FROM audit WHERE id = 2").unwrap();
        assert_eq!(broken(session.as_mut()), Ok(Some(3)));
        assert_eq!(before(session.as_mut(), 5, 2).unwrap()[0].0, 4);
    }
}
