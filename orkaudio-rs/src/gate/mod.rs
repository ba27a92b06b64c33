//! The gate before every door: who may come in, and what he may do there.
//!
//! Law: nobody gets a right but from his network, his token or his client certificate. What is decided here
//! is decided before a request is looked at further, takes bounded time and memory, and is counted.

mod head;
mod rights;
mod stream;
mod tokens;

pub use head::Head;
pub use rights::{Right, Rights};
pub use stream::{ReadEnd, Stream, WriteEnd};
pub use tokens::make as make_token;

use crate::config;
use hyper::StatusCode;
use orkbase::call::policy::IpRange;
use rustls::ServerConfig;
use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use thiserror::Error;
use tokens::Tokens;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsAcceptor;

/// Why there is no gate.
#[derive(Debug, Error)]
pub enum GateError {
    /// The token file.
    #[error("doors.token_file {}: {why}", path.display())]
    Tokens {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A certificate or a key.
    #[error("doors.tls_certificate, tls_key, client_ca: {0}")]
    Tls(#[from] orktls::TlsError),
    /// One without the other.
    #[error("{0}")]
    Halves(&'static str),
}

/// Numbers of the gate.
#[derive(Debug, Default)]
pub struct GateCounters {
    /// Connections from networks that are not let in.
    pub networks: AtomicU64,
    /// Connections without TLS from where it is wanted.
    pub plain: AtomicU64,
    /// TLS handshakes that failed.
    pub handshakes: AtomicU64,
    /// Tokens that there are not.
    pub tokens: AtomicU64,
    /// Requests without the right.
    pub denied: AtomicU64,
    /// Requests that a foreign page made in somebody's browser.
    pub pages: AtomicU64,
}

/// Decides for all doors.
#[derive(Debug, Default)]
pub struct Gate {
    networks: Vec<(IpRange, Rights)>,
    tokens: Tokens,
    tls: Option<Arc<ServerConfig>>,
    /// From here nobody needs TLS.
    plain: Vec<IpRange>,
    client_rights: Rights,
    origins: Vec<String>,
    /// There are tokens or client certificates, so without a list of networks nobody is known by address.
    named: bool,
    counters: GateCounters,
}

/// Somebody who is in.
#[derive(Debug)]
pub struct Guest {
    /// Speaks to him.
    pub stream: Stream,
    /// Where he comes from.
    pub from: SocketAddr,
    rights: Rights,
    /// He showed a client certificate.
    certified: bool,
}

/// What is known of him besides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Caller {
    /// Where he comes from.
    pub from: SocketAddr,
    rights: Rights,
    certified: bool,
}

impl Guest {
    /// Without his connection.
    #[must_use]
    pub const fn caller(&self) -> Caller {
        Caller { from: self.from, rights: self.rights, certified: self.certified }
    }
}

/// By what name somebody did something.
pub type Who = Option<Arc<str>>;

/// Why somebody may not.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Denied {
    /// No token, or none that is known.
    #[error("a token is wanted here: Authorization: Bearer TOKEN, or token=TOKEN")]
    Unknown,
    /// The right is missing.
    #[error("the right \"{}\" is wanted here", .0.as_str())]
    Missing(Right),
    /// A page of another host has its visitor's browser ask.
    #[error("pages of other hosts may not ask; see doors.origins")]
    Page,
}

impl Denied {
    /// What it is in HTTP; with 401 goes `WWW-Authenticate: Bearer`.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Unknown => StatusCode::UNAUTHORIZED,
            Self::Missing(_) | Self::Page => StatusCode::FORBIDDEN,
        }
    }
}

