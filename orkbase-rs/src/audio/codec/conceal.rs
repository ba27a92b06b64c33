//! Covers lost audio by repeating the last pitch period, as G.711 Appendix I does.
//!
//! Law: after a loss the first 10 ms are as loud as before, then the repetition fades; from 60 ms
//! on it is silence, since inventing more than that would be inventing speech. Unlike the Appendix
//! nothing is delayed: a sample once given is never changed, so the join at the start of a loss is
//! smoothed inside the repetition, not in the audio before it.

#![expect(
    clippy::indexing_slicing,
    reason = "history holds 3.25 of the longest periods; every offset is below that (see `past`)"
)]

use super::{DecodeError, Decoder, clip};

/// A decoder without concealment of its own.
pub(super) trait Core: Send {
    fn sample_rate(&self) -> u32;
    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<usize, DecodeError>;
}

/// A [`Core`] with concealment.
pub(super) struct Concealed<C> {
    core: C,
    cover: Concealer,
}

impl<C: Core> Concealed<C> {
    pub(super) fn new(core: C) -> Self {
        let cover = Concealer::new(core.sample_rate());
        Self { core, cover }
    }
}

impl<C: Core> Decoder for Concealed<C> {
    fn sample_rate(&self) -> u32 {
        self.core.sample_rate()
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<usize, DecodeError> {
        let before = out.len();
        let count = self.core.decode(payload, out)?;
        if let Some(fresh) = out.get_mut(before..) {
            self.cover.heard(fresh);
        }
        Ok(count)
    }

    fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) {
        self.cover.conceal(samples, out);
    }
}

/// Deals out what a codec makes up in frames of its own for lost audio, in any length asked for;
/// silence after one second without a packet.
#[derive(Clone, Debug)]
pub struct Filler {
    /// Samples a second.
    second: usize,
    /// Made up and not yet asked for.
    spare: Vec<i16>,
    /// Samples given since the last real one.
    lost: usize,
}

impl Filler {
    /// For audio of `rate` samples a second.
    #[must_use]
    pub fn new(rate: u32) -> Self {
        let second = usize::try_from(rate).unwrap_or(8_000);
        Self { second, spare: Vec::new(), lost: 0 }
    }

    /// Real audio is back: what is left over of the last made-up frame belongs nowhere.
    pub fn heard(&mut self) {
        self.spare.clear();
        self.lost = 0;
    }

    /// Appends exactly `samples`. `more` is told how many are missing and appends a frame or so;
    /// where it appends nothing the rest is silence.
    pub fn fill(
        &mut self,
        samples: usize,
        out: &mut Vec<i16>,
        mut more: impl FnMut(usize, &mut Vec<i16>),
    ) {
        let end = out.len().saturating_add(samples);
        let audible = samples.min(self.second.saturating_sub(self.lost));
        let audible_end = out.len().saturating_add(audible);
        self.lost = self.lost.saturating_add(samples);
        out.append(&mut self.spare);
        while out.len() < audible_end {
            let before = out.len();
            more(audible_end - before, out);
            if out.len() <= before {
                break;
            }
        }
        if out.len() > audible_end {
            self.spare = out.split_off(audible_end);
        }
        out.resize(end, 0);
    }
}

/// The last pitch period of what was heard, repeated and fading, in place of lost audio.
#[derive(Clone, Debug)]
pub struct Concealer {
    /// Samples in one millisecond, rounded down; at least 8.
    ms: usize,
    /// Newest last; always full, of zeros at first.
    history: Box<[i16]>,
    /// Samples made up since the last real one.
    lost: usize,
    /// Pitch period found when the loss began.
    period: usize,
}

/// Pitch between 66 and 200 Hz, in milliseconds.
const SHORTEST_MS: usize = 5;
const LONGEST_MS: usize = 15;
/// Full loudness until the first, silence from the second.
const FADE_FROM_MS: usize = 10;
const FADE_TO_MS: usize = 60;
/// Blend of repetition and real audio when that returns.
const RETURN_MS: usize = 4;

impl Concealer {
    /// For audio of `rate` samples a second; silent until something was heard.
    #[must_use]
    pub fn new(rate: u32) -> Self {
        let ms = usize::try_from(rate / 1_000).unwrap_or(8).clamp(8, 48);
        let longest = LONGEST_MS * ms;
        Self { ms, history: vec![0; longest * 3 + longest / 4].into(), lost: 0, period: longest }
    }

