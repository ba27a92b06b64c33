//! Audio decoders: RTP payloads in, 16-bit mono samples out.
//!
//! Law: a decoder is a pure state machine over one stream. Any bytes give samples or a
//! [`DecodeError`]; on an error nothing was appended and the state is as before. The output of
//! [`Decoder::decode`] is bounded: five samples for each byte of the payload, for Opus 120 ms a
//! packet. Codecs that are not ours to write come from a [`DecoderSource`].
//! Not here: which payload type means which codec (SDP), placing packets on a timeline, mixing.

mod cn;
mod conceal;
mod duration;
mod dvi4;
pub mod frames;
mod g711;
mod g722;
mod g726;
mod gsm;
mod l16;
mod opus;

pub use conceal::{Concealer, Filler};

use std::fmt;

/// One decoder per stream; codecs with state must see payloads in order.
pub trait Decoder: Send {
    /// Samples a second that come out; for G.722 twice its RTP clock.
    fn sample_rate(&self) -> u32;

    /// Decodes one RTP payload to mono, appended to `out`; returns how many samples that was.
    ///
    /// A trailing partial frame is ignored. Comfort noise gives no samples here: its length is
    /// not in the packet, ask [`Decoder::conceal`] for as much as the silence lasted.
    ///
    /// # Errors
    /// When no whole frame is in `payload`; `out` is then unchanged.
    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<usize, DecodeError>;

    /// Appends exactly `samples` in place of lost audio: what the codec itself makes up, or else
    /// the last pitch period, fading to silence at 60 ms. The caller bounds `samples`.
    fn conceal(&mut self, samples: usize, out: &mut Vec<i16>);

    /// As [`Self::conceal`], for a gap that ends where the payload `next` begins: some packets
    /// carry a coarser copy of the frame before them (Opus in-band FEC). `next` itself is decoded
    /// afterwards as always.
    fn conceal_with_next(&mut self, next: &[u8], samples: usize, out: &mut Vec<i16>) {
        let _no_copy = next;
        self.conceal(samples, out);
    }
}

/// Where decoders come from: the core has its own, a program may have more.
pub trait DecoderSource: Send + Sync {
    /// A fresh decoder for a stream of `codec` under the format parameters `fmtp`, or `None` when
    /// there is none. Its [`Decoder::sample_rate`] is [`Codec::sample_rate`], and a payload gives
    /// as many samples as [`Codec::ticks_in`] says.
    fn decoder(&self, codec: Codec, fmtp: Option<&str>) -> Option<Box<dyn Decoder>>;
}

/// The decoders of this crate alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct BuiltIn;

impl DecoderSource for BuiltIn {
    fn decoder(&self, codec: Codec, _fmtp: Option<&str>) -> Option<Box<dyn Decoder>> {
        codec.decoder()
    }
}

/// Why a payload gave no audio.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DecodeError {
    /// Fewer bytes than the smallest frame.
    Short {
        /// Bytes in the payload.
        got: usize,
        /// Bytes the smallest frame needs.
        need: usize,
    },
    /// Bytes that this codec never sends.
    Foreign {
        /// Where in the payload.
        offset: usize,
        /// The broken law.
        why: &'static str,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { got, need } => write!(f, "payload of {got} bytes, a frame needs {need}"),
            Self::Foreign { offset, why } => write!(f, "{why} at byte {offset}"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// An audio format as SDP names it, with all that its payloads need to be understood.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Codec {
    /// G.711 mu-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
    /// Linear 16-bit, big-endian, channels interleaved (RFC 3551 section 4.5.11).
    L16 {
        /// Samples a second and channel.
        rate: u32,
        /// Interleaved channels.
        channels: u8,
    },
    /// G.722 at 64 kbit/s: 16 kHz audio under an RTP clock of 8000 (RFC 3551 section 4.5.2).
    G722,
    /// G.726, and G.721 which is its 32 kbit/s mode.
    G726 {
        /// Bits a sample.
        size: CodeSize,
        /// Which end of an octet comes first.
        packing: Packing,
    },
    /// IMA ADPCM with a header in each packet (RFC 3551 section 4.5.1).
    Dvi4 {
        /// Samples a second.
        rate: u32,
    },
    /// GSM 06.10 full rate, 33-byte frames (RFC 3551 section 4.5.8).
    Gsm,
    /// Comfort noise (RFC 3389).
    ComfortNoise {
        /// Samples a second.
        rate: u32,
    },
    /// G.729, A and AB: timed here, decoded elsewhere ([`DecoderSource`]).
    G729,
    /// G.723.1: timed here, decoded elsewhere ([`DecoderSource`]).
    G723,
    /// Internet low bitrate codec: timed here, decoded elsewhere ([`DecoderSource`]).
    Ilbc {
        /// Milliseconds a frame, 20 or 30.
        mode: u8,
    },
    /// Opus: any bandwidth and frame length, at 48 kHz.
    Opus,
    /// AMR, narrow or wide: timed here, decoded elsewhere ([`DecoderSource`]).
    Amr {
        /// AMR-WB at 16 kHz.
        wide: bool,
        /// `octet-align=1` was agreed (RFC 4867).
        octet_aligned: bool,
    },
    /// Speex: timed here, decoded elsewhere ([`DecoderSource`]).
    Speex {
        /// Samples a second.
        rate: u32,
    },
}

/// Bits that one G.726 sample takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CodeSize {
    /// 16 kbit/s.
    Two,
    /// 24 kbit/s.
    Three,
    /// 32 kbit/s.
    Four,
    /// 40 kbit/s.
    Five,
}

