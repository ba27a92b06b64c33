//! Our own API: JSON under `/api/v1`.
//!
//! Law: [`ROUTES`] is all there is. Every route names the right that it takes, and a role has a right
//! only if [`allows`] says so. Whose recordings an account sees is decided by its groups, in the query
//! itself. What routes do to recordings, people and rights is in the audit log, listening included.

#![expect(
    clippy::result_large_err,
    reason = "either side of these results is the one answer to a request: moved, not kept"
)]

mod access;
mod audio;
mod people;
mod recordings;
mod rules;
mod session;

pub(super) use recordings::health;
pub(crate) use session::Limiter;

use super::{BODY, Caller, Desk, PATIENCE, Reply, json, not_allowed, unix_now};
use crate::{
    secret,
    store::{
        NotStored, Scope,
        accounts::{self, Account, Role},
        audit::{self, Deed},
    },
};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::Incoming,
    header::{AUTHORIZATION, COOKIE},
    http::request::Parts,
};
use serde_json::{Value, json as value};
use std::net::IpAddr;
use tokio::time::timeout;

/// The cookie of a session.
const COOKIE_NAME: &str = "ork_session";

/// What a route takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Right {
    /// Nothing: health, set-up, sign-in.
    Open,
    /// An account.
    SignedIn,
    /// Finding recordings, in one's scope.
    Find,
    /// Listening to them and taking them away.
    Listen,
    /// Tagging them.
    Tag,
    /// Holding them.
    Hold,
    /// Deleting recordings, ending holds, programs, retention.
    Rule,
    /// Looking up people, groups, agents.
    People,
    /// Changing them.
    Staff,
    /// Recorders.
    Fleet,
    /// The audit log.
    Audit,
    /// Accounts and tokens.
    Access,
}

/// Whether a role has a right.
pub(crate) const fn allows(role: Role, right: Right) -> bool {
    match (role, right) {
        (Role::Admin, _)
        | (_, Right::Open | Right::SignedIn | Right::Find | Right::Listen)
        | (Role::Supervisor, Right::Tag | Right::Hold | Right::People)
        | (Role::Agent, Right::Tag)
        | (Role::Api, Right::Tag | Right::People)
        | (Role::Auditor, Right::People | Right::Fleet | Right::Audit) => true,
        (
            Role::Supervisor,
            Right::Rule | Right::Staff | Right::Fleet | Right::Audit | Right::Access,
        )
        | (
            Role::Agent,
            Right::Hold
            | Right::Rule
            | Right::People
            | Right::Staff
            | Right::Fleet
            | Right::Audit
            | Right::Access,
        )
        | (
            Role::Api,
            Right::Hold | Right::Rule | Right::Staff | Right::Fleet | Right::Audit | Right::Access,
        )
        | (Role::Auditor, Right::Tag | Right::Hold | Right::Rule | Right::Staff | Right::Access) => {
            false
        }
    }
}

/// What a route does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Act {
    Setup,
    SignIn,
    SignOut,
    Me,
    Recordings,
    Export,
    Recording,
    Audio,
    Peaks,
    TagRecording,
    Hold,
    Release,
    Delete,
    Users,
    PutUser,
    RemoveUser,
    Groups,
    PutGroup,
    Agents,
    PutWorkstation,
    Recorders,
    Programs,
    PutProgram,
    RemoveProgram,
    Retention,
    PutRetention,
    Audit,
    Accounts,
    PutAccount,
    Tokens,
    PutToken,
    RemoveToken,
}

