//! G.711 by table (ITU-T G.711; the tables come from `audio-codec-algorithms`), and by arithmetic where sixteen
//! (AVX2) or thirty-two (AVX-512) samples at a time can each be multiplied by what its segment says: a quarter
//! or a tenth of the work, and no table in the cache.
#![expect(unsafe_code, reason = "functions for a processor that was asked; see the blocks")]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::__m256i;
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

/// Writes the samples of a payload into one channel; gives the [`peak`] of the whole payload, even where
/// there are fewer frames.
#[inline]
pub fn decode_into(law: Law, payload: &[u8], frames: &mut [[i16; 2]], channel: usize) -> u16 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2")
        && let Ok(words) = bytemuck::try_cast_slice_mut(frames)
    {
        if std::arch::is_x86_feature_detected!("avx512bw")
            && std::arch::is_x86_feature_detected!("avx512vl")
        {
            // SAFETY: the processor has just said that it has what the function was compiled for.
            return unsafe { decode_widest(law, payload, words, channel) };
        }
        // SAFETY: the same.
        unsafe { decode_wide(law, payload, words, channel) };
        return peak(law, payload);
    }
    decode_narrow(law, payload, frames, channel);
    peak(law, payload)
}

/// The same, thirty-two at a time, and what is left as [`decode_wide`] does.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
fn decode_widest(law: Law, payload: &[u8], words: &mut [u32], channel: usize) -> u16 {
    let (codes, _) = payload.as_chunks::<32>();
    let (whole, _) = words.as_chunks_mut::<32>();
    let done = whole.len().min(codes.len());
    let loudest = match (law, channel) {
        (Law::Mu, 0) => widest::decode::<false, false>(codes, whole),
        (Law::Mu, _) => widest::decode::<false, true>(codes, whole),
        (Law::A, 0) => widest::decode::<true, false>(codes, whole),
        (Law::A, _) => widest::decode::<true, true>(codes, whole),
    };
    let most = if done > 0 { expanded(law, loudest) } else { 0 };
    let done = done * 32;
    match payload.get(done..) {
        None | Some([]) => most,
        Some(rest) => {
            decode_wide(law, rest, words.get_mut(done..).unwrap_or_default(), channel);
            most.max(peak(law, rest))
        }
    }
}

/// Loudness of a code whose bits but the sign's are such that they grow with it.
#[cfg(target_arch = "x86_64")]
#[inline]
const fn expanded(law: Law, loudness: u8) -> u16 {
    let segment = loudness >> 4;
    let low = (loudness & 0x0f) as u16;
    match law {
        Law::Mu => ((low << 3 | 0x84) << segment) - 0x84,
        Law::A if segment == 0 => low << 4 | 8,
        Law::A => (low << 4 | 0x108) << (segment - 1),
    }
}

fn decode_narrow(law: Law, payload: &[u8], frames: &mut [[i16; 2]], channel: usize) {
    if channel == 0 {
        decode_each(law, payload, frames, |[left, _]| left);
    } else {
        decode_each(law, payload, frames, |[_, right]| right);
    }
}

