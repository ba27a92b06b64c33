//! Packets that another host sends on over TCP: HEP 3, and Oreka's encapsulation.
//!
//! Law: a packet says how long it is. What is none is skipped and counted, up to where the next
//! begins: a connection may be older than we are, and have holes. A direction keeps at most one
//! unfinished packet (64 KiB), and there are at most [`MAX_STREAMS`] of them.

use super::decoder::{Sink, TcpStream};
use super::ports::{Carrier, Ports};
use super::{Datagram, Malformed};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::net::SocketAddr;

/// Directions whose packets are read at once; a site has a few agents.
const MAX_STREAMS: usize = 256;

/// What bytes at the place where a packet should begin are.
enum Measure {
    /// A packet of this length.
    Whole(usize),
    /// The beginning of one; more is needed.
    Part,
    /// None.
    Nothing,
}

fn measure(carrier: Carrier, bytes: &[u8]) -> Measure {
    let (names, least): (&[&[u8]], usize) = match carrier {
        Carrier::Hep => (&[b"HEP3", b"EEP1"], 6 + 6),
        Carrier::Oreka => (&[&[0xbe, 0xef, 1]], 9 + 14),
    };
    let named = |name: &&[u8]| bytes.iter().zip(*name).all(|(byte, law)| byte == law);
    if !names.iter().any(named) {
        return Measure::Nothing;
    }
    let length = match (carrier, bytes) {
        (Carrier::Hep, [_, _, _, _, high, low, ..]) => u16::from_be_bytes([*high, *low]).into(),
        (Carrier::Oreka, [_, _, _, _, _, _, _, high, low, ..]) => {
            usize::from(u16::from_be_bytes([*high, *low])) + 9
        }
        _ => return Measure::Part,
    };
    match length {
        length if length < least => Measure::Nothing,
        length if length <= bytes.len() => Measure::Whole(length),
        _ => Measure::Part,
    }
}

/// Cuts one direction of a connection into packets.
#[derive(Debug)]
pub struct Splitter {
    carrier: Carrier,
    held: Vec<u8>,
    skipped: u64,
}

impl Splitter {
    /// A splitter that has seen nothing.
    #[must_use]
    pub const fn new(carrier: Carrier) -> Self {
        Self { carrier, held: Vec::new(), skipped: 0 }
    }

    /// Takes the next bytes and hands every packet they complete to `sink`; `gap` says that bytes
    /// were lost before them.
    pub fn push(&mut self, data: &[u8], gap: bool, sink: &mut dyn FnMut(&[u8])) {
        if gap {
            self.skip(self.held.len());
            self.held = Vec::new();
        }
        if self.held.is_empty() {
            let used = self.walk(data, sink);
            self.held.extend_from_slice(data.get(used..).unwrap_or_default());
            return;
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(data);
        let used = self.walk(&held, sink);
        held.drain(..used.min(held.len()));
        if !held.is_empty() {
            self.held = held;
        }
    }

    /// Bytes that belonged to no packet, since this was asked last.
    pub const fn take_skipped(&mut self) -> u64 {
        std::mem::replace(&mut self.skipped, 0)
    }

    /// Consumes what it can; the rest is the beginning of a packet.
    fn walk(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8])) -> usize {
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            match measure(self.carrier, rest) {
                Measure::Whole(length) => {
                    sink(rest.get(..length).unwrap_or(rest));
                    used += length;
                }
                Measure::Part => break,
                Measure::Nothing => {
                    self.skip(1);
                    used += 1;
                }
            }
        }
        used
    }

    fn skip(&mut self, bytes: usize) {
        self.skipped = self.skipped.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }
}

/// Every direction that carries packets, and those found in them and not walked yet.
#[derive(Debug, Default)]
pub(super) struct Carriers {
    readers: HashMap<(SocketAddr, SocketAddr), Splitter, RandomState>,
    pub(super) found: Vec<(Carrier, Vec<u8>)>,
    pub(super) skipped: u64,
}

