//! The tracker: who talked to whom, when, and where the recording lies.
//!
//! Law: [`start`] opens the database and the port, or says in one line why not; from then on a
//! recorder's message is answered with success only once it is on the disk. One thread serves HTTP,
//! one writes; they end in that order.

mod access;
pub mod check;
pub mod config;
pub mod counters;
mod end;
pub mod files;
mod fleet;
mod http;
pub mod import;
pub mod ledger;
pub mod list;
pub mod peaks;
#[cfg(test)]
mod sample;
pub mod secret;
pub mod store;
mod sweep;
pub mod verify;
pub mod when;

pub use http::ReloadLog;

use config::Config;
use counters::Counters;
use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::{self, JoinHandle},
};
use store::{OpenError, Store};
use tokio::sync::watch;

/// Why the tracker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be used.
    #[error(
        "{0}; make its directory exist and writable for this user, or give another `database` (--set database=FILE)"
    )]
    Store(#[from] OpenError),
    /// The port cannot be had.
    #[error(
        "cannot listen on {address}: {cause}; stop what uses that port, or give another `listen` (--set listen=ADDRESS:PORT)"
    )]
    Listen {
        /// The address that was wanted.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// The certificate or the key.
    #[error("tls_certificate, tls_key: {0}")]
    Tls(#[from] orktls::TlsError),
    /// The HTTP thread cannot be started.
    #[error("cannot start the HTTP server: {0}")]
    Server(io::Error),
}

/// A running tracker. Dropping it stops it, too.
#[derive(Debug)]
pub struct Tracker {
    address: SocketAddr,
    counters: Arc<Counters>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

/// Opens the database, takes the port and serves, on threads of its own.
///
/// # Errors
/// See [`StartError`]; nothing is left running then.
pub fn start(config: &Config) -> Result<Tracker, StartError> {
    start_with(config, None)
}

/// The same, with a way to tell the log of new settings (`reloadloggingconfig`).
///
/// # Errors
/// See [`StartError`]; nothing is left running then.
pub fn start_with(config: &Config, reload: Option<ReloadLog>) -> Result<Tracker, StartError> {
    let listen = |cause| StartError::Listen { address: config.listen, cause };
    let listener = TcpListener::bind(config.listen).map_err(listen)?;
    listener.set_nonblocking(true).map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let tls = config.tls.as_ref().map(|(certificate, key)| orktls::server(certificate, key, None));
    let tls = tls.transpose()?;
    let counters = Arc::new(Counters::default());
    let (store, writer) = Store::open(&config.database, counters.clone())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Server)?;
    let (stop, stopped) = watch::channel(false);
    let fleet = fleet::Fleet { patience: config.fleet_timeout, stream_port: config.stream_port };
    let (pulse_store, pulse_fleet) = (store.clone(), fleet.clone());
    let (sweep_store, folders) = (store.clone(), config.folders());
    let (hold_store, hold_fleet) = (store.clone(), fleet.clone());
    let (heartbeat, lost_after) = (config.heartbeat, config.lost_after);
    let desk = http::Desk {
        store,
        config: config.clone(),
        tls,
        fleet,
        counters: counters.clone(),
        limiter: http::api::Limiter::default(),
        reload,
    };
    let max_connections = config.max_connections;
    let server = thread::Builder::new().name("orktrack-http".to_owned()).spawn(move || {
        runtime.block_on(async {
            access::offer_setup(&pulse_store).await;
            let pulse = fleet::watch(pulse_store, pulse_fleet, heartbeat, lost_after);
            let pulse = tokio::spawn(pulse);
            let sweep = tokio::spawn(sweep::watch(sweep_store, folders));
            let holds = tokio::spawn(fleet::holds::watch(hold_store, hold_fleet, heartbeat));
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => http::serve(listener, desk, max_connections, stopped).await,
                Err(error) => tracing::error!("cannot serve: {error}"),
            }
            pulse.abort();
            sweep.abort();
            holds.abort();
        });
    });
    let server = server.map_err(StartError::Server)?;
    tracing::info!(%address, tls = config.tls.is_some(), database = %store::Place::of(&config.database).shown(), "tracker ready");
    Ok(Tracker { address, counters, stop, threads: vec![server, writer] })
}

impl Tracker {
    /// The address it listens on; the port is the real one even if 0 was asked for.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it counts.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether all its threads are alive.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// Takes no more connections, finishes what is under way (at most 10 s), stores what was taken and
    /// closes the database.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the tracker ended by a fault of ours");
            }
        }
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests;
