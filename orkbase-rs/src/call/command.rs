//! What an operator may ask of live recordings, and the answers.

use crate::{ids::OrkUid, message::tape::KeepSide};

/// The one selector of a command; precedence was decided when it was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// By recording.
    OrkUid(OrkUid),
    /// By either party of the call: the newest call of that party.
    Party(String),
    /// By signalling's name of the call.
    NativeCallId(String),
}

/// An operator's request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// Keep audio from now on: marks a running recording as asked for, resumes a paused one, starts
    /// one on a call that has none.
    Record(Target, KeepSide),
    /// Keep nothing until `Record`.
    Pause(Target),
    /// End the recording; the call may go on.
    Stop(Target),
    /// End the tape; what comes goes on the next one.
    Split(Target),
    /// Say what is to become of the recording.
    Flag(Target, Retention),
    /// Put tags, type and text, on the recording.
    Tag(Target, Vec<(String, String)>),
    /// Only say which recording it would be.
    Look(Target),
}

impl Command {
    /// Whom it is about.
    #[must_use]
    pub const fn target(&self) -> &Target {
        match self {
            Self::Record(target, _)
            | Self::Pause(target)
            | Self::Stop(target)
            | Self::Split(target)
            | Self::Flag(target, _)
            | Self::Tag(target, _)
            | Self::Look(target) => target,
        }
    }
}

/// What is to become of a recording, as far as an operator said.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Retention {
    /// Nothing was said.
    #[default]
    Neither,
    /// It is to be kept.
    Keep,
    /// It is to be thrown away at its end.
    Discard,
}

impl Retention {
    /// The value of the tag `Keep`.
    #[must_use]
    pub const fn tag(self) -> Option<&'static str> {
        match self {
            Self::Neither => None,
            Self::Keep => Some("1"),
            Self::Discard => Some("0"),
        }
    }
}

/// What a paused span is on the tape.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum PauseAs {
    /// Silence of the same length: offsets are those of the call.
    #[default]
    Silence,
    /// Cut out, but for the time that packets may be late.
    Gap,
}

impl PauseAs {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Silence, Self::Gap];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Silence => "silence",
            Self::Gap => "gap",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.as_str() == text)
    }
}

/// The answer to a [`Command`].
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reply {
    /// Recordings or calls that matched: 0 or 1.
    pub matched: u32,
    /// The recording it was done to; `None` when nothing matched or no audio has come yet.
    pub orkuid: Option<OrkUid>,
    /// What the sequence numbers of the recording told so far, for the answer to `stop`.
    pub quality: Quality,
    /// Nothing was done, and why.
    pub refused: Option<&'static str>,
}

/// RTP accounting over both sides of a recording.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Quality {
    /// Distinct packets received.
    pub packets: u64,
    /// Packets missing.
    pub missing: u64,
    /// Holes in the sequence numbers.
    pub gaps: u64,
    /// The longest run of missing packets.
    pub longest_gap: u64,
}
