//! What a telephone system tells about calls on a recorder's port (`metadata`), matched to recordings.

use super::{
    segments,
    session::{DbError, Row, Session, SessionExt, args},
};
use crate::ledger::Tape;
use orkbase::message::tape::Direction;

/// How far apart begin and end of the two accounts of one call may lie, in seconds.
const TOLERANCE: i64 = 3;
/// Most accounts matched anew by one request.
pub const MAX_EVALUATED: i64 = 10_000;
/// An account that never ended lasts at most this long, in seconds.
const LONGEST: i64 = 86_400;
/// Accounts kept at most; the oldest go first.
const MAX_KEPT: i64 = 1_000_000;

/// What was told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Metadata {
    /// Whether the call is over.
    pub stopped: bool,
    /// Recorder channel.
    pub captureport: String,
    /// Begin, Unix seconds.
    pub timestamp: u64,
    /// Seconds.
    pub duration: u64,
    /// Service name of the recorder, if said.
    pub service: String,
    /// The monitored party.
    pub localparty: String,
    /// The number through which the call came.
    pub localentrypoint: String,
    /// The other party.
    pub remoteparty: String,
    /// Who called.
    pub direction: Direction,
    /// The agent.
    pub loginstring: String,
}

/// Writes what was told; when the call is over, says whose recordings are meant. Returns how many.
///
/// # Errors
/// See [`DbError`].
pub fn put(session: &mut dyn Session, told: &Metadata) -> Result<usize, DbError> {
    let stopped = told.stopped.then_some(told.timestamp.saturating_add(told.duration));
    let id: Option<i64> = session.value(
        "INSERT INTO cti (captureport, service, started, stopped, localparty, localentrypoint,
             remoteparty, direction, loginstring)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (captureport, started) DO UPDATE SET
             stopped = coalesce(excluded.stopped, cti.stopped), localparty = excluded.localparty,
             localentrypoint = excluded.localentrypoint, remoteparty = excluded.remoteparty,
             direction = excluded.direction, loginstring = excluded.loginstring
         RETURNING id",
        args![
            &told.captureport,
            &told.service,
            told.timestamp,
            stopped,
            &told.localparty,
            &told.localentrypoint,
            &told.remoteparty,
            told.direction.as_str(),
            &told.loginstring,
        ],
    )?;
    let Some(id) = id else { return Ok(0) };
    session.change("DELETE FROM cti WHERE id <= ?1", args![id.saturating_sub(MAX_KEPT)])?;
    if told.stopped { evaluate(session, &[id]) } else { Ok(0) }
}

/// Matches these accounts anew; returns how many recordings they meet.
///
/// # Errors
/// See [`DbError`].
pub fn evaluate(session: &mut dyn Session, ids: &[i64]) -> Result<usize, DbError> {
    let mut met = 0;
    for id in ids {
        let Some(row) = session.first(&format!("{SELECT} WHERE id = ?1"), args![*id])? else {
            continue;
        };
        let account = account(&row)?;
        let (from, to) = account.span();
        let tapes: Vec<i64> = session.column(
            "SELECT id FROM tape WHERE captureport = ?1 AND started >= ?2 AND started <= ?3
                 AND coalesce(stopped, started) >= ?4 ORDER BY id LIMIT 100",
            args![&account.captureport, from - LONGEST, to, from],
        )?;
        for tape in tapes {
            claim(session, tape, &account)?;
            segments::index(session, tape)?;
            met += 1;
        }
    }
    Ok(met)
}

/// The accounts that began at `since` or later, the oldest first.
///
/// # Errors
/// See [`DbError`].
pub fn since(session: &mut dyn Session, since: u64) -> Result<Vec<i64>, DbError> {
    let sql = "SELECT id FROM cti WHERE started >= ?1 ORDER BY started, id LIMIT ?2";
    session.column(sql, args![since, MAX_EVALUATED])
}

/// Looks for an account of a recording that has ended; returns whether that says whose it is.
pub(super) fn match_tape(
    session: &mut dyn Session,
    tape: i64,
    sum: &Tape,
) -> Result<bool, DbError> {
    let facts = &sum.facts;
    let to_sql = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX / 2);
    let (from, to) = (to_sql(facts.timestamp), to_sql(sum.stopped.unwrap_or(facts.timestamp)));
    let row = session.first(
        &format!(
            "{SELECT} WHERE captureport = ?1 AND started >= ?2 AND started <= ?3
                 AND stopped >= ?4 ORDER BY started DESC LIMIT 1"
        ),
        args![&facts.captureport, from - LONGEST, to + TOLERANCE, from - TOLERANCE],
    )?;
    match row {
        Some(row) => claim(session, tape, &account(&row)?),
        None => Ok(false),
    }
}

const SELECT: &str = "SELECT captureport, started, stopped, localparty, loginstring FROM cti";

struct Account {
    captureport: String,
    started: i64,
    stopped: Option<i64>,
    localparty: String,
    loginstring: String,
}

impl Account {
    /// From when to when a recording of it may lie.
    fn span(&self) -> (i64, i64) {
        let to = self.stopped.unwrap_or(self.started);
        (self.started - TOLERANCE, to + TOLERANCE)
    }
}

fn account(row: &Row) -> Result<Account, DbError> {
    Ok(Account {
        captureport: row.get(0)?,
        started: row.get(1)?,
        stopped: row.get(2)?,
        localparty: row.get(3)?,
        loginstring: row.get(4)?,
    })
}

/// The recording belongs to the agent, or else to the local party, that the account names.
fn claim(session: &mut dyn Session, tape: i64, account: &Account) -> Result<bool, DbError> {
    let at = u64::try_from(account.started).unwrap_or(0);
    for name in [&account.loginstring, &account.localparty] {
        if let Some(owner) = segments::owner(session, name, at)? {
            segments::claim(session, tape, owner)?;
            return Ok(true);
        }
    }
    Ok(false)
}
