//! One direction of voice: from IAX2's milliseconds to RTP's timestamps and sequence numbers.
//!
//! Law: IAX2 voice has no sequence number, so a packet's number follows from its time and the length
//! of those before it: what is missing leaves a hole of the right size, what comes again gets its
//! number again. A hole longer than [`LOSS_MS`], or announced by comfort noise, is silence.

use super::formats::Sound;
use crate::time::Timestamp;
use std::collections::VecDeque;

/// A hole up to this long is loss, in milliseconds; a longer one is a sender that was silent.
const LOSS_MS: i64 = 1_000;
/// Packets whose numbers are remembered: 1.28 s of 20 ms.
const REMEMBERED: usize = 64;
/// A packet this much older than all remembered ones is of a clock that began anew, in milliseconds.
const RESTART_MS: i64 = 10_000;
/// The trunk's clock and the call's may part by this much before they are compared anew.
const TRUNK_DRIFT_MS: i64 = 1_000;
/// Octets of the RTP header made here.
const RTP_HEADER: usize = 12;

/// How a voice packet says when it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum When {
    /// The call's clock (full frame).
    Clock(u32),
    /// Its low half (mini frame).
    Half(u16),
    /// The trunk's clock, in the datagram of this number.
    Trunk(u32, u64),
    /// Unreadable: the capture's clock.
    Hidden,
}

/// A packet whose number is known.
#[derive(Clone, Copy, Debug)]
struct Numbered {
    /// On the sender's clock, in milliseconds.
    time: i64,
    /// Its length in milliseconds; 0 when unknown.
    length: i64,
    number: u16,
}

/// One direction of a call's voice.
#[derive(Debug)]
pub(super) struct Voice {
    /// Newest packet and when it was captured.
    newest: Option<(i64, Timestamp)>,
    /// The high half of the clock was never seen.
    guessed: bool,
    /// What a full frame's clock is behind ours, because ours was guessed.
    bias: i64,
    /// What the trunk's clock is behind the call's.
    trunk: Option<i64>,
    /// The datagram that the last trunk packet came in, and its time.
    datagram: Option<(u64, i64)>,
    /// Oldest first, by time.
    numbered: VecDeque<Numbered>,
    /// The sender said that it is silent.
    silent: bool,
    /// Packets of hidden time so far.
    hidden: u16,
}

impl Voice {
    pub(super) const fn new() -> Self {
        Self {
            newest: None,
            guessed: false,
            bias: 0,
            trunk: None,
            datagram: None,
            numbered: VecDeque::new(),
            silent: false,
            hidden: 0,
        }
    }

    /// The sender is silent until its next packet.
    pub(super) const fn comfort_noise(&mut self) {
        self.silent = true;
    }

    /// Writes one packet as RTP into `out`.
    pub(super) fn write(
        &mut self,
        at: Timestamp,
        when: When,
        (sound, ssrc): (&Sound, u32),
        data: &[u8],
        out: &mut Vec<u8>,
    ) {
        let length = i64::from(sound.millis(data));
        let (time, number) = if when == When::Hidden {
            self.hidden = self.hidden.wrapping_add(1);
            (millis(at), self.hidden)
        } else {
            let time = self.time(at, when, length);
            (time, self.number(at, time, length))
        };
        let ticks = time.wrapping_mul(i64::from(sound.rate / 1000));
        let [.., t0, t1, t2, t3] = ticks.to_be_bytes();
        out.clear();
        out.reserve(RTP_HEADER + data.len());
        out.extend([0x80, sound.payload_type]);
        out.extend(number.to_be_bytes());
        out.extend([t0, t1, t2, t3]);
        out.extend(ssrc.to_be_bytes());
        if sound.swapped {
            out.extend(data.as_chunks::<2>().0.iter().flat_map(|&[low, high]| [high, low]));
        } else {
            out.extend(data);
        }
    }

    /// Where a packet stands on the sender's clock, in milliseconds.
    fn time(&mut self, at: Timestamp, when: When, length: i64) -> i64 {
        // Where a packet sent without delay would stand.
        let now = self.newest.map(|(time, then)| time + millis(at) - millis(then));
        match (when, now) {
            (When::Clock(time), None) => i64::from(time),
            (When::Clock(time), Some(now)) if self.guessed => {
                self.guessed = false;
                let low = nearest(now, i64::from(time), 1 << 16);
                self.bias = low - i64::from(time);
                low
            }
            (When::Clock(time), Some(now)) => nearest(now, i64::from(time) + self.bias, 1 << 32),
            (When::Half(time), Some(now)) => nearest(now, i64::from(time) + self.bias, 1 << 16),
            (When::Half(time), None) => {
                self.guessed = true;
                i64::from(time)
            }
            (When::Trunk(time, datagram), now) => {
                let time = self.trunk_time(i64::from(time), datagram, now, length);
                self.datagram = Some((datagram, time));
                time
            }
            (When::Hidden, _) => millis(at),
        }
    }

