//! Threads that process closed tapes.
//!
//! Law: so many tapes wait in memory and all others on the disk, so that nobody who closes a tape
//! waits for a processor, unless asked to (replay). What is not done when the recorder stops waits
//! for the next start.

use super::{
    job::{End, Job, Tell},
    plan::{Plan, Step},
    spill::Spill,
};
use crate::{
    report,
    tape::{
        finish::{Finished, Outcome, Report},
        ledger::{self, Ledger, Stored},
        packets,
        recover::{self, Recovered},
        sidecar::Sidecars,
        worker::TapeCounters,
    },
};
use jiff::tz::TimeZone;
use orkbase::message::tape::TapeMessage;
use orkvault::keys::KeyRing;
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Tapes that wait in memory; live, all others wait on the disk.
const WAITING: usize = 1_024;
/// A stopping recorder lets processors go on for so long.
const PATIENCE: Duration = Duration::from_secs(20);
/// How nice the threads are to those that record.
const NICE: i32 = 10;

/// What all threads work with.
#[derive(Clone, Debug)]
pub struct Shop {
    /// The audio folder.
    pub root: PathBuf,
    /// What is done.
    pub plan: Arc<Plan>,
    /// Permissions of new files.
    pub mode: u32,
    /// Bytes and names are forced to the disk before a tape is told to be ready.
    pub sync: bool,
    /// What is told of a tape is written beside it.
    pub sidecars: Option<Sidecars>,
    /// What becomes of tapes is written down.
    pub ledger: Option<Arc<Ledger>>,
    /// What files are sealed with; `None` leaves them plain.
    pub keys: Option<Arc<KeyRing>>,
    /// Calendar of names.
    pub zone: TimeZone,
}

/// A tape to be processed.
#[derive(Debug)]
pub enum Work {
    /// Just closed, lying there.
    Fresh(Box<Finished>, PathBuf),
    /// Of an earlier process, or from the queue on the disk.
    Left(PathBuf),
}

/// What a thread does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Progress {
    /// The recording.
    pub orkuid: String,
    /// Its processor.
    pub step: Step,
    /// How much of it is done.
    pub percent: u64,
}

/// Who is told: given what became of a tape, says whether that is stored.
type Told = Arc<Mutex<dyn FnMut(Report) -> bool + Send>>;

struct Queue {
    waiting: VecDeque<Work>,
    spill: Spill,
    busy: usize,
    ending: bool,
}

struct Shared {
    shop: Shop,
    counters: Arc<TapeCounters>,
    told: Told,
    /// Whoever gives work waits for room.
    wait: bool,
    queue: Mutex<Queue>,
    changed: Condvar,
    abort: AtomicBool,
    jobs: AtomicU64,
    progress: Mutex<BTreeMap<u64, Progress>>,
}

/// The threads.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("shop", &self.shared.shop).finish_non_exhaustive()
    }
}

impl Pool {
    /// Starts the threads.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start(
        shop: Shop,
        counters: Arc<TapeCounters>,
        told: Told,
        wait: bool,
    ) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        let workers = shop.plan.output.workers.max(1);
        let queue =
            Queue { waiting: VecDeque::new(), spill: Spill::default(), busy: 0, ending: false };
        let shared = Arc::new(Shared {
            shop,
            counters,
            told,
            wait,
            queue: Mutex::new(queue),
            changed: Condvar::new(),
            abort: AtomicBool::new(false),
            jobs: AtomicU64::new(0),
            progress: Mutex::new(BTreeMap::new()),
        });
        let mut threads = Vec::new();
        for number in 0..workers {
            let shared = Arc::clone(&shared);
            let thread = thread::Builder::new().name(format!("process-{number}"));
            threads.push(thread.spawn(move || {
                // On Linux the thread's own; where it is forbidden it works as it is.
                let _nice = rustix::process::setpriority_process(None, NICE);
                shared.work();
            })?);
        }
        Ok((Self { shared }, threads))
    }

    /// Gives a tape to be processed.
    pub fn give(&self, work: Work) {
        let shared = &self.shared;
        let mut queue = shared.lock();
        while shared.wait && queue.waiting.len() >= WAITING {
            queue = shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        shared.counters.process_queued.fetch_add(1, Ordering::Relaxed);
        if queue.waiting.len() < WAITING && queue.spill.len() == 0 {
            queue.waiting.push_back(work);
        } else {
            let path = match &work {
                Work::Fresh(_, path) | Work::Left(path) => path.clone(),
            };
            let folder = shared.shop.root.join(super::FOLDER);
            if let Err(error) = queue.spill.push(&folder, &path) {
                tracing::error!(path = %path.display(), %error, "cannot queue a tape: it is processed after the next start");
                shared.counters.process_queued.fetch_sub(1, Ordering::Relaxed);
            }
        }
        shared.changed.notify_all();
    }

    /// What is being done.
    #[must_use]
    pub fn progress(&self) -> Vec<Progress> {
        let progress = self.shared.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.values().cloned().collect()
    }

    /// Ends the threads: all work is done first if whoever gave it waits, otherwise what can be done
    /// in 20 seconds.
    pub fn end(&self, threads: Vec<JoinHandle<()>>) {
        let shared = &self.shared;
        let until = Instant::now() + PATIENCE;
        let mut queue = shared.lock();
        queue.ending = true;
        shared.changed.notify_all();
        while !shared.wait && !queue.is_idle() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let tapes = shared.counters.process_queued.load(Ordering::Relaxed);
                tracing::warn!(tapes, "tapes not processed yet wait for the next start");
                shared.abort.store(true, Ordering::Relaxed);
                shared.changed.notify_all();
                break;
            }
            let waited = shared.changed.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(queue);
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a processing thread panicked");
            }
        }
        // Empty, unless another process works here too.
        drop(std::fs::remove_dir(shared.shop.root.join(super::FOLDER)));
    }
}

