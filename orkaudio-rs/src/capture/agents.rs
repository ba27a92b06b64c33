//! What capture agents send to us: HEP over UDP and TCP, on one address.
//!
//! Law: nobody waits for an agent, and no agent makes us keep more than one unfinished packet of it.
//! A packet counts as captured when we read it: agents' clocks are not ours, and a tape has one
//! clock. What the kernel dropped because we were slow is counted.

use super::CaptureError;
use crate::setup::share_of_files;
use orkbase::packet::{Frame, LinkType, carrier::Splitter, ports::Carrier};
use orkbase::time::Timestamp;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::fstat;
use rustix::net::sockopt::{
    set_socket_recv_buffer_size, set_socket_recv_buffer_size_force, socket_recv_buffer_size,
};
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Datagrams, or reads, before somebody else has a turn.
const TURN: usize = 1024;
/// Connections at once, fewer where there are few descriptors; beyond it the one silent for longest makes room.
const MAX_PEERS: usize = 256;
/// The longest datagram, and the most taken from a connection at once.
const BUFFER: usize = 64 << 10;
/// Where any port would do: so many are tried until one is free for UDP and TCP.
const ANY_PORT: u32 = 32;
/// A connection that sends so many bytes that are no packet is closed.
const MOST_SKIPPED: u64 = 64 << 10;
/// A smaller receive buffer than this is worth a word: a tenth of a second of 200 calls.
const SMALL_BUFFER: usize = 1 << 20;

/// What agents sent, since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AgentCounts {
    /// HEP packets over UDP.
    pub udp_packets: u64,
    /// HEP packets over TCP.
    pub tcp_packets: u64,
    /// Connections taken.
    pub connections: u64,
    /// Connections closed by us: to make room, or because they sent no HEP.
    pub refused: u64,
    /// Bytes of connections that belonged to no packet.
    pub skipped_bytes: u64,
    /// Datagrams the kernel dropped, as of the last second.
    pub dropped: u64,
}

/// UDP and TCP on the same port, also where any port would do.
fn both(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut left = if address.port() == 0 { ANY_PORT } else { 1 };
    loop {
        let udp = UdpSocket::bind(address)?;
        left -= 1;
        match TcpListener::bind(udp.local_addr()?) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && left > 0 => {}
            bound => return Ok((udp, bound?)),
        }
    }
}

/// The listening address and everybody connected to it.
pub struct Agents {
    udp: UdpSocket,
    tcp: TcpListener,
    peers: Vec<Peer>,
    buffer: Vec<u8>,
    udp_ready: bool,
    tcp_ready: bool,
    /// No connection can be taken for now.
    resting: bool,
    counts: AgentCounts,
}

struct Peer {
    stream: TcpStream,
    splitter: Splitter,
    /// When its last packet came.
    last: Instant,
    /// Skipped since then.
    skipped: u64,
    ready: bool,
    over: bool,
}

impl Agents {
    /// Listens; the kernel may keep `buffer_bytes` of datagrams for us, if its own limit allows.
    ///
    /// # Errors
    /// [`CaptureError::Listen`].
    pub fn listen(address: SocketAddr, buffer_bytes: u32) -> Result<Self, CaptureError> {
        let fail = |source: io::Error| CaptureError::Listen { address, source };
        let (udp, tcp) = both(address).map_err(fail)?;
        udp.set_nonblocking(true).map_err(fail)?;
        tcp.set_nonblocking(true).map_err(fail)?;
        let wanted = usize::try_from(buffer_bytes).unwrap_or(usize::MAX);
        // Beyond net.core.rmem_max where we may (CAP_NET_ADMIN).
        let granted = set_socket_recv_buffer_size_force(&udp, wanted)
            .or_else(|_| set_socket_recv_buffer_size(&udp, wanted))
            .and_then(|()| socket_recv_buffer_size(&udp))
            .map_err(|error| fail(error.into()))?;
        if granted < SMALL_BUFFER.min(wanted) {
            tracing::warn!(
                bytes = granted,
                "a small receive buffer for capture agents: raise net.core.rmem_max to 16777216"
            );
        }
        let counts = AgentCounts::default();
        let buffer = vec![0; BUFFER];
        Ok(Self {
            udp,
            tcp,
            peers: Vec::new(),
            buffer,
            udp_ready: false,
            tcp_ready: false,
            resting: false,
            counts,
        })
    }

