//! G.711 by table (ITU-T G.711; the tables come from `audio-codec-algorithms`).

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
    if channel == 0 {
        decode_each(law, payload, frames, |[left, _]| left);
    } else {
        decode_each(law, payload, frames, |[_, right]| right);
    }
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
