//! How clients get in, the same at every door: counted, past the gate, so many at a time.

use crate::gate::{Gate, Guest};
use rustix::net::sockopt;
use std::{future::Future, io, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
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
    /// Clients at a time; the next one is closed without a word.
    pub(crate) most: usize,
    /// Kernel memory that a client who does not read can hold, in bytes; `None` is the kernel's own.
    pub(crate) send_buffer: Option<usize>,
    /// How long a client may take to be let in.
    pub(crate) patience: Duration,
}

/// Why somebody is not in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Turned {
    /// There are as many as there may be.
    Full,
    /// The kernel gave no connection, mostly for want of descriptors.
    Failed,
    /// Not past the gate.
    Away,
}

impl Entrance {
    /// Lets clients in until the door closes; gives those who are in by then.
    pub(crate) async fn open<F>(
        self,
        mut stop: watch::Receiver<bool>,
        turned: impl Fn(Turned) + Clone + Send + 'static,
        serve: impl Fn(Guest) -> F + Clone + Send + 'static,
    ) -> JoinSet<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let places = Arc::new(Semaphore::new(self.most));
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
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                turned(Turned::Full);
                continue;
            };
            if let Err(error) = settle(&stream, self.send_buffer) {
                tracing::debug!("cannot set socket options: {error}");
            }
            let (gate, patience) = (Arc::clone(&self.gate), self.patience);
            let (turned, serve) = (turned.clone(), serve.clone());
            clients.spawn(async move {
                match gate.greet(stream, from, patience).await {
                    Ok(guest) => serve(guest).await,
                    Err(error) => {
                        tracing::debug!(%from, "not let in: {error}");
                        turned(Turned::Away);
                    }
                }
                drop(place);
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