/// Frames as the words they are in memory, the left channel in the low half; sixteen at a time, what is left one
/// by one.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn decode_wide(law: Law, payload: &[u8], words: &mut [u32], channel: usize) {
    match (law, channel) {
        (Law::Mu, 0) => decode_words::<0>(payload, words, wide::expand_mu, expand_mu),
        (Law::Mu, _) => decode_words::<16>(payload, words, wide::expand_mu, expand_mu),
        (Law::A, 0) => decode_words::<0>(payload, words, wide::expand_a, expand_a),
        (Law::A, _) => decode_words::<16>(payload, words, wide::expand_a, expand_a),
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
fn decode_words<const SHIFT: u32>(
    payload: &[u8],
    words: &mut [u32],
    expand: unsafe fn([u8; 16]) -> __m256i,
    expand_one: fn(u32) -> u32,
) {
    let (codes, odd) = payload.as_chunks::<16>();
    let (whole, _) = words.as_chunks_mut::<16>();
    for (words, codes) in whole.iter_mut().zip(codes) {
        // SAFETY: it wants AVX2, which this function was compiled for.
        let samples = unsafe { expand(*codes) };
        *words = wide::place::<SHIFT>(samples, *words);
    }
    let done = whole.len().min(codes.len()) * 16;
    let rest = if done == codes.len() * 16 { odd } else { payload.get(done..).unwrap_or_default() };
    for (word, code) in words.get_mut(done..).unwrap_or_default().iter_mut().zip(rest) {
        *word = *word & !(0xffff << SHIFT) | (expand_one(u32::from(*code)) & 0xffff) << SHIFT;
    }
}

/// Sixteen samples in one register.
#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::*;

    /// The codes in lanes of 16 bits, some of their bits inverted.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn lanes(codes: [u8; 16], inverted: i16) -> __m256i {
        let codes = _mm256_cvtepu8_epi16(bytemuck::must_cast(codes));
        _mm256_xor_si256(codes, _mm256_set1_epi16(inverted))
    }

    /// Of eight bytes that one which the segment of each lane names: what it multiplies by.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn by_segment(codes: __m256i, factors: i64) -> __m256i {
        let segment = _mm256_and_si256(_mm256_srli_epi16::<4>(codes), _mm256_set1_epi16(7));
        // The high byte of a lane asks for none.
        let index = _mm256_or_si256(segment, _mm256_set1_epi16(i16::MIN));
        _mm256_shuffle_epi8(_mm256_set1_epi64x(factors), index)
    }

    /// Negative where bit 7 of the code is set.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn signed(size: __m256i, codes: __m256i) -> __m256i {
        let mask = _mm256_srai_epi16::<15>(_mm256_slli_epi16::<8>(codes));
        _mm256_sub_epi16(_mm256_xor_si256(size, mask), mask)
    }

    /// As the function of this name for one code.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn expand_mu(codes: [u8; 16]) -> __m256i {
        let codes = lanes(codes, 0xff);
        let bias = _mm256_set1_epi16(0x84);
        let low = _mm256_slli_epi16::<3>(_mm256_and_si256(codes, _mm256_set1_epi16(0x0f)));
        let factor = by_segment(codes, i64::from_le_bytes([1, 2, 4, 8, 16, 32, 64, 128]));
        let size = _mm256_mullo_epi16(_mm256_or_si256(low, bias), factor);
        signed(_mm256_sub_epi16(size, bias), codes)
    }

    /// As the function of this name for one code.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn expand_a(codes: [u8; 16]) -> __m256i {
        let codes = lanes(codes, 0xd5);
        let low = _mm256_slli_epi16::<4>(_mm256_and_si256(codes, _mm256_set1_epi16(0x0f)));
        let factor = by_segment(codes, i64::from_le_bytes([1, 1, 2, 4, 8, 16, 32, 64]));
        // The one before the four bits; the lowest segment has none.
        let one = by_segment(codes, i64::from_le_bytes([0, 1, 1, 1, 1, 1, 1, 1]));
        let high = _mm256_or_si256(_mm256_slli_epi16::<8>(one), _mm256_set1_epi16(8));
        signed(_mm256_mullo_epi16(_mm256_or_si256(low, high), factor), codes)
    }

    /// Puts sixteen samples into one half of sixteen words.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn place<const SHIFT: u32>(samples: __m256i, words: [u32; 16]) -> [u32; 16] {
        let [first, second]: [__m256i; 2] = bytemuck::must_cast(words);
        let low = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(samples));
        let high = _mm256_cvtepu16_epi32(_mm256_extracti128_si256::<1>(samples));
        bytemuck::must_cast(if SHIFT == 0 {
            [_mm256_blend_epi16::<0x55>(first, low), _mm256_blend_epi16::<0x55>(second, high)]
        } else {
            let (low, high) = (_mm256_slli_epi32::<16>(low), _mm256_slli_epi32::<16>(high));
            [_mm256_blend_epi16::<0xaa>(first, low), _mm256_blend_epi16::<0xaa>(second, high)]
        })
    }
}

/// Thirty-two samples in one register.
#[cfg(target_arch = "x86_64")]
mod widest {
    use std::arch::x86_64::*;

    /// Which sample each word of sixteen frames takes: both channels of a frame the same.
    #[inline]
    fn spread(first: u16) -> [u16; 32] {
        let mut twice = first * 2;
        std::array::from_fn(|_| {
            twice += 1;
            (twice - 1) / 2
        })
    }