impl CodeSize {
    /// The number.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Two => 2,
            Self::Three => 3,
            Self::Four => 4,
            Self::Five => 5,
        }
    }
}

/// How G.726 codes share octets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Packing {
    /// First code in the least significant bits: `G726-xx` (RFC 3551 section 4.5.4).
    LowFirst,
    /// First code in the most significant bits, as in ATM AAL2: `AAL2-G726-xx`.
    HighFirst,
}

/// Sampling rates from 8 to 48 kHz: what the decoders accept where RTP leaves the rate open.
const RATES: std::ops::RangeInclusive<u32> = 8_000..=48_000;

impl Codec {
    /// The codec behind an `a=rtpmap` and its `a=fmtp`; `None` when we do not know it. Names are
    /// compared without case; `channels` of 0 means not stated.
    #[must_use]
    pub fn named(name: &str, clock_rate: u32, channels: u8, fmtp: Option<&str>) -> Option<Self> {
        if !RATES.contains(&clock_rate) {
            return None;
        }
        let found = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?.1;
        let channels = channels.max(1);
        let codec = match found {
            Self::L16 { .. } if channels <= 8 => {
                return Some(Self::L16 { rate: clock_rate, channels });
            }
            // Opus is always announced as two channels.
            Self::Opus => return (clock_rate == 48_000).then_some(Self::Opus),
            Self::Dvi4 { .. } => Self::Dvi4 { rate: clock_rate },
            Self::ComfortNoise { .. } => Self::ComfortNoise { rate: clock_rate },
            Self::Speex { .. } => Self::Speex { rate: clock_rate },
            Self::Ilbc { .. } => Self::Ilbc { mode: duration::ilbc_mode(fmtp) },
            Self::Amr { wide, .. } => {
                Self::Amr { wide, octet_aligned: duration::octet_aligned(fmtp) }
            }
            // Some phones announce the true 16 kHz instead of RFC 3551's 8000.
            Self::G722 if clock_rate == 16_000 => Self::G722,
            Self::L16 { .. }
            | Self::Pcmu
            | Self::Pcma
            | Self::G722
            | Self::G726 { .. }
            | Self::Gsm
            | Self::G729
            | Self::G723 => (clock_rate == 8_000).then_some(found)?,
        };
        (channels == 1).then_some(codec)
    }

    /// The codec of a payload type that RFC 3551 fixed for all time.
    #[must_use]
    pub const fn of_payload_type(payload_type: u8) -> Option<Self> {
        match payload_type {
            0 => Some(Self::Pcmu),
            2 => Some(Self::G726 { size: CodeSize::Four, packing: Packing::LowFirst }),
            3 => Some(Self::Gsm),
            4 => Some(Self::G723),
            5 => Some(Self::Dvi4 { rate: 8_000 }),
            6 => Some(Self::Dvi4 { rate: 16_000 }),
            8 => Some(Self::Pcma),
            9 => Some(Self::G722),
            10 => Some(Self::L16 { rate: 44_100, channels: 2 }),
            11 => Some(Self::L16 { rate: 44_100, channels: 1 }),
            13 | 19 => Some(Self::ComfortNoise { rate: 8_000 }),
            16 => Some(Self::Dvi4 { rate: 11_025 }),
            17 => Some(Self::Dvi4 { rate: 22_050 }),
            18 => Some(Self::G729),
            _ => None,
        }
    }

