//! A capture clock that was set back: a step of the host's clock, or capture files that overlap.
//!
//! Law: calls go on where they stood. What happened to a call after the new time keeps its distance to
//! now; otherwise nothing would time out, and no tape be closed, until the old time came again.

use super::{dialog::Progress, session::Call, switchboard::Switchboard};
use crate::time::Timestamp;

/// A clock this far behind was set back; less is disorder between queues, and waits.
const SET_BACK_MS: u64 = 60_000;

impl Switchboard {
    /// A moment before the latest one.
    #[cold]
    pub(super) fn time_went_back(&mut self, now: Timestamp) {
        if self.now.millis_since(now) <= SET_BACK_MS {
            return;
        }
        let by = self.now.nanos_since(now);
        for call in self.calls.iter_mut().flatten() {
            set_back(call, now, by);
            self.recent_bytes -= call.recent.take().map_or(0, |recent| recent.cost());
        }
        // Two seconds of packets that nobody announced are not worth their bookkeeping.
        self.candidates.clear();
        self.now = now;
        self.next_sweep = now;
        self.looks.fill(now);
        self.counters.clock_set_back += 1;
    }
}

fn set_back(call: &mut Call, now: Timestamp, by: u64) {
    if call.last_media.max(call.dialog.last_signal) <= now {
        return;
    }
    let back = |moment: &mut Timestamp| moment.0 = moment.0.saturating_sub(by);
    back(&mut call.last_media);
    back(&mut call.asked);
    back(&mut call.kept_from);
    call.paused.iter_mut().for_each(back);
    back(&mut call.dialog.last_signal);
    call.epoch.iter_mut().for_each(back);
    match &mut call.dialog.progress {
        Progress::Offered => {}
        Progress::Answered { at } | Progress::Ended { at } => back(at),
        Progress::Failing { since, .. } => back(since),
    }
    call.dialog.announced.iter_mut().for_each(|announced| back(&mut announced.since));
    call.streams.iter_mut().for_each(|stream| back(&mut stream.last_at));
    call.presses.forget();
}
