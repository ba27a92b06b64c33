//! The engine: the only owner of the core; hands its outputs to tape workers and listeners.
//!
//! Law: a live engine never waits for a disk. Replay waits, so that nothing is lost there; apart from
//! that both are the same code, and the same capture gives the same tapes. A fault of the core ends the call that
//! it was looking at; a second one while that call is given up ends the process, and the next start recovers.

use crate::live::Feeds;
use crate::process::{Plan, Pool, Progress, Shop, Work};
use crate::tape::{
    finish::{self, Report, Step},
    sync::Syncing,
    worker::{Ending, Job, TapeCounters, TapeSettings, Worker},
};
use foldhash::fast::RandomState;
use orkbase::{
    audio::{block::Block, codec::DecoderSource},
    call::{
        command::{Command, Reply},
        foresee::Seen,
        output::{AddTag, EndReason, Opening, Output, PacketBlock, TapeId},
        settings::Settings,
        story::Account,
    },
    message::tape::TapeMessage,
    packet::{Frame, decoder::Limits},
    rtp::timeline::{TICKS_PER_MILLI, millis_from_ticks},
    tap::{Tap, TapCounters},
    time::Timestamp,
    tls,
};
use std::{
    collections::HashMap,
    io, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
};

/// Jobs handed over together.
const BATCH: usize = 64;
/// Batches under way to one worker.
const BATCHES: usize = 8;
/// Closed tapes waiting to be finished; a worker waits beyond that.
const FINISHING: usize = 1_024;

/// Told of what happens to recordings, at once and on the engine's thread: must not wait.
pub trait Listener: Send {
    /// A tape begins.
    fn opened(&mut self, opening: &Opening);
    /// Something is told to the tracker and to the event stream.
    fn told(&mut self, message: &TapeMessage);
    /// Something is said about a moment of a tape.
    fn tagged(&mut self, tag: &AddTag);
    /// A tape ends; its file is not finished yet.
    fn closed(&mut self, tape: TapeId);
}

