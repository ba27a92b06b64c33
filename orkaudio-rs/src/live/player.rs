//! Plays a tape that is being made, in real time.
//!
//! Law: 20 ms of audio come out every 20 ms, whatever goes in; what did not come in time is silence.
//! The player keeps a distance from the newest audio, so that it need not wait for every packet; when
//! the distance is lost (the network stalled, the tape left out a pause) it is taken anew.

use super::ring::Ring;
use orkbase::audio::{resample::Resampler, tape::Frame};

/// What listeners get, in samples a second.
pub(super) const RATE: u32 = 8_000;
/// Frames of one chunk: 20 ms.
#[cfg(test)]
const CHUNK: usize = 160;
/// When the distance is off by more than this, it is taken anew, in milliseconds.
const ASTRAY_MS: i64 = 500;

/// The place of a player on a tape.
#[derive(Debug)]
pub(super) struct Player {
    rate: i64,
    /// Distance to keep, in frames of the tape.
    distance: i64,
    /// Where it plays next; `None` before there was any audio.
    at: Option<i64>,
    /// The ring's news at the last look.
    news: u64,
    /// What came was too late to be played: wait until there is enough again.
    waits: bool,
    resamplers: Option<[Resampler; 2]>,
    frames: Vec<Frame>,
    side: Vec<i16>,
    converted: [Vec<i16>; 2],
}

impl Player {
    /// A player of a tape of `rate` frames a second that stays `distance_ms` behind.
    pub(super) fn new(rate: u32, distance_ms: u64) -> Self {
        let resampler = || Resampler::new(rate, RATE);
        let rate = i64::from(rate);
        Self {
            rate,
            distance: rate * i64::try_from(distance_ms).unwrap_or(0) / 1_000,
            at: None,
            news: 0,
            waits: false,
            resamplers: resampler().zip(resampler()).map(|(left, right)| [left, right]),
            frames: Vec::new(),
            side: Vec::new(),
            converted: [Vec::new(), Vec::new()],
        }
    }

    /// Takes the next 20 ms from the ring; false when the tape is closed and played.
    pub(super) fn take(&mut self, ring: &Ring) -> bool {
        let count = usize::try_from(self.rate / 50).unwrap_or(0);
        let end = ring.end().and_then(|end| i64::try_from(end).ok());
        let fresh = ring.news() != self.news;
        self.news = ring.news();
        if let Some(end) = end {
            let wanted = (end - self.distance).max(0);
            let astray = |at: i64| (wanted - at).abs() > ASTRAY_MS * self.rate / 1_000;
            match self.at {
                None => self.at = Some(wanted),
                // Without news the end stands still, and we do not.
                Some(at) if fresh && astray(at) && !ring.is_closed() => {
                    self.at = Some(wanted);
                    self.waits = false;
                }
                Some(at) if fresh => self.waits = (self.waits || at >= end) && at > wanted,
                Some(_) => {}
            }
            if ring.is_closed() {
                self.waits = false;
            }
        }
        if ring.is_closed() && self.at.zip(end).is_none_or(|(at, end)| at >= end) {
            return false;
        }
        self.frames.clear();
        match self.at.filter(|_| !self.waits) {
            Some(at) => {
                ring.read(u64::try_from(at).unwrap_or(0), count, &mut self.frames);
                self.at = Some(at + i64::try_from(count).unwrap_or(0));
            }
            None => self.frames.resize(count, [0, 0]),
        }
        true
    }

    /// What was taken, at the rate of listeners.
    pub(super) fn converted(&mut self) -> Vec<Frame> {
        let Some(resamplers) = self.resamplers.as_mut() else { return self.frames.clone() };
        for (channel, (resampler, out)) in
            resamplers.iter_mut().zip(&mut self.converted).enumerate()
        {
            let side = self.frames.iter().map(|frame| frame.get(channel).copied().unwrap_or(0));
            self.side.clear();
            self.side.extend(side);
            out.clear();
            resampler.process(&self.side, out);
        }
        let [left, right] = &self.converted;
        left.iter().zip(right).map(|(left, right)| [*left, *right]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 20 ms of 8 kHz, each frame its own number.
    fn chunk(number: i16) -> Vec<Frame> {
        (0..160).map(|n| [number * 160 + n, 0]).collect()
    }

    impl Player {
        fn next(&mut self, ring: &Ring) -> Option<Vec<Frame>> {
            self.take(ring).then(|| self.converted())
        }
    }

    fn first(frames: &Option<Vec<Frame>>) -> Option<i16> {
        frames.as_ref().map(|frames| frames[0][0])
    }

    #[test]
    fn it_plays_behind_the_newest_audio_and_to_the_end() {
        let (mut ring, mut player) = (Ring::new(8_000), Player::new(8_000, 60));
        assert_eq!(first(&player.next(&ring)), Some(0), "nothing yet");
        for n in 0i16..4 {
            ring.write(u64::from(n.unsigned_abs()) * 160, &chunk(n));
        }
        // 80 ms are there: it begins 60 ms before the end.
        for n in 4i16..50 {
            assert_eq!(first(&player.next(&ring)), Some((n - 3) * 160));
            ring.write(u64::from(n.unsigned_abs()) * 160, &chunk(n));
        }
        ring.close();
        for n in 47..50 {
            assert_eq!(first(&player.next(&ring)), Some(n * 160));
        }
        assert_eq!(player.next(&ring), None);
    }

    #[test]
    fn silence_passes_in_real_time() {
        let (mut ring, mut player) = (Ring::new(8_000), Player::new(8_000, 40));
        ring.write(0, &chunk(1));
        ring.write(160, &chunk(2));
        let mut heard = Vec::new();
        for _ in 0..20 {
            heard.push(first(&player.next(&ring)).unwrap());
        }
        assert_eq!(heard[..3], [160, 320, 0]);
        // The other party begins to speak, 400 ms after the first.
        ring.write(20 * 160, &chunk(9));
        ring.write(21 * 160, &chunk(10));
        assert_eq!(first(&player.next(&ring)), Some(1_440));
        assert_eq!(first(&player.next(&ring)), Some(1_600));
    }

    #[test]
    fn a_distance_that_is_lost_is_taken_anew() {
        let (mut ring, mut player) = (Ring::new(8_000), Player::new(8_000, 40));
        ring.write(0, &chunk(0));
        ring.write(160, &chunk(1));
        for _ in 0..3 {
            player.next(&ring);
        }
        // Late by 20 ms: silence until there is enough, and nothing is left out.
        ring.write(320, &chunk(2));
        assert_eq!(first(&player.next(&ring)), Some(0));
        // A jump forward, as after a stall of the network.
        ring.write(8_000, &chunk(50));
        ring.write(8_160, &chunk(51));
        assert_eq!(first(&player.next(&ring)), Some(8_000));
        // A pause that the tape leaves out: time went on, the tape did not.
        for _ in 0..200 {
            player.next(&ring);
        }
        ring.write(8_320, &chunk(52));
        assert_eq!(first(&player.next(&ring)), Some(8_160));
        assert_eq!(first(&player.next(&ring)), Some(8_320));
    }

    #[test]
    fn wide_tapes_are_converted() {
        let (mut ring, mut player) = (Ring::new(48_000), Player::new(48_000, 40));
        let tone: Vec<Frame> = (0..48_000).map(|_| [1_000, -2_000]).collect();
        ring.write(0, &tone);
        let mut last = [0, 0];
        while let Some(frames) = player.next(&ring) {
            assert_eq!(frames.len(), CHUNK);
            last = frames[CHUNK / 2];
            ring.close();
        }
        assert_eq!(last, [1_000, -2_000]);
    }
}
