//! Parts of a byte sequence that came before their turn.
//!
//! Law: the first copy of a byte wins. Pieces are sorted and never overlap, so what an overlapping
//! latecomer says about bytes already held is ignored, whatever the receiver would have done.

use crate::time::Timestamp;
use std::collections::VecDeque;

/// What a piece costs beside its bytes: its allocation and up to [`SPARSE`] places in the queue.
const OVERHEAD: usize = 192;

/// The queue is shrunk when fewer than one place in this many is taken.
const SPARSE: usize = 4;

/// Consecutive bytes.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) start: u64,
    pub(super) at: Timestamp,
    pub(super) bytes: Vec<u8>,
}

impl Piece {
    pub(super) fn end(&self) -> u64 {
        self.start.saturating_add(length(&self.bytes))
    }
}

/// Sorted pieces without overlaps.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    sorted: VecDeque<Piece>,
    held: usize,
}

impl Pieces {
    /// Keeps what of `bytes` is not held yet; tells how many bytes that was.
    pub(super) fn insert(&mut self, start: u64, bytes: &[u8], at: Timestamp) -> usize {
        let before = self.held;
        let (mut start, mut bytes) = (start, bytes);
        let mut index = self.sorted.partition_point(|piece| piece.end() <= start);
        while !bytes.is_empty() {
            let (free, covered) = match self.sorted.get(index) {
                None => (bytes.len(), 0),
                Some(piece) => {
                    let free = distance(start, piece.start).min(bytes.len());
                    (free, distance(start, piece.end()).saturating_sub(free))
                }
            };
            let (new, rest) = bytes.split_at_checked(free).unwrap_or((bytes, &[]));
            if !new.is_empty() {
                self.held += new.len();
                self.sorted.insert(index, Piece { start, at, bytes: new.to_vec() });
                index += 1;
            }
            index += 1;
            let covered = covered.min(rest.len());
            bytes = rest.get(covered..).unwrap_or_default();
            start = start.saturating_add(length(new)).saturating_add(length_of(covered));
        }
        self.held.saturating_sub(before)
    }

    /// Takes the first piece.
    pub(super) fn pop(&mut self) -> Option<Piece> {
        let piece = self.sorted.pop_front()?;
        self.held = self.held.saturating_sub(piece.bytes.len());
        // Room that a burst took must not stay behind, unaccounted, in thousands of streams.
        if self.sorted.len() < self.sorted.capacity() / SPARSE {
            self.sorted.shrink_to(self.sorted.len() * 2);
        }
        Some(piece)
    }

    /// Takes the first piece if it begins at or before `position`.
    pub(super) fn pop_reached(&mut self, position: u64) -> Option<Piece> {
        self.first().is_some_and(|piece| piece.start <= position).then(|| self.pop()).flatten()
    }

    pub(super) fn first(&self) -> Option<&Piece> {
        self.sorted.front()
    }

    /// Where the last piece ends.
    pub(super) fn end(&self) -> u64 {
        self.sorted.back().map_or(0, Piece::end)
    }

    /// Bytes held.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// Memory taken, near enough to bound it.
    pub(super) fn cost(&self) -> usize {
        self.held + self.sorted.len() * OVERHEAD
    }

    /// All bytes in order.
    pub(super) fn joined(&self) -> Vec<u8> {
        let mut whole = Vec::with_capacity(self.held);
        for piece in &self.sorted {
            whole.extend_from_slice(&piece.bytes);
        }
        whole
    }
}

/// Bytes from `from` up to `to`; zero when `to` is behind.
pub(super) fn distance(from: u64, to: u64) -> usize {
    usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX)
}

/// The length of `bytes` as a distance.
pub(super) fn length(bytes: &[u8]) -> u64 {
    length_of(bytes.len())
}

/// A count of bytes as a distance.
pub(super) fn length_of(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_copy_of_a_byte_wins(
            parts in prop::collection::vec((0_u16..200, prop::collection::vec(any::<u8>(), 0..60)), 0..40)
        ) {
            let mut pieces = Pieces::default();
            let mut model = vec![None; 300];
            for (start, bytes) in &parts {
                let mut new = 0;
                for (offset, byte) in bytes.iter().enumerate() {
                    let slot: &mut Option<u8> = &mut model[usize::from(*start) + offset];
                    new += usize::from(slot.is_none());
                    slot.get_or_insert(*byte);
                }
                prop_assert_eq!(pieces.insert(u64::from(*start), bytes, Timestamp(0)), new);
            }
            prop_assert_eq!(pieces.held(), model.iter().flatten().count());
            let mut last = 0;
            while let Some(piece) = pieces.pop() {
                prop_assert!(piece.start >= last && !piece.bytes.is_empty());
                last = piece.end();
                for (offset, byte) in piece.bytes.iter().enumerate() {
                    prop_assert_eq!(model[distance(0, piece.start) + offset].take(), Some(*byte));
                }
            }
            prop_assert!(model.iter().all(Option::is_none));
            prop_assert_eq!(pieces.cost(), 0);
        }
    }
}