impl Carriers {
    /// Takes the bytes if they are of a direction that carries packets.
    fn take(&mut self, stream: &TcpStream<'_>, ports: &Ports) -> bool {
        let Some(carrier) = ports.carrier(stream.destination.port()) else { return false };
        let key = (stream.source, stream.destination);
        let known = self.readers.contains_key(&key);
        if !known && (self.readers.len() >= MAX_STREAMS || !begins(carrier, stream.data)) {
            return false;
        }
        let reader = self.readers.entry(key).or_insert_with(|| Splitter::new(carrier));
        let found = &mut self.found;
        reader.push(stream.data, stream.gap, &mut |packet| found.push((carrier, packet.to_vec())));
        if stream.closed {
            reader.push(&[], true, &mut |_| {});
        }
        self.skipped = self.skipped.saturating_add(reader.take_skipped());
        if stream.closed {
            self.readers.remove(&key);
        }
        true
    }
}

/// Whether packets begin somewhere in the first bytes seen of a direction.
fn begins(carrier: Carrier, data: &[u8]) -> bool {
    let at = |from: usize| {
        let rest = data.get(from..).unwrap_or_default();
        match measure(carrier, rest) {
            Measure::Whole(_) => true,
            // Later on, a single byte says nothing.
            Measure::Part => from == 0 || rest.len() >= 4,
            Measure::Nothing => false,
        }
    };
    (0..data.len()).any(at)
}

/// Keeps what carries packets and passes everything else on.
pub(super) struct Tee<'a> {
    pub(super) carriers: &'a mut Carriers,
    pub(super) ports: &'a Ports,
    pub(super) sink: &'a mut dyn Sink,
}

impl Sink for Tee<'_> {
    fn udp(&mut self, datagram: Datagram<'_>) {
        self.sink.udp(datagram);
    }

    fn tcp(&mut self, stream: TcpStream<'_>) {
        if !self.carriers.take(&stream, self.ports) {
            self.sink.tcp(stream);
        }
    }

    fn refused(&mut self, malformed: Malformed) {
        self.sink.refused(malformed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hep(body: &[u8]) -> Vec<u8> {
        let total = u16::try_from(body.len() + 6).unwrap().to_be_bytes();
        [&b"HEP3"[..], &total, body].concat()
    }

    fn split(splitter: &mut Splitter, data: &[u8], gap: bool) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        splitter.push(data, gap, &mut |packet| found.push(packet.to_vec()));
        found
    }

    #[test]
    fn garbage_and_holes_are_skipped_and_counted() {
        let packet = hep(b"a chunk, or two");
        let mut splitter = Splitter::new(Carrier::Hep);
        assert_eq!(split(&mut splitter, b"HEPHEP4", false), [] as [Vec<u8>; 0]);
        assert_eq!(split(&mut splitter, &packet, false), std::slice::from_ref(&packet));
        assert_eq!(splitter.take_skipped(), 7);
        assert!(split(&mut splitter, &packet[..9], false).is_empty());
        assert_eq!(split(&mut splitter, &packet, true), [packet]);
        assert_eq!(splitter.take_skipped(), 9);
        // Too short to be one, and no endless loop.
        assert!(split(&mut splitter, b"HEP3\0\x06HEP3\0\0", false).is_empty());
        assert_eq!(splitter.take_skipped(), 12);
    }

    proptest! {
        #[test]
        fn any_cuts_give_the_packets(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 14..90), 1..8),
            cuts in prop::collection::vec(1_usize..40, 1..60),
            oreka in any::<bool>(),
        ) {
            let carrier = if oreka { Carrier::Oreka } else { Carrier::Hep };
            let record = |body: &Vec<u8>| {
                let length = u16::try_from(body.len()).unwrap().to_be_bytes();
                [&[0xbe, 0xef, 1, 0, 0, 0, 0], &length[..], body].concat()
            };
            let packets: Vec<Vec<u8>> =
                bodies.iter().map(|body| if oreka { record(body) } else { hep(body) }).collect();
            let mut rest = &packets.concat()[..];
            let mut splitter = Splitter::new(carrier);
            let mut found = Vec::new();
            for cut in cuts.iter().cycle() {
                let (part, after) = rest.split_at_checked(*cut).unwrap_or((rest, &[]));
                found.extend(split(&mut splitter, part, false));
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(found, packets);
            prop_assert_eq!(splitter.take_skipped(), 0);
        }

        #[test]
        fn any_bytes_are_bounded(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20)) {
            let mut splitter = Splitter::new(Carrier::Hep);
            for part in parts {
                let part = [b"HEP3\xff\xff", &part[..]].concat();
                splitter.push(&part, false, &mut |_| {});
                prop_assert!(splitter.held.len() <= 65_535);
            }
        }
    }
}
