//! G.711 by table (ITU-T G.711; the tables come from `audio-codec-algorithms`), and by arithmetic where eight
//! samples at a time can be shifted each by its own distance (AVX2): half the work, and no table in the cache.
#![expect(unsafe_code, reason = "a function for a processor that was asked; see the one block")]

use std::sync::LazyLock;

/// Which of the two laws.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Law {
    /// North America and Japan: PCMU.
    Mu,
    /// Everywhere else: PCMA.
    A,
}

static MU: LazyLock<[i16; 256]> = LazyLock::new(|| table(audio_codec_algorithms::decode_ulaw));
static A: LazyLock<[i16; 256]> = LazyLock::new(|| table(audio_codec_algorithms::decode_alaw));

fn table(decode: fn(u8) -> i16) -> [i16; 256] {
    let mut table = [0; 256];
    for (code, sample) in (0..=u8::MAX).zip(table.iter_mut()) {
        *sample = decode(code);
    }
    table
}

impl Law {
    #[inline]
    fn table(self) -> &'static [i16; 256] {
        match self {
            Self::Mu => &MU,
            Self::A => &A,
        }
    }
}

/// The sample behind a code.
#[must_use]
pub fn sample(law: Law, code: u8) -> i16 {
    law.table().get(usize::from(code)).copied().unwrap_or(0)
}

/// Loudness of the loudest sample of a payload, 0 to 32768. Below its sign bit a code grows with the
/// loudness (A-law, every other bit inverted) or falls (mu-law): no table is needed to compare them.
#[must_use]
pub fn peak(law: Law, payload: &[u8]) -> u16 {
    let code = match law {
        Law::Mu => payload.iter().fold(0x7f, |least: u8, code| least.min(code & 0x7f)),
        Law::A => payload.iter().fold(0, |most: u8, code| most.max((code ^ 0x55) & 0x7f)) ^ 0x55,
    };
    if payload.is_empty() { 0 } else { sample(law, code).unsigned_abs() }
}

/// Appends the samples of a payload.
pub fn decode(law: Law, payload: &[u8], out: &mut Vec<i16>) {
    let table = law.table();
    out.extend(payload.iter().map(|code| table.get(usize::from(*code)).copied().unwrap_or(0)));
}

/// Writes the samples of a payload into one channel.
#[inline]
pub fn decode_into(law: Law, payload: &[u8], frames: &mut [[i16; 2]], channel: usize) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2")
        && let Ok(words) = bytemuck::try_cast_slice_mut(frames)
    {
        // SAFETY: the processor has just said that it has what the function was compiled for.
        return unsafe { decode_wide(law, payload, words, channel) };
    }
    decode_narrow(law, payload, frames, channel);
}

fn decode_narrow(law: Law, payload: &[u8], frames: &mut [[i16; 2]], channel: usize) {
    if channel == 0 {
        decode_each(law, payload, frames, |[left, _]| left);
    } else {
        decode_each(law, payload, frames, |[_, right]| right);
    }
}

