//! Sequence accounting (RFC 3550 §6.4.1, A.1, A.3): what came, what is missing, what came twice.
//!
//! Law: extended numbers only grow from one accepted packet's epoch to the next, so that whoever
//! orders packets by them never has to know about wraps and restarts. A packet is lost when the
//! window of those that may still come has passed it.

use super::losses::Losses;

/// A forward jump larger than this is a sender that started anew (RFC 3550 A.1 `MAX_DROPOUT`).
const MAX_DROPOUT: i32 = 3000;
/// Duplicates are told from latecomers within this many packets: 640 ms of 5 ms packets.
const WINDOW: u64 = 128;

/// So many packets in a row show that nobody overtook anybody lately: 160 ms of 10 ms packets.
const SETTLED: u64 = 16;

/// How a packet stands to those before it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Arrival {
    /// The very next one.
    Next,
    /// Later ones came before it, or some are missing before it.
    Ahead,
    /// Fills a hole left earlier.
    Behind,
    /// Already had it.
    Duplicate,
    /// The first packet, or the sender began anew.
    Restart,
    /// So old that nobody can say whether it is a duplicate.
    Ancient,
}

/// The account of one stream's sequence numbers. What every packet needs comes first.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct Sequence {
    /// Bit `i` set: `highest - i` was received.
    seen: u128,
    /// Highest extended number seen; 0 before the first packet, and never after it.
    highest: u64,
    /// Distinct packets.
    received: u64,
    /// Extended number of the epoch's first packet.
    first: u64,
    /// Expected in epochs that are over.
    expected_before: u64,
    /// Packets that came again.
    duplicates: u64,
    losses: Losses,
}

impl Sequence {
    /// Bytes of it, from its beginning, that a packet in its turn touches.
    pub(crate) const HOT_BYTES: usize = std::mem::offset_of!(Self, first);

    /// Accounts one packet; gives its extended number and how it stands.
    #[inline]
    pub fn accept(&mut self, sequence: u16) -> (u64, Arrival) {
        if self.highest != 0 && sequence == self.next_expected() {
            if self.seen >> (WINDOW - 1) == 0 {
                self.leave(1);
            }
            self.highest += 1;
            self.seen = self.seen << 1 | 1;
            self.received += 1;
            return (self.highest, Arrival::Next);
        }
        self.accept_odd(sequence)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low 16 bits are what travels")]
    const fn low(extended: u64) -> u16 {
        extended as u16
    }

    const fn next_expected(&self) -> u16 {
        Self::low(self.highest.wrapping_add(1))
    }

    fn accept_odd(&mut self, sequence: u16) -> (u64, Arrival) {
        if self.highest == 0 {
            // One epoch above zero, so that a packet before the first still has a number.
            return self.restart(0x1_0000 + u64::from(sequence));
        }
        let delta = i32::from(sequence.wrapping_sub(Self::low(self.highest)).cast_signed());
        if !(-MAX_DROPOUT..=MAX_DROPOUT).contains(&delta) {
            self.leave(WINDOW);
            self.losses.close();
            self.expected_before = self.expected();
            let next_epoch = (self.highest | 0xffff) + 1;
            return self.restart(next_epoch + u64::from(sequence));
        }
        let distance = u64::from(delta.unsigned_abs());
        if delta > 0 {
            self.leave(distance);
            self.highest += distance;
            self.seen = if distance < WINDOW { self.seen << distance | 1 } else { 1 };
            self.received += 1;
            return (self.highest, Arrival::Ahead);
        }
        let extended = self.highest - distance;
        if distance >= WINDOW {
            return (extended, Arrival::Ancient);
        }
        let bit = 1u128 << distance;
        if self.seen & bit != 0 {
            self.duplicates += 1;
            return (extended, Arrival::Duplicate);
        }
        self.seen |= bit;
        self.received += 1;
        self.first = self.first.min(extended);
        (extended, Arrival::Behind)
    }

    /// The window is about to move on by `distance`: what leaves it unseen is lost.
    #[cold]
    fn leave(&mut self, distance: u64) {
        for age in (0..WINDOW).rev().take(usize::try_from(distance).unwrap_or(usize::MAX)) {
            let Some(number) = self.highest.checked_sub(age) else { continue };
            if self.seen >> age & 1 == 0 && number >= self.first {
                self.losses.lose(number, 1);
            }
        }
        self.losses.lose(self.highest + 1, distance.saturating_sub(WINDOW));
    }

    /// How the losses lie, those included that could still come.
    #[must_use]
    pub fn losses(&self) -> Losses {
        let mut all = self.clone();
        if all.highest != 0 {
            all.leave(WINDOW);
        }
        all.losses.close();
        all.losses
    }

    /// Whether nothing is missing among the last packets before the newest one, back to the first: it
    /// did not overtake any of them.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let known = (self.highest - self.first + 1).min(SETTLED);
        let mask = (1u128 << known) - 1;
        self.seen & mask == mask
    }

