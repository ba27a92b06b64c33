//! Whose call it was, and what it is found by.
//!
//! Law: a side of a call belongs to the person who was logged in at that device when the call began,
//! else to the person whose login string the party was then. What happens later to login strings and
//! agents changes no call from before.

use super::session::{DbError, Session, SessionExt, args};
use crate::ledger::Tape;
use std::collections::BTreeSet;

/// Longest text a recording is found by, in bytes; PostgreSQL cannot index more than 2,700.
const MAX_WORD: usize = 200;
/// Most words of one recording.
const MAX_WORDS: usize = 128;

/// A person found for a party.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Owner {
    pub(super) orkuser: i64,
    pub(super) loginstring: String,
    pub(super) agent_session: Option<i64>,
}

/// Who was at `party` at the moment `at`.
pub(super) fn owner(
    session: &mut dyn Session,
    party: &str,
    at: u64,
) -> Result<Option<Owner>, DbError> {
    if party.is_empty() {
        return Ok(None);
    }
    let agent = session.first(
        "SELECT orkuser, agent, id FROM agent_session
         WHERE place = ?1 AND kind = 'device' AND since <= ?2 AND (until IS NULL OR until > ?3)
         ORDER BY since DESC, id DESC LIMIT 1",
        args![party, at, at],
    )?;
    if let Some(row) = agent {
        let session = Some(row.get(2)?);
        return Ok(Some(Owner {
            orkuser: row.get(0)?,
            loginstring: row.get(1)?,
            agent_session: session,
        }));
    }
    let user = session.first(
        "SELECT orkuser FROM login_string
         WHERE loginstring = ?1 AND since <= ?2 AND (until IS NULL OR until > ?3)
         ORDER BY since DESC, id DESC LIMIT 1",
        args![party, at, at],
    )?;
    user.map(|row| {
        let loginstring = party.to_owned();
        Ok(Owner { orkuser: row.get(0)?, loginstring, agent_session: None })
    })
    .transpose()
}

/// Says whose call it is, on both sides.
pub(super) fn attribute(session: &mut dyn Session, tape: i64, sum: &Tape) -> Result<(), DbError> {
    let facts = &sum.facts;
    for (side, party) in [("local", &facts.localparty), ("remote", &facts.remoteparty)] {
        let found = owner(session, party, facts.timestamp)?;
        put(session, tape, side, found.as_ref())?;
    }
    Ok(())
}

/// Writes whose a side is.
pub(super) fn put(
    session: &mut dyn Session,
    tape: i64,
    side: &str,
    owner: Option<&Owner>,
) -> Result<(), DbError> {
    match owner {
        None => {
            let sql = "DELETE FROM segment WHERE tape = ?1 AND side = ?2";
            session.change(sql, args![tape, side])?;
        }
        Some(Owner { orkuser, loginstring, agent_session }) => {
            session.change(
                "INSERT INTO segment (tape, side, orkuser, loginstring, agent_session)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (tape, side) DO UPDATE SET orkuser = excluded.orkuser,
                     loginstring = excluded.loginstring, agent_session = excluded.agent_session",
                args![tape, side, *orkuser, loginstring, *agent_session],
            )?;
        }
    }
    Ok(())
}

/// Brings what a recording is found by up to date.
pub(super) fn index(session: &mut dyn Session, tape: i64) -> Result<(), DbError> {
    let Some(row) = session.first(
        "SELECT started, localparty, remoteparty, localentrypoint, nativecallid, recid
         FROM tape WHERE id = ?1",
        args![tape],
    )?
    else {
        return Ok(());
    };
    let started: i64 = row.get(0)?;
    let (local, remote): (String, String) = (row.get(1)?, row.get(2)?);
    let (entry, call, recid): (String, String, String) = (row.get(3)?, row.get(4)?, row.get(5)?);
    let mut words = Words::default();
    for party in [&local, &remote] {
        words.add("party", party);
        words.text(party);
    }
    words.text(&entry);
    words.add("word", &call.to_lowercase());
    let users: Vec<i64> =
        session.column("SELECT orkuser FROM segment WHERE tape = ?1", args![tape])?;
    for user in users {
        words.add("user", &user.to_string());
    }
    let tags = session.rows(
        "SELECT key, value FROM tape_tag WHERE tape = ?1
         UNION SELECT tagtype, tagtext FROM moment_tag
             WHERE recid = ?2 AND tagtype <> 'dtmfdigit'",
        args![tape, &recid],
    )?;
    for row in tags {
        let (key, value): (String, String) = (row.get(0)?, row.get(1)?);
        words.add("tag", &format!("{key}={value}"));
        words.text(&value);
    }
    let known: Vec<String> =
        session.column("SELECT word FROM tape_key WHERE tape = ?1", args![tape])?;
    let known: BTreeSet<String> = known.into_iter().collect();
    for word in words.0.difference(&known) {
        session.change(
            "INSERT INTO tape_key (word, started, tape) VALUES (?1, ?2, ?3)",
            args![word, started, tape],
        )?;
    }
    for word in known.difference(&words.0) {
        session.change(
            "DELETE FROM tape_key WHERE word = ?1 AND started = ?2 AND tape = ?3",
            args![word, started, tape],
        )?;
    }
    Ok(())
}

/// What a recording is found by.
#[derive(Debug, Default)]
struct Words(BTreeSet<String>);

impl Words {
    fn add(&mut self, kind: &str, text: &str) {
        if !text.is_empty() && self.0.len() < MAX_WORDS {
            self.0.insert(key(kind, text));
        }
    }

    fn text(&mut self, text: &str) {
        for word in words_of(text) {
            self.add("word", &word);
        }
    }
}

/// The key of one kind of fact, cut where it is too long.
pub(super) fn key(kind: &str, text: &str) -> String {
    let end = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let end = end.take_while(|end| *end <= MAX_WORD).last().unwrap_or(0);
    format!("{kind}:{}", text.get(..end).unwrap_or_default())
}

/// The words of a text, in lower case; single letters and digits are none.
pub(super) fn words_of(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    let words = text.split(|c: char| !c.is_alphanumeric());
    words.filter(|word| word.chars().nth(1).is_some()).map(str::to_owned).collect()
}
