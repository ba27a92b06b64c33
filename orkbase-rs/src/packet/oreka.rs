//! Oreka's own encapsulation: frames that another recorder sends on, several in a datagram.
//!
//! Law: a record is `BE EF`, version 1, four bytes of sequence, two of length, and a frame of that
//! length. Records fill the datagram; only the last may be cut, by a snaplen. Not here: the same
//! records over TCP.

use super::link;

/// The shortest frame there is: two addresses and a type.
const FRAME: usize = 14;

/// The frame of the first record, as far as it goes, and the records behind it.
pub(super) fn record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<9>()?;
    let [0xbe, 0xef, 1, _, _, _, _, high, low] = *header else { return None };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length < FRAME {
        return None;
    }
    Some(rest.split_at_checked(length).unwrap_or((rest, &[])))
}

/// True when these are records from the first byte to the last, and the first has a frame.
pub(super) fn plausible(bytes: &[u8]) -> bool {
    let Some((frame, mut rest)) = record(bytes) else { return false };
    while let Some((_, after)) = record(rest) {
        rest = after;
    }
    // What a snaplen left of a header is no frame, but no contradiction either.
    let cut = rest.len() < 9 && [0xbe, 0xef, 1].iter().zip(rest).all(|(law, byte)| law == byte);
    cut && link::plausible(frame)
}
