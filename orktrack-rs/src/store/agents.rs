//! Agents at devices and workstations. One device and one workstation for each agent; a login takes
//! the place from whoever was there.

use super::{
    segments,
    session::{DbError, Session, SessionExt, args},
    users,
};
use serde::Serialize;

/// Who logs in, or out, where.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Login {
    /// Login string of the agent.
    pub agent: String,
    /// Phone.
    pub device: Option<String>,
    /// Computer, as configured.
    pub workstation: Option<String>,
    /// Port of the screen on that computer.
    pub rfbport: String,
    /// Free text.
    pub agentgroup: String,
}

/// What became of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Logged {
    /// It is done.
    Done,
    /// Nobody has the login string.
    NoUser,
    /// There is no such workstation.
    NoWorkstation,
    /// Nobody was there.
    NobodyThere,
}

/// An agent at a place.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Presence {
    /// Login string.
    pub agent: String,
    /// The person.
    pub userid: i64,
    /// `device` or `workstation`.
    pub kind: String,
    /// Its name.
    pub place: String,
    /// Port of the screen.
    pub rfbport: String,
    /// Free text.
    pub agentgroup: String,
    /// Login, Unix seconds.
    pub since: i64,
    /// Logout; `None` while logged in.
    pub until: Option<i64>,
}

/// Logs an agent in.
///
/// # Errors
/// See [`DbError`].
pub fn login(session: &mut dyn Session, login: &Login, now: u64) -> Result<Logged, DbError> {
    let Some(user) = users::find(session, &login.agent)? else { return Ok(Logged::NoUser) };
    if let Some(workstation) = &login.workstation
        && !workstation_exists(session, workstation)?
    {
        return Ok(Logged::NoWorkstation);
    }
    if let Some(device) = &login.device {
        session.change(
            "INSERT INTO device (name, first) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING",
            args![device, now],
        )?;
        take(session, login, user, ("device", device, ""), now)?;
    }
    if let Some(workstation) = &login.workstation {
        take(session, login, user, ("workstation", workstation, &login.rfbport), now)?;
    }
    Ok(Logged::Done)
}

fn take(
    session: &mut dyn Session,
    login: &Login,
    user: i64,
    (kind, place, rfbport): (&str, &str, &str),
    now: u64,
) -> Result<(), DbError> {
    let left: Vec<String> = session.column(
        "SELECT place FROM agent_session WHERE until IS NULL AND kind = ?1 AND orkuser = ?2",
        args![kind, user],
    )?;
    session.change(
        "UPDATE agent_session SET until = CASE WHEN since > ?1 THEN since ELSE ?2 END
         WHERE until IS NULL AND kind = ?3
             AND (orkuser = ?4 OR (place = ?5 AND rfbport = ?6))",
        args![now, now, kind, user, place, rfbport],
    )?;
    session.change(
        "INSERT INTO agent_session (agent, orkuser, kind, place, rfbport, agentgroup, since)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        args![&login.agent, user, kind, place, rfbport, &login.agentgroup, now],
    )?;
    if kind == "device" {
        for device in left.iter().map(String::as_str).filter(|left| *left != place).chain([place]) {
            segments::turned(session, device, now)?;
        }
    }
    Ok(())
}

/// Logs out whoever is at the device or workstation; only the agent that is named, if one is.
///
/// # Errors
/// See [`DbError`].
pub fn logout(session: &mut dyn Session, login: &Login, now: u64) -> Result<Logged, DbError> {
    let mut gone = 0;
    for (kind, place) in [("device", &login.device), ("workstation", &login.workstation)] {
        let Some(place) = place else { continue };
        let left = session.change(
            "UPDATE agent_session SET until = CASE WHEN since > ?1 THEN since ELSE ?2 END
             WHERE until IS NULL AND kind = ?3 AND place = ?4
                 AND (CAST(?5 AS TEXT) = '' OR agent = ?6)
                 AND (CAST(?7 AS TEXT) = '' OR rfbport = ?8)",
            args![
                now,
                now,
                kind,
                place,
                &login.agent,
                &login.agent,
                &login.rfbport,
                &login.rfbport,
            ],
        )?;
        if left > 0 && kind == "device" {
            segments::turned(session, place, now)?;
        }
        gone += left;
    }
    Ok(if gone > 0 { Logged::Done } else { Logged::NobodyThere })
}

/// Enters a workstation, and the phone beside it.
///
/// # Errors
/// See [`DbError`].
pub fn put_workstation(
    session: &mut dyn Session,
    hostname: &str,
    device: &str,
) -> Result<(), DbError> {
    session.change(
        "INSERT INTO workstation (hostname, device) VALUES (?1, ?2)
         ON CONFLICT (hostname) DO UPDATE SET device = excluded.device",
        args![hostname, device],
    )?;
    Ok(())
}

fn workstation_exists(session: &mut dyn Session, hostname: &str) -> Result<bool, DbError> {
    let found: Option<i64> =
        session.value("SELECT id FROM workstation WHERE hostname = ?1", args![hostname])?;
    Ok(found.is_some())
}

/// Agents logged in now, or all sessions since a moment, the newest first.
///
/// # Errors
/// See [`DbError`].
pub fn presences(
    session: &mut dyn Session,
    since: Option<i64>,
    limit: i64,
) -> Result<Vec<Presence>, DbError> {
    let rows = session.rows(
        "SELECT agent, orkuser, kind, place, rfbport, agentgroup, since, until FROM agent_session
         WHERE until IS NULL OR until >= ?1 ORDER BY since DESC, id DESC LIMIT ?2",
        args![since.unwrap_or(i64::MAX), limit],
    )?;
    let presence = |row: &super::session::Row| {
        Ok(Presence {
            agent: row.get(0)?,
            userid: row.get(1)?,
            kind: row.get(2)?,
            place: row.get(3)?,
            rfbport: row.get(4)?,
            agentgroup: row.get(5)?,
            since: row.get(6)?,
            until: row.get(7)?,
        })
    };
    rows.iter().map(presence).collect()
}
