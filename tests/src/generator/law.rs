//! The counter signal: audio that says which call, which side and which moment it is.
//!
//! Law: time is cut into blocks of 80 samples (10 ms at 8 kHz), counted from 0 at a stream's first
//! packet. A packet of 20 ms holds two of them. A block is twenty groups of four samples:
//!
//! | group | digits | holds |
//! |---|---|---|
//! | 0 | - | sync: `+S -S +S -S` with S = 20000 |
//! | 1 | 1 | side: 3 caller, 12 callee |
//! | 2 to 6 | 5 | call number, most significant digit first |
//! | 7 to 12 | 6 | block number, most significant digit first |
//! | 13 to 19 | 7 | 28 bits of a hash over the three |
//!
//! A digit d of 0 to 15 is `+v +v -v -v` with v = 1000 + 700 d, so no digit can look like a sync.
//! Samples go through G.711 once; what a recorder must give back is the decoded codeword, bit for
//! bit, and all 80 samples of a block are fixed by (side, call, block). The levels stay further
//! apart than either law's steps, so both laws carry the same digits.

#![expect(
    clippy::indexing_slicing,
    reason = "fixed-size tables; indices are digits, masked to 4 bits, or group numbers below 20"
)]

use audio_codec_algorithms::{decode_alaw, decode_ulaw, encode_alaw, encode_ulaw};
use serde::{Deserialize, Serialize};

/// Samples a second.
pub const RATE: u32 = 8000;
/// Samples in one block, 10 ms.
pub const BLOCK: usize = 80;
/// Calls that can be told apart.
pub const MAX_CALL: u32 = 1 << 20;
/// Blocks that can be told apart, 46 hours.
pub const MAX_BLOCK: u32 = 1 << 24;

const GROUPS: usize = 20;
const SYNC: i16 = 20_000;
const LOWEST: i16 = 1000;
const STEP: i16 = 700;
const SIGN_BIT: u8 = 0x80;

/// The two laws of G.711.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Mu-law, payload type 0.
    Pcmu,
    /// A-law, payload type 8.
    Pcma,
}

impl Codec {
    /// The static RTP payload type (RFC 3551).
    #[must_use]
    pub fn payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
        }
    }

    /// The name in `a=rtpmap`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
        }
    }

    /// Linear to codeword.
    #[must_use]
    pub fn encode(self, sample: i16) -> u8 {
        match self {
            Self::Pcmu => encode_ulaw(sample),
            Self::Pcma => encode_alaw(sample),
        }
    }

    /// Codeword to linear.
    #[must_use]
    pub fn decode(self, code: u8) -> i16 {
        match self {
            Self::Pcmu => decode_ulaw(code),
            Self::Pcma => decode_alaw(code),
        }
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The party that sent the INVITE.
    Caller,
    /// The party that was called.
    Callee,
}

impl Side {
    /// Both, caller first.
    pub const BOTH: [Self; 2] = [Self::Caller, Self::Callee];

    /// The party at the other end.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }

    fn digit(self) -> u8 {
        match self {
            Self::Caller => 3,
            Self::Callee => 12,
        }
    }
}

/// What one block says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Who speaks.
    pub side: Side,
    /// The call's number, below [`MAX_CALL`].
    pub call: u32,
    /// The block's number in its stream, below [`MAX_BLOCK`].
    pub block: u32,
}

impl Mark {
    fn digits(self) -> [u8; GROUPS] {
        let low = |value: u32, shift: usize| ((value >> shift) & 15).to_le_bytes()[0];
        let hash = mix(self);
        let mut digits = [0; GROUPS];
        digits[1] = self.side.digit();
        for k in 0..5 {
            digits[2 + k] = low(self.call, 4 * (4 - k));
        }
        for k in 0..6 {
            digits[7 + k] = low(self.block, 4 * (5 - k));
        }
        for k in 0..7 {
            digits[13 + k] = low(hash, 4 * k);
        }
        digits
    }
}

/// A 28-bit mix, so that no two blocks are alike in most of their samples.
fn mix(mark: Mark) -> u32 {
    let mut x = (mark.call << 8) ^ mark.block ^ (u32::from(mark.side.digit()) << 28);
    for factor in [0x85eb_ca6b, 0xc2b2_ae35] {
        x ^= x >> 15;
        x = x.wrapping_mul(factor);
    }
    (x ^ (x >> 16)) & 0x0fff_ffff
}

