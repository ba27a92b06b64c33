//! The thread that owns the database: writes down what it is told, hands out what is due.
//!
//! Law: everything that waits goes into one transaction, and only what a finished transaction holds
//! is handed to a tracker. A database that cannot be written holds everything back; nothing is lost
//! but what the full queue refuses.

use super::{
    ReporterError,
    counters::{TrackCounters, count, unix_seconds},
    store::{Batch, Finished, Letter, NewLetter, OpenRow, Store, Tally},
};
use orkbase::message::{
    Message,
    tag::AddTagMessage,
    tape::{Stage, TapeMessage},
    url,
};
use std::{
    collections::BTreeSet,
    sync::{
        Arc, OnceLock,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// Most items in one transaction.
const BATCH: usize = 2000;
/// Transactions on disk begin no faster than this: what comes in between shares the next one.
const COMMIT_EVERY: Duration = Duration::from_millis(20);
/// How long to wait when nothing is known to become due.
const IDLE: Duration = Duration::from_secs(10);
/// How long a failed transaction rests.
const STORE_RETRY: Duration = Duration::from_millis(250);
/// How often closed tapes are pruned, and how many at once.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
const PRUNE_ROWS: i64 = 5000;

/// A tag that a tracker answers with a failure is sent again this often: some six minutes.
const TAG_TRIES: i64 = 10;

/// What the keeper is told.
pub(super) enum Item {
    /// A tape begins.
    Opened { path: String, message: Box<TapeMessage> },
    /// A stage other than `ready`.
    Told(Box<TapeMessage>),
    /// A tag of a tape.
    Tagged(Box<AddTagMessage>),
    /// A tape is finished.
    Ready { path: String, message: Box<TapeMessage> },
    /// A tape ends without a recording.
    Discarded(String),
    /// A question about the journal.
    OpenTapes(SyncSender<Vec<OpenRow>>),
    /// A question about one tape.
    IsReady(String, SyncSender<bool>),
    /// There is feedback.
    Bell,
    /// Queue `ready` of the recordings of a time once more.
    Again { from: i64, until: i64, to: SyncSender<Result<u64, ReporterError>> },
    /// Give up messages that a tracker has failed.
    Skip { num: u64, tracker: String, to: SyncSender<Result<u64, ReporterError>> },
    /// Deliver what can be delivered until then, and end.
    Stop(Instant),
}

/// What the link of a tracker reports.
pub(super) enum Feedback {
    /// It has been introduced to.
    Up(usize),
    /// It cannot be reached.
    Away(usize),
    /// A letter is not on its way any more.
    Done { tracker: usize, letter: Letter, outcome: Outcome },
}

/// What became of a letter.
#[derive(Clone, Copy)]
pub(super) enum Outcome {
    /// The tracker has it.
    Delivered,
    /// The tracker will never have it.
    Refused,
    /// The tracker failed it: again later.
    Failed,
    /// It never left.
    Unsent,
}

/// What the keeper knows of one tracker.
pub(super) struct Desk {
    address: String,
    letters: mpsc::Sender<Letter>,
    phase: Phase,
    on_their_way: BTreeSet<i64>,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Phase {
    /// The first introduction has not been answered yet.
    Fresh,
    Up,
    Away,
}

impl Desk {
    pub(super) const fn new(address: String, letters: mpsc::Sender<Letter>) -> Self {
        Self { address, letters, phase: Phase::Fresh, on_their_way: BTreeSet::new() }
    }
}

/// Bounds and pauses.
pub(super) struct Rules {
    pub(super) retry: (Duration, Duration),
    /// Letters handed to one tracker's link at a time.
    pub(super) window: usize,
    pub(super) keep_tapes: i64,
    pub(super) keep_age: Duration,
    /// Nothing survives this process: stopping waits for every delivery.
    pub(super) in_memory: bool,
}

/// The thread's state.
pub(super) struct Keeper {
    pub(super) store: Store,
    pub(super) items: Receiver<Item>,
    pub(super) feedback: Receiver<Feedback>,
    pub(super) desks: Vec<Desk>,
    pub(super) rules: Rules,
    pub(super) counters: Arc<TrackCounters>,
    pub(super) began: Instant,
    pub(super) stop_at: Option<Instant>,
    /// When to give up on a database that cannot be written: a full queue has no room for `Stop`.
    pub(super) give_up: Arc<OnceLock<Instant>>,
    pub(super) last_commit: Option<Instant>,
    pub(super) last_prune: Option<Instant>,
}

impl Keeper {
    /// Runs until it is stopped or every handle is gone; returns how many messages remain.
    pub(super) fn run(mut self) -> u64 {
        while !self.is_done() {
            let items = self.wait();
            let feedback: Vec<_> = self.feedback.try_iter().collect();
            if !self.write_down(&items, &feedback) {
                break;
            }
            self.answer(items);
            self.hand_out();
        }
        self.counters.outbox_rows.load(Relaxed)
    }

    /// Takes everything that waits, at least one thing unless something becomes due first.
    fn wait(&mut self) -> Vec<Item> {
        let mut items = Vec::new();
        match self.items.recv_timeout(self.patience()) {
            Ok(item) => items.push(item),
            Err(RecvTimeoutError::Timeout) => {}
            // The reporter always says stop; this is a second way out, not the usual one.
            Err(RecvTimeoutError::Disconnected) => self.stop_at = Some(Instant::now()),
        }
        if let Some(last) = self.last_commit.filter(|_| !self.rules.in_memory) {
            std::thread::sleep(COMMIT_EVERY.saturating_sub(last.elapsed()));
        }
        items.extend(self.items.try_iter().take(BATCH));
        items
    }

    fn patience(&self) -> Duration {
        let now = Instant::now();
        let mut until = now + IDLE;
        if let Some(stop_at) = self.stop_at {
            until = until.min(stop_at);
        }
        let up = self.desks.iter().filter(|desk| desk.phase == Phase::Up);
        for desk in up {
            // A database that cannot be read shows itself in the next transaction.
            if let Ok(Some(due)) = self.store.next_due(&desk.address, self.now_ms()) {
                let due = Duration::from_millis(u64::try_from(due).unwrap_or(0));
                until = until.min(self.began + due + Duration::from_millis(1));
            }
        }
        until.saturating_duration_since(now)
    }

    /// One transaction, tried until it succeeds; false when the time to stop came first.
    fn write_down(&mut self, items: &[Item], feedback: &[Feedback]) -> bool {
        for item in items {
            if let Item::Stop(at) = item {
                self.stop_at = Some(*at);
            }
        }
        let prune = self.last_prune.is_none_or(|last| last.elapsed() >= PRUNE_EVERY);
        let mut tally = Tally::default();
        if prune || !feedback.is_empty() || items.iter().any(Item::is_written) {
            let Some(done) = self.commit(items, feedback, prune) else { return false };
            tally = done;
            self.last_commit = Some(Instant::now());
            if prune {
                self.last_prune = self.last_commit;
            }
        }
        self.learn(feedback);
        self.count(&tally);
        true
    }

    fn commit(&mut self, items: &[Item], feedback: &[Feedback], prune: bool) -> Option<Tally> {
        loop {
            let now_ms = self.now_ms();
            let (desks, rules) = (&self.desks, &self.rules);
            let done = self.store.batch(|batch| {
                let work = Work { batch, desks, rules, now_ms, now_s: wall_seconds() };
                work.all(items, feedback, prune)
            });
            match done {
                Ok(tally) => return Some(tally),
                Err(error) => {
                    if self.counters.store_failures.fetch_add(1, Relaxed).is_multiple_of(100) {
                        tracing::error!("cannot write the tracker queue, trying again: {error}");
                    }
                    if self.give_up.get().is_some_and(|at| Instant::now() >= *at) {
                        return None;
                    }
                    std::thread::sleep(STORE_RETRY);
                }
            }
        }
    }

    fn learn(&mut self, feedback: &[Feedback]) {
        for news in feedback {
            match news {
                Feedback::Up(tracker) => self.set_phase(*tracker, Phase::Up),
                Feedback::Away(tracker) => self.set_phase(*tracker, Phase::Away),
                Feedback::Done { tracker, letter, .. } => {
                    if let Some(desk) = self.desks.get_mut(*tracker) {
                        desk.on_their_way.remove(&letter.seq);
                    }
                }
            }
        }
    }

    fn set_phase(&mut self, tracker: usize, phase: Phase) {
        if let Some(desk) = self.desks.get_mut(tracker) {
            desk.phase = phase;
        }
    }

    fn count(&self, tally: &Tally) {
        let counters = &self.counters;
        counters.queued.fetch_add(tally.queued, Relaxed);
        counters.delivered.fetch_add(tally.delivered, Relaxed);
        counters.refused.fetch_add(tally.refused, Relaxed);
        counters.coalesced.fetch_add(tally.coalesced, Relaxed);
        counters.repeated.fetch_add(tally.repeated, Relaxed);
        let before = counters.outbox_rows.load(Relaxed);
        let after = (before + tally.queued).saturating_sub(tally.removed());
        counters.outbox_rows.store(after, Relaxed);
        let oldest = if after == 0 { None } else { self.store.oldest().ok().flatten() };
        let oldest = oldest.and_then(|at| u64::try_from(at).ok()).unwrap_or(0);
        counters.oldest_queued_at.store(oldest, Relaxed);
    }

    /// Answers questions; who asked may have stopped waiting.
    fn answer(&mut self, items: Vec<Item>) {
        for item in items {
            let heard = match item {
                Item::OpenTapes(to) => to.send(self.store.open_tapes().unwrap_or_default()).is_ok(),
                Item::IsReady(recid, to) => {
                    to.send(self.store.is_ready(&recid).unwrap_or(false)).is_ok()
                }
                Item::Again { from, until, to } => to.send(self.again(from, until)).is_ok(),
                Item::Skip { num, tracker, to } => to.send(self.skip(num, &tracker)).is_ok(),
                Item::Opened { .. }
                | Item::Told(_)
                | Item::Tagged(_)
                | Item::Ready { .. }
                | Item::Discarded(_)
                | Item::Bell
                | Item::Stop(_) => true,
            };
            if !heard {
                tracing::debug!("nobody waits for the journal's answer any more");
            }
        }
    }

    fn again(&mut self, from: i64, until: i64) -> Result<u64, ReporterError> {
        let trackers: Vec<&str> = self.desks.iter().map(|desk| desk.address.as_str()).collect();
        let done = self.store.batch(|batch| batch.again(&trackers, (from, until), wall_seconds()));
        let done = done.map_err(|error| ReporterError::Journal(error.to_string()))?;
        let (tapes, queued) = done.ok_or(ReporterError::TooMany)?;
        self.count(&Tally { queued, ..Tally::default() });
        Ok(tapes)
    }

    fn skip(&mut self, num: u64, tracker: &str) -> Result<u64, ReporterError> {
        let meant = |desk: &&Desk| desk.address == tracker || host(&desk.address) == tracker;
        let desk = match (tracker, self.desks.as_slice()) {
            ("", [only]) => Some(only),
            (_, desks) => desks.iter().find(meant),
        };
        let Some(desk) = desk else { return Ok(0) };
        let (address, away) = (&desk.address, &desk.on_their_way);
        let done = self.store.batch(|batch| batch.skip(address, num, away));
        let refused = done.map_err(|error| ReporterError::Journal(error.to_string()))?;
        self.count(&Tally { refused, ..Tally::default() });
        Ok(refused)
    }

    /// Gives every tracker that is up what is due, as far as its link has room.
    fn hand_out(&mut self) {
        let now_ms = self.now_ms();
        for desk in self.desks.iter_mut().filter(|desk| desk.phase == Phase::Up) {
            if desk.on_their_way.len() >= self.rules.window {
                continue;
            }
            // Those on their way are still due and come first: a window's worth is enough.
            let due = match self.store.due(&desk.address, now_ms, self.rules.window) {
                Ok(due) => due,
                Err(error) => {
                    count(&self.counters.store_failures);
                    tracing::debug!("cannot read the tracker queue: {error}");
                    continue;
                }
            };
            for letter in due {
                let seq = letter.seq;
                if !desk.on_their_way.contains(&seq) && desk.letters.try_send(letter).is_ok() {
                    desk.on_their_way.insert(seq);
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        let Some(stop_at) = self.stop_at else { return false };
        if Instant::now() >= stop_at {
            return true;
        }
        let idle = |desk: &Desk| desk.phase != Phase::Fresh && desk.on_their_way.is_empty();
        let empty = self.counters.outbox_rows.load(Relaxed) == 0;
        // What is on disk may wait for the next start; what is only in memory may not.
        empty || (!self.rules.in_memory && self.desks.iter().all(idle))
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

impl Item {
    /// Whether it changes the database.
    const fn is_written(&self) -> bool {
        match self {
            Self::Opened { .. }
            | Self::Told(_)
            | Self::Tagged(_)
            | Self::Ready { .. }
            | Self::Discarded(_) => true,
            Self::OpenTapes(_)
            | Self::IsReady(..)
            | Self::Again { .. }
            | Self::Skip { .. }
            | Self::Bell
            | Self::Stop(_) => false,
        }
    }
}

/// The host in a tracker's address.
fn host(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
        Some((v6, _)) => v6,
        None => authority.split(':').next().unwrap_or_default(),
    }
}

/// One transaction's view of the world.
struct Work<'a> {
    batch: &'a Batch<'a>,
    desks: &'a [Desk],
    rules: &'a Rules,
    now_ms: i64,
    now_s: i64,
}

impl Work<'_> {
    /// Feedback first: a letter that failed is known as failed when a later stage comes.
    fn all(&self, items: &[Item], feedback: &[Feedback], prune: bool) -> rusqlite::Result<Tally> {
        let mut tally = Tally::default();
        let mut back = BTreeSet::new();
        for news in feedback {
            if let Feedback::Done { tracker, letter, outcome } = news {
                back.insert((*tracker, letter.seq));
                self.done(*tracker, letter, *outcome, &mut tally)?;
            }
        }
        for item in items {
            self.item(item, &back, &mut tally)?;
        }
        if prune {
            let age = i64::try_from(self.rules.keep_age.as_secs()).unwrap_or(i64::MAX);
            let before = self.now_s.saturating_sub(age);
            self.batch.prune(before, self.rules.keep_tapes, PRUNE_ROWS)?;
        }
        Ok(tally)
    }

    fn done(
        &self,
        tracker: usize,
        letter: &Letter,
        outcome: Outcome,
        tally: &mut Tally,
    ) -> rusqlite::Result<()> {
        let Some(desk) = self.desks.get(tracker) else { return Ok(()) };
        match outcome {
            Outcome::Delivered => {
                tally.delivered += 1;
                self.batch.taken(&desk.address, letter)
            }
            Outcome::Refused => {
                tally.refused += 1;
                self.batch.taken(&desk.address, letter)
            }
            // A tracker that knows no tags must not hold up the stages behind one for ever.
            Outcome::Failed
                if letter.stage == AddTagMessage::CLASS && letter.tries >= TAG_TRIES =>
            {
                tracing::warn!(orkuid = %letter.recid, tracker = %desk.address, "tag given up");
                tally.refused += 1;
                self.batch.taken(&desk.address, letter)
            }
            Outcome::Failed => {
                let pause = backoff(self.rules.retry, letter.tries);
                self.batch.failed(letter.seq, self.now_ms.saturating_add(pause))
            }
            Outcome::Unsent => Ok(()),
        }
    }

    fn item(
        &self,
        item: &Item,
        back: &BTreeSet<(usize, i64)>,
        tally: &mut Tally,
    ) -> rusqlite::Result<()> {
        match item {
            Item::Opened { path, message } => {
                let body = url::encode(&message.fields());
                self.batch.opened(&message.recid, path, &body, capture_seconds(message))
            }
            Item::Told(message) => {
                let body = url::encode(&message.fields());
                self.batch.latest(&message.recid, &body)?;
                self.queue(message, &body, back, tally)
            }
            Item::Tagged(message) => {
                let body = url::encode(&message.fields());
                let new = NewLetter {
                    recid: &message.orkuid,
                    stage: AddTagMessage::CLASS,
                    body: &body,
                    queued_at: self.now_s,
                };
                for desk in self.desks {
                    self.batch.queue(&desk.address, &new)?;
                    tally.queued += 1;
                }
                Ok(())
            }
            Item::Ready { path, message } => {
                let body = url::encode(&message.fields());
                let tape = Finished {
                    recid: &message.recid,
                    path,
                    body: &body,
                    opened_at: capture_seconds(message),
                    closed_at: self.now_s,
                };
                if !self.batch.ready(&tape)? {
                    tally.repeated += 1;
                    return Ok(());
                }
                self.queue(message, &body, back, tally)
            }
            Item::Discarded(recid) => self.batch.discarded(recid, self.now_s),
            Item::OpenTapes(_)
            | Item::IsReady(..)
            | Item::Again { .. }
            | Item::Skip { .. }
            | Item::Bell
            | Item::Stop(_) => Ok(()),
        }
    }

    fn queue(
        &self,
        message: &TapeMessage,
        body: &str,
        back: &BTreeSet<(usize, i64)>,
        tally: &mut Tally,
    ) -> rusqlite::Result<()> {
        let stage = message.stage.as_str();
        let new = NewLetter { recid: &message.recid, stage, body, queued_at: self.now_s };
        for (tracker, desk) in self.desks.iter().enumerate() {
            if message.stage != Stage::Start {
                let away = desk.phase == Phase::Away;
                let still = desk.on_their_way.iter().copied();
                let still = still.filter(|seq| !back.contains(&(tracker, *seq))).collect();
                tally.coalesced +=
                    self.batch.coalesce(&desk.address, &message.recid, away, &still)?;
            }
            self.batch.queue(&desk.address, &new)?;
            tally.queued += 1;
        }
        Ok(())
    }
}

/// The pause after one more failed attempt: doubles from the shortest to the longest.
fn backoff((shortest, longest): (Duration, Duration), tries: i64) -> i64 {
    let doublings = u32::try_from(tries).unwrap_or(u32::MAX).min(16);
    let pause = longest.min(shortest.saturating_mul(1 << doublings));
    i64::try_from(pause.as_millis()).unwrap_or(i64::MAX)
}

fn capture_seconds(message: &TapeMessage) -> i64 {
    i64::try_from(message.timestamp).unwrap_or(i64::MAX)
}

fn wall_seconds() -> i64 {
    i64::try_from(unix_seconds()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let pauses = [0, 1, 4, 5, 1000]
            .map(|tries| backoff((Duration::from_secs(2), Duration::from_secs(60)), tries));
        assert_eq!(pauses, [2000, 4000, 32_000, 60_000, 60_000]);
    }
}
