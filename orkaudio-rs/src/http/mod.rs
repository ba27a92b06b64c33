//! The doors: commands on 59140, the event stream on 59150.
//!
//! Law: whatever a client does, it costs a bounded amount of memory and nobody's audio. Both doors
//! live on one thread, `http`; they meet the rest of the recorder only through a [`Desk`], which
//! answers or is busy, and an [`EventHub`], which never waits.

pub(crate) mod bare;
mod command;
mod dialect;
pub(crate) mod entrance;
pub mod errand;
mod events;
mod form;
mod hub;
mod pages;
#[cfg(test)]
mod tests;
mod verb;
mod websocket;

pub use errand::{Answer, Errand, Import};
pub use events::MAX_SESSIONS;
pub use hub::{EventHub, MAX_BYTES, MAX_EVENTS};

use crate::{
    audit::Entry,
    gate::{Gate, Guest},
};
use entrance::{Entrance, Seat, Turned};
use events::Sessions;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use orkbase::call::command::{Command, Reply};
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::Runtime,
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout_at},
};

/// Connections to one door at a time; for the next one somebody makes room who has said nothing whole yet.
const MAX_CONNECTIONS: usize = 200;
/// Longest request line and headers together.
const MAX_HEAD: usize = 16 << 10;
/// How long a client may take over its request, and a kept connection may be idle; also how long a
/// client waits for the engine.
const PATIENCE: Duration = Duration::from_secs(10);
/// A connection is not kept for longer, and is cut when its last answer takes longer than that again.
const MAX_AGE: Duration = Duration::from_secs(60);
/// Kernel memory a client that does not read can hold: small, the hub has the longer one.
const EVENT_SEND_BUFFER: usize = 64 << 10;
/// How long closing may overrun its deadline before the thread is left alone.
const GRACE: Duration = Duration::from_secs(1);

/// What the doors need from the recorder.
pub trait Desk: Send + Sync + 'static {
    /// Carries out a command, or says at once that it cannot be taken in.
    fn command(&self, command: Command) -> impl Future<Output = Result<Reply, Busy>> + Send;

    /// Does what is about no live call.
    fn errand(&self, errand: Errand) -> impl Future<Output = Answer> + Send;

    /// Writes down what somebody asked for.
    fn audit(&self, entry: &Entry<'_>);

    /// Live calls and every counter; the doors add their own numbers as `http`.
    fn status(&self) -> Value;

    /// Why calls are not recorded as they should be, now; empty if they are.
    fn problems(&self) -> Vec<String>;
}

/// The recorder could not take a command in; nothing was done.
#[derive(Clone, Copy, Debug, Error, Eq, PartialEq)]
#[error("Recorder busy")]
pub struct Busy;

/// Where the doors are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DoorsConfig {
    /// The command port; `None` opens none.
    pub command: Option<SocketAddr>,
    /// The event stream; `None` opens none.
    pub events: Option<SocketAddr>,
}

impl Default for DoorsConfig {
    /// 59140 and 59150 on the loopback interface: the protocol knows no passwords.
    fn default() -> Self {
        let local = |port| Some(SocketAddr::from(([127, 0, 0, 1], port)));
        Self { command: local(59140), events: local(59150) }
    }
}

/// Why a door does not open.
#[derive(Debug, Error)]
pub enum DoorError {
    /// The address cannot be listened on.
    #[error("cannot listen for {what} on {address}: {why}")]
    Bind {
        /// `commands` or `event listeners`.
        what: &'static str,
        /// As configured.
        address: SocketAddr,
        /// The reason, with a remedy where one is known.
        why: String,
    },
    /// The thread or its runtime could not be made.
    #[error("cannot start the http thread")]
    Thread(#[from] io::Error),
}

/// Numbers of the doors.
#[derive(Debug, Default)]
pub struct DoorCounters {
    /// Requests answered on the command port.
    pub requests: AtomicU64,
    /// Connections to the command port that were not let in, or made room, for there were too many.
    pub refused: AtomicU64,
    /// Connections that ended in an error: time-outs, oversized or malformed heads, resets.
    pub broken: AtomicU64,
    /// Accepts that failed, mostly for want of descriptors.
    pub accept_failures: AtomicU64,
    /// Event clients beyond the hundredth.
    pub events_refused: AtomicU64,
    /// Event clients whose request was none, or not allowed.
    pub events_malformed: AtomicU64,
}

impl DoorCounters {
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }
}