impl Queue {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.spill.len() == 0 && self.busy == 0
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopping(&self) -> bool {
        self.abort.load(Ordering::Relaxed)
    }

    /// Until there is no more to do.
    fn work(&self) {
        while let Some(work) = self.next() {
            let number = self.jobs.fetch_add(1, Ordering::Relaxed);
            let begun = Instant::now();
            let end = catch_unwind(AssertUnwindSafe(|| self.one(work, number)));
            let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.counters.process_ms.fetch_add(ms, Ordering::Relaxed);
            self.counters.process_queued.fetch_sub(1, Ordering::Relaxed);
            self.progress.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
            match end {
                Ok(End::Done) => {
                    self.counters.processed.fetch_add(1, Ordering::Relaxed);
                }
                Ok(End::Failed(_)) => {
                    self.counters.process_failed.fetch_add(1, Ordering::Relaxed);
                }
                Ok(End::Left) => {}
                Err(_) => {
                    self.counters.process_failed.fetch_add(1, Ordering::Relaxed);
                    tracing::error!("a processor panicked: its tape waits for the next start");
                }
            }
            self.lock().busy -= 1;
            self.changed.notify_all();
        }
    }

    fn next(&self) -> Option<Work> {
        let mut queue = self.lock();
        loop {
            if self.stopping() {
                return None;
            }
            let mut next = queue.waiting.pop_front();
            if next.is_none() {
                next = match queue.spill.pop() {
                    Ok(path) => path.map(Work::Left),
                    Err(error) => {
                        tracing::error!(%error, "the queue of tapes cannot be read: they are processed after the next start");
                        queue.spill = Spill::default();
                        None
                    }
                };
            }
            if next.is_some() {
                queue.busy += 1;
                drop(queue);
                self.changed.notify_all();
                return next;
            }
            if queue.ending {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn one(&self, work: Work, number: u64) -> End {
        match work {
            Work::Fresh(finished, part) => {
                let message = crate::announce::ready(&finished, "");
                let orkuid = message.recid.clone();
                let mut finished = Some(finished);
                let end = self.job(part, message, number, &mut |message, files, stored| {
                    let Some(mut done) = finished.take() else { return true };
                    done.closing.message.tags.clone_from(&message.tags);
                    done.closing.message.side = message.side;
                    done.outcome = Outcome::Ready(message.filename.clone());
                    if files.len() > 1 {
                        done.files = files.to_vec();
                    }
                    done.stored = stored.to_vec();
                    if let Some(ledger) = &self.shop.ledger {
                        ledger.enter(ledger::of(&done));
                    }
                    if let Some(sidecars) = self.shop.sidecars {
                        sidecars.tell(&self.shop.root, &message.filename, &done);
                    }
                    self.tell(Report::Processed(done))
                });
                log(&orkuid, &end);
                if let Some(mut done) = finished.take().filter(|_| !self.stopping()) {
                    let why = "its files could not be named; it waits as .part for the next start";
                    done.outcome = Outcome::Failed(why.to_owned());
                    self.tell(Report::Processed(done));
                }
                end
            }
            Work::Left(part) => {
                let mended = match recover::mend(&part, self.shop.keys.as_deref()) {
                    Ok(Some(mended)) => mended,
                    Ok(None) => return End::Done,
                    Err(error) => {
                        tracing::error!(part = %part.display(), %error, "cannot read a tape; it is left as it is");
                        return End::Left;
                    }
                };
                let mut message = mended.message;
                if !message.tags.contains_key(packets::TAG) {
                    packets::tag(&mut message, &self.shop.root, &part);
                }
                let orkuid = message.recid.clone();
                let duration_ms = mended.duration_ms;
                let end = self.job(part, message, number, &mut |message, _, stored| {
                    if let Some(ledger) = &self.shop.ledger {
                        ledger.recovered(message, duration_ms, stored);
                    }
                    let (message, path) = (message.clone(), message.filename.clone());
                    let recovered = Recovered { message, duration_ms, path };
                    if let Some(sidecars) = self.shop.sidecars {
                        let tape = self.shop.root.join(&recovered.path);
                        sidecars.write(&tape, &report::recovered(&recovered));
                    }
                    self.tell(Report::Recovered(Box::new(recovered)))
                });
                log(&orkuid, &end);
                end
            }
        }
    }

    fn job(&self, part: PathBuf, message: TapeMessage, number: u64, tell: &mut Tell<'_>) -> End {
        let orkuid = message.recid.clone();
        let mut watch = |step, percent| {
            let progress = Progress { orkuid: orkuid.clone(), step, percent };
            let mut all = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(number, progress);
            !self.stopping()
        };
        let mut tell = |message: &TapeMessage, files: &[String], stored: &[Stored]| {
            self.counters.finished.fetch_add(1, Ordering::Relaxed);
            tell(message, files, stored)
        };
        Job::new(&self.shop, part, message, number).run(&mut watch, &mut tell)
    }

    fn tell(&self, report: Report) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told(report)
    }
}

fn log(orkuid: &str, end: &End) {
    match end {
        End::Done => tracing::debug!(orkuid, "processed"),
        End::Failed(why) => tracing::error!(orkuid, why, "a processor failed"),
        End::Left => tracing::warn!(orkuid, "a tape waits for the next start"),
    }
}
