//! Packets of a call as a pcapng file keeps them (draft-ietf-opsawg-pcapng).
//!
//! Law: the file is of link type 101 (raw IP). What stands in it is what the core understood:
//! reassembled, out of its tunnels, and, of signalling, decrypted. IP, UDP and TCP headers are made
//! here; addresses, ports, times and payloads are those of the wire. Blocks are only appended, so that
//! a file that ends anywhere is good up to its last whole block.

use crate::time::Timestamp;
use std::net::{IpAddr, SocketAddr};

/// Raw IPv4 or IPv6.
const LINKTYPE_RAW: u32 = 101;
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
/// Longest payload written; what is longer is cut, and the block tells its true length.
const MOST_PAYLOAD: usize = 65_000;
/// Longest comment.
const MOST_COMMENT: usize = 1_000;
/// No block is shorter: type, length, length.
const LEAST_BLOCK: usize = 12;

/// What carries a payload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Carrier {
    /// A datagram.
    Udp,
    /// A piece of a stream, after so many bytes of its direction and of the other.
    Tcp {
        /// Bytes before it.
        sequence: u32,
        /// Bytes the other way.
        acknowledged: u32,
    },
}

/// Begins a file: section and interface, with a comment for whoever reads it.
pub fn begin(out: &mut Vec<u8>, comment: &str) {
    let mut body = Vec::new();
    body.extend_from_slice(&0x1a2b_3c4d_u32.to_le_bytes());
    body.extend_from_slice(&[1, 0, 0, 0]);
    body.extend_from_slice(&u64::MAX.to_le_bytes());
    let mut end = comment.len().min(MOST_COMMENT);
    while !comment.is_char_boundary(end) {
        end -= 1;
    }
    option(&mut body, 1, comment.as_bytes().get(..end).unwrap_or_default());
    option(&mut body, 4, b"orkaudio");
    option(&mut body, 0, &[]);
    block(out, SECTION, &body);
    body.clear();
    body.extend_from_slice(&LINKTYPE_RAW.to_le_bytes());
    body.extend_from_slice(&0u32.to_le_bytes());
    // Nanoseconds.
    option(&mut body, 9, &[9]);
    option(&mut body, 0, &[]);
    block(out, INTERFACE, &body);
}

/// Appends a packet.
pub fn packet(
    out: &mut Vec<u8>,
    at: Timestamp,
    source: SocketAddr,
    destination: SocketAddr,
    carrier: Carrier,
    payload: &[u8],
) {
    let kept = payload.get(..MOST_PAYLOAD).unwrap_or(payload);
    let mut body = Vec::with_capacity(20 + 60 + kept.len() + 4);
    let [t0, t1, t2, t3, t4, t5, t6, t7] = at.0.to_be_bytes();
    body.extend_from_slice(&0u32.to_le_bytes());
    body.extend_from_slice(&[t3, t2, t1, t0, t7, t6, t5, t4]);
    let lengths = body.len();
    body.extend_from_slice(&[0; 8]);
    ip(&mut body, source, destination, carrier, kept);
    let length = u32::try_from(body.len() - lengths - 8).unwrap_or(0);
    let cut = u32::try_from(payload.len() - kept.len()).unwrap_or(0);
    let told = [length.to_le_bytes(), (length + cut).to_le_bytes()].concat();
    if let Some(room) = body.get_mut(lengths..lengths + 8) {
        room.copy_from_slice(&told);
    }
    pad(&mut body);
    block(out, ENHANCED_PACKET, &body);
}

/// Bytes of whole blocks at the beginning of a file of ours, and the packets among them; 0 when it
/// is none. `bytes` may be a piece that begins with a block.
#[must_use]
pub fn whole(bytes: &[u8]) -> (usize, u64) {
    let (mut end, mut packets) = (0, 0);
    while let Some(&[k0, k1, k2, k3, l0, l1, l2, l3]) =
        bytes.get(end..).and_then(<[u8]>::first_chunk::<8>)
    {
        let kind = u32::from_le_bytes([k0, k1, k2, k3]);
        let told = [l0, l1, l2, l3];
        let length = usize::try_from(u32::from_le_bytes(told)).unwrap_or(usize::MAX);
        let known = matches!(kind, SECTION | INTERFACE | ENHANCED_PACKET);
        let next = end.saturating_add(length);
        let tail = next.checked_sub(4).and_then(|tail| bytes.get(tail..next));
        if !known || length < LEAST_BLOCK || tail != Some(told.as_slice()) {
            break;
        }
        packets += u64::from(kind == ENHANCED_PACKET);
        end = next;
    }
    (end, packets)
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend_from_slice(&code.to_le_bytes());
    body.extend_from_slice(&u16::try_from(value.len()).unwrap_or(0).to_le_bytes());
    body.extend_from_slice(value);
    pad(body);
}