    /// Takes note of real audio, blending its head with a repetition still sounding.
    pub fn heard(&mut self, fresh: &mut [i16]) {
        if self.lost > 0 && self.lost < FADE_TO_MS * self.ms {
            let blend = RETURN_MS * self.ms;
            for (n, sample) in fresh.iter_mut().take(blend).enumerate() {
                let made_up = self.repetition(self.lost + n);
                *sample = mix(made_up, i32::from(*sample), n + 1, blend + 1);
            }
        }
        self.lost = 0;
        let keep = self.history.len();
        if let Some(start) = fresh.len().checked_sub(keep) {
            self.history.copy_from_slice(&fresh[start..]);
        } else {
            self.history.copy_within(fresh.len().., 0);
            self.history[keep - fresh.len()..].copy_from_slice(fresh);
        }
    }

    /// Appends exactly `samples`; silence from 60 ms on.
    pub fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) {
        if self.lost == 0 && samples > 0 {
            self.period = self.find_period();
        }
        let audible = (FADE_TO_MS * self.ms).saturating_sub(self.lost).min(samples);
        let end = self.lost + audible;
        out.extend((self.lost..end).map(|n| clip(self.repetition(n))));
        out.resize(out.len() + (samples - audible), 0);
        self.lost = self.lost.saturating_add(samples);
    }

    /// Sample `n` of the repetition, faded.
    fn repetition(&self, n: usize) -> i32 {
        let (from, to) = (FADE_FROM_MS * self.ms, FADE_TO_MS * self.ms);
        if n >= to {
            return 0;
        }
        // One period alone buzzes: after 10 ms two are repeated, after 20 ms three. Each stage is
        // a whole number of periods on, so the phase is kept; a quarter period blends them.
        let quarter = self.period / 4;
        let stage = (n / from + 1).min(3);
        let since = n - (stage - 1) * from;
        let mut sample = self.looped(n, stage);
        if stage > 1 && since < quarter {
            let before = self.looped(n, stage - 1);
            sample = i32::from(mix(before, sample, since + 1, quarter + 1));
        }
        if n < quarter {
            // The repetition starts one period back: what it would have to add to follow the last
            // real sample exactly, fading out.
            let step = self.past(1) - self.past(self.period + 1);
            sample += weigh(step, quarter - n, quarter + 1);
        }
        if n > from { weigh(sample, to - n, to - from) } else { sample }
    }

    /// Sample `n` of the last `periods` periods played in a loop; the last quarter period of each
    /// turn leads over to its start.
    fn looped(&self, n: usize, periods: usize) -> i32 {
        let turn = self.period * periods;
        let left = turn - n % turn;
        let quarter = self.period / 4;
        let sample = self.past(left);
        if left > quarter {
            return sample;
        }
        i32::from(mix(sample, self.past(turn + left), quarter + 1 - left, quarter + 1))
    }

    /// The sample `back` before now: at most three periods and a quarter, all of the history.
    fn past(&self, back: usize) -> i32 {
        i32::from(self.history[self.history.len() - back])
    }

    /// The lag at which the last 20 ms are most like what was before them: first on every
    /// `stride`th sample, then exactly around the best.
    fn find_period(&self) -> usize {
        let stride = (self.ms / 4).max(1);
        let (shortest, longest) = (SHORTEST_MS * self.ms, LONGEST_MS * self.ms);
        let coarse = self.best_lag((shortest..=longest).step_by(stride), stride);
        let around = coarse.saturating_sub(stride).max(shortest)..=(coarse + stride).min(longest);
        self.best_lag(around, stride)
    }

    fn best_lag(&self, lags: impl Iterator<Item = usize>, stride: usize) -> usize {
        let mut best = (0.0, LONGEST_MS * self.ms);
        for lag in lags {
            let (mut product, mut energy) = (0.0, 1.0);
            for back in (1..=20 * self.ms).step_by(stride) {
                let (now, then) = (f64::from(self.past(back)), f64::from(self.past(back + lag)));
                product += now * then;
                energy += then * then;
            }
            let score = if product > 0.0 { product * product / energy } else { 0.0 };
            if score > best.0 {
                best = (score, lag);
            }
        }
        best.1
    }
}

