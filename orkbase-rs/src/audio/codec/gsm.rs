//! GSM 06.10 full rate: 13 kbit/s, 160 samples in 33 bytes (RFC 3551 section 4.5.8).
//!
//! A frame is eight reflection coefficients and four sub-frames of 40 samples, each a sparse
//! excitation added to a copy of the recent past. Arithmetic is the standard's 16-bit fixed point,
//! so the output is bit-exact. A lost frame is the last one again, softer (GSM 06.11), silent
//! after 60 ms.

#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "arrays of fixed size; codes are masked to their table's length, lags clamped"
)]

use super::{DecodeError, Decoder};

/// Bytes of one frame.
const FRAME_BYTES: usize = 33;
/// Samples of one frame.
pub(super) const FRAME_SAMPLES: usize = 160;
const SUBFRAME: usize = 40;
/// The longest lag: how much of the past is kept.
const PAST: usize = 120;
/// Frames repeated before silence: 60 ms.
const REPEATS: u32 = 3;

/// Frames that carry the signature, up to the end of the payload.
pub(super) fn frames(payload: &[u8]) -> usize {
    let whole = payload.as_chunks::<FRAME_BYTES>().0;
    if whole.iter().any(signed) { whole.len() } else { 0 }
}

/// The four bits that RTP puts before the 260 of the frame.
const fn signed(frame: &[u8; FRAME_BYTES]) -> bool {
    frame[0] >> 4 == 0xd
}

/// The decoder's memory.
pub(super) struct Gsm {
    /// Excitation of the last 120 samples, then room for a sub-frame.
    excitation: [i16; PAST + SUBFRAME],
    lag: usize,
    /// Decoded logarithmic area ratios of the frame before.
    ratios: [i16; 8],
    /// Lattice filter and de-emphasis.
    lattice: [i16; 9],
    emphasis: i16,
    /// What to repeat, and how often it was.
    last: Frame,
    repeated: u32,
    /// Samples of a repeated frame that nobody has asked for yet, newest last.
    spare: Vec<i16>,
}

impl Gsm {
    pub(super) const fn new() -> Self {
        Self {
            excitation: [0; PAST + SUBFRAME],
            lag: 40,
            ratios: [0; 8],
            lattice: [0; 9],
            emphasis: 0,
            last: Frame::SILENT,
            repeated: 0,
            spare: Vec::new(),
        }
    }

    /// GSM 06.11: the last frame once as it was, then softer by four steps of the block maximum.
    fn repeat(&mut self, out: &mut Vec<i16>) {
        if self.repeated >= REPEATS {
            out.resize(out.len() + FRAME_SAMPLES, 0);
            return;
        }
        if self.repeated > 0 {
            for part in &mut self.last.parts {
                part.maximum = part.maximum.saturating_sub(4);
            }
        }
        self.repeated += 1;
        let frame = self.last;
        self.synthesise(&frame, out);
        if self.repeated == REPEATS {
            // The past must not ring on when audio returns.
            let (last, repeated) = (Frame::SILENT, self.repeated);
            *self = Self { last, repeated, ..Self::new() };
        }
    }

    fn synthesise(&mut self, frame: &Frame, out: &mut Vec<i16>) {
        let mut signal = [0; FRAME_SAMPLES];
        for (part, target) in frame.parts.iter().zip(signal.as_chunks_mut::<SUBFRAME>().0) {
            self.excite(part, target);
        }
        self.filter(&frame.ratios, &mut signal);
        for sample in &mut signal {
            self.emphasis = sample.saturating_add(times(self.emphasis, 28_180));
            *sample = self.emphasis.saturating_add(self.emphasis) & !7;
        }
        out.extend_from_slice(&signal);
    }

    /// Adds a sub-frame's pulses to the past, `lag` samples ago (section 5.3.2).
    fn excite(&mut self, part: &Part, target: &mut [i16; SUBFRAME]) {
        if (40..=120).contains(&part.lag) {
            self.lag = usize::from(part.lag);
        }
        let gain = GAINS[usize::from(part.gain & 3)];
        let mut pulses = [0; SUBFRAME];
        let grid = usize::from(part.grid & 3);
        for (slot, pulse) in pulses.iter_mut().skip(grid).step_by(3).zip(part.pulses()) {
            *slot = pulse;
        }
        for (n, pulse) in pulses.into_iter().enumerate() {
            let past = self.excitation[PAST + n - self.lag];
            self.excitation[PAST + n] = pulse.saturating_add(times(gain, past));
        }
        target.copy_from_slice(&self.excitation[PAST..]);
        self.excitation.copy_within(SUBFRAME.., 0);
    }