/// The law in one codec: writes blocks and reads them back.
#[derive(Clone, Debug)]
pub struct Law {
    codes: [[u8; 4]; 16],
    sync_codes: [u8; 4],
    levels: [i16; 16],
    sync: i16,
}

impl Law {
    /// The tables for one codec.
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        let mut codes = [[0; 4]; 16];
        let mut levels = [0; 16];
        for (level, (codes, nominal)) in levels
            .iter_mut()
            .zip(codes.iter_mut().zip((LOWEST..).step_by(STEP.unsigned_abs().into())))
        {
            let up = codec.encode(nominal);
            *codes = [up, up, up ^ SIGN_BIT, up ^ SIGN_BIT];
            *level = codec.decode(up);
        }
        let up = codec.encode(SYNC);
        let down = up ^ SIGN_BIT;
        Self { codes, sync_codes: [up, down, up, down], levels, sync: codec.decode(up) }
    }

    /// Writes a block's codewords; `out` holds 80.
    pub fn write(&self, mark: Mark, out: &mut [u8]) {
        let digits = mark.digits();
        for (k, group) in out.chunks_exact_mut(4).take(GROUPS).enumerate() {
            let codes =
                if k == 0 { self.sync_codes } else { self.codes[usize::from(digits[k] & 15)] };
            group.copy_from_slice(&codes);
        }
    }

    /// The samples a recorder must give back for a block.
    #[must_use]
    pub fn samples(&self, mark: Mark) -> [i16; BLOCK] {
        let digits = mark.digits();
        let mut out = [0; BLOCK];
        for (k, group) in out.chunks_exact_mut(4).enumerate() {
            let v = self.levels[usize::from(digits[k] & 15)];
            let s = self.sync;
            group.copy_from_slice(&if k == 0 { [s, -s, s, -s] } else { [v, v, -v, -v] });
        }
        out
    }

    /// True where a block may begin.
    #[must_use]
    pub fn is_sync(&self, samples: &[i16]) -> bool {
        let s = self.sync;
        samples.get(..4).is_some_and(|four| four == [s, -s, s, -s])
    }

    /// Reads the block that begins here, if all its 80 samples are exactly one.
    #[must_use]
    pub fn read(&self, samples: &[i16]) -> Option<Mark> {
        let block = samples.get(..BLOCK)?;
        if !self.is_sync(block) {
            return None;
        }
        let mut digits = [0_u8; GROUPS];
        for (group, digit) in block.chunks_exact(4).zip(&mut digits).skip(1) {
            *digit = self.digit(group)?;
        }
        let number = |range: std::ops::Range<usize>| {
            digits[range].iter().fold(0, |sum, &digit| sum << 4 | u32::from(digit))
        };
        let side = match digits[1] {
            3 => Side::Caller,
            12 => Side::Callee,
            _ => return None,
        };
        let mark = Mark { side, call: number(2..7), block: number(7..13) };
        (mark.digits() == digits).then_some(mark)
    }

    /// Every whole block in these samples, with the position it begins at.
    #[must_use]
    pub fn marks(&self, samples: &[i16]) -> Vec<(usize, Mark)> {
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(rest) = samples.get(at..).filter(|rest| rest.len() >= BLOCK) {
            if let Some(mark) = self.read(rest) {
                found.push((at, mark));
                at += BLOCK;
            } else {
                at += 1;
            }
        }
        found
    }

    /// True where these samples are the block as a recorder may leave it that corrects a drifting
    /// clock: one sample dropped or doubled, or a packet stretched by one sample with linear
    /// interpolation. Either spoils two groups at most and the sync: in every other group two
    /// neighbours of one sign still meet, so its first and third sample, or its second and fourth,
    /// keep their levels.
    #[must_use]
    pub fn resembles(&self, samples: &[i16], mark: Mark) -> bool {
        let digits = mark.digits();
        let near = |have: Option<&i16>, level: i16| {
            have.is_some_and(|&have| have.abs_diff(level) < STEP.unsigned_abs() / 2)
        };
        let same = |k: usize| {
            let level = self.levels[usize::from(digits[k] & 15)];
            (4 * k - 1..=4 * k + 2)
                .any(|from| near(samples.get(from), level) && near(samples.get(from + 2), -level))
        };
        (1..GROUPS).filter(|&k| same(k)).count() + 2 >= GROUPS - 1
    }

    fn digit(&self, group: &[i16]) -> Option<u8> {
        let &[v, second, third, fourth] = group else { return None };
        let nearest = u8::try_from((v.checked_sub(LOWEST - STEP / 2)?).checked_div(STEP)?).ok()?;
        let level = *self.levels.get(usize::from(nearest))?;
        (v == level && second == v && third == -v && fourth == -v).then_some(nearest)
    }
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positions and levels of a few samples"
)]
mod tests {
    use super::*;