/// Frames that are at hand, for [`Engine::handle_frames`].
pub trait Frames {
    /// The next one, and what was seen of it; none when it would have to be waited or looked for.
    fn next(&mut self) -> Option<(Frame<'_>, Seen)>;
    /// One that will come soon, each once; none when no more can be told.
    fn soon(&mut self) -> Option<Frame<'_>>;
    /// What was seen of that one.
    fn note(&mut self, seen: Seen);
}

/// How the engine runs.
#[expect(missing_debug_implementations, reason = "holds a decoder source")]
pub struct EngineSettings {
    /// What can be decoded.
    pub decoders: Arc<dyn DecoderSource>,
    /// Calls.
    pub calls: Settings,
    /// Packets.
    pub limits: Limits,
    /// Encrypted signalling.
    pub tls: tls::Settings,
    /// Where tracking ids start.
    pub seed: u32,
    /// Tapes.
    pub tapes: TapeSettings,
    /// Tape workers.
    pub workers: usize,
    /// Audio that may wait for the disk, in bytes over all workers; beyond it live audio is lost.
    pub backlog_bytes: usize,
    /// Wait for the disk instead of losing audio.
    pub wait: bool,
    /// Where audio is left for those who listen.
    pub feeds: Arc<Feeds>,
    /// What is done to closed tapes; `None` leaves them as recorded.
    pub plan: Option<Arc<Plan>>,
}

#[derive(Debug)]
struct Link {
    jobs: SyncSender<Vec<Job>>,
    waiting: Vec<Job>,
    /// Bytes that were given to the worker and are not done with.
    bytes: Arc<AtomicUsize>,
}

/// The core with its hands.
pub struct Engine {
    tap: Tap,
    links: Vec<Link>,
    empties: Receiver<Vec<Vec<u8>>>,
    listener: Box<dyn Listener>,
    overruns: HashMap<TapeId, u64, RandomState>,
    /// Packets not kept beside live tapes because the disk could not keep up.
    packets_lost: HashMap<TapeId, u64, RandomState>,
    overrun_ms: u64,
    /// Packets the kernel dropped so far, and how many when each live tape began.
    drops: u64,
    drops_before: HashMap<TapeId, u64, RandomState>,
    order: u64,
    wait: bool,
    feeds: Arc<Feeds>,
    backlog_per_link: usize,
    threads: Vec<JoinHandle<()>>,
    pool: Option<(Pool, Vec<JoinHandle<()>>)>,
    syncing: Option<Syncing>,
    tape_counters: Arc<TapeCounters>,
    last: Timestamp,
}

impl Engine {
    /// Starts the tape threads; `report` hears of every finished tape, on the finishing thread or on
    /// one that processes, and says whether what it heard is stored.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(
        settings: EngineSettings,
        listener: Box<dyn Listener>,
        report: impl FnMut(Report) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let tape_counters = Arc::new(TapeCounters::default());
        let tapes = Arc::new(settings.tapes);
        let (finish_in, finish_out) = sync_channel::<Step>(FINISHING);
        let (empty_in, empties) = sync_channel(BATCHES * 4);
        let syncing = match tapes.sync_interval {
            Some(interval) => {
                let (volume, counters) = (Arc::clone(&tapes.volume), Arc::clone(&tape_counters));
                Some(Syncing::start(tapes.root.clone(), interval, volume, counters)?)
            }
            None => None,
        };
        let mut threads = Vec::new();
        let mut links = Vec::new();
        for number in 0..settings.workers.max(1) {
            let (jobs, incoming) = sync_channel(BATCHES);
            let worker = Worker::new(
                Arc::clone(&settings.decoders),
                Arc::clone(&tapes),
                Arc::clone(&tape_counters),
                finish_in.clone(),
                empty_in.clone(),
                Arc::clone(&settings.feeds),
            )
            .syncing(syncing.as_ref().map(Syncing::opened));
            let name = format!("tape-{number}");
            let bytes = Arc::new(AtomicUsize::new(0));
            let waiting = Arc::clone(&bytes);
            let work = move || worker.run(&incoming, &waiting);
            threads.push(thread::Builder::new().name(name).spawn(work)?);
            links.push(Link { jobs, waiting: Vec::new(), bytes });
        }
        drop(finish_in);
        let counters = Arc::clone(&tape_counters);
        let told: Arc<Mutex<dyn FnMut(Report) -> bool + Send>> = Arc::new(Mutex::new(report));
        let pool = match settings.plan {
            Some(plan) => {
                let shop = Shop {
                    root: tapes.root.clone(),
                    plan,
                    mode: tapes.mode,
                    sync: tapes.sync,
                    sidecars: tapes.sidecars,
                    ledger: tapes.ledger.clone(),
                    keys: tapes.keys.clone(),
                    zone: tapes.zone.clone(),
                };
                let (counters, told) = (Arc::clone(&counters), Arc::clone(&told));
                Some(Pool::start(shop, counters, told, settings.wait)?)
            }
            None => None,
        };
        let giver = pool.as_ref().map(|(pool, _)| pool.clone());
        threads.push(thread::Builder::new().name("finish".to_owned()).spawn(move || {
            let mut report = |report| {
                let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                // What is not stored is told at the next start.
                let _stored: bool = told(report);
            };
            finish::run(&tapes, &counters, &finish_out, giver.as_ref(), &mut report);
        })?);
        let mut tap = Tap::new(settings.calls, settings.limits, settings.seed);
        tap.set_decoders(settings.decoders);
        tap.set_tls(settings.tls);
        let backlog_per_link = settings.backlog_bytes / links.len().max(1);
        Ok(Self {
            tap,
            links,
            empties,
            listener,
            overruns: HashMap::default(),
            packets_lost: HashMap::default(),
            overrun_ms: 0,
            drops: 0,
            drops_before: HashMap::default(),
            order: 0,
            wait: settings.wait,
            feeds: settings.feeds,
            backlog_per_link,
            threads,
            pool,
            syncing,
            tape_counters,
            last: Timestamp::default(),
        })
    }

    /// Has the core do something.
    #[inline]
    fn guarded<T>(&mut self, work: impl FnOnce(&mut Tap) -> T) -> Option<T> {
        let tap = &mut self.tap;
        // What the core was doing to one call is undone by giving that call up.
        let done = catch_unwind(AssertUnwindSafe(|| work(tap)));
        if done.is_err() {
            self.stumble();
        }
        done.ok()
    }

    #[cold]
    fn stumble(&mut self) {
        let given_up = self.tap.give_up();
        tracing::error!(given_up, "a fault of the program: the call it was looking at is given up");
        self.drain();
    }

    /// Takes in a frame.
    #[inline]
    pub fn handle_frame(&mut self, frame: &Frame<'_>) {
        self.guarded(|tap| tap.handle_frame(frame));
        self.last = frame.at;
        if let Some(output) = self.tap.poll_output() {
            self.route_all(output);
        }
    }

    /// Takes in all frames that are at hand, and looks at those that will come; tells how many it took. A fault
    /// is caught for many of them: that costs more than some of what is done to one.
    pub fn handle_frames(&mut self, frames: &mut impl Frames) -> u64 {
        let mut count = 0;
        loop {
            let (tap, last) = (&mut self.tap, &mut self.last);
            let many = || {
                while let Some((frame, seen)) = frames.next() {
                    count += 1;
                    *last = frame.at;
                    tap.handle_seen(&frame, &seen);
                    while let Some(frame) = frames.soon() {
                        let seen = tap.foresee(&frame);
                        frames.note(seen);
                    }
                    if let Some(output) = tap.poll_output() {
                        return Some(output);
                    }
                }
                None
            };
            match catch_unwind(AssertUnwindSafe(many)) {
                Ok(Some(output)) => self.route_all(output),
                Ok(None) => return count,
                Err(_) => self.stumble(),
            }
        }
    }

