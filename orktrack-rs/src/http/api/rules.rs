//! Programs, retention classes, the audit log.

use super::{Asked, Done, good, not_found, unavailable, wrong};
use crate::store::{
    audit,
    programs::{self, Program},
    retention,
};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::json;

/// Most rows of the audit log in one answer.
const MAX_ROWS: i64 = 1000;
/// Longest text of a program, in bytes.
const MAX_TEXT: usize = 10_000;
/// Longest a class keeps recordings, in days.
const MAX_DAYS: i64 = 36_500;

pub(super) async fn programs(asked: &Asked<'_>) -> Done {
    let all = asked.desk.store.read(programs::all).await.map_err(|error| unavailable(&error))?;
    Ok(good(&json!({ "programs": all })))
}

pub(super) async fn put_program(asked: &Asked<'_>) -> Done {
    let program: Program = asked.read()?;
    if !program.is_sound() {
        return Err(wrong(StatusCode::BAD_REQUEST, "the program has a value out of its bounds"));
    }
    let id = asked.desk.store.write(move |session| programs::put(session, &program)).await;
    Ok(good(&json!({ "id": id.map_err(|error| unavailable(&error))? })))
}

pub(super) async fn remove_program(asked: &Asked<'_>) -> Done {
    let id = asked.id;
    let gone = asked.desk.store.write(move |session| programs::remove(session, id)).await;
    if gone.map_err(|error| unavailable(&error))? { Ok(good(&json!({}))) } else { Err(not_found()) }
}

pub(super) async fn retention(asked: &Asked<'_>) -> Done {
    let all = asked.desk.store.read(retention::all).await.map_err(|error| unavailable(&error))?;
    Ok(good(&json!({ "retention": all })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutClass {
    name: String,
    keep_days: Option<i64>,
    #[serde(default)]
    standard: bool,
}

pub(super) async fn put_retention(asked: &Asked<'_>) -> Done {
    let PutClass { name, keep_days, standard } = asked.read()?;
    let days = keep_days.is_none_or(|days| (1..=MAX_DAYS).contains(&days));
    if name.is_empty() || name.len() > MAX_TEXT || !days {
        let why = "a class has a name and keeps 1 to 36500 days, or for ever (null)";
        return Err(wrong(StatusCode::BAD_REQUEST, why));
    }
    let put = asked.desk.store.write(move |s| retention::put(s, &name, keep_days, standard)).await;
    Ok(good(&json!({ "id": put.map_err(|error| unavailable(&error))? })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Before {
    before: Option<i64>,
}

pub(super) async fn audit(asked: &Asked<'_>) -> Done {
    let Before { before } = asked.query()?;
    let before = before.unwrap_or(i64::MAX);
    let rows = asked.desk.store.read(move |s| audit::before(s, before, MAX_ROWS)).await;
    let rows = rows.map_err(|error| unavailable(&error))?;
    let next = rows.last().map(|(id, _)| *id);
    let deeds: Vec<_> = rows.into_iter().map(|(_, deed)| deed).collect();
    Ok(good(&json!({ "audit": deeds, "next": next })))
}
