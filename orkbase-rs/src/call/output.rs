//! What the core tells the world to do.

use crate::{
    audio::block::Block,
    call::{course::CallFacts, party::Side, story::Account},
    ids::OrkUid,
    message::{tag::AddTagMessage, tape::TapeMessage},
    rtp::{dtmf::Key, emodel::Opinion, losses::Losses},
    time::Timestamp,
    tls::Notice,
};
use std::net::SocketAddr;

/// Number of a tape in this process: counts up from 1 and is never used again.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TapeId(pub u64);

/// One thing to do, in order.
#[derive(Debug)]
pub enum Output {
    /// Open a tape.
    Opened(Box<Opening>),
    /// Keep this audio.
    Audio(Block),
    /// Keep these packets beside it.
    Packets(PacketBlock),
    /// Tell the tracker and the event stream.
    Told(Box<TapeMessage>),
    /// Tell them something about a moment of a tape.
    Tagged(Box<AddTag>),
    /// Close the tape; `ready` is told by whoever closed it.
    Closed(Box<Closing>),
    /// A call is over that a filter left out, or, if the settings ask for it, any call.
    Over(Box<Account>),
    /// Tell the operator of signalling that cannot be read.
    Noticed(Notice),
}

/// Packets of a tape, in the order they came.
#[derive(Debug)]
pub struct PacketBlock {
    /// Which tape.
    pub tape: TapeId,
    /// How many.
    pub packets: u64,
    /// Blocks of a pcapng file, to be appended as they are ([`crate::packet::pcapng`]).
    pub bytes: Vec<u8>,
}

/// A tape begins.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Its number.
    pub tape: TapeId,
    /// Its name.
    pub orkuid: OrkUid,
    /// Capture time of its first packet.
    pub start: Timestamp,
    /// Path below the audio folder, without extension.
    pub path: String,
    /// Samples a second.
    pub rate: u32,
    /// The `start` message, as told.
    pub message: TapeMessage,
}

/// A tag of an open tape.
#[derive(Clone, Debug)]
pub struct AddTag {
    /// Its number.
    pub tape: TapeId,
    /// Who is meant.
    pub side: Side,
    /// The tag, as told.
    pub message: AddTagMessage,
}

/// A key that was pressed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Digit {
    /// By whom.
    pub side: Side,
    /// Which.
    pub key: Key,
    /// When, in milliseconds from the start of the tape.
    pub offset_ms: u64,
}

/// A tape ends.
#[derive(Clone, Debug)]
pub struct Closing {
    /// Its number.
    pub tape: TapeId,
    /// Why.
    pub why: EndReason,
    /// Capture time of its first packet.
    pub start: Timestamp,
    /// End of its last packet's audio, in milliseconds from the start.
    pub duration_ms: u64,
    /// The streams that were on it.
    pub legs: Vec<LegReport>,
    /// The keys that were pressed, in order.
    pub digits: Vec<Digit>,
    /// What happened to the call, besides audio.
    pub facts: CallFacts,
    /// Holds, pauses and transfers, in order.
    pub marks: Vec<Mark>,
    /// It is to be thrown away: an operator said so.
    pub discard: bool,
    /// The `stop` message, as told; becomes `ready`.
    pub message: TapeMessage,
}

/// Something that happened during a recording.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mark {
    /// When, in milliseconds from the start of the tape.
    pub offset_ms: u64,
    /// What.
    pub what: MarkKind,
}

/// What happened during a recording.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MarkKind {
    /// A party put the call on hold.
    Hold(Side),
    /// It took the call off hold.
    Resume,
    /// An operator paused the recording.
    Pause,
    /// An operator asked for it, or let it go on.
    Record,
    /// It went on by itself: the pause had lasted too long.
    PauseOver,
    /// A party was told to call somebody else.
    Transfer(String),
}

impl MarkKind {
    /// A word for it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Hold(_) => "hold",
            Self::Resume => "resume",
            Self::Pause => "pause",
            Self::Record => "record",
            Self::PauseOver => "pauseover",
            Self::Transfer(_) => "transfer",
        }
    }

    /// Who or whom; empty where that says nothing.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Hold(side) => side.as_str(),
            Self::Transfer(target) => target,
            Self::Resume | Self::Pause | Self::Record | Self::PauseOver => "",
        }
    }
}

/// Why a recording ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EndReason {
    /// Signalling ended the call.
    HungUp,
    /// No media for too long.
    Silent,
    /// A `stop` command.
    Stopped,
    /// The process stops, or the capture ends.
    Shutdown,
    /// The table of calls was full.
    Evicted,
    /// The call goes on on another tape.
    Segment,
    /// It went on for longer than is recorded.
    TooLong,
    /// A fault of the program while it looked at the call.
    Broken,
}

impl EndReason {
    /// A word for logs and tags.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HungUp => "hungup",
            Self::Silent => "silent",
            Self::Stopped => "stopped",
            Self::Shutdown => "shutdown",
            Self::Evicted => "evicted",
            Self::Segment => "segment",
            Self::TooLong => "toolong",
            Self::Broken => "broken",
        }
    }
}

/// What one party sent, as received.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LegReport {
    /// Whose.
    pub side: Side,
    /// Sender.
    pub source: SocketAddr,
    /// Receiver.
    pub destination: SocketAddr,
    /// RTP synchronisation source.
    pub ssrc: u32,
    /// Encoding name, `PCMU`; the payload type in digits when nobody named it.
    pub codec: String,
    /// Packets that were sent between the first and the last that came.
    pub expected: u64,
    /// Distinct packets received.
    pub packets: u64,
    /// Packets that never came.
    pub lost: u64,
    /// How they lie: runs and bursts.
    pub losses: Losses,
    /// Interarrival jitter at the end, in microseconds (RFC 3550).
    pub jitter_us: u64,
    /// The largest it was, in microseconds.
    pub max_jitter_us: u64,
    /// What a listener would say of it; `None` where nothing is published of the codec.
    pub opinion: Option<Opinion>,
    /// Packets that came too late to be placed.
    pub late: u64,
    /// Packets that came more than once.
    pub duplicates: u64,
    /// Audio missing between packets, in milliseconds: where sequence numbers tell of lost packets.
    pub gap_ms: u64,
    /// Lost packets whose copy came with a later one (RFC 2198); they count as lost all the same.
    pub recovered: u64,
    /// Packets that could not be turned into audio: codec unknown, or encrypted.
    pub undecoded: u64,
    /// What they were: codecs, or how they were encrypted.
    pub undecodable: Vec<String>,
    /// Of them, SRTP packets whose authentication failed.
    pub unauthentic: u64,
}