/// `a` turning into `b`: `part` of `whole` on the way.
fn mix(a: i32, b: i32, part: usize, whole: usize) -> i16 {
    clip(weigh(a, whole.saturating_sub(part), whole) + weigh(b, part, whole))
}

/// `sample` times `part / whole`; both are below 2^15.
fn weigh(sample: i32, part: usize, whole: usize) -> i32 {
    let part = i64::try_from(part).unwrap_or(0);
    let whole = i64::try_from(whole).unwrap_or(1).max(1);
    i32::try_from(i64::from(sample) * part / whole).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{loudness, tone};
    use super::super::{Codec, Decoder};

    const RATE: u32 = 8_000;

    fn decoder_after(signal: &[i16]) -> Box<dyn Decoder> {
        let mut decoder = Codec::L16 { rate: RATE, channels: 1 }.decoder().unwrap();
        for packet in signal.chunks(160) {
            assert_eq!(heard(decoder.as_mut(), packet), packet);
        }
        decoder
    }

    fn heard(decoder: &mut dyn Decoder, samples: &[i16]) -> Vec<i16> {
        let payload: Vec<u8> = samples.iter().flat_map(|s| s.to_be_bytes()).collect();
        let mut out = Vec::new();
        decoder.decode(&payload, &mut out).unwrap();
        out
    }

    fn lost(decoder: &mut dyn Decoder, samples: usize) -> Vec<i16> {
        let mut out = Vec::new();
        decoder.conceal(samples, &mut out);
        out
    }

    #[test]
    fn a_voice_goes_on_where_it_was() {
        for hertz in [80.0, 100.0, 125.0, 160.0, 190.0] {
            let signal = tone(hertz, 10_000.0, RATE);
            let (before, after) = signal.split_at(2_001);
            let made_up = lost(decoder_after(before).as_mut(), 80);
            let off = made_up.iter().zip(after).map(|(&a, &b)| (i32::from(a) - i32::from(b)).abs());
            assert!(off.max().unwrap() < 1_500, "{hertz} Hz");
        }
    }

    #[test]
    fn repetition_fades_to_silence_at_60_ms() {
        let made_up = lost(decoder_after(&tone(150.0, 10_000.0, RATE)).as_mut(), 1_000);
        let loudness: Vec<_> = made_up[..480].chunks(80).map(loudness).collect();
        assert!((6_500.0..7_600.0).contains(&loudness[0]), "{loudness:?}");
        assert!(loudness.is_sorted_by(|a, b| b <= &(a * 1.05)), "{loudness:?}");
        assert!(loudness[5] < 1_000.0, "{loudness:?}");
        assert!(made_up[480..].iter().all(|&sample| sample == 0));
    }

    #[test]
    fn in_pieces_or_at_once_is_the_same() {
        let signal = tone(130.0, 9_000.0, RATE);
        let at_once = lost(decoder_after(&signal).as_mut(), 600);
        let mut decoder = decoder_after(&signal);
        let pieces: Vec<_> =
            [0, 1, 159, 160, 280].into_iter().flat_map(|n| lost(decoder.as_mut(), n)).collect();
        assert_eq!(at_once, pieces);
    }

    #[test]
    fn returning_audio_is_blended_for_4_ms_only() {
        let signal = tone(150.0, 10_000.0, RATE);
        let mut decoder = decoder_after(&signal);
        let made_up = lost(decoder.as_mut(), 160);
        let back = heard(decoder.as_mut(), &[0; 160]);
        let jump = i32::from(back[0]) - i32::from(made_up[159]);
        assert!(jump.abs() < 2_000, "{jump}");
        assert!(back[32..].iter().all(|&sample| sample == 0));
        assert_eq!(heard(decoder.as_mut(), &signal[..160]), &signal[..160]);
    }

    #[test]
    fn nothing_is_made_of_silence() {
        assert_eq!(lost(decoder_after(&[]).as_mut(), 500), [0; 500]);
        assert_eq!(lost(decoder_after(&[0; 800]).as_mut(), 500), [0; 500]);
    }
}
