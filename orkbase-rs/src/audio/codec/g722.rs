//! G.722 at 64 kbit/s (mode 1): two ADPCM bands of 8 kHz make 16 kHz audio.
//!
//! Each byte carries six bits of the low band and two of the high band above them. Arithmetic is
//! that of the Recommendation's fixed-point description, so the output equals the ITU test
//! vectors bit for bit; block names (SCALEL, UPPOL2 ...) are the Recommendation's.

#![expect(
    clippy::indexing_slicing,
    reason = "tables are indexed by masked codes and clamped logarithms, delay lines by constants"
)]

use super::conceal::Core;
use super::{DecodeError, clip};

/// Both bands and the filter that joins them.
pub(super) struct G722 {
    low: Band,
    high: Band,
    sums: Line,
    differences: Line,
}

impl G722 {
    pub(super) const fn new() -> Self {
        Self {
            low: Band::new(32),
            high: Band::new(8),
            sums: [0; BLOCK + TAPS - 1],
            differences: [0; BLOCK + TAPS - 1],
        }
    }

    /// Decodes at most [`BLOCK`] bytes to two samples each.
    fn decode_block(&mut self, codes: &[u8], out: &mut Vec<i16>) {
        let fresh = self.sums[TAPS - 1..].iter_mut().zip(&mut self.differences[TAPS - 1..]);
        for (&code, (sum, difference)) in codes.iter().zip(fresh) {
            let low = self.low.decode_low(code & 0x3f);
            let high = self.high.decode_high(code >> 6);
            *sum = clip(low + high);
            *difference = clip(low - high);
        }
        for n in 0..codes.len() {
            let odd = join(&self.differences[n..n + TAPS], &QMF_EVEN);
            let even = join(&self.sums[n..n + TAPS], &QMF_ODD);
            out.extend_from_slice(&[odd, even]);
        }
        self.sums.copy_within(codes.len()..codes.len() + TAPS - 1, 0);
        self.differences.copy_within(codes.len()..codes.len() + TAPS - 1, 0);
    }
}

impl Core for G722 {
    fn sample_rate(&self) -> u32 {
        16_000
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<usize, DecodeError> {
        if payload.is_empty() {
            return Err(DecodeError::Short { got: 0, need: 1 });
        }
        out.reserve(payload.len() * 2);
        for codes in payload.chunks(BLOCK) {
            self.decode_block(codes, out);
        }
        Ok(payload.len() * 2)
    }
}

/// Bytes filtered at once: 10 ms, so a 20 ms packet is two rounds.
const BLOCK: usize = 80;
/// Half of the 24 taps: each polyphase branch has its own 12; four zeros fill up a SIMD word.
const TAPS: usize = 16;
/// Oldest first: the last `TAPS - 1` values of the block before, then this block's.
type Line = [i16; BLOCK + TAPS - 1];

/// One branch of the receive quadrature mirror filter; `taps` oldest first as well. Values of 16
/// bits multiply and add in pairs on every x86-64.
fn join(line: &[i16], taps: &[i16; TAPS]) -> i16 {
    let products = line.iter().zip(taps).map(|(&value, &tap)| i32::from(value) * i32::from(tap));
    clip(products.sum::<i32>() >> 11)
}

/// One sub-band ADPCM decoder: scale, two poles, six zeros.
struct Band {
    /// Logarithmic and linear scale factor (NB, DET).
    log_scale: i32,
    scale: i32,
    /// Predictions: of the zeros alone, of both (SZ, S).
    zeros: i32,
    signal: i32,
    /// Pole coefficients, and the last two outputs and partial outputs (A, RLT, PLT).
    poles: [i32; 2],
    outputs: [i32; 2],
    partials: [i32; 2],
    /// Zero coefficients and the last six differences (B, DLT).
    taps: [i32; 6],
    differences: [i32; 6],
}

impl Band {
    const fn new(scale: i32) -> Self {
        Self {
            log_scale: 0,
            scale,
            zeros: 0,
            signal: 0,
            poles: [0; 2],
            outputs: [0; 2],
            partials: [0; 2],
            taps: [0; 6],
            differences: [0; 6],
        }
    }

