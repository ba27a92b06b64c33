//! Our own API: recordings as JSON, newest first, and the tracker's health.

use super::{Desk, Reply, json};
use crate::{
    store::{Cursor, NotStored, Page, Query, recorders, search},
    when,
};
use hyper::{Request, StatusCode, body::Incoming};
use jiff::{Timestamp, tz::TimeZone};
use serde::Deserialize;
use serde_json::json;

/// What may be asked. All of it is optional.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    since: Option<String>,
    until: Option<String>,
    party: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// `GET /api/v1/recordings?since=&until=&party=&limit=&cursor=`
pub(super) async fn recordings(desk: &Desk, request: &Request<Incoming>) -> Reply {
    let query = request.uri().query().unwrap_or_default();
    let query = match read(query, Timestamp::now(), &TimeZone::system()) {
        Ok(query) => query,
        Err(error) => return json(StatusCode::BAD_REQUEST, &json!({ "error": error })),
    };
    match desk.store.read(move |session| search::page(session, &query)).await {
        Ok(Page { recordings, next }) => {
            let next = next.map(|next| next.to_string());
            json(StatusCode::OK, &json!({ "recordings": recordings, "next": next }))
        }
        Err(error) => unavailable(&error),
    }
}

/// `GET /healthz`: 200 if the database could be written the last time and can be read now.
pub(super) async fn health(desk: &Desk) -> Reply {
    let recorders = desk.store.read(recorders::count).await.map_err(|error| error.to_string());
    let failing = desk.counters.store_failing() || recorders.is_err();
    let status = if failing { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let counters: serde_json::Map<_, _> =
        desk.counters.list().into_iter().map(|(name, n)| (name.to_owned(), n.into())).collect();
    let word = if failing { "failing" } else { "ok" };
    let health = json!({
        "status": word,
        "recorders": recorders.as_ref().ok(),
        "error": recorders.as_ref().err(),
        "counters": counters,
    });
    json(status, &health)
}

fn unavailable(error: &NotStored) -> Reply {
    tracing::warn!("a search failed: {error}");
    json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": error.to_string() }))
}

fn read(query: &str, now: Timestamp, zone: &TimeZone) -> Result<Query, String> {
    let asked: Asked = serde_urlencoded::from_str(query).map_err(|error| error.to_string())?;
    let moment = |name: &str, text: Option<String>| match text.filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => when::read(&text, now, zone)
            .map(Some)
            .ok_or_else(|| format!("{name}={text} is not a moment; give {}", when::FORMS)),
    };
    let cursor = match asked.cursor.filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => Some(Cursor::read(&text).ok_or("cursor is not one of ours")?),
    };
    Ok(Query {
        since: moment("since", asked.since)?,
        until: moment("until", asked.until)?,
        party: asked.party.filter(|party| !party.is_empty()),
        limit: asked.limit,
        cursor,
        ..Query::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_checked() {
        let read = |query: &str| read(query, Timestamp::UNIX_EPOCH, &TimeZone::UTC);
        assert_eq!(read("since=&until=&party=&cursor="), Ok(Query::default()));
        let query = read("since=1795227424&party=%2B31+20&limit=7&cursor=12.3").unwrap();
        assert_eq!((query.since, query.limit), (Some(1_795_227_424), Some(7)));
        assert_eq!(query.party.as_deref(), Some("+31 20"));
        assert_eq!(query.cursor.map(|cursor| cursor.to_string()), Some("12.3".to_owned()));
        for wrong in ["since=soon", "limit=-1", "cursor=x", "nonsense=1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
