//! A recording: the decision to keep a call's audio, and the block that is being filled.

use super::{
    keeping::Kept,
    output::{Digit, Mark, MarkKind, TapeId},
    policy::Parties,
};
use crate::{
    audio::block::{self, BLOCK_BYTES, Block, News, RECORD_HEADER, Record},
    ids::{OrkUid, TrackingId},
    message::tape::{KeepSide, Stage, TapeMessage},
    rtp::timeline::{TICKS_PER_SAMPLE_8K, millis_from_ticks},
    time::Timestamp,
};
use std::collections::BTreeMap;

/// Marks kept of one tape; a call that is held more often is a test.
const MAX_MARKS: usize = 500;
/// A packet from before the first may come so long after it, in ms; less than a block lasts, so that
/// it does not matter when blocks end.
const BEGINNING_MS: u64 = 500;
/// A sample of 8 kHz audio.
const NANOS_PER_SAMPLE_8K: u64 = 125_000;

/// One tape being made. What every packet needs comes first.
#[derive(Debug)]
#[repr(C)]
pub struct Recording {
    /// Records since the last hand-over.
    pub bytes: Vec<u8>,
    /// The tape.
    pub tape: TapeId,
    /// Capture time of its first sample on the call's timeline, in ticks.
    pub start_tick: i64,
    /// End of its newest audio on the call's timeline, in ticks.
    pub end_tick: i64,
    /// Nothing that was sent before is placed any more, in ticks of the call: the end of the last pause.
    pub floor: i64,
    /// When the first of `bytes` came, in ticks of the call.
    pub block_since: i64,
    /// Whose audio is kept.
    pub keep: KeepSide,
    /// Each packet needs a closer look: the tape is paused, or packets are kept.
    pub odd: bool,
    /// Capture port.
    pub tracking_id: TrackingId,
    /// Name.
    pub orkuid: OrkUid,
    /// Path below the audio folder, without extension.
    pub path: String,
    /// Capture time of the packet that began it, by the clock as it is now; messages say [`told`](Self::told).
    pub start: Timestamp,
    /// Capture time of its first sample; before `start` when a packet was overtaken by that one.
    pub begin: Timestamp,
    /// By how much the clock was set since, in nanoseconds.
    pub set_by: i64,
    /// Keeping nothing for now.
    pub paused: bool,
    /// Packets kept beside the audio.
    pub kept: Kept,
    /// Pauses so far, and how long they were, in milliseconds.
    pub pauses: u64,
    /// See above.
    pub paused_ms: u64,
    /// Cut out of the tape so far, in ticks.
    pub cut: i64,
    /// An operator asked for it.
    pub ondemand: bool,
    /// Who is on it.
    pub parties: Parties,
    /// Free tags.
    pub tags: BTreeMap<String, String>,
    /// Keys pressed so far.
    pub digits: Vec<Digit>,
    /// Holds, pauses and transfers so far.
    pub marks: Vec<Mark>,
    /// Streams on the tape so far.
    pub legs: u8,
    /// What the decoder must know before `bytes`.
    pub news: Vec<News>,
    /// A block of it was handed over.
    pub handed_over: bool,
}

/// Whether a block had room for a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Fit {
    /// It is in the block.
    Fits,
    /// It is the first in the block.
    First,
    /// It is not: the block is to be handed over first.
    Full,
}

impl Recording {
    /// Appends a record that came at `now` (ticks of the call), if the block has room for it. An empty
    /// block takes any record.
    #[inline]
    pub fn append(&mut self, record: &Record<'_>, now: i64) -> Fit {
        let fit = if self.bytes.is_empty() {
            self.block_since = now;
            Fit::First
        } else if self.bytes.len() + RECORD_HEADER + record.payload.len() > BLOCK_BYTES {
            return Fit::Full;
        } else {
            Fit::Fits
        };
        block::append(&mut self.bytes, record);
        fit
    }

    /// Keeps nothing from now on.
    pub const fn pause(&mut self) {
        self.paused = true;
        self.odd = true;
    }

