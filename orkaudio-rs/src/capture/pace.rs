//! Replays a capture at the speed it was taken.
//!
//! Law: a frame is due when as much real time has passed since the first frame as capture time
//! has. A replay that has fallen behind does not wait until it has caught up.

use orkbase::time::Timestamp;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Shorter waits are left to add up: sleeping costs more than they last.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// A longer silence means that the next file was captured on another occasion.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Frames of several interfaces may be out of order by less than this.
const LARGEST_STEP_BACK: Duration = Duration::from_secs(1);
/// How long a stop may go unnoticed.
const SLICE: Duration = Duration::from_millis(50);

/// A replay's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    progress: Option<Progress>,
}

#[derive(Clone, Copy, Debug)]
struct Progress {
    /// A frame, and when it was replayed.
    anchor: (Timestamp, Instant),
    /// The frame before this one.
    last: Timestamp,
}

impl Pace {
    /// How long to hold back the frame captured `at`, if it is `now`; zero if it is due.
    pub fn wait(&mut self, at: Timestamp, now: Instant) -> Duration {
        let wait = self.progress.and_then(|Progress { anchor: (captured, replayed), last }| {
            let passed = now.saturating_duration_since(replayed);
            time_left(captured, last, at, passed)
        });
        match (wait, &mut self.progress) {
            (Some(wait), Some(progress)) => {
                progress.last = at;
                wait
            }
            _ => {
                self.progress = Some(Progress { anchor: (at, now), last: at });
                Duration::ZERO
            }
        }
    }
}

/// Time until the frame captured `at` is due, when the frame captured at `first` came `passed`
/// ago; none when it does not belong to the same occasion as the one before it, `last`.
fn time_left(
    first: Timestamp,
    last: Timestamp,
    at: Timestamp,
    passed: Duration,
) -> Option<Duration> {
    let due = Duration::from_nanos(at.nanos_since(first));
    let step_back = Duration::from_nanos(last.nanos_since(at));
    match due.saturating_sub(passed) {
        wait if wait > LONGEST_WAIT || step_back > LARGEST_STEP_BACK => None,
        wait if wait < SHORTEST_WAIT => Some(Duration::ZERO),
        wait => Some(wait),
    }
}

/// Sleeps for `wait`, or until `stopped` says so; true when it slept to the end.
pub fn hold(mut wait: Duration, stopped: &mut dyn FnMut() -> bool) -> bool {
    let begun = Instant::now();
    let whole = wait;
    while !wait.is_zero() {
        if stopped() {
            return false;
        }
        sleep(wait.min(SLICE));
        wait = whole.saturating_sub(begun.elapsed());
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_when_they_came() {
        let start = Instant::now();
        let check = |pace: &mut Pace, captured_ms: u64, now_ms: u64, wait_ms: u64| {
            let at = Timestamp(0).plus_millis(captured_ms);
            let wait = pace.wait(at, start + Duration::from_millis(now_ms));
            assert_eq!(wait, Duration::from_millis(wait_ms), "{captured_ms} at {now_ms}");
        };
        let mut pace = Pace::default();
        check(&mut pace, 10_000, 0, 0);
        check(&mut pace, 10_020, 1, 19);
        check(&mut pace, 10_040, 40, 0);
        // Behind: no wait, and the clock is not moved.
        check(&mut pace, 10_060, 500, 0);
        check(&mut pace, 10_520, 500, 20);
        // Out of order by a little.
        check(&mut pace, 9_990, 520, 0);
        check(&mut pace, 10_540, 520, 20);
        // The next file is of another day; then one from long ago.
        check(&mut pace, 90_000_000, 600, 0);
        check(&mut pace, 90_000_020, 600, 20);
        check(&mut pace, 5_000, 700, 0);
        check(&mut pace, 5_020, 700, 20);
        // The same file again.
        check(&mut pace, 8_000, 3_700, 0);
        check(&mut pace, 5_000, 3_700, 0);
        check(&mut pace, 5_020, 3_700, 20);
    }

    #[test]
    fn a_stop_ends_the_wait() {
        assert!(!hold(Duration::from_secs(3600), &mut || true));
        assert!(hold(Duration::from_millis(2), &mut || false));
    }
}
