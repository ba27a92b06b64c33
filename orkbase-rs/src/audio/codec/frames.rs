//! How packets hold the frames of codecs that are decoded elsewhere: AMR, G.723.1, iLBC, Speex.
//!
//! Law: frames are counted by what the packet says of itself; [`Codec::ticks_in`] and whoever
//! decodes use the same count, so that a packet fills exactly its place.

use super::{Codec, duration};

/// A packet that claims more frames than this says nothing: a second of 20 ms frames.
const MOST: usize = 50;

/// Samples of one G.723.1 frame.
pub const G723_SAMPLES: usize = 240;

/// The whole frames of a G.723.1 payload: the two low bits of the first byte say how long each is
/// (RFC 3551 section 4.5.3).
pub fn g723(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut left = payload;
    std::iter::from_fn(move || {
        let size = match left.first()? & 3 {
            0 => 24,
            1 => 20,
            2 => 4,
            _ => 1,
        };
        let (frame, rest) = left.split_at_checked(size)?;
        left = rest;
        Some(frame)
    })
}

/// The two frames of iLBC (RFC 3952).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IlbcFrame {
    /// 20 ms in 38 bytes.
    Twenty,
    /// 30 ms in 50 bytes.
    Thirty,
}

impl IlbcFrame {
    /// Bytes of one frame.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Twenty => 38,
            Self::Thirty => 50,
        }
    }

    /// Samples of one frame.
    #[must_use]
    pub const fn samples(self) -> usize {
        match self {
            Self::Twenty => 160,
            Self::Thirty => 240,
        }
    }
}

/// The frames in an iLBC payload of `len` bytes where `mode` milliseconds were agreed: the length
/// tells where it can, for the fmtp is often missing or wrong.
#[must_use]
pub const fn ilbc(mode: u8, len: usize) -> IlbcFrame {
    match (len.is_multiple_of(38), len.is_multiple_of(50), mode) {
        (true, false, _) | (true, true, 20) | (false, false, 20) => IlbcFrame::Twenty,
        _ => IlbcFrame::Thirty,
    }
}

/// How AMR frames lie in a payload (RFC 4867 section 4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AmrFormat {
    /// AMR-WB.
    pub wide: bool,
    /// Every frame starts on an octet.
    pub octet_aligned: bool,
    /// A check octet for each frame (`crc=1`).
    pub checksums: bool,
}

/// One AMR frame as AMR files hold it: header octet, then the bits, then zeros.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AmrFrame {
    bytes: [u8; Self::SIZE],
    len: usize,
}

/// Bits of each frame type; those from the silence descriptor on carry none or are never sent.
const AMR_BITS: [usize; 9] = [95, 103, 118, 134, 148, 159, 204, 244, 39];
const AMR_WB_BITS: [usize; 10] = [132, 177, 253, 285, 317, 365, 397, 461, 477, 40];

impl AmrFrame {
    /// Room for the longest frame and a little more, for those who read ahead.
    pub const SIZE: usize = 64;
    /// Nothing was sent, or it was lost.
    pub const NO_DATA: Self = {
        let mut bytes = [0; Self::SIZE];
        bytes[0] = 15 << 3 | 4;
        Self { bytes, len: 1 }
    };

    /// 0 to 8 or 9: audio or a silence descriptor; 15: nothing.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        self.bytes[0] >> 3 & 15
    }

    /// Header and bits.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// The same with zeros up to a fixed size.
    #[must_use]
    pub const fn padded(&self) -> &[u8; Self::SIZE] {
        &self.bytes
    }
}

impl AmrFormat {
    /// The format that an fmtp agreed on; `None` for other codecs and for interleaved or sorted
    /// frames, which are not taken apart here.
    #[must_use]
    pub fn agreed(codec: Codec, fmtp: Option<&str>) -> Option<Self> {
        let Codec::Amr { wide, octet_aligned } = codec else { return None };
        let parameter = |name| duration::parameter(fmtp, name);
        let plain = parameter("interleaving").is_none() && parameter("robust-sorting") != Some("1");
        let checksums = parameter("crc") == Some("1");
        plain.then_some(Self { wide, octet_aligned, checksums })
    }

    /// Samples of one frame.
    #[must_use]
    pub const fn samples(self) -> usize {
        if self.wide { 320 } else { 160 }
    }

