//! Room for one more call, and which one makes it when the table is full.
//!
//! Law: a call with media is never given up for one without. Of those without, one that nobody has taken up
//! yet goes first, so that a flood of proposals displaces itself; then the one that was silent longest. What
//! a message costs does not grow with the table: calls are put where they belong when they are looked at.

use super::{
    dialog::{Dialog, Progress},
    index::CallSlot,
    output::EndReason,
    session::{Call, Wanted},
    switchboard::Switchboard,
};
use crate::time::Timestamp;
use std::collections::BTreeSet;

/// The table of calls has room for so many at least, once it had.
const LEAST_SLOTS: usize = 128;

/// Somebody has answered its proposal, or rung; when its last message came.
type Claim = (bool, Timestamp);

/// Calls by how little they are worth, as they stood when last looked at.
#[derive(Debug, Default)]
pub(super) struct Queue(BTreeSet<(Claim, CallSlot)>);

fn claim(call: &Call) -> Claim {
    let taken_up = match call.dialog.progress {
        Progress::Offered => call.dialog.course.ringing.is_some(),
        Progress::Answered { .. } => true,
        Progress::Failing { .. } | Progress::Ended { .. } => false,
    };
    (taken_up, call.dialog.last_signal)
}

impl Switchboard {
    /// A slot has no call any more. The lowest is taken next, and what a flood needed at the end of the table is given
    /// back when it is over.
    pub(super) fn vacate(&mut self, slot: CallSlot) {
        self.free.insert(slot);
        while self.calls.last().is_some_and(Option::is_none) {
            self.calls.pop();
            self.looks.pop();
            let end = CallSlot::try_from(self.calls.len()).unwrap_or(CallSlot::MAX);
            self.free.remove(&end);
        }
        let needed = self.calls.len().max(LEAST_SLOTS);
        if self.calls.capacity() > 4 * needed {
            self.calls.shrink_to(2 * needed);
            self.looks.shrink_to(2 * needed);
        }
    }

    /// Gives a dialog a slot; makes room when the table is full.
    pub(super) fn admit(&mut self, dialog: Dialog) -> Option<CallSlot> {
        if self.live >= self.settings.max_calls && self.evict().is_none() {
            self.counters.calls_refused += 1;
            return None;
        }
        let wanted = if self.settings.record_all { Wanted::Yes } else { Wanted::WhenAsked };
        let mut call = Call::new(dialog, wanted);
        call.story = self.settings.explain.then(Box::default);
        self.live += 1;
        let slot = match self.free.pop_first() {
            Some(slot) => {
                if let Some(place) = self.calls.get_mut(slot as usize) {
                    *place = Some(call);
                }
                slot
            }
            None => {
                let slot = CallSlot::try_from(self.calls.len()).ok()?;
                self.calls.push(Some(call));
                self.looks.push(Timestamp::default());
                slot
            }
        };
        self.look_at(slot);
        self.line_up(slot);
        Some(slot)
    }

    /// A call without media waits to be given up for another.
    pub(super) fn line_up(&mut self, slot: CallSlot) {
        let Some(Some(call)) = self.calls.get_mut(slot as usize) else { return };
        let claim = claim(call);
        if let Some(before) = call.waits.replace(claim) {
            self.queue.0.remove(&(before, slot));
        }
        self.queue.0.insert((claim, slot));
    }

    /// A call that is over waits for nothing.
    pub(super) fn leave_queue(&mut self, slot: CallSlot, call: &Call) {
        if let Some(claim) = call.waits {
            self.queue.0.remove(&(claim, slot));
        }
    }

    /// Forgets the call that is worth least, if there is one without media.
    fn evict(&mut self) -> Option<()> {
        loop {
            let (before, slot) = self.queue.0.pop_first()?;
            let Some(Some(call)) = self.calls.get_mut(slot as usize) else { continue };
            call.waits = None;
            if call.recording.is_some() {
                // It waits again when its tape is closed.
                continue;
            }
            if claim(call) > before {
                self.line_up(slot);
                continue;
            }
            self.counters.calls_evicted += 1;
            self.end_call(slot, EndReason::Evicted);
            return Some(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::settings::Settings;
    use std::net::SocketAddr;

    fn dialog(at: u64) -> Dialog {
        let end = |host: u8| SocketAddr::from(([10, 0, 0, host], 5060));
        Dialog::bare(Timestamp(at), end(1), end(2))
    }

    fn board(calls: u64) -> Switchboard {
        let settings = Settings { max_calls: 4, ..Settings::default() };
        let mut board = Switchboard::new(settings, 0);
        for at in 0..calls {
            let mut dialog = dialog(at);
            dialog.progress = Progress::Offered;
            board.admit(dialog).unwrap();
        }
        board
    }

    fn ages(board: &Switchboard) -> Vec<u64> {
        let mut ages: Vec<u64> =
            board.calls.iter().flatten().map(|call| call.dialog.last_signal.0).collect();
        ages.sort_unstable();
        ages
    }

    #[test]
    fn whom_nobody_has_answered_goes_first_then_the_oldest() {
        let mut board = board(4);
        let slot = |board: &Switchboard, at: u64| {
            let found = board.calls.iter().flatten().position(|c| c.dialog.last_signal.0 == at);
            u32::try_from(found.unwrap()).unwrap()
        };
        // The oldest is answered, the next one rings again later.
        let (first, second) = (slot(&board, 0), slot(&board, 1));
        board.call_mut(first).unwrap().dialog.progress = Progress::Answered { at: Timestamp(5) };
        board.call_mut(second).unwrap().dialog.last_signal = Timestamp(9);
        for at in 10..12 {
            let mut late = dialog(at);
            late.progress = Progress::Offered;
            assert!(board.admit(late).is_some());
        }
        assert_eq!(ages(&board), [0, 9, 10, 11]);
        assert_eq!((board.live, board.queue.0.len(), board.counters.calls_evicted), (4, 4, 2));
        // A call that is over goes even before those.
        board.call_mut(first).unwrap().dialog.progress = Progress::Ended { at: Timestamp(12) };
        board.line_up(first);
        assert!(board.admit(dialog(13)).is_some());
        assert_eq!(ages(&board), [9, 10, 11, 13]);
    }

    #[test]
    fn what_a_flood_needed_is_given_back() {
        let mut board = board(0);
        board.settings.max_calls = 10_000;
        for at in 0..5_000 {
            board.admit(dialog(at)).unwrap();
        }
        for slot in (0..5_000).filter(|slot| *slot != 3) {
            board.end_call(slot, EndReason::Silent);
        }
        assert_eq!(
            (board.live, board.calls.len(), board.looks.len(), board.free.len()),
            (1, 4, 4, 3)
        );
        assert!(board.calls.capacity() <= 4 * LEAST_SLOTS);
        let slots = [0; 5].map(|_: u8| board.admit(dialog(9_000)).unwrap());
        assert_eq!(slots, [0, 1, 2, 4, 5]);
        for slot in 0..6 {
            board.end_call(slot, EndReason::Silent);
        }
        assert!(board.calls.is_empty() && board.looks.is_empty() && board.free.is_empty());
        assert_eq!(board.queue.0.len(), 0);
    }

    #[test]
    fn the_queue_is_as_long_as_the_table() {
        let mut board = board(3);
        for slot in 0..3 {
            board.line_up(slot);
            board.end_call(slot, EndReason::HungUp);
        }
        assert_eq!((board.live, board.queue.0.len()), (0, 0));
    }
}
