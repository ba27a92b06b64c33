//! How long recordings are kept, legal hold, and deletion.
//!
//! Law: a recording under a hold is deleted by nobody. A row goes only after its file went. What is gone
//! does not come back, whatever a recorder tells of it later.

use super::{
    session::{DbError, Row, Session, SessionExt, args},
    untold,
};
use serde::Serialize;

/// A retention class.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Class {
    /// Its row.
    pub id: i64,
    /// For people.
    pub name: String,
    /// Days; `None`: for ever.
    pub keep_days: Option<i64>,
    /// Whether recordings get it unless a program says otherwise.
    pub standard: bool,
}

/// Every class, by name.
///
/// # Errors
/// See [`DbError`].
pub fn all(session: &mut dyn Session) -> Result<Vec<Class>, DbError> {
    let sql = "SELECT id, name, keep_days, standard FROM retention ORDER BY name";
    session.rows(sql, &[])?.iter().map(class).collect()
}

fn class(row: &Row) -> Result<Class, DbError> {
    Ok(Class { id: row.get(0)?, name: row.get(1)?, keep_days: row.get(2)?, standard: row.get(3)? })
}

/// Writes a class; recordings that have it follow. Returns its row.
///
/// # Errors
/// See [`DbError`]; [`DbError::Law`] if it makes no sense.
pub fn put(
    session: &mut dyn Session,
    name: &str,
    keep_days: Option<i64>,
    standard: bool,
) -> Result<i64, DbError> {
    if standard {
        session.change("UPDATE retention SET standard = 0 WHERE standard = 1", &[])?;
    }
    let id: Option<i64> = session.value(
        "INSERT INTO retention (name, keep_days, standard) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET keep_days = excluded.keep_days,
             standard = excluded.standard RETURNING id",
        args![name, keep_days, standard],
    )?;
    let id = id.ok_or_else(|| DbError::Strange("a row without a number".to_owned()))?;
    let seconds = keep_days.map(|days| days.saturating_mul(DAY));
    session.change(
        "UPDATE tape SET expires = started + CAST(?1 AS BIGINT) WHERE retention = ?2",
        args![seconds, id],
    )?;
    Ok(id)
}

const DAY: i64 = 86_400;

/// Gives a recording the longest of these classes, or the standard one.
pub(super) fn classify(
    session: &mut dyn Session,
    tape: i64,
    started: i64,
    classes: &[i64],
) -> Result<(), DbError> {
    let mut best: Option<Class> = None;
    for class in all(session)? {
        let wanted = if classes.is_empty() { class.standard } else { classes.contains(&class.id) };
        let days = |class: &Class| class.keep_days.unwrap_or(i64::MAX);
        if wanted && best.as_ref().is_none_or(|best| days(&class) > days(best)) {
            best = Some(class);
        }
    }
    let expires = best.as_ref().and_then(|class| class.keep_days);
    let expires = expires.map(|days| started.saturating_add(days.saturating_mul(DAY)));
    session.change(
        "UPDATE tape SET retention = ?1, expires = ?2 WHERE id = ?3",
        args![best.map(|class| class.id), expires, tape],
    )?;
    Ok(())
}

/// Whether a recording is under a hold.
///
/// # Errors
/// See [`DbError`].
pub fn is_held(session: &mut dyn Session, tape: i64) -> Result<bool, DbError> {
    let held: Option<i64> = session.value(
        "SELECT id FROM legal_hold WHERE tape = ?1 AND until IS NULL LIMIT 1",
        args![tape],
    )?;
    Ok(held.is_some())
}

/// Puts a recording under a hold. Returns the hold's row.
///
/// # Errors
/// See [`DbError`]; [`DbError::Law`] without a reason or a recording.
pub fn hold(
    session: &mut dyn Session,
    tape: i64,
    reason: &str,
    who: &str,
    now: u64,
) -> Result<i64, DbError> {
    let id = session.value(
        "INSERT INTO legal_hold (tape, reason, who, since) VALUES (?1, ?2, ?3, ?4) RETURNING id",
        args![tape, reason, who, now],
    )?;
    let id = id.ok_or_else(|| DbError::Strange("a row without a number".to_owned()))?;
    untold::note(session, tape, now)?;
    Ok(id)
}

