//! The newer capture file: typed blocks in sections (draft-ietf-opsawg-pcapng).
//!
//! Law: a section header resets byte order and interfaces; an interface block says how the packets
//! that refer to it are timed and linked; every other block is passed over unread.

use super::MAX_FRAME_BYTES;
use super::file::{Record, Trouble};
use super::pcap::too_long;
use super::window::{Order, Window, quads};
use crate::keylog::Text;
use orkbase::packet::LinkType;
use orkbase::time::{NANOS_PER_SEC, Timestamp};
use std::mem;
use zeroize::Zeroizing;

/// Section header, the same in both byte orders.
pub(super) const SECTION: u32 = 0x0a0d_0d0a;
const ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
const DECRYPTION_SECRETS: u32 = 10;
/// `TLSK`: the secrets are a TLS key log.
const TLS_KEY_LOG: u32 = 0x544c_534b;
/// Most secrets taken between two packets; a key log of a day has less.
const MAX_KEYS_BYTES: usize = 16 << 20;
/// A block that is read must fit the window: a frame and 256 KiB of options.
const MAX_BLOCK_BYTES: usize = 512 << 10;
/// Far above any real machine; a damaged file must not fill memory with interfaces.
const MAX_INTERFACES: usize = 4096;

/// Reads the sections of one file.
#[derive(Debug)]
pub(super) struct Pcapng {
    order: Order,
    interfaces: Vec<Interface>,
    last: Timestamp,
    keys: Zeroizing<Vec<u8>>,
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: LinkType,
    snaplen: u32,
    unit: Unit,
    offset_nanos: i64,
}

/// What one tick of an interface's clock is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Unit {
    /// This many nanoseconds.
    Nanos(u64),
    /// A nanosecond is this many ticks.
    PerNano(u64),
    /// A second is two to this power ticks.
    BinaryFraction(u8),
}

impl Pcapng {
    pub(super) fn new() -> Self {
        Self {
            order: Order::Little,
            interfaces: Vec::new(),
            last: Timestamp(0),
            keys: Zeroizing::default(),
        }
    }

    /// Whether there is something for [`take_keys`](Self::take_keys).
    #[inline]
    pub(super) fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// TLS keys passed since the last call.
    pub(super) fn take_keys(&mut self) -> Option<Text> {
        if self.keys.is_empty() {
            return None;
        }
        let keys = mem::take(&mut self.keys);
        Some(Zeroizing::new(String::from_utf8_lossy(&keys).into_owned()))
    }

    #[cold]
    fn add_keys(&mut self, body: &[u8]) -> Result<(), Trouble> {
        let Some(&[kind, length]) = quads(body) else {
            return Err(damaged("a block of secrets without room for its header".to_owned()));
        };
        let length = self.order.u32(length) as usize;
        let Some(text) = body.get(8..).and_then(|text| text.get(..length)) else {
            return Err(damaged(format!("{length} bytes of secrets longer than their block")));
        };
        if self.order.u32(kind) != TLS_KEY_LOG {
            return Ok(());
        }
        if self.keys.len() + text.len() > MAX_KEYS_BYTES {
            tracing::warn!(
                "too many TLS keys between two packets: {length} bytes of them are left out"
            );
            return Ok(());
        }
        // Copied as a whole: growing would leave secrets behind.
        self.keys = Zeroizing::new([&self.keys[..], text, b"\n"].concat());
        Ok(())
    }

    /// Whether the next block is a packet that lies in the window, and no keys wait.
    #[inline]
    fn is_at_hand(&self, window: &Window) -> bool {
        let Some(&[kind, length]) = quads(window.ahead()) else { return false };
        let padded = (self.order.u32(length) as usize).next_multiple_of(4);
        self.order.u32(kind) == ENHANCED_PACKET
            && (12..=MAX_BLOCK_BYTES).contains(&padded)
            && window.holds(padded)
            && !self.has_keys()
    }

    /// That packet; none if its block is damaged, which is for [`next`](Self::next) to say.
    #[inline(never)]
    pub(super) fn at_hand(&mut self, window: &mut Window, place: &mut Record) -> bool {
        if !self.is_at_hand(window) {
            return false;
        }
        let Some(&[_, length]) = quads(window.ahead()) else { return false };
        // An error changes nothing.
        let read = self.read_block(window, ENHANCED_PACKET, self.order.u32(length));
        let Ok(Some(record)) = read else { return false };
        *place = record;
        true
    }