fn block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let length = u32::try_from(body.len() + LEAST_BLOCK).unwrap_or(0).to_le_bytes();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&length);
    out.extend_from_slice(body);
    out.extend_from_slice(&length);
}

/// An IP packet with true checksums.
fn ip(
    out: &mut Vec<u8>,
    source: SocketAddr,
    destination: SocketAddr,
    carrier: Carrier,
    payload: &[u8],
) {
    let (protocol, mut header) = match carrier {
        Carrier::Udp => (17u8, [0; 8].to_vec()),
        Carrier::Tcp { .. } => (6, [0; 20].to_vec()),
    };
    let short = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
    let size = short(header.len() + payload.len());
    let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
    put(&mut header, 0, &ports);
    let checksum_at = match carrier {
        Carrier::Udp => {
            put(&mut header, 4, &size.to_be_bytes());
            6
        }
        Carrier::Tcp { sequence, acknowledged } => {
            // Streams begin at 1, as behind a SYN.
            put(&mut header, 4, &sequence.wrapping_add(1).to_be_bytes());
            put(&mut header, 8, &acknowledged.wrapping_add(1).to_be_bytes());
            // Five words, PSH and ACK, the largest window.
            put(&mut header, 12, &[0x50, 0x18, 0xff, 0xff]);
            16
        }
    };
    let (from, to) = (source.ip().to_canonical(), destination.ip().to_canonical());
    let mut sum = Sum::default();
    let next = [0, protocol];
    if let (IpAddr::V4(from), IpAddr::V4(to)) = (from, to) {
        let total = short(20 + usize::from(size)).to_be_bytes();
        let mut head = vec![0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
        head.extend_from_slice(&from.octets());
        head.extend_from_slice(&to.octets());
        let mut own = Sum::default();
        own.add(&head);
        put(&mut head, 10, &own.get().to_be_bytes());
        out.extend_from_slice(&head);
        sum.add(&from.octets());
        sum.add(&to.octets());
    } else {
        let wide = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        out.extend_from_slice(&[0x60, 0, 0, 0]);
        out.extend_from_slice(&size.to_be_bytes());
        out.extend_from_slice(&[protocol, 64]);
        for address in [wide(from), wide(to)] {
            out.extend_from_slice(&address);
            sum.add(&address);
        }
    }
    sum.add(&next);
    sum.add(&size.to_be_bytes());
    sum.add(&header);
    sum.add(payload);
    // Zero says that there is none (RFC 768).
    let checksum = if sum.get() == 0 && protocol == 17 { 0xffff } else { sum.get() };
    put(&mut header, checksum_at, &checksum.to_be_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    if let Some(room) = bytes.get_mut(at..at + what.len()) {
        room.copy_from_slice(what);
    }
}

/// The checksum of IP, UDP and TCP (RFC 1071). Pieces but the last are of even length.
#[derive(Default)]
struct Sum(u64);

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        let (pairs, odd) = bytes.as_chunks::<2>();
        self.0 += pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum::<u64>();
        self.0 += odd.first().map_or(0, |last| u64::from(*last) << 8);
    }

    fn get(&self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{
        Datagram, Frame, LinkType,
        decoder::{Decoder, Limits, Sink, TcpStream},
    };
    use proptest::prelude::*;

    #[derive(Default)]
    struct Heard(Vec<(SocketAddr, SocketAddr, Vec<u8>)>);

    impl Sink for Heard {
        fn udp(&mut self, got: Datagram<'_>) {
            self.0.push((got.source, got.destination, got.payload.to_vec()));
        }

        fn tcp(&mut self, got: TcpStream<'_>) {
            if !got.data.is_empty() {
                self.0.push((got.source, got.destination, got.data.to_vec()));
            }
        }
    }

    /// What our own decoder finds in the IP packet of the only block.
    fn read_back(source: &str, destination: &str, carrier: Carrier, payload: &[u8]) -> Heard {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        let mut file = Vec::new();
        packet(
            &mut file,
            Timestamp(1_500_000_000_123_456_789),
            source,
            destination,
            carrier,
            payload,
        );
        assert_eq!(whole(&file), (file.len(), 1));
        let length = u32::from_le_bytes(file[20..24].try_into().unwrap()) as usize;
        let bytes = &file[28..28 + length];
        let mut heard = Heard::default();
        let wire_len = u32::try_from(bytes.len()).unwrap();
        let frame = Frame { at: Timestamp(5), link: LinkType::RawIp, wire_len, bytes };
        Decoder::new(Limits::default()).handle_frame(&frame, &mut heard);
        heard
    }

    /// The sum over pseudo header and transport packet, which is zero when the checksum is true.
    fn residue(ip: &[u8]) -> u16 {
        let v4 = ip[0] >> 4 == 4;
        let (start, addresses) = if v4 { (20, &ip[12..20]) } else { (40, &ip[8..40]) };
        let mut sum = Sum::default();
        sum.add(addresses);
        sum.add(&[0, if v4 { ip[9] } else { ip[6] }]);
        sum.add(&u16::try_from(ip.len() - start).unwrap().to_be_bytes());
        sum.add(&ip[start..]);
        if v4 {
            let mut own = Sum::default();
            own.add(&ip[..20]);
            assert_eq!(own.get(), 0);
        }
        sum.get()
    }

    #[test]
    fn what_is_written_is_what_was_said() {
        let tcp = Carrier::Tcp { sequence: 7, acknowledged: 9 };
        for (source, destination) in
            [("10.0.0.1:5060", "10.0.0.2:5061"), ("[fd00::1]:1", "[fd00::2]:2")]
        {
            for carrier in [Carrier::Udp, tcp] {
                let heard = read_back(source, destination, carrier, b"odd");
                let want = (source.parse().unwrap(), destination.parse().unwrap(), b"odd".to_vec());
                assert_eq!(heard.0, [want]);
                let mut bytes = Vec::new();
                let ends = (source.parse().unwrap(), destination.parse().unwrap());
                ip(&mut bytes, ends.0, ends.1, carrier, b"odd");
                assert_eq!(residue(&bytes), 0, "{source} {carrier:?}");
            }
        }
        let heard = read_back("[::ffff:10.0.0.1]:7", "10.0.0.2:8", Carrier::Udp, b"x");
        assert_eq!(heard.0[0].0, "10.0.0.1:7".parse().unwrap());
        let heard = read_back("10.0.0.1:7", "10.0.0.2:8", Carrier::Udp, &[1; 70_000]);
        assert_eq!(heard.0[0].2.len(), MOST_PAYLOAD);
    }

    #[test]
    fn a_file_begins_with_what_it_is() {
        let mut file = Vec::new();
        begin(&mut file, "call 1");
        assert_eq!(whole(&file), (file.len(), 0));
        assert!(file.windows(6).any(|bytes| bytes == b"call 1"));
        begin(&mut file, &"\u{e9}".repeat(MOST_COMMENT));
        assert_eq!(whole(&file).0, file.len());
    }

    proptest! {
        #[test]
        fn a_torn_end_costs_only_its_block(cut in 0usize..2_000, sizes in prop::collection::vec(0usize..300, 1..8)) {
            let mut file = Vec::new();
            begin(&mut file, "x");
            let mut ends = vec![0, 52, file.len()];
            for size in sizes {
                let ends_of = ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
                packet(&mut file, Timestamp(1), ends_of.0, ends_of.1, Carrier::Udp, &vec![0; size]);
                ends.push(file.len());
            }
            ends[1] = u32::from_le_bytes(file[4..8].try_into().unwrap()) as usize;
            let cut = cut.min(file.len());
            let want = ends.iter().rposition(|end| *end <= cut).unwrap();
            let (end, packets) = whole(&file[..cut]);
            prop_assert_eq!((end, packets), (ends[want], want.saturating_sub(2) as u64));
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(whole(&bytes).0 <= bytes.len());
        }
    }
}
