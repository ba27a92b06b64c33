//! People and their login strings.

use super::{
    groups,
    session::{DbError, Row, Session, SessionExt, args},
};
use serde::Serialize;

/// Most people and login strings together; a tracker of more than that wants several.
pub const MAX_STRINGS: i64 = 1_000_000;

/// A person.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct User {
    /// The API's `userid`.
    pub id: i64,
    /// First name.
    pub firstname: String,
    /// Last name.
    pub lastname: String,
    /// E-mail address.
    pub email: String,
    /// Whether calls are kept.
    pub recordable: bool,
    /// Whether imports keep it up to date.
    pub external: bool,
    /// Those in force.
    pub loginstrings: Vec<String>,
    /// Regular groups.
    pub groups: Vec<String>,
    /// Security group.
    pub security: Option<String>,
}

/// What is to be written about a person; what is `None` stays.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Change {
    /// By which the person is found.
    pub loginstring: String,
    /// First name.
    pub firstname: Option<String>,
    /// Last name.
    pub lastname: Option<String>,
    /// E-mail address.
    pub email: Option<String>,
    /// Whether calls are kept.
    pub recordable: Option<bool>,
    /// Whether imports keep it up to date.
    pub external: Option<bool>,
    /// A regular group to be in, made if it is not there.
    pub group: Option<String>,
    /// The security group to be in, if it is there.
    pub security: Option<String>,
}

/// The person who has a login string now.
///
/// # Errors
/// See [`DbError`].
pub fn find(session: &mut dyn Session, loginstring: &str) -> Result<Option<i64>, DbError> {
    session.value(
        "SELECT orkuser FROM login_string WHERE loginstring = ?1 AND until IS NULL",
        args![loginstring],
    )
}

/// Adds or changes the person of a login string; returns the `userid`.
///
/// # Errors
/// See [`DbError`].
pub fn put(session: &mut dyn Session, change: &Change, now: u64) -> Result<i64, DbError> {
    let user = match find(session, &change.loginstring)? {
        Some(user) => user,
        None => {
            let user: Option<i64> = session.value(
                "INSERT INTO orkuser (firstname, lastname, email, created) VALUES ('', '', '', ?1)
                 RETURNING id",
                args![now],
            )?;
            let user = user.ok_or_else(|| DbError::Strange("a row without a number".to_owned()))?;
            give(session, user, &change.loginstring, now)?;
            user
        }
    };
    session.change(
        "UPDATE orkuser SET firstname = coalesce(?1, firstname),
             lastname = coalesce(?2, lastname), email = coalesce(?3, email),
             recordable = coalesce(?4, recordable), external = coalesce(?5, external)
         WHERE id = ?6",
        args![
            change.firstname.as_ref(),
            change.lastname.as_ref(),
            change.email.as_ref(),
            change.recordable,
            change.external,
            user,
        ],
    )?;
    if let Some(group) = &change.group {
        groups::join_regular(session, user, group, now)?;
    }
    if let Some(group) = &change.security {
        groups::join_security(session, user, group)?;
    }
    Ok(user)
}

/// Gives a login string to a person. The first one to have it has it for all calls there are; a later
/// one from now on.
fn give(session: &mut dyn Session, user: i64, loginstring: &str, now: u64) -> Result<(), DbError> {
    let used: Option<i64> = session
        .value("SELECT 1 FROM login_string WHERE loginstring = ?1 LIMIT 1", args![loginstring])?;
    let since = if used.is_some() { now } else { 0 };
    session.change(
        "INSERT INTO login_string (loginstring, orkuser, since) VALUES (?1, ?2, ?3)",
        args![loginstring, user, since],
    )?;
    Ok(())
}

/// What became of a login string.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Given {
    /// The person has it now, or had it.
    Done,
    /// Nobody has the login string that is to find the person.
    NobodyFound,
    /// Somebody else has it.
    InUse,
}

/// Gives one more login string to the person of another.
///
/// # Errors
/// See [`DbError`].
pub fn add_login_string(
    session: &mut dyn Session,
    find_by: &str,
    new: &str,
    now: u64,
) -> Result<Given, DbError> {
    let Some(user) = find(session, find_by)? else { return Ok(Given::NobodyFound) };
    match find(session, new)? {
        Some(owner) if owner == user => Ok(Given::Done),
        Some(_) => Ok(Given::InUse),
        None => give(session, user, new, now).map(|()| Given::Done),
    }
}

/// Takes the login strings of a person but for those named.
///
/// # Errors
/// See [`DbError`].
pub fn take_login_strings_but(
    session: &mut dyn Session,
    user: i64,
    kept: &[String],
    now: u64,
) -> Result<(), DbError> {
    for string in login_strings(session, user)? {
        if !kept.contains(&string) {
            session.change(
                "UPDATE login_string SET until = ?1
                 WHERE loginstring = ?2 AND orkuser = ?3 AND until IS NULL",
                args![now, string, user],
            )?;
        }
    }
    Ok(())
}

fn login_strings(session: &mut dyn Session, user: i64) -> Result<Vec<String>, DbError> {
    session.column(
        "SELECT loginstring FROM login_string WHERE orkuser = ?1 AND until IS NULL
         ORDER BY loginstring",
        args![user],
    )
}

/// Removes a person; recordings stay, but are nobody's. `false` if there is none.
///
/// # Errors
/// See [`DbError`].
pub fn remove(session: &mut dyn Session, user: i64) -> Result<bool, DbError> {
    session.change(
        "DELETE FROM tape_key WHERE word = ?1",
        args![super::segments::key("user", &user.to_string())],
    )?;
    Ok(session.change("DELETE FROM orkuser WHERE id = ?1", args![user])? > 0)
}

/// People behind this `userid`, in order.
///
/// # Errors
/// See [`DbError`].
pub fn after(session: &mut dyn Session, user: i64, limit: i64) -> Result<Vec<User>, DbError> {
    let rows = session.rows(
        "SELECT id, firstname, lastname, email, recordable, external FROM orkuser
         WHERE id > ?1 ORDER BY id LIMIT ?2",
        args![user, limit],
    )?;
    rows.iter().map(|row| read(session, row)).collect()
}

/// One person.
///
/// # Errors
/// See [`DbError`].
pub fn one(session: &mut dyn Session, user: i64) -> Result<Option<User>, DbError> {
    let row = session.first(
        "SELECT id, firstname, lastname, email, recordable, external FROM orkuser WHERE id = ?1",
        args![user],
    )?;
    row.map(|row| read(session, &row)).transpose()
}

fn read(session: &mut dyn Session, row: &Row) -> Result<User, DbError> {
    let id = row.get(0)?;
    let groups = session.rows(
        "SELECT g.name, g.kind FROM group_member m JOIN orkgroup g ON g.id = m.orkgroup
         WHERE m.orkuser = ?1 ORDER BY g.name",
        args![id],
    )?;
    let (mut regular, mut security) = (Vec::new(), None);
    for row in groups {
        match row.get::<String>(1)?.as_str() {
            "security" => security = Some(row.get(0)?),
            _ => regular.push(row.get(0)?),
        }
    }
    Ok(User {
        id,
        firstname: row.get(1)?,
        lastname: row.get(2)?,
        email: row.get(3)?,
        recordable: row.get(4)?,
        external: row.get(5)?,
        loginstrings: login_strings(session, id)?,
        groups: regular,
        security,
    })
}
