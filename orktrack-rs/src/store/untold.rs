//! Recordings whose recorder does not know yet that a legal hold was put on them, or ended.

use super::session::{DbError, Session, SessionExt, args};

/// Its recorder must be told; forgotten with the recording.
pub(super) const NOTE: &str =
    "INSERT INTO hold_untold (tape, since) SELECT id, CAST(?1 AS BIGINT) FROM tape
     WHERE id = ?2 ON CONFLICT (tape) DO NOTHING";

/// Notes that the recorder of this recording must be told.
///
/// # Errors
/// See [`DbError`].
pub(crate) fn note(session: &mut dyn Session, tape: i64, now: u64) -> Result<(), DbError> {
    session.change(NOTE, args![now, tape]).map(drop)
}

/// The recorder knows.
///
/// # Errors
/// See [`DbError`].
pub(crate) fn done(session: &mut dyn Session, tape: i64) -> Result<(), DbError> {
    session.change("DELETE FROM hold_untold WHERE tape = ?1", args![tape]).map(drop)
}

/// Recordings of recorders that are not lost, the longest untold first.
///
/// # Errors
/// See [`DbError`].
pub(crate) fn oldest(session: &mut dyn Session, limit: i64) -> Result<Vec<i64>, DbError> {
    let rows = session.rows(
        "SELECT u.tape FROM hold_untold u JOIN tape t ON t.id = u.tape
         JOIN recorder r ON r.hostname = t.hostname AND r.health <> 'lost'
         ORDER BY u.since, u.tape LIMIT ?1",
        args![limit],
    )?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// How many are untold.
///
/// # Errors
/// See [`DbError`].
pub(crate) fn count(session: &mut dyn Session) -> Result<i64, DbError> {
    Ok(session.value("SELECT count(*) FROM hold_untold", &[])?.unwrap_or(0))
}
