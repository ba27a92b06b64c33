//! `orkaudio run`: the daemon.
//!
//! Order of start: lock, files, database, a list of what a killed process left, doors, capture; then that is saved.
//! Order of stop: capture, calls, tapes, trackers, doors; each with a deadline.

mod desk;
mod run;
mod salvage;

pub use desk::InterfaceState;
pub use run::run;

use crate::{
    announce::{Announcer, LiveTable},
    audit::{Audit, Entry},
    bin::Bin,
    config::Config,
    confine::ConfineError,
    engine::{Engine, EngineSettings},
    gate::{Gate, GateError},
    http::{DoorError, Doors, DoorsConfig, EventHub},
    import::Importer,
    live::{Feeds, LiveDoor},
    office::Office,
    pins::Pins,
    process::{self, Plan},
    report, setup,
    tape::{
        ledger::Ledger,
        volume::{Volume, Watch},
    },
    track::{
        AddressError, Reporter, ReporterConfig, ReporterError, ReporterHandle, TrackerVerdict,
    },
};
use desk::Shared;
use jiff::tz::TimeZone;
use orkbase::{
    call::{
        command::{Command, Reply, Retention},
        naming::Naming,
        output::EndReason,
    },
    ids::TrackingIds,
    message::{Pairs, init::InitMessage},
    time::Timestamp,
};
use orkvault::keys::KeyRing;
use salvage::{Left, Salvage, Saving};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::Ordering,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use thiserror::Error;
use tokio::sync::oneshot;