    /// Short-term synthesis; the coefficients slide from the last frame's over its first quarter
    /// (sections 5.2.8 to 5.2.10 and 5.3.4).
    fn filter(&mut self, codes: &[u8; 8], signal: &mut [i16; FRAME_SAMPLES]) {
        let mut ratios = [0; 8];
        for (n, ratio) in ratios.iter_mut().enumerate() {
            let (_, half, offset, scale) = RATIOS[n];
            let value = (i16::from(codes[n]) - half) << 10;
            let value = times(scale, value.saturating_sub(offset << 1)).saturating_mul(2);
            *ratio = value;
        }
        let before = std::mem::replace(&mut self.ratios, ratios);
        let blend = |weigh: fn(i16, i16) -> i16| -> [i16; 8] {
            std::array::from_fn(|n| reflection(weigh(before[n], ratios[n])))
        };
        let (first, rest) = signal.split_at_mut(13);
        let (second, rest) = rest.split_at_mut(14);
        let (third, fourth) = rest.split_at_mut(13);
        self.run(
            &blend(|old, new| (old >> 2).saturating_add(new >> 2).saturating_add(old >> 1)),
            first,
        );
        self.run(&blend(|old, new| (old >> 1).saturating_add(new >> 1)), second);
        self.run(
            &blend(|old, new| (old >> 2).saturating_add(new >> 2).saturating_add(new >> 1)),
            third,
        );
        self.run(&blend(|_, new| new), fourth);
    }

    fn run(&mut self, reflections: &[i16; 8], signal: &mut [i16]) {
        for sample in signal {
            let mut value = *sample;
            for n in (0..8).rev() {
                value = value.saturating_sub(times(reflections[n], self.lattice[n]));
                self.lattice[n + 1] = self.lattice[n].saturating_add(times(reflections[n], value));
            }
            self.lattice[0] = value;
            *sample = value;
        }
    }
}

impl Decoder for Gsm {
    fn sample_rate(&self) -> u32 {
        8_000
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<usize, DecodeError> {
        let count = frames(payload);
        if count == 0 {
            return Err(if payload.len() < FRAME_BYTES {
                DecodeError::Short { got: payload.len(), need: FRAME_BYTES }
            } else {
                DecodeError::Foreign { offset: 0, why: "GSM frame without its signature 0xD" }
            });
        }
        self.spare.clear();
        out.reserve(count * FRAME_SAMPLES);
        for bytes in payload.as_chunks::<FRAME_BYTES>().0 {
            if signed(bytes) {
                self.last = Frame::read(bytes);
                self.repeated = 0;
                let frame = self.last;
                self.synthesise(&frame, out);
            } else {
                self.repeat(out);
            }
        }
        Ok(count * FRAME_SAMPLES)
    }

    fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) {
        let end = out.len() + samples;
        let spare = self.spare.len().min(samples);
        out.extend(self.spare.drain(..spare));
        while out.len() < end && self.repeated < REPEATS {
            self.repeat(out);
        }
        if out.len() > end {
            self.spare = out.split_off(end);
        }
        out.resize(end, 0);
    }
}

/// The 76 parameters of one frame.
#[derive(Clone, Copy)]
struct Frame {
    ratios: [u8; 8],
    parts: [Part; 4],
}

impl Frame {
    /// Middle codes and no excitation worth the name.
    const SILENT: Self = Self {
        ratios: [32, 32, 16, 16, 8, 8, 4, 4],
        parts: [Part { lag: 40, gain: 0, grid: 0, maximum: 0, codes: [4; 13] }; 4],
    };

