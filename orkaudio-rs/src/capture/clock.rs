//! Tells a clock that was set from time that passed: the kernel stamps packets by the clock on the wall.

use orkbase::time::Timestamp;
use std::time::{Duration, Instant};

/// Stamps this far from the last one may have been made by another clock; less is jitter of the network.
const ODD: u64 = 500_000_000;
/// Packets that were stamped before the clock was set come within this time.
const OLD_STAMPS: Duration = Duration::from_secs(2);

/// The clock on the wall, held against one that only goes forward.
#[derive(Debug)]
pub struct WallClock {
    wall: Timestamp,
    steady: Instant,
    last: Timestamp,
    set: Option<(Instant, i64)>,
}

impl WallClock {
    /// Both clocks now.
    #[must_use]
    pub const fn new(wall: Timestamp, steady: Instant) -> Self {
        Self { wall, steady, last: wall, set: None }
    }

    /// Whether a packet's stamp lies so far from the last one that the clock may have been set between.
    #[inline]
    pub const fn is_odd(&mut self, at: Timestamp) -> bool {
        at.0.abs_diff(std::mem::replace(&mut self.last, at).0) > ODD
    }

    /// By how many nanoseconds the clock was set since this was last asked, if it was.
    pub fn was_set(&mut self, wall: Timestamp, steady: Instant) -> Option<i64> {
        let passed = steady.saturating_duration_since(self.steady).as_nanos();
        let expected = self.wall.0.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX));
        (self.wall, self.steady) = (wall, steady);
        let by = i64::try_from(i128::from(wall.0) - i128::from(expected)).ok()?;
        if by.unsigned_abs() <= ODD {
            return None;
        }
        self.set = Some((steady, by));
        Some(by)
    }

    /// The stamp of a packet by the clock as it is now: one of before it was set is put right.
    #[cold]
    #[must_use]
    pub fn place(&mut self, at: Timestamp, wall: Timestamp, steady: Instant) -> Timestamp {
        let Some((since, by)) = self.set else { return at };
        if steady.saturating_duration_since(since) > OLD_STAMPS {
            self.set = None;
            return at;
        }
        let moved = Timestamp(at.0.saturating_add_signed(by));
        if moved.0.abs_diff(wall.0) < at.0.abs_diff(wall.0) { moved } else { at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: u64 = 1_000_000_000;

    #[test]
    fn a_clock_that_was_set_is_told_from_time_that_passed() {
        let begin = Instant::now();
        let steady = |ms| begin + Duration::from_millis(ms);
        let mut clock = WallClock::new(Timestamp(1_000 * SEC), begin);
        assert!(!clock.is_odd(Timestamp(1_000 * SEC + 20_000_000)));
        // Nothing came for a second.
        assert!(clock.is_odd(Timestamp(1_001 * SEC)));
        assert_eq!(clock.was_set(Timestamp(1_001 * SEC), steady(1_000)), None);
        let hour = i64::try_from(3_600 * SEC).unwrap();
        assert!(clock.is_odd(Timestamp(4_602 * SEC)));
        assert_eq!(clock.was_set(Timestamp(4_602 * SEC), steady(2_000)), Some(hour));
        assert_eq!(clock.was_set(Timestamp(4_602 * SEC + 1_000_000), steady(2_001)), None);
        // One that waited in the ring meanwhile, and one that did not.
        let place = |clock: &mut WallClock, secs, ms| {
            clock.place(Timestamp(secs * SEC), Timestamp(4_602 * SEC), steady(ms)).0 / SEC
        };
        assert_eq!(
            (place(&mut clock, 1_001, 2_010), place(&mut clock, 4_602, 2_010)),
            (4_601, 4_602)
        );
        assert_eq!(place(&mut clock, 1_001, 9_000), 1_001);
        assert_eq!(clock.was_set(Timestamp(1_009 * SEC), steady(9_000)), Some(-hour));
    }
}