/// Commands waiting for the engine; the next client is told to come back.
const COMMANDS: usize = 64;
/// Imported tapes waiting to be given to the processors.
const IMPORTS: usize = 64;
/// Verdicts of trackers waiting to be carried out.
const VERDICTS: usize = 1_024;
/// Undelivered messages get this long at the end; what is left waits on the disk.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Why the recorder cannot start.
#[derive(Debug, Error)]
pub enum RunError {
    /// A folder.
    #[error("cannot use the folder {}: {error}; create it for this user or name another ({key})", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// The setting that names it.
        key: &'static str,
        /// Why.
        error: io::Error,
    },
    /// Another recorder uses the state folder.
    #[error("another orkaudio is running on {}; stop it, or give this one its own tracker.state_folder", .0.display())]
    Running(PathBuf),
    /// A tracker address.
    #[error("tracker.urls: {0}")]
    Tracker(#[from] AddressError),
    /// The tracker link.
    #[error(transparent)]
    Reporter(#[from] ReporterError),
    /// A door.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// Who may come through the doors.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// What was to be given up.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// The interfaces.
    #[error(transparent)]
    Capture(#[from] crate::capture::CaptureError),
    /// The ledger.
    #[error("{0}")]
    Ledger(String),
    /// What tapes are sealed with.
    #[error("{0}")]
    Keys(String),
    /// The disk does not keep what it said it had.
    #[error("recording ended: {0}; the next start recovers what is there")]
    Disk(String),
    /// A thread, or old tapes that cannot be looked through.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why not.
        error: io::Error,
    },
}

/// Everything that runs beside the engine.
pub struct Services {
    reporter: Reporter,
    track: ReporterHandle,
    doors: Doors,
    live: Option<LiveDoor>,
    feeds: Arc<Feeds>,
    shared: Arc<Shared>,
    commands: Receiver<(Command, oneshot::Sender<Reply>)>,
    bin: JoinHandle<()>,
    ledger: Option<Arc<Ledger>>,
    keys: Option<Arc<KeyRing>>,
    pins: Arc<Pins>,
    announcer: Announcer,
    /// What an earlier process left, until it is being saved.
    salvage: Option<(Salvage, Left)>,
    saving: Option<Saving>,
    /// Tapes made of files, or left by an earlier process, that are to be processed.
    imported: Receiver<PathBuf>,
    volume: Arc<Volume>,
    _watch: Watch,
    _lock: File,
}

/// Makes the folders that are written to.
fn folders(config: &Config) -> Result<(), RunError> {
    for (path, key) in [
        (&config.tapes.folder, "tapes.folder"),
        (&config.tracker.state_folder, "tracker.state_folder"),
        (&config.output.copy_folder, "output.copy_folder"),
    ] {
        if !path.as_os_str().is_empty() {
            fs::create_dir_all(path).map_err(|error| RunError::Folder {
                path: path.clone(),
                key,
                error,
            })?;
        }
    }
    Ok(())
}

/// Starts what must be there before the first packet, and saves what a killed process left behind.
///
/// # Errors
/// A sentence for the operator.
pub fn prepare(config: &Config) -> Result<Services, RunError> {
    let gate = Arc::new(Gate::open(&config.doors)?);
    folders(config)?;
    let lock = lock(&config.tracker.state_folder)?;
    let calls = u64::try_from(config.calls.max_calls).unwrap_or(u64::MAX);
    match setup::raise_file_limit(calls) {
        Ok(limit) if limit < calls => {
            tracing::warn!(
                limit,
                max_calls = calls,
                "fewer open files than calls.max_calls: raise LimitNOFILE"
            );
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open files"),
    }
    let facts = setup::host_facts(config);
    let port = config.doors.command.map_or(0, |address| address.port());
    let audio = config.tapes.folder.display().to_string();
    let mut init = InitMessage::new(&facts.service, &facts.hostname, port, &audio);
    if let Some(live) = config.doors.live.filter(|live| live.port() != 0) {
        init.streamingport = live.port().to_string();
    }
    let mut trackers = Vec::new();
    for url in &config.tracker.urls {
        trackers.push(url.parse()?);
    }
    let (verdict_in, verdicts) = sync_channel(VERDICTS);
    let (reporter, track) = Reporter::start(ReporterConfig {
        state_db: Some(config.tracker.state_folder.join("orkaudio.db")),
        timeout: Duration::from_secs(config.tracker.timeout_s),
        ca: config.tracker.ca.clone(),
        verdicts: Some(verdict_in),
        ..ReporterConfig::new(trackers, init)
    })?;
    // Numbers grow from one process to the next, and stay exact in a browser.
    let hub = EventHub::starting_at(now().0 / 1_000);
    let live = Arc::new(LiveTable::new());
    let plan = Plan::of(&config.output).is_some();
    process::clean(&config.tapes.folder);
    if !config.output.copy_folder.as_os_str().is_empty() {
        process::clean(&config.output.copy_folder);
    }
    let sidecars = setup::sidecars(config, config.tapes.sync);
    let (volume, watch) = Volume::watch(&config.tapes.folder, config.tapes.reserve_bytes)
        .map_err(|error| RunError::Io { what: "cannot start a thread", error })?;
    let keys = setup::keys(config).map_err(RunError::Keys)?;
    let ledger = setup::ledger(config, &config.tapes.folder, config.tapes.sync);
    let ledger = ledger.map_err(RunError::Ledger)?;
    let (imported_in, imported) = sync_channel(IMPORTS);
    let salvage = Salvage {
        folder: config.tapes.folder.clone(),
        track: track.clone(),
        processed: plan.then(|| imported_in.clone()),
        sidecars,
        ledger: ledger.clone(),
        keys: keys.clone(),
    };
    let left = salvage.list()?;
    let audit = config.tracker.state_folder.join(&config.doors.audit_file);
    let audit = Some(audit).filter(|_| !config.doors.audit_file.as_os_str().is_empty());
    let audit = Audit::new(audit, config.doors.audit_mib << 20, config.doors.audit_files)
        .map(Arc::new)
        .map_err(|error| RunError::Io { what: "cannot open doors.audit_file", error })?;
    let pins = Pins::open(&config.tracker.state_folder).map(Arc::new).map_err(|error| {
        RunError::Io { what: "cannot read the list of pinned recordings", error }
    })?;
    let bin = Bin::new(config, ledger.clone(), Arc::clone(&pins));
    let binned = Arc::clone(&audit);
    // Deleting waits for the disk, so the engine does not do it. It ends with the last link to a tracker.
    let bin = thread::Builder::new().name("bin".to_owned()).spawn(move || {
        for TrackerVerdict::Delete { recid, filename, tracker } in verdicts {
            let success = bin.take(&recid, &filename, &tracker);
            let mut pairs = Pairs::default();
            for (key, value) in [("orkuid", recid), ("filename", filename)] {
                // Two of them fit.
                pairs.push(key.to_owned(), value).unwrap_or_default();
            }
            binned.note(&Entry {
                from: None,
                by: Some(&tracker),
                method: "",
                command: "deletetape",
                pairs: &pairs,
                status: 200,
                success,
                matched: None,
            });
        }
    });
    let bin = bin.map_err(|error| RunError::Io { what: "cannot start a thread", error })?;
    let (command_in, commands) = sync_channel(COMMANDS);
    let announcer = Announcer::new(track.clone(), hub.clone(), Arc::clone(&live));
    let mut importer = importer(config, &track, &announcer, plan.then_some(imported_in));
    importer.ledger.clone_from(&ledger);
    importer.keys.clone_from(&keys);
    let shared = Arc::new(Shared {
        live: Arc::clone(&live),
        engine: Mutex::new(json!({})),
        processing: Mutex::new(json!([])),
        track: track.clone(),
        hub: hub.clone(),
        gate: Arc::clone(&gate),
        interfaces: Mutex::default(),
        turned: Mutex::new(None),
        commands: command_in,
        wake: Mutex::new(None),
        started: SystemTime::now(),
        volume: Arc::clone(&volume),
        office: Arc::new(Office { track: track.clone(), importer, pins: Arc::clone(&pins) }),
        audit: Arc::clone(&audit),
    });
    let addresses = DoorsConfig { command: config.doors.command, events: config.doors.events };
    let doors = Doors::open(addresses, Arc::clone(&shared), Arc::clone(&gate), hub)?;
    let feeds = Arc::new(Feeds::default());
    let listen = |address| {
        let (gate, feeds, live) = (Arc::clone(&gate), Arc::clone(&feeds), Arc::clone(&live));
        LiveDoor::open(address, config.doors.live_buffer_ms, gate, feeds, live, Arc::clone(&audit))
    };
    let live_door = config.doors.live.map(listen).transpose()?;
    let _lock = lock;
    Ok(Services {
        reporter,
        track,
        doors,
        live: live_door,
        feeds,
        pins,
        shared,
        commands,
        bin,
        ledger,
        keys,
        announcer,
        salvage: Some((salvage, left)),
        saving: None,
        imported,
        volume,
        _watch: watch,
        _lock,
    })
}

/// Makes recordings of files; `processed` takes those that need processors.
fn importer(
    config: &Config,
    track: &ReporterHandle,
    announcer: &Announcer,
    processed: Option<SyncSender<PathBuf>>,
) -> Importer {
    let (journal, announcer) = (track.clone(), announcer.clone());
    let process = processed.map(|to| -> Box<dyn Fn(PathBuf) -> bool + Send + Sync> {
        Box::new(move |part| to.try_send(part).is_ok())
    });
    Importer {
        folders: config.doors.import_folders.clone(),
        root: config.tapes.folder.clone(),
        naming: Naming::parse(&config.tapes.naming).unwrap_or_default(),
        zone: TimeZone::system(),
        host: setup::host_facts(config),
        mode: config.tapes.mode,
        sync: config.tapes.sync,
        // Half the names away from those of calls.
        ids: Mutex::new(TrackingIds::new(seed().wrapping_add(228_488) % 456_976)),
        known: Box::new(move |recid| journal.is_ready(recid).unwrap_or(false)),
        tell: Box::new(move |report| announcer.reported(report)),
        ledger: None,
        keys: None,
        process,
    }
}

/// Where tracking ids start.
fn seed() -> u32 {
    u32::try_from(now().0 / 1_000 % 456_976).unwrap_or(0)
}

/// One recorder per state folder.
fn lock(folder: &Path) -> Result<File, RunError> {
    let path = folder.join("orkaudio.lock");
    let file =
        File::options().create(true).truncate(false).write(true).open(&path).map_err(|error| {
            RunError::Folder { path: folder.to_owned(), key: "tracker.state_folder", error }
        })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(RunError::Running(folder.to_owned())),
        Err(fs::TryLockError::Error(error)) => {
            Err(RunError::Io { what: "cannot lock the state folder", error })
        }
    }
}

impl Services {
    /// The command door, if it is open.
    #[must_use]
    pub fn doors(&self) -> &Doors {
        &self.doors
    }

    /// The door to live audio, if it is open.
    #[must_use]
    pub const fn live(&self) -> Option<&LiveDoor> {
        self.live.as_ref()
    }

    /// Starts the engine for live packets.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn engine(&mut self, config: &Config) -> Result<Engine, RunError> {
        let mut settings = EngineSettings {
            feeds: Arc::clone(&self.feeds),
            ..setup::engine(config, config.tapes.folder.clone(), seed(), false, config.tapes.sync)
        };
        settings.tapes.volume = Arc::clone(&self.volume);
        settings.tapes.ledger.clone_from(&self.ledger);
        settings.tapes.keys.clone_from(&self.keys);
        settings.tapes.pins = Some(Arc::clone(&self.pins));
        let announcer = self.announcer.clone();
        let told = move |report| announcer.reported(&report);
        let engine = Engine::start(settings, Box::new(self.announcer.clone()), told)
            .map_err(|error| RunError::Io { what: "cannot start a thread", error })?;
        if let Some((salvage, left)) = self.salvage.take() {
            let saving = salvage.start(left);
            self.saving = Some(
                saving.map_err(|error| RunError::Io { what: "cannot start a thread", error })?,
            );
        }
        Ok(engine)
    }

    /// How commands wake the engine.
    pub fn set_waker(&self, wake: impl Fn() + Send + 'static) {
        *self.shared.wake.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(wake));
    }

    /// Carries out the commands that wait.
    pub fn answer_commands(&self, engine: &mut Engine) {
        while let Ok((command, answer)) = self.commands.try_recv() {
            let now = now().max(engine.last());
            let reply = match self.forbids(engine, now, &command) {
                Some(reply) => reply,
                None => engine.handle_command(now, &command),
            };
            tracing::info!(?command, matched = reply.matched, "command");
            // The client may have gone away; what it asked for was done.
            drop(answer.send(reply));
        }
    }

    /// The answer to a command that would throw away what is pinned.
    fn forbids(&self, engine: &mut Engine, now: Timestamp, command: &Command) -> Option<Reply> {
        let Command::Flag(target, Retention::Discard) = command else { return None };
        let reply = engine.handle_command(now, &Command::Look(target.clone()));
        let pinned = reply.orkuid.as_ref().is_some_and(|recid| self.pins.has(recid.as_str()));
        pinned.then_some(Reply { refused: Some("the recording is pinned"), ..reply })
    }

    /// How the interfaces are.
    pub fn note_interfaces(&self, interfaces: Vec<InterfaceState>) {
        *self.shared.interfaces.lock().unwrap_or_else(PoisonError::into_inner) = interfaces;
    }

    /// What is due about once a second: counters for the doors.
    pub fn housekeeping(&self, engine: &Engine, extra: &[(&str, u64)]) {
        let (tap, tapes, overrun_ms) = engine.counters();
        let mut counters = report::counters(&tap, &tapes, overrun_ms);
        let (calls, flows) = engine.live();
        let table = |n: usize| Value::from(u64::try_from(n).unwrap_or(0));
        counters.insert("call.live".to_owned(), table(calls));
        counters.insert("tape.backlog_bytes".to_owned(), Value::from(engine.backlog_bytes()));
        counters.insert("rtp.flows_live".to_owned(), table(flows));
        if let Some(saving) = &self.saving {
            let left = saving.found.saturating_sub(saving.done.load(Ordering::Relaxed));
            counters.insert("tape.to_be_saved".to_owned(), Value::from(left));
        }
        for (name, value) in self.live.iter().flat_map(LiveDoor::numbers) {
            counters.insert(name.to_owned(), Value::from(value));
        }
        if let Some(ledger) = &self.ledger {
            ledger.count_into(&mut counters);
        }
        for (name, value) in extra {
            counters.insert((*name).to_owned(), Value::from(*value));
        }
        *self.shared.engine.lock().unwrap_or_else(PoisonError::into_inner) =
            Value::Object(counters);
        *self.shared.turned.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        engine.resume(self.imported.try_iter().collect());
        *self.shared.processing.lock().unwrap_or_else(PoisonError::into_inner) =
            report::processing(&engine.processing());
    }

    /// Ends every recording, tells the trackers, closes the doors.
    pub fn stop(self, engine: Engine) {
        let last = now().max(engine.last());
        engine.close(last, EndReason::Shutdown);
        // It may wait for room where tapes wait to be processed.
        drop(self.imported);
        self.saving.into_iter().for_each(Saving::stop);
        // Listeners have heard the end by now, or never will.
        drop(self.live);
        drop(self.announcer);
        drop(self.track);
        let left = self.reporter.stop(LAST_WORDS);
        if left > 0 {
            tracing::warn!(
                left,
                "messages not delivered yet; they wait on the disk for the next start"
            );
        }
        self.doors.close(Duration::from_secs(2));
        if self.bin.join().is_err() {
            tracing::error!("the thread that deletes recordings panicked");
        }
    }
}

/// The clock on the wall, for the live engine only.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