    fn trunk_time(&mut self, time: i64, datagram: u64, now: Option<i64>, length: i64) -> i64 {
        let Some(now) = now else {
            self.guessed = true;
            self.trunk = Some(0);
            return time;
        };
        // A call may have two packets in one datagram: they follow each other.
        if let Some((_, before)) = self.datagram.filter(|(same, _)| *same == datagram) {
            return before + length.max(1);
        }
        if let Some(behind) = self.trunk.filter(|b| (time + b - now).abs() < TRUNK_DRIFT_MS) {
            return time + behind;
        }
        // The first: it follows the newest packet, unless the capture's clock says that some between
        // them are missing.
        let next = self.numbered.back().map_or(now, |newest| newest.time + newest.length);
        let step = length.max(1);
        let missing = if now - next > step * 3 / 2 { (now - next + step / 2) / step } else { 0 };
        let placed = next + missing * step;
        self.trunk = Some(placed - time);
        placed
    }

    /// The sequence number of a packet.
    fn number(&mut self, at: Timestamp, time: i64, length: i64) -> u16 {
        if self.newest.is_none_or(|(newest, _)| time >= newest) {
            self.newest = Some((time, at));
        }
        let new = |number| Numbered { time, length, number };
        let place = self.numbered.partition_point(|known| known.time < time);
        let steps = |ms: i64, length: i64| if length > 0 { (ms + length / 2) / length } else { 0 };
        let before = place.checked_sub(1).and_then(|index| self.numbered.get(index)).copied();
        let after = self.numbered.get(place).copied();
        match (before, after) {
            (_, Some(same)) if same.time == time => same.number,
            (None, None) => {
                self.numbered.push_back(new(0));
                0
            }
            (Some(before), None) => {
                let hole = time - before.time - before.length;
                let silent = std::mem::take(&mut self.silent) || hole > LOSS_MS;
                let missing = if silent { 0 } else { steps(hole.max(0), before.length) };
                let number = before.number.wrapping_add(1).wrapping_add(low(missing));
                if self.numbered.len() >= REMEMBERED {
                    self.numbered.pop_front();
                }
                self.numbered.push_back(new(number));
                number
            }
            (None, Some(oldest)) if oldest.time - time > RESTART_MS => {
                let newest = self.numbered.back().map_or(0, |newest| newest.number);
                self.numbered.clear();
                self.newest = Some((time, at));
                self.numbered.push_back(new(newest.wrapping_add(1)));
                newest.wrapping_add(1)
            }
            (None, Some(oldest)) => {
                let number =
                    oldest.number.wrapping_sub(low(steps(oldest.time - time, length).max(1)));
                if self.numbered.len() < REMEMBERED {
                    self.numbered.push_front(new(number));
                }
                number
            }
            (Some(before), Some(after)) => {
                let free = after.number.wrapping_sub(before.number).saturating_sub(1);
                if free == 0 {
                    // It came late into what was taken for silence: there is no number left for it.
                    return after.number;
                }
                let step = steps(time - before.time, length).clamp(1, i64::from(free));
                let number = before.number.wrapping_add(low(step));
                if self.numbered.len() >= REMEMBERED {
                    self.numbered.pop_front();
                    self.numbered.insert(place - 1, new(number));
                } else {
                    self.numbered.insert(place, new(number));
                }
                number
            }
        }
    }
}

/// Capture time in milliseconds.
fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.millis_since(Timestamp(0))).unwrap_or(i64::MAX)
}

/// The value nearest to `now` that is `value` modulo `span`.
const fn nearest(now: i64, value: i64, span: i64) -> i64 {
    let ahead = value.wrapping_sub(now).wrapping_add(span / 2).rem_euclid(span);
    now + ahead - span / 2
}

