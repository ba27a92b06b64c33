//! Comfort noise (RFC 3389): the level is followed, the spectrum is not.
//!
//! A packet says how loud the silence is and nothing of how long, so samples come from `conceal`
//! alone. The noise is a function of the packets: the same stream gives the same samples.

use super::{DecodeError, Decoder, clip};

/// Loudest noise made, in -dBov: a damaged packet must not shout over the other party.
const LOUDEST: u8 = 30;

/// Quietest: from here on the noise is below one step of 16 bits.
const QUIETEST: u8 = 96;

/// Noise at the level the last packet asked for; silent until the first.
pub(super) struct ComfortNoise {
    rate: u32,
    /// Peak amplitude now and asked for, in 1/256 of a sample.
    amplitude: i32,
    wanted: i32,
    random: u32,
}

impl ComfortNoise {
    pub(super) const fn new(rate: u32) -> Self {
        Self { rate, amplitude: 0, wanted: 0, random: 0x2545_F491 }
    }

    /// The next sample: a uniform random number in [-1, 1) times the amplitude, which slides to
    /// the wanted one within some 8 ms.
    fn next(&mut self) -> i16 {
        self.amplitude += (self.wanted - self.amplitude) / 64;
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        let uniform = i64::from(self.random.cast_signed() >> 16);
        let sample = (uniform * i64::from(self.amplitude)) >> 23;
        clip(i32::try_from(sample).unwrap_or(0))
    }
}

impl Decoder for ComfortNoise {
    fn sample_rate(&self) -> u32 {
        self.rate
    }

    fn decode(&mut self, payload: &[u8], _out: &mut Vec<i16>) -> Result<usize, DecodeError> {
        let Some(level) = payload.first() else {
            return Err(DecodeError::Short { got: 0, need: 1 });
        };
        // The top bit is reserved and zero; what follows shapes the spectrum.
        self.wanted = amplitude(level & 0x7f);
        Ok(0)
    }

    fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) {
        if self.wanted == 0 && self.amplitude < 64 {
            out.resize(out.len() + samples, 0);
        } else {
            out.extend((0..samples).map(|_| self.next()));
        }
    }
}

/// Peak of uniform noise, in 1/256 of a sample, whose power is `level` below overload: the root
/// of three times 32768 times 10^(-level/20).
fn amplitude(level: u8) -> i32 {
    if level >= QUIETEST {
        return 0;
    }
    // 32768 * sqrt(3) * 256, then 0.8912509381 in 1/2^30 for each decibel.
    let peak = (0..level.max(LOUDEST)).fold(14_529_495_i64, |peak, _| (peak * 956_973_408) >> 30);
    i32::try_from(peak).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::tests::loudness;
    use super::*;

    fn noise_at(level: u8) -> Vec<i16> {
        let mut decoder = ComfortNoise::new(8_000);
        let mut out = Vec::new();
        assert_eq!(decoder.decode(&[level, 12, 34], &mut out), Ok(0));
        decoder.conceal(8_800, &mut out);
        out.split_off(800)
    }

    #[test]
    fn as_loud_as_the_packet_says() {
        for level in [30, 40, 50, 60] {
            let wanted = 32_768.0 * 10_f64.powf(f64::from(level) / -20.0);
            let ratio = loudness(&noise_at(level)) / wanted;
            assert!((0.9..1.1).contains(&ratio), "level {level}: {ratio}");
        }
    }

    #[test]
    fn never_loud_and_never_the_same_sample_for_long() {
        assert_eq!(noise_at(0), noise_at(30));
        assert_eq!(noise_at(0x80 | 50), noise_at(50));
        assert_eq!(loudness(&noise_at(127)), 0.0);
        let quiet = noise_at(50);
        assert!(quiet.windows(8).all(|run| run.iter().any(|&sample| sample != run[0])));
        let mean: i32 = quiet.iter().map(|&s| i32::from(s)).sum::<i32>() / 8_000;
        assert!(mean.abs() <= 2, "{mean}");
    }

    #[test]
    fn silent_before_the_first_packet() {
        let mut out = Vec::new();
        ComfortNoise::new(8_000).conceal(100, &mut out);
        assert_eq!(out, [0; 100]);
    }
}
