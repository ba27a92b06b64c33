//! The Oreka API: a message in the query (or the body of a POST), one line back.
//!
//! Law: 200 means it was taken, or that it never will be and why; 503 means it is not on the disk and
//! may be sent again; never 400, which a recorder takes for delivered. `X-Ork-Stored` tells the truth
//! where the line must not: `yes`, `repeated`, `pending` (in memory, will be stored) or `refused`.

use super::{Desk, Reply, json, with_type};
use crate::store::{NotStored, Outcome};
use hyper::{
    StatusCode,
    header::{ACCEPT, HeaderName, HeaderValue, RETRY_AFTER},
    http::request::Parts,
};
use orkbase::message::{
    Message, Pairs, TooBig,
    init::InitMessage,
    response::{SimpleResponse, TapeResponse},
    single_line,
    tag::AddTagMessage,
    tape::TapeMessage,
    url,
};
use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

/// Tells what became of a message.
const STORED: HeaderName = HeaderName::from_static("x-ork-stored");
/// Tells with `ping` whether the database can be written.
const HEALTH: HeaderName = HeaderName::from_static("x-ork-health");

/// Answers one message.
pub(super) async fn answer(desk: &Desk, head: &Parts, body: &[u8]) -> Reply {
    let as_json = wants_json(head);
    let pairs = match read(head.uri.query().unwrap_or_default(), body) {
        Ok(pairs) => pairs,
        Err(error) => return refuse(desk, &error, as_json),
    };
    let class = ["cmd", "class", "type"].into_iter().find_map(|key| pairs.first(key));
    match class.map(str::to_ascii_lowercase).as_deref() {
        Some("tape") => tape(desk, &pairs, as_json).await,
        Some("addtag") => tag(desk, &pairs, as_json).await,
        Some("init") => init(desk, &pairs, as_json).await,
        Some("ping") => ping(desk, as_json),
        Some(other) => {
            let other: String = other.chars().take(64).collect();
            refuse(desk, &format_args!("command not known: {other}"), as_json)
        }
        None => refuse(desk, &"no command: give one of cmd, class, type", as_json),
    }
}

/// The query's pairs, then those of the body.
fn read(query: &str, body: &[u8]) -> Result<Pairs, TooBig> {
    let mut pairs = url::decode(query.as_bytes())?;
    for (key, value) in url::decode(body)?.iter() {
        pairs.push(key.to_owned(), value.to_owned())?;
    }
    Ok(pairs)
}

async fn tape(desk: &Desk, pairs: &Pairs, as_json: bool) -> Reply {
    let message = match TapeMessage::from_pairs(pairs) {
        Ok(message) => message,
        Err(error) => return refuse(desk, &error, as_json),
    };
    tracing::debug!(
        hostname = message.hostname,
        recid = message.recid,
        stage = message.stage.as_str(),
        "tape"
    );
    let taken = TapeResponse { success: true, ..TapeResponse::default() };
    match desk.store.tape(message, unix_now()).await {
        Ok(Outcome::Added) => with(say(&taken, as_json), STORED, "yes"),
        Ok(Outcome::Repeated) => with(say(&taken, as_json), STORED, "repeated"),
        Ok(Outcome::Full) => refuse(desk, &"too many messages about this recording", as_json),
        Err(error) => {
            let comment = format!("not stored: {error}");
            let failed = TapeResponse { success: false, comment, deletetape: false };
            let mut reply = with(say(&failed, as_json), RETRY_AFTER, "2");
            *reply.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            reply
        }
    }
}

/// A tag names its recording; one that names it by party, or by another tag, is not known yet.
async fn tag(desk: &Desk, pairs: &Pairs, as_json: bool) -> Reply {
    let message = match AddTagMessage::from_pairs(pairs) {
        Ok(message) => message,
        Err(error) => return refuse(desk, &error, as_json),
    };
    // The text may be part of a card number: it is for the database only.
    tracing::debug!(orkuid = message.orkuid, tagtype = message.tagtype, "addtag");
    let taken = SimpleResponse::done("");
    match desk.store.tag(message, unix_now()).await {
        Ok(Outcome::Added) => with(say(&taken, as_json), STORED, "yes"),
        Ok(Outcome::Repeated) => with(say(&taken, as_json), STORED, "repeated"),
        Ok(Outcome::Full) => refuse(desk, &"too many tags of this recording", as_json),
        Err(error) => {
            let failed = SimpleResponse::failed(format!("not stored: {error}"));
            let mut reply = with(say(&failed, as_json), RETRY_AFTER, "2");
            *reply.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            reply
        }
    }
}

/// A recorder sends nothing before its `init` succeeded, and `init` only once: it succeeds even when
/// the database cannot be written, unless the tracker could not even remember it.
async fn init(desk: &Desk, pairs: &Pairs, as_json: bool) -> Reply {
    let message = match InitMessage::from_pairs(pairs) {
        Ok(message) => message,
        Err(error) => return refuse(desk, &error, as_json),
    };
    tracing::info!(hostname = message.hostname, name = message.name, "recorder introduced itself");
    let taken = say(&SimpleResponse::done(""), as_json);
    match desk.store.init(message, unix_now()).await {
        Ok(_) => with(taken, STORED, "yes"),
        Err(NotStored::Failed(_)) => with(taken, STORED, "pending"),
        Err(error @ (NotStored::Busy | NotStored::Closed)) => {
            let failed = SimpleResponse::failed(format!("not stored: {error}"));
            let mut reply = with(say(&failed, as_json), RETRY_AFTER, "2");
            *reply.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            reply
        }
    }
}

fn ping(desk: &Desk, as_json: bool) -> Reply {
    let health = if desk.counters.store_failing() { "failing" } else { "ok" };
    with(say(&SimpleResponse::done("pong"), as_json), HEALTH, health)
}

fn refuse(desk: &Desk, why: &dyn fmt::Display, as_json: bool) -> Reply {
    desk.counters.http_refused.tick();
    let why = why.to_string();
    tracing::warn!("refused a message: {}", why.escape_debug());
    with(say(&SimpleResponse::failed(why), as_json), STORED, "refused")
}

fn say<M: Message>(message: &M, as_json: bool) -> Reply {
    if !as_json {
        let line = single_line::encode_reply(message) + "\n";
        return with_type(StatusCode::OK, "text/plain; charset=utf-8", line);
    }
    let value = |key: &str, value: &str| match (key, value) {
        ("success" | "deletetape", value) => serde_json::Value::Bool(value == "true"),
        (_, value) => value.into(),
    };
    let mut object = serde_json::Map::new();
    object.insert("class".to_owned(), M::CLASS.into());
    object.extend(message.fields().iter().map(|(key, text)| (key.to_owned(), value(key, text))));
    json(StatusCode::OK, &object.into())
}

fn with(mut reply: Reply, name: HeaderName, value: &'static str) -> Reply {
    reply.headers_mut().insert(name, HeaderValue::from_static(value));
    reply
}

fn wants_json(head: &Parts) -> bool {
    let accepts = head.headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    accepts.flat_map(|accept| accept.split(',')).any(|kind| {
        let kind = kind.split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case("application/json")
    })
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}
