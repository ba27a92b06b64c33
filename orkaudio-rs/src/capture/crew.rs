//! Several threads that capture, for one that records: each empties rings of its own, into which the kernel
//! shares the frames out (see [`super::fanout`]), and hands them on in parcels.
//!
//! Law: whoever takes the frames gets all of them, of every thread, in the order of their stamps to [`GRAIN`]:
//! calls stay whole whichever threads their packets and their signalling came by. A thread that falls silent holds the
//! others up for [`HOLD`] at most. Who is too slow is waited for, so that the kernel counts what is lost.

use super::CaptureError;
use super::agents::AgentCounts;
use super::ahead::Taker;
use super::fanout::Groups;
use super::live::{KernelCounts, Live, LiveConfig, PollReport, Waker};
use crate::recorder::now;
use orkbase::packet::{Frame, LinkType};
use orkbase::time::Timestamp;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Frames in a parcel.
const FRAMES: usize = 1_024;
/// Bytes in a parcel; one frame alone may have more.
const BYTES: usize = 256 << 10;
/// Parcels on their way from one thread.
const PARCELS: usize = 32;
/// Frames wait no longer than this for earlier ones of other threads.
const HOLD: Duration = Duration::from_millis(80);
/// Frames of one thread go first, in nanoseconds, when they are later than those of another by less than this:
/// who hands over one frame of each in turn does little else.
const GRAIN: u64 = 1_000_000;
/// A frame lies in the kernel's ring for so long at most, in milliseconds, until its block is handed over: the
/// ring's time, twice.
const IN_RING_MS: u64 = 20;
/// How long a thread waits for frames until it says that there are none.
const NEWS_MS: u32 = 20;
/// So many frames ahead is the memory asked for that a frame will need.
const AHEAD: usize = 24;

/// An interface as one thread sees it: its name, whether it is open, its counters.
type Seen = (String, bool, KernelCounts);

struct Head {
    at: Timestamp,
    link: LinkType,
    wire_len: u32,
    begin: usize,
    length: usize,
}

/// Frames of one thread, in their order.
#[derive(Default)]
struct Parcel {
    heads: Vec<Head>,
    bytes: Vec<u8>,
    next: usize,
    /// Frames stamped earlier than this have all come.
    through: Timestamp,
    /// When it was handed over.
    packed: Option<Instant>,
    news: Option<Box<News>>,
}

impl Parcel {
    fn frame(&self, index: usize) -> Option<Frame<'_>> {
        let head = self.heads.get(index)?;
        let bytes = self.bytes.get(head.begin..head.begin + head.length)?;
        Some(Frame { at: head.at, link: head.link, wire_len: head.wire_len, bytes })
    }

    fn is_due(&self, now: Instant) -> bool {
        self.packed.is_some_and(|packed| now.duration_since(packed) > HOLD)
    }
}

/// What else a thread tells.
struct News {
    report: PollReport,
    seen: Vec<Seen>,
    agents: Option<(AgentCounts, usize)>,
}

/// Fills parcels.
struct Packer {
    parcel: Parcel,
    /// Frames stamped earlier than this have all been packed.
    through: Timestamp,
    full: SyncSender<Result<Parcel, CaptureError>>,
    empties: Receiver<Parcel>,
    reader: Waker,
    gone: bool,
}

impl Packer {
    fn send(&mut self, news: Option<Box<News>>) {
        let fresh = self.empties.try_recv().unwrap_or_default();
        let mut parcel = std::mem::replace(&mut self.parcel, fresh);
        (parcel.through, parcel.packed, parcel.news) = (self.through, Some(Instant::now()), news);
        self.gone |= self.full.send(Ok(parcel)).is_err();
        self.reader.wake();
    }
}

impl Taker for Packer {
    #[inline]
    fn take(&mut self, frame: &Frame<'_>) {
        let begin = self.parcel.bytes.len();
        let full = self.parcel.heads.len() >= FRAMES || begin + frame.bytes.len() > BYTES;
        if full && begin > 0 {
            self.send(None);
            return self.take(frame);
        }
        let Frame { at, link, wire_len, bytes } = *frame;
        self.parcel.bytes.extend_from_slice(bytes);
        self.parcel.heads.push(Head { at, link, wire_len, begin, length: bytes.len() });
    }
}