/// The open doors.
#[derive(Debug)]
pub struct Doors {
    command: Option<SocketAddr>,
    events: Option<SocketAddr>,
    counters: Arc<DoorCounters>,
    stop: watch::Sender<bool>,
    deadline: watch::Sender<Option<Instant>>,
    thread: Option<JoinHandle<()>>,
}

impl Doors {
    /// Listens on both addresses, then serves them from a thread of its own.
    ///
    /// # Errors
    /// An address cannot be listened on, or no thread can be made.
    pub fn open<D: Desk>(
        config: DoorsConfig,
        desk: Arc<D>,
        gate: Arc<Gate>,
        hub: EventHub,
    ) -> Result<Self, DoorError> {
        Self::open_with(config, PATIENCE, desk, gate, hub)
    }

    fn open_with<D: Desk>(
        config: DoorsConfig,
        patience: Duration,
        desk: Arc<D>,
        gate: Arc<Gate>,
        hub: EventHub,
    ) -> Result<Self, DoorError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listeners = {
            let _inside = runtime.enter();
            let command = config.command.map(|at| listen("commands", at)).transpose()?;
            let events = config.events.map(|at| listen("event listeners", at)).transpose()?;
            (command, events)
        };
        let address = |listener: &Option<TcpListener>| {
            listener.as_ref().map(TcpListener::local_addr).transpose()
        };
        let (stop, stopped) = watch::channel(false);
        let (deadline, until) = watch::channel(None);
        let counters = Arc::new(DoorCounters::default());
        let doors = Self {
            command: address(&listeners.0)?,
            events: address(&listeners.1)?,
            counters: Arc::clone(&counters),
            stop,
            deadline,
            thread: None,
        };
        let house =
            House { desk, gate, hub, counters, sessions: Arc::default(), stop: stopped, patience };
        let run = move || house.run(&runtime, listeners, until);
        let thread = std::thread::Builder::new().name("http".to_owned()).spawn(run)?;
        Ok(Self { thread: Some(thread), ..doors })
    }

    /// Where commands are taken.
    #[must_use]
    pub const fn command_address(&self) -> Option<SocketAddr> {
        self.command
    }

    /// Where events are streamed.
    #[must_use]
    pub const fn events_address(&self) -> Option<SocketAddr> {
        self.events
    }

    /// The numbers.
    #[must_use]
    pub const fn counters(&self) -> &Arc<DoorCounters> {
        &self.counters
    }

    /// Lets nobody in any more, finishes the answers under way and sends every event published
    /// before; cuts what is not done by the deadline.
    pub fn close(mut self, deadline: Duration) {
        self.stop.send_replace(true);
        self.deadline.send_replace(Some(Instant::now() + deadline));
        let Some(thread) = self.thread.take() else { return };
        let until = Instant::now() + deadline + GRACE;
        while !thread.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        if !thread.is_finished() {
            tracing::error!("the http thread did not end in time");
        } else if thread.join().is_err() {
            tracing::error!("the http thread ended by a fault");
        }
    }
}

pub(crate) fn listen(what: &'static str, address: SocketAddr) -> Result<TcpListener, DoorError> {
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(128)
    };
    bind().map_err(|error: io::Error| {
        let remedies = [
            (io::ErrorKind::AddrInUse, "; is a recorder running already?"),
            (io::ErrorKind::AddrNotAvailable, "; this machine has no such address"),
            (io::ErrorKind::PermissionDenied, "; ports below 1024 are for root"),
        ];
        let remedy = remedies.iter().find(|(kind, _)| *kind == error.kind());
        let remedy = remedy.map_or("", |(_, remedy)| remedy);
        DoorError::Bind { what, address, why: format!("{error}{remedy}") }
    })
}

/// What every connection may need.
struct House<D> {
    desk: Arc<D>,
    gate: Arc<Gate>,
    hub: EventHub,
    counters: Arc<DoorCounters>,
    sessions: Arc<Sessions>,
    stop: watch::Receiver<bool>,
    patience: Duration,
}

impl<D> Clone for House<D> {
    fn clone(&self) -> Self {
        Self {
            desk: Arc::clone(&self.desk),
            gate: Arc::clone(&self.gate),
            hub: self.hub.clone(),
            counters: Arc::clone(&self.counters),
            sessions: Arc::clone(&self.sessions),
            stop: self.stop.clone(),
            patience: self.patience,
        }
    }
}