    /// Low band: six bits are heard, but only the upper four drive the adaptation, so that the
    /// encoder may steal the lower two.
    fn decode_low(&mut self, code: u8) -> i32 {
        let heard = (self.scale * LOW_6[usize::from(code & 63)]) >> 15;
        let output = (self.signal + heard).clamp(-16_384, 16_383);
        let coarse = usize::from(code >> 2 & 15);
        let difference = (self.scale * LOW_4[coarse]) >> 15;
        self.rescale(LOW_STEP[coarse], 18_432, 8);
        self.predict(difference);
        output
    }

    fn decode_high(&mut self, code: u8) -> i32 {
        let code = usize::from(code & 3);
        let difference = (self.scale * HIGH_2[code]) >> 15;
        let output = (self.signal + difference).clamp(-16_384, 16_383);
        self.rescale(HIGH_STEP[code], 22_528, 10);
        self.predict(difference);
        output
    }

    /// LOGSCL and SCALEL, LOGSCH and SCALEH.
    fn rescale(&mut self, step: i32, most: i32, exponent: i32) {
        self.log_scale = (((self.log_scale * 127) >> 7) + step).clamp(0, most);
        let mantissa = EXP2[usize::try_from(self.log_scale >> 6 & 31).unwrap_or(0)];
        let shift = exponent - (self.log_scale >> 11);
        self.scale = if shift < 0 { mantissa << -shift } else { mantissa >> shift } << 2;
    }

    /// Block 4: adapts the predictor to the difference just decoded and predicts the next sample.
    fn predict(&mut self, difference: i32) {
        let output = limit(self.signal + difference);
        let partial = limit(self.zeros + difference);
        let [p1, p2] = self.partials;
        let [a1, a2] = self.poles;

        // UPPOL2, UPPOL1
        let along = limit(a1 << 2);
        let along = if alike(partial, p1) { (-along).min(32_767) } else { along } >> 7;
        let pull = if alike(partial, p2) { 128 } else { -128 };
        let a2 = limit(along + pull + ((a2 * 32_512) >> 15)).clamp(-12_288, 12_288);
        let pull = if alike(partial, p1) { 192 } else { -192 };
        let bound = limit(15_360 - a2);
        let a1 = limit(pull + ((a1 * 32_640) >> 15)).clamp(-bound, bound);

        // UPZERO
        let pull = if difference == 0 { 0 } else { 128 };
        for (tap, &before) in self.taps.iter_mut().zip(&self.differences) {
            let pull = if alike(difference, before) { pull } else { -pull };
            *tap = limit(pull + ((*tap * 32_640) >> 15));
        }

        let [d0, d1, d2, d3, d4, _] = self.differences;
        self.differences = [difference, d0, d1, d2, d3, d4];
        self.partials = [partial, p1];
        self.outputs = [output, self.outputs[0]];
        self.poles = [a1, a2];

        // FILTEP, FILTEZ, PREDIC
        let [r1, r2] = self.outputs;
        let poles = limit(((a1 * limit(r1 * 2)) >> 15) + ((a2 * limit(r2 * 2)) >> 15));
        self.zeros = 0;
        for (&tap, &before) in self.taps.iter().zip(&self.differences).rev() {
            self.zeros = limit(self.zeros + ((tap * limit(before * 2)) >> 15));
        }
        self.signal = limit(poles + self.zeros);
    }
}

/// Saturation to 16 bits, where the Recommendation's arithmetic saturates.
fn limit(value: i32) -> i32 {
    value.clamp(-32_768, 32_767)
}

/// The same sign, zero counting as positive.
const fn alike(a: i32, b: i32) -> bool {
    (a ^ b) >= 0
}

/// Taps 0, 2, ... 22 of the mirror filter, oldest sample first; the odd ones are their mirror.
const QMF_EVEN: [i16; TAPS] =
    [0, 0, 0, 0, -11, 53, -156, 362, -805, 3876, 951, -210, 32, 12, -11, 3];
const QMF_ODD: [i16; TAPS] =
    [0, 0, 0, 0, 3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];

/// Inverse quantisers (QM2, QM4, QM6), 1.0 being 32768.
const HIGH_2: [i32; 4] = [-7408, -1616, 7408, 1616];
const LOW_4: [i32; 16] = [
    0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584,
    1200, 0,
];
const LOW_6: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232,
    -9360, -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776,
    -2400, -2032, -1688, -1360, -1040, -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280,
    11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776,
    2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
];
/// What a code adds to the logarithm of the scale (WH of RIH, WL of RIL).
const HIGH_STEP: [i32; 4] = [798, -214, 798, -214];
const LOW_STEP: [i32; 16] =
    [-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60];
