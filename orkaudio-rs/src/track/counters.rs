//! What happened on the way to the trackers, readable at any time.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use std::time::{SystemTime, UNIX_EPOCH};

/// Numbers of the tracker link. All only grow, but for the two gauges.
#[derive(Debug, Default)]
pub struct TrackCounters {
    /// Messages taken into the outbox, once for each tracker.
    pub queued: AtomicU64,
    /// Messages a tracker has taken.
    pub delivered: AtomicU64,
    /// Messages taken whose answer said `success=false`; they are delivered all the same.
    pub unsuccessful: AtomicU64,
    /// Attempts that a reachable tracker did not answer as it should.
    pub failed_attempts: AtomicU64,
    /// Attempts at a tracker that could not be reached, introductions included.
    pub unreachable: AtomicU64,
    /// Messages other than `ready` that found the queue full and were dropped.
    pub dropped: AtomicU64,
    /// Journal entries that found the queue full: recovery knows less about those tapes.
    pub journal_dropped: AtomicU64,
    /// `start` and `stop` that a later stage made needless while the tracker was away.
    pub coalesced: AtomicU64,
    /// `ready` told again for a tape that was already ready: ignored.
    pub repeated: AtomicU64,
    /// Messages without a recording's name: ignored.
    pub nameless: AtomicU64,
    /// Messages a tracker refused for good (400), or too long for any request line.
    pub refused: AtomicU64,
    /// Transactions that failed and were tried again.
    pub store_failures: AtomicU64,
    /// Gauge: messages in the outbox.
    pub outbox_rows: AtomicU64,
    /// Gauge: Unix seconds when the oldest of them was queued, 0 when there is none.
    pub oldest_queued_at: AtomicU64,
    /// One line for each tracker, in configured order.
    pub(super) trackers: Mutex<Vec<TrackerState>>,
}

/// How one tracker is doing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TrackerState {
    /// Its address.
    pub address: String,
    /// It has answered `init` and could be reached since.
    pub introduced: bool,
    /// The latest trouble, empty when there was none since it was introduced.
    pub trouble: String,
}

impl TrackCounters {
    /// Age of the oldest message in the outbox, in seconds.
    pub fn oldest_age_s(&self) -> u64 {
        match self.oldest_queued_at.load(Relaxed) {
            0 => 0,
            then => unix_seconds().saturating_sub(then),
        }
    }

    /// How every tracker is doing.
    pub fn trackers(&self) -> Vec<TrackerState> {
        self.trackers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every number with its name, in a fixed order.
    pub fn list(&self) -> [(&'static str, u64); 14] {
        [
            ("track.queued", self.queued.load(Relaxed)),
            ("track.delivered", self.delivered.load(Relaxed)),
            ("track.unsuccessful", self.unsuccessful.load(Relaxed)),
            ("track.failed_attempts", self.failed_attempts.load(Relaxed)),
            ("track.unreachable", self.unreachable.load(Relaxed)),
            ("track.dropped", self.dropped.load(Relaxed)),
            ("track.journal_dropped", self.journal_dropped.load(Relaxed)),
            ("track.coalesced", self.coalesced.load(Relaxed)),
            ("track.repeated", self.repeated.load(Relaxed)),
            ("track.nameless", self.nameless.load(Relaxed)),
            ("track.refused", self.refused.load(Relaxed)),
            ("track.store_failures", self.store_failures.load(Relaxed)),
            ("track.outbox_rows", self.outbox_rows.load(Relaxed)),
            ("track.oldest_age_s", self.oldest_age_s()),
        ]
    }

    pub(super) fn note(&self, tracker: usize, change: impl FnOnce(&mut TrackerState)) {
        let mut trackers = self.trackers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = trackers.get_mut(tracker) {
            change(state);
        }
    }
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// The clock on the wall, for ages and dates only.
pub(super) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
