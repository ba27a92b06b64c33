//! Whose call it was, and what it is found by.
//!
//! Law: a side of a call belongs to the person who was logged in at that device, else to the person whose
//! login string the party was then. An agent who comes or goes while the call lasts begins another
//! segment. What happens later to login strings and agents changes no call from before.

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

/// Most segments of one side of a call.
const MAX_SEGMENTS: i64 = 100;

/// Who had a side of a call, from when to when.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Segment {
    since: u64,
    until: Option<u64>,
    owner: Owner,
}

/// Says whose call it is, on both sides; returns whether that is news.
pub(super) fn attribute(session: &mut dyn Session, tape: i64, sum: &Tape) -> Result<bool, DbError> {
    let facts = &sum.facts;
    let parties = [facts.localparty.as_str(), facts.remoteparty.as_str()];
    attribute_span(session, tape, parties, (facts.timestamp, sum.stopped))
}

fn attribute_span(
    session: &mut dyn Session,
    tape: i64,
    parties: [&str; 2],
    (begin, end): (u64, Option<u64>),
) -> Result<bool, DbError> {
    let mut news = false;
    for (side, party) in ["local", "remote"].into_iter().zip(parties) {
        let segments = history(session, party, begin, end)?;
        if segments != known(session, tape, side)? {
            replace(session, tape, side, &segments)?;
            news = true;
        }
    }
    Ok(news)
}

/// Who was at `party` from `begin` to `end`.
fn history(
    session: &mut dyn Session,
    party: &str,
    begin: u64,
    end: Option<u64>,
) -> Result<Vec<Segment>, DbError> {
    let first = owner(session, party, begin)?;
    // Whoever comes or goes later.
    let mut turns: Vec<i64> = session.column(
        "SELECT since FROM agent_session
             WHERE place = ?1 AND kind = 'device' AND since > ?2 AND since < ?3
         UNION SELECT until FROM agent_session
             WHERE place = ?4 AND kind = 'device' AND until > ?5 AND until < ?6
         ORDER BY 1 LIMIT ?7",
        args![
            party,
            begin,
            end.unwrap_or(u64::MAX),
            party,
            begin,
            end.unwrap_or(u64::MAX),
            MAX_SEGMENTS
        ],
    )?;
    turns.retain(|turn| *turn > 0);
    let mut segments: Vec<Segment> = Vec::new();
    let mut open = first.map(|owner| Segment { since: begin, until: None, owner });
    for turn in turns {
        let turn = u64::try_from(turn).unwrap_or(0);
        let now = owner(session, party, turn)?;
        if now.as_ref() == open.as_ref().map(|segment| &segment.owner) {
            continue;
        }
        segments.extend(open.take().map(|segment| Segment { until: Some(turn), ..segment }));
        open = now.map(|owner| Segment { since: turn, until: None, owner });
    }
    segments.extend(open);
    Ok(segments)
}

fn known(session: &mut dyn Session, tape: i64, side: &str) -> Result<Vec<Segment>, DbError> {
    let rows = session.rows(
        "SELECT since, until, orkuser, loginstring, agent_session FROM segment
         WHERE tape = ?1 AND side = ?2 ORDER BY since",
        args![tape, side],
    )?;
    let moment = |number: i64| u64::try_from(number).unwrap_or(0);
    let segment = |row: &super::session::Row| {
        Ok(Segment {
            since: moment(row.get(0)?),
            until: row.get::<Option<i64>>(1)?.map(moment),
            owner: Owner {
                orkuser: row.get(2)?,
                loginstring: row.get(3)?,
                agent_session: row.get(4)?,
            },
        })
    };
    rows.iter().map(segment).collect()
}

/// Writes whose a side is.
fn replace(
    session: &mut dyn Session,
    tape: i64,
    side: &str,
    segments: &[Segment],
) -> Result<(), DbError> {
    session.change("DELETE FROM segment WHERE tape = ?1 AND side = ?2", args![tape, side])?;
    for Segment { since, until, owner } in segments {
        session.change(
            "INSERT INTO segment (tape, side, since, until, orkuser, loginstring, agent_session)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            args![
                tape,
                side,
                *since,
                *until,
                owner.orkuser,
                &owner.loginstring,
                owner.agent_session
            ],
        )?;
    }
    Ok(())
}

/// Writes that a telephone system told whose call it was.
pub(super) fn claim(session: &mut dyn Session, tape: i64, owner: Owner) -> Result<(), DbError> {
    let since: Option<i64> =
        session.value("SELECT started FROM tape WHERE id = ?1", args![tape])?;
    let since = since.and_then(|since| u64::try_from(since).ok()).unwrap_or(0);
    replace(session, tape, "cti", &[Segment { since, until: None, owner }])
}

/// An agent came to a device, or left it: live calls of that device have another segment from now on.
pub(super) fn turned(session: &mut dyn Session, device: &str, now: u64) -> Result<(), DbError> {
    let live = session.rows(
        "SELECT id, localparty, remoteparty, started FROM tape
             WHERE localparty = ?1 AND state = 'live' AND interrupted IS NULL
         UNION SELECT t.id, t.localparty, t.remoteparty, t.started FROM tape_key k
             JOIN tape t ON t.id = k.tape
             WHERE k.word = ?2 AND k.started > ?3 AND t.state = 'live' AND t.interrupted IS NULL
                 AND t.remoteparty = ?4
         ORDER BY 4 DESC, 1 DESC LIMIT ?5",
        args![device, key("party", device), now.saturating_sub(LONGEST), device, MAX_LIVE],
    )?;
    for row in live {
        let (tape, local, remote): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let begin = u64::try_from(row.get::<i64>(3)?).unwrap_or(0);
        if attribute_span(session, tape, [&local, &remote], (begin, None))? {
            index(session, tape)?;
        }
    }
    Ok(())
}

/// A call that began longer ago is not looked for, in seconds.
const LONGEST: u64 = 86_400;
/// Most live calls of one device.
const MAX_LIVE: i64 = 1000;

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
        session.column("SELECT DISTINCT orkuser FROM segment WHERE tape = ?1", args![tape])?;
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