    #[inline]
    pub(super) fn next(&mut self, window: &mut Window) -> Result<Option<Record>, Trouble> {
        loop {
            if !window.has(12)? {
                return if window.ahead().is_empty() { Ok(None) } else { Err(Trouble::Cut) };
            }
            let Some(&[kind, length, magic]) = quads(window.ahead()) else {
                return Err(Trouble::Cut);
            };
            if self.order.u32(kind) == SECTION {
                self.enter_section(magic)?;
            }
            let (kind, length) = (self.order.u32(kind), self.order.u32(length));
            if length < 12 {
                return Err(damaged(format!("a block of {length} bytes (the least is 12)")));
            }
            let long = kind == DECRYPTION_SECRETS && length as usize > MAX_BLOCK_BYTES;
            if long {
                tracing::warn!(
                    "a block of {length} bytes of TLS keys is too long and left out; give them with --key-log"
                );
            }
            if long
                || !matches!(
                    kind,
                    SECTION
                        | INTERFACE
                        | OBSOLETE_PACKET
                        | SIMPLE_PACKET
                        | ENHANCED_PACKET
                        | DECRYPTION_SECRETS
                )
            {
                if !window.skip(u64::from(length).next_multiple_of(4))? {
                    return Err(Trouble::Cut);
                }
                continue;
            }
            if let Some(record) = self.read_block(window, kind, length)? {
                return Ok(Some(record));
            }
        }
    }

    fn enter_section(&mut self, magic: [u8; 4]) -> Result<(), Trouble> {
        let Some(order) =
            [Order::Little, Order::Big].into_iter().find(|order| order.u32(magic) == ORDER_MAGIC)
        else {
            return Err(damaged(format!("a section of byte order {magic:02x?}")));
        };
        self.order = order;
        self.interfaces.clear();
        Ok(())
    }

    #[inline]
    fn read_block(
        &mut self,
        window: &mut Window,
        kind: u32,
        length: u32,
    ) -> Result<Option<Record>, Trouble> {
        // Some writers forget the padding in the length, as Wireshark also forgives.
        let padded = (length as usize).next_multiple_of(4);
        if padded > MAX_BLOCK_BYTES {
            return Err(damaged(format!("a block of {length} bytes (the most is 524288)")));
        }
        if !window.has(padded)? {
            return Err(Trouble::Cut);
        }
        let order = self.order;
        let block = window.ahead().get(8..padded).unwrap_or_default();
        let Some((body, trailer)) = block.split_last_chunk::<4>() else {
            return Err(Trouble::Cut);
        };
        let trailer = order.u32(*trailer);
        if trailer != length && trailer as usize != padded {
            return Err(damaged(format!(
                "a block of {length} bytes that ends as one of {trailer}"
            )));
        }
        let start = window.start() + 8;
        let record = match kind {
            ENHANCED_PACKET => Some(self.packet(body, Shape::Enhanced, start)?),
            OBSOLETE_PACKET => Some(self.packet(body, Shape::Obsolete, start)?),
            SIMPLE_PACKET => Some(self.simple_packet(body, start)?),
            INTERFACE => {
                self.add_interface(body)?;
                None
            }
            DECRYPTION_SECRETS => {
                self.add_keys(body)?;
                None
            }
            // The section header was dealt with before its length could be known.
            _ => None,
        };
        window.pass(padded);
        Ok(record)
    }

    #[inline]
    fn packet(&mut self, body: &[u8], shape: Shape, start: usize) -> Result<Record, Trouble> {
        let Some(&[id, high, low, captured, wire_len]) = quads(body) else {
            return Err(damaged("a packet block without room for its header".to_owned()));
        };
        let captured = self.order.u32(captured);
        let id = self.order.u32(id);
        let id = match (shape, self.order) {
            (Shape::Enhanced, _) => id,
            // Two halves: the interface, then packets dropped.
            (Shape::Obsolete, Order::Little) => id & 0xffff,
            (Shape::Obsolete, Order::Big) => id >> 16,
        };
        let interface = self.interface(id)?;
        let length = captured as usize;
        if captured > MAX_FRAME_BYTES {
            return Err(too_long(captured));
        }
        if length > body.len() - 20 {
            return Err(damaged(format!("a packet of {captured} bytes longer than its block")));
        }
        let (high, low) = (self.order.u32(high), self.order.u32(low));
        let (at, link) = (interface.time(u64::from(high) << 32 | u64::from(low)), interface.link);
        self.last = at;
        let wire_len = self.order.u32(wire_len).max(captured);
        Ok(Record { at, link, wire_len, start: start + 20, length })
    }

    /// Carries no time and no interface: the first interface, and the time of the packet before,
    /// which keeps the order of things.
    fn simple_packet(&self, body: &[u8], start: usize) -> Result<Record, Trouble> {
        let Some(&[wire_len]) = quads(body) else {
            return Err(damaged("a packet block without room for its header".to_owned()));
        };
        let wire_len = self.order.u32(wire_len);
        let interface = self.interface(0)?;
        let snapped =
            if interface.snaplen == 0 { wire_len } else { wire_len.min(interface.snaplen) };
        let length = (body.len() - 4).min(snapped as usize);
        if length > MAX_FRAME_BYTES as usize {
            return Err(too_long(snapped));
        }
        Ok(Record { at: self.last, link: interface.link, wire_len, start: start + 4, length })
    }

