//! IP fragments and TCP segments in any order: what comes out is what was sent, in its order.
//!
//! Every byte says where it belongs. A TCP byte stream is made of 32-bit words that are their own
//! sequence numbers; a datagram of words of its number and offset.

use super::decode::narrow;
use super::input::Input;
use orkbase::packet::{
    Datagram, Frame, LinkType,
    decoder::{Decoder, Sink, TcpStream},
};
use orkbase::time::Timestamp;
use std::{collections::BTreeMap, net::SocketAddr};

/// Input: pieces; the first byte of each says what it is.
pub(super) fn pieces(data: &[u8]) {
    let mut input = Input::new(data);
    let mut decoder = Decoder::new(narrow());
    let mut judge = Judge::default();
    let mut at = Timestamp(1_700_000_000_000_000_000);
    while !input.is_empty() {
        let what = input.byte();
        let packet = match what & 3 {
            0 => Some(fragment_v4(&mut input)),
            1 => Some(fragment_v6(&mut input)),
            2 => Some(segment(&mut input)),
            _ => {
                at = at.plus_millis(u64::from(input.byte()) << (what >> 2 & 15));
                decoder.deliver_due(at, &mut judge);
                None
            }
        };
        let Some(bytes) = packet else { continue };
        let wire_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        // Now and then the capture is cut short.
        let kept =
            if what & 0xf0 == 0xf0 { bytes.len() - bytes.len() / 8 * 4 } else { bytes.len() };
        let bytes = bytes.get(..kept).unwrap_or(&bytes);
        decoder.handle_frame(&Frame { at, link: LinkType::RawIp, wire_len, bytes }, &mut judge);
    }
    decoder.finish(&mut judge);
    let counters = decoder.counters();
    assert_eq!(counters.udp, judge.datagrams);
    assert!(counters.reassembled <= judge.datagrams);
    assert!(judge.expected.is_empty(), "directions never closed");
}

/// Bytes of a datagram behind its UDP header, by its number.
fn body_length(id: u8) -> u16 {
    8 * (1 + u16::from(id & 15) * 6)
}

/// Bytes `from..to` of datagram `id`: ports and length, then words.
fn datagram(id: u8, from: u16, to: u16) -> Vec<u8> {
    let length = body_length(id);
    let mut bytes = [9_999, 1_000 + u16::from(id), length + 8, 0].map(u16::to_be_bytes).concat();
    for offset in (0..length).step_by(4) {
        bytes.extend((u32::from(id) << 16 | u32::from(offset)).to_be_bytes());
    }
    bytes.get(usize::from(from)..usize::from(to)).unwrap_or_default().to_vec()
}

/// Number, offset and body of a fragment, and whether more follow.
fn cut(input: &mut Input<'_>) -> (u8, u16, Vec<u8>, bool) {
    let (id, place, length) = (input.byte() & 31, input.byte(), input.byte());
    let total = body_length(id) + 8;
    let from = u16::from(place) * 8 % total;
    let to = (from + 8 * (1 + u16::from(length & 31))).min(total);
    // Sometimes the sender lies about what follows.
    let more = (to < total) != (length & 0xe0 == 0xe0);
    (id, from, datagram(id, from, to), more)
}

fn fragment_v4(input: &mut Input<'_>) -> Vec<u8> {
    let (id, from, body, more) = cut(input);
    let total = u16::try_from(20 + body.len()).unwrap_or(u16::MAX).to_be_bytes();
    let offset = ((from / 8) | u16::from(more) << 13).to_be_bytes();
    let mut bytes = vec![0x45, 0, total[0], total[1], 0, id, offset[0], offset[1], 64, 17, 0, 0];
    bytes.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend(body);
    bytes
}

fn fragment_v6(input: &mut Input<'_>) -> Vec<u8> {
    let (id, from, body, more) = cut(input);
    let length = u16::try_from(8 + body.len()).unwrap_or(u16::MAX).to_be_bytes();
    let offset = (from | u16::from(more)).to_be_bytes();
    let mut bytes = vec![0x60, 0, 0, 0, length[0], length[1], 44, 64];
    bytes.extend([0xfd; 16]);
    bytes.extend([0xfe; 16]);
    bytes.extend([17, 0, offset[0], offset[1], 0, 0, 0, id]);
    bytes.extend(body);
    bytes
}

/// A segment of one of two connections, in either direction, with its flags.
fn segment(input: &mut Input<'_>) -> Vec<u8> {
    let (ends, flags, place, words) = (input.byte(), input.byte(), input.byte(), input.byte());
    const BASES: [u32; 4] = [0, 0xffff_ff00, 0x1000_0000, 0x7fff_ff80];
    let base = BASES.get(usize::from(ends >> 2 & 3)).copied().unwrap_or(0);
    let first = base.wrapping_add(u32::from(place) * 4);
    let syn = flags & 2 != 0;
    let mut data = Vec::new();
    if !syn {
        for word in 0..u32::from(words & 63) {
            data.extend(first.wrapping_add(word * 4).to_be_bytes());
        }
    }
    let (phone, server) = (40_000, 5_060 + u16::from(ends & 1));
    let ports = if ends & 2 == 0 { [phone, server] } else { [server, phone] };
    let total = u16::try_from(40 + data.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut bytes = vec![0x45, 0, total[0], total[1], 0, 1, 0x40, 0, 64, 6, 0, 0];
    bytes.extend([10, 0, 0, 3, 10, 0, 0, 3]);
    bytes.extend(ports.map(u16::to_be_bytes).concat());
    // A SYN has a number of its own, before the first byte.
    bytes.extend(first.wrapping_sub(u32::from(syn)).to_be_bytes());
    bytes.extend(base.wrapping_add(u32::from(words) * 4).to_be_bytes());
    bytes.extend([0x50, flags & 0x1f, 16, 0, 0, 0, 0, 0]);
    bytes.extend(data);
    bytes
}

/// Holds what comes out against what can have been sent.
#[derive(Default)]
struct Judge {
    datagrams: u64,
    /// The next word of each open direction.
    expected: BTreeMap<(SocketAddr, SocketAddr), u32>,
}

impl Sink for Judge {
    fn udp(&mut self, got: Datagram<'_>) {
        self.datagrams += 1;
        let id = u8::try_from(got.destination.port() - 1_000).unwrap_or(0);
        // Less of it when its last fragment lied.
        let sent = datagram(id, 8, body_length(id) + 8);
        assert!(sent.starts_with(got.payload), "datagram {id}: {:?}", got.payload);
    }

    fn tcp(&mut self, got: TcpStream<'_>) {
        let key = (got.source, got.destination);
        let (words, rest) = got.data.as_chunks::<4>();
        assert!(rest.is_empty(), "a word was cut");
        if let Some(first) = words.first().copied().map(u32::from_be_bytes) {
            match self.expected.get(&key) {
                Some(expected) if got.gap => {
                    let skipped = first.wrapping_sub(*expected);
                    assert!(skipped < 1 << 31, "{first:x} again, {expected:x} was next");
                }
                Some(expected) => assert_eq!(first, *expected, "out of order"),
                None => {}
            }
            let mut next = first;
            for word in words {
                assert_eq!(u32::from_be_bytes(*word), next, "not what was sent");
                next = next.wrapping_add(4);
            }
            self.expected.insert(key, next);
        }
        if got.closed {
            self.expected.remove(&key);
        }
    }
}
