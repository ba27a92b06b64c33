//! Tapes that somebody listens to: their audio is handed over as it comes, not once in a while.
//!
//! Law: where blocks end changes nothing on a tape. So the beginning of a tape, which may still move
//! while nothing was handed over, is left its time.

use super::{index::CallSlot, output::TapeId, recording::Recording, switchboard::Switchboard};
use crate::{
    rtp::timeline::{TICKS_PER_MILLI, ticks_from_nanos},
    time::Timestamp,
};

/// Shortest block of such a tape: that of the usual packet.
const PROMPT_MS: i64 = 20;

/// Tapes that are listened to.
#[derive(Debug, Default)]
pub(super) struct Prompt(Vec<(CallSlot, TapeId)>);

impl Switchboard {
    /// Somebody begins to listen to a tape that is being made, or nobody does any more.
    pub fn set_prompt(&mut self, tape: TapeId, prompt: bool) {
        self.prompt.0.retain(|(_, known)| *known != tape);
        if !prompt {
            return;
        }
        let made = |(_, recording): &(CallSlot, &Recording)| recording.tape == tape;
        let slot = self.recordings().find(made).map(|(slot, _)| slot);
        self.prompt.0.extend(slot.map(|slot| (slot, tape)));
    }

    /// Hands over what came for the tapes that are listened to. Called often; does nothing for others.
    pub(super) fn hand_over_prompt(&mut self, now: Timestamp) {
        let mut index = 0;
        while let Some((slot, tape)) = self.prompt.0.get(index).copied() {
            let call = self.call(slot);
            let recording = call.and_then(|call| call.recording.as_ref());
            let Some((call, recording)) = call.zip(recording.filter(|r| r.tape == tape)) else {
                self.prompt.0.swap_remove(index);
                continue;
            };
            index += 1;
            let tick = ticks_from_nanos(now.nanos_since(call.epoch.unwrap_or(now)));
            let due = tick - recording.block_since >= PROMPT_MS * TICKS_PER_MILLI;
            if due && !recording.bytes.is_empty() && !recording.may_begin_earlier(now) {
                self.touched = Some(slot);
                self.hand_over(slot);
            }
        }
    }

    /// Every tape that is being made.
    fn recordings(&self) -> impl Iterator<Item = (CallSlot, &Recording)> {
        self.calls.iter().enumerate().filter_map(|(index, call)| {
            let recording = call.as_ref()?.recording.as_ref()?;
            Some((CallSlot::try_from(index).ok()?, recording))
        })
    }
}