    fn restart(&mut self, extended: u64) -> (u64, Arrival) {
        self.first = extended;
        self.highest = extended;
        self.seen = 1;
        self.received += 1;
        (extended, Arrival::Restart)
    }

    /// Whether a packet of the window has not come (yet).
    #[must_use]
    pub const fn is_missing(&self, extended: u64) -> bool {
        let Some(age) = self.highest.checked_sub(extended) else { return false };
        extended >= self.first && age < WINDOW && self.seen >> age & 1 == 0
    }

    /// The highest sequence number of late, as it travels.
    #[must_use]
    pub const fn newest(&self) -> u16 {
        Self::low(self.highest)
    }

    /// Distinct packets received.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Packets that came again.
    #[must_use]
    pub const fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Packets the sender must have sent between the first and the last that we saw.
    #[must_use]
    pub const fn expected(&self) -> u64 {
        self.expected_before + if self.highest == 0 { 0 } else { self.highest - self.first + 1 }
    }

    /// Expected and never received.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(numbers: &[u16]) -> (Sequence, Vec<Arrival>) {
        let mut sequence = Sequence::default();
        let seen = numbers.iter().map(|n| sequence.accept(*n).1).collect();
        (sequence, seen)
    }

    #[test]
    fn wrap_loss_reorder_and_duplicates() {
        use Arrival::{Ahead, Behind, Duplicate, Next, Restart};
        let (sequence, seen) = run(&[65_534, 65_535, 0, 2, 1, 1, 5]);
        assert_eq!(seen, [Restart, Next, Next, Ahead, Behind, Duplicate, Ahead]);
        assert_eq!((sequence.expected(), sequence.received()), (8, 6));
        assert_eq!((sequence.lost(), sequence.duplicates()), (2, 1));
        let number = |low: u64| 0x2_0000 + low;
        assert!(sequence.is_missing(number(3)) && sequence.is_missing(number(4)));
        assert!(!sequence.is_missing(number(5)) && !sequence.is_missing(number(6)));
    }

    #[test]
    fn a_restart_loses_nothing() {
        let (sequence, seen) = run(&[10, 11, 40_000, 40_001]);
        assert_eq!(seen[2], Arrival::Restart);
        assert_eq!((sequence.expected(), sequence.lost()), (4, 0));
    }

    proptest::proptest! {
        #[test]
        fn losses_agree_with_the_account(
            steps in proptest::collection::vec((0u16..400, 0u16..4), 1..200),
        ) {
            let mut sequence = Sequence::default();
            let mut number = 60_000u16;
            for (step, kind) in steps {
                number = match kind {
                    0 => number.wrapping_add(step),
                    1 => number.wrapping_sub(step / 8),
                    2 => number.wrapping_add(step * 9),
                    _ => number.wrapping_add(1),
                };
                sequence.accept(number);
                let losses = sequence.losses();
                proptest::prop_assert_eq!(losses.lost, sequence.lost());
                proptest::prop_assert!(losses.burst_lost <= losses.lost);
            }
        }
    }

    #[test]
    fn first_two_swapped() {
        let (sequence, seen) = run(&[8, 7, 9]);
        assert_eq!(seen, [Arrival::Restart, Arrival::Behind, Arrival::Next]);
        assert_eq!(sequence.lost(), 0);
    }

    #[test]
    fn extended_numbers_grow_over_wrap_and_restart() {
        let mut sequence = Sequence::default();
        let mut last = 0;
        for n in [65_535u16, 0, 1, 30_000, 30_001, 5] {
            let (extended, _) = sequence.accept(n);
            assert!(extended > last);
            last = extended;
        }
    }
}
