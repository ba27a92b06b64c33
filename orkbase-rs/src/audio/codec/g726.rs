//! G.726 at 16, 24, 32 and 40 kbit/s; G.721 is the 32 kbit/s mode.
//!
//! Arithmetic follows the Recommendation's sub-block descriptions with their word lengths and
//! their small floating-point format, so that the reconstructed signal is the one the ITU vectors
//! were made from; block names (FMULT, ANTILOG, UPA2 ...) are the Recommendation's.
//! The output is linear: the synchronous coding adjustment, which only serves a following G.711
//! link, is left out.

#![expect(
    clippy::indexing_slicing,
    reason = "tables are indexed by codes masked to their length, arrays by constants"
)]

use super::conceal::Core;
use super::{CodeSize, DecodeError, Packing, clip};

/// One stream in one packing.
pub(super) struct G726 {
    state: State,
    bits: u32,
    packing: Packing,
}

impl G726 {
    pub(super) const fn new(size: CodeSize, packing: Packing) -> Self {
        let bits = match size {
            CodeSize::Two => 2,
            CodeSize::Three => 3,
            CodeSize::Four => 4,
            CodeSize::Five => 5,
        };
        Self { state: State::new(size), bits, packing }
    }
}

impl Core for G726 {
    fn sample_rate(&self) -> u32 {
        8_000
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<usize, DecodeError> {
        if payload.is_empty() {
            return Err(DecodeError::Short { got: 0, need: 1 });
        }
        let before = out.len();
        let mask = (1 << self.bits) - 1;
        let (mut held, mut count) = (0_u32, 0_u32);
        out.reserve(payload.len() * 4);
        for &byte in payload {
            match self.packing {
                Packing::LowFirst => held |= u32::from(byte) << count,
                Packing::HighFirst => held = held << 8 | u32::from(byte),
            }
            count += 8;
            while count >= self.bits {
                count -= self.bits;
                let code = match self.packing {
                    Packing::LowFirst => {
                        let code = held & mask;
                        held >>= self.bits;
                        code
                    }
                    Packing::HighFirst => held >> count & mask,
                };
                // 14 bits of signal are the upper ones of 16.
                out.push(clip(self.state.step(code) << 2));
            }
        }
        Ok(out.len() - before)
    }
}

/// The adaptive predictor and quantiser scale; names in brackets are the Recommendation's.
pub(super) struct State {
    rate: &'static Rate,
    /// Two poles (A) and six zeros (B), 1.0 being 16384.
    poles: [i32; 2],
    zeros: [i32; 6],
    /// Last reconstructed signals (SR) and quantised differences (DQ).
    signals: [Float; 2],
    differences: [Float; 6],
    /// Signs of the last two partial signals (PK).
    signs: [bool; 2],
    /// Fast and slow scale (YU, YL).
    fast: i32,
    slow: i32,
    /// Short and long average of the code's size, and the speed they choose (DMS, DML, AP).
    short_mean: i32,
    long_mean: i32,
    speed: i32,
    /// A narrow-band tone was seen (TD).
    tone: bool,
    /// What the last step computed on its way, for those who quantise (SE, Y).
    pub(super) estimate: i32,
    pub(super) scale: i32,
}

impl State {
    pub(super) const fn new(size: CodeSize) -> Self {
        Self {
            rate: match size {
                CodeSize::Two => &RATE_16,
                CodeSize::Three => &RATE_24,
                CodeSize::Four => &RATE_32,
                CodeSize::Five => &RATE_40,
            },
            poles: [0; 2],
            zeros: [0; 6],
            signals: [Float::ZERO; 2],
            differences: [Float::ZERO; 6],
            signs: [false; 2],
            fast: 544,
            slow: 34_816,
            short_mean: 0,
            long_mean: 0,
            speed: 0,
            tone: false,
            estimate: 0,
            scale: 544,
        }
    }