    /// Frames of a payload, from its table of contents alone; 0 where that has no end.
    #[must_use]
    pub fn count(self, payload: &[u8]) -> usize {
        self.table(payload).count
    }

    /// The frames of a payload. Those that were cut off, damaged on the way or of a type that is
    /// never sent are [`AmrFrame::NO_DATA`].
    pub fn frames(self, payload: &[u8]) -> impl Iterator<Item = AmrFrame> {
        let table = self.table(payload);
        let mut at = table.end;
        (0..table.count).map(move |n| {
            let entry = self.entry(payload, n);
            let bits = self.bits(entry);
            let from = at;
            at += if self.octet_aligned { bits.next_multiple_of(8) } else { bits };
            // Quality 0: something other than silence was damaged before it was packed.
            if bits == 0 || entry & 1 == 0 || at > payload.len() * 8 {
                return AmrFrame::NO_DATA;
            }
            let mut frame = AmrFrame { bytes: [0; AmrFrame::SIZE], len: 1 + bits.div_ceil(8) };
            let (header, body) = frame.bytes.split_at_mut(1);
            header.fill((entry >> 1 & 15) << 3 | 4);
            for (n, byte) in body.iter_mut().take(bits.div_ceil(8)).enumerate() {
                let width = (bits - n * 8).min(8);
                *byte = bits_at(payload, from + n * 8, width) << (8 - width);
            }
            frame
        })
    }

    /// "Another follows", type, quality: six bits.
    fn entry(self, payload: &[u8], n: usize) -> u8 {
        if self.octet_aligned {
            bits_at(payload, 8 + n * 8, 6)
        } else {
            bits_at(payload, 4 + n * 6, 6)
        }
    }

    fn bits(self, entry: u8) -> usize {
        let sizes = if self.wide { &AMR_WB_BITS[..] } else { &AMR_BITS };
        sizes.get(usize::from(entry >> 1 & 15)).copied().unwrap_or(0)
    }

    fn table(self, payload: &[u8]) -> Table {
        let (start, step) = if self.octet_aligned { (8, 8) } else { (4, 6) };
        let mut sent = 0;
        for n in 0..MOST {
            let end = start + (n + 1) * step;
            // The quality bit may be cut off: the frame has its place all the same.
            if start + n * step >= payload.len() * 8 {
                break;
            }
            let entry = self.entry(payload, n);
            sent += usize::from(self.bits(entry) > 0);
            if entry & 0x20 == 0 {
                let checks = if self.octet_aligned && self.checksums { sent * 8 } else { 0 };
                return Table { count: n + 1, end: end + checks };
            }
        }
        Table { count: 0, end: 0 }
    }
}

/// Table of contents of an AMR payload.
struct Table {
    count: usize,
    /// Bit where the first frame starts.
    end: usize,
}

/// Up to eight bits from bit `at` on, first bit highest; zeros behind the end.
fn bits_at(payload: &[u8], at: usize, width: usize) -> u8 {
    let byte = |n: usize| u16::from(payload.get(n).copied().unwrap_or(0));
    let pair = byte(at / 8) << 8 | byte(at / 8 + 1);
    let [_, bits] = (pair >> (16 - at % 8 - width) & ((1 << width) - 1)).to_be_bytes();
    bits
}

/// The three bandwidths of Speex.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SpeexBand {
    /// 8 kHz.
    Narrow,
    /// 16 kHz.
    Wide,
    /// 32 kHz.
    UltraWide,
}

/// Bits of a narrow frame by its four bits of mode, those included; 0 where a mode is no frame.
const SPEEX_BITS: [usize; 16] = [5, 43, 119, 160, 220, 300, 364, 492, 79, 0, 0, 0, 0, 0, 0, 0];
/// Bits of a layer above it by its three bits of mode.
const SPEEX_LAYER_BITS: [usize; 5] = [4, 36, 112, 192, 352];
/// Those modes that are more than silence.
const SPEEX_LAYER_MODES: [u8; 4] = [1, 2, 3, 4];

impl SpeexBand {
    /// The band that a sampling rate means; other rates than the three are somebody's clock error.
    #[must_use]
    pub const fn of(rate: u32) -> Self {
        match rate {
            ..12_500 => Self::Narrow,
            12_500..25_000 => Self::Wide,
            25_000.. => Self::UltraWide,
        }
    }

    /// Samples of one frame: 20 ms.
    #[must_use]
    pub const fn samples(self) -> usize {
        match self {
            Self::Narrow => 160,
            Self::Wide => 320,
            Self::UltraWide => 640,
        }
    }

