//! Keys heard in the audio itself: pairs of tones (ITU-T Q.23, Q.24), found by Goertzel's algorithm.
//!
//! Law: a wrong digit is worse than a missed one. Windows of 16 ms every 4 ms; a key is told when six
//! windows in a row say the same, which a tone of 40 ms always gives. Each window must hold one tone of
//! each group and hardly anything else: neither speech nor music does for so long.

use crate::rtp::dtmf::Key;
use std::f32::consts::TAU;

/// Low group in Hz.
const LOW: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
/// High group in Hz.
const HIGH: [f32; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
/// Keys by low and high tone.
const KEYS: [[&str; 4]; 4] =
    [["1", "2", "3", "A"], ["4", "5", "6", "B"], ["7", "8", "9", "C"], ["*", "0", "#", "D"]];
/// Windows a second, and how many of these steps a window is long.
const STEPS: u16 = 250;
const SPAN: usize = 4;
const SPAN_SECONDS: f32 = 0.016;
/// Windows in a row that make a key: a tone of 40 ms holds as many, wherever they begin.
const HITS: u32 = 6;
/// Windows without it that end a key.
const MISSES: u32 = 4;
/// Least mean square of a window: -46 dB of full scale.
const LEAST_POWER: f32 = 27_000.0;
/// Share of the power that the two tones seem to have at the least: 1.5 % off frequency costs a third.
const SEEMING_SHARE: f32 = 0.55;
/// Share that they must have once it is known how far off they are.
const SHARE: f32 = 0.87;
/// They are off by no more than this (Q.24: 1.5 % is accepted, 3.5 % is not).
const OFF: f32 = 0.018;
/// A tone stands so far above the others of its group (6 dB) ..
const ABOVE: f32 = 4.0;
/// .. and above its second harmonic, which voices and instruments have: the low tone, whose harmonic
/// lies among the high ones, by 10 dB, the high tone by 17 dB.
const ABOVE_HARMONIC: [f32; 2] = [10.0, 50.0];
/// The high tone may be stronger than the low one by 4 dB, weaker by 8 dB (Q.24, the widest).
const TWIST: f32 = 2.512;
const REVERSE_TWIST: f32 = 6.31;
/// The power may change so much from window to window (1 dB): voices swell, strings fade.
const STEADY: f32 = 1.26;

/// A key that was heard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Heard {
    /// Which.
    pub key: Key,
    /// Where it begins, in milliseconds from the first frame.
    pub offset_ms: u64,
}

/// Listens to one side of a tape.
#[derive(Debug)]
pub struct Listener {
    rate: u32,
    /// Samples of a step.
    step: usize,
    /// The newest window's samples, and what follows.
    held: Vec<i16>,
    /// Frame of the first of them.
    at: u64,
    /// Weight of each frequency.
    weights: [f32; 8],
    hits: u32,
    misses: u32,
    current: Option<Key>,
    told: bool,
    since: u64,
    power: f32,
    last: Option<Pair>,
}

/// Two tones in a window.
#[derive(Clone, Copy, Debug)]
struct Pair {
    key: Key,
    tones: [Tone; 2],
}

/// One of them.
#[derive(Clone, Copy, Debug)]
struct Tone {
    hertz: f32,
    /// Mean square, as far as the window shows it.
    power: f32,
    phase: f32,
}

impl Tone {
    /// How many Hz off it is, from how its phase went on since the window before.
    fn off(self, before: Self) -> f32 {
        let step = 1.0 / f32::from(STEPS);
        let turns = (self.phase - before.phase) / TAU - self.hertz * step;
        (turns - turns.round()) / step
    }

    /// Its true mean square: a window shows less of a tone that is off.
    fn true_power(self, off: f32) -> f32 {
        let x = std::f32::consts::PI * off * SPAN_SECONDS;
        let seen = if x.abs() < 1e-3 { 1.0 } else { x.sin() / x };
        self.power / (seen * seen)
    }
}

impl Listener {
    /// A listener at `rate` samples a second; `None` for rates that cannot carry the tones.
    #[must_use]
    pub fn new(rate: u32) -> Option<Self> {
        let step = usize::try_from(rate / u32::from(STEPS)).ok()?;
        if !(8_000..=48_000).contains(&rate) {
            return None;
        }
        let mut weights = [0.0; 8];
        for (weight, hertz) in weights.iter_mut().zip(LOW.into_iter().chain(HIGH)) {
            *weight = 2.0 * (TAU * hertz / float(rate)).cos();
        }
        Some(Self {
            rate,
            step,
            held: Vec::new(),
            at: 0,
            weights,
            hits: 0,
            misses: 0,
            current: None,
            told: false,
            since: 0,
            power: 0.0,
            last: None,
        })
    }