    /// Ticks a second of the RTP timestamps.
    #[must_use]
    pub const fn clock_rate(self) -> u32 {
        match self {
            Self::L16 { rate, .. }
            | Self::Dvi4 { rate }
            | Self::ComfortNoise { rate }
            | Self::Speex { rate } => rate,
            Self::Opus => 48_000,
            Self::Amr { wide: true, .. } => 16_000,
            Self::Pcmu
            | Self::Pcma
            | Self::G722
            | Self::G726 { .. }
            | Self::Gsm
            | Self::G729
            | Self::G723
            | Self::Ilbc { .. }
            | Self::Amr { wide: false, .. } => 8_000,
        }
    }

    /// Samples a second of the audio; differs from [`Self::clock_rate`] for G.722 alone.
    #[must_use]
    pub const fn sample_rate(self) -> u32 {
        match self {
            Self::G722 => 16_000,
            Self::L16 { .. }
            | Self::Dvi4 { .. }
            | Self::ComfortNoise { .. }
            | Self::Speex { .. }
            | Self::Opus
            | Self::Amr { .. }
            | Self::Pcmu
            | Self::Pcma
            | Self::G726 { .. }
            | Self::Gsm
            | Self::G729
            | Self::G723
            | Self::Ilbc { .. } => self.clock_rate(),
        }
    }

    /// How long a payload lasts, in ticks of [`Self::clock_rate`]: what [`Decoder::decode`] would
    /// give, known without decoding. 0 for comfort noise and for payloads without a whole frame.
    #[must_use]
    pub fn ticks_in(self, payload: &[u8]) -> u32 {
        duration::ticks_in(self, payload)
    }

    /// A fresh decoder of our own, or `None` when this codec is decoded elsewhere.
    #[must_use]
    pub fn decoder(self) -> Option<Box<dyn Decoder>> {
        use conceal::Concealed;
        Some(match self {
            Self::Pcmu => Box::new(Concealed::new(g711::Pcmu)),
            Self::Pcma => Box::new(Concealed::new(g711::Pcma)),
            Self::L16 { rate, channels } => Box::new(Concealed::new(l16::L16::new(rate, channels))),
            Self::G722 => Box::new(Concealed::new(g722::G722::new())),
            Self::G726 { size, packing } => {
                Box::new(Concealed::new(g726::G726::new(size, packing)))
            }
            Self::Dvi4 { rate } => Box::new(Concealed::new(dvi4::Dvi4::new(rate))),
            Self::Gsm => Box::new(gsm::Gsm::new()),
            Self::ComfortNoise { rate } => Box::new(cn::ComfortNoise::new(rate)),
            Self::Opus => Box::new(opus::Opus::new()?),
            Self::G729 | Self::G723 | Self::Ilbc { .. } | Self::Amr { .. } | Self::Speex { .. } => {
                return None;
            }
        })
    }
}

/// A fresh decoder of our own for an rtpmap encoding name, or `None` when we have none.
#[must_use]
pub fn decoder_for(
    name: &str,
    clock_rate: u32,
    channels: u8,
    fmtp: Option<&str>,
) -> Option<Box<dyn Decoder>> {
    Codec::named(name, clock_rate, channels, fmtp)?.decoder()
}

/// How long a payload lasts in RTP ticks; `None` when the codec is unknown.
#[must_use]
pub fn samples_in(
    name: &str,
    clock_rate: u32,
    channels: u8,
    fmtp: Option<&str>,
    payload: &[u8],
) -> Option<u32> {
    Some(Codec::named(name, clock_rate, channels, fmtp)?.ticks_in(payload))
}

/// One line of the list that `orkaudio codecs` prints.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CodecInfo {
    /// rtpmap encoding name.
    pub name: &'static str,
    /// RTP clock rates accepted; the ends of the range when `any_rate`.
    pub rates: &'static [u32],
    /// Every rate between the first and the last of `rates` is accepted.
    pub any_rate: bool,
    /// Who decodes it.
    pub decoded: Decoded,
    /// What an operator should know.
    pub note: &'static str,
}

/// Who turns a codec into samples.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decoded {
    /// The recorder itself.
    BuiltIn,
    /// A [`DecoderSource`] that knows it; without one packets are timed and can be kept as they
    /// came.
    Elsewhere,
}

/// Every codec we know by name.
#[must_use]
pub const fn catalogue() -> &'static [CodecInfo] {
    CATALOGUE
}

const fn g726(size: CodeSize, packing: Packing) -> Codec {
    Codec::G726 { size, packing }
}

