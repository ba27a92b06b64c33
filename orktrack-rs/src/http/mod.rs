//! The HTTP server: bounded connections, heads, bodies and times; what is asked goes to `command`
//! (the Oreka API) or `search` (ours).

mod command;
mod search;

use crate::{counters::Counters, store::Store};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, path::PathBuf, pin::pin, sync::Arc, time::Duration};
use tokio::{
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
/// Searches that run at a time; each takes a thread and a connection to the database.
const SEARCHES: usize = 4;

type Reply = Response<Full<Bytes>>;

/// What every request needs.
pub(crate) struct Desk {
    /// The way to the writer.
    pub(crate) store: Store,
    /// The database, for readers.
    pub(crate) database: PathBuf,
    /// What is counted.
    pub(crate) counters: Arc<Counters>,
    /// One permit per search.
    searches: Semaphore,
}

impl Desk {
    /// A desk in front of this store.
    pub(crate) fn new(store: Store, database: PathBuf, counters: Arc<Counters>) -> Self {
        Self { store, database, counters, searches: Semaphore::new(SEARCHES) }
    }
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
        let Some((permit, stream)) = accepted else { continue };
        desk.counters.http_connections.tick();
        let (desk, stop) = (desk.clone(), stop.clone());
        connections.spawn(async move {
            converse(stream, desk, stop).await;
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
) -> Option<(tokio::sync::OwnedSemaphorePermit, TcpStream)> {
    let permit = free.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((permit, stream)),
        Err(error) => {
            // Mostly too many open files: waiting helps, spinning does not.
            tracing::warn!("cannot accept a connection: {error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

async fn converse(stream: TcpStream, desk: Arc<Desk>, mut stop: watch::Receiver<bool>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("cannot set TCP_NODELAY: {error}");
    }
    let service = service_fn(move |request| {
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(answer(&desk, request).await) }
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

async fn answer(desk: &Desk, request: Request<Incoming>) -> Reply {
    desk.counters.http_requests.tick();
    let path = request.uri().path().trim_end_matches('/');
    let method = request.method().clone();
    let reading = method == Method::GET || method == Method::HEAD;
    let reply = match path {
        "/api/v1/recordings" if reading => search::recordings(desk, &request).await,
        "/healthz" if reading => search::health(desk).await,
        "/api/v1/recordings" | "/healthz" => not_allowed("GET"),
        // The original is `/orktrack/command`; people configure all kinds of prefixes.
        _ if path.ends_with("/command") => match method {
            Method::GET | Method::POST => command_reply(desk, request).await,
            _ => not_allowed("GET, POST"),
        },
        _ => text(StatusCode::NOT_FOUND, "nothing here; messages go to /orktrack/command\n"),
    };
    if reply.status().is_client_error() {
        desk.counters.http_refused.tick();
    }
    reply
}

async fn command_reply(desk: &Desk, request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    let body = match timeout(PATIENCE, Limited::new(body, BODY).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return text(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 65536 bytes\n");
        }
        Ok(Err(_)) => return text(StatusCode::BAD_REQUEST, "the body broke off\n"),
        Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the body took too long\n"),
    };
    command::answer(desk, &head, &body).await
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
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}