/// Ends the holds of a recording; returns how many there were.
///
/// # Errors
/// See [`DbError`].
pub fn release(session: &mut dyn Session, tape: i64, now: u64) -> Result<u64, DbError> {
    let ended = session.change(
        "UPDATE legal_hold SET until = ?1 WHERE tape = ?2 AND until IS NULL",
        args![now, tape],
    )?;
    if ended > 0 {
        untold::note(session, tape, now)?;
    }
    Ok(ended)
}

/// A recording's file: where it is, seen from its recorder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileOf {
    /// Its row.
    pub tape: i64,
    /// Its name.
    pub recid: String,
    /// The recorder.
    pub hostname: String,
    /// The recorder's folder.
    pub absolutepath: String,
    /// Relative to that folder.
    pub filename: String,
    /// `live`, `stopped` or `ready`.
    pub state: String,
}

const FILE: &str = "SELECT t.id, t.recid, t.hostname, coalesce(r.absolutepath, ''), t.filename,
     t.state FROM tape t LEFT JOIN recorder r ON r.hostname = t.hostname";

fn file(row: &Row) -> Result<FileOf, DbError> {
    Ok(FileOf {
        tape: row.get(0)?,
        recid: row.get(1)?,
        hostname: row.get(2)?,
        absolutepath: row.get(3)?,
        filename: row.get(4)?,
        state: row.get(5)?,
    })
}

/// The file of a recording.
///
/// # Errors
/// See [`DbError`].
pub fn file_of(session: &mut dyn Session, tape: i64) -> Result<Option<FileOf>, DbError> {
    let row = session.first(&format!("{FILE} WHERE t.id = ?1"), args![tape])?;
    row.as_ref().map(file).transpose()
}

/// Files of finished recordings behind this row, in order, but for those that their recorders delete.
///
/// # Errors
/// See [`DbError`].
pub fn files_after(
    session: &mut dyn Session,
    tape: i64,
    limit: i64,
) -> Result<Vec<FileOf>, DbError> {
    let sql = format!(
        "{FILE} WHERE t.id > ?1 AND t.state = 'ready' AND t.discarded IS NULL ORDER BY t.id LIMIT ?2"
    );
    session.rows(&sql, args![tape, limit])?.iter().map(file).collect()
}

/// The same with the SHA-256 of each file in hexadecimal; empty where it is not known.
///
/// # Errors
/// See [`DbError`].
pub fn sums_after(
    session: &mut dyn Session,
    tape: i64,
    limit: i64,
) -> Result<Vec<(FileOf, String)>, DbError> {
    let sql = "SELECT t.id, t.recid, t.hostname, coalesce(r.absolutepath, ''), t.filename, t.state,
             t.sha256 FROM tape t LEFT JOIN recorder r ON r.hostname = t.hostname
         WHERE t.id > ?1 AND t.state = 'ready' AND t.discarded IS NULL ORDER BY t.id LIMIT ?2";
    let read = |row: &Row| Ok((file(row)?, row.get(6)?));
    session.rows(sql, args![tape, limit])?.iter().map(read).collect()
}

/// Whether a recording of this name was deleted, and none is there.
///
/// # Errors
/// See [`DbError`].
pub fn is_deleted(session: &mut dyn Session, recid: &str) -> Result<bool, DbError> {
    is_gone_everywhere(session, recid)
}

/// Whether a recording of this name is known, or was deleted.
///
/// # Errors
/// See [`DbError`].
pub fn was_here(session: &mut dyn Session, recid: &str) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM tape WHERE recid = ?1
         UNION ALL SELECT 1 FROM tape_gone WHERE recid = ?1 LIMIT 1";
    let known: Option<i64> = session.value(sql, args![recid])?;
    Ok(known.is_some())
}

