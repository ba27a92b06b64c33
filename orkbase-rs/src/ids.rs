//! Names of recordings: tracking id, orkuid (Oreka's recid).

use crate::time::Timestamp;
use jiff::tz::TimeZone;
use std::fmt;

/// Number of four-letter tracking ids, `AAAA` to `ZZZZ`.
const TRACKING_IDS: u32 = 26 * 26 * 26 * 26;

/// Four letters that name a capture port while a call lasts, for example `AAAB`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TrackingId([u8; 4]);

impl TrackingId {
    /// The letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("AAAA")
    }
}

impl fmt::Display for TrackingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Hands out tracking ids in order, from a seed; wraps after 456,976.
#[derive(Clone, Debug)]
pub struct TrackingIds(u32);

impl TrackingIds {
    /// The id after `seed` comes first: seed 0 starts at `AAAB`, as the original does.
    #[must_use]
    pub const fn new(seed: u32) -> Self {
        Self(seed % TRACKING_IDS)
    }

    /// The next id.
    pub fn next_id(&mut self) -> TrackingId {
        self.0 = (self.0 + 1) % TRACKING_IDS;
        let letter = |n: u32| b'A' + u8::try_from(n % 26).unwrap_or(0);
        let n = self.0;
        TrackingId([letter(n / 17_576), letter(n / 676), letter(n / 26), letter(n)])
    }
}

/// The recording's name: `YYYYMMDD_HHMMSS_AAAB`, local time of its first packet, with `_1`, `_2` and
/// so on appended for further segments of the same call.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct OrkUid(String);

impl OrkUid {
    /// Made from packet time and a tracking id.
    #[must_use]
    pub fn new(start: Timestamp, zone: &TimeZone, id: TrackingId) -> Self {
        Self(format!("{}_{id}", start.to_zoned(zone).strftime("%Y%m%d_%H%M%S")))
    }

    /// Segment `number` (1 and up) of this recording.
    #[must_use]
    pub fn segment(&self, number: u32) -> Self {
        Self(format!("{}_{number}", self.0))
    }

    /// Takes a name from the wire: 1 to 64 of `0-9 A-Z a-z _ -`, so that it can never be a path.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        (!text.is_empty() && text.len() <= 64 && text.bytes().all(plain))
            .then(|| Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OrkUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_count_in_letters_and_wrap() {
        let mut ids = TrackingIds::new(0);
        assert_eq!(ids.next_id().as_str(), "AAAB");
        let mut ids = TrackingIds::new(TRACKING_IDS - 2);
        assert_eq!((ids.next_id().as_str(), ids.next_id().as_str()), ("ZZZZ", "AAAA"));
    }

    #[test]
    fn orkuid_is_local_time_of_the_first_packet() {
        let start = Timestamp(1_390_822_905_000_000_000);
        let uid = OrkUid::new(start, &TimeZone::UTC, TrackingIds::new(0).next_id());
        assert_eq!(uid.as_str(), "20140127_114145_AAAB");
        assert_eq!(uid.segment(2).as_str(), "20140127_114145_AAAB_2");
        assert!(OrkUid::parse("../etc").is_none() && OrkUid::parse(uid.as_str()).is_some());
    }
}
