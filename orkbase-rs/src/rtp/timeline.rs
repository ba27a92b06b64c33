//! Puts packets on the call's timeline (RFC 3550 §5.1): the RTP timestamp says how they stand to each
//! other, the capture time where the whole stream stands.
//!
//! Law: a packet's place follows from its timestamp and the stream's anchor. The anchor moves only
//! when the sender's clock proves wrong: a jump (timestamp and arrival part by more than a second, or
//! by more than 100 ms for a fifth of a second) moves it at once; drift moves it one 8 kHz sample a packet.

/// The timeline's unit: 1/48000 s. Whole samples of 8, 12, 16, 24 and 48 kHz fall on it.
pub const TICKS_PER_SEC: i64 = 48_000;
const UNITS: u32 = 48_000;
/// Ticks in one 8 kHz sample; anchors lie on this grid, so that telephone audio is never resampled.
pub const TICKS_PER_SAMPLE_8K: i64 = 6;
/// Ticks in a millisecond.
pub const TICKS_PER_MILLI: i64 = 48;
/// Timestamp and arrival may part by this much before the stream is anchored anew.
const JUMP: i64 = TICKS_PER_SEC;
/// So much later than usual, for [`LATE_SPAN`]: the sender paused without moving its clock.
const LATE: i64 = 100 * TICKS_PER_MILLI;
/// See [`LATE`]: 200 ms; a network stall empties its queue at once.
const LATE_SPAN: i64 = 200 * TICKS_PER_MILLI;
/// Drift is judged by the least delay over this long (4 s): jitter only ever adds delay.
const DRIFT_WINDOW: i64 = 4 * TICKS_PER_SEC;
/// Drift below this is left alone (4 ms).
const DRIFT_DEADBAND: i64 = 4 * TICKS_PER_MILLI;

/// Nanoseconds of capture time to ticks.
#[must_use]
pub fn ticks_from_nanos(nanos: u64) -> i64 {
    let ticks = match nanos.checked_mul(6) {
        Some(whole) => whole / 125_000,
        None => nanos / 125_000 * 6 + nanos % 125_000 * 6 / 125_000,
    };
    i64::try_from(ticks).unwrap_or(i64::MAX)
}

/// Ticks to whole milliseconds, rounded to nearest; zero for negative spans.
#[must_use]
pub fn millis_from_ticks(ticks: i64) -> u64 {
    u64::try_from((ticks + TICKS_PER_MILLI / 2) / TICKS_PER_MILLI).unwrap_or(0)
}

/// One stream's clock against ours. What every packet needs comes last, in one cache line if its place allows.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Timeline {
    /// Ticks moved by drift correction, signed.
    pub drift_corrected: i64,
    /// See [`LATE`]; of use while `late`.
    late_since: i64,
    late_least: i64,
    error_before: i64,
    /// How often the stream was anchored anew after its first packet.
    pub jumps: u32,
    clock_rate: u32,
    /// Extended timestamp and place of the anchor.
    anchor_timestamp: i64,
    anchor_tick: i64,
    /// The highest extended timestamp seen.
    last_timestamp: i64,
    window_ends: i64,
    /// Ticks in one unit of the RTP clock, times `divisor`.
    scale: u32,
    divisor: u32,
    /// Delays are within [`JUMP`] of nothing, and moved by little more: 32 bits are plenty.
    window_least: i32,
    /// Nothing until `judged`.
    usual_delay: i32,
    slew: i32,
    anchored: bool,
    judged: bool,
    late: bool,
}

/// No packet came in the window yet.
const NONE_YET: i32 = i32::MAX;

/// A delay or a part of one; what does not fit is held at the end of the scale.
#[inline]
fn short(ticks: i64) -> i32 {
    let within = ticks.clamp(i64::from(i32::MIN), i64::from(i32::MAX));
    i32::try_from(within).unwrap_or(0)
}

impl Timeline {
    /// Where the bytes begin, to its end, that a packet touches.
    pub(crate) const HOT_FROM: usize = std::mem::offset_of!(Self, anchor_timestamp);

    /// A stream with `clock_rate` units a second (0 counts as 8000).
    #[must_use]
    pub fn new(clock_rate: u32) -> Self {
        let mut timeline = Self {
            drift_corrected: 0,
            late_since: 0,
            late_least: i64::MAX,
            error_before: 0,
            jumps: 0,
            clock_rate: 0,
            anchor_timestamp: 0,
            anchor_tick: 0,
            last_timestamp: 0,
            window_ends: 0,
            scale: 0,
            divisor: 1,
            window_least: NONE_YET,
            usual_delay: 0,
            slew: 0,
            anchored: false,
            judged: false,
            late: false,
        };
        timeline.set_clock_rate(clock_rate);
        timeline
    }

