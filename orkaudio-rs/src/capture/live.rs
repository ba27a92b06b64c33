//! Frames off live interfaces, and from capture agents, all from one thread.
//!
//! Law: no interface waits for another. One that disappears is reported, tried again every second
//! and reported when it is back; the others go on. What the kernel dropped is counted and told.
//!
//! libpcap's ring (`TPACKET_V3`) fills blocks and hands over whole ones, after 10 ms at the
//! latest; immediate mode would wake us for every packet at 25 times the cost. Its `next` can block
//! for ever despite a timeout, so handles are non-blocking and poll(2) does the waiting.

use super::CaptureError;
use super::agents::{AgentCounts, Agents};
use super::ahead::{Ahead, Taker};
use super::filter::libpcap_words;
use orkbase::packet::{Frame, LinkType};
use orkbase::time::{NANOS_PER_SEC, Timestamp};
use pcap::{Active, Capture, Device, Precision, Stat};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Drop counters are read and lost interfaces tried this often.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// Frames from one interface before the next has its turn: some milliseconds of a busy one.
const TURN: usize = 4096;
/// Linux' pseudo interface for all at once: has no index, never goes away, is never promiscuous.
const ANY: &str = "any";

/// What to capture and how.
#[derive(Clone, Debug, Eq, PartialEq)]
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
    fn add(&mut self, more: Self) {
        self.received += more.received;
        self.dropped += more.dropped;
        self.if_dropped += more.if_dropped;
    }

    /// libpcap's counters run from the opening of the handle and wrap at 32 bits.
    fn between(earlier: Stat, later: Stat) -> Self {
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
        let ahead = Ahead::new();
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
        let busy = self.wires.iter().filter_map(Wire::handle).any(|handle| handle.ready);
        let busy = busy || self.agents.as_ref().is_some_and(Agents::is_busy);
        let timeout = if busy { Duration::ZERO } else { longest.min(until_check) };
        // Less than ten thousand seconds, so both fields fit.
        let timeout = Timespec {
            tv_sec: timeout.as_secs().cast_signed(),
            tv_nsec: timeout.subsec_nanos().into(),
        };
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
        let Some(open) = self.handle_mut() else { return };
        // Without counters there is nothing to tell; the next read covers this second too.
        let Ok(stat) = open.capture.stats() else { return };
        let more = KernelCounts::between(open.counted, stat);
        open.counted = stat;
        self.kernel.add(more);
        report.kernel.add(more);
    }
}

/// An open libpcap handle.
struct Handle {
    capture: Capture<Active>,
    link: LinkType,
    index: Option<u32>,
    counted: Stat,
    /// Has frames, or may have: its last turn was full.
    ready: bool,
    /// poll(2) reported an error on it.
    failing: bool,
}

impl Handle {
    fn open(name: &str, config: &LiveConfig, lookup: &Lookup) -> Result<Self, CaptureError> {
        let index = lookup.index(name);
        if index.is_none() && name != ANY {
            let (name, existing) = (name.to_owned(), existing());
            return Err(CaptureError::MissingInterface { name, existing });
        }
        let size = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let opened = Capture::from_device(name).and_then(|inactive| {
            inactive
                .promisc(config.promiscuous && name != ANY)
                .snaplen(size(config.snaplen))
                .buffer_size(size(config.buffer_bytes))
                .timeout(size(config.block_timeout_ms))
                .precision(Precision::Nano)
                .open()
        });
        let mut capture = opened.map_err(|error| cannot_capture(name, &error))?;
        if let Some(text) = &config.filter {
            capture.filter(text, true).map_err(|error| CaptureError::Filter {
                text: text.clone(),
                on: format!(" for {name}"),
                reason: libpcap_words(&error),
            })?;
        }
        let capture = capture.setnonblock().map_err(|error| cannot_capture(name, &error))?;
        let link =
            LinkType::from_number(u16::try_from(capture.get_datalink().0).unwrap_or(u16::MAX));
        let counted = Stat { received: 0, dropped: 0, if_dropped: 0 };
        Ok(Self { capture, link, index, counted, ready: false, failing: false })
    }

    fn dispatch<T: Taker + ?Sized>(
        &mut self,
        ahead: &mut Ahead,
        taker: &mut T,
    ) -> Result<u64, String> {
        let link = self.link;
        let frames = self
            .capture
            .dispatch(Some(TURN), |packet| {
                let secs = u64::try_from(packet.header.ts.tv_sec).unwrap_or(0);
                let nanos = u64::try_from(packet.header.ts.tv_usec).unwrap_or(0);
                let at = Timestamp(secs * NANOS_PER_SEC + nanos);
                let wire_len = packet.header.len;
                ahead.push(&Frame { at, link, wire_len, bytes: packet.data }, taker);
            })
            .map_err(|error| libpcap_words(&error))?;
        self.ready = frames >= TURN;
        Ok(frames as u64)
    }
}

fn cannot_capture(name: &str, error: &pcap::Error) -> CaptureError {
    let name = name.to_owned();
    let reason = libpcap_words(error);
    // The crate passes libpcap's words on, but not its error codes.
    if ["ermi", "CAP_NET_RAW"].iter().any(|words| reason.contains(words)) {
        return CaptureError::NoCapturePermission { name };
    }
    if reason.contains("not up") {
        return CaptureError::InterfaceDown { name };
    }
    CaptureError::Interface { name, reason }
}

/// Names of the interfaces there are, for messages; empty where the system does not tell.
#[must_use]
pub fn interfaces() -> Vec<String> {
    let table = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names = table.lines().filter_map(|line| line.split_once(':'));
    names.map(|(name, _)| name.trim().to_owned()).collect()
}

fn existing() -> String {
    let names = interfaces();
    if names.is_empty() { "none that this system names".to_owned() } else { names.join(", ") }
}

fn is_up(name: &str) -> bool {
    name == ANY
        || Device::list().is_ok_and(|devices| {
            devices.iter().any(|device| device.name == name && device.flags.is_up())
        })
}

/// Asks the kernel for interface indexes; any socket will do for that.
struct Lookup(UnixDatagram);

impl Lookup {
    fn new() -> Result<Self, CaptureError> {
        Ok(Self(UnixDatagram::unbound().map_err(|source| CaptureError::Wait { source })?))
    }

    fn index(&self, name: &str) -> Option<u32> {
        name_to_index(&self.0, name).ok()
    }
}

/// Ends a [`Live::poll`] from another thread; wakes may be lumped together, none is lost.
#[derive(Clone, Debug)]
pub struct Waker {
    alarm: Arc<OwnedFd>,
}

impl Waker {
    fn new() -> Result<Self, CaptureError> {
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
