//! Set-up, sign-in and sign-out.

use super::{Asked, COOKIE_NAME, Done, credential, good, unavailable, wrong};
use crate::{
    http::{Desk, Sealed},
    secret,
    store::{
        NotStored,
        accounts::{self, Account, Issue, Role, Written},
    },
};
use hyper::{
    StatusCode,
    header::{HeaderValue, SET_COOKIE},
};
use serde::Deserialize;
use serde_json::json;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};
use tokio::sync::Semaphore;

/// Passwords hashed at a time: each takes 19 MiB.
const HASHERS: usize = 2;
/// Wrong passwords from one address in [`WINDOW`] before it has to wait.
const MAX_WRONG: u32 = 30;
/// In seconds.
const WINDOW: u64 = 15 * 60;
/// Addresses remembered; more than that at once is an attack, and new ones wait.
const MAX_ADDRESSES: usize = 10_000;

/// Keeps guessing slow: for each address, and for the processor.
#[derive(Debug)]
pub(crate) struct Limiter {
    hashing: Semaphore,
    wrong: Mutex<HashMap<IpAddr, (u32, u64)>>,
}

impl Default for Limiter {
    fn default() -> Self {
        Self { hashing: Semaphore::new(HASHERS), wrong: Mutex::default() }
    }
}

impl Limiter {
    /// Counts a guess; `false` if there were too many.
    fn guess(&self, address: IpAddr, now: u64) -> bool {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.len() >= MAX_ADDRESSES && !wrong.contains_key(&address) {
            wrong.retain(|_, (_, since)| now.saturating_sub(*since) < WINDOW);
            if wrong.len() >= MAX_ADDRESSES {
                return false;
            }
        }
        let (count, since) = wrong.entry(address).or_insert((0, now));
        if now.saturating_sub(*since) >= WINDOW {
            (*count, *since) = (0, now);
        }
        *count += 1;
        *count <= MAX_WRONG
    }

    fn forgive(&self, address: IpAddr) {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).remove(&address);
    }
}

