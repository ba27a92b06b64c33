//! Time is an argument: every moment in the core comes with a packet or a call.

use jiff::{Zoned, tz::TimeZone};
use std::fmt;

/// Nanoseconds in a millisecond.
pub const NANOS_PER_MILLI: u64 = 1_000_000;
/// Nanoseconds in a second.
pub const NANOS_PER_SEC: u64 = 1_000_000_000;

/// Capture time of a packet: nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Whole seconds since the Unix epoch.
    #[must_use]
    pub const fn secs(self) -> u64 {
        self.0 / NANOS_PER_SEC
    }

    /// Seconds since the Unix epoch with the fraction kept (about a microsecond of precision).
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "display only; 2^53 ns is 104 days, error < 1 us"
    )]
    pub fn as_secs_f64(self) -> f64 {
        self.secs() as f64 + (self.0 % NANOS_PER_SEC) as f64 / 1e9
    }

    /// Whole milliseconds since `earlier`; zero if time went backwards.
    #[must_use]
    pub const fn millis_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / NANOS_PER_MILLI
    }

    /// Nanoseconds since `earlier`; zero if time went backwards.
    #[must_use]
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This moment plus `millis` milliseconds.
    #[must_use]
    pub const fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis.saturating_mul(NANOS_PER_MILLI)))
    }

    /// This moment minus `millis` milliseconds, not before the epoch.
    #[must_use]
    pub const fn minus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_sub(millis.saturating_mul(NANOS_PER_MILLI)))
    }

    /// This moment on the calendar of `zone`; the epoch if it lies beyond the calendar (year 9999).
    #[must_use]
    pub fn to_zoned(self, zone: &TimeZone) -> Zoned {
        jiff::Timestamp::from_nanosecond(i128::from(self.0))
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
            .to_zoned(zone.clone())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.secs(), self.0 % NANOS_PER_SEC / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_runs_backwards() {
        let (early, late) = (Timestamp(5 * NANOS_PER_MILLI), Timestamp(9 * NANOS_PER_MILLI));
        assert_eq!((late.millis_since(early), early.millis_since(late)), (4, 0));
        assert_eq!(Timestamp(1_700_000_000_123_456_789).to_string(), "1700000000.123456");
    }
}
