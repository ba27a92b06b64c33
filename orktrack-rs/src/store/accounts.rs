//! Accounts, what stands for them (sessions, tokens), and the lock after wrong passwords.

use super::session::{DbError, Row, Session, SessionExt, args};
use serde::Serialize;

/// Wrong passwords in a row, within [`WINDOW`], before an account is locked.
const MAX_FAILURES: i64 = 5;
/// In which those count, in seconds; also the length of the first lock.
const WINDOW: i64 = 15 * 60;
/// Longest lock, in seconds.
const LONGEST_LOCK: i64 = 86_400;
/// Most sessions and tokens of one account; the oldest session goes first.
const MAX_CREDENTIALS: i64 = 100;

/// What an account may do.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    Admin,
    /// The calls of its groups' people: listening, tags, hold.
    Supervisor,
    /// The calls of its own person.
    Agent,
    /// All calls and the audit log, but no change.
    Auditor,
    /// A program: the calls of its groups' people, or of all if it has no group.
    Api,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] =
        [Self::Admin, Self::Supervisor, Self::Agent, Self::Auditor, Self::Api];

    /// The word in the database and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Supervisor => "supervisor",
            Self::Agent => "agent",
            Self::Auditor => "auditor",
            Self::Api => "api",
        }
    }

    /// Reads that word.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// An account, without its password.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Account {
    /// Its row.
    pub id: i64,
    /// Its name, in lower case.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Whose own calls it sees.
    pub userid: Option<i64>,
    /// It cannot be used.
    pub disabled: bool,
    /// The groups whose people's calls it sees.
    pub groups: Vec<i64>,
}

const FIELDS: &str = "SELECT a.id, a.name, a.role, a.orkuser, a.disabled FROM account a";

fn account(session: &mut dyn Session, row: &Row) -> Result<Account, DbError> {
    let (id, role): (i64, String) = (row.get(0)?, row.get(2)?);
    let groups = session.column(
        "SELECT orkgroup FROM account_group WHERE account = ?1 ORDER BY orkgroup",
        args![id],
    )?;
    Ok(Account {
        id,
        name: row.get(1)?,
        role: Role::read(&role).ok_or_else(|| DbError::Strange(format!("role {role}")))?,
        userid: row.get(3)?,
        disabled: row.get(4)?,
        groups,
    })
}

/// Every account, by name.
///
/// # Errors
/// See [`DbError`].
pub fn all(session: &mut dyn Session) -> Result<Vec<Account>, DbError> {
    let rows = session.rows(&format!("{FIELDS} ORDER BY a.name"), &[])?;
    rows.iter().map(|row| account(session, row)).collect()
}

/// What is written of an account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Written {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Password as a PHC string; `None` leaves it, or allows tokens only.
    pub password: Option<String>,
    /// Whose own calls it sees.
    pub userid: Option<i64>,
    /// It cannot be used.
    pub disabled: bool,
    /// The groups whose people's calls it sees.
    pub groups: Vec<i64>,
}

/// Writes an account; one of that name is changed, and signed out where it can do less than before.
/// Returns its row.
///
/// # Errors
/// See [`DbError`].
pub fn put(session: &mut dyn Session, written: &Written, now: u64) -> Result<i64, DbError> {
    let id: Option<i64> = session.value(
        "INSERT INTO account (name, role, password, orkuser, disabled, created)
         VALUES (?1, ?2, coalesce(CAST(?3 AS TEXT), ''), ?4, ?5, ?6)
         ON CONFLICT (name) DO UPDATE SET role = excluded.role,
             password = coalesce(CAST(?7 AS TEXT), account.password),
             orkuser = excluded.orkuser, disabled = excluded.disabled,
             failures = 0, locks = 0, locked_until = 0
         RETURNING id",
        args![
            &written.name,
            written.role.as_str(),
            written.password.as_ref(),
            written.userid,
            written.disabled,
            now,
            written.password.as_ref(),
        ],
    )?;
    let id = id.ok_or_else(|| DbError::Strange("a row without a number".to_owned()))?;
    session.change("DELETE FROM account_group WHERE account = ?1", args![id])?;
    for group in &written.groups {
        session.change(
            "INSERT INTO account_group (account, orkgroup) VALUES (?1, ?2)
             ON CONFLICT (account, orkgroup) DO NOTHING",
            args![id, *group],
        )?;
    }
    if written.password.is_some() || written.disabled {
        session.change("DELETE FROM credential WHERE account = ?1", args![id])?;
    }
    Ok(id)
}

/// What is needed to check a password.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lock {
    /// The account's row.
    pub id: i64,
    /// PHC string.
    pub password: String,
    /// No password opens it now.
    pub shut: bool,
}

/// The lock of an account.
///
/// # Errors
/// See [`DbError`].
pub fn lock(session: &mut dyn Session, name: &str, now: u64) -> Result<Option<Lock>, DbError> {
    let row = session.first(
        "SELECT id, password, CASE WHEN disabled = 1 OR locked_until > ?1 OR password = ''
             THEN 1 ELSE 0 END FROM account WHERE name = ?2",
        args![now, name],
    )?;
    row.map(|row| Ok(Lock { id: row.get(0)?, password: row.get(1)?, shut: row.get(2)? }))
        .transpose()
}