/// Hashes a password on a thread of its own; only so many at a time.
pub(super) async fn hash(desk: &Desk, password: String) -> Result<String, crate::http::Reply> {
    let closed =
        |error: &dyn std::error::Error| unavailable(&NotStored::Failed(error.to_string().into()));
    let permit = desk.limiter.hashing.acquire().await.map_err(|error| closed(&error))?;
    let hashed = tokio::task::spawn_blocking(move || secret::hash_password(&password)).await;
    drop(permit);
    hashed.map_err(|error| closed(&error))?.map_err(|why| wrong(StatusCode::BAD_REQUEST, &why))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct First {
    token: String,
    name: String,
    password: String,
}

/// The first account, with the token that the first start printed.
pub(super) async fn set_up(asked: &mut Asked<'_>) -> Done {
    let first: First = asked.read()?;
    if !asked.desk.limiter.guess(asked.caller.address, asked.now) {
        return Err(wrong(StatusCode::TOO_MANY_REQUESTS, "too many attempts; wait"));
    }
    let name = account_name(&first.name)?;
    let password = hash(asked.desk, first.password).await?;
    let (token, now) = (secret::sha256(first.token.trim()), asked.now);
    let written = Written {
        name,
        role: Role::Admin,
        password: Some(password),
        userid: None,
        disabled: false,
        groups: Vec::new(),
    };
    let made = asked.desk.store.write(move |s| accounts::set_up(s, &token, &written, now)).await;
    match made.map_err(|error| unavailable(&error))? {
        Some(id) => Ok(good(&json!({ "id": id }))),
        None => Err(wrong(StatusCode::FORBIDDEN, "the set-up token is wrong or used up")),
    }
}

/// A name as it is kept.
pub(super) fn account_name(name: &str) -> Result<String, crate::http::Reply> {
    let name = name.trim().to_lowercase();
    let plain = |c: char| c.is_alphanumeric() || "._@-".contains(c);
    if name.is_empty() || name.len() > 100 || !name.chars().all(plain) {
        return Err(wrong(StatusCode::BAD_REQUEST, "a name has letters, digits and ._@- only"));
    }
    Ok(name)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    name: String,
    password: String,
}

/// One answer for a wrong name, a wrong password and a locked account, after the same time.
pub(super) async fn sign_in(asked: &mut Asked<'_>) -> Done {
    let SignIn { name, password } = asked.read()?;
    let name = name.trim().to_lowercase();
    let (desk, now) = (asked.desk, asked.now);
    if !desk.limiter.guess(asked.caller.address, now) {
        return Err(wrong(StatusCode::TOO_MANY_REQUESTS, "too many attempts; wait"));
    }
    let sought = name.clone();
    let lock = desk.store.read(move |session| accounts::lock(session, &sought, now)).await;
    let lock = lock.map_err(|error| unavailable(&error))?;
    let known = lock.as_ref().map(|lock| lock.password.clone()).filter(|text| !text.is_empty());
    let permit = desk.limiter.hashing.acquire().await;
    let right =
        tokio::task::spawn_blocking(move || secret::verify_password(&password, known.as_deref()));
    let right = right.await.unwrap_or(false);
    drop(permit);
    let denied = || wrong(StatusCode::UNAUTHORIZED, "wrong name or password, or locked");
    let Some(lock) = lock else { return Err(denied()) };
    asked.caller.account = Some(shown(lock.id, &name));
    if lock.shut || !right {
        let (id, at) = (lock.id, i64::try_from(now).unwrap_or(i64::MAX));
        if !lock.shut {
            let noted = desk.store.write(move |session| accounts::failed(session, id, at)).await;
            if noted.map_err(|error| unavailable(&error))? {
                tracing::warn!(account = name, "locked after too many wrong passwords");
            }
        }
        return Err(denied());
    }
    desk.limiter.forgive(asked.caller.address);
    let failed = |why: String| unavailable(&NotStored::Failed(why.into()));
    let secret = secret::token().map_err(failed)?;
    let expires = now.saturating_add(desk.config.session_hours * 3600);
    let issue = Issue {
        account: lock.id,
        kind: "session",
        hash: secret::sha256(&secret),
        name: String::new(),
        expires,
    };
    let issued = desk.store.write(move |session| accounts::issue(session, &issue, now)).await;
    issued.map_err(|error| unavailable(&error))?;
    let age = desk.config.session_hours * 3600;
    let secure = if asked.head.extensions.get::<Sealed>().is_some() { "; Secure" } else { "" };
    let cookie =
        format!("{COOKIE_NAME}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}{secure}");
    let mut reply = good(&json!({ "token": secret, "expires": expires }));
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        reply.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(reply)
}

/// For the audit log only; its rights are looked up with the next request.
fn shown(id: i64, name: &str) -> Account {
    Account {
        id,
        name: name.to_owned(),
        role: Role::Agent,
        userid: None,
        disabled: false,
        groups: Vec::new(),
    }
}

/// Ends the session that the request came with.
pub(super) async fn sign_out(asked: &mut Asked<'_>) -> Done {
    if let Some((secret, _)) = credential(&asked.head.headers) {
        let hash = secret::sha256(&secret);
        let gone = asked.desk.store.write(move |session| accounts::revoke(session, &hash)).await;
        gone.map_err(|error| unavailable(&error))?;
    }
    let mut reply = good(&json!({}));
    let cookie = HeaderValue::from_static("ork_session=; Path=/; HttpOnly; Max-Age=0");
    reply.headers_mut().insert(SET_COOKIE, cookie);
    Ok(reply)
}

/// The account of the request.
pub(super) fn me(asked: &Asked<'_>) -> Done {
    Ok(good(&json!({ "account": asked.caller.account })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_from_one_address_is_slow_and_from_many_is_bounded() {
        let limiter = Limiter::default();
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        assert_eq!((0..100).filter(|_| limiter.guess(address(1), 5)).count(), 30);
        assert!(limiter.guess(address(1), 5 + WINDOW) && limiter.guess(address(2), 5));
        let taken = (0..20_000).filter(|n| limiter.guess(address(*n), 6)).count();
        assert!(taken <= MAX_ADDRESSES, "{taken}");
        assert!(limiter.guess(address(30_000), 6 + WINDOW + 5));
    }
}
