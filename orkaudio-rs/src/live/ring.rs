//! The last moments of a tape, for those who listen.
//!
//! Law: a place on the tape holds what was written there last. What nobody wrote is silence. It holds
//! two seconds and no more; who reads later hears silence there.

use orkbase::audio::tape::Frame;
use std::collections::VecDeque;

/// What is kept, in seconds.
const KEPT_SECONDS: u64 = 2;

/// The newest frames of a tape; positions count from its start, as in the file.
#[derive(Debug)]
pub(super) struct Ring {
    frames: VecDeque<Frame>,
    capacity: usize,
    /// Position of the first frame kept.
    first: u64,
    /// Counts what was written: whoever looks again sees whether there is more.
    news: u64,
    closed: bool,
}

impl Ring {
    pub(super) fn new(rate: u32) -> Self {
        let capacity = usize::try_from(u64::from(rate) * KEPT_SECONDS).unwrap_or(0);
        Self { frames: VecDeque::new(), capacity, first: 0, news: 0, closed: false }
    }

    /// Where the newest audio ends; `None` before there is any.
    pub(super) fn end(&self) -> Option<u64> {
        (self.news > 0).then(|| self.first + self.length())
    }

    pub(super) const fn news(&self) -> u64 {
        self.news
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) const fn close(&mut self) {
        self.closed = true;
    }

    fn length(&self) -> u64 {
        u64::try_from(self.frames.len()).unwrap_or(0)
    }

    /// Writes `frames` at `at`, as [`orkbase::audio::tape::PcmSink::write`].
    pub(super) fn write(&mut self, at: u64, frames: &[Frame]) {
        let count = u64::try_from(frames.len()).unwrap_or(0);
        if frames.is_empty() {
            return;
        }
        self.news += 1;
        let kept = u64::try_from(self.capacity).unwrap_or(0);
        if self.frames.is_empty() || at > self.first + self.length() + kept {
            self.frames.clear();
            self.first = at;
        }
        let gap = at.saturating_sub(self.first + self.length());
        self.frames.extend((0..gap).map(|_| [0, 0]));
        // Of what lies before the first frame kept, nothing is taken.
        let skip = usize::try_from(self.first.saturating_sub(at).min(count)).unwrap_or(0);
        let from = usize::try_from(at.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let fresh = frames.get(skip..).unwrap_or_default();
        let over = self.frames.len().saturating_sub(from).min(fresh.len());
        let (again, more) = fresh.split_at(over);
        for (place, frame) in self.frames.iter_mut().skip(from).zip(again) {
            *place = *frame;
        }
        self.frames.extend(more);
        let excess = self.frames.len().saturating_sub(self.capacity);
        self.frames.drain(..excess);
        self.first += u64::try_from(excess).unwrap_or(0);
    }

    /// Overwrites one channel of what was written before.
    pub(super) fn patch(&mut self, at: u64, channel: usize, samples: &[i16]) {
        for (position, sample) in (at..).zip(samples) {
            let Some(index) = position.checked_sub(self.first) else { continue };
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            let place = self.frames.get_mut(index).and_then(|frame| frame.get_mut(channel));
            let Some(place) = place else { continue };
            *place = *sample;
        }
    }

    /// Appends `count` frames from `at` on to `out`, with silence for what is not here.
    pub(super) fn read(&self, at: u64, count: usize, out: &mut Vec<Frame>) {
        for position in (at..).take(count) {
            let index = position.checked_sub(self.first).and_then(|n| usize::try_from(n).ok());
            let frame = index.and_then(|index| self.frames.get(index));
            out.push(frame.copied().unwrap_or([0, 0]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(ring: &Ring, at: u64, count: usize) -> Vec<i16> {
        let mut out = Vec::new();
        ring.read(at, count, &mut out);
        out.iter().map(|[left, _]| *left).collect()
    }

    fn frames(from: i16, count: i16) -> Vec<Frame> {
        (from..from + count).map(|n| [n, -n]).collect()
    }

    #[test]
    fn what_was_written_last_is_heard() {
        let mut ring = Ring::new(8);
        assert_eq!((ring.end(), heard(&ring, 0, 2)), (None, vec![0, 0]));
        ring.write(100, &frames(1, 4));
        assert_eq!((ring.end(), heard(&ring, 99, 6)), (Some(104), vec![0, 1, 2, 3, 4, 0]));
        ring.write(102, &frames(11, 4));
        assert_eq!(heard(&ring, 100, 7), [1, 2, 11, 12, 13, 14, 0]);
        ring.patch(98, 0, &[7, 7, 7]);
        assert_eq!(heard(&ring, 100, 3), [7, 2, 11]);
        ring.write(98, &frames(21, 4));
        assert_eq!(heard(&ring, 98, 6), [0, 0, 23, 24, 11, 12], "before the first: not kept");
        ring.write(90, &frames(31, 2));
        assert_eq!((ring.end(), heard(&ring, 100, 2)), (Some(106), vec![23, 24]));
    }

    #[test]
    fn it_is_bounded_and_holes_are_silent() {
        let mut ring = Ring::new(8);
        ring.write(0, &frames(1, 10));
        ring.write(14, &frames(50, 10));
        assert_eq!((ring.end(), ring.frames.len(), ring.first), (Some(24), 16, 8));
        assert_eq!(heard(&ring, 7, 8), [0, 9, 10, 0, 0, 0, 0, 50]);
        ring.write(u64::MAX / 2, &frames(5, 1));
        assert_eq!((ring.frames.len(), ring.end()), (1, Some(u64::MAX / 2 + 1)));
    }
}
