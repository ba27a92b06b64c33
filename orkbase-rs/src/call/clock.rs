//! A capture clock that was set: a step of the host's clock, or capture files that overlap.
//!
//! Law: calls go on where they stood. What happened to a call by the old time keeps its distance to now;
//! otherwise nothing would time out, and no tape be closed, until the old time came again, or all calls would
//! have been silent for as long as the clock was put forward. What was told of a tape, its start, stays.

use super::{dialog::Progress, session::Call, switchboard::Switchboard};
use crate::time::Timestamp;

/// A clock this far behind was set back; less is disorder between queues, and waits.
const SET_BACK_MS: u64 = 60_000;
/// Says on a tape by how many milliseconds the clock was set while it was made.
const TAG: &str = "clockset";

impl Switchboard {
    /// A moment before the latest one.
    #[cold]
    pub(super) fn time_went_back(&mut self, now: Timestamp) {
        if self.now.millis_since(now) <= SET_BACK_MS {
            return;
        }
        let by = 0_i64.saturating_sub_unsigned(self.now.nanos_since(now));
        self.counters.clock_set_back += 1;
        self.set_clock(now, by, |call| call.last_media.max(call.dialog.last_signal) > now);
    }

    /// The host's clock was set by `by` nanoseconds, and is at `now`: that much time did not pass.
    pub fn handle_clock_set(&mut self, now: Timestamp, by: i64) {
        self.counters.clock_set += 1;
        self.set_clock(now, by, |_| true);
    }

    fn set_clock(&mut self, now: Timestamp, by: i64, is_behind: impl Fn(&Call) -> bool) {
        for call in self.calls.iter_mut().flatten() {
            self.recent_bytes -= call.recent.take().map_or(0, |recent| recent.cost());
            if is_behind(call) {
                shift(call, by);
            }
        }
        // Two seconds of packets that nobody announced are not worth their bookkeeping.
        self.candidates.clear();
        self.now = now;
        self.next_sweep = now;
        self.looks.fill(Timestamp::default());
    }
}

fn shift(call: &mut Call, by: i64) {
    let set = |moment: &mut Timestamp| moment.0 = moment.0.saturating_add_signed(by);
    set(&mut call.last_media);
    set(&mut call.asked);
    set(&mut call.kept_from);
    call.paused.iter_mut().for_each(set);
    set(&mut call.dialog.last_signal);
    call.epoch.iter_mut().for_each(set);
    match &mut call.dialog.progress {
        Progress::Offered => {}
        Progress::Answered { at } | Progress::Ended { at } => set(at),
        Progress::Failing { since, .. } => set(since),
    }
    call.dialog.announced.iter_mut().for_each(|announced| set(&mut announced.since));
    call.streams.iter_mut().for_each(|stream| set(&mut stream.last_at));
    call.presses.forget();
    if let Some(recording) = call.recording.as_mut() {
        set(&mut recording.start);
        set(&mut recording.begin);
        recording.set_by = recording.set_by.saturating_add(by);
        recording.tags.insert(TAG.to_owned(), (recording.set_by / 1_000_000).to_string());
    }
}