/// A route: method, path, right, what it does, and its name in the audit log if it has one.
pub(crate) type Route = (&'static str, &'static str, Right, Act, Option<&'static str>);

/// Every route. `{id}` stands for a number.
pub(crate) const ROUTES: [Route; 32] = [
    ("POST", "/api/v1/setup", Right::Open, Act::Setup, Some("set up")),
    ("POST", "/api/v1/login", Right::Open, Act::SignIn, Some("sign in")),
    ("POST", "/api/v1/logout", Right::SignedIn, Act::SignOut, None),
    ("GET", "/api/v1/me", Right::SignedIn, Act::Me, None),
    ("GET", "/api/v1/recordings", Right::Find, Act::Recordings, None),
    ("GET", "/api/v1/recordings.csv", Right::Listen, Act::Export, Some("export")),
    ("GET", "/api/v1/recordings/{id}", Right::Find, Act::Recording, None),
    ("GET", "/api/v1/recordings/{id}/audio", Right::Listen, Act::Audio, Some("listen")),
    ("GET", "/api/v1/recordings/{id}/peaks", Right::Listen, Act::Peaks, None),
    ("POST", "/api/v1/recordings/{id}/tags", Right::Tag, Act::TagRecording, Some("tag")),
    ("POST", "/api/v1/recordings/{id}/hold", Right::Hold, Act::Hold, Some("hold")),
    ("DELETE", "/api/v1/recordings/{id}/hold", Right::Rule, Act::Release, Some("release")),
    ("DELETE", "/api/v1/recordings/{id}", Right::Rule, Act::Delete, Some("delete")),
    ("GET", "/api/v1/users", Right::People, Act::Users, None),
    ("POST", "/api/v1/users", Right::Staff, Act::PutUser, Some("write user")),
    ("DELETE", "/api/v1/users/{id}", Right::Staff, Act::RemoveUser, Some("remove user")),
    ("GET", "/api/v1/groups", Right::People, Act::Groups, None),
    ("POST", "/api/v1/groups", Right::Staff, Act::PutGroup, Some("write group")),
    ("GET", "/api/v1/agents", Right::People, Act::Agents, None),
    ("POST", "/api/v1/workstations", Right::Staff, Act::PutWorkstation, Some("write workstation")),
    ("GET", "/api/v1/recorders", Right::Fleet, Act::Recorders, None),
    ("GET", "/api/v1/programs", Right::Rule, Act::Programs, None),
    ("POST", "/api/v1/programs", Right::Rule, Act::PutProgram, Some("write program")),
    ("DELETE", "/api/v1/programs/{id}", Right::Rule, Act::RemoveProgram, Some("remove program")),
    ("GET", "/api/v1/retention", Right::Rule, Act::Retention, None),
    ("POST", "/api/v1/retention", Right::Rule, Act::PutRetention, Some("write retention")),
    ("GET", "/api/v1/audit", Right::Audit, Act::Audit, None),
    ("GET", "/api/v1/accounts", Right::Access, Act::Accounts, None),
    ("POST", "/api/v1/accounts", Right::Access, Act::PutAccount, Some("write account")),
    ("GET", "/api/v1/tokens", Right::Access, Act::Tokens, None),
    ("POST", "/api/v1/tokens", Right::Access, Act::PutToken, Some("issue token")),
    ("DELETE", "/api/v1/tokens/{id}", Right::Access, Act::RemoveToken, Some("revoke token")),
];

/// Whether the path is one of this pattern, and the number in it.
fn matches(pattern: &str, path: &str) -> Option<i64> {
    let (mut wanted, mut got) = (pattern.split('/'), path.split('/'));
    let mut id = 0;
    loop {
        match (wanted.next(), got.next()) {
            (None, None) => return Some(id),
            (Some("{id}"), Some(number)) => id = number.parse().ok().filter(|id| *id > 0)?,
            (Some(a), Some(b)) if a == b => {}
            _ => return None,
        }
    }
}

/// One request that may be answered.
pub(super) struct Asked<'a> {
    pub(super) desk: &'a Desk,
    pub(super) caller: Caller,
    pub(super) head: Parts,
    pub(super) body: Bytes,
    /// The number in the path.
    pub(super) id: i64,
    /// Unix seconds.
    pub(super) now: u64,
}

