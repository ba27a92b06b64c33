//! Recordings: found, shown, exported, tagged, held.

use super::{Asked, Done, good, not_found, unavailable, wrong};
use crate::{
    fleet::{
        holds,
        wish::{self, Heard},
    },
    http::{Desk, Reply, json, with_type},
    store::{
        Cursor, Outcome, Page, Query, Recording, Scope, Sort, groups, recorders, retention, search,
        session::{DbError, Session},
        tags, untold,
    },
    when,
};
use hyper::{
    StatusCode,
    header::{CONTENT_DISPOSITION, HeaderValue},
};
use jiff::{Timestamp, tz::TimeZone};
use orkbase::message::tag::AddTagMessage;
use serde::Deserialize;
use serde_json::json as value;

/// Most rows in one export; the header `X-Next` has the cursor for more.
const MAX_EXPORT: u32 = 10_000;

/// What may be asked. All of it is optional.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    since: Option<String>,
    until: Option<String>,
    party: Option<String>,
    user: Option<i64>,
    group: Option<String>,
    tag: Option<String>,
    direction: Option<String>,
    min_duration: Option<i64>,
    max_duration: Option<i64>,
    text: Option<String>,
    sort: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// `GET /api/v1/recordings`
pub(super) async fn list(asked: &Asked<'_>) -> Done {
    let (query, group) = read_asked(asked)?;
    let found = asked.desk.store.read(move |session| find(session, query, group.as_deref())).await;
    let Page { recordings, next } = found.map_err(|error| unavailable(&error))?;
    let next = next.map(|next| next.to_string());
    Ok(good(&value!({ "recordings": recordings, "next": next })))
}

fn find(session: &mut dyn Session, mut query: Query, group: Option<&str>) -> Result<Page, DbError> {
    if let Some(name) = group {
        match groups::find(session, name)? {
            Some(id) => query.group = Some(id),
            None => return Ok(Page { recordings: Vec::new(), next: None }),
        }
    }
    search::page(session, &query)
}

/// `GET /api/v1/recordings.csv`: the same, as a table for other programs.
pub(super) async fn export(asked: &Asked<'_>) -> Done {
    let (query, group) = read_asked(asked)?;
    let wanted = query.limit.unwrap_or(MAX_EXPORT).clamp(1, MAX_EXPORT);
    let work = move |session: &mut dyn Session| {
        let mut text = HEADINGS.join(",") + "\r\n";
        let (mut rows, mut cursor) = (0, query.cursor);
        loop {
            let limit = Some((wanted - rows).min(crate::store::MAX_LIMIT));
            let page = find(session, Query { limit, cursor, ..query.clone() }, group.as_deref())?;
            for recording in &page.recordings {
                push_row(recording, &mut text);
            }
            rows += u32::try_from(page.recordings.len()).unwrap_or(u32::MAX);
            cursor = page.next;
            if cursor.is_none() || rows >= wanted {
                return Ok((text, cursor));
            }
        }
    };
    let (text, next) = asked.desk.store.read(work).await.map_err(|error| unavailable(&error))?;
    let mut reply = with_type(StatusCode::OK, "text/csv; charset=utf-8", text);
    let name = HeaderValue::from_static("attachment; filename=\"recordings.csv\"");
    reply.headers_mut().insert(CONTENT_DISPOSITION, name);
    if let Some(next) = next.and_then(|next| HeaderValue::from_str(&next.to_string()).ok()) {
        reply.headers_mut().insert("x-next", next);
    }
    Ok(reply)
}

const HEADINGS: [&str; 13] = [
    "id",
    "recid",
    "hostname",
    "state",
    "started",
    "duration",
    "direction",
    "localparty",
    "remoteparty",
    "users",
    "nativecallid",
    "filename",
    "tags",
];

fn push_row(one: &Recording, out: &mut String) {
    let started = Timestamp::from_second(one.started).map(|at| at.to_string());
    let users: Vec<&str> = one.users.iter().map(|user| user.name.as_str()).collect();
    let tags: Vec<String> = one.tags.iter().map(|(key, text)| format!("{key}={text}")).collect();
    let cells = [
        one.id.to_string(),
        one.recid.clone(),
        one.hostname.clone(),
        one.state.clone(),
        started.unwrap_or_default(),
        one.duration.to_string(),
        one.direction.clone(),
        one.localparty.clone(),
        one.remoteparty.clone(),
        users.join("; "),
        one.nativecallid.clone(),
        one.filename.clone(),
        tags.join("; "),
    ];
    let cells: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
    out.push_str(&cells.join(","));
    out.push_str("\r\n");
}