    /// This frame comes soon; see [`Tap::foresee`].
    #[inline]
    pub fn foresee(&mut self, frame: &Frame<'_>) -> Seen {
        self.tap.foresee(frame)
    }

    /// Takes in whole lines of a TLS key log.
    pub fn handle_keys(&mut self, text: &str) {
        self.guarded(|tap| tap.handle_keys(text));
        self.drain();
    }

    /// The host's clock was set; see [`Tap::handle_clock_set`].
    pub fn handle_clock_set(&mut self, now: Timestamp, by: i64) {
        self.guarded(|tap| tap.handle_clock_set(now, by));
        self.last = now;
        self.drain();
    }

    /// Applies an operator's request.
    #[must_use]
    pub fn handle_command(&mut self, now: Timestamp, command: &Command) -> Reply {
        let reply = self.guarded(|tap| tap.handle_command(now, command)).unwrap_or_default();
        self.drain();
        reply
    }

    /// Lets time pass, and lets the workers have what waits for them: call it often.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        for (tape, prompt) in self.feeds.take_wishes() {
            self.tap.set_prompt(tape, prompt);
        }
        self.guarded(|tap| tap.handle_timeout(now));
        self.drain();
        self.flush();
    }

    /// The kernel dropped packets: every call that is live now may have lost some of them.
    pub const fn note_drops(&mut self, packets: u64) {
        self.drops += packets;
    }

    /// Capture time of the last frame.
    #[must_use]
    pub const fn last(&self) -> Timestamp {
        self.last
    }

    fn drain(&mut self) {
        if let Some(output) = self.tap.poll_output() {
            self.route_all(output);
        }
    }

    #[cold]
    fn route_all(&mut self, first: Output) {
        let mut next = Some(first);
        while let Some(output) = next {
            self.route(output);
            next = self.tap.poll_output();
        }
    }

    fn route(&mut self, output: Output) {
        match output {
            Output::Told(message) => self.listener.told(&message),
            Output::Tagged(tag) => self.listener.tagged(&tag),
            Output::Opened(opening) => {
                self.listener.opened(&opening);
                self.drops_before.insert(opening.tape, self.drops);
                self.give(Job::Open(opening));
            }
            Output::Audio(block) => self.give_audio(block),
            Output::Packets(block) => self.give_packets(block),
            Output::Noticed(notice) => tracing::warn!("{notice}"),
            Output::Closed(mut closing) => {
                self.listener.closed(closing.tape);
                let before = self.drops_before.remove(&closing.tape).unwrap_or(self.drops);
                if self.drops > before {
                    let tags = &mut closing.message.tags;
                    tags.insert("kerneldrops".to_owned(), (self.drops - before).to_string());
                }
                let overrun_ms = self.overruns.remove(&closing.tape).unwrap_or(0);
                let packets_lost = self.packets_lost.remove(&closing.tape).unwrap_or(0);
                let ending =
                    Ending { closing: *closing, order: self.order, overrun_ms, packets_lost };
                self.order += 1;
                self.give(Job::Close(Box::new(ending)));
            }
            Output::Over(account) => {
                let Account { call_id, from, to, verdict, .. } = &*account;
                tracing::info!(call = %call_id, %from, %to, "{verdict}");
            }
        }
    }

    fn give_audio(&mut self, block: Block) {
        if self.is_full(block.tape) {
            // The disk is too slow: this second of this call is lost, and the call will say so.
            let ms = block_ms(&block);
            *self.overruns.entry(block.tape).or_default() += ms;
            self.overrun_ms += ms;
            self.tap.recycle(block.bytes);
            return;
        }
        self.give(Job::Audio(block));
    }

    fn give_packets(&mut self, block: PacketBlock) {
        if self.is_full(block.tape) {
            *self.packets_lost.entry(block.tape).or_default() += block.packets;
            self.tape_counters.packets_failed.fetch_add(block.packets, Ordering::Relaxed);
            return;
        }
        self.give(Job::Packets(block));
    }

    /// More waits for the disk than may.
    fn is_full(&self, tape: TapeId) -> bool {
        let link = self.links.get(index(tape, self.links.len()));
        let waiting = link.map_or(0, |link| link.bytes.load(Ordering::Relaxed));
        waiting > self.backlog_per_link && !self.wait
    }

    fn give(&mut self, job: Job) {
        let index = index(job.tape(), self.links.len());
        let Some(link) = self.links.get_mut(index) else { return };
        link.bytes.fetch_add(job.bytes(), Ordering::Relaxed);
        link.waiting.push(job);
        if link.waiting.len() >= BATCH {
            self.send(index);
        }
    }

    /// Gives a worker what waits for it.
    fn send(&mut self, index: usize) {
        let Some(link) = self.links.get_mut(index) else { return };
        if link.waiting.is_empty() {
            return;
        }
        let batch = mem::replace(&mut link.waiting, Vec::with_capacity(BATCH));
        if self.wait {
            if link.jobs.send(batch).is_err() {
                tracing::error!("a tape worker is gone: its tapes end here");
            }
        } else {
            match link.jobs.try_send(batch) {
                Ok(()) => {}
                Err(TrySendError::Full(batch)) => link.waiting = batch,
                Err(TrySendError::Disconnected(_)) => {
                    tracing::error!("a tape worker is gone: its tapes end here");
                }
            }
        }
        while let Ok(empties) = self.empties.try_recv() {
            for bytes in empties {
                self.tap.recycle(bytes);
            }
        }
    }

    fn flush(&mut self) {
        for index in 0..self.links.len() {
            self.send(index);
        }
    }

    /// What everything counted.
    #[must_use]
    pub fn counters(&self) -> (TapCounters, Arc<TapeCounters>, u64) {
        (self.tap.counters(), Arc::clone(&self.tape_counters), self.overrun_ms)
    }

    /// Bytes that wait for the tape workers.
    #[must_use]
    pub fn backlog_bytes(&self) -> u64 {
        let bytes = self.links.iter().map(|link| link.bytes.load(Ordering::Relaxed));
        u64::try_from(bytes.sum::<usize>()).unwrap_or(u64::MAX)
    }

    /// Has tapes of an earlier process processed.
    pub fn resume(&self, parts: Vec<PathBuf>) {
        if let Some((pool, _)) = &self.pool {
            parts.into_iter().for_each(|part| pool.give(Work::Left(part)));
        }
    }

    /// What is being done to closed tapes.
    #[must_use]
    pub fn processing(&self) -> Vec<Progress> {
        self.pool.as_ref().map(|(pool, _)| pool.progress()).unwrap_or_default()
    }

    /// Calls in the table, flows bound to them.
    #[must_use]
    pub fn live(&self) -> (usize, usize) {
        self.tap.live()
    }

    /// Ends every recording and waits until the last tape is finished; gives the final counters.
    pub fn close(
        mut self,
        now: Timestamp,
        why: EndReason,
    ) -> (TapCounters, Arc<TapeCounters>, u64) {
        // Those that a fault kept from ending end with the next try.
        for _ in 0..=self.live().0 {
            if self.guarded(|tap| tap.finish(now, why)).is_some() {
                break;
            }
        }
        self.drain();
        self.wait = true;
        self.flush();
        // The workers end when nobody can give them jobs, the finisher when the workers have ended.
        self.links.clear();
        drop(self.syncing.take());
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(
                    "a tape thread panicked; its tapes are recovered at the next start"
                );
            }
        }
        if let Some((pool, threads)) = self.pool.take() {
            pool.end(threads);
        }
        self.counters()
    }
}