    /// Goes on after a pause that lasted so long, at `tick` of the call; `cut` ticks of it are cut
    /// out. Each packet is looked at for a while: one from the pause may still be on its way.
    pub fn go_on(&mut self, tick: i64, paused_ms: u64, cut: i64) {
        self.paused = false;
        self.odd = true;
        self.floor = tick;
        self.paused_ms += paused_ms;
        let cut = cut.max(0);
        let cut = cut - cut.rem_euclid(TICKS_PER_SAMPLE_8K);
        self.cut += cut;
        self.start_tick += cut;
        self.end_tick += cut;
    }

    /// A moment of its beginning by the clock as it was then: what was said of it is not taken back.
    #[must_use]
    pub const fn told(&self, moment: Timestamp) -> Timestamp {
        Timestamp(moment.0.saturating_add_signed(self.set_by.saturating_neg()))
    }

    /// Where a moment lies on the tape, in milliseconds.
    #[must_use]
    pub fn offset_ms(&self, at: Timestamp) -> u64 {
        at.millis_since(self.begin).saturating_sub(millis_from_ticks(self.cut))
    }

    /// Notes that something happened.
    pub fn mark(&mut self, at: Timestamp, what: MarkKind) {
        if self.marks.len() < MAX_MARKS {
            self.marks.push(Mark { offset_ms: self.offset_ms(at), what });
        }
    }

    /// Whether the beginning can still be moved at `now`: the tape is young, and nothing of it has
    /// been handed over.
    #[must_use]
    pub const fn may_begin_earlier(&self, now: Timestamp) -> bool {
        !self.handed_over && now.millis_since(self.start) <= BEGINNING_MS
    }

    /// Lets the tape begin at `tick`, which lies before its beginning so far; false when it is too
    /// late for that.
    #[cold]
    pub fn begin_at(&mut self, tick: i64, now: Timestamp) -> bool {
        if !self.may_begin_earlier(now) {
            return false;
        }
        let tick = tick - tick.rem_euclid(TICKS_PER_SAMPLE_8K);
        let earlier = self.start_tick - tick;
        block::shift(&mut self.bytes, earlier);
        self.start_tick = tick;
        let nanos = u64::try_from(earlier / TICKS_PER_SAMPLE_8K).unwrap_or(0) * NANOS_PER_SAMPLE_8K;
        self.begin = Timestamp(self.begin.0.saturating_sub(nanos));
        true
    }

    /// Takes out what has gathered; `empty` takes its place. `now` is in ticks of the call.
    pub fn take_block(&mut self, now: i64, empty: Vec<u8>) -> Block {
        self.handed_over = true;
        Block {
            tape: self.tape,
            news: std::mem::take(&mut self.news),
            until: now - self.start_tick,
            bytes: std::mem::replace(&mut self.bytes, empty),
        }
    }

    /// What the tracker is told of it.
    #[must_use]
    pub fn message(&self, stage: Stage, facts: &HostFacts, native_call_id: &str) -> TapeMessage {
        let extension = if stage == Stage::Start { "" } else { facts.extension.as_str() };
        let ip = |address: std::net::IpAddr| address.to_string();
        TapeMessage {
            recid: self.orkuid.to_string(),
            stage,
            captureport: self.tracking_id.to_string(),
            timestamp: self.told(self.start).secs(),
            filename: format!("{}{extension}", self.path),
            localparty: self.parties.local.clone(),
            localentrypoint: self.parties.entry_point.clone(),
            remoteparty: self.parties.remote.clone(),
            direction: self.parties.direction,
            duration: 0,
            service: facts.service.clone(),
            localip: ip(self.parties.local_ip),
            remoteip: ip(self.parties.remote_ip),
            nativecallid: native_call_id.to_owned(),
            tags: self.tags.clone(),
            ondemand: self.ondemand,
            side: self.keep,
            live: true,
            hostname: facts.hostname.clone(),
        }
    }
}

/// What every message says of this host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostFacts {
    /// Host name.
    pub hostname: String,
    /// Service name.
    pub service: String,
    /// Extension of finished tapes, with its dot.
    pub extension: String,
}