/// RFC 4180. A name from the wire must not become a formula in somebody's spreadsheet: what could be
/// one gets an apostrophe. A telephone number may begin with a plus sign.
fn quoted(cell: &str) -> String {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let formula = match cell.strip_prefix('+') {
        Some(rest) => !digits(rest),
        None => cell.starts_with(['=', '-', '@', '\t', '\r']),
    };
    let cell = if formula { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains([',', '"', '\r', '\n']) {
        return format!("\"{}\"", cell.replace('"', "\"\""));
    }
    cell
}

/// `GET /api/v1/recordings/{id}`
pub(super) async fn one(asked: &Asked<'_>) -> Done {
    Ok(good(&value!({ "recording": seen(asked).await? })))
}

/// The recording of the path, if the account sees it.
pub(super) async fn seen(asked: &Asked<'_>) -> Result<Recording, Reply> {
    let (id, scope) = (asked.id, asked.scope());
    let found = asked.desk.store.read(move |session| search::one(session, id, &scope)).await;
    found.map_err(|error| unavailable(&error))?.ok_or_else(not_found)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutTag {
    #[serde(rename = "type")]
    kind: String,
    text: String,
    #[serde(default)]
    offset_ms: u32,
}

/// `POST /api/v1/recordings/{id}/tags`
pub(super) async fn tag(asked: &Asked<'_>) -> Done {
    let put: PutTag = asked.read()?;
    if put.kind.is_empty() {
        return Err(wrong(StatusCode::BAD_REQUEST, "a tag has a type"));
    }
    let recording = seen(asked).await?;
    let tag = AddTagMessage {
        localparty: recording.localparty,
        orkuid: recording.recid,
        tagtype: put.kind,
        tagtext: put.text,
        offsetmsec: u64::from(put.offset_ms),
    };
    let now = asked.now;
    match asked.desk.store.write(move |session| tags::put(session, &tag, "user", now)).await {
        Ok(Outcome::Added | Outcome::Repeated) => Ok(good(&value!({}))),
        Ok(Outcome::Gone) => Err(not_found()),
        Ok(Outcome::Full) => Err(wrong(StatusCode::CONFLICT, "too many tags, or too long")),
        Err(error) => Err(unavailable(&error)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutHold {
    reason: String,
}

/// `POST /api/v1/recordings/{id}/hold`
pub(super) async fn hold(asked: &Asked<'_>) -> Done {
    let PutHold { reason } = asked.read()?;
    if reason.trim().is_empty() || reason.len() > 1000 {
        return Err(wrong(StatusCode::BAD_REQUEST, "a hold has a reason of 1 to 1000 bytes"));
    }
    let recording = seen(asked).await?;
    let (who, now) = (asked.caller.name().to_owned(), asked.now);
    let work = move |session: &mut dyn Session| {
        let held = retention::hold(session, recording.id, &reason, &who, now)?;
        // A recorder that was told to discard it must not.
        let wish = if recording.keep == "DROP" { wish::of(session, recording.id)? } else { None };
        Ok((held, wish, wish::of_hold(session, recording.id)?))
    };
    let held = asked.desk.store.write(work).await;
    let (held, wish, pin) = held.map_err(|error| unavailable(&error))?;
    if let Some(wish) = wish {
        wish.tell(&asked.desk.fleet).await;
    }
    Ok(good(&value!({ "id": held, "recorder": told(asked, recording.id, pin).await })))
}

/// `DELETE /api/v1/recordings/{id}/hold`
pub(super) async fn release(asked: &Asked<'_>) -> Done {
    let (recording, now) = (seen(asked).await?, asked.now);
    let work = move |session: &mut dyn Session| {
        let released = retention::release(session, recording.id, now)?;
        Ok((released, wish::of_hold(session, recording.id)?))
    };
    let released = asked.desk.store.write(work).await;
    let (released, pin) = released.map_err(|error| unavailable(&error))?;
    Ok(good(&value!({ "released": released, "recorder": told(asked, recording.id, pin).await })))
}

/// Whether the recorder knows of the hold, so that nobody else makes it delete the recording.
///
/// Where it does not, it is told later, too.
async fn told(asked: &Asked<'_>, tape: i64, pin: Option<wish::Wish>) -> &'static str {
    let Some(pin) = pin else { return Heard::Unknown.as_str() };
    match holds::tell(&asked.desk.store, &asked.desk.fleet, tape, &pin).await {
        Ok(heard) => heard.as_str(),
        Err(error) => {
            tracing::warn!("whether a recorder knows of a hold was not noted: {error}");
            Heard::Told.as_str()
        }
    }
}

/// `GET /healthz`: 200 if the database could be written the last time and can be read now.
pub(in crate::http) async fn health(desk: &Desk) -> Reply {
    let counts =
        |session: &mut dyn Session| Ok((recorders::count(session)?, untold::count(session)?));
    let counts = desk.store.read(counts).await.map_err(|error| error.to_string());
    let failing = desk.counters.store_failing() || counts.is_err();
    let status = if failing { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let counters: serde_json::Map<_, _> =
        desk.counters.list().into_iter().map(|(name, n)| (name.to_owned(), n.into())).collect();
    let word = if failing { "failing" } else { "ok" };
    let health = value!({
        "status": word,
        "recorders": counts.as_ref().ok().map(|(recorders, _)| recorders),
        "holds_untold": counts.as_ref().ok().map(|(_, untold)| untold),
        "error": counts.as_ref().err(),
        "counters": counters,
    });
    json(status, &health)
}

/// The query, in the account's scope, and the group's name.
fn read_asked(asked: &Asked<'_>) -> Result<(Query, Option<String>), Reply> {
    let text = asked.head.uri.query().unwrap_or_default();
    let read = read(text, Timestamp::now(), &TimeZone::system(), asked.scope());
    read.map_err(|why| wrong(StatusCode::BAD_REQUEST, &why))
}

fn read(
    query: &str,
    now: Timestamp,
    zone: &TimeZone,
    scope: Scope,
) -> Result<(Query, Option<String>), String> {
    let form: Form = serde_urlencoded::from_str(query).map_err(|error| error.to_string())?;
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    let moment = |name: &str, text: Option<String>| match filled(text) {
        None => Ok(None),
        Some(text) => when::read(&text, now, zone)
            .map(Some)
            .ok_or_else(|| format!("{name}={text} is not a moment; give {}", when::FORMS)),
    };
    let cursor = match filled(form.cursor) {
        None => None,
        Some(text) => Some(Cursor::read(&text).ok_or("cursor is not one of ours")?),
    };
    let sort = match filled(form.sort) {
        None => Sort::default(),
        Some(text) => {
            Sort::read(&text).ok_or("sort is -started, started, -duration or duration")?
        }
    };
    let tag = match filled(form.tag) {
        None => None,
        Some(text) => {
            let (kind, text) = text.split_once('=').ok_or("tag is type=text")?;
            Some((kind.to_owned(), text.to_owned()))
        }
    };
    let direction = filled(form.direction);
    if direction.as_deref().is_some_and(|word| !["in", "out", "unkn"].contains(&word)) {
        return Err("direction is in, out or unkn".to_owned());
    }
    let query = Query {
        since: moment("since", form.since)?,
        until: moment("until", form.until)?,
        party: filled(form.party),
        user: form.user,
        group: None,
        tag,
        direction,
        min_duration: form.min_duration,
        max_duration: form.max_duration,
        text: filled(form.text),
        sort,
        limit: form.limit,
        cursor,
        scope,
    };
    Ok((query, filled(form.group)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_checked() {
        let read = |query: &str| read(query, Timestamp::UNIX_EPOCH, &TimeZone::UTC, Scope::All);
        let nothing = (Query::default(), None);
        assert_eq!(read("since=&until=&party=&cursor=&tag=&sort="), Ok(nothing));
        let asked = "since=1795227424&party=%2B31+20&limit=7&cursor=12.3&tag=Case%3D7&group=Sales\
                     &sort=-duration&direction=in&min_duration=5&user=3&text=a+b";
        let (query, group) = read(asked).unwrap();
        assert_eq!((query.since, query.limit, query.user), (Some(1_795_227_424), Some(7), Some(3)));
        assert_eq!((query.party.as_deref(), group.as_deref()), (Some("+31 20"), Some("Sales")));
        assert_eq!(query.cursor.map(|cursor| cursor.to_string()), Some("12.3".to_owned()));
        assert_eq!((query.sort, query.min_duration), (Sort::Longest, Some(5)));
        assert_eq!(query.tag, Some(("Case".to_owned(), "7".to_owned())));
        for bad in
            ["since=soon", "limit=-1", "cursor=x", "nonsense=1", "tag=x", "sort=x", "direction=up"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_from_the_wire_is_no_formula() {
        assert_eq!(quoted("=cmd|' /C calc'!A0"), "'=cmd|' /C calc'!A0");
        assert_eq!(quoted("+15145551234"), "+15145551234");
        assert_eq!(quoted("+1+cmd"), "'+1+cmd");
        assert_eq!(quoted("Doe, \"J\""), "\"Doe, \"\"J\"\"\"");
    }
}
