//! From a captured frame to the transport payload it carries.
//!
//! Law: a frame is data from a stranger. Every length is checked, every loop and table is bounded
//! and counted, wrong checksums are accepted (offload makes them), and nothing here can panic.
//!
//! [`fast::fast_udp`] answers for the plain frame in a few nanoseconds; [`decoder::Decoder`] walks
//! everything else: tags, tunnels, fragments, TCP.

pub mod carrier;
pub mod counters;
pub mod decoder;
pub mod fast;
pub mod hep;
pub mod pcapng;
pub mod ports;

mod agenda;
mod fragment;
mod ip;
mod link;
mod oreka;
mod pieces;
mod tcp;
mod transport;
mod tunnel;

#[cfg(test)]
mod tests;

use crate::time::Timestamp;
use std::net::{IpAddr, SocketAddr};

/// What the first bytes of a frame are (pcap `LINKTYPE_*`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LinkType {
    /// Ethernet II or 802.3 (1).
    Ethernet,
    /// IPv4 or IPv6 without a link header (12, 14, 101, 228, 229).
    RawIp,
    /// BSD loopback, four bytes of address family in the capturing host's byte order (0).
    Null,
    /// OpenBSD loopback, the same in network byte order (108).
    Loop,
    /// Linux cooked capture v1 (113).
    LinuxSll,
    /// Linux cooked capture v2 (276).
    LinuxSll2,
    /// One HEP packet, as a capture agent sent it to us: no capture file has it.
    Hep,
    /// Anything we cannot read; its number is counted so that the operator sees it.
    Other(u16),
}

impl LinkType {
    /// The link type behind a pcap `LINKTYPE_*` or `DLT_*` number.
    #[must_use]
    pub const fn from_number(number: u16) -> Self {
        match number {
            0 => Self::Null,
            1 => Self::Ethernet,
            12 | 14 | 101 | 228 | 229 => Self::RawIp,
            108 => Self::Loop,
            113 => Self::LinuxSll,
            276 => Self::LinuxSll2,
            other => Self::Other(other),
        }
    }
}

/// Bytes off the tap with their capture time.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// When it was captured.
    pub at: Timestamp,
    /// How `bytes` begin.
    pub link: LinkType,
    /// Length on the wire; more than `bytes` when the capture was cut short.
    pub wire_len: u32,
    /// What was captured.
    pub bytes: &'a [u8],
}

/// One whole UDP payload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Datagram<'a> {
    /// Sender.
    pub source: SocketAddr,
    /// Receiver.
    pub destination: SocketAddr,
    /// Bytes above UDP.
    pub payload: &'a [u8],
}

/// A protocol layer, for counting what was refused.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Layer {
    /// Ethernet, VLAN, cooked and other link headers.
    Link,
    /// IPv4 and IPv6.
    Ip,
    /// UDP and TCP.
    Transport,
    /// GRE, ERSPAN, VXLAN and other tunnels.
    Tunnel,
    /// RFC 3261.
    Sip,
    /// RFC 8866 (4566).
    Sdp,
    /// RFC 3550.
    Rtp,
}

/// Why bytes were refused: data, not an error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed {
    /// Layer that refused.
    pub layer: Layer,
    /// Bytes from the start of that layer.
    pub offset: usize,
    /// The broken law.
    pub why: &'static str,
}

/// The first `N` bytes and the rest, or the law a shorter slice breaks.
fn take<'a, const N: usize>(
    bytes: &'a [u8],
    layer: Layer,
    why: &'static str,
) -> Result<(&'a [u8; N], &'a [u8]), Malformed> {
    bytes.split_first_chunk().ok_or(Malformed { layer, offset: bytes.len(), why })
}

/// The two addresses of an IP packet.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Ends {
    source: IpAddr,
    destination: IpAddr,
}

/// Where the walk through a frame goes on.
#[derive(Debug)]
enum Next<'a> {
    /// At a destination MAC address.
    Ethernet(&'a [u8]),
    /// After an `EtherType`.
    EtherType(u16, &'a [u8]),
    /// After a tag or label stack that does not say what follows: IP by its version, or Ethernet.
    Unlabelled(&'a [u8]),
    /// At the version nibble of an IP header.
    Ip(&'a [u8]),
    /// After an IP header and the extensions we know; the number says what follows.
    Protocol(Ends, u8, &'a [u8]),
    /// At a PPP protocol field.
    Ppp(&'a [u8]),
    /// At records with a frame each: the walk parts here.
    Records(&'a [u8]),
    /// At a HEP packet, to the end of the walk.
    Hep(hep::Opened<'a>),
    /// Nothing a call could be read from: control frames, keep-alives, ARP, compressed messages.
    Nothing,
}

/// What the walk has seen on its way down.
#[derive(Clone, Copy, Debug)]
struct Path {
    at: Timestamp,
    /// Outermost VLAN: two copies of one packet on a trunk differ in it.
    vlan: Option<u16>,
    /// Headers walked, against [`decoder::MAX_HEADERS`].
    headers: u8,
    /// Tunnels entered, against [`decoder::Limits::tunnel_depth`].
    tunnels: u8,
    /// Some length claimed more than was captured; counted once a frame.
    cut: bool,
    /// Bytes the innermost IP header claims beyond what was captured.
    missing: usize,
}
