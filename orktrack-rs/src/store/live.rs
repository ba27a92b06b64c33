//! Calls that are live, and what operators ask of them.

use super::session::{DbError, Row, Session, SessionExt, args};

/// A live recording.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Live {
    /// Its row.
    pub id: i64,
    /// Recorder.
    pub hostname: String,
    /// Name.
    pub recid: String,
    /// The monitored party.
    pub localparty: String,
    /// The other party.
    pub remoteparty: String,
    /// Begin, Unix seconds.
    pub started: i64,
    /// `in`, `out` or `unkn`.
    pub direction: String,
    /// `both`, `local` or `remote`.
    pub side: String,
    /// `KEEP`, `DROP` or `NEITHER`.
    pub keep: String,
    /// Paused through the tracker.
    pub paused: bool,
}

/// Whose live recording is meant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Whose {
    /// The one of this name.
    OrkUid(String),
    /// The newest one of this local party.
    Party(String),
    /// The newest one of this person, who has it now.
    User(i64),
}

const FIELDS: &str = "SELECT t.id, t.hostname, t.recid, t.localparty, t.remoteparty, t.started,
     t.direction, t.side, t.keep, t.paused FROM";
const NEWEST: &str = "t.state = 'live' AND t.interrupted IS NULL
     ORDER BY t.started DESC, t.id DESC LIMIT 1";

/// The newest live recording that is meant. A local party is a person's, too, while an agent is
/// logged in elsewhere: then the agent's login string finds the call.
///
/// # Errors
/// See [`DbError`].
pub fn find(session: &mut dyn Session, whose: &Whose) -> Result<Option<Live>, DbError> {
    let row = match whose {
        Whose::OrkUid(recid) => session
            .first(&format!("{FIELDS} tape t WHERE t.recid = ?1 AND {NEWEST}"), args![recid])?,
        Whose::Party(party) => {
            let row = session.first(
                &format!("{FIELDS} tape t WHERE t.localparty = ?1 AND {NEWEST}"),
                args![party],
            )?;
            match row {
                Some(row) => Some(row),
                None => session.first(
                    &format!(
                        "{FIELDS} tape t CROSS JOIN segment s WHERE s.tape = t.id
                         AND s.side <> 'remote' AND s.until IS NULL AND s.loginstring = ?1
                         AND {NEWEST}"
                    ),
                    args![party],
                )?,
            }
        }
        Whose::User(user) => session.first(
            &format!(
                "{FIELDS} tape t CROSS JOIN segment s WHERE s.tape = t.id
                 AND s.side <> 'remote' AND s.until IS NULL AND s.orkuser = ?1 AND {NEWEST}"
            ),
            args![*user],
        )?,
    };
    row.as_ref().map(live).transpose()
}

fn live(row: &Row) -> Result<Live, DbError> {
    Ok(Live {
        id: row.get(0)?,
        hostname: row.get(1)?,
        recid: row.get(2)?,
        localparty: row.get(3)?,
        remoteparty: row.get(4)?,
        started: row.get(5)?,
        direction: row.get(6)?,
        side: row.get(7)?,
        keep: row.get(8)?,
        paused: row.get(9)?,
    })
}

/// The tags of a recording, types with texts, but for digits and the recorder's `Keep`, which the status
/// has a word for.
///
/// # Errors
/// See [`DbError`].
pub fn tags(session: &mut dyn Session, live: &Live) -> Result<Vec<(String, String)>, DbError> {
    let rows = session.rows(
        "SELECT key, value FROM tape_tag WHERE tape = ?1 AND key <> 'Keep'
         UNION SELECT tagtype, tagtext FROM moment_tag
             WHERE recid = ?2 AND tagtype <> 'dtmfdigit' ORDER BY 1, 2 LIMIT 100",
        args![live.id, &live.recid],
    )?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// When the newest call that is over ended, Unix seconds.
///
/// # Errors
/// See [`DbError`].
pub fn last_ended(session: &mut dyn Session, whose: &Whose) -> Result<Option<i64>, DbError> {
    let word = match whose {
        Whose::OrkUid(recid) => {
            return session.value(
                "SELECT stopped FROM tape WHERE recid = ?1 AND stopped IS NOT NULL LIMIT 1",
                args![recid],
            );
        }
        Whose::Party(party) => super::segments::key("party", party),
        Whose::User(user) => super::segments::key("user", &user.to_string()),
    };
    session.value(
        "SELECT t.stopped FROM tape_key k JOIN tape t ON t.id = k.tape
         WHERE k.word = ?1 AND t.stopped IS NOT NULL
         ORDER BY k.started DESC, k.tape DESC LIMIT 1",
        args![word],
    )
}

/// Notes what its user asked of a recording: `KEEP`, `DROP` or `NEITHER`.
///
/// # Errors
/// See [`DbError`].
pub fn set_keep(session: &mut dyn Session, live: &Live, keep: &str) -> Result<(), DbError> {
    session.change("UPDATE tape SET keep = ?1 WHERE id = ?2", args![keep, live.id])?;
    Ok(())
}

/// Notes that a recording was paused, or goes on.
///
/// # Errors
/// See [`DbError`].
pub fn set_paused(session: &mut dyn Session, tape: i64, paused: bool) -> Result<(), DbError> {
    session.change("UPDATE tape SET paused = ?1 WHERE id = ?2", args![paused, tape])?;
    Ok(())
}