    /// Where we listen.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counts(&self) -> AgentCounts {
        self.counts
    }

    /// Connections open now.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.peers.len()
    }

    /// Whether more lies ready than the last turn took.
    pub(super) fn is_busy(&self) -> bool {
        self.udp_ready || self.peers.iter().any(|peer| peer.ready)
    }

    /// What to wait for: one entry for each of us, always in the same order.
    pub(super) fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        let connecting = if self.resting { PollFlags::empty() } else { PollFlags::IN };
        let listening = [PollFd::new(&self.udp, PollFlags::IN), PollFd::new(&self.tcp, connecting)];
        let peers = self.peers.iter().map(|peer| PollFd::new(&peer.stream, PollFlags::IN));
        listening.into_iter().chain(peers)
    }

    /// Takes what poll(2) answered, in the order of [`Self::poll_fds`].
    pub(super) fn note(&mut self, mut events: impl Iterator<Item = PollFlags>) {
        let mut ready = || events.next().is_some_and(|events| !events.is_empty());
        self.udp_ready |= ready();
        self.tcp_ready = ready();
        for peer in &mut self.peers {
            peer.ready |= ready();
        }
    }

    /// Hands over what has come; gives the number of packets.
    pub(super) fn take_turn(&mut self, handle: &mut dyn FnMut(&Frame<'_>)) -> u64 {
        let before = self.counts.udp_packets + self.counts.tcp_packets;
        if self.udp_ready {
            self.udp_ready = self.receive(handle);
        }
        for index in 0..self.peers.len() {
            self.read(index, handle);
        }
        self.peers.retain(|peer| !peer.over);
        if self.tcp_ready {
            self.tcp_ready = false;
            self.accept();
        }
        self.counts.udp_packets + self.counts.tcp_packets - before
    }

    /// Takes datagrams; true when there may be more.
    fn receive(&mut self, handle: &mut dyn FnMut(&Frame<'_>)) -> bool {
        for _ in 0..TURN {
            match self.udp.recv_from(&mut self.buffer) {
                Ok((length, _)) => {
                    self.counts.udp_packets += 1;
                    give(self.buffer.get(..length).unwrap_or_default(), handle);
                }
                // Empty, or short of memory: poll(2) tells when to go on.
                Err(_) => return false,
            }
        }
        true
    }

    fn read(&mut self, index: usize, handle: &mut dyn FnMut(&Frame<'_>)) {
        let Self { peers, buffer, counts, .. } = self;
        let Some(peer) = peers.get_mut(index).filter(|peer| peer.ready) else { return };
        match peer.stream.read(buffer) {
            Ok(0) => peer.over = true,
            Ok(length) => {
                let before = counts.tcp_packets;
                let bytes = buffer.get(..length).unwrap_or_default();
                peer.splitter.push(bytes, false, &mut |packet| {
                    counts.tcp_packets += 1;
                    give(packet, handle);
                });
                let skipped = peer.splitter.take_skipped();
                counts.skipped_bytes += skipped;
                peer.skipped += skipped;
                if counts.tcp_packets > before {
                    (peer.last, peer.skipped) = (Instant::now(), 0);
                }
                if peer.skipped > MOST_SKIPPED {
                    counts.refused += 1;
                    peer.over = true;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock) => peer.ready = false,
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted) => {}
            Err(_) => peer.over = true,
        }
    }

    fn accept(&mut self) {
        // As many as may be connected: the rest waits in the kernel for the next turn.
        for _ in 0..MAX_PEERS {
            let (stream, address) = match self.tcp.accept() {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of files, perhaps: no use in trying until the next second.
                    self.resting = !matches!(error.kind(), ErrorKind::WouldBlock);
                    return;
                }
            };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            if self.peers.len() >= share_of_files(MAX_PEERS) {
                let longest = (0..).zip(&self.peers).min_by_key(|(_, peer)| peer.last);
                if let Some((index, _)) = longest {
                    self.peers.swap_remove(index);
                    self.counts.refused += 1;
                }
            }
            self.counts.connections += 1;
            tracing::info!(%address, "a capture agent is connected");
            self.peers.push(Peer {
                stream,
                splitter: Splitter::new(Carrier::Hep),
                last: Instant::now(),
                skipped: 0,
                ready: true,
                over: false,
            });
        }
    }

    /// Reads what the kernel dropped of our datagrams; tells how many more than the last time.
    pub(super) fn check(&mut self) -> u64 {
        self.resting = false;
        let Some(dropped) = self.dropped() else { return 0 };
        let more = dropped.saturating_sub(self.counts.dropped);
        self.counts.dropped = self.counts.dropped.max(dropped);
        more
    }

    /// The last column of our socket's line; none where the system does not tell.
    fn dropped(&self) -> Option<u64> {
        const INODE: usize = 9;
        let inode = fstat(&self.udp).ok()?.st_ino.to_string();
        ["/proc/self/net/udp", "/proc/self/net/udp6"].into_iter().find_map(|path| {
            let table = fs::read_to_string(path).ok()?;
            let line = table.lines().find(|line| {
                line.split_ascii_whitespace().nth(INODE).is_some_and(|field| field == inode)
            })?;
            line.split_ascii_whitespace().next_back()?.parse().ok()
        })
    }
}

impl fmt::Debug for Agents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agents").field("counts", &self.counts).finish_non_exhaustive()
    }
}