/// Notes a wrong password; locks the account when there were too many. Returns whether it is locked.
///
/// # Errors
/// See [`DbError`].
pub fn failed(session: &mut dyn Session, id: i64, now: i64) -> Result<bool, DbError> {
    let row = session
        .first("SELECT failures, first_failed, locks FROM account WHERE id = ?1", args![id])?;
    let Some(row) = row else { return Ok(false) };
    let (mut failures, mut first, mut locks): (i64, i64, i64) =
        (row.get(0)?, row.get(1)?, row.get(2)?);
    if failures == 0 || now - first > WINDOW {
        (failures, first) = (0, now);
    }
    failures += 1;
    let lock = failures >= MAX_FAILURES;
    let mut until = 0;
    if lock {
        let doubled = WINDOW << locks.clamp(0, 16);
        until = now + doubled.min(LONGEST_LOCK);
        (failures, locks) = (0, locks + 1);
    }
    session.change(
        "UPDATE account SET failures = ?1, first_failed = ?2, locks = ?3,
             locked_until = CASE WHEN locked_until > ?4 THEN locked_until ELSE ?5 END
         WHERE id = ?6",
        args![failures, first, locks, until, until, id],
    )?;
    Ok(lock)
}

/// Something that stands for an account from now on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Issue {
    /// The account's row.
    pub account: i64,
    /// `session` or `token`.
    pub kind: &'static str,
    /// SHA-256 of the secret.
    pub hash: String,
    /// What it is for.
    pub name: String,
    /// Unix seconds.
    pub expires: u64,
}

/// Issues it. A session ends the account's failures. `None` if there are too many tokens.
///
/// # Errors
/// See [`DbError`].
pub fn issue(session: &mut dyn Session, issue: &Issue, now: u64) -> Result<Option<i64>, DbError> {
    session.change("DELETE FROM credential WHERE expires <= ?1", args![now])?;
    if issue.kind == "session" {
        session.change(
            "UPDATE account SET failures = 0, locks = 0 WHERE id = ?1",
            args![issue.account],
        )?;
    }
    let count: Option<i64> = session.value(
        "SELECT count(*) FROM credential WHERE account = ?1 AND kind = ?2",
        args![issue.account, issue.kind],
    )?;
    if count.unwrap_or(0) >= MAX_CREDENTIALS {
        if issue.kind == "token" {
            return Ok(None);
        }
        session.change(
            "DELETE FROM credential WHERE id = (SELECT id FROM credential
                 WHERE account = ?1 AND kind = 'session' ORDER BY id LIMIT 1)",
            args![issue.account],
        )?;
    }
    session.value(
        "INSERT INTO credential (account, kind, hash, name, created, expires)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) RETURNING id",
        args![issue.account, issue.kind, &issue.hash, &issue.name, now, issue.expires],
    )
}

/// The account that a secret stands for.
///
/// # Errors
/// See [`DbError`].
pub fn who(session: &mut dyn Session, hash: &str, now: u64) -> Result<Option<Account>, DbError> {
    let row = session.first(
        &format!(
            "{FIELDS} JOIN credential c ON c.account = a.id
             WHERE c.hash = ?1 AND c.expires > ?2 AND a.disabled = 0"
        ),
        args![hash, now],
    )?;
    row.map(|row| account(session, &row)).transpose()
}

/// Takes back what stands for an account, by its hash.
///
/// # Errors
/// See [`DbError`].
pub fn revoke(session: &mut dyn Session, hash: &str) -> Result<bool, DbError> {
    Ok(session.change("DELETE FROM credential WHERE hash = ?1", args![hash])? > 0)
}

/// A token as it is listed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Token {
    /// Its row.
    pub id: i64,
    /// The account's name.
    pub account: String,
    /// What it is for.
    pub name: String,
    /// Unix seconds.
    pub created: i64,
    /// Unix seconds.
    pub expires: i64,
}

/// Every token.
///
/// # Errors
/// See [`DbError`].
pub fn tokens(session: &mut dyn Session) -> Result<Vec<Token>, DbError> {
    let rows = session.rows(
        "SELECT c.id, a.name, c.name, c.created, c.expires FROM credential c
         JOIN account a ON a.id = c.account WHERE c.kind = 'token' ORDER BY c.id",
        &[],
    )?;
    let token = |row: &Row| {
        Ok(Token {
            id: row.get(0)?,
            account: row.get(1)?,
            name: row.get(2)?,
            created: row.get(3)?,
            expires: row.get(4)?,
        })
    };
    rows.iter().map(token).collect()
}

/// Takes a token back; `false` if there is none of that number.
///
/// # Errors
/// See [`DbError`].
pub fn revoke_token(session: &mut dyn Session, id: i64) -> Result<bool, DbError> {
    let sql = "DELETE FROM credential WHERE id = ?1 AND kind = 'token'";
    Ok(session.change(sql, args![id])? > 0)
}

/// Makes the hash of a set-up token the one that counts, if there is no account yet.
///
/// # Errors
/// See [`DbError`].
pub fn begin_setup(session: &mut dyn Session, hash: &str) -> Result<bool, DbError> {
    let accounts: Option<i64> = session.value("SELECT count(*) FROM account", &[])?;
    if accounts.unwrap_or(0) > 0 {
        return Ok(false);
    }
    session.change(
        "INSERT INTO setting (name, value) VALUES ('setup', ?1)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        args![hash],
    )?;
    Ok(true)
}

/// Makes the first account with the set-up token, which is used up by it.
///
/// # Errors
/// See [`DbError`].
pub fn set_up(
    session: &mut dyn Session,
    hash: &str,
    first: &Written,
    now: u64,
) -> Result<Option<i64>, DbError> {
    let used = session.change(
        "DELETE FROM setting WHERE name = 'setup' AND value = ?1
             AND NOT EXISTS (SELECT 1 FROM account)",
        args![hash],
    )?;
    if used == 0 { Ok(None) } else { put(session, first, now).map(Some) }
}
