//! What time makes of a call, and when it has to be asked again.
//!
//! Law: idle calls cost nothing. A list of moments, one for each call, says when something can have become of
//! it; whatever makes that earlier (a signal, a command, a new tape, a new block) says so by
//! [`look_at`](Switchboard::look_at). Other packets only make it later.

use super::{
    dialog::Progress,
    filter::Ignored,
    index::CallSlot,
    output::{EndReason, MarkKind},
    session::Call,
    settings::Settings,
    switchboard::Switchboard,
};
use crate::{
    rtp::timeline::{millis_from_ticks, ticks_from_nanos},
    time::Timestamp,
};

/// Calls are asked this often at most, in milliseconds.
const SWEEP_MS: u64 = 100;
/// And this often at least.
const SELDOM_MS: u64 = 5_000;
/// A call that failed, or ended, is remembered this long: its last packets must not look like news.
const LINGER_MS: u64 = 5_000;

impl Switchboard {
    /// Something happened to a call: it is asked with the next sweep.
    pub(super) fn look_at(&mut self, slot: CallSlot) {
        if let Some(look) = self.looks.get_mut(slot as usize) {
            *look = Timestamp::default();
        }
    }

    pub(super) fn sweep(&mut self) {
        let now = self.now;
        self.next_sweep = now.plus_millis(SWEEP_MS);
        self.candidates.tidy(now);
        for index in 0..self.looks.len() {
            if self.looks.get(index).is_none_or(|look| *look > now) {
                continue;
            }
            let Ok(slot) = CallSlot::try_from(index) else { return };
            self.touched = Some(slot);
            let Some(call) = self.call(slot) else {
                self.put_off(index, Timestamp(u64::MAX));
                continue;
            };
            match verdict(call, now, &self.settings) {
                Verdict::GoOn => {
                    let next = next_look(call, now, &self.settings);
                    self.put_off(index, next);
                }
                Verdict::HandOver => self.hand_over(slot),
                Verdict::Resume => {
                    self.counters.pauses_over += 1;
                    self.resume(slot, now, MarkKind::PauseOver);
                }
                Verdict::CloseTape(why) => {
                    self.close_recording(slot, why);
                    if why == EndReason::TooLong {
                        self.ignore(slot, Ignored::TooLong);
                    }
                }
                Verdict::EndCall(why) => self.end_call(slot, why),
            }
        }
    }

    fn put_off(&mut self, index: usize, until: Timestamp) {
        if let Some(look) = self.looks.get_mut(index) {
            *look = until;
        }
    }
}

enum Verdict {
    GoOn,
    HandOver,
    Resume,
    CloseTape(EndReason),
    EndCall(EndReason),
}

/// What time has made of a call.
fn verdict(call: &Call, now: Timestamp, settings: &Settings) -> Verdict {
    let silent_ms = now.millis_since(call.last_media);
    let unsaid_ms = now.millis_since(call.dialog.last_signal);
    let over = |since| now.millis_since(since) >= settings.pause_limit_ms;
    if settings.pause_limit_ms > 0 && call.paused.is_some_and(over) {
        return Verdict::Resume;
    }
    match (call.dialog.progress, &call.recording) {
        (Progress::Ended { at }, Some(_)) if now.millis_since(at) >= settings.bye_grace_ms => {
            return Verdict::CloseTape(EndReason::HungUp);
        }
        (Progress::Failing { since, .. }, Some(_)) if now.millis_since(since) >= LINGER_MS => {
            return Verdict::CloseTape(EndReason::HungUp);
        }
        (Progress::Ended { at: over } | Progress::Failing { since: over, .. }, None)
            if now.millis_since(over) >= LINGER_MS =>
        {
            return Verdict::EndCall(EndReason::HungUp);
        }
        (_, Some(recording)) => {
            let long_ms = now.millis_since(recording.start);
            let longest = settings.filters.max_duration_ms;
            if longest > 0 && long_ms >= longest {
                return Verdict::CloseTape(EndReason::TooLong);
            }
            if settings.segment_ms > 0 && long_ms >= settings.segment_ms {
                return Verdict::CloseTape(EndReason::Segment);
            }
            let limit = if call.dialog.held_by.is_some() {
                settings.hold_timeout_ms
            } else {
                settings.rtp_timeout_ms
            };
            if silent_ms >= limit {
                return if call.dialog.is_signalled() {
                    Verdict::CloseTape(EndReason::Silent)
                } else {
                    Verdict::EndCall(EndReason::Silent)
                };
            }
            let gathered = call.epoch.map_or(0, |epoch| {
                ticks_from_nanos(now.nanos_since(epoch)) - recording.block_since
            });
            let due = millis_from_ticks(gathered) >= settings.block_ms;
            if due && !(recording.bytes.is_empty() && recording.news.is_empty()) {
                return Verdict::HandOver;
            }
        }
        (Progress::Offered, None) if unsaid_ms >= settings.setup_timeout_ms => {
            return Verdict::EndCall(EndReason::Silent);
        }
        (Progress::Answered { .. }, None)
            if unsaid_ms >= settings.dialog_timeout_ms
                && silent_ms >= settings.dialog_timeout_ms =>
        {
            return Verdict::EndCall(EndReason::Silent);
        }
        (
            Progress::Offered
            | Progress::Answered { .. }
            | Progress::Ended { .. }
            | Progress::Failing { .. },
            None,
        ) => {}
    }
    Verdict::GoOn
}

/// When time can make something of a call that goes on for now, if nothing else happens to it.
fn next_look(call: &Call, now: Timestamp, settings: &Settings) -> Timestamp {
    let mut next = now.plus_millis(SELDOM_MS);
    let mut at = |since: Timestamp, ms: u64| next = next.min(since.plus_millis(ms));
    if settings.pause_limit_ms > 0
        && let Some(since) = call.paused
    {
        at(since, settings.pause_limit_ms);
    }
    match (call.dialog.progress, &call.recording) {
        // Soon over.
        (Progress::Ended { .. } | Progress::Failing { .. }, _) => return now,
        (_, Some(recording)) => {
            for limit in [settings.filters.max_duration_ms, settings.segment_ms] {
                if limit > 0 {
                    at(recording.start, limit);
                }
            }
            at(call.last_media, settings.rtp_timeout_ms.min(settings.hold_timeout_ms));
            if let Some(epoch) = call.epoch
                && !(recording.bytes.is_empty() && recording.news.is_empty())
            {
                let ticks = ticks_from_nanos(now.nanos_since(epoch)) - recording.block_since;
                at(now, settings.block_ms.saturating_sub(millis_from_ticks(ticks)));
            }
        }
        (Progress::Offered, None) => at(call.dialog.last_signal, settings.setup_timeout_ms),
        (Progress::Answered { .. }, None) => {
            at(call.dialog.last_signal.max(call.last_media), settings.dialog_timeout_ms);
        }
    }
    next
}