    /// Takes in the samples from frame `at` on, which lie behind those before.
    pub fn hear(
        &mut self,
        at: u64,
        samples: impl Iterator<Item = i16>,
        told: &mut dyn FnMut(Heard),
    ) {
        let end = self.at + u64::try_from(self.held.len()).unwrap_or(0);
        if at != end {
            // What lies between is silence.
            self.held.clear();
            self.at = at;
            self.forget();
        }
        self.held.extend(samples);
        let length = self.step * SPAN;
        let mut begin = 0;
        while let Some(window) = self.held.get(begin..begin + length) {
            let (pair, power) = judge(window, &self.weights);
            let frame = self.at + u64::try_from(begin).unwrap_or(0);
            let key = confirmed(self.last, pair, power, window, self.rate);
            self.last = pair;
            self.note(key, power, frame, told);
            begin += self.step;
        }
        self.held.drain(..begin);
        self.at += u64::try_from(begin).unwrap_or(0);
    }

    fn forget(&mut self) {
        (self.hits, self.misses, self.current, self.told) = (0, 0, None, false);
        self.last = None;
    }

    fn note(&mut self, key: Option<Key>, power: f32, frame: u64, told: &mut dyn FnMut(Heard)) {
        let steady = power < self.power * STEADY && self.power < power * STEADY;
        self.power = power;
        match (key, self.current) {
            (Some(key), Some(current)) if key == current => {
                self.misses = 0;
                // Once told it lasts as long as it likes; until then it must not waver.
                self.hits = if steady || self.told { self.hits + 1 } else { 1 };
                if self.hits == 1 {
                    self.since = frame;
                }
            }
            (Some(key), _) => {
                self.misses += 1;
                if !self.told || self.misses >= MISSES {
                    (self.hits, self.misses, self.told) = (1, 0, false);
                    (self.current, self.since) = (Some(key), frame);
                }
            }
            (None, Some(_)) => {
                self.misses += 1;
                if !self.told || self.misses >= MISSES {
                    self.forget();
                }
            }
            (None, None) => {}
        }
        if let Some(key) = self.current.filter(|_| self.hits >= HITS && !self.told) {
            self.told = true;
            told(Heard { key, offset_ms: self.since * 1_000 / u64::from(self.rate) });
        }
    }
}

/// The key of a window that goes on as the one before, or may begin one.
fn confirmed(
    before: Option<Pair>,
    pair: Option<Pair>,
    power: f32,
    window: &[i16],
    rate: u32,
) -> Option<Key> {
    let pair = pair?;
    let Some(before) = before.filter(|before| before.key == pair.key) else {
        return Some(pair.key);
    };
    let mut sum = 0.0;
    for ((tone, before), above) in pair.tones.into_iter().zip(before.tones).zip(ABOVE_HARMONIC) {
        let off = tone.off(before);
        if off.abs() > tone.hertz * OFF {
            return None;
        }
        let tone_power = tone.true_power(off);
        let harmonic = 2.0 * (TAU * 2.0 * (tone.hertz + off) / float(rate)).cos();
        if goertzel(window, harmonic).0 * above > tone_power {
            return None;
        }
        sum += tone_power;
    }
    (sum >= power * SHARE).then_some(pair.key)
}

fn float(number: u32) -> f32 {
    // 48,000 at most: exact.
    f32::from(u16::try_from(number).unwrap_or(u16::MAX))
}

/// What a window holds, and its mean square.
fn judge(window: &[i16], weights: &[f32; 8]) -> (Option<Pair>, f32) {
    let count = float(u32::try_from(window.len()).unwrap_or(1));
    let power = window.iter().map(|s| f32::from(*s) * f32::from(*s)).sum::<f32>() / count;
    if power < LEAST_POWER {
        return (None, power);
    }
    let found = || {
        let (low, high) = weights.split_at(4);
        let (row, low) = strongest(window, low, LOW)?;
        // Most windows end here.
        if low.power * (1.0 + TWIST) < power * SEEMING_SHARE {
            return None;
        }
        let (column, high) = strongest(window, high, HIGH)?;
        let level = low.power + high.power >= power * SEEMING_SHARE;
        let twist = high.power <= low.power * TWIST && low.power <= high.power * REVERSE_TWIST;
        let good = level && twist;
        let key = Key::read(KEYS.get(row)?.get(column)?)?;
        good.then_some(Pair { key, tones: [low, high] })
    };
    (found(), power)
}