/// 2048 times 2^(n/32) (ILB).
const EXP2: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
    2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

#[cfg(test)]
mod tests {
    use super::super::{Codec, tests::*};
    use super::*;

    /// Splits with the same mirror filter and takes the nearest codes.
    fn encode(signal: &[i16]) -> Vec<u8> {
        let mut decoder = G722::new();
        let mut past = [0_i32; 24];
        let mut codes = Vec::new();
        for pair in signal.as_chunks::<2>().0 {
            past.copy_within(..22, 2);
            (past[1], past[0]) = (i32::from(pair[0]), i32::from(pair[1]));
            let (mut even, mut odd) = (0, 0);
            for n in 0..12 {
                even += i32::from(QMF_EVEN[TAPS - 1 - n]) * past[2 * n];
                odd += i32::from(QMF_ODD[TAPS - 1 - n]) * past[2 * n + 1];
            }
            let (low, high) = ((even + odd) >> 14, (even - odd) >> 14);
            let far = |band: &Band, level: i32, wanted: i32| {
                (band.signal + ((band.scale * level) >> 15) - wanted).abs()
            };
            let nearest = |count: u8, first: u8, distance: &dyn Fn(usize) -> i32| {
                (first..count).min_by_key(|&code| distance(usize::from(code))).unwrap()
            };
            // Codes 0 to 3 of the low band are not sent.
            let six = nearest(64, 4, &|code| far(&decoder.low, LOW_6[code], low));
            let two = nearest(4, 0, &|code| far(&decoder.high, HIGH_2[code], high));
            codes.push(two << 6 | six);
            decoder.low.decode_low(six);
            decoder.high.decode_high(two);
        }
        codes
    }

    #[test]
    fn tones_in_both_bands_survive() {
        for (hertz, least) in [(300.0, 35.0), (1_000.0, 35.0), (3_000.0, 25.0), (5_000.0, 9.0)] {
            let signal = tone(hertz, 8_000.0, 16_000);
            let snr = snr(&signal, &decoded_in_packets(Codec::G722, &encode(&signal), 160));
            assert!(snr > least, "{hertz} Hz: {snr}");
        }
    }

    #[test]
    fn packets_of_any_size_give_the_same_audio() {
        let codes = noise(2_000);
        let whole = decoded(Codec::G722, &codes);
        for size in [1, 7, 80, 81, 160, 333] {
            assert_eq!(decoded_in_packets(Codec::G722, &codes, size), whole);
        }
    }

    /// Made by this decoder when it gave the ITU's outsp1.bin for codspw.cod, all 97536 samples.
    #[test]
    fn arithmetic_is_what_the_itu_vectors_confirmed() {
        assert_eq!(digest(&decoded(Codec::G722, &noise(20_000))), 0x840c_3b27_bd64_3ad2);
    }
}