    /// Decodes as long as there are both codes and frames, into the left or the `RIGHT` channel. Gives the
    /// loudest code, as [`expanded`](super::expanded) wants it.
    #[inline]
    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
    pub(super) fn decode<const A: bool, const RIGHT: bool>(
        codes: &[[u8; 32]],
        words: &mut [[u32; 32]],
    ) -> u8 {
        let inverted = _mm256_set1_epi8(if A { 0x55 | i8::MIN } else { -1 });
        let rising = _mm256_set1_epi8(0x7f);
        let channel = if RIGHT { 0xaaaa_aaaa } else { 0x5555_5555 };
        let (first, second) = (bytemuck::must_cast(spread(0)), bytemuck::must_cast(spread(16)));
        let mut most = _mm256_setzero_si256();
        for (words, codes) in words.iter_mut().zip(codes) {
            let codes = _mm256_xor_si256(bytemuck::must_cast(*codes), inverted);
            most = _mm256_max_epu8(most, _mm256_and_si256(codes, rising));
            let samples = expand::<A>(codes);
            let [before, after]: [__m512i; 2] = bytemuck::must_cast(*words);
            *words = bytemuck::must_cast([
                _mm512_mask_permutexvar_epi16(before, channel, first, samples),
                _mm512_mask_permutexvar_epi16(after, channel, second, samples),
            ]);
        }
        loudest(most)
    }

    /// Codes with their bits inverted as their law wants; see [`super::expand_mu`] and [`super::expand_a`].
    #[inline]
    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
    fn expand<const A: bool>(codes: __m256i) -> __m512i {
        /// Two of three: `a & b | c`.
        const AND_OR: i32 = 0xea;
        let negative = _mm256_movepi8_mask(codes);
        let wide = _mm512_cvtepu8_epi16(codes);
        // The high byte of a lane asks for no factor.
        let (seven, none) = (_mm512_set1_epi16(7), _mm512_set1_epi16(i16::MIN));
        let segment =
            _mm512_ternarylogic_epi32::<AND_OR>(_mm512_srli_epi16::<4>(wide), seven, none);
        let by_segment = |factors: [u8; 8]| {
            _mm512_shuffle_epi8(_mm512_set1_epi64(i64::from_le_bytes(factors)), segment)
        };
        let size = if A {
            let low = _mm512_and_si512(_mm512_slli_epi16::<4>(wide), _mm512_set1_epi16(0xf0));
            // The one before the four bits; the lowest segment has none.
            let one = _mm512_slli_epi16::<8>(by_segment([0, 1, 1, 1, 1, 1, 1, 1]));
            let eight = _mm512_set1_epi16(8);
            /// Any of three.
            const OR: i32 = 0xfe;
            let low = _mm512_ternarylogic_epi32::<OR>(low, one, eight);
            _mm512_mullo_epi16(low, by_segment([1, 1, 2, 4, 8, 16, 32, 64]))
        } else {
            let bias = _mm512_set1_epi16(0x84);
            let (low, bits) = (_mm512_slli_epi16::<3>(wide), _mm512_set1_epi16(0x78));
            let low = _mm512_ternarylogic_epi32::<AND_OR>(low, bits, bias);
            let size = _mm512_mullo_epi16(low, by_segment([1, 2, 4, 8, 16, 32, 64, 128]));
            _mm512_sub_epi16(size, bias)
        };
        _mm512_mask_sub_epi16(size, negative, _mm512_setzero_si512(), size)
    }

    /// The largest of 32 bytes.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn loudest(most: __m256i) -> u8 {
        let half = _mm_max_epu8(_mm256_castsi256_si128(most), _mm256_extracti128_si256::<1>(most));
        let pairs = _mm_max_epu8(half, _mm_srli_epi16::<8>(half));
        // The least of eight words is found by one instruction: the largest, of what they lack.
        let lacking =
            _mm_sub_epi16(_mm_set1_epi16(0xff), _mm_and_si128(pairs, _mm_set1_epi16(0xff)));
        let [least, _, ..]: [u8; 16] = bytemuck::must_cast(_mm_minpos_epu16(lacking));
        0xff - least
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
    fn every_code_in_every_place() {
        for law in [Law::Mu, Law::A] {
            for length in [0, 1, 15, 16, 31, 32, 33, 63, 64, 80, 159, 160, 161, 240] {
                for first in 0..=u8::MAX {
                    let payload: Vec<u8> =
                        (0..length).map(|n: u8| first.wrapping_add(n.wrapping_mul(7))).collect();
                    let mut frames = vec![[3, 4]; payload.len()];
                    let channel = usize::from(first % 2);
                    let loudest = decode_into(law, &payload, &mut frames, channel);
                    assert_eq!(loudest, peak(law, &payload), "{law:?} {payload:?}");
                    for (frame, code) in frames.iter().zip(&payload) {
                        assert_eq!(frame[channel], sample(law, *code), "{law:?} {code}");
                        assert_eq!(frame[1 - channel], [4, 3][channel]);
                    }
                }
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
