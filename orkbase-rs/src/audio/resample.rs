//! Sample rates: from a codec's to the tape's, by windowed sinc in polyphase form.
//!
//! Law: a run of contiguous samples comes out contiguous, delayed by [`Resampler::delay`] output
//! samples, which whoever places them takes off again. Own code, not `rubato`: that works on chunks
//! of fixed length, while frames here last from 2.5 to 120 ms and runs begin and end at any packet.

use std::f64::consts::PI;

/// Zero crossings of the sinc on each side.
const CROSSINGS: usize = 12;
/// Pass band as a part of the lower rate's half.
const PASS: f64 = 0.93;

/// Converts one run of samples.
#[derive(Debug)]
pub struct Resampler {
    up: usize,
    down: usize,
    taps: usize,
    /// `up` filters of `taps` each.
    filters: Vec<f32>,
    /// The last inputs, newest last.
    history: Vec<f32>,
    /// Position of the next output between two inputs, in `1/up` inputs.
    phase: usize,
}

const fn divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn index(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn real(n: usize) -> f64 {
    n as f64
}

#[expect(clippy::cast_possible_truncation, reason = "clamped to the range before")]
fn sample(value: f32) -> i16 {
    value.round().clamp(-32_768.0, 32_767.0) as i16
}

#[expect(clippy::cast_possible_truncation, reason = "filter coefficients need no more")]
fn coefficient(value: f64) -> f32 {
    value as f32
}

impl Resampler {
    /// From `from` to `to` samples a second; `None` when they are equal or out of reason.
    #[must_use]
    pub fn new(from: u32, to: u32) -> Option<Self> {
        if from == to || !(1_000..=192_000).contains(&from) || !(1_000..=192_000).contains(&to) {
            return None;
        }
        let common = divisor(from, to);
        let (up, down) = (index(to / common), index(from / common));
        // In input samples, the filter is as long as the lower of both rates needs.
        let stretch = (f64::from(from) / f64::from(to)).max(1.0);
        let taps = 2 * CROSSINGS * down.div_ceil(up).max(1);
        let half = real(taps) / 2.0;
        let cutoff = PASS / stretch;
        let mut filters = Vec::with_capacity(up * taps);
        for phase in 0..up {
            let first = filters.len();
            for tap in 0..taps {
                // Distance from the output to this input, newest input last.
                let centre = half - 1.0 + real(phase) / real(up);
                let x = real(tap) - centre;
                let turn = PI * x * cutoff;
                let sinc = if turn.abs() < 1e-9 { 1.0 } else { turn.sin() / turn };
                let window =
                    if x.abs() >= half { 0.0 } else { (PI * x / (2.0 * half)).cos().powi(2) };
                filters.push(coefficient(sinc * window));
            }
            // Every filter passes a constant unchanged.
            let sum: f32 = filters.iter().skip(first).sum();
            for value in filters.iter_mut().skip(first) {
                *value /= sum;
            }
        }
        Some(Self { up, down, taps, filters, history: vec![0.0; taps], phase: 0 })
    }

    /// Output samples by which what comes out is late.
    #[must_use]
    pub const fn delay(&self) -> usize {
        self.taps / 2 * self.up / self.down
    }

    /// Forgets the run: the next samples begin a new one.
    pub fn reset(&mut self) {
        self.history.fill(0.0);
        self.phase = 0;
    }

    /// Converts the next samples of the run, appending to `out`.
    pub fn process(&mut self, input: &[i16], out: &mut Vec<i16>) {
        for value in input {
            self.history.rotate_left(1);
            if let Some(newest) = self.history.last_mut() {
                *newest = f32::from(*value);
            }
            while self.phase < self.up {
                let filter = self.filters.get(self.phase * self.taps..(self.phase + 1) * self.taps);
                let products = filter.unwrap_or_default().iter().zip(&self.history);
                out.push(sample(products.map(|(a, b)| a * b).sum()));
                self.phase += self.down;
            }
            self.phase -= self.up;
        }
    }

    /// Ends the run: what the filter still holds, appended to `out`.
    pub fn flush(&mut self, out: &mut Vec<i16>) {
        let silence = vec![0; self.taps / 2];
        self.process(&silence, out);
        self.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(rate: u32, hertz: f64, count: usize) -> Vec<i16> {
        let step = 2.0 * PI * hertz / f64::from(rate);
        (0..count).map(|n| sample(coefficient(10_000.0 * (step * real(n)).sin()))).collect()
    }

    /// Noise in dB below the tone, delay taken off.
    fn snr(from: u32, to: u32, hertz: f64) -> f64 {
        let mut resampler = Resampler::new(from, to).unwrap();
        let input = tone(from, hertz, index(from) / 2);
        let mut out = Vec::new();
        for frame in input.chunks(index(from) / 50) {
            resampler.process(frame, &mut out);
        }
        resampler.flush(&mut out);
        let want = tone(to, hertz, out.len());
        let delay = resampler.delay();
        let (mut signal, mut noise) = (0.0, 0.0);
        for n in 2_000..out.len() * 3 / 4 {
            let (got, want) = (f64::from(out[n + delay]), f64::from(want[n]));
            signal += want * want;
            noise += (got - want) * (got - want);
        }
        10.0 * (signal / noise).log10()
    }

    #[test]
    fn speech_rates_keep_their_tones_in_place() {
        let pairs = [
            (48_000, 8_000),
            (48_000, 16_000),
            (16_000, 8_000),
            (8_000, 16_000),
            (8_000, 48_000),
            (32_000, 16_000),
        ];
        for (from, to) in pairs {
            for hertz in [300.0, 1_000.0, 2_500.0] {
                let got = snr(from, to, hertz);
                assert!(got > 40.0, "{from} to {to}, {hertz} Hz: {got:.1} dB");
            }
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_gone() {
        let mut resampler = Resampler::new(16_000, 8_000).unwrap();
        let mut out = Vec::new();
        resampler.process(&tone(16_000, 5_500.0, 16_000), &mut out);
        let loudest = out.iter().skip(500).map(|s| s.unsigned_abs()).max().unwrap();
        assert!(loudest < 100, "{loudest}");
    }

    #[test]
    fn lengths_are_exact() {
        for (from, to) in [(44_100, 48_000), (48_000, 8_000), (11_025, 16_000)] {
            let mut resampler = Resampler::new(from, to).unwrap();
            let mut out = Vec::new();
            resampler.process(&vec![0; index(from)], &mut out);
            assert_eq!(out.len(), index(to));
        }
        assert!(Resampler::new(8_000, 8_000).is_none());
    }
}
