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
