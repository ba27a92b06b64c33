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

/// Appends the samples of a payload.
pub fn decode(law: Law, payload: &[u8], out: &mut Vec<i16>) {
    let table = law.table();
    out.extend(payload.iter().map(|code| table.get(usize::from(*code)).copied().unwrap_or(0)));
}

/// Writes the samples of a payload into one channel.
#[inline]
pub fn decode_into(law: Law, payload: &[u8], frames: &mut [[i16; 2]], channel: usize) {
    let table = law.table();
    if channel == 0 {
        for ([left, _], code) in frames.iter_mut().zip(payload) {
            *left = table.get(usize::from(*code)).copied().unwrap_or(0);
        }
    } else {
        for ([_, right], code) in frames.iter_mut().zip(payload) {
            *right = table.get(usize::from(*code)).copied().unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_both_scales() {
        assert_eq!([0x00, 0x80, 0x7f, 0xff].map(|c| sample(Law::Mu, c)), [-32124, 32124, 0, 0]);
        assert_eq!([0x2a, 0xaa, 0x55, 0xd5].map(|c| sample(Law::A, c)), [-32256, 32256, -8, 8]);
        let mut frames = [[1, 2]; 3];
        decode_into(Law::Mu, &[0x80, 0x00], &mut frames, 1);
        assert_eq!(frames, [[1, 32124], [1, -32124], [1, 2]]);
    }
}
