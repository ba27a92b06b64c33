//! The HTTP server: bounded connections, heads, bodies and times; what is asked goes to `command`
//! (the Oreka API) or `api` (ours).

pub(crate) mod api;
mod command;
mod welcome;

use crate::{
    config::Config,
    counters::Counters,
    fleet::Fleet,
    store::{
        Store,
        accounts::{Account, Role},
    },
};
use api::Limiter;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    io,
    net::IpAddr,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};

/// Longest request line with headers, in bytes. A `tape` message with many tags is under 4 kB.
const HEAD: usize = 16 << 10;
/// Most headers of a request.
const HEADERS: usize = 64;
/// Longest body, in bytes.
const BODY: usize = 64 << 10;
/// How long a client may take for the head, for the body, and between two requests.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long requests under way may take after a stop.
const DRAIN: Duration = Duration::from_secs(10);

/// An answer; its body may be a file or a live stream.
pub(crate) type Reply = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// Reads the settings of the log again and obeys them.
pub type ReloadLog = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What every request needs.
pub(crate) struct Desk {
    /// The way to the database.
    pub(crate) store: Store,
    /// The settings.
    pub(crate) config: Config,
    /// How the port speaks TLS, if it does.
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    /// The way to the recorders.
    pub(crate) fleet: Fleet,
    /// What is counted.
    pub(crate) counters: Arc<Counters>,
    /// Keeps guessing of passwords slow.
    pub(crate) limiter: Limiter,
    /// How the log is told of new settings.
    pub(crate) reload: Option<ReloadLog>,
}

impl Desk {
    /// Obeys the log settings of the configuration as it is now.
    fn reload_log(&self) -> Result<(), String> {
        self.reload.as_ref().map_or(Ok(()), |reload| reload())
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// From where.
    pub(crate) address: IpAddr,
    /// The account, if a secret that came with the request stands for one.
    pub(crate) account: Option<Account>,
}

impl Caller {
    /// For the audit log.
    pub(crate) fn name(&self) -> &str {
        self.account.as_ref().map_or("command port", |account| &account.name)
    }
}

/// The tracker's clock, Unix seconds.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

/// Serves until `stop` turns true or its sender is gone, then finishes what is under way.
pub(crate) async fn serve(
    listener: TcpListener,
    desk: Desk,
    max_connections: usize,
    mut stop: watch::Receiver<bool>,
) {
    let desk = Arc::new(desk);
    let free = Arc::new(Semaphore::new(max_connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(ended) = connections.join_next() => {
                note_end(ended);
                continue;
            }
            accepted = accept(&listener, &free) => accepted,
        };
        let Some((permit, stream, peer)) = accepted else { continue };
        desk.counters.http_connections.tick();
        let (desk, stop) = (desk.clone(), stop.clone());
        connections.spawn(async move {
            welcome::take(stream, peer, desk, stop).await;
            drop(permit);
        });
    }
    drop(listener);
    let drained = timeout(DRAIN, async {
        while let Some(ended) = connections.join_next().await {
            note_end(ended);
        }
    });
    if drained.await.is_err() {
        tracing::warn!(connections = connections.len(), "clients cut off after {DRAIN:?}");
    }
}

/// Returns when `stop` is true or nobody can set it any more.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let told = stop.wait_for(|stop| *stop).await;
    drop(told);
}

fn note_end(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!("a connection ended by a fault of ours: {error}");
    }
}

/// Waits for a free place first: who finds none waits in the kernel's queue and is not turned away.
async fn accept(
    listener: &TcpListener,
    free: &Arc<Semaphore>,
) -> Option<(tokio::sync::OwnedSemaphorePermit, TcpStream, IpAddr)> {
    let permit = free.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((permit, stream, peer.ip().to_canonical())),
        Err(error) => {
            // Mostly too many open files: waiting helps, spinning does not.
            tracing::warn!("cannot accept a connection: {error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// A request that came within TLS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sealed;

/// Speaks HTTP on a connection; `sealed` within TLS.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: IpAddr,
    sealed: bool,
    desk: Arc<Desk>,
    mut stop: watch::Receiver<bool>,
) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        let desk = desk.clone();
        if sealed {
            request.extensions_mut().insert(Sealed);
        }
        async move { Ok::<_, Infallible>(answer(&desk, peer, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(HEAD)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection ended early: {error}");
    }
}

async fn answer(desk: &Desk, peer: IpAddr, request: Request<Incoming>) -> Reply {
    desk.counters.http_requests.tick();
    let path = request.uri().path().trim_end_matches('/');
    let method = request.method().clone();
    let reading = method == Method::GET || method == Method::HEAD;
    let reply = match path {
        "/healthz" if reading => api::health(desk).await,
        "/healthz" => not_allowed("GET"),
        _ if path.starts_with("/api/") => api::answer(desk, peer, request).await,
        // The original is `/orktrack/command`; people configure all kinds of prefixes.
        _ if path.ends_with("/command") => match method {
            Method::GET | Method::POST => command_reply(desk, peer, request).await,
            _ => not_allowed("GET, POST"),
        },
        _ => text(StatusCode::NOT_FOUND, "nothing here; messages go to /orktrack/command\n"),
    };
    if reply.status().is_client_error() {
        desk.counters.http_refused.tick();
    }
    reply
}

async fn command_reply(desk: &Desk, peer: IpAddr, request: Request<Incoming>) -> Reply {
    let account = match api::identify(desk, request.headers(), true).await {
        Ok(account) => account,
        Err(reply) => return reply,
    };
    let commanding = |account: &Account| matches!(account.role, Role::Admin | Role::Api);
    let near = desk.config.networks.iter().any(|network| network.contains(&peer));
    if !near && !account.as_ref().is_some_and(commanding) {
        tracing::warn!(%peer, "refused a command: not from commands.networks, no token");
        return text(
            StatusCode::FORBIDDEN,
            "commands are taken from the networks of commands.networks, or with an API token\n",
        );
    }
    let caller = Caller { address: peer, account };
    let (head, body) = request.into_parts();
    let body = match timeout(PATIENCE, Limited::new(body, BODY).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return text(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 65536 bytes\n");
        }
        Ok(Err(_)) => return text(StatusCode::BAD_REQUEST, "the body broke off\n"),
        Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the body took too long\n"),
    };
    command::answer(desk, &caller, &head, &body).await
}

fn not_allowed(methods: &'static str) -> Reply {
    let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, format!("use {methods}\n"));
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    reply
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    with_type(status, "text/plain; charset=utf-8", body)
}

fn json(status: StatusCode, body: &serde_json::Value) -> Reply {
    with_type(status, "application/json", format!("{body}\n"))
}

fn with_type(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let body = Full::new(body.into()).map_err(|never| match never {});
    let mut reply = Response::new(body.boxed_unsync());
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}
