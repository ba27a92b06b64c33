//! One RTP stream of a call: its account, its clock, what its payload types mean.

use super::{
    early::Early,
    output::{LegReport, TapeId},
    party::{Role, Side},
    redundancy::Recovered,
};
use crate::{
    audio::codec::Codec as AudioCodec,
    rtp::{
        dtmf::Detector,
        emodel::{self, Path},
        jitter::Jitter,
        sequence::Sequence,
        srtp::candidates::Candidates,
        timeline::{TICKS_PER_SAMPLE_8K, TICKS_PER_SEC, Timeline, millis_from_ticks},
    },
    time::Timestamp,
};
use std::{mem::offset_of, net::SocketAddr};

/// What stands for the codec of a stream that carried no audio.
pub const NO_CODEC: &str = "none";
/// Codecs told apart on one stream; the block format has room for 16.
pub const MAX_SLOTS: usize = 15;

/// What a packet of the current payload type is to the recorder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Meaning {
    /// Not looked up yet.
    Unknown,
    /// Audio of the codec in this slot.
    Audio {
        /// Codec number on the stream.
        slot: u8,
        /// Which codec.
        format: AudioCodec,
    },
    /// Audio that cannot be decoded: codec unknown or encrypted.
    Undecodable,
    /// Several payloads in one, past and present (RFC 2198).
    Redundant,
    /// Telephone events and the like: part of the sequence, never heard.
    Event,
    /// A payload type nobody announced: perhaps video on the same port.
    Foreign,
}

/// A payload type and its meaning on one stream.
#[derive(Clone, Debug)]
pub struct Codec {
    /// 0 to 127.
    pub payload_type: u8,
    /// RTP encoding name; the payload type in digits when nobody named it.
    pub name: String,
    /// RTP clock in Hz.
    pub clock_rate: u32,
    /// Audio channels.
    pub channels: u8,
    /// Format parameters.
    pub parameters: Option<String>,
    /// What it is to us.
    pub meaning: Meaning,
    /// How its packets are encrypted, when that is why they cannot be decoded.
    pub sealed: Option<&'static str>,
}

/// One SSRC of one party. What every packet touches are the three cache lines from `timeline`, but for its
/// beginning, to `sequence`, but for its end.
#[repr(C, align(64))]
pub struct Stream {
    /// The tape on which it has the number `leg`.
    pub introduced: TapeId,
    /// Audio missing where packets are missing, in ticks.
    pub gap: i64,
    /// Packets too old to be placed.
    pub late: u64,
    /// Clock.
    pub timeline: Timeline,
    /// How unevenly its packets come.
    pub jitter: Jitter,
    /// Payload type of the last packet and its meaning: what the fast path compares.
    pub payload_type: u8,
    /// It is the stream that is heard for its role.
    pub active: bool,
    /// The next record must begin order anew (after a pause, or on a new tape).
    pub anew: bool,
    /// The number it has on the tape `introduced`.
    pub leg: u8,
    /// Who sends it.
    pub role: Role,
    /// What the payload type means.
    pub meaning: Meaning,
    /// See [`frame`](Self::frame).
    frame: i32,
    /// The tape that knows this stream and all its codecs.
    pub tape: TapeId,
    /// Decrypts what it sends, when signalling showed keys.
    pub srtp: Option<Box<Candidates>>,
    /// Capture time of the last packet.
    pub last_at: Timestamp,
    /// Where the newest audio ends, in ticks of the call.
    pub end: i64,
    /// Highest extended sequence number placed.
    pub highest: u64,
    /// Sequence account.
    pub sequence: Sequence,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Keys that could not be used: suite unknown or malformed.
    pub keys_refused: u32,
    /// First seen from here.
    pub source: SocketAddr,
    /// First seen to here.
    pub destination: SocketAddr,
    /// Every payload type met.
    pub codecs: Vec<Codec>,
    /// Holes in the sequence.
    pub gaps: u64,
    /// Copies of lost packets that were placed (RFC 2198).
    pub recovered: Recovered,
    /// Longest hole in packets.
    pub longest_gap: u64,
    /// Audio packets that could not be decoded.
    pub undecoded: u64,
    /// Encrypted packets that came before any key fitted.
    pub early: Option<Box<Early>>,
    /// Finds keys in its telephone events, once there are any.
    pub dtmf: Option<Box<Detector>>,
    /// Packets whose SRTP authentication failed.
    pub unauthentic: u64,
    /// Packets that came while another stream of the same party was heard.
    pub unheard: u64,
}

impl Stream {
    /// Where the bytes begin that every packet touches.
    pub(crate) const HOT_FROM: usize = offset_of!(Self, timeline) + Timeline::HOT_FROM;
    /// How many they are.
    pub(crate) const HOT_BYTES: usize =
        offset_of!(Self, sequence) + Sequence::HOT_BYTES - Self::HOT_FROM;
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut stream = f.debug_struct("Stream");
        stream.field("role", &self.role).field("ssrc", &self.ssrc).finish_non_exhaustive()
    }
}

