//! Frames off live interfaces, and from capture agents, all from one thread.
//!
//! Law: no interface waits for another. One that disappears is reported, tried again every second
//! and reported when it is back; the others go on. What the kernel dropped is counted and told.

use super::CaptureError;
use super::agents::{AgentCounts, Agents};
use super::ahead::{Ahead, Taker};
use super::fanout::Groups;
pub use super::handle::interfaces;
use super::handle::{Handle, Lookup, existing, is_up};
use pcap::Stat;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Drop counters are read and lost interfaces tried this often.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// Frames from one interface before the next has its turn: some milliseconds of a busy one.
pub(super) const TURN: usize = 4096;
/// Linux' pseudo interface for all at once: has no index, never goes away, is never promiscuous.
pub(super) const ANY: &str = "any";

/// What to capture and how.
#[derive(Clone, Debug)]
pub struct LiveConfig {
    /// Names as `ip link` shows them.
    pub interfaces: Vec<String>,
    /// Bytes kept of each frame. The ring packs frames by their true length, so a large value costs
    /// nothing for RTP, while 2048 would cut SIP in jumbo frames and in TCP segments that the
    /// network card merged (GRO).
    pub snaplen: u32,
    /// Kernel ring of each interface: 64 MiB hold a quarter second of a million packets a second.
    pub buffer_bytes: u32,
    /// The longest time a frame waits in an unfilled block of the ring.
    pub block_timeout_ms: u32,
    /// Take frames that are not for this machine; what a mirror port carries.
    pub promiscuous: bool,
    /// pcap-filter(7) text, run by the kernel.
    pub filter: Option<String>,
    /// Where capture agents send HEP to.
    pub agents: Option<SocketAddr>,
    /// The frames of each interface are shared out with others that were opened with the same groups.
    pub groups: Option<Groups>,
}

impl Default for LiveConfig {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            snaplen: 65_535,
            buffer_bytes: 64 << 20,
            block_timeout_ms: 10,
            promiscuous: true,
            filter: None,
            agents: None,
            groups: None,
        }
    }
}

/// What happened during one [`Live::poll`].
#[derive(Debug, Default)]
pub struct PollReport {
    /// Frames handed to the caller.
    pub frames: u64,
    /// Kernel counters since they were last read; they are read once a second.
    pub kernel: KernelCounts,
    /// Datagrams of capture agents that the kernel dropped since that was last read.
    pub agents_dropped: u64,
    /// Interfaces that went away.
    pub lost: Vec<Lost>,
    /// Interfaces that came back.
    pub recovered: Vec<Recovered>,
    /// Somebody called [`Waker::wake`].
    pub woken: bool,
}

/// Frames as the kernel counts them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct KernelCounts {
    /// Passed the filter, dropped ones included.
    pub received: u64,
    /// Found the ring full.
    pub dropped: u64,
    /// Dropped by the interface or its driver.
    pub if_dropped: u64,
}

impl KernelCounts {
    pub(super) fn add(&mut self, more: Self) {
        self.received += more.received;
        self.dropped += more.dropped;
        self.if_dropped += more.if_dropped;
    }

    /// libpcap's counters run from the opening of the handle and wrap at 32 bits.
    pub(super) fn between(earlier: Stat, later: Stat) -> Self {
        Self {
            received: later.received.wrapping_sub(earlier.received).into(),
            dropped: later.dropped.wrapping_sub(earlier.dropped).into(),
            if_dropped: later.if_dropped.wrapping_sub(earlier.if_dropped).into(),
        }
    }
}

/// An interface went away.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lost {
    /// Its name.
    pub interface: String,
    /// What was noticed.
    pub reason: String,
}

/// An interface is back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recovered {
    /// Its name.
    pub interface: String,
    /// How long nothing was captured on it.
    pub gap: Duration,
}

/// Capture on interfaces and from capture agents.
pub struct Live {
    config: LiveConfig,
    wires: Vec<Wire>,
    agents: Option<Agents>,
    waker: Waker,
    lookup: Lookup,
    next_check: Instant,
    ahead: Ahead,
}

impl Live {
    /// Opens all interfaces, and listens for agents.
    ///
    /// # Errors
    /// The first interface that does not exist or may not be captured on, a filter that does not
    /// compile, or an address that cannot be used.
    pub fn open(config: &LiveConfig) -> Result<Self, CaptureError> {
        if config.interfaces.is_empty() && config.agents.is_none() {
            return Err(CaptureError::NoInterface { existing: existing() });
        }
        let lookup = Lookup::new()?;
        let mut wires = Vec::with_capacity(config.interfaces.len());
        for name in &config.interfaces {
            let handle = Handle::open(name, config, &lookup)?;
            let state = State::Open(handle);
            wires.push(Wire { name: name.clone(), state, kernel: KernelCounts::default() });
        }
        let listen = |address| Agents::listen(address, config.buffer_bytes);
        let agents = config.agents.map(listen).transpose()?;
        let waker = Waker::new()?;
        let next_check = Instant::now() + CHECK_EVERY;
        let ahead = if config.groups.is_some() { Ahead::none() } else { Ahead::new() };
        Ok(Self { config: config.clone(), wires, agents, waker, lookup, next_check, ahead })
    }