fn index(tape: TapeId, links: usize) -> usize {
    usize::try_from(tape.0).unwrap_or(0) % links.max(1)
}

/// Length of the audio in a block, its last packet included.
fn block_ms(block: &Block) -> u64 {
    let records = || orkbase::audio::block::Records::new(&block.bytes);
    let Some(leg) = records().next().map(|record| record.leg) else { return 0 };
    let ticks = || records().filter(|record| record.leg == leg).map(|record| record.tick);
    let span = ticks().max().unwrap_or(0) - ticks().min().unwrap_or(0);
    let packets = i64::try_from(ticks().count()).unwrap_or(i64::MAX);
    // As long as those before it; 20 ms if it is alone.
    let last = span.checked_div(packets - 1).unwrap_or(20 * TICKS_PER_MILLI);
    millis_from_ticks(span + last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use orkbase::audio::block::{Record, append};

    #[test]
    fn what_is_lost_is_as_long_as_its_packets() {
        let block = |packets: u32| {
            let mut bytes = Vec::new();
            for order in 0..packets {
                for leg in [0, 1] {
                    let tick = i64::from(order) * 30 * TICKS_PER_MILLI + i64::from(leg) * 7;
                    let payload = &[0; 240];
                    let (slot, anew, void) = (0, false, false);
                    append(&mut bytes, &Record { leg, slot, anew, void, order, tick, payload });
                }
            }
            Block { tape: TapeId(1), news: Vec::new(), until: 0, bytes }
        };
        assert_eq!([0, 1, 2, 30].map(|packets| block_ms(&block(packets))), [0, 20, 60, 900]);
    }
}