/// Encoding names; rates, channels and modes are filled in by [`Codec::named`].
const NAMES: &[(&str, Codec)] = &[
    ("PCMU", Codec::Pcmu),
    ("PCMA", Codec::Pcma),
    ("G722", Codec::G722),
    ("L16", Codec::L16 { rate: 8_000, channels: 1 }),
    ("G721", g726(CodeSize::Four, Packing::LowFirst)),
    ("G726-16", g726(CodeSize::Two, Packing::LowFirst)),
    ("G726-24", g726(CodeSize::Three, Packing::LowFirst)),
    ("G726-32", g726(CodeSize::Four, Packing::LowFirst)),
    ("G726-40", g726(CodeSize::Five, Packing::LowFirst)),
    ("AAL2-G726-16", g726(CodeSize::Two, Packing::HighFirst)),
    ("AAL2-G726-24", g726(CodeSize::Three, Packing::HighFirst)),
    ("AAL2-G726-32", g726(CodeSize::Four, Packing::HighFirst)),
    ("AAL2-G726-40", g726(CodeSize::Five, Packing::HighFirst)),
    ("DVI4", Codec::Dvi4 { rate: 8_000 }),
    ("GSM", Codec::Gsm),
    ("CN", Codec::ComfortNoise { rate: 8_000 }),
    ("G729", Codec::G729),
    ("G729A", Codec::G729),
    ("G723", Codec::G723),
    ("iLBC", Codec::Ilbc { mode: 30 }),
    ("opus", Codec::Opus),
    ("AMR", Codec::Amr { wide: false, octet_aligned: false }),
    ("AMR-WB", Codec::Amr { wide: true, octet_aligned: false }),
    ("speex", Codec::Speex { rate: 8_000 }),
];

const fn own(name: &'static str, rates: &'static [u32], note: &'static str) -> CodecInfo {
    CodecInfo { name, rates, any_rate: false, decoded: Decoded::BuiltIn, note }
}

const fn elsewhere(name: &'static str, rates: &'static [u32], note: &'static str) -> CodecInfo {
    CodecInfo { name, rates, any_rate: false, decoded: Decoded::Elsewhere, note }
}

const CATALOGUE: &[CodecInfo] = &[
    own("PCMU", &[8_000], "G.711 mu-law"),
    own("PCMA", &[8_000], "G.711 A-law"),
    own("G722", &[8_000, 16_000], "64 kbit/s; 16 kHz audio under an RTP clock of 8000"),
    CodecInfo {
        name: "L16",
        rates: &[8_000, 48_000],
        any_rate: true,
        decoded: Decoded::BuiltIn,
        note: "up to 8 channels, mixed to one",
    },
    own("G721", &[8_000], "G.726 at 32 kbit/s"),
    own("G726-16", &[8_000], "RFC 3551 packing"),
    own("G726-24", &[8_000], "RFC 3551 packing"),
    own("G726-32", &[8_000], "RFC 3551 packing"),
    own("G726-40", &[8_000], "RFC 3551 packing"),
    own("AAL2-G726-16", &[8_000], "AAL2 packing"),
    own("AAL2-G726-24", &[8_000], "AAL2 packing"),
    own("AAL2-G726-32", &[8_000], "AAL2 packing"),
    own("AAL2-G726-40", &[8_000], "AAL2 packing"),
    CodecInfo {
        name: "DVI4",
        rates: &[8_000, 48_000],
        any_rate: true,
        decoded: Decoded::BuiltIn,
        note: "IMA ADPCM",
    },
    own("GSM", &[8_000], "06.10 full rate"),
    CodecInfo {
        name: "CN",
        rates: &[8_000, 48_000],
        any_rate: true,
        decoded: Decoded::BuiltIn,
        note: "comfort noise, level only",
    },
    own("opus", &[48_000], "any bandwidth, 2.5 to 120 ms, stereo mixed to one; in-band FEC"),
    elsewhere("G729", &[8_000], "with Annex A and B"),
    elsewhere("G723", &[8_000], "G.723.1"),
    elsewhere("iLBC", &[8_000], "20 and 30 ms"),
    elsewhere("AMR", &[8_000], "octet-aligned and bandwidth-efficient"),
    elsewhere("AMR-WB", &[16_000], "octet-aligned and bandwidth-efficient"),
    elsewhere("speex", &[8_000, 16_000, 32_000], "narrow, wide and ultra-wide"),
];

/// The nearest 16-bit sample.
#[expect(clippy::cast_possible_truncation, reason = "clamped to the range of i16")]
const fn clip(sample: i32) -> i16 {
    if sample > i16::MAX as i32 {
        i16::MAX
    } else if sample < i16::MIN as i32 {
        i16::MIN
    } else {
        sample as i16
    }
}

#[cfg(test)]
mod tests;
