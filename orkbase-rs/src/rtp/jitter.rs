//! Interarrival jitter (RFC 3550 sections 6.4.1 and A.8).
//!
//! Law: every packet of audio counts, in order of arrival; a duplicate does not. The arithmetic is
//! that of the RFC in nanoseconds, in whole numbers.

/// Fraction bits of nanoseconds a unit.
const SHIFT: u32 = 20;

/// The jitter of one stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Jitter {
    /// Nanoseconds in a unit of the RTP clock, times 2^20.
    scale: i64,
    /// 16 times the jitter in nanoseconds.
    scaled: u64,
    most: u64,
    /// Arrival in nanoseconds, and timestamp, of the packet before, if it is `compared` with one.
    before: u64,
    earlier: u32,
    compared: bool,
}

impl Jitter {
    /// The RTP clock in units a second; another clock begins a new comparison.
    pub fn set_clock_rate(&mut self, rate: u32) {
        let scale = (1_000_000_000i64 << SHIFT) / i64::from(rate.max(1));
        if scale != self.scale {
            self.scale = scale;
            self.compared = false;
        }
    }

    /// The sender began anew: the next packet is compared with none before.
    pub const fn restart(&mut self) {
        self.compared = false;
    }

    /// Takes in a packet: its arrival in nanoseconds and its timestamp.
    #[inline]
    pub fn note(&mut self, at: u64, timestamp: u32) {
        if self.compared {
            let units = i64::from(timestamp.wrapping_sub(self.earlier).cast_signed());
            // Within 2^31 units of at most 125 us and 2^63: no overflow below 1000 Hz clocks.
            let spoken = units.wrapping_mul(self.scale) >> SHIFT;
            let passed = at.wrapping_sub(self.before).cast_signed();
            let apart = passed.wrapping_sub(spoken).unsigned_abs();
            self.scaled = (self.scaled + apart).saturating_sub((self.scaled + 8) >> 4);
            self.most = self.most.max(self.scaled);
        }
        (self.before, self.earlier, self.compared) = (at, timestamp, true);
    }

    /// The jitter now, in microseconds.
    #[must_use]
    pub const fn micros(&self) -> u64 {
        self.scaled / 16_000
    }

    /// The largest it ever was, in microseconds.
    #[must_use]
    pub const fn most_micros(&self) -> u64 {
        self.most / 16_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3550 section 6.4.1 in floating point.
    fn by_the_book(packets: &[(u64, u32)], rate: f64) -> f64 {
        let mut jitter = 0.0;
        for pair in packets.windows(2) {
            let passed = (pair[1].0 as f64 - pair[0].0 as f64) / 1e9;
            let spoken = f64::from(pair[1].1.wrapping_sub(pair[0].1).cast_signed()) / rate;
            jitter += ((passed - spoken).abs() - jitter) / 16.0;
        }
        jitter * 1e6
    }

    #[test]
    fn as_the_rfc_says() {
        for rate in [8_000u32, 16_000, 44_100, 48_000] {
            let mut jitter = Jitter::default();
            jitter.set_clock_rate(rate);
            let packets: Vec<(u64, u32)> = (0..2_000u64)
                .map(|n| {
                    let wobble = n * 7_919 % 5_000 * 1_000;
                    let units = u32::try_from(n * u64::from(rate) / 50).unwrap();
                    (n * 20_000_000 + wobble, units.wrapping_add(u32::MAX - 1000))
                })
                .collect();
            for (at, timestamp) in &packets {
                jitter.note(*at, *timestamp);
            }
            let want = by_the_book(&packets, f64::from(rate));
            assert!((jitter.micros() as f64 - want).abs() < 2.0, "{} {want}", jitter.micros());
            assert!(jitter.most_micros() >= jitter.micros());
        }
    }

    #[test]
    fn a_steady_stream_has_none() {
        let mut jitter = Jitter::default();
        jitter.set_clock_rate(8_000);
        for n in 0..100u32 {
            jitter.note(u64::from(n) * 20_000_000, n * 160);
        }
        jitter.restart();
        jitter.note(u64::MAX, 0);
        jitter.note(0, 1 << 31);
        assert!(jitter.micros() > 0, "nonsense is large, and no panic");
        let mut jitter = Jitter::default();
        jitter.set_clock_rate(8_000);
        jitter.note(0, 0);
        jitter.note(20_000_000, 160);
        assert_eq!(jitter.micros(), 0);
    }
}