    #[inline]
    fn interface(&self, id: u32) -> Result<&Interface, Trouble> {
        match self.interfaces.get(id as usize) {
            Some(interface) => Ok(interface),
            None => Err(damaged(format!("a packet of interface {id}, which was not described"))),
        }
    }

    #[cold]
    fn add_interface(&mut self, body: &[u8]) -> Result<(), Trouble> {
        if self.interfaces.len() == MAX_INTERFACES {
            return Err(damaged(format!("more than {MAX_INTERFACES} interfaces")));
        }
        let (Some(link), Some(&[_, snaplen])) = (body.first_chunk(), quads(body)) else {
            return Err(damaged("an interface block without room for its header".to_owned()));
        };
        let link = LinkType::from_number(self.order.u16(*link));
        let snaplen = self.order.u32(snaplen);
        let mut interface = Interface { link, snaplen, unit: Unit::Nanos(1000), offset_nanos: 0 };
        let mut options = body.get(8..).unwrap_or_default();
        while let Some((code, value, rest)) = option(self.order, options) {
            match (code, value) {
                (0, _) => break,
                (9, [resolution, ..]) => interface.unit = Unit::from_resolution(*resolution),
                (14, value) => {
                    if let Some(secs) = value.first_chunk() {
                        interface.offset_nanos =
                            self.order.i64(*secs).saturating_mul(NANOS_PER_SEC.cast_signed());
                    }
                }
                _ => {}
            }
            options = rest;
        }
        self.interfaces.push(interface);
        Ok(())
    }
}

/// The two packet blocks that name an interface and a time.
#[derive(Clone, Copy)]
enum Shape {
    Enhanced,
    Obsolete,
}

/// The first option: its code, its value and what follows its padding.
fn option(order: Order, options: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (code, rest) = options.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let length = usize::from(order.u16(*length));
    let value = rest.get(..length)?;
    Some((order.u16(*code), value, rest.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

impl Unit {
    /// `if_tsresol`: a negative power of ten, or of two when the top bit is set.
    fn from_resolution(resolution: u8) -> Self {
        let power = resolution & 0x7f;
        if resolution & 0x80 != 0 {
            return Self::BinaryFraction(power);
        }
        match power.checked_sub(9) {
            None => Self::Nanos(10_u64.pow(u32::from(9 - power))),
            Some(finer) => Self::PerNano(10_u64.checked_pow(u32::from(finer)).unwrap_or(u64::MAX)),
        }
    }
}

impl Interface {
    #[inline]
    fn time(&self, ticks: u64) -> Timestamp {
        let nanos = match self.unit {
            Unit::Nanos(each) => ticks.saturating_mul(each),
            Unit::PerNano(ticks_per_nano) => ticks / ticks_per_nano,
            Unit::BinaryFraction(power) => {
                // 64 bits of ticks times 30 of nanoseconds fit 128.
                let nanos = (u128::from(ticks) * u128::from(NANOS_PER_SEC)) >> power;
                u64::try_from(nanos).unwrap_or(u64::MAX)
            }
        };
        Timestamp(nanos.saturating_add_signed(self.offset_nanos))
    }
}

#[cold]
fn damaged(why: String) -> Trouble {
    Trouble::Damaged(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_of_every_resolution() {
        let check = |resolution: u8, offset_secs: i64, ticks: u64, nanos: u64| {
            let unit = Unit::from_resolution(resolution);
            let offset_nanos = offset_secs.saturating_mul(NANOS_PER_SEC.cast_signed());
            let link = LinkType::Ethernet;
            let interface = Interface { link, snaplen: 0, unit, offset_nanos };
            assert_eq!(interface.time(ticks), Timestamp(nanos), "{resolution:#x}");
        };
        check(0, 0, 7, 7_000_000_000);
        check(6, 0, 7, 7_000);
        check(9, 0, 7, 7);
        check(12, 0, 7_999, 7);
        check(0x80, 0, 7, 7_000_000_000);
        check(0x80 | 32, 0, 3 << 31, 1_500_000_000);
        check(6, -1, 2_000_000, 1_000_000_000);
        // Nonsense neither panics nor wraps.
        check(0, 0, u64::MAX, u64::MAX);
        check(127, 0, u64::MAX, 1);
        check(0xff, 0, u64::MAX, 0);
        check(6, i64::MIN, 7, 0);
        check(6, i64::MAX, 7, i64::MAX.unsigned_abs() + 7_000);
    }
}