/// One thread: until told to stop, or nobody takes what it packs.
fn work(mut live: Live, mut packer: Packer, stop: &AtomicBool) {
    let mut next_news = Instant::now();
    while !stop.load(Ordering::Relaxed) && !packer.gone {
        let before = now();
        let report = match live.poll(NEWS_MS, &mut packer) {
            Ok(report) => report,
            Err(error) => {
                // Nobody listens only when everything ends.
                drop(packer.full.send(Err(error)));
                return packer.reader.wake();
            }
        };
        if !live.is_behind() {
            packer.through = Timestamp(before.0.saturating_sub(IN_RING_MS * 1_000_000));
        }
        let told = report.agents_dropped > 0
            || report.kernel != KernelCounts::default()
            || !report.lost.is_empty()
            || !report.recovered.is_empty();
        let news = (told || Instant::now() >= next_news).then(|| {
            next_news = Instant::now() + Duration::from_secs(1);
            let seen =
                live.kernel_counts().map(|(name, open, counts)| (name.to_owned(), open, counts));
            Box::new(News { seen: seen.collect(), agents: live.agents(), report })
        });
        packer.send(news);
    }
}

/// A thread as the taker sees it.
struct Member {
    parcels: VecDeque<Parcel>,
    /// Frames stamped earlier than this have all come.
    through: Timestamp,
    empties: SyncSender<Parcel>,
    from: Receiver<Result<Parcel, CaptureError>>,
    seen: Vec<Seen>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    /// The next frame's stamp, and whether it waits no longer for other threads.
    fn next(&self, now: Instant) -> Option<(Timestamp, bool)> {
        let parcel = self.parcels.front()?;
        Some((parcel.heads.get(parcel.next)?.at, parcel.is_due(now)))
    }

    /// Hands over the frames up to `limit`, or the whole first parcel.
    fn hand_over<T: Taker + ?Sized>(&mut self, limit: Timestamp, taker: &mut T) -> u64 {
        let Some(parcel) = self.parcels.front_mut() else { return 0 };
        let first = parcel.next;
        if first == 0 {
            for index in 0..AHEAD {
                if let Some(frame) = parcel.frame(index) {
                    taker.foresee(&frame);
                }
            }
        }
        while let Some(frame) = parcel.frame(parcel.next).filter(|frame| frame.at <= limit) {
            if let Some(soon) = parcel.frame(parcel.next + AHEAD) {
                taker.foresee(&soon);
            }
            taker.take(&frame);
            parcel.next += 1;
        }
        u64::try_from(parcel.next - first).unwrap_or(0)
    }

    /// Parcels that are empty go back to be filled.
    fn put_back(&mut self) {
        let done = |parcel: &Parcel| parcel.next >= parcel.heads.len();
        while self.parcels.front().is_some_and(done) {
            let Some(mut parcel) = self.parcels.pop_front() else { return };
            parcel.heads.clear();
            parcel.bytes.clear();
            parcel.next = 0;
            // Where there are enough of them it is freed.
            drop(self.empties.try_send(parcel));
        }
    }
}

/// Capture on interfaces by several threads, and from capture agents.
pub struct Crew {
    members: Vec<Member>,
    waiting: Vec<(Live, Packer)>,
    wakers: Vec<Waker>,
    waker: Waker,
    agents: Option<(AgentCounts, usize)>,
    agents_address: Option<SocketAddr>,
    stop: Arc<AtomicBool>,
}

impl Crew {
    /// Opens all interfaces, once for each of so many threads, and listens for agents. The threads begin with
    /// [`start`](Self::start).
    ///
    /// # Errors
    /// As [`Live::open`] says.
    pub fn open(config: &LiveConfig, threads: usize) -> Result<Self, CaptureError> {
        let groups = Groups::default();
        let waker = Waker::new()?;
        let mut crew = Self {
            members: Vec::new(),
            waiting: Vec::new(),
            wakers: Vec::new(),
            waker: waker.clone(),
            agents: None,
            agents_address: None,
            stop: Arc::default(),
        };
        for number in 0..threads {
            let agents = config.agents.filter(|_| number == 0);
            // Agents come by one thread only; the others may have nothing to do.
            if number > 0 && config.interfaces.is_empty() {
                break;
            }
            let config = LiveConfig { agents, groups: Some(groups.clone()), ..config.clone() };
            let live = Live::open(&config)?;
            crew.agents_address = crew.agents_address.or(live.agents_address());
            let seen =
                live.kernel_counts().map(|(name, open, counts)| (name.to_owned(), open, counts));
            let (full, from) = sync_channel(PARCELS);
            let (empties, refill) = sync_channel(PARCELS);
            crew.members.push(Member {
                parcels: VecDeque::new(),
                through: Timestamp::default(),
                empties,
                from,
                seen: seen.collect(),
                thread: None,
            });
            crew.wakers.push(live.waker());
            let (parcel, reader) = (Parcel::default(), waker.clone());
            let through = Timestamp::default();
            let packer = Packer { parcel, through, full, empties: refill, reader, gone: false };
            crew.waiting.push((live, packer));
        }
        Ok(crew)
    }

