//! Accounts and API tokens.

use super::{Asked, Done, good, not_found, session, unavailable, wrong};
use crate::{
    secret,
    store::{
        NotStored,
        accounts::{self, Issue, Role, Written},
    },
};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::json;

/// Longest life of a token, in days.
const MAX_DAYS: u64 = 3650;

pub(super) async fn accounts(asked: &Asked<'_>) -> Done {
    let all = asked.desk.store.read(accounts::all).await.map_err(|error| unavailable(&error))?;
    Ok(good(&json!({ "accounts": all })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutAccount {
    name: String,
    role: String,
    password: Option<String>,
    userid: Option<i64>,
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    groups: Vec<i64>,
}

pub(super) async fn put_account(asked: &Asked<'_>) -> Done {
    let put: PutAccount = asked.read()?;
    let name = session::account_name(&put.name)?;
    let Some(role) = Role::read(&put.role) else {
        return Err(wrong(
            StatusCode::BAD_REQUEST,
            "role is admin, supervisor, agent, auditor or api",
        ));
    };
    let own = asked.caller.account.as_ref().is_some_and(|account| account.name == name);
    if own && (put.disabled || role != Role::Admin) {
        return Err(wrong(StatusCode::CONFLICT, "nobody shuts himself out"));
    }
    let password = match put.password {
        Some(password) => Some(session::hash(asked.desk, password).await?),
        None => None,
    };
    let PutAccount { userid, disabled, groups, .. } = put;
    let written = Written { name, role, password, userid, disabled, groups };
    let now = asked.now;
    let id = asked.desk.store.write(move |session| accounts::put(session, &written, now)).await;
    Ok(good(&json!({ "id": id.map_err(|error| unavailable(&error))? })))
}

pub(super) async fn tokens(asked: &Asked<'_>) -> Done {
    let all = asked.desk.store.read(accounts::tokens).await.map_err(|error| unavailable(&error))?;
    Ok(good(&json!({ "tokens": all })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutToken {
    /// The account's row.
    account: i64,
    name: String,
    days: u64,
}

/// The secret is told once, here.
pub(super) async fn put_token(asked: &Asked<'_>) -> Done {
    let put: PutToken = asked.read()?;
    if !(1..=MAX_DAYS).contains(&put.days) || put.name.len() > 200 {
        return Err(wrong(StatusCode::BAD_REQUEST, "a token lives 1 to 3650 days"));
    }
    let failed = |why: String| unavailable(&NotStored::Failed(why.into()));
    let secret = secret::token().map_err(failed)?;
    let (now, expires) = (asked.now, asked.now.saturating_add(put.days * 86_400));
    let issue = Issue {
        account: put.account,
        kind: "token",
        hash: secret::sha256(&secret),
        name: put.name,
        expires,
    };
    let issued = asked.desk.store.write(move |session| accounts::issue(session, &issue, now)).await;
    match issued.map_err(|error| unavailable(&error))? {
        Some(id) => Ok(good(&json!({ "id": id, "token": secret, "expires": expires }))),
        None => Err(wrong(StatusCode::CONFLICT, "the account has too many tokens")),
    }
}

pub(super) async fn remove_token(asked: &Asked<'_>) -> Done {
    let id = asked.id;
    let gone = asked.desk.store.write(move |session| accounts::revoke_token(session, id)).await;
    if gone.map_err(|error| unavailable(&error))? { Ok(good(&json!({}))) } else { Err(not_found()) }
}