/// Steps as far as they count; nothing that is called a hole has more.
fn low(steps: i64) -> u16 {
    u16::try_from(steps).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::formats::sound_of;
    use super::*;
    use proptest::prelude::*;

    const ULAW: u64 = 4;

    /// Sends 20 ms of mu-law; gives sequence number and timestamp in milliseconds.
    fn send(voice: &mut Voice, at_ms: u64, when: When) -> (u16, u32) {
        let data = [0xFF; 160];
        let mut out = Vec::new();
        let at = Timestamp((1_000_000 + at_ms) * 1_000_000);
        voice.write(at, when, (sound_of(ULAW, &data).unwrap(), 7), &data, &mut out);
        assert_eq!((out.len(), out[0], out[1]), (172, 0x80, 0));
        assert_eq!(out[8..12], [0, 0, 0, 7]);
        let ticks = u32::from_be_bytes([out[4], out[5], out[6], out[7]]);
        (u16::from_be_bytes([out[2], out[3]]), ticks / 8)
    }

    #[test]
    fn time_wraps_every_65_seconds() {
        let mut voice = Voice::new();
        assert_eq!(send(&mut voice, 0, When::Clock(20)), (0, 20));
        for n in 1..10_000_u32 {
            let time = 20 + n * 20;
            let half = u16::try_from(time & 0xFFFF).unwrap();
            // The full frame at the wrap comes late.
            let got = send(&mut voice, u64::from(n) * 20, When::Half(half));
            assert_eq!((got.1, got.0), (time, u16::try_from(n).unwrap()));
        }
    }

    #[test]
    fn loss_duplicates_and_reordering_keep_their_numbers() {
        let mut voice = Voice::new();
        let mut send = |ms: u16| send(&mut voice, u64::from(ms), When::Half(ms)).0;
        let got = [20, 40, 100, 80, 100, 40, 60, 120, 161].map(&mut send);
        assert_eq!(got, [0, 1, 4, 3, 4, 1, 2, 5, 7], "141 ms would have been next");
        assert_eq!([0, 1161, 2200].map(&mut send), [u16::MAX, 8 + 49, 58]);
    }

    #[test]
    fn silence_is_no_loss() {
        let mut voice = Voice::new();
        assert_eq!(send(&mut voice, 0, When::Clock(20)).0, 0);
        assert_eq!(send(&mut voice, 5_000, When::Half(5_020)).0, 1);
        voice.comfort_noise();
        assert_eq!(send(&mut voice, 5_500, When::Half(5_520)).0, 2);
        assert_eq!(send(&mut voice, 5_600, When::Half(5_620)).0, 7);
        assert_eq!(send(&mut voice, 5_300, When::Half(5_320)).0, 2, "too late to have a number");
    }

    #[test]
    fn a_clock_joined_late_does_not_jump_when_it_is_told() {
        let mut voice = Voice::new();
        assert_eq!(send(&mut voice, 0, When::Half(65_500)), (0, 65_500));
        assert_eq!(send(&mut voice, 20, When::Half(65_520)), (1, 65_520));
        assert_eq!(send(&mut voice, 40, When::Clock(10 * 65_536 + 4)), (2, 65_540));
        assert_eq!(send(&mut voice, 60, When::Half(24)), (3, 65_560));
        assert_eq!(send(&mut voice, 80, When::Clock(10 * 65_536 + 44)), (4, 65_580));
    }

    #[test]
    fn a_clock_that_begins_anew_loses_nothing() {
        let mut voice = Voice::new();
        assert_eq!(send(&mut voice, 0, When::Clock(100_000)).0, 0);
        assert_eq!(send(&mut voice, 20, When::Clock(40)), (1, 40));
        assert_eq!(send(&mut voice, 40, When::Half(60)), (2, 60));
    }

    #[test]
    fn the_trunks_clock_is_laid_on_the_calls() {
        let mut voice = Voice::new();
        assert_eq!(send(&mut voice, 0, When::Clock(3)), (0, 3));
        assert_eq!(send(&mut voice, 27, When::Trunk(900_000, 1)), (1, 23), "jitter");
        assert_eq!(send(&mut voice, 40, When::Trunk(900_020, 2)), (2, 43));
        assert_eq!(send(&mut voice, 40, When::Trunk(900_020, 2)), (3, 63), "two in one datagram");
        assert_eq!(send(&mut voice, 100, When::Trunk(900_080, 4)), (5, 103), "one lost");
        assert_eq!(send(&mut voice, 100, When::Trunk(900_080, 5)), (5, 103), "mirrored twice");
        assert_eq!(send(&mut voice, 120, When::Clock(123)), (6, 123));
        assert_eq!(send(&mut voice, 140, When::Trunk(900_120, 6)), (7, 143));
        assert_eq!(send(&mut voice, 161, When::Trunk(20, 7)), (8, 163), "the trunk began anew");
        assert_eq!(send(&mut voice, 261, When::Trunk(10_020, 8)), (13, 263), "and lost four");
    }

    proptest! {
        #[test]
        fn any_times_are_answered(times in proptest::collection::vec((0u8..4, any::<u32>(), 0u64..100_000), 0..300)) {
            let mut voice = Voice::new();
            for (kind, time, at) in times {
                let half = u16::try_from(time & 0xFFFF).unwrap();
                let when = match kind {
                    0 => When::Clock(time),
                    1 => When::Half(half),
                    2 => When::Trunk(time, at),
                    _ => When::Hidden,
                };
                send(&mut voice, at, when);
                prop_assert!(voice.numbered.len() <= REMEMBERED);
                prop_assert!(voice.numbered.iter().is_sorted_by_key(|known| known.time));
            }
        }
    }
}