    /// Lets the threads begin.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start(&mut self) -> std::io::Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        for (number, ((live, packer), member)) in
            waiting.into_iter().zip(&mut self.members).enumerate()
        {
            let stop = Arc::clone(&self.stop);
            let thread = thread::Builder::new().name(format!("capture-{number}"));
            member.thread = Some(thread.spawn(move || work(live, packer, &stop))?);
        }
        Ok(())
    }

    /// As [`Live::poll`], for the frames of all threads.
    ///
    /// # Errors
    /// When a thread cannot wait for frames any more, or is gone.
    pub fn poll<T: Taker + ?Sized>(
        &mut self,
        timeout_ms: u32,
        taker: &mut T,
    ) -> Result<PollReport, CaptureError> {
        let mut report = PollReport::default();
        let held = self.members.iter().any(|member| !member.parcels.is_empty());
        let timeout = Duration::from_millis(timeout_ms.into());
        report.woken = self.waker.wait(if held { timeout.min(HOLD / 8) } else { timeout })?;
        for number in 0..self.members.len() {
            self.receive(number, &mut report)?;
        }
        report.frames += merge(&mut self.members, taker);
        Ok(report)
    }

    /// What one thread has packed by now.
    fn receive(&mut self, number: usize, report: &mut PollReport) -> Result<(), CaptureError> {
        let Some(member) = self.members.get_mut(number) else { return Ok(()) };
        for _ in 0..PARCELS {
            let mut parcel = match member.from.try_recv() {
                Ok(parcel) => parcel?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Err(CaptureError::Thread { number }),
            };
            member.through = parcel.through;
            if let Some(news) = parcel.news.take() {
                let News { report: more, mut seen, agents } = *news;
                self.agents = agents.or(self.agents);
                report.agents_dropped += more.agents_dropped;
                report.kernel.received += more.kernel.received;
                report.kernel.dropped += more.kernel.dropped;
                if number == 0 {
                    // All see the same interface: what it did is told once.
                    report.kernel.if_dropped += more.kernel.if_dropped;
                    report.lost.extend(more.lost);
                    report.recovered.extend(more.recovered);
                } else {
                    seen.iter_mut().for_each(|(_, _, counts)| counts.if_dropped = 0);
                }
                member.seen = seen;
            }
            member.parcels.push_back(parcel);
        }
        Ok(())
    }

    /// As [`Live::waker`].
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// As [`Live::kernel_counts`], over all threads.
    #[must_use]
    pub fn kernel_counts(&self) -> Vec<(String, bool, KernelCounts)> {
        let mut sum: Vec<Seen> = Vec::new();
        for seen in self.members.iter().flat_map(|member| &member.seen) {
            match sum.iter_mut().find(|known| known.0 == seen.0) {
                Some((_, open, counts)) => {
                    *open &= seen.1;
                    counts.add(seen.2);
                }
                None => sum.push(seen.clone()),
            }
        }
        sum
    }

    /// As [`Live::agents`].
    #[must_use]
    pub const fn agents(&self) -> Option<(AgentCounts, usize)> {
        self.agents
    }

    /// As [`Live::agents_address`].
    #[must_use]
    pub const fn agents_address(&self) -> Option<SocketAddr> {
        self.agents_address
    }
}

/// Hands over what no thread can have an earlier frame than, in the order of stamps.
fn merge<T: Taker + ?Sized>(members: &mut [Member], taker: &mut T) -> u64 {
    let (mut frames, now) = (0, Instant::now());
    loop {
        members.iter_mut().for_each(Member::put_back);
        // Who has nothing here may still send what is later than this.
        let idle = members.iter().filter(|member| member.parcels.is_empty());
        let horizon = idle.map(|member| member.through).min().unwrap_or(Timestamp(u64::MAX));
        let mut first: Option<(usize, Timestamp, bool)> = None;
        let mut second = Timestamp(u64::MAX);
        for (index, member) in members.iter().enumerate() {
            let Some((at, due)) = member.next(now) else { continue };
            match first {
                Some((_, earliest, _)) if at >= earliest => second = second.min(at),
                _ => {
                    second = first.map_or(second, |(_, earliest, _)| earliest);
                    first = Some((index, at, due));
                }
            }
        }
        let Some((index, at, due)) = first else { return frames };
        if at > horizon && !due {
            return frames;
        }
        let second = Timestamp(second.0.saturating_add(GRAIN));
        // At least the frame it was chosen for.
        let limit = if due { second } else { second.min(horizon) }.max(at);
        frames += members.get_mut(index).map_or(0, |member| member.hand_over(limit, taker));
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wakers.iter().for_each(Waker::wake);
        for mut member in self.members.drain(..) {
            let thread = member.thread.take();
            // A thread that waits for room gets none any more.
            drop(member);
            if thread.is_some_and(|thread| thread.join().is_err()) {
                tracing::error!("a capture thread panicked");
            }
        }
    }
}

