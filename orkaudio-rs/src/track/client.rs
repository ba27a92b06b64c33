//! One tracker's HTTP or HTTPS: a GET, and its answer within a deadline.
//!
//! Law: a peer may refuse, freeze, talk nonsense or never end; it costs one request its time-out and
//! [`MAX_BODY`] bytes, nothing else. Connections are kept when the peer allows it.

use super::address::TrackerUrl;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;

/// Most bytes read of an answer; a `taperesponse` is below 200.
const MAX_BODY: usize = 64 << 10;
/// Most bytes of an answer's head.
const MAX_HEAD: usize = 64 << 10;
/// A connection idle for longer is not trusted any more: a peer may have vanished without a word.
const TRUSTED: Duration = Duration::from_secs(30);

/// An answer: any status, and what was read of the body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum GetError {
    /// No connection: it is about the tracker, not about the message.
    Unreachable(String),
    /// A connection, but no whole answer in time.
    Failed(String),
    /// The message can never be a request.
    Impossible(String),
}

/// A tracker and the idle connections to it.
pub(super) struct Peer {
    url: TrackerUrl,
    /// How it is spoken to when its address says https.
    tls: Option<Arc<ClientConfig>>,
    timeout: Duration,
    max_idle: usize,
    idle: Mutex<Vec<(Wire, Instant)>>,
}

/// One connection; its task ends with it.
struct Wire {
    requests: http1::SendRequest<Empty<Bytes>>,
    task: JoinHandle<()>,
}

impl Wire {
    /// Speaks HTTP on a connection.
    async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Self, String> {
        let (requests, connection) = http1::Builder::new()
            .title_case_headers(true)
            .max_buf_size(MAX_HEAD)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        // Its trouble is also the trouble of the request, which reports it.
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::trace!(%error, "connection to a tracker ended");
            }
        });
        Ok(Self { requests, task })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How an exchange on one connection failed.
enum Broken {
    /// Closed before any answer: on a kept connection this says nothing about the message.
    Unanswered(String),
    Failed(String),
}

impl Peer {
    pub(super) const fn new(
        url: TrackerUrl,
        tls: Option<Arc<ClientConfig>>,
        timeout: Duration,
        max_idle: usize,
    ) -> Self {
        Self { url, tls, timeout, max_idle, idle: Mutex::new(Vec::new()) }
    }

    pub(super) const fn url(&self) -> &TrackerUrl {
        &self.url
    }

    /// Asks for a message in the URL form.
    pub(super) async fn get(&self, message: &str) -> Result<Answer, GetError> {
        let deadline = Instant::now() + self.timeout;
        if let Some(wire) = self.take_idle() {
            match self.exchange(wire, message, deadline).await? {
                Ok(answer) => return Ok(answer),
                Err(Broken::Failed(why)) => return Err(GetError::Failed(why)),
                Err(Broken::Unanswered(_)) => {}
            }
        }
        let wire = self.connect(deadline).await?;
        match self.exchange(wire, message, deadline).await? {
            Ok(answer) => Ok(answer),
            Err(Broken::Failed(why) | Broken::Unanswered(why)) => Err(GetError::Failed(why)),
        }
    }

    /// Drops the idle connections.
    pub(super) fn hang_up(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    async fn connect(&self, deadline: Instant) -> Result<Wire, GetError> {
        let unreachable = |why: String| {
            GetError::Unreachable(format!("cannot connect to {}: {why}", self.url.authority()))
        };
        let stream = timeout_at(deadline, TcpStream::connect((self.url.host(), self.url.port())))
            .await
            .map_err(|_| unreachable("no answer in time".to_owned()))?
            .map_err(|error| unreachable(error.to_string()))?;
        stream.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
        if !self.url.tls() {
            return Wire::over(stream).await.map_err(unreachable);
        }
        let tls = self.tls.clone().ok_or_else(|| unreachable("no TLS".to_owned()))?;
        let name = ServerName::try_from(self.url.host().to_owned())
            .map_err(|error| unreachable(error.to_string()))?;
        let stream = timeout_at(deadline, TlsConnector::from(tls).connect(name, stream))
            .await
            .map_err(|_| unreachable("no TLS handshake in time".to_owned()))?
            .map_err(|error| unreachable(format!("TLS: {error}")))?;
        Wire::over(stream).await.map_err(unreachable)
    }

    async fn exchange(
        &self,
        mut wire: Wire,
        message: &str,
        deadline: Instant,
    ) -> Result<Result<Answer, Broken>, GetError> {
        let request = Request::get(self.url.target(message))
            .header(header::HOST, self.url.authority())
            .body(Empty::new())
            .map_err(|error| GetError::Impossible(error.to_string()))?;
        let late = || Ok(Err(Broken::Failed("no answer in time".to_owned())));
        match timeout_at(deadline, wire.requests.ready()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Ok(Err(Broken::Unanswered(error.to_string()))),
            Err(_) => return late(),
        }
        let response = match timeout_at(deadline, wire.requests.send_request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let why = error.to_string();
                let broken =
                    if error.is_parse() { Broken::Failed(why) } else { Broken::Unanswered(why) };
                return Ok(Err(broken));
            }
            Err(_) => return late(),
        };
        let status = response.status().as_u16();
        let (body, whole) = match read_body(response.into_body(), deadline).await {
            Ok(read) => read,
            Err(why) => return Ok(Err(Broken::Failed(why))),
        };
        if whole {
            self.keep(wire);
        }
        Ok(Ok(Answer { status, body }))
    }

    fn take_idle(&self) -> Option<Wire> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((wire, since)) = idle.pop() {
            if since.elapsed() < TRUSTED && !wire.requests.is_closed() {
                return Some(wire);
            }
        }
        None
    }

    fn keep(&self, wire: Wire) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.max_idle && !wire.requests.is_closed() {
            idle.push((wire, Instant::now()));
        }
    }
}

/// Reads up to [`MAX_BODY`] bytes; also says whether that was all of it.
///
/// An answer that is a whole line but never ends counts: trackers that announce no length and keep
/// the connection open are taken by the original as well, once its time-out has passed.
async fn read_body(
    mut body: hyper::body::Incoming,
    deadline: Instant,
) -> Result<(Vec<u8>, bool), String> {
    let mut bytes = Vec::new();
    loop {
        match timeout_at(deadline, body.frame()).await {
            Ok(None) => return Ok((bytes, true)),
            Ok(Some(Ok(frame))) => {
                if let Some(more) = frame.data_ref() {
                    let room = MAX_BODY - bytes.len();
                    bytes.extend(more.iter().take(room));
                    if more.len() > room {
                        return Ok((bytes, false));
                    }
                }
            }
            Ok(Some(Err(error))) => return Err(format!("answer broken off: {error}")),
            Err(_) if bytes.contains(&b'\n') => return Ok((bytes, false)),
            Err(_) => return Err("answer not complete in time".to_owned()),
        }
    }
}