/// Frames as the words they are in memory, the left channel in the low half.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn decode_wide(law: Law, payload: &[u8], words: &mut [u32], channel: usize) {
    match (law, channel) {
        (Law::Mu, 0) => decode_words::<0>(payload, words, expand_mu),
        (Law::Mu, _) => decode_words::<16>(payload, words, expand_mu),
        (Law::A, 0) => decode_words::<0>(payload, words, expand_a),
        (Law::A, _) => decode_words::<16>(payload, words, expand_a),
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn decode_words<const SHIFT: u32>(payload: &[u8], words: &mut [u32], expand: impl Fn(u32) -> u32) {
    for (word, code) in words.iter_mut().zip(payload) {
        *word = *word & !(0xffff << SHIFT) | (expand(u32::from(*code)) & 0xffff) << SHIFT;
    }
}

/// Mu-law: three bits say how far four bits, with a one before them, are shifted; all bits are inverted.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
const fn expand_mu(code: u32) -> u32 {
    let code = !code;
    let size = (((code & 0x0f) << 3 | 0x84) << (code >> 4 & 7)) - 0x84;
    signed(size, code >> 7 & 1)
}

/// A-law: the same, but the two lowest segments are alike; every other bit is inverted.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
const fn expand_a(code: u32) -> u32 {
    let code = code ^ 0x55;
    let segment = code >> 4 & 7;
    let high = if segment > 0 { 1 } else { 0 };
    let size = ((code & 0x0f) << 4 | 8 | high << 8) << (segment - high);
    signed(size, !code >> 7 & 1)
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
const fn signed(size: u32, negative: u32) -> u32 {
    let mask = negative.wrapping_neg();
    (size ^ mask).wrapping_sub(mask)
}

/// Sixteen at a time: a fifth less work than one by one.
#[inline]
fn decode_each(
    law: Law,
    payload: &[u8],
    frames: &mut [[i16; 2]],
    place: impl Fn(&mut [i16; 2]) -> &mut i16,
) {
    let table = law.table();
    let sample = |code: &u8| table.get(usize::from(*code)).copied().unwrap_or(0);
    let (codes, _) = payload.as_chunks::<16>();
    let (whole, _) = frames.as_chunks_mut::<16>();
    for (frames, codes) in whole.iter_mut().zip(codes) {
        for (frame, code) in frames.iter_mut().zip(codes) {
            *place(frame) = sample(code);
        }
    }
    let done = whole.len().min(codes.len()) * 16;
    let codes = payload.get(done..).unwrap_or_default();
    for (frame, code) in frames.get_mut(done..).unwrap_or_default().iter_mut().zip(codes) {
        *place(frame) = sample(code);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_that_of_the_samples() {
        for law in [Law::Mu, Law::A] {
            assert_eq!(peak(law, &[]), 0);
            let mut payload = Vec::new();
            for code in (0..=u8::MAX).rev().map(|n| n.wrapping_mul(37)) {
                payload.push(code);
                payload.drain(..payload.len().saturating_sub(5));
                let want = payload.iter().map(|c| sample(law, *c).unsigned_abs()).max();
                assert_eq!(Some(peak(law, &payload)), want, "{law:?} {payload:?}");
            }
        }
    }

    #[test]
    fn wide_and_narrow_agree() {
        let payload: Vec<u8> = (0..=u8::MAX).chain(0..77).collect();
        for law in [Law::Mu, Law::A] {
            for channel in 0..2 {
                let mut narrow = vec![[-7, 9]; 340];
                let mut either = narrow.clone();
                decode_narrow(law, &payload, &mut narrow, channel);
                decode_into(law, &payload, &mut either, channel);
                assert_eq!(narrow, either, "{law:?} {channel}");
                assert_eq!(narrow[255][channel], sample(law, 255));
            }
        }
    }

    #[test]
    fn the_ends_of_both_scales() {
        assert_eq!([0x00, 0x80, 0x7f, 0xff].map(|c| sample(Law::Mu, c)), [-32124, 32124, 0, 0]);
        assert_eq!([0x2a, 0xaa, 0x55, 0xd5].map(|c| sample(Law::A, c)), [-32256, 32256, -8, 8]);
        let mut frames = [[1, 2]; 3];
        decode_into(Law::Mu, &[0x80, 0x00], &mut frames, 1);
        assert_eq!(frames, [[1, 32124], [1, -32124], [1, 2]]);
        let payload: Vec<u8> = (0..37).collect();
        for length in 0..40 {
            let mut frames = vec![[1, 2]; length];
            decode_into(Law::A, &payload, &mut frames, 0);
            let left = |n: usize| payload.get(n).map_or(1, |code| sample(Law::A, *code));
            assert!(frames.iter().enumerate().all(|(n, frame)| *frame == [left(n), 2]), "{length}");
        }
    }
}