impl Asked<'_> {
    /// The body as this kind of JSON object.
    fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, Reply> {
        serde_json::from_slice(&self.body)
            .map_err(|error| wrong(StatusCode::BAD_REQUEST, &error.to_string()))
    }

    /// The query as this kind of form.
    fn query<T: serde::de::DeserializeOwned>(&self) -> Result<T, Reply> {
        serde_urlencoded::from_str(self.head.uri.query().unwrap_or_default())
            .map_err(|error| wrong(StatusCode::BAD_REQUEST, &error.to_string()))
    }

    /// Whose recordings the account sees.
    fn scope(&self) -> Scope {
        self.caller.account.as_ref().map_or_else(nobody, scope_of)
    }
}

const fn nobody() -> Scope {
    Scope::People { groups: Vec::new(), user: None }
}

/// Whose recordings an account sees.
pub(crate) fn scope_of(account: &Account) -> Scope {
    let people = || Scope::People { groups: account.groups.clone(), user: account.userid };
    match account.role {
        Role::Admin | Role::Auditor => Scope::All,
        Role::Supervisor => people(),
        Role::Agent => Scope::People { groups: Vec::new(), user: account.userid },
        // A program that was given no group works for all.
        Role::Api if account.groups.is_empty() => Scope::All,
        Role::Api => people(),
    }
}

