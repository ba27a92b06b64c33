//! Messages about recordings into rows. The ledger decides; this only carries it out.

use super::{
    Outcome, metadata, programs, recorders, retention, segments,
    session::{DbError, Session, SessionExt, args},
    tags,
};
use crate::ledger::{self, Change, Entry, State, Tape};
use orkbase::message::{
    Message,
    tape::{Stage, TapeMessage},
    url,
};
use orkvault::ledger::Sum;

/// What is answered to a message about a recording.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Taken {
    /// What became of it.
    pub outcome: Outcome,
    /// The recorder must delete the file: nothing keeps it.
    pub deletetape: bool,
}

/// Writes a stage of a recording and brings all that follows from it up to date.
///
/// # Errors
/// See [`DbError`]; nothing may be kept of it then.
pub fn put(
    session: &mut dyn Session,
    message: &TapeMessage,
    received: u64,
    address: &str,
) -> Result<Taken, DbError> {
    let row = session.first(
        "SELECT id, started, localparty, remoteparty, discarded, stopped FROM tape
         WHERE hostname = ?1 AND recid = ?2",
        args![&message.hostname, &message.recid],
    )?;
    let before = match &row {
        Some(row) => Some(Before {
            id: row.get(0)?,
            started: row.get(1)?,
            parties: (row.get(2)?, row.get(3)?),
            discarded: row.get::<Option<i64>>(4)?.is_some(),
            stopped: row.get(5)?,
        }),
        None => None,
    };
    if before.is_none() && retention::is_gone(session, &message.hostname, &message.recid)? {
        // Its file must not outlive it either.
        return Ok(Taken { outcome: Outcome::Gone, deletetape: message.stage == Stage::Ready });
    }
    let mut known = match &before {
        Some(before) => entries(session, before.id)?,
        None => Vec::new(),
    };
    let discarded = before.as_ref().is_some_and(|before| before.discarded);
    match ledger::decide(&known, message) {
        Change::Repeat => {
            let mut deletetape = discarded && message.stage == Stage::Ready;
            // Its file is still there if it is told again, and a hold that came meanwhile keeps it.
            if let Some(before) = before.filter(|_| deletetape)
                && retention::is_held(session, before.id)?
            {
                deletetape = false;
                let sql = "UPDATE tape SET discarded = NULL WHERE id = ?1";
                session.change(sql, args![before.id])?;
            }
            return Ok(Taken { outcome: Outcome::Repeated, deletetape });
        }
        Change::Full => return Ok(Taken { outcome: Outcome::Full, deletetape: false }),
        Change::Add => {}
        Change::Replace(old) => {
            session.change("DELETE FROM tape_stage WHERE id = ?1", args![old])?;
            known.retain(|entry| entry.id != old);
        }
    }
    known.push(Entry { id: i64::MAX, received, message: message.clone() });
    let Some(sum) = ledger::sum(&known) else {
        return Ok(Taken { outcome: Outcome::Repeated, deletetape: false });
    };
    let tape = put_sum(session, &sum)?;
    let tagged = put_tags(session, tape, &sum, received)?;
    session.change(
        "INSERT INTO tape_stage (tape, stage, received, body) VALUES (?1, ?2, ?3, ?4)",
        args![tape, message.stage.as_str(), received, url::encode(&message.fields())],
    )?;
    recorders::heard(session, &message.hostname, &message.service, address, received)?;
    follow(session, tape, before.as_ref(), &sum, (tagged, received))?;
    let mut deletetape = false;
    if message.stage == Stage::Stop && sum.state == State::Stopped {
        programs::expect_discard(session, tape, received)?;
    }
    if message.stage == Stage::Ready {
        deletetape = !programs::keep(session, tape, &sum, received)?;
    }
    Ok(Taken { outcome: Outcome::Added, deletetape })
}

/// What was known of a recording before a message.
struct Before {
    id: i64,
    started: i64,
    parties: (String, String),
    discarded: bool,
    stopped: Option<i64>,
}