    /// Published values (ITU-T G.711 tables 1a and 2a, scaled to 16 bits), so that the audio is
    /// right by the standard and not only by the crate we and the recorder share.
    #[test]
    fn the_codecs_are_g711() {
        let ulaw = [(0x80, 32124), (0x00, -32124), (0xff, 0), (0x8f, 16764), (0xf0, 120)];
        let alaw = [(0xaa, 32256), (0x2a, -32256), (0xd5, 8), (0x55, -8), (0x80, 5504)];
        for (codec, table) in [(Codec::Pcmu, ulaw), (Codec::Pcma, alaw)] {
            for (code, sample) in table {
                assert_eq!(codec.decode(code), sample, "{codec:?} {code:#x}");
            }
        }
    }

    #[test]
    fn a_block_says_what_was_written() {
        for codec in [Codec::Pcmu, Codec::Pcma] {
            let law = Law::new(codec);
            assert!(law.levels.windows(2).all(|pair| pair[1] - pair[0] > 300));
            for call in [0, 1, 255, 999, MAX_CALL - 1] {
                for block in [0, 1, 2999, 65536, MAX_BLOCK - 1] {
                    for side in Side::BOTH {
                        let mark = Mark { side, call, block };
                        let mut codes = [0; BLOCK];
                        law.write(mark, &mut codes);
                        let heard: Vec<i16> =
                            codes.iter().map(|&code| codec.decode(code)).collect();
                        assert_eq!(heard, law.samples(mark));
                        assert_eq!(law.read(&heard), Some(mark));
                    }
                }
            }
        }
    }

    #[test]
    fn one_wrong_sample_is_seen_and_one_slipped_sample_is_forgiven() {
        let law = Law::new(Codec::Pcmu);
        let mark = Mark { side: Side::Caller, call: 17, block: 1234 };
        for at in 0..BLOCK {
            let mut heard = law.samples(mark).to_vec();
            heard[at] ^= 64;
            assert_eq!(law.read(&heard), None, "at {at}");
            heard = law.samples(mark).to_vec();
            heard.remove(at);
            heard.push(0);
            assert!(law.resembles(&heard, mark), "at {at}");
            assert!(!law.resembles(&heard, Mark { block: 1235, ..mark }));
        }
    }

    /// A packet of two blocks made one sample longer or shorter, as a line through its samples.
    #[test]
    fn a_stretched_packet_is_forgiven() {
        let law = Law::new(Codec::Pcma);
        let marks = [7, 8].map(|block| Mark { side: Side::Callee, call: 3, block });
        let packet = marks.map(|mark| law.samples(mark)).concat();
        for length in [159_u16, 160, 161] {
            let step = 159.0 / f64::from(length - 1);
            let heard: Vec<i16> = (0..length)
                .map(|k| {
                    let at = f64::from(k) * step;
                    let from = (at.floor() as usize).min(158);
                    let (one, two) = (f64::from(packet[from]), f64::from(packet[from + 1]));
                    (one + (two - one) * (at - at.floor())).round() as i16
                })
                .collect();
            assert!(law.resembles(&heard, marks[0]), "{length}");
            let second = usize::from(length) / 2;
            assert!((second - 1..second + 2).any(|at| law.resembles(&heard[at..], marks[1])));
            assert!(!(0..20).any(|at| law.resembles(&heard[at..], marks[1])));
        }
    }
}