/// The tone of a group that stands above the others.
fn strongest(window: &[i16], weights: &[f32], group: [f32; 4]) -> Option<(usize, Tone)> {
    let mut best: Option<(usize, Tone)> = None;
    let mut powers = [0.0; 4];
    for (index, ((weight, hertz), power)) in weights.iter().zip(group).zip(&mut powers).enumerate()
    {
        let (level, phase) = goertzel(window, *weight);
        *power = level;
        if best.is_none_or(|(_, tone)| level > tone.power) {
            best = Some((index, Tone { hertz, power: level, phase }));
        }
    }
    let (index, tone) = best?;
    let alone = powers.iter().enumerate().all(|(n, p)| n == index || tone.power > *p * ABOVE);
    alone.then_some((index, tone))
}

/// Mean square and phase of a tone in a window; `weight` is twice the cosine of its step.
fn goertzel(window: &[i16], weight: f32) -> (f32, f32) {
    let count = float(u32::try_from(window.len()).unwrap_or(1));
    let (mut one, mut two) = (0.0f32, 0.0f32);
    for sample in window {
        (one, two) = (f32::from(*sample) + weight * one - two, one);
    }
    let cosine = weight / 2.0;
    let sine = (1.0 - cosine * cosine).max(0.0).sqrt();
    let (real, imaginary) = (one - two * cosine, two * sine);
    let power = (real * real + imaginary * imaginary) * 2.0 / (count * count);
    (power, imaginary.atan2(real))
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "made samples"
)]
mod tests {
    use super::*;

    /// Numbers between -1 and 1 that look random.
    struct Chance(u64);

