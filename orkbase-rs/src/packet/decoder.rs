//! The complete walk from a frame to the UDP payload or TCP bytes it carries.
//!
//! Law: one loop, one header a turn. Each layer's file reads its header and says where the walk goes
//! on; this file counts, bounds the depth and owns the state that outlives a frame.

use super::carrier::{Carriers, Tee};
use super::counters::Counters;
use super::fast::{FastUdp, plain_udp};
use super::fragment::Fragments;
use super::hep::{self, HepKey, Opened};
use super::ports::{Carrier, Ports, TunnelPorts};
use super::tcp::{Around, Streams};
use super::{
    Datagram, Ends, Frame, Layer, LinkType, Malformed, Next, Path, ip, link, oreka, transport,
    tunnel,
};
use crate::time::Timestamp;
use std::net::SocketAddr;

/// Headers walked in one frame, those of reassembled packets included. The deepest real mirror
/// (two VLAN tags, MPLS, ERSPAN, two more tags, IP, UDP) has about a dozen.
pub const MAX_HEADERS: u8 = 48;

/// How often ages are looked at while frames come.
const SWEEP_MS: u64 = 50;

/// A capture clock this far behind the last frame was set back, or a capture file is not sorted:
/// time begins anew there, or nothing would ever age again.
const SET_BACK_MS: u64 = 60_000;

/// Bounds of everything the decoder may keep.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Memory for unfinished packets, overhead included.
    pub fragment_bytes: usize,
    /// How long an unfinished packet waits for its parts.
    pub fragment_age_ms: u64,
    /// Early bytes kept per TCP direction before a hole is given up.
    pub tcp_stream_bytes: usize,
    /// Early bytes kept over all TCP directions.
    pub tcp_total_bytes: usize,
    /// TCP directions remembered.
    pub tcp_streams: usize,
    /// How long a hole in a TCP stream waits to be filled.
    pub tcp_gap_ms: u64,
    /// How long a silent TCP direction is remembered.
    pub tcp_idle_ms: u64,
    /// Tunnels entered in one frame.
    pub tunnel_depth: u8,
    /// Destination ports of tunnels over UDP, and of capture agents.
    pub ports: TunnelPorts,
    /// The key that HEP packets must show; empty takes all.
    pub hep_key: HepKey,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fragment_bytes: 64 << 20,
            fragment_age_ms: 30_000,
            tcp_stream_bytes: 256 << 10,
            tcp_total_bytes: 64 << 20,
            tcp_streams: 65_536,
            tcp_gap_ms: 2_000,
            tcp_idle_ms: 3_600_000,
            tunnel_depth: 8,
            ports: TunnelPorts::default(),
            hep_key: HepKey::default(),
        }
    }
}

/// In-order bytes of one direction of a TCP connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TcpStream<'a> {
    /// Sender.
    pub source: SocketAddr,
    /// Receiver.
    pub destination: SocketAddr,
    /// The next bytes; empty when only `closed` is news.
    pub data: &'a [u8],
    /// Bytes were skipped before these: loss, or the connection began before we listened.
    pub gap: bool,
    /// Nothing follows these bytes: forget the direction. A new one may use the same addresses.
    pub closed: bool,
}