    /// Changes the RTP clock (a payload type of another rate); places from here on follow it.
    pub fn set_clock_rate(&mut self, clock_rate: u32) {
        let rate = if clock_rate == 0 { 8000 } else { clock_rate };
        if rate == self.clock_rate {
            return;
        }
        self.anchor_tick = self.place_of(self.last_timestamp);
        self.anchor_timestamp = self.last_timestamp;
        self.clock_rate = rate;
        (self.scale, self.divisor) =
            if UNITS.is_multiple_of(rate) { (UNITS / rate, 1) } else { (UNITS, rate) };
    }

    /// The RTP clock in units a second.
    #[must_use]
    pub const fn clock_rate(&self) -> u32 {
        self.clock_rate
    }

    /// Forgets the anchor: the next packet sets it.
    pub const fn unanchor(&mut self) {
        self.anchored = false;
    }

    #[inline]
    fn place_of(&self, timestamp: i64) -> i64 {
        let scaled = (timestamp - self.anchor_timestamp) * i64::from(self.scale);
        if self.divisor == 1 {
            self.anchor_tick + scaled
        } else {
            self.anchor_tick + scaled.div_euclid(i64::from(self.divisor))
        }
    }

    #[inline]
    fn extend(&self, timestamp: u32) -> i64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the low 32 bits are what travels"
        )]
        let low = self.last_timestamp as u32;
        self.last_timestamp + i64::from(timestamp.wrapping_sub(low).cast_signed())
    }

    /// The tick where a packet that is newer than all before it belongs; `arrival` is its capture
    /// time in ticks on the call's timeline. `settled` is asked, when it matters, whether the packet
    /// overtook none before it: one that did came early, and says nothing about the sender's clock.
    #[inline]
    pub fn place(&mut self, timestamp: u32, arrival: i64, settled: impl FnOnce() -> bool) -> i64 {
        if !self.anchored {
            self.last_timestamp = i64::from(timestamp);
            return self.anchor(arrival);
        }
        self.last_timestamp = self.extend(timestamp);
        let tick = self.place_of(self.last_timestamp);
        let delay = arrival - tick;
        if !(-JUMP..=JUMP).contains(&delay) {
            self.jumps += 1;
            return self.anchor(arrival);
        }
        if delay < i64::from(self.window_least) && settled() {
            self.window_least = short(delay);
        }
        if self.slew != 0
            || arrival >= self.window_ends
            || delay - i64::from(self.usual_delay) > LATE
        {
            return self.correct(tick, arrival, delay);
        }
        self.late = false;
        tick
    }

    /// Whether a packet was placed yet.
    #[must_use]
    pub const fn is_anchored(&self) -> bool {
        self.anchored
    }

    /// The tick where a packet that comes after newer ones belongs, once the timeline is anchored.
    #[must_use]
    pub fn place_behind(&self, timestamp: u32) -> i64 {
        self.place_of(self.extend(timestamp))
    }

    /// The tick of a timestamp that moves nothing; `None` where it is not near `arrival`.
    #[must_use]
    pub fn peek(&self, timestamp: u32, arrival: i64) -> Option<i64> {
        let tick = self.place_of(self.extend(timestamp));
        (self.anchored && (arrival - tick).abs() <= JUMP).then_some(tick)
    }

    fn anchor(&mut self, arrival: i64) -> i64 {
        let tick = arrival - arrival.rem_euclid(TICKS_PER_SAMPLE_8K);
        self.anchored = true;
        self.anchor_timestamp = self.last_timestamp;
        self.anchor_tick = tick;
        self.usual_delay = 0;
        self.judged = false;
        self.begin_window(arrival);
        self.late = false;
        self.slew = 0;
        self.error_before = 0;
        tick
    }

    const fn begin_window(&mut self, arrival: i64) {
        self.window_ends = arrival + DRIFT_WINDOW;
        self.window_least = NONE_YET;
    }

    #[cold]
    fn correct(&mut self, tick: i64, arrival: i64, delay: i64) -> i64 {
        let usual = i64::from(self.usual_delay);
        if delay - usual > LATE {
            if !self.late {
                self.late = true;
                self.late_since = arrival;
                self.late_least = delay;
            }
            self.late_least = self.late_least.min(delay);
            if arrival - self.late_since >= LATE_SPAN {
                let by = self.late_least - usual;
                self.jumps += 1;
                self.late = false;
                return self.shift(tick, by - by.rem_euclid(TICKS_PER_SAMPLE_8K));
            }
            return tick;
        }
        self.late = false;
        if arrival >= self.window_ends {
            self.judge_drift(arrival);
        }
        if self.slew == 0 {
            return tick;
        }
        let step = TICKS_PER_SAMPLE_8K * i64::from(self.slew.signum());
        self.slew = short(i64::from(self.slew) - step);
        self.drift_corrected += step;
        self.shift(tick, step)
    }

    fn judge_drift(&mut self, arrival: i64) {
        let least = self.window_least;
        self.begin_window(arrival);
        if least == NONE_YET {
            return;
        }
        if !self.judged {
            self.judged = true;
            self.usual_delay = least;
            return;
        }
        let (usual, slew) = (i64::from(self.usual_delay), i64::from(self.slew));
        let error = i64::from(least) - usual - slew;
        let agreed = if error.signum() == self.error_before.signum() {
            error.signum() * error.abs().min(self.error_before.abs())
        } else {
            0
        };
        if agreed.abs() >= DRIFT_DEADBAND {
            self.slew = short(slew + agreed - agreed % TICKS_PER_SAMPLE_8K);
            self.error_before = 0;
        } else {
            self.error_before = error;
        }
    }

    fn shift(&mut self, tick: i64, by: i64) -> i64 {
        self.anchor_tick += by;
        // The window saw delays measured from the old anchor.
        if self.window_least != NONE_YET {
            self.window_least = short(i64::from(self.window_least) - by);
        }
        tick + by
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: i64 = 20 * TICKS_PER_MILLI;

    #[test]
    fn a_steady_stream_lies_end_to_end() {
        let mut timeline = Timeline::new(8000);
        for n in 0..5000i64 {
            let timestamp = (0xffff_f000u32).wrapping_add(u32::try_from(n).unwrap() * 160);
            assert_eq!(timeline.place(timestamp, n * FRAME + n % 7, || true), n * FRAME);
        }
        assert_eq!((timeline.jumps, timeline.drift_corrected), (0, 0));
    }

    #[test]
    fn two_hours_at_500_ppm_stay_within_ten_milliseconds() {
        for sign in [-1i64, 1] {
            let mut timeline = Timeline::new(8000);
            for n in 0..360_000i64 {
                let arrival = n * FRAME + sign * n * FRAME / 2000 + (n * 7919 % 13) * 20;
                let tick = timeline.place(u32::try_from(n * 160).unwrap(), arrival, || true);
                assert!((tick - arrival).abs() < 15 * TICKS_PER_MILLI, "{n}: {}", tick - arrival);
            }
            let drift = sign * 7200 * TICKS_PER_SEC / 2000;
            assert!((timeline.drift_corrected - drift).abs() < 10 * TICKS_PER_MILLI);
            assert_eq!(timeline.jumps, 0);
        }
    }

    #[test]
    fn a_timestamp_jump_lands_at_its_arrival() {
        let mut timeline = Timeline::new(8000);
        timeline.place(0, 0, || true);
        assert_eq!(timeline.place(900_000_000, FRAME, || true), FRAME);
        assert_eq!(timeline.place(900_000_160, 2 * FRAME, || true), 2 * FRAME);
    }

    #[test]
    fn a_stall_that_empties_its_queue_moves_nothing() {
        let mut timeline = Timeline::new(8000);
        for n in 0..50i64 {
            let arrival = if (20..35).contains(&n) { 35 * FRAME } else { n * FRAME };
            assert_eq!(
                timeline.place(u32::try_from(n).unwrap() * 160, arrival, || true),
                n * FRAME
            );
        }
    }

    #[test]
    fn a_pause_without_timestamps_is_seen() {
        let mut timeline = Timeline::new(8000);
        let mut last = (0, 0);
        for n in 0..100i64 {
            let arrival = n * FRAME + if n >= 50 { 30 * FRAME } else { 0 };
            last = (timeline.place(u32::try_from(n).unwrap() * 160, arrival, || true), arrival);
        }
        assert_eq!(last.0, last.1);
    }

    #[test]
    fn clocks_that_do_not_divide_the_tick_rate() {
        let mut timeline = Timeline::new(44_100);
        timeline.place(0, 0, || true);
        assert_eq!(timeline.place(882, FRAME, || true), FRAME);
        assert_eq!(ticks_from_nanos(20_000_000), FRAME);
        assert_eq!(millis_from_ticks(FRAME), 20);
    }
}