/// One packet, captured now.
fn give(packet: &[u8], handle: &mut dyn FnMut(&Frame<'_>)) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = Timestamp(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
    let wire_len = u32::try_from(packet.len()).unwrap_or(u32::MAX);
    handle(&Frame { at, link: LinkType::Hep, wire_len, bytes: packet });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn packet(body: &[u8]) -> Vec<u8> {
        let total = u16::try_from(body.len() + 6).unwrap().to_be_bytes();
        [&b"HEP3"[..], &total, body].concat()
    }

    /// Turns until `count` packets have come.
    fn take(agents: &mut Agents, count: usize) -> Vec<Vec<u8>> {
        let mut taken = Vec::new();
        let until = Instant::now() + std::time::Duration::from_secs(30);
        while taken.len() < count {
            assert!(Instant::now() < until, "{} of {count}", taken.len());
            turn(agents, &mut taken);
        }
        taken
    }

    fn turn(agents: &mut Agents, taken: &mut Vec<Vec<u8>>) {
        // As if poll(2) had said that all are ready.
        agents.note(std::iter::repeat(PollFlags::IN));
        agents.take_turn(&mut |frame| {
            assert_eq!(frame.link, LinkType::Hep);
            taken.push(frame.bytes.to_vec());
        });
    }

    #[test]
    fn datagrams_and_a_stream_cut_anywhere() {
        let mut agents = Agents::listen("127.0.0.1:0".parse().unwrap(), 1 << 20).unwrap();
        let address = agents.address().unwrap();
        let one = packet(b"something of an agent");
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..3 {
            udp.send_to(&one, address).unwrap();
        }
        assert_eq!(take(&mut agents, 3), vec![one.clone(); 3]);
        let mut tcp = TcpStream::connect(address).unwrap();
        tcp.set_nodelay(true).unwrap();
        for part in one.repeat(20).chunks(7) {
            tcp.write_all(part).unwrap();
        }
        assert_eq!(take(&mut agents, 20), vec![one; 20]);
        let counts = agents.counts();
        assert_eq!((counts.udp_packets, counts.tcp_packets, counts.connections), (3, 20, 1));
        assert_eq!((counts.skipped_bytes, agents.check(), agents.connected()), (0, 0, 1));
        drop(tcp);
        let until = Instant::now() + std::time::Duration::from_secs(30);
        while agents.connected() > 0 {
            assert!(Instant::now() < until);
            turn(&mut agents, &mut Vec::new());
        }
    }

    #[test]
    fn who_sends_no_hep_is_closed_and_who_is_silent_makes_room() {
        let mut agents = Agents::listen("127.0.0.1:0".parse().unwrap(), 1 << 20).unwrap();
        let address = agents.address().unwrap();
        let mut noise = TcpStream::connect(address).unwrap();
        noise.write_all(&[b'x'; (64 << 10) + 1]).unwrap();
        let until = Instant::now() + std::time::Duration::from_secs(30);
        while agents.counts().refused < 1 {
            assert!(Instant::now() < until);
            turn(&mut agents, &mut Vec::new());
        }
        assert_eq!((agents.connected(), agents.counts().skipped_bytes), (0, (64 << 10) + 1));
        let mut crowd = Vec::new();
        for _ in 0..MAX_PEERS + 3 {
            crowd.push(TcpStream::connect(address).unwrap());
            turn(&mut agents, &mut Vec::new());
        }
        while agents.counts().connections < u64::try_from(MAX_PEERS + 4).unwrap() {
            assert!(Instant::now() < until);
            turn(&mut agents, &mut Vec::new());
        }
        assert_eq!((agents.connected(), agents.counts().refused), (MAX_PEERS, 1 + 3));
    }

    #[test]
    fn an_address_in_use_is_named() {
        let first = Agents::listen("127.0.0.1:0".parse().unwrap(), 1 << 20).unwrap();
        let address = first.address().unwrap();
        let error = Agents::listen(address, 1 << 20).unwrap_err().to_string();
        assert!(error.contains(&address.to_string()), "{error}");
    }
}