    /// Decodes one code to the reconstructed signal, 14 bits and a little headroom.
    pub(super) fn step(&mut self, code: u32) -> i32 {
        let code = code as usize & (self.rate.levels.len() - 1);
        let negative = code >= self.rate.levels.len() / 2;

        let zeros = wrap(self.zeros.iter().zip(&self.differences).map(|(&b, d)| d.times(b)).sum());
        let poles: i32 = self.poles.iter().zip(&self.signals).map(|(&a, s)| s.times(a)).sum();
        let from_zeros = zeros >> 1;
        self.estimate = wrap(zeros + poles) >> 1;
        self.scale = self.mixed_scale();

        let magnitude = antilog(self.rate.levels[code] + (self.scale >> 2));
        let difference = if negative { -magnitude } else { magnitude };
        let signal = wrap(self.estimate + difference);
        let partial = wrap(from_zeros + difference);

        let jump = self.tone && magnitude > self.transition_threshold();
        self.adapt_predictor(partial, magnitude, negative);
        let tone_next = self.poles[1] < -11_776;
        self.adapt_speed(self.rate.sizes[code], tone_next, jump);
        self.adapt_scale(self.rate.steps[code]);

        if jump {
            self.poles = [0; 2];
            self.zeros = [0; 6];
        }
        self.tone = tone_next && !jump;
        let [d0, d1, d2, d3, d4, _] = self.differences;
        self.differences = [Float::new(negative, magnitude), d0, d1, d2, d3, d4];
        self.signals = [Float::new(signal < 0, signal.abs() & 32_767), self.signals[0]];
        self.signs = [partial < 0, self.signs[0]];
        signal
    }

    /// LIMA and MIX: between the slow and the fast scale as the speed says.
    fn mixed_scale(&self) -> i32 {
        let weight = (self.speed >> 2).min(64);
        let slow = self.slow >> 6;
        let gap = self.fast - slow;
        let part = (gap.abs() * weight) >> 6;
        slow + if gap < 0 { -part } else { part }
    }

    /// TRANS: the difference that, after a tone, can only be the start of something else.
    fn transition_threshold(&self) -> i32 {
        let whole = self.slow >> 15;
        let threshold = if whole > 9 { 31 << 10 } else { (32 + (self.slow >> 10 & 31)) << whole };
        (threshold + (threshold >> 1)) >> 1
    }

    /// UPA1, UPA2, LIMC, LIMD, UPB.
    fn adapt_predictor(&mut self, partial: i32, magnitude: i32, negative: bool) {
        let sign = partial < 0;
        let [a1, a2] = self.poles;
        let (toward1, toward2) = if partial == 0 {
            (0, 0)
        } else {
            let lean = a1.clamp(-8_191, 8_191) << 2;
            let lean = if sign == self.signs[0] { -lean } else { lean };
            let pull = if sign == self.signs[1] { 16_384 } else { -16_384 };
            (if sign == self.signs[0] { 192 } else { -192 }, (pull + lean) >> 7)
        };
        let a2 = (a2 + toward2 - (a2 >> 7)).clamp(-12_288, 12_288);
        let bound = 15_360 - a2;
        let a1 = (a1 + toward1 - (a1 >> 8)).clamp(-bound, bound);
        self.poles = [a1, a2];

        let leak = self.rate.leak;
        for (zero, before) in self.zeros.iter_mut().zip(&self.differences) {
            let pull = match (magnitude == 0, before.negative == negative) {
                (true, _) => 0,
                (false, true) => 128,
                (false, false) => -128,
            };
            *zero = wrap(*zero + pull - (*zero >> leak));
        }
    }

    /// FUNCTF, FILTA, FILTB, SUBTC, FILTC, TRIGA.
    fn adapt_speed(&mut self, size: i32, tone: bool, jump: bool) {
        self.short_mean += ((size << 9) - self.short_mean) >> 5;
        self.long_mean += ((size << 11) - self.long_mean) >> 7;
        let apart = ((self.short_mean << 2) - self.long_mean).abs();
        let steady = self.scale >= 1_536 && apart < self.long_mean >> 3 && !tone;
        let target = if steady { 0 } else { 512 };
        self.speed += (target - self.speed) >> 4;
        if jump {
            self.speed = 256;
        }
    }

