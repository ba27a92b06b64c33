//! The fleet: recorders that introduced themselves, and which of them still answer.

use super::{
    Introduction, Outcome,
    session::{DbError, Row, Session, SessionExt, args},
};
use serde::Serialize;

/// A recorder.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Recorder {
    /// Its host name, which its messages carry.
    pub hostname: String,
    /// Service name.
    pub name: String,
    /// Where its introduction came from.
    pub address: String,
    /// Command port, text as sent.
    pub tcpport: String,
    /// Port of live audio, empty if not said.
    pub streamingport: String,
    /// Directory that file names are relative to.
    pub absolutepath: String,
    /// `unknown`, `up`, `silent` or `lost`.
    pub health: String,
    /// What it says its version is.
    pub version: String,
    /// Bytes free where its tapes go.
    pub disk_free: Option<i64>,
    /// Its newest message or answer, Unix seconds.
    pub last_heard: i64,
    /// Its calls that are live.
    pub live: i64,
}

/// Writes or renews a recorder. One that introduces itself has just begun, so calls it had before are
/// over, whatever it was able to tell; a message about one of them takes that back.
pub(super) fn introduce(
    session: &mut dyn Session,
    introduction: &Introduction,
) -> Result<Outcome, DbError> {
    let Introduction { init, received, address } = introduction;
    session.change(
        "INSERT INTO recorder (hostname, name, servicetype, tcpport, protocol, fileserveport,
             contextpath, servepath, absolutepath, streamingport, username, sshport,
             first_seen, last_seen, address, last_heard, health)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, 'up')
         ON CONFLICT (hostname) DO UPDATE SET name = excluded.name,
             servicetype = excluded.servicetype,
             tcpport = CASE WHEN excluded.tcpport = '0' THEN recorder.tcpport
                 ELSE excluded.tcpport END,
             protocol = excluded.protocol, fileserveport = excluded.fileserveport,
             contextpath = excluded.contextpath, servepath = excluded.servepath,
             absolutepath = excluded.absolutepath, streamingport = excluded.streamingport,
             username = excluded.username, sshport = excluded.sshport,
             address = excluded.address, health = 'up',
             last_heard = CASE WHEN recorder.last_heard > excluded.last_heard
                 THEN recorder.last_heard ELSE excluded.last_heard END,
             last_seen = CASE WHEN recorder.last_seen > excluded.last_seen
                 THEN recorder.last_seen ELSE excluded.last_seen END",
        args![
            &init.hostname,
            &init.name,
            &init.servicetype,
            &init.tcpport,
            &init.protocol,
            &init.fileserveport,
            &init.contextpath,
            &init.servepath,
            &init.absolutepath,
            &init.streamingport,
            &init.username,
            &init.sshport,
            *received,
            *received,
            address,
            *received,
        ],
    )?;
    // Port 0 is a replay on a recorder's host: it says nothing about the recorder's calls.
    if init.tcpport != "0" {
        interrupt(session, &init.hostname, *received)?;
    }
    Ok(Outcome::Added)
}

/// Notes that a recorder was heard of. One that never introduced itself to this database is entered
/// with what is known of it.
pub(super) fn heard(
    session: &mut dyn Session,
    hostname: &str,
    service: &str,
    address: &str,
    now: u64,
) -> Result<(), DbError> {
    let known = session.change(
        "UPDATE recorder SET last_heard = ?1, health = 'up' WHERE hostname = ?2
             AND (last_heard < ?3 OR health <> 'up')",
        args![now, hostname, now],
    )?;
    if known == 0 && !hostname.is_empty() {
        session.change(
            "INSERT INTO recorder (hostname, name, servicetype, tcpport, protocol, fileserveport,
                 contextpath, servepath, absolutepath, streamingport, username, sshport,
                 first_seen, last_seen, address, last_heard, health)
             VALUES (?1, ?2, 'A', '59140', '', '', '', '', '', '', '', '', ?3, ?4, ?5, ?6, 'up')
             ON CONFLICT (hostname) DO NOTHING",
            args![hostname, service, now, now, address, now],
        )?;
    }
    Ok(())
}

/// What a recorder answered to a heartbeat.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pulse {
    /// Its version, empty if it did not say.
    pub version: String,
    /// Bytes free, if it said.
    pub disk_free: Option<i64>,
}

/// Notes the answer to a heartbeat.
///
/// # Errors
/// See [`DbError`].
pub fn beat(
    session: &mut dyn Session,
    hostname: &str,
    pulse: &Pulse,
    now: u64,
) -> Result<(), DbError> {
    session.change(
        "UPDATE recorder SET last_heard = ?1, health = 'up', version = ?2, disk_free = ?3
         WHERE hostname = ?4",
        args![now, &pulse.version, pulse.disk_free, hostname],
    )?;
    Ok(())
}

/// Notes a heartbeat without an answer: a recorder not heard of since `lost_before` is lost, and so
/// are its live calls. Returns how many those were.
///
/// # Errors
/// See [`DbError`].
pub fn missed(
    session: &mut dyn Session,
    hostname: &str,
    lost_before: u64,
    now: u64,
) -> Result<u64, DbError> {
    session.change(
        "UPDATE recorder SET health = CASE WHEN last_heard < ?1 THEN 'lost' ELSE 'silent' END
         WHERE hostname = ?2",
        args![lost_before, hostname],
    )?;
    let health: Option<String> =
        session.value("SELECT health FROM recorder WHERE hostname = ?1", args![hostname])?;
    if health.as_deref() == Some("lost") { interrupt(session, hostname, now) } else { Ok(0) }
}

/// Closes the live calls of a recorder.
fn interrupt(session: &mut dyn Session, hostname: &str, now: u64) -> Result<u64, DbError> {
    session.change(
        "UPDATE tape SET interrupted = ?1
         WHERE hostname = ?2 AND state = 'live' AND interrupted IS NULL",
        args![now, hostname],
    )
}

/// Every recorder, by host name.
///
/// # Errors
/// See [`DbError`].
pub fn all(session: &mut dyn Session) -> Result<Vec<Recorder>, DbError> {
    let sql = format!("{SELECT} ORDER BY hostname");
    session.rows(&sql, &[])?.iter().map(recorder).collect()
}

/// One recorder.
///
/// # Errors
/// See [`DbError`].
pub fn one(session: &mut dyn Session, hostname: &str) -> Result<Option<Recorder>, DbError> {
    let sql = format!("{SELECT} WHERE hostname = ?1");
    session.first(&sql, args![hostname])?.as_ref().map(recorder).transpose()
}

/// How many there are.
///
/// # Errors
/// See [`DbError`].
pub fn count(session: &mut dyn Session) -> Result<u64, DbError> {
    let count: Option<i64> = session.value("SELECT count(*) FROM recorder", &[])?;
    Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
}

const SELECT: &str = "SELECT hostname, name, address, tcpport, streamingport, absolutepath, health,
     version, disk_free, last_heard, (SELECT count(*) FROM tape WHERE state = 'live'
         AND interrupted IS NULL AND tape.hostname = recorder.hostname) FROM recorder";

fn recorder(row: &Row) -> Result<Recorder, DbError> {
    Ok(Recorder {
        hostname: row.get(0)?,
        name: row.get(1)?,
        address: row.get(2)?,
        tcpport: row.get(3)?,
        streamingport: row.get(4)?,
        absolutepath: row.get(5)?,
        health: row.get(6)?,
        version: row.get(7)?,
        disk_free: row.get(8)?,
        last_heard: row.get(9)?,
        live: row.get(10)?,
    })
}
