//! A block: what came for one tape within about a second, still in its codecs.
//!
//! Law: the engine only appends; whoever decodes finds each payload with its leg, its order and its
//! place. One copy of the payload is the whole cost of a packet in the engine.

use crate::call::{
    output::{Digit, TapeId},
    party::Side,
};

/// Bytes before each payload: leg, flags, length, order, place.
pub const RECORD_HEADER: usize = 16;
/// A block is handed over when it has grown to this: 1.1 s of two-way G.711 in 20 ms packets.
pub const BLOCK_BYTES: usize = 20 * 1024;

/// Bit in a record's flags: order begins anew here (first packet, restart, resume).
const ANEW: u8 = 0x80;
/// Bit: nothing to hear (an event packet); only the order advances.
const VOID: u8 = 0x40;

/// Payloads for one tape in order of arrival.
#[derive(Debug)]
pub struct Block {
    /// Which tape.
    pub tape: TapeId,
    /// Legs and codecs that appear from here on.
    pub news: Vec<News>,
    /// Capture time of the hand-over, in ticks from the tape's start.
    pub until: i64,
    /// The records.
    pub bytes: Vec<u8>,
}

/// Something the decoder must know before the records of the block.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum News {
    /// A stream appears.
    Leg {
        /// Its number on the tape.
        leg: u8,
        /// Its channel.
        side: Side,
    },
    /// A key was pressed, as signalling or telephone events tell.
    Digit(Digit),
    /// A codec appears on a leg.
    Codec {
        /// The leg.
        leg: u8,
        /// Number of the codec on that leg, 0 to 15.
        slot: u8,
        /// RTP encoding name.
        name: String,
        /// RTP clock in Hz.
        clock_rate: u32,
        /// Audio channels.
        channels: u8,
        /// Format parameters.
        parameters: Option<String>,
    },
}

/// One payload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Record<'a> {
    /// Leg on the tape.
    pub leg: u8,
    /// Codec on that leg.
    pub slot: u8,
    /// Order begins anew.
    pub anew: bool,
    /// Nothing to hear.
    pub void: bool,
    /// Low half of the extended sequence number.
    pub order: u32,
    /// Where it belongs, in ticks from the tape's start.
    pub tick: i64,
    /// Media bytes in their codec.
    pub payload: &'a [u8],
}

/// Appends a record.
#[inline]
pub fn append(bytes: &mut Vec<u8>, record: &Record<'_>) {
    let length = u16::try_from(record.payload.len()).unwrap_or(u16::MAX);
    let payload = record.payload.get(..usize::from(length)).unwrap_or_default();
    let flags = record.slot & 0x0f
        | if record.anew { ANEW } else { 0 }
        | if record.void { VOID } else { 0 };
    // One store instead of sixteen.
    let header = u128::from(record.leg)
        | u128::from(flags) << 8
        | u128::from(length) << 16
        | u128::from(record.order) << 32
        | u128::from(record.tick.cast_unsigned()) << 64;
    bytes.reserve(RECORD_HEADER + payload.len());
    bytes.extend_from_slice(&header.to_le_bytes());
    bytes.extend_from_slice(payload);
}

/// Moves every record by so many ticks.
pub fn shift(bytes: &mut [u8], by: i64) {
    let mut rest = bytes;
    while let Some((header, after)) = rest.split_first_chunk_mut::<RECORD_HEADER>() {
        let [_, _, l0, l1, _, _, _, _, tick @ ..] = header;
        let moved = i64::from_le_bytes(*tick).saturating_add(by);
        *tick = moved.to_le_bytes();
        let length = usize::from(u16::from_le_bytes([*l0, *l1]));
        let Some((_, next)) = after.split_at_mut_checked(length) else { return };
        rest = next;
    }
}

/// Walks the records of a block; stops at the first that is cut short.
#[derive(Clone, Debug)]
pub struct Records<'a>(&'a [u8]);

impl<'a> Records<'a> {
    /// The records in `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Octets behind the record that came last.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.0.len()
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        let (header, rest) = self.0.split_first_chunk::<RECORD_HEADER>()?;
        let &[leg, flags, l0, l1, o0, o1, o2, o3, t0, t1, t2, t3, t4, t5, t6, t7] = header;
        let (payload, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([l0, l1])))?;
        self.0 = rest;
        Some(Record {
            leg,
            slot: flags & 0x0f,
            anew: flags & ANEW != 0,
            void: flags & VOID != 0,
            order: u32::from_le_bytes([o0, o1, o2, o3]),
            tick: i64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
            payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_went_in() {
        let one = Record {
            leg: 1,
            slot: 3,
            anew: true,
            void: false,
            order: 7,
            tick: -12,
            payload: b"abc",
        };
        let two = Record {
            leg: 0,
            slot: 0,
            anew: false,
            void: true,
            order: u32::MAX,
            tick: 960,
            payload: b"",
        };
        let mut bytes = Vec::new();
        append(&mut bytes, &one);
        append(&mut bytes, &two);
        assert_eq!(Records::new(&bytes).collect::<Vec<_>>(), [one, two]);
        shift(&mut bytes, 20);
        let moved = [Record { tick: 8, ..one }, Record { tick: 980, ..two }];
        assert_eq!(Records::new(&bytes).collect::<Vec<_>>(), moved);
        bytes.pop();
        assert_eq!(Records::new(&bytes).count(), 1);
    }
}