    /// Waits up to `timeout_ms` for frames and hands each of them to `taker`. Returns early when
    /// woken, and returns at the latest every second.
    ///
    /// # Errors
    /// Only when waiting itself fails; trouble of single interfaces is in the report.
    pub fn poll<T: Taker + ?Sized>(
        &mut self,
        timeout_ms: u32,
        taker: &mut T,
    ) -> Result<PollReport, CaptureError> {
        let mut report = PollReport::default();
        self.wait(Duration::from_millis(timeout_ms.into()), &mut report)?;
        for wire in &mut self.wires {
            wire.take_turn(&mut self.ahead, taker, &mut report);
        }
        if let Some(agents) = &mut self.agents {
            report.frames += agents.take_turn(&mut |frame| taker.take(frame));
        }
        let now = Instant::now();
        if now >= self.next_check {
            self.next_check = now + CHECK_EVERY;
            for wire in &mut self.wires {
                wire.check(now, &self.config, &self.lookup, &mut report);
            }
            report.agents_dropped = self.agents.as_mut().map_or(0, Agents::check);
        }
        Ok(report)
    }

    /// Marks the wires that have something to say.
    fn wait(&mut self, longest: Duration, report: &mut PollReport) -> Result<(), CaptureError> {
        let until_check = self.next_check.saturating_duration_since(Instant::now());
        let timeout =
            timespec(if self.is_behind() { Duration::ZERO } else { longest.min(until_check) });
        let handles = self.wires.iter().filter_map(Wire::handle);
        let mut fds = vec![PollFd::new(&self.waker.alarm, PollFlags::IN)];
        fds.extend(handles.map(|handle| PollFd::new(&handle.capture, PollFlags::IN)));
        fds.extend(self.agents.iter().flat_map(Agents::poll_fds));
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(CaptureError::Wait { source: error.into() }),
        }
        let mut events = fds.iter().map(PollFd::revents).collect::<Vec<_>>().into_iter();
        if events.next().is_some_and(|events| !events.is_empty()) {
            self.waker.reset();
            report.woken = true;
        }
        for handle in self.wires.iter_mut().filter_map(Wire::handle_mut) {
            let events = events.next().unwrap_or(PollFlags::empty());
            handle.ready |= !events.is_empty();
            handle.failing = events.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL);
        }
        if let Some(agents) = &mut self.agents {
            agents.note(events);
        }
        Ok(())
    }

    /// Whether the last turn left frames behind that had come already.
    pub(super) fn is_behind(&self) -> bool {
        self.wires.iter().filter_map(Wire::handle).any(|handle| handle.ready)
            || self.agents.as_ref().is_some_and(Agents::is_busy)
    }

    /// Wakes [`poll`](Self::poll) from another thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Each interface: whether it is open, and its kernel counters since the start, as of the last second.
    pub fn kernel_counts(&self) -> impl Iterator<Item = (&str, bool, KernelCounts)> {
        self.wires.iter().map(|wire| (wire.name.as_str(), wire.handle().is_some(), wire.kernel))
    }

    /// What capture agents sent so far, and how many are connected.
    #[must_use]
    pub fn agents(&self) -> Option<(AgentCounts, usize)> {
        self.agents.as_ref().map(|agents| (agents.counts(), agents.connected()))
    }

    /// Where capture agents reach us.
    #[must_use]
    pub fn agents_address(&self) -> Option<SocketAddr> {
        self.agents.as_ref().and_then(|agents| agents.address().ok())
    }

    /// Interfaces that are being captured on at present.
    #[must_use]
    pub fn interfaces_open(&self) -> usize {
        self.wires.iter().filter_map(Wire::handle).count()
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("config", &self.config)
            .field("interfaces_open", &self.interfaces_open())
            .finish_non_exhaustive()
    }
}

/// An interface we want, there or not.
struct Wire {
    name: String,
    state: State,
    kernel: KernelCounts,
}

enum State {
    Open(Handle),
    Lost { since: Instant },
}

impl Wire {
    fn handle(&self) -> Option<&Handle> {
        match &self.state {
            State::Open(handle) => Some(handle),
            State::Lost { .. } => None,
        }
    }

    fn handle_mut(&mut self) -> Option<&mut Handle> {
        match &mut self.state {
            State::Open(handle) => Some(handle),
            State::Lost { .. } => None,
        }
    }