/// Answers one request.
pub(super) async fn answer(desk: &Desk, address: IpAddr, request: Request<Incoming>) -> Reply {
    let path = request.uri().path().trim_end_matches('/').to_owned();
    let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    let of_path = |route: &&Route| matches(route.1, &path).is_some();
    let Some(route) = ROUTES.iter().filter(of_path).find(|(wanted, ..)| *wanted == method.as_str())
    else {
        return match ROUTES.iter().find(of_path) {
            Some((wanted, ..)) => not_allowed(wanted),
            None => wrong(StatusCode::NOT_FOUND, "there is no such thing"),
        };
    };
    let (wanted, pattern, right, act, audited) = *route;
    let account = match identify(desk, request.headers(), wanted != "GET").await {
        Ok(account) => account,
        Err(reply) => return reply,
    };
    match &account {
        _ if right == Right::Open => {}
        None => return wrong(StatusCode::UNAUTHORIZED, "sign in, or send a token as Bearer"),
        Some(account) if !allows(account.role, right) => {
            return wrong(StatusCode::FORBIDDEN, "this account may not do that");
        }
        Some(_) => {}
    }
    let (head, body) = request.into_parts();
    let body = match timeout(PATIENCE, Limited::new(body, BODY).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return wrong(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long"),
        Err(_) => return wrong(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
    };
    let id = matches(pattern, &path).unwrap_or(0);
    let caller = Caller { address, account };
    let mut asked = Asked { desk, caller, head, body, id, now: unix_now() };
    let done = dispatch(&mut asked, act).await;
    let reply = done.unwrap_or_else(|reply| reply);
    if let Some(action) = audited {
        note(&asked, action, reply.status()).await;
    }
    reply
}

/// Either way it is the answer; the second kind is what `?` hands up.
type Done = Result<Reply, Reply>;

async fn dispatch(asked: &mut Asked<'_>, act: Act) -> Done {
    match act {
        Act::Setup => session::set_up(asked).await,
        Act::SignIn => session::sign_in(asked).await,
        Act::SignOut => session::sign_out(asked).await,
        Act::Me => session::me(asked),
        Act::Recordings => recordings::list(asked).await,
        Act::Export => recordings::export(asked).await,
        Act::Recording => recordings::one(asked).await,
        Act::Audio => audio::sound(asked).await,
        Act::Peaks => audio::peaks(asked).await,
        Act::TagRecording => recordings::tag(asked).await,
        Act::Hold => recordings::hold(asked).await,
        Act::Release => recordings::release(asked).await,
        Act::Delete => audio::delete(asked).await,
        Act::Users => people::users(asked).await,
        Act::PutUser => people::put_user(asked).await,
        Act::RemoveUser => people::remove_user(asked).await,
        Act::Groups => people::groups(asked).await,
        Act::PutGroup => people::put_group(asked).await,
        Act::Agents => people::agents(asked).await,
        Act::PutWorkstation => people::put_workstation(asked).await,
        Act::Recorders => people::recorders(asked).await,
        Act::Programs => rules::programs(asked).await,
        Act::PutProgram => rules::put_program(asked).await,
        Act::RemoveProgram => rules::remove_program(asked).await,
        Act::Retention => rules::retention(asked).await,
        Act::PutRetention => rules::put_retention(asked).await,
        Act::Audit => rules::audit(asked).await,
        Act::Accounts => access::accounts(asked).await,
        Act::PutAccount => access::put_account(asked).await,
        Act::Tokens => access::tokens(asked).await,
        Act::PutToken => access::put_token(asked).await,
        Act::RemoveToken => access::remove_token(asked).await,
    }
}

/// The secret that came with a request, and whether a browser sent it by itself.
fn credential(headers: &HeaderMap) -> Option<(String, bool)> {
    let bearer = headers.get(AUTHORIZATION).and_then(|text| text.to_str().ok());
    if let Some((kind, secret)) = bearer.and_then(|text| text.split_once(' '))
        && kind.eq_ignore_ascii_case("bearer")
    {
        return Some((secret.trim().to_owned(), false));
    }
    let cookies = headers.get_all(COOKIE).iter().filter_map(|text| text.to_str().ok());
    let mut pairs =
        cookies.flat_map(|text| text.split(';')).filter_map(|pair| pair.split_once('='));
    pairs
        .find(|(name, _)| name.trim() == COOKIE_NAME)
        .map(|(_, secret)| (secret.trim().to_owned(), true))
}

/// The account that a request's secret stands for. A browser sends its cookie with whatever any page
/// makes it ask for, so what changes something takes a header of ours, too.
pub(super) async fn identify(
    desk: &Desk,
    headers: &HeaderMap,
    changes: bool,
) -> Result<Option<Account>, Reply> {
    let Some((secret, by_cookie)) = credential(headers) else { return Ok(None) };
    if by_cookie && changes && !headers.contains_key("x-ork-csrf") {
        return Err(wrong(StatusCode::FORBIDDEN, "send the header X-Ork-Csrf"));
    }
    let (hash, now) = (secret::sha256(&secret), unix_now());
    let found = desk.store.read(move |session| accounts::who(session, &hash, now)).await;
    found.map_err(|error| unavailable(&error))
}

async fn note(asked: &Asked<'_>, action: &str, status: StatusCode) {
    // Who signs in is nobody yet; the handler puts the account there when it knows.
    let who = asked.caller.account.as_ref().map_or("nobody", |account| &account.name);
    let query = asked.head.uri.query().unwrap_or_default();
    let target = format!("{} {query}", asked.head.uri.path());
    let deed = Deed {
        at: i64::try_from(asked.now).unwrap_or(i64::MAX),
        who: who.to_owned(),
        address: asked.caller.address.to_string(),
        action: action.to_owned(),
        target: target.trim().chars().take(500).collect(),
        result: status.as_u16().to_string(),
    };
    if let Err(error) = asked.desk.store.write(move |session| audit::note(session, &deed)).await {
        tracing::error!("a deed is not in the audit log: {error}");
    }
}

/// What went wrong, as JSON.
pub(super) fn wrong(status: StatusCode, why: &str) -> Reply {
    json(status, &value!({ "error": why }))
}

fn good(body: &Value) -> Reply {
    json(StatusCode::OK, body)
}

fn not_found() -> Reply {
    wrong(StatusCode::NOT_FOUND, "there is no such thing, or it is not yours to see")
}

/// The database does not do it now.
pub(super) fn unavailable(error: &NotStored) -> Reply {
    tracing::warn!("a request failed: {error}");
    wrong(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
}
