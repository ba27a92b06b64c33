//! How clients get in, the same at every door: counted, past the gate, so many at a time.
//!
//! Law: who has said nothing that is whole yet has no right to his place when the house is full: slow and
//! silent connections displace each other, never somebody who is being served.

use crate::{
    gate::{Gate, Guest},
    setup,
};
use rustix::net::sockopt;
use std::{
    collections::VecDeque,
    future::Future,
    io,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::JoinSet,
    time::sleep,
};

/// Rest after a failed accept: no descriptor is free, and trying at once would only burn time.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// A client that vanished without a word is asked after this, that often, before it is given up.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 6;

/// One door.
pub(crate) struct Entrance {
    pub(crate) listener: TcpListener,
    pub(crate) gate: Arc<Gate>,
    /// Clients at a time, fewer where there are few descriptors. For the next one somebody who waits makes
    /// room; if everybody is being served it is closed without a word.
    pub(crate) most: usize,
    /// Kernel memory that a client who does not read can hold, in bytes; `None` is the kernel's own.
    pub(crate) send_buffer: Option<usize>,
    /// How long a client may take to be let in.
    pub(crate) patience: Duration,
}

/// Why somebody is not in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Turned {
    /// There are as many as there may be: he, or another who had said nothing yet.
    Full,
    /// The kernel gave no connection, mostly for want of descriptors.
    Failed,
    /// Not past the gate.
    Away,
}

/// A client's place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seat(Arc<Place>);

#[derive(Debug, Default)]
struct Place {
    served: AtomicBool,
    displaced: Notify,
}

impl Seat {
    /// He has said all that he wants, and is being served; or he is not any more.
    pub(crate) fn serve(&self, served: bool) {
        self.0.served.store(served, Relaxed);
    }
}

/// All places, those that were taken first in front.
#[derive(Default)]
struct Seats(VecDeque<Weak<Place>>);

impl Seats {
    /// A place, if one of `most` is free or somebody makes room; and whether somebody had to.
    fn take(&mut self, most: usize) -> Option<(Seat, bool)> {
        if self.0.len() >= most {
            self.0.retain(|place| place.strong_count() > 0);
        }
        let full = self.0.len() >= most;
        if full {
            let waits = |place: &Weak<Place>| {
                place.upgrade().is_some_and(|place| !place.served.load(Relaxed))
            };
            let place = self.0.iter().position(waits)?;
            let place = self.0.remove(place).and_then(|place| place.upgrade());
            if let Some(place) = place {
                place.displaced.notify_one();
            }
        }
        let seat = Seat::default();
        self.0.push_back(Arc::downgrade(&seat.0));
        Some((seat, full))
    }
}

impl Entrance {
    /// Lets clients in until the door closes; gives those who are in by then.
    pub(crate) async fn open<F>(
        self,
        mut stop: watch::Receiver<bool>,
        turned: impl Fn(Turned) + Clone + Send + 'static,
        serve: impl Fn(Guest, Seat) -> F + Clone + Send + 'static,
    ) -> JoinSet<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let most = setup::share_of_files(self.most);
        let mut seats = Seats::default();
        let mut clients = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = clients.join_next(), if !clients.is_empty() => continue,
                _ = stop.wait_for(|stop| *stop) => return clients,
            };
            let (stream, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    turned(Turned::Failed);
                    tracing::debug!("cannot let a client in: {error}");
                    sleep(ACCEPT_REST).await;
                    continue;
                }
            };
            let Some((seat, displacing)) = seats.take(most) else {
                turned(Turned::Full);
                continue;
            };
            if displacing {
                turned(Turned::Full);
            }
            if let Err(error) = settle(&stream, self.send_buffer) {
                tracing::debug!("cannot set socket options: {error}");
            }
            let (gate, patience) = (Arc::clone(&self.gate), self.patience);
            let (turned, serve) = (turned.clone(), serve.clone());
            clients.spawn(async move {
                let place = Arc::clone(&seat.0);
                let client = async move {
                    match gate.greet(stream, from, patience).await {
                        Ok(guest) => serve(guest, seat).await,
                        Err(error) => {
                            tracing::debug!(%from, "not let in: {error}");
                            turned(Turned::Away);
                        }
                    }
                };
                tokio::select! {
                    () = client => {}
                    () = place.displaced.notified() => {}
                }
            });
        }
    }
}

/// Options of an accepted socket.
fn settle(stream: &TcpStream, send_buffer: Option<usize>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    if let Some(bytes) = send_buffer {
        sockopt::set_socket_send_buffer_size(stream, bytes)?;
    }
    Ok(())
}