    fn take_turn<T: Taker + ?Sized>(
        &mut self,
        ahead: &mut Ahead,
        taker: &mut T,
        report: &mut PollReport,
    ) {
        let Some(open) = self.handle_mut() else { return };
        if !open.ready {
            return;
        }
        let turn = open.dispatch(ahead, taker);
        ahead.flush(taker);
        match turn {
            // Its other reason to fail, removal, libpcap reports itself.
            Ok(0) if open.failing => self.lose("the interface was taken down".to_owned(), report),
            Ok(frames) => report.frames += frames,
            Err(reason) => self.lose(reason, report),
        }
    }

    fn check(
        &mut self,
        now: Instant,
        config: &LiveConfig,
        lookup: &Lookup,
        report: &mut PollReport,
    ) {
        match &self.state {
            State::Open(open) => {
                // Removed, or removed and made again under its old name.
                let here = lookup.index(&self.name);
                if here != open.index {
                    self.lose("the interface was removed".to_owned(), report);
                } else {
                    self.count(report);
                }
            }
            State::Lost { since } => {
                let since = *since;
                if !is_up(&self.name) {
                    return;
                }
                // Why it does not open yet was said when it was lost.
                let Ok(open) = Handle::open(&self.name, config, lookup) else { return };
                self.state = State::Open(open);
                let (interface, gap) = (self.name.clone(), now.duration_since(since));
                report.recovered.push(Recovered { interface, gap });
            }
        }
    }

    fn lose(&mut self, reason: String, report: &mut PollReport) {
        self.count(report);
        self.state = State::Lost { since: Instant::now() };
        report.lost.push(Lost { interface: self.name.clone(), reason });
    }

    fn count(&mut self, report: &mut PollReport) {
        let Some(more) = self.handle_mut().and_then(Handle::count) else { return };
        self.kernel.add(more);
        report.kernel.add(more);
    }
}

/// Less than ten thousand seconds, so that both fields fit.
fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: time.subsec_nanos().into() }
}

/// Ends a [`Live::poll`] from another thread; wakes may be lumped together, none is lost.
#[derive(Clone, Debug)]
pub struct Waker {
    alarm: Arc<OwnedFd>,
}

impl Waker {
    pub(super) fn new() -> Result<Self, CaptureError> {
        let alarm = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
            .map_err(|error| CaptureError::Wait { source: error.into() })?;
        Ok(Self { alarm: Arc::new(alarm) })
    }

    /// The poll that is waiting, or else the next one, returns at once.
    pub fn wake(&self) {
        if let Err(error) = rustix::io::write(&self.alarm, &1_u64.to_ne_bytes()) {
            debug_assert_eq!(error, Errno::AGAIN, "the counter is full: the poll is awake already");
        }
    }

    /// Waits until woken, or for so long: whether somebody did.
    pub(super) fn wait(&self, longest: Duration) -> Result<bool, CaptureError> {
        let timeout = timespec(longest);
        match poll(&mut [PollFd::new(&self.alarm, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => Ok(false),
            Ok(_) => {
                self.reset();
                Ok(true)
            }
            Err(error) => Err(CaptureError::Wait { source: error.into() }),
        }
    }

    fn reset(&self) {
        let mut count = [0; 8];
        if let Err(error) = rustix::io::read(&self.alarm, &mut count) {
            debug_assert_eq!(error, Errno::AGAIN, "nobody woke us");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_wrap() {
        let stat = |received, dropped| Stat { received, dropped, if_dropped: 0 };
        let counts = KernelCounts::between(stat(u32::MAX, 5), stat(9, 5));
        assert_eq!((counts.received, counts.dropped), (10, 0));
    }

    #[test]
    fn mistakes_are_told_with_what_there_is() {
        let open = |interfaces: &[&str]| {
            let interfaces = interfaces.iter().map(|&name| name.to_owned()).collect();
            let config = LiveConfig { interfaces, ..LiveConfig::default() };
            Live::open(&config).unwrap_err().to_string()
        };
        assert!(interfaces().contains(&"lo".to_owned()));
        let text = open(&["nowhere0"]);
        assert!(text.starts_with("there is no interface nowhere0: there are "), "{text}");
        assert!(text.contains("lo"), "{text}");
        assert!(open(&[]).contains("no interface"), "{}", open(&[]));
    }

    #[test]
    fn a_waker_wakes_once() {
        let waker = Waker::new().unwrap();
        let ready = || {
            let mut fds = [PollFd::new(&waker.alarm, PollFlags::IN)];
            poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
        };
        assert!(!ready());
        waker.clone().wake();
        waker.wake();
        assert!(ready());
        waker.reset();
        assert!(!ready());
    }
}
