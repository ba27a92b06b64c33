//! Pauses: an operator wants nothing kept for a while.
//!
//! Law: while a call is paused nothing of that span exists anywhere: no audio, no key, no packet. What
//! counts is when a packet was captured, so one that is handed on late is of the pause nevertheless. A
//! pause belongs to the call: the next tape of the call is paused too.

use super::{
    command::PauseAs, index::CallSlot, output::MarkKind, session::Call, switchboard::Switchboard,
};
use crate::{
    rtp::timeline::{TICKS_PER_MILLI, ticks_from_nanos},
    time::Timestamp,
};

impl Call {
    /// Whether what was captured at `at` is of a pause, the one now or the one before.
    #[must_use]
    pub fn is_paused_at(&self, at: Timestamp) -> bool {
        self.paused.is_some() || at < self.kept_from
    }
}

impl Switchboard {
    /// Keeps nothing of a call from now on.
    pub(super) fn pause(&mut self, slot: CallSlot, now: Timestamp) {
        let Some(Some(call)) = self.calls.get_mut(slot as usize) else { return };
        if call.paused.is_none() {
            call.paused = Some(now);
            call.tell(now, || "paused".to_owned());
            if let Some(recording) = call.recording.as_mut() {
                recording.mark(now, MarkKind::Pause);
                recording.pauses += 1;
                recording.pause();
            }
        }
        self.recent_bytes -= call.recent.take().map_or(0, |recent| recent.cost());
    }

    /// Keeps what comes from now on; nothing to do for a call that is not paused.
    pub(super) fn resume(&mut self, slot: CallSlot, now: Timestamp, what: MarkKind) {
        let gap = match self.settings.pause {
            PauseAs::Silence => false,
            PauseAs::Gap => true,
        };
        let Some(since) = self.call_mut(slot).and_then(|call| call.paused.take()) else { return };
        if gap {
            // What waits was placed when nothing was cut out yet.
            self.hand_over(slot);
        }
        let spare = i64::try_from(self.settings.late_ms).unwrap_or(0) * TICKS_PER_MILLI;
        let Some(call) = self.call_mut(slot) else { return };
        call.kept_from = now;
        call.tell(now, || format!("goes on ({})", what.as_str()));
        for stream in &mut call.streams {
            stream.anew = true;
        }
        let epoch = call.epoch.unwrap_or(now);
        let Some(recording) = call.recording.as_mut() else { return };
        let since = since.max(recording.start);
        // Neither side's words before and after may touch, however unevenly their packets come.
        let cut = if gap { ticks_from_nanos(now.nanos_since(since)) - spare } else { 0 };
        let tick = ticks_from_nanos(now.nanos_since(epoch));
        recording.go_on(tick, now.millis_since(since), cut);
        recording.mark(now, what);
    }

    /// The short path is open again once nothing of the last pause can come any more.
    pub(super) fn leave_pause_behind(&mut self, at: Timestamp, slot: CallSlot) {
        let late_ms = self.settings.late_ms;
        let Some(call) = self.call_mut(slot) else { return };
        let over = call.paused.is_none() && at.millis_since(call.kept_from) >= late_ms;
        if let Some(recording) = call.recording.as_mut().filter(|_| over) {
            recording.odd = recording.kept.on;
        }
    }
}
