//! Redundant audio (RFC 2198): one RTP payload that carries the present and some of the past.
//!
//! Law: a payload is split wholly or not at all; blocks come oldest first, as they lie.
//! Not here: what the blocks mean (each names its payload type), and which are still missing.

use std::fmt;

/// One block of a redundant payload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Block<'a> {
    /// RTP payload type of this block.
    pub payload_type: u8,
    /// Ticks by which it is older than the packet's timestamp; 0 for the primary.
    pub age: u16,
    /// Its audio.
    pub payload: &'a [u8],
}

/// Blocks beyond this are refused: senders use two or three.
pub const MOST_BLOCKS: usize = 16;

/// Why a payload is not RFC 2198.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotRed {
    /// The headers run past the end.
    Headers,
    /// The blocks together are longer than the payload.
    Blocks,
    /// More blocks than [`MOST_BLOCKS`].
    TooMany,
}

impl fmt::Display for NotRed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Headers => "redundancy headers run past the end",
            Self::Blocks => "redundant blocks are longer than the payload",
            Self::TooMany => "too many redundant blocks",
        })
    }
}

impl std::error::Error for NotRed {}

/// Splits a payload; the last block is the primary one. Allocates nothing.
///
/// # Errors
/// When the headers or the lengths they state do not fit the payload.
pub fn split(payload: &[u8]) -> Result<Blocks<'_>, NotRed> {
    let mut rest = payload;
    let mut older = 0;
    let mut length = 0;
    loop {
        match *rest {
            [first, ..] if first & 0x80 == 0 => break,
            [_, _, hi, lo, ref after @ ..] => {
                length += block_length(hi, lo);
                rest = after;
            }
            _ => return Err(NotRed::Headers),
        }
        older += 1;
        if older == MOST_BLOCKS {
            return Err(NotRed::TooMany);
        }
    }
    let audio = rest.get(1..).unwrap_or_default();
    if length > audio.len() {
        return Err(NotRed::Blocks);
    }
    Ok(Blocks { headers: payload, audio, done: false })
}

/// The blocks of one payload, checked by [`split`].
#[derive(Clone, Debug)]
pub struct Blocks<'a> {
    headers: &'a [u8],
    audio: &'a [u8],
    done: bool,
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Block<'a>;

    fn next(&mut self) -> Option<Block<'a>> {
        if self.done {
            return None;
        }
        match *self.headers {
            [first, middle, hi, lo, ref after @ ..] if first & 0x80 != 0 => {
                let (payload, audio) = self.audio.split_at_checked(block_length(hi, lo))?;
                self.headers = after;
                self.audio = audio;
                let age = u16::from_be_bytes([middle, hi]) >> 2;
                Some(Block { payload_type: first & 0x7f, age, payload })
            }
            [first, ..] => {
                self.done = true;
                Some(Block { payload_type: first & 0x7f, age: 0, payload: self.audio })
            }
            [] => None,
        }
    }
}

/// The low ten bits of a header.
fn block_length(hi: u8, lo: u8) -> usize {
    usize::from(u16::from_be_bytes([hi & 3, lo]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_primary_comes_last() {
        let payload = [0x80 | 96, 0x05, 0x00, 3, 0, 1, 2, 3, 4, 5];
        let blocks: Vec<_> = split(&payload).unwrap().collect();
        assert_eq!(
            blocks,
            [
                Block { payload_type: 96, age: 320, payload: &[1, 2, 3] },
                Block { payload_type: 0, age: 0, payload: &[4, 5] },
            ]
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(split(&[]).unwrap_err(), NotRed::Headers);
        assert_eq!(split(&[0x80, 0, 0]).unwrap_err(), NotRed::Headers);
        assert_eq!(split(&[0x80, 0, 0, 2, 0, 9]).unwrap_err(), NotRed::Blocks);
        assert_eq!(split(&[0x80; 200]).unwrap_err(), NotRed::TooMany);
        assert_eq!(split(&[0]).unwrap().count(), 1);
    }

    proptest! {
        #[test]
        fn blocks_are_the_payload_without_its_headers(payload: Vec<u8>) {
            if let Ok(blocks) = split(&payload) {
                let blocks: Vec<_> = blocks.collect();
                prop_assert!(!blocks.is_empty() && blocks.len() <= MOST_BLOCKS);
                let audio: usize = blocks.iter().map(|block| block.payload.len()).sum();
                prop_assert_eq!(audio + 4 * blocks.len() - 3, payload.len());
            }
        }
    }
}