/// Who is told what frames carry.
pub trait Sink {
    /// One whole UDP payload.
    fn udp(&mut self, datagram: Datagram<'_>);
    /// The next bytes of one direction of a TCP connection.
    fn tcp(&mut self, stream: TcpStream<'_>);
    /// A header was refused; already counted, for those who trace.
    fn refused(&mut self, _malformed: Malformed) {}
}

/// From frames to payloads, with the state that takes.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    ports: Ports,
    counters: Counters,
    carriers: Carriers,
    fragments: Fragments,
    streams: Streams,
    /// The latest moment a frame or a caller has shown.
    now: Timestamp,
    swept: Timestamp,
}

impl Decoder {
    /// A decoder that has seen nothing.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            ports: Ports::new(&limits.ports),
            limits,
            counters: Counters::default(),
            carriers: Carriers::default(),
            fragments: Fragments::new(),
            streams: Streams::new(),
            now: Timestamp::default(),
            swept: Timestamp::default(),
        }
    }

    /// Walks one frame down to its payload; calls `sink` zero or more times.
    pub fn handle_frame(&mut self, frame: &Frame<'_>, sink: &mut dyn Sink) {
        self.counters.frames += 1;
        self.advance(frame.at, sink);
        let cut = usize::try_from(frame.wire_len).is_ok_and(|wire| wire > frame.bytes.len());
        self.counters.truncated += u64::from(cut);
        if let LinkType::Other(number) = frame.link {
            self.counters.unknown_links.add(number);
            return;
        }
        if frame.link == LinkType::Hep {
            match hep::open(frame.bytes, &self.limits.hep_key, &mut self.counters) {
                Some(opened) => self.deliver_opened(&opened, sink),
                None => self.counters.hep_refused += u64::from(!hep::is_named(frame.bytes)),
            }
            return;
        }
        let path = Path { at: self.now, vlan: None, headers: 0, tunnels: 0, cut, missing: 0 };
        match link::first(frame.link, frame.bytes) {
            Ok(next) => self.walk(next, path, sink),
            Err(malformed) => self.refuse(malformed, sink),
        }
    }

    /// [`fast_udp`](super::fast::fast_udp) for a frame that needs no state, with this decoder's own
    /// tunnel ports. Not counted here.
    #[inline]
    #[must_use]
    pub fn fast_udp<'a>(&self, frame: &Frame<'a>) -> Option<FastUdp<'a>> {
        let fast = plain_udp(frame)?;
        (!self.ports.may_be_tunnel(fast.key.destination_port())).then_some(fast)
    }

    /// Drops what is too old as time passes without frames. TCP has bytes to deliver then, which
    /// wait for the next frame here: with a sink at hand, call [`deliver_due`](Self::deliver_due).
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.fragments.expire(self.now, &mut self.counters);
    }

    /// The same, and delivers TCP bytes whose hole is given up and the end of directions silent
    /// for long. Frames do this as well; those that [`fast_udp`](Self::fast_udp) answered for never get here.
    pub fn deliver_due(&mut self, now: Timestamp, sink: &mut dyn Sink) {
        self.now = self.now.max(now);
        self.sweep(sink);
    }

    /// Delivers what still waits for its turn and forgets all state: the capture has ended.
    pub fn finish(&mut self, sink: &mut dyn Sink) {
        self.fragments.expire(Timestamp(u64::MAX), &mut self.counters);
        self.streams(sink, Streams::finish);
        self.open_carried(1, sink);
        // What was found in the last packets of agents.
        self.streams(sink, Streams::finish);
    }

    /// What was met so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// True when all memory has been given back and accounted for.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.fragments.is_empty() && self.streams.is_empty()
    }

    fn advance(&mut self, at: Timestamp, sink: &mut dyn Sink) {
        if self.now.millis_since(at) > SET_BACK_MS {
            // What waits for a moment that may never come again has waited long enough.
            self.now = at;
            self.fragments.expire(Timestamp(u64::MAX), &mut self.counters);
            self.streams(sink, Streams::give_up_holes);
            self.open_carried(1, sink);
            self.swept = at;
        }
        self.now = self.now.max(at);
        if self.now.millis_since(self.swept) >= SWEEP_MS {
            self.sweep(sink);
        }
    }

    fn sweep(&mut self, sink: &mut dyn Sink) {
        self.swept = self.now;
        self.fragments.expire(self.now, &mut self.counters);
        self.streams(sink, Streams::expire);
        self.open_carried(1, sink);
    }

    /// Lets `act` work on the streams; what agents send on is kept for [`Self::open_carried`].
    fn streams(&mut self, sink: &mut dyn Sink, act: impl FnOnce(&mut Streams, &mut Around<'_>)) {
        let Self { limits, ports, counters, carriers, streams, now, .. } = self;
        let mut tee = Tee { carriers, ports, sink };
        act(streams, &mut Around { now: *now, limits, counters, sink: &mut tee });
    }

    /// Opens what agents sent on over TCP, `tunnels` deep.
    fn open_carried(&mut self, tunnels: u8, sink: &mut dyn Sink) {
        self.counters.carried_skipped_bytes += std::mem::take(&mut self.carriers.skipped);
        for (carrier, bytes) in std::mem::take(&mut self.carriers.found) {
            match carrier {
                Carrier::Hep => {
                    if let Some(opened) =
                        hep::open(&bytes, &self.limits.hep_key, &mut self.counters)
                    {
                        self.deliver_opened(&opened, sink);
                    }
                }
                Carrier::Oreka => {
                    self.counters.oreka += 1;
                    let path = Path {
                        at: self.now,
                        vlan: None,
                        headers: 0,
                        tunnels,
                        cut: false,
                        missing: 0,
                    };
                    self.walk(Next::Records(&bytes), path, sink);
                }
            }
        }
    }

    fn deliver_opened(&mut self, opened: &Opened<'_>, sink: &mut dyn Sink) {
        match opened {
            Opened::Message(datagram) => self.deliver(*datagram, sink),
            Opened::Inflated { source, destination, payload } => {
                let (source, destination) = (*source, *destination);
                self.deliver(Datagram { source, destination, payload }, sink);
            }
            Opened::Closed => self.counters.without_payload += 1,
        }
    }

    fn walk(&mut self, first: Next<'_>, mut path: Path, sink: &mut dyn Sink) {
        let mut next = Some(first);
        while let Some(here) = next {
            path.headers += 1;
            if path.headers > MAX_HEADERS || path.tunnels > self.limits.tunnel_depth {
                self.counters.too_deep += 1;
                return;
            }
            match self.step(here, &mut path, sink) {
                Ok(step) => next = step,
                Err(malformed) => return self.refuse(malformed, sink),
            }
        }
    }

    /// Reads one header. `None`: the walk has ended, in a payload or in a counter.
    fn step<'a>(
        &mut self,
        here: Next<'a>,
        path: &mut Path,
        sink: &mut dyn Sink,
    ) -> Result<Option<Next<'a>>, Malformed> {
        match here {
            Next::Ethernet(bytes) => link::ethernet(bytes).map(Some),
            Next::EtherType(number, bytes) => {
                let next = link::ethertype(number, bytes, path)?;
                if next.is_none() {
                    self.counters.unknown_ethertypes.add(number);
                }
                Ok(next)
            }
            Next::Unlabelled(bytes) => Ok(Some(link::unlabelled(bytes))),
            Next::Ppp(bytes) => link::ppp(bytes).map(Some),
            Next::Ip(bytes) => {
                let packet = ip::decode(bytes)?;
                self.note_cut(packet.missing > 0, path);
                path.missing = packet.missing;
                Ok(self.packet(&packet, path, sink))
            }
            Next::Protocol(ends, number, bytes) => self.protocol(ends, number, bytes, path, sink),
            Next::Records(mut records) => {
                // Recursion is bounded by the tunnels entered, and each frame is walked once.
                while let Some((frame, after)) = oreka::record(records) {
                    self.walk(Next::Ethernet(frame), *path, sink);
                    records = after;
                }
                Ok(None)
            }
            Next::Hep(opened) => {
                self.deliver_opened(&opened, sink);
                Ok(None)
            }
            Next::Nothing => {
                self.counters.without_payload += 1;
                Ok(None)
            }
        }
    }

    fn packet<'a>(
        &mut self,
        packet: &ip::Packet<'a>,
        path: &Path,
        sink: &mut dyn Sink,
    ) -> Option<Next<'a>> {
        let Some(fragment) = packet.fragment else {
            return Some(Next::Protocol(packet.ends, packet.protocol, packet.body));
        };
        let Self { fragments, counters, limits, .. } = self;
        let whole = fragments.handle_fragment(packet, fragment, path, limits, counters)?;
        // One turn of recursion per reassembled packet, bounded by the headers already walked.
        self.walk(Next::Protocol(packet.ends, whole.protocol, &whole.body), *path, sink);
        None
    }

    fn protocol<'a>(
        &mut self,
        ends: Ends,
        number: u8,
        bytes: &'a [u8],
        path: &mut Path,
        sink: &mut dyn Sink,
    ) -> Result<Option<Next<'a>>, Malformed> {
        let next = match number {
            17 => return self.udp(ends, bytes, path, sink),
            6 => {
                self.tcp(ends, bytes, path, sink)?;
                return Ok(None);
            }
            4 | 41 => {
                self.counters.ip_in_ip += 1;
                Next::Ip(bytes)
            }
            47 => tunnel::gre(bytes, &mut self.counters)?,
            97 => tunnel::etherip(bytes)?,
            137 => link::mpls(bytes)?,
            // Authentication header, and what a reassembled IPv6 packet may begin with.
            51 => return ip::after_extensions(ends, number, bytes).map(Some),
            _ if ends.source.is_ipv6() && ip::is_extension(number) => {
                return ip::after_extensions(ends, number, bytes).map(Some);
            }
            _ => {
                self.counters.unknown_ip_protocols.add(u16::from(number));
                return Ok(None);
            }
        };
        path.tunnels += 1;
        Ok(Some(next))
    }

    fn udp<'a>(
        &mut self,
        ends: Ends,
        bytes: &'a [u8],
        path: &mut Path,
        sink: &mut dyn Sink,
    ) -> Result<Option<Next<'a>>, Malformed> {
        let udp = transport::udp(bytes)?;
        self.note_cut(udp.cut, path);
        if let Some(tunnel) = self.ports.tunnel(udp.destination) {
            let Self { limits, counters, .. } = self;
            let key = &limits.hep_key;
            if let Some(next) = tunnel::over_udp(tunnel, udp.payload, key, counters) {
                path.tunnels += 1;
                return Ok(Some(next));
            }
        }
        let datagram = Datagram {
            source: SocketAddr::new(ends.source, udp.source),
            destination: SocketAddr::new(ends.destination, udp.destination),
            payload: udp.payload,
        };
        self.deliver(datagram, sink);
        Ok(None)
    }

    fn deliver(&mut self, datagram: Datagram<'_>, sink: &mut dyn Sink) {
        self.counters.udp += 1;
        sink.udp(datagram);
    }

    fn tcp(
        &mut self,
        ends: Ends,
        bytes: &[u8],
        path: &Path,
        sink: &mut dyn Sink,
    ) -> Result<(), Malformed> {
        let segment = transport::tcp(bytes)?;
        let source = SocketAddr::new(ends.source, segment.source);
        let destination = SocketAddr::new(ends.destination, segment.destination);
        self.streams(sink, |streams, around| {
            streams.handle_segment(source, destination, &segment, path.missing, around);
        });
        if !self.carriers.found.is_empty() {
            self.open_carried(path.tunnels + 1, sink);
        }
        Ok(())
    }

    /// Counts a frame as truncated, once.
    fn note_cut(&mut self, cut: bool, path: &mut Path) {
        self.counters.truncated += u64::from(cut && !path.cut);
        path.cut |= cut;
    }

    fn refuse(&mut self, malformed: Malformed, sink: &mut dyn Sink) {
        let count = match malformed.layer {
            Layer::Link => &mut self.counters.malformed_link,
            Layer::Ip => &mut self.counters.malformed_ip,
            Layer::Tunnel => &mut self.counters.malformed_tunnel,
            Layer::Transport | Layer::Sip | Layer::Sdp | Layer::Rtp => {
                &mut self.counters.malformed_transport
            }
        };
        *count += 1;
        sink.refused(malformed);
    }
}