/// Recordings whose time is over or that were discarded, without a hold, the oldest first.
///
/// # Errors
/// See [`DbError`].
pub fn due(session: &mut dyn Session, now: u64, limit: i64) -> Result<Vec<FileOf>, DbError> {
    let sql = format!(
        "{FILE} WHERE t.expires IS NOT NULL AND t.expires <= ?1 AND t.state = 'ready'
         AND NOT EXISTS (SELECT 1 FROM legal_hold h WHERE h.tape = t.id AND h.until IS NULL)
         ORDER BY t.expires LIMIT ?2"
    );
    session.rows(&sql, args![now, limit])?.iter().map(file).collect()
}

/// Why a recording was not deleted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Deleted {
    /// It is gone.
    Gone,
    /// There is none.
    Unknown,
    /// It is under a hold.
    Held,
    /// It is not finished.
    Live,
}

/// Whether a recording may be deleted now.
///
/// # Errors
/// See [`DbError`].
pub fn may_delete(session: &mut dyn Session, tape: i64) -> Result<Deleted, DbError> {
    let row = session.first("SELECT state, interrupted FROM tape WHERE id = ?1", args![tape])?;
    let Some(row) = row else { return Ok(Deleted::Unknown) };
    let live = row.get::<String>(0)? == "live" && row.get::<Option<i64>>(1)?.is_none();
    Ok(match (is_held(session, tape)?, live) {
        (true, _) => Deleted::Held,
        (false, true) => Deleted::Live,
        (false, false) => Deleted::Gone,
    })
}

/// Removes all rows of a recording whose file is gone; only its name stays, for [`MEMORY`].
///
/// # Errors
/// See [`DbError`].
pub fn delete(session: &mut dyn Session, tape: i64, now: u64) -> Result<Deleted, DbError> {
    let may = may_delete(session, tape)?;
    if may != Deleted::Gone {
        return Ok(may);
    }
    session.change(
        "DELETE FROM moment_tag WHERE recid = (SELECT recid FROM tape WHERE id = ?1)",
        args![tape],
    )?;
    session.change(
        "INSERT INTO tape_gone (recid, hostname, gone)
             SELECT recid, hostname, CAST(?1 AS BIGINT) FROM tape WHERE id = ?2
         ON CONFLICT (recid, hostname) DO UPDATE SET gone = excluded.gone",
        args![now, tape],
    )?;
    session.change("DELETE FROM legal_hold WHERE tape = ?1", args![tape])?;
    session.change("DELETE FROM tape WHERE id = ?1", args![tape])?;
    Ok(Deleted::Gone)
}

/// Whether this recording was deleted.
pub(super) fn is_gone(
    session: &mut dyn Session,
    hostname: &str,
    recid: &str,
) -> Result<bool, DbError> {
    let gone: Option<i64> = session.value(
        "SELECT gone FROM tape_gone WHERE recid = ?1 AND hostname = ?2",
        args![recid, hostname],
    )?;
    Ok(gone.is_some())
}

/// Whether a recording of this name was deleted, and none is there.
pub(super) fn is_gone_everywhere(session: &mut dyn Session, recid: &str) -> Result<bool, DbError> {
    let gone: Option<i64> = session.value(
        "SELECT gone FROM tape_gone WHERE recid = ?1
             AND NOT EXISTS (SELECT 1 FROM tape WHERE tape.recid = tape_gone.recid) LIMIT 1",
        args![recid],
    )?;
    Ok(gone.is_some())
}

/// How long the names of deleted recordings are remembered, in seconds: recorders repeat what was not
/// acknowledged for as long as they are up.
const MEMORY: u64 = 400 * 86_400;

/// Forgets the names of recordings that were deleted long ago.
///
/// # Errors
/// See [`DbError`].
pub fn forget(session: &mut dyn Session, now: u64) -> Result<u64, DbError> {
    session.change("DELETE FROM tape_gone WHERE gone < ?1", args![now.saturating_sub(MEMORY)])
}