impl Stream {
    /// A stream whose first packet has just come.
    #[must_use]
    pub fn new(role: Role, ssrc: u32, source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            role,
            ssrc,
            source,
            destination,
            sequence: Sequence::default(),
            timeline: Timeline::new(8000),
            payload_type: u8::MAX,
            meaning: Meaning::Unknown,
            active: false,
            anew: true,
            tape: TapeId(0),
            introduced: TapeId(0),
            leg: 0,
            codecs: Vec::new(),
            last_at: Timestamp::default(),
            end: i64::MIN,
            frame: 160 * 6,
            jitter: Jitter::default(),
            gap: 0,
            gaps: 0,
            recovered: Recovered::default(),
            highest: 0,
            longest_gap: 0,
            late: 0,
            undecoded: 0,
            srtp: None,
            early: None,
            dtmf: None,
            keys_refused: 0,
            unauthentic: 0,
            unheard: 0,
        }
    }

    /// Length of one packet in ticks, from the last two timestamps.
    #[inline]
    #[must_use]
    pub fn frame(&self) -> i64 {
        i64::from(self.frame)
    }

    /// One packet is so long; half a day at most.
    #[inline]
    pub fn set_frame(&mut self, ticks: i64) {
        self.frame = i32::try_from(ticks).unwrap_or(i32::MAX);
    }

    /// How long a payload lasts, in ticks of the timeline.
    #[inline]
    #[must_use]
    pub fn length(&self, payload: &[u8]) -> i64 {
        let Meaning::Audio { format, .. } = self.meaning else { return self.frame() };
        if matches!(format, AudioCodec::Pcmu | AudioCodec::Pcma) {
            return i64::try_from(payload.len()).unwrap_or(0) * TICKS_PER_SAMPLE_8K;
        }
        match format.ticks_in(payload) {
            0 => self.frame(),
            ticks => i64::from(ticks) * TICKS_PER_SEC / i64::from(format.clock_rate()),
        }
    }

    /// The codec behind a payload type, if it was met before.
    #[must_use]
    pub fn codec(&self, payload_type: u8) -> Option<&Codec> {
        self.codecs.iter().find(|codec| codec.payload_type == payload_type)
    }

    /// Names of the audio codecs heard, in order of appearance; `none` before the first packet.
    #[must_use]
    pub fn codec_names(&self) -> String {
        let audio = |codec: &&Codec| match codec.meaning {
            Meaning::Audio { .. } | Meaning::Undecodable => true,
            Meaning::Unknown | Meaning::Event | Meaning::Foreign | Meaning::Redundant => false,
        };
        let mut names: Vec<&str> = Vec::new();
        for codec in self.codecs.iter().filter(audio) {
            // Names are told apart without case (RFC 4855).
            if !names.iter().any(|known| known.eq_ignore_ascii_case(&codec.name)) {
                names.push(&codec.name);
            }
        }
        if names.is_empty() { NO_CODEC.to_owned() } else { names.join(",") }
    }

    /// What kept its audio from the tape.
    fn undecodable(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let sealed = (self.unauthentic > 0).then_some("SRTP");
        let codecs = self.codecs.iter().filter(|codec| codec.meaning == Meaning::Undecodable);
        let codecs = codecs.map(|codec| codec.sealed.unwrap_or(&codec.name));
        for name in sealed.into_iter().chain(codecs) {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        names
    }

    /// The account of this stream for the report at the end.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "microseconds and ticks, far below 2^52")]
    pub fn report(&self, side: Side) -> LegReport {
        let losses = self.sequence.losses();
        let codec = self.codec_names();
        let path = Path {
            codec: codec.split(',').next().unwrap_or_default(),
            expected: self.sequence.expected(),
            missing: losses.lost + self.late,
            runs: losses.runs,
            jitter_ms: self.jitter.micros() as f64 / 1e3,
            packet_ms: f64::from(self.frame) * 1e3 / TICKS_PER_SEC as f64,
        };
        // IAX2 hosts are IPv4-mapped in here.
        let plain = |a: SocketAddr| SocketAddr::new(a.ip().to_canonical(), a.port());
        LegReport {
            expected: self.sequence.expected(),
            losses,
            jitter_us: self.jitter.micros(),
            max_jitter_us: self.jitter.most_micros(),
            opinion: emodel::opinion(&path),
            side,
            source: plain(self.source),
            destination: plain(self.destination),
            ssrc: self.ssrc,
            codec,
            packets: self.sequence.received(),
            lost: self.sequence.lost(),
            late: self.late,
            duplicates: self.sequence.duplicates(),
            gap_ms: millis_from_ticks(self.gap),
            recovered: self.recovered.count,
            undecoded: self.undecoded,
            undecodable: self.undecodable(),
            unauthentic: self.unauthentic,
        }
    }
}
