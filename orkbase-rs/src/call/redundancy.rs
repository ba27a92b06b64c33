//! Redundant audio (RFC 2198): the present is placed, and so is what of the past was lost.
//!
//! Law: a packet that was received is never replaced by its coarser copy, and a copy is placed once;
//! the loss stays in the account, what was recovered beside it.

use super::{index::FlowOwner, switchboard::Switchboard};
use crate::{
    audio::red::{self, Block},
    rtp::{packet::RtpPacket, sequence::Arrival},
    time::Timestamp,
};

/// Copies remembered as placed: more than any packet carries.
const REMEMBERED: usize = 16;

/// The copies that were placed lately, by extended sequence number.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    latest: Vec<u64>,
    /// All of them.
    pub count: u64,
}

impl Recovered {
    /// Takes note of a copy; false when it was placed before.
    fn is_new(&mut self, number: u64) -> bool {
        if self.latest.contains(&number) {
            return false;
        }
        if self.latest.len() >= REMEMBERED {
            self.latest.remove(0);
        }
        self.latest.push(number);
        self.count += 1;
        true
    }
}

impl Switchboard {
    /// A packet of blocks, decrypted.
    #[cold]
    pub(super) fn place_redundant(
        &mut self,
        at: Timestamp,
        owner: FlowOwner,
        rtp: &RtpPacket<'_>,
        extended: u64,
        arrival: Arrival,
    ) {
        let blocks: Vec<Block<'_>> =
            red::split(rtp.payload).map(Iterator::collect).unwrap_or_default();
        let Some((present, past)) = blocks.split_last() else {
            return self.count_undecodable(owner);
        };
        // The newest of the past first: numbers count back from the packet's own.
        let numbered = past.iter().rev().zip(1u64..);
        self.place_block(at, owner, rtp, present, extended, arrival);
        for (block, back) in numbered {
            let Some(number) = extended.checked_sub(back) else { return };
            if block.payload.is_empty() || !self.recovers(owner, number) {
                continue;
            }
            self.place_block(at, owner, rtp, block, number, Arrival::Behind);
        }
    }

    fn place_block(
        &mut self,
        at: Timestamp,
        owner: FlowOwner,
        rtp: &RtpPacket<'_>,
        block: &Block<'_>,
        number: u64,
        arrival: Arrival,
    ) {
        let inner = RtpPacket {
            payload_type: block.payload_type,
            timestamp: rtp.timestamp.wrapping_sub(u32::from(block.age)),
            payload: block.payload,
            ..*rtp
        };
        if inner.payload_type == rtp.payload_type {
            // Blocks of blocks are nobody's audio.
            return self.count_undecodable(owner);
        }
        if self.prepare(at, owner, &inner) {
            self.place(at, owner, &inner, number, arrival);
        } else {
            self.handle_unkept(at, owner, &inner);
        }
    }

    /// Whether a packet is missing and its copy was not placed yet.
    fn recovers(&mut self, owner: FlowOwner, number: u64) -> bool {
        let stream = self
            .call_mut(owner.call)
            .and_then(|call| call.streams.get_mut(usize::from(owner.stream)));
        stream.is_some_and(|stream| {
            stream.sequence.is_missing(number) && stream.recovered.is_new(number)
        })
    }

    fn count_undecodable(&mut self, owner: FlowOwner) {
        self.counters.rtp_undecoded += 1;
        let stream = self
            .call_mut(owner.call)
            .and_then(|call| call.streams.get_mut(usize::from(owner.stream)));
        if let Some(stream) = stream {
            stream.undecoded += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_placed_once() {
        let mut recovered = Recovered::default();
        assert!(recovered.is_new(7) && !recovered.is_new(7) && recovered.is_new(6));
        for n in 100..200 {
            assert!(recovered.is_new(n));
        }
        assert_eq!((recovered.latest.len(), recovered.count), (REMEMBERED, 102));
    }
}