/// A hold in force.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Hold {
    /// The recording's row.
    pub tape: i64,
    /// The recording's name.
    pub recid: String,
    /// Why.
    pub reason: String,
    /// Who put it there.
    pub who: String,
    /// Since when, Unix seconds.
    pub since: i64,
    /// The recorder was told, and pinned the recording if it has it and can.
    pub told: bool,
}

/// The holds in force, the oldest first.
///
/// # Errors
/// See [`DbError`].
pub fn holds(session: &mut dyn Session, limit: i64) -> Result<Vec<Hold>, DbError> {
    let rows = session.rows(
        "SELECT h.tape, t.recid, h.reason, h.who, h.since, u.tape FROM legal_hold h
         JOIN tape t ON t.id = h.tape LEFT JOIN hold_untold u ON u.tape = t.id
         WHERE h.until IS NULL ORDER BY h.since, h.id LIMIT ?1",
        args![limit],
    )?;
    let read = |row: &Row| {
        Ok(Hold {
            tape: row.get(0)?,
            recid: row.get(1)?,
            reason: row.get(2)?,
            who: row.get(3)?,
            since: row.get(4)?,
            told: row.get::<Option<i64>>(5)?.is_none(),
        })
    };
    rows.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        sample,
        store::{Outcome, scratch, tapes},
    };
    use orkbase::message::tape::{Stage, TapeMessage};

    #[test]
    fn what_is_held_stays_whatever_its_class_says() {
        let mut session = scratch();
        let session = session.as_mut();
        put(session, "short", Some(1), true).unwrap();
        for recid in ["A", "B"] {
            tapes::put(session, &sample::tape(recid, Stage::Ready), 10, "").unwrap();
        }
        let later = 1_795_227_424 + 86_400;
        let names = |session: &mut dyn Session, now: u64| -> Vec<String> {
            due(session, now, 10).unwrap().into_iter().map(|file| file.recid).collect()
        };
        assert!(names(session, later - 1).is_empty());
        assert_eq!(names(session, later), ["A", "B"]);
        let a = due(session, later, 10).unwrap()[0].tape;
        hold(session, a, "court", "admin", 5).unwrap();
        assert_eq!(names(session, later), ["B"]);
        assert_eq!(delete(session, a, 20), Ok(Deleted::Held));
        assert!(session.change("DELETE FROM tape WHERE id = ?1", args![a]).is_err());
        assert!(hold(session, a, "", "admin", 5).is_err(), "a hold has a reason");
        assert_eq!(release(session, a, 6), Ok(1));
        assert_eq!(delete(session, a, 20), Ok(Deleted::Gone));
        assert_eq!(delete(session, a, 20), Ok(Deleted::Unknown));
        // Whatever is told of it later, or again.
        for stage in [Stage::Ready, Stage::Start, Stage::Stop] {
            let told = tapes::put(session, &sample::tape("A", stage), 21, "").unwrap();
            assert_eq!((told.outcome, told.deletetape), (Outcome::Gone, stage == Stage::Ready));
        }
        let rows: Option<i64> = session.value("SELECT count(*) FROM tape", &[]).unwrap();
        assert_eq!(rows, Some(1));
        let elsewhere = TapeMessage { hostname: "w".to_owned(), ..sample::tape("A", Stage::Ready) };
        assert_eq!(tapes::put(session, &elsewhere, 21, "").unwrap().outcome, Outcome::Added);
        assert_eq!((forget(session, 20 + MEMORY), forget(session, 21 + MEMORY)), (Ok(0), Ok(1)));
        put(session, "short", Some(2), true).unwrap();
        assert!(names(session, later).is_empty(), "recordings follow their class");
        put(session, "short", None, true).unwrap();
        assert!(names(session, u64::MAX).is_empty());
    }

    #[test]
    fn a_live_recording_is_not_deleted() {
        let mut session = scratch();
        tapes::put(session.as_mut(), &sample::tape("A", Stage::Start), 10, "").unwrap();
        assert_eq!(delete(session.as_mut(), 1, 20), Ok(Deleted::Live));
    }
}