    /// FUNCTW, FILTD, LIMB, FILTE.
    fn adapt_scale(&mut self, step: i32) {
        self.fast = (self.scale + (((step << 5) - self.scale) >> 5)).clamp(544, 5_120);
        self.slow += self.fast + (-self.slow >> 6);
    }
}

/// ADDA's result to a linear magnitude of 15 bits (ANTILOG).
const fn antilog(log: i32) -> i32 {
    let log = log & 4_095;
    if log & 2_048 != 0 {
        return 0;
    }
    (((log & 127) + 128) << 7) >> (14 - (log >> 7 & 15))
}

/// A sign, an exponent of four bits and a mantissa of six (FLOATA, FLOATB).
#[derive(Clone, Copy)]
struct Float {
    negative: bool,
    exponent: i32,
    mantissa: i32,
}

impl Float {
    const ZERO: Self = Self { negative: false, exponent: 0, mantissa: 32 };

    const fn new(negative: bool, magnitude: i32) -> Self {
        let exponent = width(magnitude);
        let mantissa = if magnitude == 0 { 32 } else { (magnitude << 6) >> exponent };
        Self { negative, exponent, mantissa }
    }

    /// FMULT: times a coefficient of 16 bits.
    fn times(self, coefficient: i32) -> i32 {
        let coefficient = coefficient >> 2;
        let negative = coefficient < 0;
        let magnitude = coefficient.abs() & 8_191;
        let exponent = width(magnitude);
        let mantissa = if magnitude == 0 { 32 } else { (magnitude << 6) >> exponent };
        let product = (self.mantissa * mantissa + 48) >> 4;
        let exponent = self.exponent + exponent;
        let product = if exponent <= 26 {
            (product << 7) >> (26 - exponent)
        } else {
            (product << 7) << (exponent - 26) & 32_767
        };
        if negative == self.negative { product } else { -product }
    }
}

/// Bits that a non-negative number takes.
const fn width(magnitude: i32) -> i32 {
    (32 - magnitude.leading_zeros()).cast_signed()
}

/// To 16 bits, as the Recommendation's registers do.
#[expect(clippy::cast_possible_truncation, reason = "wrapping at 16 bits is meant")]
fn wrap(value: i32) -> i32 {
    i32::from(value as i16)
}

/// What differs between the rates; every table has one entry a code.
struct Rate {
    /// Logarithm of the quantised difference (DQLN).
    levels: &'static [i32],
    /// What a code does to the scale (W) and how large it counts (F).
    steps: &'static [i32],
    sizes: &'static [i32],
    /// Leakage of the zeros, as a shift.
    leak: u32,
}

const RATE_16: Rate = Rate {
    levels: &[116, 365, 365, 116],
    steps: &[-22, 439, 439, -22],
    sizes: &[0, 7, 7, 0],
    leak: 8,
};

const RATE_24: Rate = Rate {
    levels: &[-2048, 135, 273, 373, 373, 273, 135, -2048],
    steps: &[-4, 30, 137, 582, 582, 137, 30, -4],
    sizes: &[0, 1, 2, 7, 7, 2, 1, 0],
    leak: 8,
};

const RATE_32: Rate = Rate {
    levels: &[-2048, 4, 135, 213, 273, 323, 373, 425, 425, 373, 323, 273, 213, 135, 4, -2048],
    steps: &[-12, 18, 41, 64, 112, 198, 355, 1122, 1122, 355, 198, 112, 64, 41, 18, -12],
    sizes: &[0, 0, 0, 1, 1, 1, 3, 7, 7, 3, 1, 1, 1, 0, 0, 0],
    leak: 8,
};

const RATE_40: Rate = Rate {
    levels: &[
        -2048, -66, 28, 104, 169, 224, 274, 318, 358, 395, 429, 459, 488, 514, 539, 566, 566, 539,
        514, 488, 459, 429, 395, 358, 318, 274, 224, 169, 104, 28, -66, -2048,
    ],
    steps: &[
        14, 14, 24, 39, 40, 41, 58, 100, 141, 179, 219, 280, 358, 440, 529, 696, 696, 529, 440,
        358, 280, 219, 179, 141, 100, 58, 41, 40, 39, 24, 14, 14,
    ],
    sizes: &[
        0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 3, 4, 5, 6, 6, 6, 6, 5, 4, 3, 2, 1, 1, 1, 1, 1, 0, 0, 0,
        0, 0,
    ],
    leak: 9,
};

#[cfg(test)]
mod tests {
    use super::super::{Codec, tests::*};
    use super::*;

