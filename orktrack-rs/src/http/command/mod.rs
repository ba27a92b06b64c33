//! The Oreka API: a command in the query (or the body of a POST), one line back.
//!
//! Law: 200 means it was taken, or that it never will be and why; 503 means it is not on the disk and
//! may be sent again; never 400, which a recorder takes for delivered. Headers tell the truth where the
//! line must not: `X-Ork-Stored` (`yes`, `repeated`, `gone`: of a recording that was deleted,
//! `pending`: in memory, will be stored, or `refused`) and `X-Ork-Status`, the status that fits. Commands whose effect is on people's calls are
//! in the audit log.

mod answer;
mod import;
mod ondemand;
mod people;
mod status;
mod tape;

use super::{Caller, Desk, Reply};
use crate::store::{
    NotStored,
    audit::{self, Deed},
};
use answer::{Answer, Form};
use hyper::{
    StatusCode,
    header::{HeaderName, HeaderValue},
    http::request::Parts,
};
use orkbase::message::{Pairs, TooBig, url};
use std::fmt;

/// Tells with `ping` whether the database can be written.
const HEALTH: HeaderName = HeaderName::from_static("x-ork-health");

/// Commands that the audit log has.
const AUDITED: [&str; 13] = [
    "adduser",
    "addloginstring",
    "addusers",
    "deletegroup",
    "agentstate",
    "userstate",
    "keep",
    "discard",
    "neither",
    "ondemand",
    "extdbsync",
    "evalmetadata",
    "reloadloggingconfig",
];

/// One request.
pub(super) struct Asked<'a> {
    pub(super) desk: &'a Desk,
    pub(super) caller: &'a Caller,
    pub(super) pairs: Pairs,
    /// Unix seconds.
    pub(super) now: u64,
}

impl Asked<'_> {
    /// The value of a key, if it is there and not empty.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.pairs.first(key).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    }
}

/// Answers one command.
pub(super) async fn answer(desk: &Desk, caller: &Caller, head: &Parts, body: &[u8]) -> Reply {
    let form = Form::wanted(head);
    let pairs = match read(head.uri.query().unwrap_or_default(), body) {
        Ok(pairs) => pairs,
        Err(error) => {
            desk.counters.http_refused.tick();
            return refuse(&error).into_reply(form);
        }
    };
    let asked = Asked { desk, caller, pairs, now: super::unix_now() };
    let class = ["cmd", "class", "type"].into_iter().find_map(|key| asked.pairs.first(key));
    let Some(class) = class.map(str::to_ascii_lowercase) else {
        desk.counters.http_refused.tick();
        return refuse(&"no command: give one of cmd, class, type").into_reply(form);
    };
    if class == "ondemand"
        && asked.text("type").is_some_and(|kind| kind.eq_ignore_ascii_case("streamaudio"))
    {
        return match ondemand::stream(&asked).await {
            Ok(audio) => audio,
            Err(answer) => answer.into_reply(form),
        };
    }
    let answer = dispatch(&asked, &class).await;
    if AUDITED.contains(&class.as_str()) {
        note(&asked, &class, &answer).await;
    }
    if answer.is_refusal() {
        desk.counters.http_refused.tick();
    }
    let mut reply = answer.into_reply(form);
    if class == "ping" {
        let health = if desk.counters.store_failing() { "failing" } else { "ok" };
        reply.headers_mut().insert(HEALTH, HeaderValue::from_static(health));
    }
    reply
}

async fn dispatch(asked: &Asked<'_>, class: &str) -> Answer {
    match class {
        "tape" => tape::tape(asked).await,
        "metadata" => tape::metadata(asked).await,
        "evalmetadata" => tape::evaluate(asked).await,
        "addtag" => tape::tag(asked).await,
        "init" => tape::init(asked).await,
        "ping" => Answer::done("pong"),
        "livestatus" => status::live(asked).await,
        "queryuser" => status::query_user(asked).await,
        "keep" => status::keep(asked, "KEEP").await,
        "discard" => status::keep(asked, "DROP").await,
        "neither" => status::keep(asked, "NEITHER").await,
        "ondemand" => ondemand::command(asked).await,
        "adduser" => people::add_user(asked).await,
        "addloginstring" => people::add_login_string(asked).await,
        "addusers" => import::add_users(asked).await,
        "extdbsync" => import::sync(asked).await,
        "deletegroup" => people::delete_group(asked).await,
        "agentstate" => people::agent_state(asked).await,
        "userstate" => people::user_state(asked).await,
        // Nothing is remembered outside the database: what changed there counts at once.
        "updatecache" => Answer::done(""),
        "reloadloggingconfig" => match asked.desk.reload_log() {
            Ok(()) => Answer::done(""),
            Err(why) => Answer::failed(StatusCode::INTERNAL_SERVER_ERROR, why),
        },
        other => {
            let other: String = other.chars().take(64).collect();
            refuse(&format_args!("command not known: {other}"))
        }
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

/// It was not understood and never will be.
fn refuse(why: &dyn fmt::Display) -> Answer {
    let why = why.to_string();
    tracing::warn!("refused a command: {}", why.escape_debug());
    Answer::failed(StatusCode::BAD_REQUEST, why).stored("refused")
}

/// It is not on the disk and may be sent again.
fn not_stored(error: &NotStored) -> Answer {
    Answer::failed(StatusCode::SERVICE_UNAVAILABLE, format!("not stored: {error}")).not_stored()
}

/// A parameter that must be there.
fn missing(key: &str) -> Answer {
    refuse(&format_args!("parameter missing: {key}"))
}

/// Notes a command in the audit log, whatever came of it; the texts of tags are not noted.
async fn note(asked: &Asked<'_>, class: &str, answer: &Answer) {
    let (success, comment) = answer.verdict();
    let target = [
        "type",
        "state",
        "localparty",
        "orkuid",
        "userid",
        "users",
        "loginstring",
        "findloginstring",
        "newloginstring",
        "groupname",
        "agent",
        "device",
        "workstation",
        "name",
        "file",
        "filename",
        "path",
        "ids",
    ];
    let target: Vec<String> = target
        .into_iter()
        .filter_map(|key| asked.text(key).map(|value| format!("{key}={value}")))
        .collect();
    let deed = Deed {
        at: i64::try_from(asked.now).unwrap_or(i64::MAX),
        who: asked.caller.name().to_owned(),
        address: asked.caller.address.to_string(),
        action: class.to_owned(),
        target: target.join(" ").chars().take(500).collect(),
        result: if success { "done".to_owned() } else { comment },
    };
    if let Err(error) = asked.desk.store.write(move |session| audit::note(session, &deed)).await {
        tracing::error!("a command is not in the audit log: {error}");
    }
}