    impl Chance {
        fn next(&mut self) -> f32 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((self.0 >> 40) as f32 / 8_388_608.0) - 1.0
        }
    }

    fn heard(rate: u32, samples: &[i16]) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        for piece in [samples.len().max(1), 160, 37] {
            let mut listener = Listener::new(rate).unwrap();
            let mut out = Vec::new();
            for (n, part) in samples.chunks(piece).enumerate() {
                let at = u64::try_from(n * piece).unwrap();
                listener.hear(at, part.iter().copied(), &mut |heard| {
                    out.push((heard.key.to_string(), heard.offset_ms));
                });
            }
            all.push(out);
        }
        assert!(all.iter().all(|out| *out == all[0]), "pieces change nothing");
        all.remove(0)
    }

    struct Press {
        low: f32,
        high: f32,
        amplitude: [f32; 2],
        ms: u32,
        pause_ms: u32,
    }

    fn tones(rate: u32, tones: &[Press], noise: f32) -> Vec<i16> {
        let mut chance = Chance(7);
        let mut out = vec![0.0f32; (rate / 10) as usize];
        for tone in tones {
            for n in 0..(rate * tone.ms / 1000) {
                let phase = n as f32 / rate as f32 * TAU;
                out.push(
                    (phase * tone.low).sin() * tone.amplitude[0]
                        + (phase * tone.high).sin() * tone.amplitude[1],
                );
            }
            out.extend(std::iter::repeat_n(0.0, (rate * tone.pause_ms / 1000) as usize));
        }
        out.iter().map(|s| (s + chance.next() * noise) as i16).collect()
    }

    fn key(row: usize, column: usize, ms: u32, pause_ms: u32) -> Press {
        Press { low: LOW[row], high: HIGH[column], amplitude: [5_000.0, 5_000.0], ms, pause_ms }
    }

    #[test]
    fn every_key_is_heard_once_where_it_begins() {
        for rate in [8_000, 16_000, 48_000] {
            for (row, keys) in KEYS.iter().enumerate() {
                for (column, name) in keys.iter().enumerate() {
                    for ms in [40, 45, 70, 500] {
                        let pair = [key(row, column, ms, 50), key(row, column, ms, 50)];
                        let got = heard(rate, &tones(rate, &pair, 100.0));
                        let names: Vec<&str> = got.iter().map(|(key, _)| key.as_str()).collect();
                        assert_eq!(names, [*name, name], "{rate} Hz, {ms} ms");
                        let second = u64::from(100 + ms + 50);
                        for ((_, at), want) in got.iter().zip([100, second]) {
                            assert!(at.abs_diff(want) <= 8, "{at}, not {want}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn too_short_too_uneven_or_too_far_off_is_no_key() {
        let none = |tone: Press| heard(8_000, &tones(8_000, &[tone], 20.0)).is_empty();
        assert!(none(key(1, 1, 20, 100)), "20 ms");
        let uneven = |low: f32, high: f32| Press { amplitude: [low, high], ..key(1, 1, 100, 100) };
        assert!(none(uneven(1_000.0, 2_000.0)) && none(uneven(6_000.0, 1_500.0)), "twist");
        assert!(!none(uneven(1_000.0, 1_400.0)) && !none(uneven(4_000.0, 1_800.0)), "allowed");
        assert!(none(uneven(90.0, 90.0)) && !none(uneven(500.0, 500.0)), "level");
        assert!(
            none(Press { high: 0.0, amplitude: [8_000.0, 0.0], ..key(1, 1, 200, 50) }),
            "one tone"
        );
        for (off, good) in [(1.01, true), (0.99, true), (1.06, false), (0.94, false)] {
            let tone = Press { low: LOW[2] * off, high: HIGH[2] * off, ..key(2, 2, 100, 100) };
            assert_eq!(!none(tone), good, "{off}");
        }
        assert!(heard(8_000, &tones(8_000, &[key(0, 0, 100, 100)], 1_500.0)).len() == 1, "noise");
    }

    /// A voice: harmonics of a pitch that glides, shaped by formants that change with each syllable,
    /// with pauses and hissing between.
    fn speech(seed: u64, seconds: u32) -> Vec<i16> {
        let mut chance = Chance(seed);
        let mut out = Vec::new();
        let mut phase = 0.0f32;
        while out.len() < (seconds * 8_000) as usize {
            let length = 800 + (chance.next().abs() * 2_400.0) as usize;
            let (from, to) =
                (90.0 + chance.next().abs() * 200.0, 90.0 + chance.next().abs() * 200.0);
            let formants = [
                500.0 + chance.next() * 250.0,
                1_400.0 + chance.next() * 700.0,
                2_500.0 + chance.next() * 400.0,
            ];
            let loud = 2_000.0 + chance.next().abs() * 6_000.0;
            for n in 0..length {
                let part = n as f32 / length as f32;
                let pitch = from + (to - from) * part;
                phase = (phase + pitch / 8_000.0).fract();
                let mut sample = 0.0;
                for harmonic in 1..20 {
                    let hertz = pitch * harmonic as f32;
                    let gain: f32 =
                        formants.iter().map(|f| 1.0 / (1.0 + ((hertz - f) / 80.0).powi(2))).sum();
                    sample += (phase * TAU * harmonic as f32).sin() * gain;
                }
                let swell = (part * std::f32::consts::PI).sin();
                out.push((sample * loud * swell + chance.next() * 60.0).clamp(-32_000.0, 32_000.0)
                    as i16);
            }
            let hiss = chance.next().abs() * 1_500.0;
            out.extend((0..400).map(|_| (chance.next() * hiss) as i16));
        }
        out
    }

    /// Chords of two to four notes with overtones, that fade.
    fn music(seed: u64, seconds: u32) -> Vec<i16> {
        let mut chance = Chance(seed);
        let mut out = Vec::new();
        while out.len() < (seconds * 8_000) as usize {
            let length = 1_000 + (chance.next().abs() * 4_000.0) as usize;
            let notes: Vec<f32> = (0..2 + (chance.next().abs() * 3.0) as u32)
                .map(|_| 220.0 * (2.0f32).powf((chance.next().abs() * 36.0).floor() / 12.0))
                .collect();
            // A pair of pure tones would be a key.
            let rich = 0.4 + chance.next().abs() * 0.6;
            for n in 0..length {
                let at = n as f32 / 8_000.0;
                let fade = (-at * 3.0).exp();
                let sum: f32 = notes
                    .iter()
                    .map(|hertz| {
                        let overtone =
                            |k: f32| (at * TAU * hertz * k).sin() * (rich * 0.7).powf(k - 1.0);
                        overtone(1.0) + overtone(2.0) + overtone(3.0)
                    })
                    .sum();
                out.push((sum * fade * 3_000.0).clamp(-32_000.0, 32_000.0) as i16);
            }
        }
        out
    }

    #[test]
    fn voices_are_no_keys() {
        for seed in 1..=20 {
            assert_eq!(heard(8_000, &speech(seed, 60)), [], "{seed}");
        }
    }

    #[test]
    fn music_is_no_keys() {
        let mut wrong = Vec::new();
        for seed in 1..=20 {
            wrong.extend(heard(8_000, &music(seed, 60)));
        }
        assert_eq!(wrong, []);
    }
}