    const SIZES: [CodeSize; 4] = [CodeSize::Two, CodeSize::Three, CodeSize::Four, CodeSize::Five];

    /// Takes the code whose quantised difference is nearest.
    fn encode(signal: &[i16], size: CodeSize) -> Vec<u32> {
        let mut state = State::new(size);
        let code = |state: &mut State, sample: i16| {
            let far = |code: &u32| {
                let mut trial = State { ..*state };
                (trial.step(*code) - (i32::from(sample) >> 2)).abs()
            };
            let nearest = (0..1 << size.bits()).min_by_key(far).unwrap();
            state.step(nearest);
            nearest
        };
        signal.iter().map(|&sample| code(&mut state, sample)).collect()
    }

    fn pack(codes: &[u32], size: CodeSize, packing: Packing) -> Vec<u8> {
        let bits = usize::from(size.bits());
        let mut bytes = vec![0; (codes.len() * bits).div_ceil(8)];
        for (n, bit) in (0..codes.len() * bits).map(|n| (n, n % bits)) {
            let code = codes[n / bits];
            let (one, place) = match packing {
                Packing::LowFirst => (code >> bit & 1, n % 8),
                Packing::HighFirst => (code >> (bits - 1 - bit) & 1, 7 - n % 8),
            };
            bytes[n / 8] |= u8::from(one == 1) << place;
        }
        bytes
    }

    #[test]
    fn a_tone_survives_at_every_rate() {
        let signal = tone(700.0, 8_000.0, 8_000);
        for (size, least) in SIZES.into_iter().zip([14.0, 22.0, 28.0, 34.0]) {
            let packets = pack(&encode(&signal, size), size, Packing::LowFirst);
            let codec = Codec::G726 { size, packing: Packing::LowFirst };
            let packet = 20 * usize::from(size.bits());
            let snr = snr(&signal, &decoded_in_packets(codec, &packets, packet));
            assert!(snr > least, "{size:?}: {snr}");
        }
    }

    #[test]
    fn both_packings_carry_the_same_audio() {
        for size in SIZES {
            let codes: Vec<_> =
                noise(1_600).into_iter().map(|b| u32::from(b) & ((1 << size.bits()) - 1)).collect();
            let of = |packing| decoded(Codec::G726 { size, packing }, &pack(&codes, size, packing));
            assert_eq!(of(Packing::LowFirst), of(Packing::HighFirst));
            assert_eq!(of(Packing::LowFirst).len(), codes.len());
        }
    }

    #[test]
    fn codes_lie_as_rfc_3551_draws_them() {
        assert_eq!(pack(&[1, 2], CodeSize::Four, Packing::LowFirst), [0x21]);
        assert_eq!(pack(&[1, 2], CodeSize::Four, Packing::HighFirst), [0x12]);
        assert_eq!(pack(&[1, 2, 7], CodeSize::Three, Packing::LowFirst), [0b1101_0001, 1]);
    }

    /// Made by this decoder when its signal, companded and adjusted as the Recommendation says,
    /// gave all 48 of the ITU's reset and homing vectors.
    #[test]
    fn arithmetic_is_what_the_itu_vectors_confirmed() {
        let digests = SIZES.map(|size| {
            digest(&decoded(Codec::G726 { size, packing: Packing::HighFirst }, &noise(20_000)))
        });
        assert_eq!(
            digests,
            [
                0xc3ab_5287_521f_bb15,
                0x9998_9422_2c7c_ed24,
                0x336b_98c1_8f1b_c6eb,
                0x56d1_3b5e_0f77_59df
            ]
        );
    }
}