impl std::fmt::Debug for Crew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seen: Vec<_> = self.members.iter().map(|member| &member.seen).collect();
        f.debug_struct("Crew").field("seen", &seen).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Book(Vec<(u64, Vec<u8>)>);

    impl Taker for Book {
        fn take(&mut self, frame: &Frame<'_>) {
            self.0.push((frame.at.0 / 1_000_000, frame.bytes.to_vec()));
        }
    }

    fn member() -> (Member, Packer) {
        let (full, from) = sync_channel(PARCELS);
        let (empties, refill) = sync_channel(PARCELS);
        let (parcels, through) = (VecDeque::new(), Timestamp::default());
        let member = Member { parcels, through, empties, from, seen: Vec::new(), thread: None };
        let (parcel, reader) = (Parcel::default(), Waker::new().unwrap());
        (member, Packer { parcel, through, full, empties: refill, reader, gone: false })
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp(ms * 1_000_000)
    }

    fn put(packer: &mut Packer, ms: u64, bytes: &[u8]) {
        let (link, wire_len) = (LinkType::Ethernet, 0);
        packer.take(&Frame { at: at(ms), link, wire_len, bytes });
    }

    fn crew(members: Vec<Member>) -> Crew {
        let (waiting, wakers, waker) = (Vec::new(), Vec::new(), Waker::new().unwrap());
        let (agents, agents_address, stop) = (None, None, Arc::default());
        Crew { members, waiting, wakers, waker, agents, agents_address, stop }
    }

    #[test]
    fn frames_of_all_threads_come_in_the_order_of_their_stamps() {
        let ((one, mut first), (two, mut second)) = (member(), member());
        let mut crew = crew(vec![one, two]);
        let mut book = Book(Vec::new());
        for ms in (0..3_000).filter(|ms| ms % 3 != 1) {
            put(&mut first, ms, &ms.to_be_bytes());
        }
        first.through = at(3_000);
        first.send(None);
        for ms in (0..2_000).filter(|ms| ms % 3 == 1) {
            put(&mut second, ms, &ms.to_be_bytes());
        }
        second.through = at(2_000);
        second.send(None);
        let taken = crew.poll(0, &mut book).unwrap().frames;
        // What the second thread may still send has to come before the rest.
        assert_eq!((taken, book.0.len()), (2_001, 2_001));
        for ms in (2_000..3_000).filter(|ms| ms % 3 == 1) {
            put(&mut second, ms, &ms.to_be_bytes());
        }
        second.through = at(3_000);
        second.send(None);
        crew.poll(0, &mut book).unwrap();
        let sent = (0..3_000).map(|ms: u64| (ms, ms.to_be_bytes().to_vec()));
        let mut sorted = book.0.clone();
        sorted.sort();
        assert_eq!(sorted, sent.collect::<Vec<_>>());
        let ahead = book.0.windows(2).filter(|two| two[0].0 > two[1].0 + 1).count();
        assert_eq!(ahead, 0, "to a millisecond");
    }

    #[test]
    fn a_thread_that_falls_silent_is_not_waited_for_long() {
        let ((one, mut first), (two, second)) = (member(), member());
        let mut crew = crew(vec![one, two]);
        let mut book = Book(Vec::new());
        put(&mut first, 5, b"a");
        first.send(None);
        assert_eq!(crew.poll(0, &mut book).unwrap().frames, 0);
        let waited = Instant::now();
        while book.0.is_empty() {
            crew.poll(10, &mut book).unwrap();
        }
        assert!(waited.elapsed() + Duration::from_millis(20) > HOLD);
        // And one that is gone is told.
        drop(second);
        let gone = crew.poll(0, &mut book).unwrap_err();
        assert!(gone.to_string().starts_with("capture thread 1 ended"), "{gone}");
    }

    #[test]
    fn parcels_are_bounded_and_used_again() {
        let (one, mut first) = member();
        let mut crew = crew(vec![one]);
        let mut book = Book(Vec::new());
        put(&mut first, 1, &vec![7; BYTES + 9]);
        for ms in 2..2 + u64::try_from(FRAMES).unwrap() + 3 {
            put(&mut first, ms, b"x");
        }
        first.send(None);
        let parcels: Vec<_> = crew.members[0].from.try_iter().map(Result::unwrap).collect();
        let sizes: Vec<_> = parcels.iter().map(|parcel| parcel.heads.len()).collect();
        assert_eq!(sizes, [1, FRAMES, 3]);
        crew.members[0].parcels.extend(parcels);
        assert_eq!(crew.poll(0, &mut book).unwrap().frames, u64::try_from(FRAMES).unwrap() + 4);
        assert_eq!(book.0[0].1.len(), BYTES + 9);
        assert_eq!(first.empties.try_iter().count(), 3);
    }
}
