//! Messages into rows. The ledger decides; this only carries it out.

use super::{Outcome, to_sql};
use crate::ledger::{self, Change, Entry, Tape};
use orkbase::message::{Message, init::InitMessage, tag::AddTagMessage, tape::TapeMessage, url};
use rusqlite::{Connection, OptionalExtension, named_params, params};

/// Writes or renews a recorder.
pub(super) fn put_recorder(
    connection: &Connection,
    init: &InitMessage,
    received: u64,
) -> rusqlite::Result<Outcome> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO recorder (hostname, name, servicetype, tcpport, protocol, fileserveport,
             contextpath, servepath, absolutepath, streamingport, username, sshport,
             first_seen, last_seen)
         VALUES (:hostname, :name, :servicetype, :tcpport, :protocol, :fileserveport,
             :contextpath, :servepath, :absolutepath, :streamingport, :username, :sshport,
             :received, :received)
         ON CONFLICT (hostname) DO UPDATE SET name = excluded.name,
             servicetype = excluded.servicetype, tcpport = excluded.tcpport,
             protocol = excluded.protocol, fileserveport = excluded.fileserveport,
             contextpath = excluded.contextpath, servepath = excluded.servepath,
             absolutepath = excluded.absolutepath, streamingport = excluded.streamingport,
             username = excluded.username, sshport = excluded.sshport,
             last_seen = max(last_seen, excluded.last_seen)",
    )?;
    statement.execute(named_params! {
        ":hostname": init.hostname, ":name": init.name, ":servicetype": init.servicetype,
        ":tcpport": init.tcpport, ":protocol": init.protocol,
        ":fileserveport": init.fileserveport, ":contextpath": init.contextpath,
        ":servepath": init.servepath, ":absolutepath": init.absolutepath,
        ":streamingport": init.streamingport, ":username": init.username,
        ":sshport": init.sshport, ":received": to_sql(received),
    })?;
    Ok(Outcome::Added)
}

/// Writes a stage of a recording and brings its sum up to date.
pub(super) fn put_tape(
    connection: &Connection,
    message: &TapeMessage,
    received: u64,
) -> rusqlite::Result<Outcome> {
    let tape: Option<i64> = connection
        .prepare_cached("SELECT id FROM tape WHERE hostname = ? AND recid = ?")?
        .query_row([&message.hostname, &message.recid], |row| row.get(0))
        .optional()?;
    let mut known = match tape {
        Some(tape) => entries(connection, tape)?,
        None => Vec::new(),
    };
    match ledger::decide(&known, message) {
        Change::Repeat => return Ok(Outcome::Repeated),
        Change::Full => return Ok(Outcome::Full),
        Change::Add => {}
        Change::Replace(old) => {
            connection.prepare_cached("DELETE FROM tape_stage WHERE id = ?")?.execute([old])?;
            known.retain(|entry| entry.id != old);
        }
    }
    known.push(Entry { id: i64::MAX, received, message: message.clone() });
    if let Some(sum) = ledger::sum(&known) {
        let tape = put_sum(connection, &sum)?;
        put_tags(connection, tape, &sum)?;
        let body = url::encode(&message.fields());
        connection
            .prepare_cached(
                "INSERT INTO tape_stage (tape, stage, received, body) VALUES (?, ?, ?, ?)",
            )?
            .execute(params![tape, message.stage.as_str(), to_sql(received), body])?;
    }
    Ok(Outcome::Added)
}

/// Most tags of moments kept of one recording.
const MAX_TAGS: i64 = 10_000;

