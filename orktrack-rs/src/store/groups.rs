//! Groups: regular ones order people, security groups say whose calls an account sees.

use super::session::{DbError, Session, SessionExt, args};
use serde::Serialize;

/// A group.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Group {
    /// Its row.
    pub id: i64,
    /// Its name, unique in its kind.
    pub name: String,
    /// `regular` or `security`.
    pub kind: String,
    /// How many people are in it.
    pub members: i64,
}

/// Every group.
///
/// # Errors
/// See [`DbError`].
pub fn all(session: &mut dyn Session) -> Result<Vec<Group>, DbError> {
    let rows = session.rows(
        "SELECT id, name, kind, (SELECT count(*) FROM group_member m WHERE m.orkgroup = g.id)
         FROM orkgroup g ORDER BY name, kind",
        &[],
    )?;
    let group = |row: &super::session::Row| {
        Ok(Group { id: row.get(0)?, name: row.get(1)?, kind: row.get(2)?, members: row.get(3)? })
    };
    rows.iter().map(group).collect()
}

/// Makes a group, or finds it; returns its row.
///
/// # Errors
/// See [`DbError`].
pub fn put(session: &mut dyn Session, name: &str, kind: &str, now: u64) -> Result<i64, DbError> {
    let known = session
        .value("SELECT id FROM orkgroup WHERE name = ?1 AND kind = ?2", args![name, kind])?;
    let id = match known {
        Some(id) => Some(id),
        None => session.value(
            "INSERT INTO orkgroup (name, kind, created) VALUES (?1, ?2, ?3) RETURNING id",
            args![name, kind, now],
        )?,
    };
    id.ok_or_else(|| DbError::Strange("a row without a number".to_owned()))
}

/// The group of a name; of two, the regular one.
///
/// # Errors
/// See [`DbError`].
pub fn find(session: &mut dyn Session, name: &str) -> Result<Option<i64>, DbError> {
    session.value("SELECT id FROM orkgroup WHERE name = ?1 ORDER BY kind LIMIT 1", args![name])
}

/// The kinds of groups there are of this name; more than one is what the API calls duplicates.
fn kinds(session: &mut dyn Session, name: &str) -> Result<Vec<String>, DbError> {
    session.column("SELECT kind FROM orkgroup WHERE name = ?1 ORDER BY kind", args![name])
}

/// Puts a person into a regular group; with duplicates of the name nothing is done.
pub(super) fn join_regular(
    session: &mut dyn Session,
    user: i64,
    name: &str,
    now: u64,
) -> Result<(), DbError> {
    if name.is_empty() || kinds(session, name)?.len() > 1 {
        return Ok(());
    }
    let group = put(session, name, "regular", now)?;
    add(session, group, user)
}

/// Puts a person into a security group and out of any other; an unknown one changes nothing.
pub(super) fn join_security(
    session: &mut dyn Session,
    user: i64,
    name: &str,
) -> Result<(), DbError> {
    let group: Option<i64> = session
        .value("SELECT id FROM orkgroup WHERE name = ?1 AND kind = 'security'", args![name])?;
    let Some(group) = group else { return Ok(()) };
    session.change(
        "DELETE FROM group_member WHERE orkuser = ?1 AND orkgroup IN
             (SELECT id FROM orkgroup WHERE kind = 'security')",
        args![user],
    )?;
    add(session, group, user)
}

fn add(session: &mut dyn Session, group: i64, user: i64) -> Result<(), DbError> {
    session.change(
        "INSERT INTO group_member (orkgroup, orkuser) VALUES (?1, ?2)
         ON CONFLICT (orkgroup, orkuser) DO NOTHING",
        args![group, user],
    )?;
    Ok(())
}

/// Deletes a group that is no security group and has no duplicates; `false` if there is none such.
///
/// # Errors
/// See [`DbError`].
pub fn delete(session: &mut dyn Session, name: &str) -> Result<bool, DbError> {
    if kinds(session, name)? != ["regular"] {
        return Ok(false);
    }
    let sql = "DELETE FROM orkgroup WHERE name = ?1 AND kind = 'regular'";
    Ok(session.change(sql, args![name])? > 0)
}