    /// Parameters lie most significant bit first, one after the other.
    fn read(bytes: &[u8; FRAME_BYTES]) -> Self {
        let mut bits = Bits { bytes, at: 4 };
        let ratios = std::array::from_fn(|n| bits.take(RATIOS[n].0));
        let parts = std::array::from_fn(|_| Part {
            lag: bits.take(7),
            gain: bits.take(2),
            grid: bits.take(2),
            maximum: bits.take(6),
            codes: std::array::from_fn(|_| bits.take(3)),
        });
        Self { ratios, parts }
    }
}

/// One sub-frame: where to copy the past from and how loud, and 13 pulses on one of four grids.
#[derive(Clone, Copy)]
struct Part {
    lag: u8,
    gain: u8,
    grid: u8,
    maximum: u8,
    codes: [u8; 13],
}

impl Part {
    /// Inverse APCM (sections 5.2.15 and 5.2.16): the block maximum is a small floating-point
    /// number of three bits each, the pulses are odd multiples of an eighth of it.
    fn pulses(&self) -> [i16; 13] {
        let maximum = i16::from(self.maximum & 63);
        let mut exponent = if maximum > 15 { (maximum >> 3) - 1 } else { 0 };
        let mut mantissa = maximum - (exponent << 3);
        if mantissa == 0 {
            (exponent, mantissa) = (-4, 7);
        } else {
            while mantissa <= 7 {
                mantissa = mantissa << 1 | 1;
                exponent -= 1;
            }
            mantissa -= 8;
        }
        let scale = MANTISSAS[usize::from(mantissa.cast_unsigned() & 7)];
        let shift = 6 - exponent;
        let round = if shift > 0 { 1 << (shift - 1) } else { 0 };
        self.codes.map(|code| {
            let level = (i16::from(code & 7) * 2 - 7) << 12;
            times(scale, level).saturating_add(round) >> shift
        })
    }
}

/// Reads bits of one frame in order.
struct Bits<'a> {
    bytes: &'a [u8; FRAME_BYTES],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: u8) -> u8 {
        let byte = self.at / 8;
        let high = self.bytes.get(byte).copied().unwrap_or(0);
        let low = self.bytes.get(byte + 1).copied().unwrap_or(0);
        let shift = 16 - self.at % 8 - usize::from(count);
        self.at += usize::from(count);
        (u16::from_be_bytes([high, low]) >> shift) as u8 & ((1 << count) - 1)
    }
}

/// Product of two fractions, rounded (`GSM_MULT_R`).
const fn times(a: i16, b: i16) -> i16 {
    if a == i16::MIN && b == i16::MIN {
        return i16::MAX;
    }
    ((a as i32 * b as i32 + 16_384) >> 15) as i16
}

/// Logarithmic area ratio to reflection coefficient, in three straight pieces.
const fn reflection(ratio: i16) -> i16 {
    let size = if ratio == i16::MIN { i16::MAX } else { ratio.abs() };
    let size = match size {
        0..11_059 => size << 1,
        11_059..20_070 => size + 11_059,
        _ => (size >> 2).saturating_add(26_112),
    };
    if ratio < 0 { -size } else { size }
}

/// Per coefficient: bits, middle code, offset B, and 1/A (tables 5.1 and 5.2).
const RATIOS: [(u8, i16, i16, i16); 8] = [
    (6, 32, 0, 13_107),
    (6, 32, 0, 13_107),
    (5, 16, 2_048, 13_107),
    (5, 16, -2_560, 13_107),
    (4, 8, 94, 19_223),
    (4, 8, -1_792, 17_476),
    (3, 4, -341, 31_454),
    (3, 4, -1_144, 29_708),
];

/// Gains of the long-term predictor, and mantissas of the block maximum (tables 5.3b and 5.6).
const GAINS: [i16; 4] = [3_277, 11_469, 21_299, 32_767];
const MANTISSAS: [i16; 8] = [18_431, 20_479, 22_527, 24_575, 26_623, 28_671, 30_719, 32_767];

#[cfg(test)]
mod tests {
    use super::super::{Codec, tests::*};
    use super::*;

    /// Frames without pattern but with their signature.
    fn frames_of_noise(count: usize) -> Vec<u8> {
        let mut bytes = noise(count * FRAME_BYTES);
        for frame in bytes.as_chunks_mut::<FRAME_BYTES>().0 {
            frame[0] = 0xd0 | frame[0] & 15;
        }
        bytes
    }