impl Gate {
    /// Reads what the configuration names.
    ///
    /// # Errors
    /// A file that cannot be read or makes no sense.
    pub fn open(doors: &config::Doors) -> Result<Self, GateError> {
        let tls = match (&doors.tls_certificate, &doors.tls_key) {
            (Some(certificate), Some(key)) => {
                Some(orktls::server(certificate, key, doors.client_ca.as_deref())?)
            }
            (None, None) if doors.client_ca.is_none() => None,
            (None, None) => {
                return Err(GateError::Halves(
                    "doors.client_ca wants doors.tls_certificate and tls_key",
                ));
            }
            (Some(_), None) | (None, Some(_)) => {
                return Err(GateError::Halves(
                    "doors.tls_certificate and doors.tls_key go together",
                ));
            }
        };
        let tokens = doors.token_file.as_deref().map(Tokens::load).transpose()?;
        let named = tokens.is_some() || doors.client_ca.is_some();
        let open = doors.networks.is_empty() && !named;
        let far = [doors.command, doors.events, doors.live];
        if open && far.into_iter().flatten().any(|address| !address.ip().is_loopback()) {
            tracing::warn!(
                "a door is open beyond this host and nothing but the network guards it: see doors.networks, token_file, tls_certificate"
            );
        }
        Ok(Self {
            networks: doors.networks.clone(),
            tokens: tokens.unwrap_or_default(),
            tls,
            plain: doors.plain_networks.clone(),
            client_rights: doors.client_rights,
            origins: doors.origins.clone(),
            named,
            counters: GateCounters::default(),
        })
    }

    /// The numbers by their names.
    #[must_use]
    pub fn numbers(&self) -> [(&'static str, u64); 6] {
        let counters = &self.counters;
        [
            ("doors.refused_networks", &counters.networks),
            ("doors.refused_plain", &counters.plain),
            ("doors.failed_handshakes", &counters.handshakes),
            ("doors.unknown_tokens", &counters.tokens),
            ("doors.denied", &counters.denied),
            ("doors.refused_pages", &counters.pages),
        ]
        .map(|(name, counter)| (name, counter.load(Relaxed)))
    }

    /// What an address alone may do; none at all if it may not even come in.
    #[must_use]
    pub fn admit(&self, address: IpAddr) -> Option<Rights> {
        let address = address.to_canonical();
        if self.networks.is_empty() {
            return Some(if self.named { Rights::NONE } else { Rights::ALL });
        }
        let known = self.networks.iter().find(|(range, _)| range.contains(address));
        if known.is_none() {
            count(&self.counters.networks);
        }
        known.map(|(_, rights)| *rights)
    }

    /// Takes a connection in, through TLS if it begins so.
    ///
    /// # Errors
    /// Not let in, a failed handshake, or it took longer than `patience`.
    pub async fn greet(
        &self,
        stream: TcpStream,
        from: SocketAddr,
        patience: Duration,
    ) -> io::Result<Guest> {
        let refused = || io::Error::from(io::ErrorKind::PermissionDenied);
        let rights = self.admit(from.ip()).ok_or_else(refused)?;
        let Some(tls) = &self.tls else {
            return Ok(Guest { stream: Stream::Plain(stream), from, rights, certified: false });
        };
        timeout(patience, async {
            let mut first = [0];
            stream.peek(&mut first).await?;
            if first == [orktls::FIRST_BYTE] {
                let accepted = TlsAcceptor::from(Arc::clone(tls))
                    .accept(stream)
                    .await
                    .inspect_err(|_| count(&self.counters.handshakes))?;
                let certified = accepted.get_ref().1.peer_certificates().is_some();
                let more = if certified { self.client_rights } else { Rights::NONE };
                let stream = Stream::Tls(Box::new(accepted));
                return Ok(Guest { stream, from, rights: rights.and(more), certified });
            }
            if !self.plain.iter().any(|range| range.contains(from.ip().to_canonical())) {
                count(&self.counters.plain);
                return Err(refused());
            }
            Ok(Guest { stream: Stream::Plain(stream), from, rights, certified: false })
        })
        .await?
    }

    /// Whether somebody may do this, with the token he shows; and under what name.
    ///
    /// # Errors
    /// He may not.
    pub fn pass(
        &self,
        caller: Caller,
        head: &Head<'_>,
        parameter: &str,
        right: Right,
    ) -> Result<Who, Denied> {
        if !head.is_own_page(&self.origins) {
            count(&self.counters.pages);
            return Err(Denied::Page);
        }
        let shown = head.bearer().or_else(|| (!parameter.is_empty()).then_some(parameter));
        let (mut rights, mut who) =
            (caller.rights, caller.certified.then(|| Arc::from("certificate")));
        if let Some(token) = shown {
            match self.tokens.find(token) {
                Some((name, more)) => {
                    rights = rights.and(more);
                    who = Some(name);
                }
                None => count(&self.counters.tokens),
            }
        }
        if rights.has(right) {
            return Ok(who);
        }
        count(&self.counters.denied);
        Err(if who.is_none() { Denied::Unknown } else { Denied::Missing(right) })
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
