//! People, groups, agents, workstations, recorders.

use super::{Asked, Done, good, not_found, unavailable, wrong};
use crate::store::{
    agents, groups, recorders,
    users::{self, Change},
};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::json;

/// Most rows in one answer.
const MAX_ROWS: i64 = 1000;
/// Longest text, in bytes.
const MAX_TEXT: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    #[serde(default)]
    after: i64,
    since: Option<i64>,
}

pub(super) async fn users(asked: &Asked<'_>) -> Done {
    let After { after, .. } = asked.query()?;
    let found = asked.desk.store.read(move |s| users::after(s, after, MAX_ROWS)).await;
    let found = found.map_err(|error| unavailable(&error))?;
    let full = i64::try_from(found.len()) == Ok(MAX_ROWS);
    let next = found.last().filter(|_| full).map(|user| user.id);
    Ok(good(&json!({ "users": found, "next": next })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutUser {
    loginstring: String,
    firstname: Option<String>,
    lastname: Option<String>,
    email: Option<String>,
    recordable: Option<bool>,
    external: Option<bool>,
    group: Option<String>,
    security: Option<String>,
}

pub(super) async fn put_user(asked: &Asked<'_>) -> Done {
    let put: PutUser = asked.read()?;
    let change = Change {
        loginstring: put.loginstring.trim().to_owned(),
        firstname: put.firstname,
        lastname: put.lastname,
        email: put.email,
        recordable: put.recordable,
        external: put.external,
        group: put.group,
        security: put.security,
    };
    if change.loginstring.is_empty() || change.loginstring.len() > MAX_TEXT {
        return Err(wrong(StatusCode::BAD_REQUEST, "a user has a loginstring of 1 to 200 bytes"));
    }
    let now = asked.now;
    let id = asked.desk.store.write(move |session| users::put(session, &change, now)).await;
    Ok(good(&json!({ "id": id.map_err(|error| unavailable(&error))? })))
}

pub(super) async fn remove_user(asked: &Asked<'_>) -> Done {
    let id = asked.id;
    let gone = asked.desk.store.write(move |session| users::remove(session, id)).await;
    if gone.map_err(|error| unavailable(&error))? { Ok(good(&json!({}))) } else { Err(not_found()) }
}

pub(super) async fn groups(asked: &Asked<'_>) -> Done {
    let all = asked.desk.store.read(groups::all).await.map_err(|error| unavailable(&error))?;
    Ok(good(&json!({ "groups": all })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutGroup {
    name: String,
    kind: String,
}

pub(super) async fn put_group(asked: &Asked<'_>) -> Done {
    let PutGroup { name, kind } = asked.read()?;
    if name.is_empty() || name.len() > MAX_TEXT || !["regular", "security"].contains(&&*kind) {
        let why = "a group has a name of 1 to 200 bytes and is regular or security";
        return Err(wrong(StatusCode::BAD_REQUEST, why));
    }
    let now = asked.now;
    let id = asked.desk.store.write(move |s| groups::put(s, &name, &kind, now)).await;
    Ok(good(&json!({ "id": id.map_err(|error| unavailable(&error))? })))
}

pub(super) async fn agents(asked: &Asked<'_>) -> Done {
    let After { since, .. } = asked.query()?;
    let all = asked.desk.store.read(move |s| agents::presences(s, since, MAX_ROWS)).await;
    Ok(good(&json!({ "agents": all.map_err(|error| unavailable(&error))? })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutWorkstation {
    hostname: String,
    #[serde(default)]
    device: String,
}

pub(super) async fn put_workstation(asked: &Asked<'_>) -> Done {
    let PutWorkstation { hostname, device } = asked.read()?;
    if hostname.is_empty() || hostname.len() > MAX_TEXT || device.len() > MAX_TEXT {
        return Err(wrong(
            StatusCode::BAD_REQUEST,
            "a workstation has a hostname of 1 to 200 bytes",
        ));
    }
    let put = asked.desk.store.write(move |s| agents::put_workstation(s, &hostname, &device)).await;
    put.map_err(|error| unavailable(&error))?;
    Ok(good(&json!({})))
}

pub(super) async fn recorders(asked: &Asked<'_>) -> Done {
    let all = asked.desk.store.read(recorders::all).await.map_err(|error| unavailable(&error))?;
    Ok(good(&json!({ "recorders": all })))
}
