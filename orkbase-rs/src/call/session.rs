//! A call as the switchboard keeps it: its dialog, its streams, its recording.

use super::{
    command::Retention, dialog::Dialog, digits::Presses, filter::Ignored, index::FlowId,
    keeping::Letters, party::Role, recent::Recent, recording::Recording, story::Story,
    stream::Stream,
};
use crate::{ids::OrkUid, message::tape::KeepSide, time::Timestamp};
use std::collections::BTreeMap;

/// Streams kept of one call; a phone that restarts its SSRC with every hold stays far below.
pub const MAX_STREAMS: usize = 32;

/// Flows of one call; relays and phones that change their address have a handful.
pub const MAX_FLOWS: usize = 64;

/// What the operator or the settings want of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// Record it.
    Yes,
    /// Not unless asked: on-demand recording only.
    WhenAsked,
    /// A `stop` command ended the recording; only `record` begins another.
    Stopped,
}

/// One call. What every packet needs comes first.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Call {
    /// Capture time of its first media packet: zero of its timeline.
    pub epoch: Option<Timestamp>,
    /// Capture time of the last media packet.
    pub last_media: Timestamp,
    /// Who sends what.
    pub streams: Vec<Stream>,
    /// The tape being made.
    pub recording: Option<Recording>,
    /// What signalling says.
    pub dialog: Dialog,
    /// The stream that is heard, by role.
    pub active: [Option<u8>; 2],
    /// What is wanted of it.
    pub wanted: Wanted,
    /// Somebody asked for it.
    pub ondemand: bool,
    /// When, if what was said before is on the tape too.
    pub asked: Timestamp,
    /// Whose audio is kept.
    pub keep: KeepSide,
    /// Nothing is kept since then.
    pub paused: Option<Timestamp>,
    /// Nothing from before is kept: the end of the last pause.
    pub kept_from: Timestamp,
    /// What is to become of its tapes.
    pub retention: Retention,
    /// Tags that operators put on it.
    pub tags: BTreeMap<String, String>,
    /// What was said lately, while nobody has asked for it yet.
    pub recent: Option<Box<Recent>>,
    /// Flows bound to it.
    pub flows: Vec<FlowId>,
    /// How often it was put on hold.
    pub holds: u32,
    /// Keys pressed lately.
    pub presses: Presses,
    /// A filter leaves it out.
    pub ignored: Option<Ignored>,
    /// Its audio was left to the tape of its other leg.
    pub other_leg_taped: bool,
    /// Tapes begun.
    pub tapes: u32,
    /// The first of them, when a long call goes over several.
    pub first_tape: Option<OrkUid>,
    /// Its signalling, for the packets that may be kept beside its tape.
    pub letters: Option<Box<Letters>>,
    /// What happened, if the settings want it told.
    pub story: Option<Box<Story>>,
    /// Where it waits to be given up for another: whether it was taken up, and its last message, as known there.
    pub waits: Option<(bool, Timestamp)>,
}

impl Call {
    /// A call without media.
    #[must_use]
    pub const fn new(dialog: Dialog, wanted: Wanted) -> Self {
        Self {
            dialog,
            epoch: None,
            streams: Vec::new(),
            active: [None, None],
            recording: None,
            wanted,
            ondemand: false,
            asked: Timestamp(0),
            keep: KeepSide::Both,
            paused: None,
            kept_from: Timestamp(0),
            retention: Retention::Neither,
            tags: BTreeMap::new(),
            recent: None,
            last_media: Timestamp(0),
            flows: Vec::new(),
            holds: 0,
            presses: Presses::new(),
            ignored: None,
            other_leg_taped: false,
            tapes: 0,
            first_tape: None,
            letters: None,
            story: None,
            waits: None,
        }
    }

    /// Takes over what operators said of `old`, which was this call all along.
    pub fn inherit(&mut self, old: &mut Self) {
        let either = |wanted| self.wanted == wanted || old.wanted == wanted;
        self.wanted = if either(Wanted::Stopped) {
            Wanted::Stopped
        } else if either(Wanted::Yes) {
            Wanted::Yes
        } else {
            Wanted::WhenAsked
        };
        self.ondemand |= old.ondemand;
        self.asked = self.asked.max(old.asked);
        self.kept_from = self.kept_from.max(old.kept_from);
        self.paused = self.paused.or(old.paused);
        if self.keep == KeepSide::Both {
            self.keep = old.keep;
        }
        if self.retention == Retention::Neither {
            self.retention = old.retention;
        }
        self.tags.append(&mut old.tags);
        if self.paused.is_some()
            && let Some(recording) = self.recording.as_mut()
        {
            recording.pause();
        }
    }

    /// The stream that is heard for `role`.
    #[must_use]
    pub fn active_stream(&self, role: Role) -> Option<&Stream> {
        let index = self.active.get(role.index()).copied().flatten()?;
        self.streams.get(usize::from(index))
    }

    /// Lets `index` be heard for its role and silences the one before.
    pub fn activate(&mut self, index: u8) {
        let Some(role) = self.streams.get(usize::from(index)).map(|stream| stream.role) else {
            return;
        };
        for stream in self.streams.iter_mut().filter(|stream| stream.role == role) {
            stream.active = false;
        }
        if let Some(stream) = self.streams.get_mut(usize::from(index)) {
            stream.active = true;
            stream.anew = true;
        }
        if let Some(active) = self.active.get_mut(role.index()) {
            *active = Some(index);
        }
    }
}
