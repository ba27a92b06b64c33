//! What the doors ask of the recorder: commands, errands, its health, its numbers.

use crate::{
    announce::{LiveTable, live_calls},
    audit::{Audit, Entry},
    gate::Gate,
    http::{Answer, Busy, Errand, EventHub},
    office::Office,
    tape::volume::Volume,
    track::ReporterHandle,
};
use orkbase::call::command::{Command, Reply};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex, PoisonError, mpsc::SyncSender},
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::oneshot;

/// A recorder that has not turned for so long does not record.
const STANDSTILL: Duration = Duration::from_secs(5);

/// What doors and engine share.
pub(super) struct Shared {
    pub(super) live: Arc<LiveTable>,
    pub(super) engine: Mutex<Value>,
    pub(super) processing: Mutex<Value>,
    pub(super) track: ReporterHandle,
    pub(super) hub: EventHub,
    pub(super) gate: Arc<Gate>,
    pub(super) interfaces: Mutex<Vec<InterfaceState>>,
    /// When the engine was last seen to turn.
    pub(super) turned: Mutex<Option<Instant>>,
    pub(super) commands: SyncSender<(Command, oneshot::Sender<Reply>)>,
    pub(super) wake: Mutex<Option<Box<dyn Fn() + Send>>>,
    pub(super) started: SystemTime,
    pub(super) volume: Arc<Volume>,
    pub(super) office: Arc<Office>,
    pub(super) audit: Arc<Audit>,
}

impl crate::http::Desk for Shared {
    async fn command(&self, command: Command) -> Result<Reply, Busy> {
        let (answer, reply) = oneshot::channel();
        self.commands.try_send((command, answer)).map_err(|_| Busy)?;
        if let Some(wake) = self.wake.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            wake();
        }
        reply.await.map_err(|_| Busy)
    }

    async fn errand(&self, errand: Errand) -> Answer {
        let office = Arc::clone(&self.office);
        let done = tokio::task::spawn_blocking(move || office.run(errand)).await;
        done.unwrap_or_else(|_| Answer::failed("it could not be carried out"))
    }

    fn audit(&self, entry: &Entry<'_>) {
        self.audit.note(entry);
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let turned = *self.turned.lock().unwrap_or_else(PoisonError::into_inner);
        match turned.map(|at| at.elapsed()) {
            None => problems.push("capture has not begun".to_owned()),
            Some(rest) if rest > STANDSTILL => {
                problems.push(format!("capture has stood still for {} s", rest.as_secs()));
            }
            Some(_) => {}
        }
        let interfaces = self.interfaces.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = interfaces.iter().filter(|interface| !interface.open);
        problems.extend(
            closed.map(|interface| format!("the interface {} is not there", interface.name)),
        );
        drop(interfaces);
        problems.extend(self.volume.problems());
        problems
    }

    fn status(&self) -> Value {
        let mut counters = self.engine.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(counters) = counters.as_object_mut() {
            for (name, value) in self.track.counters().list() {
                counters.insert(name.to_owned(), Value::from(value));
            }
            let (written, failed) = self.audit.counts();
            counters.insert("audit.written".to_owned(), Value::from(written));
            counters.insert("audit.failed".to_owned(), Value::from(failed));
            for (name, value) in self.gate.numbers() {
                counters.insert(name.to_owned(), Value::from(value));
            }
            counters.insert("events.published".to_owned(), Value::from(self.hub.published()));
            counters.insert("events.dropped".to_owned(), Value::from(self.hub.dropped()));
        }
        let uptime = self.started.elapsed().unwrap_or_default().as_secs();
        json!({
            "version": env!("CARGO_PKG_VERSION"), "uptime_s": uptime,
            "calls": live_calls(&self.live),
            // Bytes where tapes go; the tracker shows it for its recorders.
            "disk_free": self.volume.free(),
            "interfaces": self.interfaces(),
            "processing": *self.processing.lock().unwrap_or_else(PoisonError::into_inner),
            "counters": counters,
        })
    }
}

impl Shared {
    fn interfaces(&self) -> Vec<Value> {
        let interfaces = self.interfaces.lock().unwrap_or_else(PoisonError::into_inner);
        let told = interfaces.iter().map(|interface| {
            json!({
                "name": interface.name, "open": interface.open, "received": interface.received,
                "dropped": interface.dropped, "driver_dropped": interface.driver_dropped,
            })
        });
        told.collect()
    }
}

/// An interface, as the operator sees it; frames since the start.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct InterfaceState {
    /// Its name.
    pub name: String,
    /// Packets come from it.
    pub open: bool,
    /// Passed the filter, dropped ones included.
    pub received: u64,
    /// Dropped by the kernel for want of room.
    pub dropped: u64,
    /// Dropped by the interface or its driver.
    pub driver_dropped: u64,
}