/// Whose call it is, what is found by it, and tags that waited for it.
fn follow(
    session: &mut dyn Session,
    tape: i64,
    before: Option<&Before>,
    sum: &Tape,
    (tagged, now): (bool, u64),
) -> Result<(), DbError> {
    let facts = &sum.facts;
    let parties = (facts.localparty.clone(), facts.remoteparty.clone());
    let renamed = before.is_none_or(|before| before.parties != parties);
    let over = sum.state == State::Ready || sum.state == State::Stopped;
    let moved = before.is_some_and(|before| u64::try_from(before.started) != Ok(facts.timestamp));
    // An agent who came after its end has no part in it.
    let ended = before.and_then(|before| before.stopped).map(u64::try_from) != sum.stopped.map(Ok);
    let owned = (renamed || moved || ended) && segments::attribute(session, tape, sum)?;
    let claimed = over && metadata::match_tape(session, tape, sum)?;
    if moved {
        session.change("DELETE FROM tape_key WHERE tape = ?1", args![tape])?;
    }
    if before.is_none() || tagged {
        tags::apply_pending(session, &facts.recid, now)?;
    }
    if renamed || owned || claimed || moved || tagged {
        segments::index(session, tape)?;
    }
    Ok(())
}

/// The messages kept of a recording. A body that can no longer be read counts for nothing.
fn entries(session: &mut dyn Session, tape: i64) -> Result<Vec<Entry>, DbError> {
    let sql = "SELECT id, received, body FROM tape_stage WHERE tape = ?1 ORDER BY id";
    let mut known = Vec::new();
    for row in session.rows(sql, args![tape])? {
        let (id, received): (i64, i64) = (row.get(0)?, row.get(1)?);
        let body: String = row.get(2)?;
        let message = url::decode(body.as_bytes()).ok();
        match message.and_then(|body| TapeMessage::from_pairs(&body).ok()) {
            Some(message) => {
                known.push(Entry { id, received: u64::try_from(received).unwrap_or(0), message });
            }
            None => tracing::error!(id, "tape_stage has a body that cannot be read"),
        }
    }
    Ok(known)
}

/// Writes the sum of a recording; returns its row. Whoever tells something of it is alive.
fn put_sum(session: &mut dyn Session, sum: &Tape) -> Result<i64, DbError> {
    let facts = &sum.facts;
    let id = session.value(
        "INSERT INTO tape (hostname, recid, state, started, stopped, ready, duration,
             captureport, filename, localparty, localentrypoint, remoteparty, direction,
             service, localip, remoteip, nativecallid, ondemand, side, live, sha256)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
             ?19, ?20, ?21)
         ON CONFLICT (hostname, recid) DO UPDATE SET state = excluded.state,
             started = excluded.started, stopped = excluded.stopped, ready = excluded.ready,
             duration = excluded.duration, captureport = excluded.captureport,
             filename = excluded.filename, localparty = excluded.localparty,
             localentrypoint = excluded.localentrypoint, remoteparty = excluded.remoteparty,
             direction = excluded.direction, service = excluded.service,
             localip = excluded.localip, remoteip = excluded.remoteip,
             nativecallid = excluded.nativecallid, ondemand = excluded.ondemand,
             side = excluded.side, live = excluded.live, interrupted = NULL,
             sha256 = CASE tape.sha256 WHEN '' THEN excluded.sha256 ELSE tape.sha256 END
         RETURNING id",
        args![
            &facts.hostname,
            &facts.recid,
            sum.state.as_str(),
            facts.timestamp,
            sum.stopped,
            sum.ready,
            facts.duration,
            &facts.captureport,
            &facts.filename,
            &facts.localparty,
            &facts.localentrypoint,
            &facts.remoteparty,
            facts.direction.as_str(),
            &facts.service,
            &facts.localip,
            &facts.remoteip,
            &facts.nativecallid,
            facts.ondemand,
            facts.side.as_str(),
            facts.live,
            sha256(facts),
        ],
    )?;
    id.ok_or_else(|| DbError::Strange("a row without a number".to_owned()))
}

/// The tag that has the hash of the file; it is no word to search for, and has a column of its own.
const SHA256: &str = "sha256";

/// The hash of the file, if its recorder told a good one.
fn sha256(facts: &TapeMessage) -> String {
    let told = facts.tags.get(SHA256).and_then(|text| Sum::read(text));
    told.map(|sum| sum.to_string()).unwrap_or_default()
}

/// Writes the tags; returns whether that changed any.
fn put_tags(
    session: &mut dyn Session,
    tape: i64,
    sum: &Tape,
    received: u64,
) -> Result<bool, DbError> {
    let mut tagged = false;
    for (key, value) in sum.facts.tags.iter().filter(|(key, _)| *key != SHA256) {
        let touched = session.change(
            "INSERT INTO tape_tag (tape, key, value) VALUES (?1, ?2, ?3)
             ON CONFLICT (tape, key) DO UPDATE SET value = excluded.value
             WHERE tape_tag.value <> excluded.value",
            args![tape, key, value],
        )?;
        if touched > 0 {
            tags::note_type(session, key, "system", received)?;
            tagged = true;
        }
    }
    Ok(tagged)
}
