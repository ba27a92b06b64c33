//! DVI4: IMA ADPCM at four bits a sample (RFC 3551 section 4.5.1).
//!
//! Each packet begins with the predictor and the step index it starts from, so no state crosses
//! packets and a lost one harms nothing but itself.

use super::conceal::Core;
use super::{DecodeError, clip};

/// Predictor (two bytes), step index, reserved.
pub(super) const HEADER: usize = 4;

/// Any rate.
pub(super) struct Dvi4 {
    rate: u32,
}

impl Dvi4 {
    pub(super) const fn new(rate: u32) -> Self {
        Self { rate }
    }
}

impl Core for Dvi4 {
    fn sample_rate(&self) -> u32 {
        self.rate
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<usize, DecodeError> {
        let Some((&[hi, lo, index, _reserved], codes)) = payload.split_first_chunk::<HEADER>()
        else {
            return Err(DecodeError::Short { got: payload.len(), need: HEADER + 1 });
        };
        if codes.is_empty() {
            return Err(DecodeError::Short { got: payload.len(), need: HEADER + 1 });
        }
        let mut state =
            State { predicted: i16::from_be_bytes([hi, lo]), index: index.min(LAST_STEP) };
        out.reserve(codes.len() * 2);
        for code in codes {
            out.push(state.step(code >> 4));
            out.push(state.step(code & 15));
        }
        Ok(codes.len() * 2)
    }
}

/// What one sample leaves for the next.
pub(super) struct State {
    pub(super) predicted: i16,
    pub(super) index: u8,
}

impl State {
    /// Decodes one code of four bits: sign and three bits of magnitude. No branches: codes are as
    /// good as random, and a wrong guess costs more than the arithmetic.
    pub(super) fn step(&mut self, code: u8) -> i16 {
        let step = STEPS.get(usize::from(self.index)).copied().map_or(7, i32::from);
        let bit = |n: u8| i32::from(code >> n & 1);
        let size = (step >> 3) + step * bit(2) + (step >> 1) * bit(1) + (step >> 2) * bit(0);
        self.predicted = clip(i32::from(self.predicted) + size * (1 - 2 * bit(3)));
        // 4, 5, 6, 7 raise the index by 2, 4, 6, 8; the others lower it by one.
        self.index = if code & 4 == 0 {
            self.index.saturating_sub(1)
        } else {
            (self.index + 2 * (code & 3) + 2).min(LAST_STEP)
        };
        self.predicted
    }
}

/// Last index of [`STEPS`].
const LAST_STEP: u8 = 88;

/// Each step is about a tenth larger than the one before.
const STEPS: [u16; 89] = [
    7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 19, 21, 23, 25, 28, 31, 34, 37, 41, 45, 50, 55, 60, 66,
    73, 80, 88, 97, 107, 118, 130, 143, 157, 173, 190, 209, 230, 253, 279, 307, 337, 371, 408, 449,
    494, 544, 598, 658, 724, 796, 876, 963, 1060, 1166, 1282, 1411, 1552, 1707, 1878, 2066, 2272,
    2499, 2749, 3024, 3327, 3660, 4026, 4428, 4871, 5358, 5894, 6484, 7132, 7845, 8630, 9493,
    10442, 11487, 12635, 13899, 15289, 16818, 18500, 20350, 22385, 24623, 27086, 29794, 32767,
];

#[cfg(test)]
mod tests {
    use super::super::{Codec, tests::*};
    use super::*;

    /// Takes the nearest of the sixteen codes, sample by sample.
    fn encode(samples: &[i16]) -> Vec<u8> {
        let mut state = State { predicted: 0, index: 0 };
        let mut packets = Vec::new();
        for packet in samples.chunks(160) {
            packets.extend(state.predicted.to_be_bytes());
            packets.extend([state.index, 0]);
            for pair in packet.as_chunks::<2>().0 {
                let [first, second] = pair.map(|sample| {
                    let far = |code: &u8| {
                        let mut trial = State { ..state };
                        (i32::from(trial.step(*code)) - i32::from(sample)).abs()
                    };
                    let code = (0..16).min_by_key(far).unwrap();
                    state.step(code);
                    code
                });
                packets.push(first << 4 | second);
            }
        }
        packets
    }

    #[test]
    fn a_tone_survives() {
        let signal = tone(440.0, 12_000.0, 8_000);
        let codec = Codec::Dvi4 { rate: 8_000 };
        let packets = encode(&signal);
        assert!(snr(&signal, &decoded_in_packets(codec, &packets, 84)) > 28.0);
    }

    #[test]
    fn a_packet_starts_from_its_header() {
        let codec = Codec::Dvi4 { rate: 16_000 };
        // Step 7: code 0 adds an eighth of it, 7 seven eighths and a half; then the step is 16.
        assert_eq!(decoded(codec, &[0x01, 0x00, 0, 0, 0x07, 0xf0]), [256, 267, 237, 241]);
        assert_eq!(decoded(codec, &[0x7f, 0xff, 200, 9, 0x77]), [i16::MAX; 2]);
    }
}
