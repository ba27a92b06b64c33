//! The classic capture file: a 24-byte header, then records (draft-ietf-opsawg-pcap).
//!
//! Law: the header decides byte order, time unit and record shape once; a record decides nothing
//! but its own length. The snapshot length in the header is ignored: writers lie about it.

use super::MAX_FRAME_BYTES;
use super::file::{Record, Trouble};
use super::window::{Order, Window, quads};
use orkbase::packet::LinkType;
use orkbase::time::{NANOS_PER_SEC, Timestamp};

pub(super) const FILE_HEADER_BYTES: usize = 24;
pub(super) const MAGIC_MICRO: u32 = 0xa1b2_c3d4;
pub(super) const MAGIC_NANO: u32 = 0xa1b2_3c4d;
/// Alexey Kuznetzov's patched libpcap: eight more bytes (interface, protocol, packet type) before
/// each packet.
pub(super) const MAGIC_KUZNETZOV: u32 = 0xa1b2_cd34;

/// How to read the records of one file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pcap {
    order: Order,
    nanos_per_tick: u32,
    record_header: usize,
    link: LinkType,
}

/// Byte order, nanoseconds per tick of the fraction, bytes before each packet.
pub(super) fn shape(magic: [u8; 4]) -> Option<(Order, u32, usize)> {
    [Order::Little, Order::Big].into_iter().find_map(|order| match order.u32(magic) {
        MAGIC_MICRO => Some((order, 1000, 16)),
        MAGIC_NANO => Some((order, 1, 16)),
        MAGIC_KUZNETZOV => Some((order, 1000, 24)),
        _ => None,
    })
}

impl Pcap {
    pub(super) fn from_header(header: &[u8]) -> Option<Self> {
        let (order, nanos_per_tick, record_header) = shape(*header.first_chunk()?)?;
        let [_, _, _, _, _, link] = quads(header)?;
        let link = link_type(order.u32(*link));
        Some(Self { order, nanos_per_tick, record_header, link })
    }

    #[inline]
    pub(super) fn next(&self, window: &mut Window) -> Result<Option<Record>, Trouble> {
        if !window.has(self.record_header)? {
            return if window.ahead().is_empty() { Ok(None) } else { Err(Trouble::Cut) };
        }
        let Some(&[secs, ticks, captured, wire_len]) = quads(window.ahead()) else {
            return Err(Trouble::Cut);
        };
        let captured = self.order.u32(captured);
        if captured > MAX_FRAME_BYTES {
            return Err(too_long(captured));
        }
        let length = captured as usize;
        if !window.has(self.record_header + length)? {
            return Err(Trouble::Cut);
        }
        let start = window.start() + self.record_header;
        window.pass(self.record_header + length);
        Ok(Some(self.record([secs, ticks, wire_len], captured, start)))
    }

    /// The next record if it lies in the window as a whole. Written field by field: read back as one piece, it
    /// would wait behind every store before it.
    #[inline(always)]
    pub(super) fn at_hand(&self, window: &mut Window, place: &mut Record) -> bool {
        let Some(&[secs, ticks, captured, wire_len]) = quads(window.ahead()) else { return false };
        let captured = self.order.u32(captured);
        let whole = self.record_header + captured as usize;
        if captured > MAX_FRAME_BYTES || !window.holds(whole) {
            return false;
        }
        let start = window.start() + self.record_header;
        window.pass(whole);
        *place = self.record([secs, ticks, wire_len], captured, start);
        true
    }

    #[inline(always)]
    fn record(&self, [secs, ticks, wire_len]: [[u8; 4]; 3], captured: u32, start: usize) -> Record {
        let fraction = u64::from(self.order.u32(ticks)) * u64::from(self.nanos_per_tick);
        let nanos = u64::from(self.order.u32(secs)) * NANOS_PER_SEC + fraction;
        let wire_len = self.order.u32(wire_len).max(captured);
        let length = captured as usize;
        Record { at: Timestamp(nanos), link: self.link, wire_len, start, length }
    }
}

/// Bits above the low 26 carry the length of a frame check sequence.
fn link_type(field: u32) -> LinkType {
    LinkType::from_number(u16::try_from(field & 0x03ff_ffff).unwrap_or(u16::MAX))
}

#[cold]
pub(super) fn too_long(captured: u32) -> Trouble {
    Trouble::Damaged(format!("a record of {captured} bytes (the most is {MAX_FRAME_BYTES})"))
}
