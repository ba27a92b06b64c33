//! Bytes on the wire: Ethernet, VLAN tags, IPv4 and IPv6, UDP, RTP; and capture files to hold them.
//!
//! Not here: reading frames (that is what the recorder is tested for).

#![expect(
    clippy::indexing_slicing,
    reason = "offsets into headers this file has just written itself"
)]

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const UDP: u8 = 17;
/// Bytes of an IPv4 header without options.
pub const IPV4_HEADER: usize = 20;
pub(crate) const TCP: u8 = 6;
const IPV6_HEADER: usize = 40;
const UDP_HEADER: usize = 8;
/// Bytes of an RTP header without CSRC and extension.
pub const RTP_HEADER: usize = 12;

/// A UDP frame whose payload can be changed and sent again.
#[derive(Clone, Debug)]
pub struct Frame {
    bytes: Vec<u8>,
    ip_at: usize,
    udp_at: usize,
    v6: bool,
}

impl Frame {
    /// A frame from `from` to `to` with these VLAN tags, outermost first. Both ends are IPv4, or
    /// both are IPv6; a mixed pair is sent as IPv6 with mapped addresses.
    #[must_use]
    pub fn udp(vlans: &[u16], from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(64 + payload.len());
        bytes.extend(mac(to.ip()));
        bytes.extend(mac(from.ip()));
        for vlan in vlans {
            bytes.extend(ETHERTYPE_VLAN.to_be_bytes());
            bytes.extend(vlan.to_be_bytes());
        }
        let udp_length = length(UDP_HEADER + payload.len());
        let v6 = match (from.ip(), to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                bytes.extend(ETHERTYPE_IPV4.to_be_bytes());
                let [high, low] = length(IPV4_HEADER + UDP_HEADER + payload.len());
                bytes.extend([0x45, 0xb8, high, low, 0, 0, 0x40, 0, 64, UDP, 0, 0]);
                bytes.extend(from.octets());
                bytes.extend(to.octets());
                false
            }
            (from, to) => {
                bytes.extend(ETHERTYPE_IPV6.to_be_bytes());
                bytes.extend([0x6b, 0x80, 0, 0, udp_length[0], udp_length[1], UDP, 64]);
                bytes.extend(six(from));
                bytes.extend(six(to));
                true
            }
        };
        let udp_at = bytes.len();
        let ip_at = udp_at - if v6 { IPV6_HEADER } else { IPV4_HEADER };
        bytes.extend(from.port().to_be_bytes());
        bytes.extend(to.port().to_be_bytes());
        bytes.extend(udp_length);
        bytes.extend([0, 0]);
        bytes.extend(payload);
        let mut frame = Self { bytes, ip_at, udp_at, v6 };
        frame.seal(0);
        frame
    }

    /// The UDP payload, to be changed in place; [`Self::seal`] afterwards.
    pub fn payload(&mut self) -> &mut [u8] {
        let from = self.udp_at + UDP_HEADER;
        &mut self.bytes[from..]
    }

    /// Sets the IPv4 identification and both checksums.
    pub fn seal(&mut self, id: u16) {
        if !self.v6 {
            let header = &mut self.bytes[self.ip_at..self.ip_at + IPV4_HEADER];
            header[4..6].copy_from_slice(&id.to_be_bytes());
            header[10..12].fill(0);
            let sum = fold(add(header));
            header[10..12].copy_from_slice(&sum);
        }
        // The pseudo header: both addresses, which stand right before UDP, the protocol, the length.
        let addresses = self.udp_at - if self.v6 { 32 } else { 8 };
        self.bytes[self.udp_at + 6..self.udp_at + 8].fill(0);
        let udp_length = u64::from(u16::from_be_bytes([
            self.bytes[self.udp_at + 4],
            self.bytes[self.udp_at + 5],
        ]));
        let sum = fold(add(&self.bytes[addresses..]) + u64::from(UDP) + udp_length);
        let sum = if sum == [0, 0] { [0xff, 0xff] } else { sum };
        self.bytes[self.udp_at + 6..self.udp_at + 8].copy_from_slice(&sum);
    }

    /// The whole frame.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The whole frame, moved out.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// What changes from one RTP packet of a stream to the next.
#[derive(Clone, Copy, Debug)]
pub struct RtpHead {
    /// First packet of a talkspurt.
    pub marker: bool,
    /// Payload type.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Media timestamp.
    pub timestamp: u32,
    /// Source.
    pub ssrc: u32,
}

