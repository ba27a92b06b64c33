//! Packets that come soon: their memory is asked for, in three steps, each when what the one before asked for
//! is at hand.
//!
//! Law: nothing is changed by it but what is in caches.

use super::{
    index::FlowOwner, recording::Recording, session::Call, stream::Stream, switchboard::Switchboard,
};
use crate::{
    ahead::{self, LINE},
    packet::fast::FlowKey,
    rtp::sequence::Sequence,
};
use std::mem::offset_of;

/// So many frames lie between one step and the next.
const STEP: usize = 6;
/// Cache lines of a record of 20 ms of G.711.
const RECORD_LINES: usize = 4;
/// Cache lines of a call that a packet of a known stream touches.
const CALL_LINES: usize =
    (offset_of!(Call, recording) + offset_of!(Recording, odd) + 1).div_ceil(LINE);
/// Cache lines of a stream that a packet touches.
const STREAM_LINES: usize = (offset_of!(Stream, sequence) + Sequence::HOT_BYTES).div_ceil(LINE);

const _: () = assert!(CALL_LINES <= 3 && STREAM_LINES <= 5, "a packet touches little");

/// Flows of frames that come soon, and owners of those that come sooner.
#[derive(Debug)]
pub(crate) struct Foreseen {
    steps: [(Option<FlowKey>, Option<FlowOwner>); STEP],
    step: usize,
}

impl Default for Foreseen {
    fn default() -> Self {
        Self { steps: [(None, None); STEP], step: 0 }
    }
}

impl Foreseen {
    /// A frame of this flow, if it is plain UDP, comes after those foreseen before.
    #[inline]
    pub(crate) fn foresee(&mut self, board: &Switchboard, key: Option<FlowKey>) {
        self.step = (self.step + 1) % STEP;
        if let Some(key) = key {
            board.ask_flow(key);
        }
        let Some((keys, owners)) = self.steps.get_mut(self.step) else { return };
        let key = std::mem::replace(keys, key);
        let owner = key.and_then(|key| board.ask_call(key));
        if let Some(owner) = std::mem::replace(owners, owner) {
            board.ask_stream(owner);
        }
    }
}

impl Switchboard {
    /// Asks for the entry of a flow.
    #[inline]
    fn ask_flow(&self, key: FlowKey) {
        self.flows.ask(key);
    }

    /// The entry is at hand: asks for the call.
    #[inline]
    fn ask_call(&self, key: FlowKey) -> Option<FlowOwner> {
        let owner = self.flows.v4(key)?;
        if let Some(call) = self.calls.get(owner.call as usize) {
            ahead::ask(call, CALL_LINES);
        }
        Some(owner)
    }

    /// The call is at hand: asks for what it points to.
    #[inline]
    fn ask_stream(&self, owner: FlowOwner) {
        let Some(call) = self.call(owner.call) else { return };
        if let Some(stream) = call.streams.get(usize::from(owner.stream)) {
            ahead::ask(stream, STREAM_LINES);
        }
        if let Some(recording) = &call.recording {
            let end = recording.bytes.as_ptr().wrapping_add(recording.bytes.len());
            ahead::ask_to_write(end, RECORD_LINES);
        }
    }
}
