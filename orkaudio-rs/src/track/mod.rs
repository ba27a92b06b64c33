//! The link to the trackers: a queue on disk, and one way out for each tracker.
//!
//! Law: a message that was queued is delivered at least once, in order within its recording, and no
//! recording waits for another. `ready` is on disk before it is sent. The engine never waits here:
//! when the queue is full it is `start`, `stop` and `update` that are dropped and counted, as the
//! wire contract allows, and only the thread that finishes tapes waits.
//!
//! ```text
//! engine, tape threads ── bounded queue ──► track-db: outbox, journal ── due letters ──► track: HTTP
//!                                               ▲                                          │
//!                                               └────────────── feedback ◄─────────────────┘
//! ```

mod address;
mod client;
mod counters;
mod keeper;
mod link;
mod store;
#[cfg(test)]
mod tests;

pub use address::{AddressError, TrackerUrl};
pub use counters::{TrackCounters, TrackerState};
pub use link::TrackerVerdict;

use client::Peer;
use counters::count;
use keeper::{Desk, Item, Keeper, Rules};
use link::{Link, Report};
use orkbase::{
    call::output::Opening,
    message::{
        Message,
        init::InitMessage,
        tag::AddTagMessage,
        tape::{Stage, TapeMessage},
        url,
    },
};
use std::{
    collections::BTreeSet,
    io,
    path::PathBuf,
    sync::{
        Arc, OnceLock, PoisonError,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use store::Store;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

/// Where verdicts go; `None` when nobody wants them.
type Verdicts = Option<SyncSender<TrackerVerdict>>;

/// Letters handed to a link ahead of its connections, so that a connection never waits for the disk.
const WINDOW_PER_CONNECTION: usize = 8;
/// Room in the feedback queue for a tracker coming and going while the disk is slow.
const FEEDBACK_SPARE: usize = 64;
/// How long a stopping database may overrun its deadline before it is left alone.
const GRACE: Duration = Duration::from_secs(3);
/// How long a question about the journal may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the link behaves.
#[derive(Clone, Debug)]
pub struct ReporterConfig {
    /// Who is told; with none, only the journal is kept.
    pub trackers: Vec<TrackerUrl>,
    /// The database; `None` keeps everything in memory, for replay.
    pub state_db: Option<PathBuf>,
    /// How the recorder introduces itself.
    pub init: InitMessage,
    /// For one request, from connecting to the end of the answer.
    pub timeout: Duration,
    /// Who vouches for trackers that speak TLS, or their own certificates (PEM); `None`: the system's authorities.
    pub ca: Option<PathBuf>,
    /// Shortest pause before a failed message is sent again; doubles with every failure.
    pub retry_min: Duration,
    /// Longest pause before a failed message is sent again.
    pub retry_max: Duration,
    /// Longest pause between introductions; the shortest is `retry_min`.
    pub init_retry_max: Duration,
    /// Connections to one tracker at a time.
    pub parallel: usize,
    /// Messages that may wait for the database.
    pub queue: usize,
    /// Closed tapes remembered at most.
    pub keep_tapes: u32,
    /// How long closed tapes are remembered.
    pub keep_age: Duration,
    /// Where to say what trackers decide about recordings.
    pub verdicts: Option<SyncSender<TrackerVerdict>>,
}

impl ReporterConfig {
    /// The defaults: 5 s time-out, 2 s to 60 s between attempts, 8 connections, 50,000 messages in
    /// memory, a million closed tapes or 90 days in the journal.
    #[must_use]
    pub const fn new(trackers: Vec<TrackerUrl>, init: InitMessage) -> Self {
        Self {
            trackers,
            state_db: None,
            init,
            timeout: Duration::from_secs(5),
            ca: None,
            retry_min: Duration::from_secs(2),
            retry_max: Duration::from_secs(60),
            init_retry_max: Duration::from_secs(15),
            parallel: 8,
            queue: 50_000,
            keep_tapes: 1_000_000,
            keep_age: Duration::from_secs(90 * 86_400),
            verdicts: None,
        }
    }
}

/// Why the link cannot be started or used.
#[derive(Debug, Error)]
pub enum ReporterError {
    /// The database cannot be opened.
    #[error("cannot open the tracker queue {path}: check its folder, permissions and free space")]
    Open {
        /// The file.
        path: String,
        /// The database's reason.
        source: rusqlite::Error,
    },
    /// A thread or its runtime could not be made.
    #[error("cannot start the tracker link")]
    Thread(#[from] io::Error),
    /// The file of authorities.
    #[error("tracker.ca: {0}")]
    Tls(#[from] orktls::TlsError),
    /// Too many recordings to be told of again.
    #[error("more than {} recordings in this time; ask for a shorter one", store::MOST_AGAIN)]
    TooMany,
    /// The database does not do what is asked.
    #[error("the journal cannot be read or written: {0}")]
    Journal(String),
    /// The link has been stopped, or its database does not answer.
    #[error("the tracker link is stopped")]
    Stopped,
}

/// A tape that was open when the recorder ended last time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OpenTape {
    /// The recording.
    pub recid: String,
    /// Path below the audio folder, without extension.
    pub path: String,
    /// The latest message about it; `None` when it cannot be read any more.
    pub message: Option<TapeMessage>,
}

/// The running link; dropping it is stopping it at once.
#[derive(Debug)]
pub struct Reporter {
    items: SyncSender<Item>,
    ended: Receiver<u64>,
    keeper: Option<JoinHandle<()>>,
    links: Option<JoinHandle<()>>,
    end_links: Option<oneshot::Sender<()>>,
    give_up: Arc<OnceLock<Instant>>,
}

/// Tells the link what happens to tapes; cheap to clone, for any thread.
#[derive(Clone, Debug)]
pub struct ReporterHandle {
    items: SyncSender<Item>,
    counters: Arc<TrackCounters>,
}

impl Reporter {
    /// Opens the database and starts the two threads, `track-db` and `track`.
    ///
    /// # Errors
    /// The database cannot be opened, or no thread can be made.
    pub fn start(config: ReporterConfig) -> Result<(Self, ReporterHandle), ReporterError> {
        let tls = tls(&config)?;
        let store = open(&config)?;
        let counters = Arc::new(TrackCounters::default());
        warn_of_others(&store, &config);
        counters.outbox_rows.store(store.rows().unwrap_or(0), Relaxed);

        let parallel = config.parallel.max(1);
        let window = parallel.saturating_mul(WINDOW_PER_CONNECTION);
        let (items, item_queue) = sync_channel(config.queue.max(1));
        let room = config.trackers.len().saturating_mul(window + FEEDBACK_SPARE).max(1);
        let (feedback, feedback_queue) = sync_channel(room);

        let (mut desks, mut links) = (Vec::new(), Vec::new());
        let init = url::encode(&config.init.fields());
        for (index, tracker) in config.trackers.iter().enumerate() {
            let (letters, letter_queue) = mpsc::channel(window);
            desks.push(Desk::new(tracker.to_string(), letters));
            links.push(Link {
                index,
                peer: Arc::new(Peer::new(tracker.clone(), tls.clone(), config.timeout, parallel)),
                init: init.clone(),
                letters: letter_queue,
                report: Report { feedback: feedback.clone(), bell: items.clone() },
                verdicts: config.verdicts.clone(),
                counters: Arc::clone(&counters),
                parallel,
                init_retry: (config.retry_min, config.init_retry_max),
            });
        }
        drop(feedback);
        let states = config.trackers.iter().map(|tracker| TrackerState {
            address: tracker.to_string(),
            ..TrackerState::default()
        });
        *counters.trackers.lock().unwrap_or_else(PoisonError::into_inner) = states.collect();

        let give_up = Arc::new(OnceLock::new());
        let keeper = Keeper {
            store,
            items: item_queue,
            feedback: feedback_queue,
            desks,
            rules: Rules {
                retry: (config.retry_min, config.retry_max),
                window,
                keep_tapes: i64::from(config.keep_tapes),
                keep_age: config.keep_age,
                in_memory: config.state_db.is_none(),
            },
            counters: Arc::clone(&counters),
            began: Instant::now(),
            stop_at: None,
            give_up: Arc::clone(&give_up),
            last_commit: None,
            last_prune: None,
        };
        let (links, end_links) = start_links(links, parallel)?;
        let (keeper, ended) = start_keeper(keeper)?;
        let handle = ReporterHandle { items: items.clone(), counters };
        let reporter = Self {
            items,
            ended,
            keeper: Some(keeper),
            links: Some(links),
            end_links: Some(end_links),
            give_up,
        };
        Ok((reporter, handle))
    }

    /// Takes in everything told so far, delivers what can be delivered before the deadline, and
    /// ends. Returns how many messages are left: on disk they go out after the next start, in memory
    /// they are lost.
    #[must_use]
    pub fn stop(mut self, deadline: Duration) -> u64 {
        self.end(deadline)
    }

    fn end(&mut self, deadline: Duration) -> u64 {
        let Some(keeper) = self.keeper.take() else { return 0 };
        let until = Instant::now() + deadline;
        let until = *self.give_up.get_or_init(|| until);
        let mut left = 0;
        if self.say_stop(until) {
            let patience = until.saturating_duration_since(Instant::now()).saturating_add(GRACE);
            match self.ended.recv_timeout(patience) {
                Ok(rows) => left = rows,
                Err(_) => tracing::error!("the tracker queue's disk hangs; left it as it was"),
            }
        }
        drop(self.end_links.take());
        let links = self.links.take();
        for thread in [Some(keeper), links].into_iter().flatten() {
            let name = thread.thread().name().unwrap_or("track").to_owned();
            let patience = Instant::now() + GRACE;
            while !thread.is_finished() && Instant::now() < patience {
                std::thread::sleep(Duration::from_millis(1));
            }
            if !thread.is_finished() {
                tracing::error!("thread {name} did not end in time");
            } else if thread.join().is_err() {
                tracing::error!("thread {name} ended by a fault");
            }
        }
        left
    }
}

impl Reporter {
    /// Queues the end behind everything told before; false when the keeper hangs.
    fn say_stop(&self, until: Instant) -> bool {
        loop {
            match self.items.try_send(Item::Stop(until)) {
                // A keeper that gave up has left its count.
                Ok(()) | Err(TrySendError::Disconnected(_)) => return true,
                Err(TrySendError::Full(_)) if Instant::now() < until + GRACE => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(TrySendError::Full(_)) => {
                    tracing::error!("the tracker queue's disk hangs; left it as it was");
                    return false;
                }
            }
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        let left = self.end(Duration::ZERO);
        if left > 0 {
            tracing::debug!("{left} messages stay in the tracker queue");
        }
    }
}

impl ReporterHandle {
    /// A tape begins: it enters the journal. Never waits.
    pub fn opened(&self, opening: &Opening) {
        let path = opening.path.clone();
        let message = Box::new(opening.message.clone());
        self.offer(Item::Opened { path, message }, &self.counters.journal_dropped);
    }

    /// A stage other than `ready`, as it happens. Never waits. (`ready` told here takes the way of
    /// [`ReporterHandle::ready`], with the message's file name as path.)
    pub fn tell(&self, message: TapeMessage) {
        if message.stage == Stage::Ready {
            let path = message.filename.clone();
            if self.ready(message, path).is_err() {
                count(&self.counters.dropped);
            }
            return;
        }
        if message.recid.is_empty() {
            count(&self.counters.nameless);
            return;
        }
        self.offer(Item::Told(Box::new(message)), &self.counters.dropped);
    }

    /// A tag of a recording, as it is made. Never waits.
    pub fn tag(&self, message: AddTagMessage) {
        if message.orkuid.is_empty() {
            count(&self.counters.nameless);
            return;
        }
        self.offer(Item::Tagged(Box::new(message)), &self.counters.dropped);
    }

    /// A tape is finished: its file, as the journal shall remember it, has its final name and is on
    /// disk. Waits while the queue is full. Told again for the same recording, it is ignored.
    ///
    /// # Errors
    /// [`ReporterError::Stopped`]: the message is not stored; the next start-up sweep finds the file.
    pub fn ready(
        &self,
        message: TapeMessage,
        path: impl Into<String>,
    ) -> Result<(), ReporterError> {
        if message.recid.is_empty() {
            count(&self.counters.nameless);
            return Ok(());
        }
        let message = Box::new(TapeMessage { stage: Stage::Ready, ..message });
        let item = Item::Ready { path: path.into(), message };
        self.items.send(item).map_err(|_| ReporterError::Stopped)
    }

    /// A tape ended without a recording. Waits while the queue is full, as [`Self::ready`] does.
    pub fn discarded(&self, recid: &str) {
        if self.items.send(Item::Discarded(recid.to_owned())).is_err() {
            count(&self.counters.journal_dropped);
        }
    }

    /// Tapes the journal holds as open. Asked before capture begins, these are the tapes of the last
    /// process; a tape's file may nevertheless have its final name already.
    ///
    /// # Errors
    /// [`ReporterError::Stopped`].
    pub fn open_tapes(&self) -> Result<Vec<OpenTape>, ReporterError> {
        let (to, from) = sync_channel(1);
        self.items.send(Item::OpenTapes(to)).map_err(|_| ReporterError::Stopped)?;
        let rows = from.recv_timeout(PATIENCE).map_err(|_| ReporterError::Stopped)?;
        let read = |body: &str| TapeMessage::from_pairs(&url::decode(body.as_bytes()).ok()?).ok();
        let tape = |row: store::OpenRow| OpenTape {
            message: read(&row.body),
            recid: row.recid,
            path: row.path,
        };
        Ok(rows.into_iter().map(tape).collect())
    }

    /// Whether `ready` was told for a recording, delivered or not.
    ///
    /// # Errors
    /// [`ReporterError::Stopped`].
    pub fn is_ready(&self, recid: &str) -> Result<bool, ReporterError> {
        let (to, from) = sync_channel(1);
        self.items.send(Item::IsReady(recid.to_owned(), to)).map_err(|_| ReporterError::Stopped)?;
        from.recv_timeout(PATIENCE).map_err(|_| ReporterError::Stopped)
    }

    /// Tells every tracker once more of the recordings that were ready and lie at least partly between
    /// two moments (Unix seconds, both included); gives how many. One whose `ready` still waits is not
    /// told twice.
    ///
    /// # Errors
    /// Too many, or the journal cannot be used.
    pub fn report_again(&self, from: i64, until: i64) -> Result<u64, ReporterError> {
        let (to, answer) = sync_channel(1);
        let ask = Item::Again { from, until, to };
        self.items.send(ask).map_err(|_| ReporterError::Stopped)?;
        answer.recv_timeout(PATIENCE).map_err(|_| ReporterError::Stopped)?
    }

    /// Gives up messages that a tracker has failed at least once, at most `num`, oldest first; gives
    /// how many. The tracker is named by its host or address; no name means the only one there is.
    ///
    /// # Errors
    /// The journal cannot be used.
    pub fn skip(&self, num: u64, tracker: &str) -> Result<u64, ReporterError> {
        let (to, answer) = sync_channel(1);
        let ask = Item::Skip { num, tracker: tracker.to_owned(), to };
        self.items.send(ask).map_err(|_| ReporterError::Stopped)?;
        answer.recv_timeout(PATIENCE).map_err(|_| ReporterError::Stopped)?
    }

    /// The numbers.
    #[must_use]
    pub const fn counters(&self) -> &Arc<TrackCounters> {
        &self.counters
    }

    fn offer(&self, item: Item, dropped: &std::sync::atomic::AtomicU64) {
        match self.items.try_send(item) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => count(dropped),
        }
    }
}

/// How trackers are spoken to whose address says https; `None` where none does.
fn tls(config: &ReporterConfig) -> Result<Option<Arc<rustls::ClientConfig>>, orktls::TlsError> {
    if !config.trackers.iter().any(TrackerUrl::tls) {
        return Ok(None);
    }
    match &config.ca {
        Some(file) => orktls::pinning_client(file).map(Some),
        None => orktls::client(None).map(Some),
    }
}

fn open(config: &ReporterConfig) -> Result<Store, ReporterError> {
    let path = config.state_db.as_deref();
    Store::open(path).map_err(|source| ReporterError::Open {
        path: path.map_or_else(|| "in memory".to_owned(), |path| path.display().to_string()),
        source,
    })
}

/// Messages for a tracker that is configured no more stay; somebody should know.
fn warn_of_others(store: &Store, config: &ReporterConfig) {
    let known: BTreeSet<String> = config.trackers.iter().map(TrackerUrl::to_string).collect();
    for (tracker, rows) in store.rows_of_others(&known).unwrap_or_default() {
        tracing::warn!(%tracker, rows, "messages wait for a tracker that is not configured");
    }
}

fn start_keeper(keeper: Keeper) -> io::Result<(JoinHandle<()>, Receiver<u64>)> {
    let (end, ended) = sync_channel(1);
    let run = move || {
        let left = keeper.run();
        if end.send(left).is_err() {
            tracing::debug!("nobody waited for the tracker queue to close");
        }
    };
    Ok((std::thread::Builder::new().name("track-db".to_owned()).spawn(run)?, ended))
}

fn start_links(
    links: Vec<Link>,
    parallel: usize,
) -> io::Result<(JoinHandle<()>, oneshot::Sender<()>)> {
    let (end, ended) = oneshot::channel::<()>();
    // Only look-ups of host names use these: one slow name server must not hold up the others.
    let lookups = links.len().saturating_mul(parallel + 1).max(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("track-lookup")
        .max_blocking_threads(lookups)
        .build()?;
    let run = move || {
        runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for link in links {
                tasks.spawn(link.run());
            }
            // Ends when the sender is dropped.
            ended.await.unwrap_or_default();
        });
        runtime.shutdown_background();
    };
    Ok((std::thread::Builder::new().name("track".to_owned()).spawn(run)?, end))
}