/// Writes a tag of a moment of a recording.
pub(super) fn put_tag(
    connection: &Connection,
    tag: &AddTagMessage,
    received: u64,
) -> rusqlite::Result<Outcome> {
    let offset = to_sql(tag.offsetmsec);
    let known: bool = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM moment_tag
             WHERE recid = ? AND offsetmsec = ? AND tagtype = ? AND tagtext = ?)",
        )?
        .query_row(params![tag.orkuid, offset, tag.tagtype, tag.tagtext], |row| row.get(0))?;
    if known {
        return Ok(Outcome::Repeated);
    }
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM moment_tag WHERE recid = ?")?
        .query_row([&tag.orkuid], |row| row.get(0))?;
    if count >= MAX_TAGS {
        return Ok(Outcome::Full);
    }
    connection
        .prepare_cached(
            "INSERT INTO moment_tag (recid, tagtype, tagtext, offsetmsec, localparty, received)
             VALUES (?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            tag.orkuid,
            tag.tagtype,
            tag.tagtext,
            offset,
            tag.localparty,
            to_sql(received)
        ])?;
    Ok(Outcome::Added)
}

/// The messages kept of a recording. A body that can no longer be read counts for nothing.
fn entries(connection: &Connection, tape: i64) -> rusqlite::Result<Vec<Entry>> {
    let mut statement = connection
        .prepare_cached("SELECT id, received, body FROM tape_stage WHERE tape = ? ORDER BY id")?;
    let mut rows = statement.query([tape])?;
    let mut known = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, received): (i64, i64) = (row.get(0)?, row.get(1)?);
        let body = row.get_ref(2)?.as_bytes()?;
        let message = url::decode(body).ok().and_then(|body| TapeMessage::from_pairs(&body).ok());
        match message {
            Some(message) => {
                known.push(Entry { id, received: u64::try_from(received).unwrap_or(0), message });
            }
            None => tracing::error!(id, "tape_stage has a body that cannot be read"),
        }
    }
    Ok(known)
}

/// Writes the sum of a recording; returns its row.
fn put_sum(connection: &Connection, sum: &Tape) -> rusqlite::Result<i64> {
    let facts = &sum.facts;
    connection
        .prepare_cached(
            "INSERT INTO tape (hostname, recid, state, started, stopped, ready, duration,
                 captureport, filename, localparty, localentrypoint, remoteparty, direction,
                 service, localip, remoteip, nativecallid, ondemand, side, live)
             VALUES (:hostname, :recid, :state, :started, :stopped, :ready, :duration,
                 :captureport, :filename, :localparty, :localentrypoint, :remoteparty, :direction,
                 :service, :localip, :remoteip, :nativecallid, :ondemand, :side, :live)
             ON CONFLICT (hostname, recid) DO UPDATE SET state = excluded.state,
                 started = excluded.started, stopped = excluded.stopped, ready = excluded.ready,
                 duration = excluded.duration, captureport = excluded.captureport,
                 filename = excluded.filename, localparty = excluded.localparty,
                 localentrypoint = excluded.localentrypoint, remoteparty = excluded.remoteparty,
                 direction = excluded.direction, service = excluded.service,
                 localip = excluded.localip, remoteip = excluded.remoteip,
                 nativecallid = excluded.nativecallid, ondemand = excluded.ondemand,
                 side = excluded.side, live = excluded.live
             RETURNING id",
        )?
        .query_row(
            named_params! {
                ":hostname": facts.hostname, ":recid": facts.recid, ":state": sum.state.as_str(),
                ":started": to_sql(facts.timestamp), ":stopped": sum.stopped.map(to_sql),
                ":ready": sum.ready.map(to_sql), ":duration": to_sql(facts.duration),
                ":captureport": facts.captureport, ":filename": facts.filename,
                ":localparty": facts.localparty, ":localentrypoint": facts.localentrypoint,
                ":remoteparty": facts.remoteparty, ":direction": facts.direction.as_str(),
                ":service": facts.service, ":localip": facts.localip,
                ":remoteip": facts.remoteip, ":nativecallid": facts.nativecallid,
                ":ondemand": facts.ondemand, ":side": facts.side.as_str(), ":live": facts.live,
            },
            |row| row.get(0),
        )
}

fn put_tags(connection: &Connection, tape: i64, sum: &Tape) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO tape_tag (tape, key, value) VALUES (?, ?, ?)
         ON CONFLICT (tape, key) DO UPDATE SET value = excluded.value
         WHERE value <> excluded.value",
    )?;
    for (key, value) in &sum.facts.tags {
        statement.execute(params![tape, key, value])?;
    }
    Ok(())
}