    /// Writes a frame's parameters in the order in which they are read.
    fn write(frame: &Frame) -> [u8; FRAME_BYTES] {
        let mut fields = vec![(0xd, 4)];
        fields.extend(frame.ratios.iter().zip(RATIOS).map(|(&code, row)| (code, row.0)));
        for part in &frame.parts {
            fields.extend([(part.lag, 7), (part.gain, 2), (part.grid, 2), (part.maximum, 6)]);
            fields.extend(part.codes.map(|code| (code, 3)));
        }
        let mut bytes = [0; FRAME_BYTES];
        let bits = fields
            .into_iter()
            .flat_map(|(code, count)| (0..count).rev().map(move |bit| code >> bit & 1));
        for (n, bit) in bits.enumerate() {
            bytes[n / 8] |= bit << (7 - n % 8);
        }
        bytes
    }

    /// One pulse every 40 samples through middle coefficients: a buzz at 200 Hz.
    fn buzz(maximum: u8) -> [u8; FRAME_BYTES] {
        let mut codes = [3; 13];
        codes[0] = 7;
        let part = Part { lag: 40, gain: 2, grid: 0, maximum, codes };
        write(&Frame { parts: [part; 4], ..Frame::SILENT })
    }

    #[test]
    fn parameters_are_read_where_they_were_written() {
        let bytes = frames_of_noise(1);
        assert_eq!(write(&Frame::read(bytes.first_chunk().unwrap())).as_slice(), bytes);
    }

    /// Made by this decoder when it gave what libgsm 1.0.19 gives, for 100 000 random frames.
    #[test]
    fn arithmetic_is_what_a_second_decoder_confirmed() {
        assert_eq!(digest(&decoded(Codec::Gsm, &frames_of_noise(500))), 0x5b29_f868_af8e_ef61);
    }

    #[test]
    fn a_buzz_has_its_pitch_and_its_loudness() {
        let quiet = decoded(Codec::Gsm, &buzz(20).repeat(10));
        let loud = decoded(Codec::Gsm, &buzz(40).repeat(10));
        assert_eq!(quiet.len(), 1_600);
        assert!(loudness(&loud[320..]) > 3.0 * loudness(&quiet[320..]));
        // Past the first frames each 40 samples are the 40 before them.
        let same = loud[800..].iter().zip(&loud[760..]).all(|(&a, &b)| (a - b).abs() <= 16);
        assert!(same);
    }

    #[test]
    fn silence_is_silent() {
        let samples = decoded(Codec::Gsm, &write(&Frame::SILENT).repeat(5));
        assert!(loudness(&samples[160..]) < 40.0);
    }

    #[test]
    fn a_lost_frame_is_the_last_one_again_softer_then_silence() {
        let mut decoder = Gsm::new();
        let mut out = Vec::new();
        decoder.decode(&buzz(45).repeat(5), &mut out).unwrap();
        let before = loudness(&out[640..]);
        let mut made_up = Vec::new();
        for piece in [100, 60, 160, 200, 0, 300] {
            decoder.conceal(piece, &mut made_up);
        }
        let frames: Vec<_> = made_up.chunks(160).map(loudness).collect();
        assert!((0.8..1.2).contains(&(frames[0] / before)), "{frames:?} after {before}");
        assert!(frames[1] < frames[0] && frames[2] < frames[1], "{frames:?}");
        assert!(frames[3..].iter().all(|&loudness| loudness == 0.0));
        let mut at_once = Vec::new();
        let mut decoder = Gsm::new();
        decoder.decode(&buzz(45).repeat(5), &mut at_once).unwrap();
        at_once.clear();
        decoder.conceal(820, &mut at_once);
        assert_eq!(at_once, made_up);
    }

    #[test]
    fn a_damaged_frame_among_good_ones_is_covered() {
        let frames = [buzz(30), [0; FRAME_BYTES], buzz(30)].concat();
        let samples = decoded(Codec::Gsm, &frames);
        assert_eq!(samples.len(), 480);
        assert!(loudness(&samples[160..320]) > 0.0);
    }
}