    /// Frames of a payload: their modes say how long they are (RFC 5574 section 3.3). Counting ends
    /// at the terminator, at the end, and at whatever is no frame.
    #[must_use]
    pub fn count(self, payload: &[u8]) -> usize {
        let end = payload.len() * 8;
        let mut at = 0;
        let mut frames = 0;
        while frames < MOST {
            // Layers that this band has no use for; libspeex can pass over one or two, but not
            // over silent ones.
            let Some(next) = layers(payload, at, &[&SPEEX_LAYER_MODES, &SPEEX_LAYER_MODES]) else {
                break;
            };
            at = next;
            if at + 5 > end {
                break;
            }
            // A third layer reads as a mode that there is none of.
            match usize::from(bits_at(payload, at, 5)) {
                // In-band signals: four bits of number, then as many bits as the number means.
                14 => {
                    at += 9 + match bits_at(payload, at + 5, 4) {
                        0..2 => 1,
                        2..8 => 4,
                        8..10 => 8,
                        10..12 => 16,
                        12..14 => 32,
                        _ => 64,
                    };
                }
                // The user's own, as libspeex reads it: four bits of length, five more, octets.
                13 => at += 14 + 8 * usize::from(bits_at(payload, at + 5, 4)),
                mode => {
                    let bits = SPEEX_BITS.get(mode).copied().unwrap_or(0);
                    let Some(next) = layers(payload, at + bits, self.layers()) else { break };
                    if bits == 0 || at + bits > end {
                        break;
                    }
                    at = next;
                    frames += 1;
                }
            }
        }
        frames
    }

    /// The modes that each layer above the narrow frame may have.
    const fn layers(self) -> &'static [&'static [u8]] {
        match self {
            Self::Narrow => &[],
            Self::Wide => &[&[0, 1, 2, 3, 4]],
            Self::UltraWide => &[&[0, 1, 2, 3, 4], &[0, 1]],
        }
    }
}