impl<D: Desk> House<D> {
    fn run(
        self,
        runtime: &Runtime,
        (command, events): (Option<TcpListener>, Option<TcpListener>),
        mut until: watch::Receiver<Option<Instant>>,
    ) {
        runtime.block_on(async {
            let mut doors = JoinSet::new();
            if let Some(listener) = command {
                doors.spawn(self.clone().accept(listener, None, Self::converse));
            }
            if let Some(listener) = events {
                let buffer = Some(EVENT_SEND_BUFFER);
                doors.spawn(self.clone().accept(listener, buffer, Self::stream));
            }
            let all = async { while doors.join_next().await.is_some() {} };
            let late = async {
                let at = match until.wait_for(Option::is_some).await {
                    Ok(deadline) => *deadline,
                    // The handle is gone without a word.
                    Err(_) => None,
                };
                tokio::time::sleep_until(at.unwrap_or_else(Instant::now)).await;
            };
            tokio::select! {
                () = all => {}
                () = late => tracing::debug!("connections were cut at the deadline"),
            }
        });
    }

    /// Lets clients in until the doors close, then waits for those who are in.
    async fn accept<F>(
        self,
        listener: TcpListener,
        send_buffer: Option<usize>,
        serve: fn(Self, Guest, Seat) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let entrance = Entrance {
            listener,
            gate: Arc::clone(&self.gate),
            most: MAX_CONNECTIONS,
            send_buffer,
            patience: self.patience,
        };
        let counters = Arc::clone(&self.counters);
        let turned = move |why| {
            DoorCounters::count(match why {
                Turned::Full => &counters.refused,
                Turned::Failed => &counters.accept_failures,
                Turned::Away => &counters.broken,
            });
        };
        let stop = self.stop.clone();
        let mut clients =
            entrance.open(stop, turned, move |guest, seat| serve(self.clone(), guest, seat)).await;
        while clients.join_next().await.is_some() {}
    }

    /// The command port's side of one connection.
    async fn converse(self, guest: Guest, seat: Seat) {
        let (caller, stream) = (guest.caller(), guest.stream);
        let (house, seat) = (&self, &seat);
        let service = service_fn(move |request| async move {
            DoorCounters::count(&house.counters.requests);
            let own = || house.numbers();
            let (desk, patience) = (house.desk.as_ref(), house.patience);
            let clerk = command::Clerk { desk, gate: &house.gate, caller, seat, patience };
            let answer = clerk.answer(own, request).await;
            seat.serve(false);
            Ok::<_, Infallible>(answer)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.patience)
            .max_header_size(MAX_HEAD)
            .max_buf_size(2 * MAX_HEAD)
            .half_close(true)
            .title_case_headers(true)
            .auto_date_header(false)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let mut stop = self.stop.clone();
        let old = Instant::now() + MAX_AGE;
        let done = tokio::select! {
            done = connection.as_mut() => Some(done),
            _ = stop.wait_for(|stop| *stop) => None,
            () = tokio::time::sleep_until(old) => None,
        };
        let done = match done {
            Some(done) => done.is_ok(),
            None => {
                connection.as_mut().graceful_shutdown();
                let last = timeout_at(Instant::now() + MAX_AGE, connection).await;
                last.is_ok_and(|done| done.is_ok())
            }
        };
        if !done {
            DoorCounters::count(&self.counters.broken);
        }
    }

    /// The event stream's side of one connection.
    async fn stream(self, guest: Guest, seat: Seat) {
        let Self { hub, gate, counters, sessions, stop, patience, .. } = self;
        let door = events::Door { hub, gate, sessions, counters: Arc::clone(&counters), patience };
        if door.serve(guest, &seat, stop).await.is_err() {
            DoorCounters::count(&counters.broken);
        }
    }

    fn numbers(&self) -> Value {
        let number = |counter: &AtomicU64| counter.load(Relaxed);
        let (sessions, finished) = self.sessions.count();
        json!({
            "requests": number(&self.counters.requests),
            "refused": number(&self.counters.refused),
            "broken": number(&self.counters.broken),
            "accept_failures": number(&self.counters.accept_failures),
            "events_sessions": sessions,
            "events_half_closed": finished,
            "events_refused": number(&self.counters.events_refused),
            "events_malformed": number(&self.counters.events_malformed),
            "events_published": self.hub.published(),
            "events_dropped": self.hub.dropped(),
        })
    }
}