impl RtpHead {
    /// The twelve bytes.
    #[must_use]
    pub fn bytes(self) -> [u8; RTP_HEADER] {
        let mut out = [0; RTP_HEADER];
        out[0] = 0x80;
        out[1] = self.payload_type | if self.marker { 0x80 } else { 0 };
        out[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        out[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        out[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        out
    }
}

/// A frame with an IPv4 packet of any protocol.
#[must_use]
pub fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, body: &[u8]) -> Vec<u8> {
    let [high, low] = length(IPV4_HEADER + body.len());
    let mut packet = vec![0x45, 0, high, low, 0, 0, 0, 0, 64, protocol, 0, 0];
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(body);
    seal_ipv4(&mut packet);
    [&mac(to.into())[..], &mac(from.into()), &ETHERTYPE_IPV4.to_be_bytes(), &packet].concat()
}

/// A frame with an IPv6 packet of any next header.
#[must_use]
pub fn ipv6(from: Ipv6Addr, to: Ipv6Addr, next: u8, body: &[u8]) -> Vec<u8> {
    let [high, low] = length(body.len());
    let head = [0x60, 0, 0, 0, high, low, next, 64];
    let ends = [from.octets(), to.octets()].concat();
    let macs = [mac(to.into()), mac(from.into())].concat();
    [&macs, &ETHERTYPE_IPV6.to_be_bytes()[..], &head, &ends, body].concat()
}

/// A frame with a TCP segment: sequence number and acknowledgement, flags, payload.
#[must_use]
pub fn tcp(
    from: SocketAddr,
    to: SocketAddr,
    [sequence, acknowledged]: [u32; 2],
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut body = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    body.extend(sequence.to_be_bytes());
    body.extend(acknowledged.to_be_bytes());
    body.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    body.extend(payload);
    let ends = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
        (from, to) => [six(from), six(to)].concat(),
    };
    let sum = add(&ends) + add(&body) + u64::from(TCP) + body.len() as u64;
    body[16..18].copy_from_slice(&fold(sum));
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ipv4(from, to, TCP, &body),
        (from, to) => ipv6(six(from).into(), six(to).into(), TCP, &body),
    }
}

/// Sets the checksum of the IPv4 header at the beginning.
pub fn seal_ipv4(packet: &mut [u8]) {
    if let Some(header) = packet.get_mut(..IPV4_HEADER) {
        header[10..12].fill(0);
        let sum = fold(add(header));
        header[10..12].copy_from_slice(&sum);
    }
}

pub(crate) fn mac(address: IpAddr) -> [u8; 6] {
    // Locally administered, told apart by the ends of the address.
    let first = match address {
        IpAddr::V4(_) => 0,
        IpAddr::V6(six) => six.octets()[0],
    };
    let [.., a, b, c, d] = six(address);
    [0x02, first, a, b, c, d]
}

fn six(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped().octets(),
        IpAddr::V6(six) => six.octets(),
    }
}

/// Lengths past 65535 would be cut short; no caller builds such a frame.
fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes()
}

pub(crate) fn add(bytes: &[u8]) -> u64 {
    let pairs = bytes.chunks_exact(2);
    let odd = pairs.remainder().first().map_or(0, |&last| u64::from(last) << 8);
    pairs.map(|pair| u64::from(u16::from_be_bytes([pair[0], pair[1]]))).sum::<u64>() + odd
}

pub(crate) fn fold(mut sum: u64) -> [u8; 2] {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [.., high, low] = (!sum).to_be_bytes();
    [high, low]
}

/// Writes a classic capture file (Ethernet).
#[derive(Debug)]
pub struct PcapWriter<W: Write> {
    out: W,
    pending: Vec<u8>,
    nanoseconds: bool,
}

/// Frames are gathered until this many bytes can be written at once.
const PENDING: usize = 1 << 20;

impl<W: Write> PcapWriter<W> {
    /// Begins a capture with timestamps in micro- or nanoseconds.
    #[must_use]
    pub fn new(out: W, nanoseconds: bool) -> Self {
        let mut pending = Vec::with_capacity(PENDING + 4096);
        let magic: u32 = if nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
        pending.extend(magic.to_le_bytes());
        pending.extend([2, 0, 4, 0]);
        for word in [0, 0, 65535, 1_u32] {
            pending.extend(word.to_le_bytes());
        }
        Self { out, pending, nanoseconds }
    }

    /// Adds one frame, captured at `at` nanoseconds since 1970.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, at: u64, frame: &[u8]) -> io::Result<()> {
        let seconds = u32::try_from(at / 1_000_000_000).map_err(io::Error::other)?;
        let unit = if self.nanoseconds { 1 } else { 1000 };
        let fraction = u32::try_from(at % 1_000_000_000 / unit).map_err(io::Error::other)?;
        let bytes = u32::try_from(frame.len()).map_err(io::Error::other)?;
        for word in [seconds, fraction, bytes, bytes] {
            self.pending.extend(word.to_le_bytes());
        }
        self.pending.extend(frame);
        if self.pending.len() >= PENDING {
            self.out.write_all(&self.pending)?;
            self.pending.clear();
        }
        Ok(())
    }

    /// Writes what is left and gives the file back.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&self.pending)?;
        self.out.flush()?;
        Ok(self.out)
    }
}