/// Where the layers end that start at `at`, at most one for each list of modes; `None` where one
/// is not whole or has a mode that is not in its list.
fn layers(payload: &[u8], mut at: usize, modes: &[&[u8]]) -> Option<usize> {
    let end = payload.len() * 8;
    for modes in modes {
        if at + 5 > end || bits_at(payload, at, 1) == 0 {
            break;
        }
        let mode = bits_at(payload, at + 1, 3);
        at += SPEEX_LAYER_BITS.get(usize::from(mode)).copied()?;
        if at > end || !modes.contains(&mode) {
            return None;
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::super::tests::noise;
    use super::*;

    const BANDWIDTH_EFFICIENT: AmrFormat =
        AmrFormat { wide: false, octet_aligned: false, checksums: false };
    const OCTETS: AmrFormat = AmrFormat { octet_aligned: true, ..BANDWIDTH_EFFICIENT };

    /// Packs `(type, quality, bits)`; the other way round than [`AmrFormat::frames`] and one bit
    /// at a time.
    fn packed(format: AmrFormat, frames: &[(u8, bool, Vec<bool>)]) -> Vec<u8> {
        let mut bits = vec![true; 4];
        let octets = |bits: &mut Vec<bool>| {
            if format.octet_aligned {
                bits.resize(bits.len().next_multiple_of(8), false);
            }
        };
        octets(&mut bits);
        for (n, (kind, quality, _)) in frames.iter().enumerate() {
            bits.push(n + 1 < frames.len());
            bits.extend((0..4).rev().map(|bit| kind >> bit & 1 == 1));
            bits.push(*quality);
            octets(&mut bits);
        }
        if format.checksums {
            let sent = frames.iter().filter(|frame| !frame.2.is_empty()).count();
            bits.resize(bits.len() + 8 * sent, true);
        }
        for frame in frames {
            bits.extend(&frame.2);
            octets(&mut bits);
        }
        let byte = |bits: &[bool]| {
            (0..8).fold(0, |byte, n| byte << 1 | u8::from(bits.get(n) == Some(&true)))
        };
        bits.chunks(8).map(byte).collect()
    }

    #[test]
    fn amr_frames_are_the_same_in_either_packing() {
        let random: Vec<bool> =
            noise(200).iter().flat_map(|b| (0..8).map(move |n| b >> n & 1 == 1)).collect();
        for wide in [false, true] {
            let last = if wide { 9 } else { 8 };
            let sizes = if wide { &AMR_WB_BITS[..] } else { &AMR_BITS };
            let frames: Vec<_> = (0..=last)
                .map(|kind| (kind, true, random[..sizes[usize::from(kind)]].to_vec()))
                .chain([(15, true, Vec::new()), (3, false, random[..sizes[3]].to_vec())])
                .chain([(0, true, random[1..=sizes[0]].to_vec())])
                .collect();
            for (octet_aligned, checksums) in [(false, false), (true, false), (true, true)] {
                let format = AmrFormat { wide, octet_aligned, checksums };
                let payload = packed(format, &frames);
                assert_eq!(format.count(&payload), frames.len());
                let found: Vec<_> = format.frames(&payload).collect();
                assert_eq!(found.len(), frames.len());
                for (frame, (kind, quality, bits)) in found.iter().zip(&frames) {
                    if !*quality || bits.is_empty() {
                        assert_eq!(*frame, AmrFrame::NO_DATA);
                        continue;
                    }
                    assert_eq!(frame.kind(), *kind);
                    assert_eq!(frame.as_bytes()[0], kind << 3 | 4);
                    assert_eq!(frame.as_bytes().len(), 1 + bits.len().div_ceil(8));
                    let unpacked =
                        (0..bits.len()).map(|n| frame.padded()[1 + n / 8] >> (7 - n % 8) & 1 == 1);
                    assert!(unpacked.eq(bits.iter().copied()), "type {kind}");
                }
                // Cut short: the same places, fewer frames in them.
                let cut = &payload[..payload.len() - 1];
                assert_eq!(format.frames(cut).last(), Some(AmrFrame::NO_DATA));
                assert_eq!(format.count(cut), frames.len());
            }
        }
    }

    #[test]
    fn amr_tables_without_an_end_are_no_packets() {
        for len in [0, 1, 3, 200] {
            assert_eq!(BANDWIDTH_EFFICIENT.count(&vec![0xff; len]), 0);
            assert_eq!(OCTETS.count(&vec![0xff; len]), 0);
        }
        assert_eq!(OCTETS.count(&[0xf0, 0x7c]), 1);
    }

    #[test]
    fn amr_formats_that_scatter_frames_are_left_alone() {
        let amr = |fmtp| {
            let codec = Codec::named("AMR", 8_000, 1, Some(fmtp)).unwrap();
            AmrFormat::agreed(codec, Some(fmtp))
        };
        assert_eq!(amr("mode-set=7"), Some(BANDWIDTH_EFFICIENT));
        assert_eq!(amr("octet-align=1"), Some(OCTETS));
        assert_eq!(amr("crc=1"), Some(AmrFormat { checksums: true, ..OCTETS }));
        assert_eq!(amr("octet-align=1; interleaving=4"), None);
        assert_eq!(amr("robust-sorting=1"), None);
        assert_eq!(AmrFormat::agreed(Codec::Opus, None), None);
    }

    #[test]
    fn speex_modes_say_how_long_frames_are() {
        let narrow = |payload: &[u8]| SpeexBand::Narrow.count(payload);
        // Mode 3, 160 bits, twice in 40 bytes.
        let mut payload = [0; 40];
        payload[0] = 3 << 3;
        payload[20] = 3 << 3;
        assert_eq!(narrow(&payload), 2);
        assert_eq!(narrow(&payload[..39]), 1);
        // Mode 8, 79 bits, one bit of padding that starts no frame.
        assert_eq!(narrow(&[8 << 3, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 1);
        // Mode 0 is five bits of silence; then the terminator.
        assert_eq!(narrow(&[0b0000_0011, 0b1100_0000]), 1);
        // Mode 3 with a layer of mode 1 above it: 196 bits, then the terminator.
        let mut wide = [0; 26];
        wide[0] = 3 << 3;
        wide[20] = 0b1001_0000;
        wide[24] = 0b0000_0111;
        wide[25] = 0b1000_0000;
        assert_eq!(SpeexBand::Wide.count(&wide), 1);
        assert_eq!(narrow(&[15 << 3, 0, 0]), 0);
        assert_eq!(narrow(&[]), 0);
        for at in 0..2_000 {
            let junk = &noise(2_040)[at..][..at % 40];
            assert!(narrow(junk) <= junk.len() * 8 / 5);
        }
    }
}
