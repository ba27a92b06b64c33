//! From blocks of payloads to the samples of a tape.
//!
//! Law: the samples depend only on the records and their order of arrival, never on where one block
//! ends and the next begins. A later record wins where two overlap; what nobody wrote is silence.
//!
//! Everything known is written at once, so that a killed process leaves a tape that ends where the
//! last block ended; the last few milliseconds, where one side is ahead of the other, are written
//! again with the next block.

use super::{
    block::{News, Record, Records},
    codec::{BuiltIn, DecoderSource},
    g711::{self, Law},
    leg::{Leg as Ordered, Placed, Put},
};
use crate::rtp::timeline::{TICKS_PER_MILLI, TICKS_PER_SEC};
use std::{fmt, sync::Arc};

/// A side that has been silent this long no longer holds back what is final.
const SILENT: i64 = 100 * TICKS_PER_MILLI;
/// A longer hole than this is left to the file (it reads as silence), in milliseconds.
const HOLE_MS: i64 = 500;
/// Drift correction moves a packet by a sample; the packet is stretched to fit up to this many.
const STRETCH: i64 = 3;
/// Longest audio taken from one record, in samples: 255 ms of 48 kHz.
const MAX_SAMPLES: usize = 12_288;

/// One moment of a tape: left (local), right (remote).
pub type Frame = [i16; 2];

/// Where samples go. Positions count frames from the start of the tape.
pub trait PcmSink {
    /// Writes `frames` at `at`; what lies between the end so far and `at` is silence.
    fn write(&mut self, at: u64, frames: &[Frame]);
    /// Overwrites one channel of what was written before.
    fn patch(&mut self, at: u64, channel: usize, samples: &[i16]);
}

/// How the payloads of a codec number are handled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    /// Straight into the window: no state, no conversion.
    G711(Law),
    /// In order, by [`Ordered`].
    Ordered,
}

#[derive(Debug)]
struct Leg {
    channel: usize,
    ways: Vec<Way>,
    /// Order number and end of the last G.711 record, in samples.
    last: Option<(u32, i64)>,
    ordered: Option<Box<Ordered>>,
}

/// The samples of one tape that are not final yet, and what is needed to make more.
pub struct TapeAudio {
    rate: i64,
    hold: i64,
    source: Arc<dyn DecoderSource>,
    legs: Vec<Leg>,
    /// First frame of the window.
    base: i64,
    /// Frames from `base`; kept between blocks only as far as they are not final.
    tail: Vec<Frame>,
    /// Last written frame of each channel.
    ends: [i64; 2],
}

impl fmt::Debug for TapeAudio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TapeAudio")
            .field("rate", &self.rate)
            .field("legs", &self.legs)
            .finish_non_exhaustive()
    }
}

/// Memory that one worker lends to each tape in turn.
#[derive(Debug, Default)]
pub struct Scratch {
    window: Vec<Frame>,
    samples: Vec<i16>,
    stretched: Vec<i16>,
}

impl TapeAudio {
    /// A tape of `rate` frames a second, decoded by our own decoders.
    #[must_use]
    pub fn new(rate: u32) -> Self {
        Self::with(rate, 200, Arc::new(BuiltIn))
    }

    /// A tape of `rate` frames a second, decoded by `source`; packets may be late by `late_ms`.
    #[must_use]
    pub fn with(rate: u32, late_ms: u64, source: Arc<dyn DecoderSource>) -> Self {
        let rate = i64::from(rate);
        let hold = i64::try_from(late_ms).unwrap_or(0) * TICKS_PER_MILLI;
        Self { rate, hold, source, legs: Vec::new(), base: 0, tail: Vec::new(), ends: [0, 0] }
    }

    /// Frames from the start to the end of the last audio.
    #[must_use]
    pub fn frames(&self) -> u64 {
        u64::try_from(self.ends[0].max(self.ends[1])).unwrap_or(0)
    }

    /// Payloads that no decoder could read.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.legs.iter().filter_map(|leg| leg.ordered.as_ref()).map(|leg| leg.refused).sum()
    }

    fn learn(&mut self, news: &News) {
        match news {
            News::Leg { leg, side } => {
                let channel = side.channel();
                if let Some(known) = self.legs.get_mut(usize::from(*leg)) {
                    known.channel = channel;
                } else if self.legs.len() == usize::from(*leg) {
                    let leg = Leg { channel, ways: Vec::new(), last: None, ordered: None };
                    self.legs.push(leg);
                }
            }
            News::Codec { leg, slot, name, .. } => {
                let Some(leg) = self.legs.get_mut(usize::from(*leg)) else { return };
                let is = |law: &str| self.rate == 8000 && name.eq_ignore_ascii_case(law);
                let way = if is("PCMU") {
                    Way::G711(Law::Mu)
                } else if is("PCMA") {
                    Way::G711(Law::A)
                } else {
                    let rate = u32::try_from(self.rate).unwrap_or(8000);
                    let ordered =
                        leg.ordered.get_or_insert_with(|| Box::new(Ordered::new(rate, self.hold)));
                    ordered.learn(news, &*self.source);
                    Way::Ordered
                };
                while leg.ways.len() <= usize::from(*slot) {
                    leg.ways.push(Way::Ordered);
                }
                if let Some(known) = leg.ways.get_mut(usize::from(*slot)) {
                    *known = way;
                }
            }
        }
    }

    /// Takes in a block: `until` is its hand-over in ticks from the tape's start.
    pub fn handle_block(
        &mut self,
        news: &[News],
        bytes: &[u8],
        until: i64,
        scratch: &mut Scratch,
        sink: &mut dyn PcmSink,
    ) {
        for item in news {
            self.learn(item);
        }
        scratch.window.clear();
        scratch.window.extend_from_slice(&self.tail);
        for record in Records::new(bytes) {
            self.handle_record(&record, scratch, sink);
        }
        self.ordered(scratch, sink, &mut |leg, put| leg.settle(until, put));
        self.settle(until, scratch, sink);
    }

    /// Takes in that nothing comes any more.
    pub fn finish(&mut self, scratch: &mut Scratch, sink: &mut dyn PcmSink) {
        scratch.window.clear();
        scratch.window.extend_from_slice(&self.tail);
        self.ordered(scratch, sink, &mut |leg, put| leg.finish(put));
        self.settle(0, scratch, sink);
    }

    /// Lets every leg that decodes in order do something, and places what comes of it.
    fn ordered(
        &mut self,
        scratch: &mut Scratch,
        sink: &mut dyn PcmSink,
        act: &mut dyn FnMut(&mut Ordered, Put<'_>),
    ) {
        for index in 0..self.legs.len() {
            let Some(leg) = self.legs.get_mut(index) else { return };
            let channel = leg.channel;
            let Some(mut ordered) = leg.ordered.take() else { continue };
            act(&mut ordered, &mut |placed, samples| {
                self.put_fitted(placed, channel, samples, scratch, sink);
            });
            if let Some(leg) = self.legs.get_mut(index) {
                leg.ordered = Some(ordered);
            }
        }
    }

    fn put_fitted(
        &mut self,
        placed: Placed,
        channel: usize,
        samples: &[i16],
        scratch: &mut Scratch,
        sink: &mut dyn PcmSink,
    ) {
        let samples = match placed.fit {
            Some(length) if length != samples.len() => {
                stretch(samples, i64::try_from(length).unwrap_or(0), &mut scratch.stretched);
                scratch.stretched.as_slice()
            }
            _ => samples,
        };
        let end = placed.at + i64::try_from(samples.len()).unwrap_or(0);
        if let Some(known) = self.ends.get_mut(channel) {
            *known = (*known).max(end);
        }
        self.put(placed.at, channel, samples, &mut scratch.window, sink);
    }

    #[inline]
    fn sample_of(&self, tick: i64) -> i64 {
        if self.rate == 8000 {
            tick.div_euclid(6)
        } else {
            (tick * self.rate).div_euclid(TICKS_PER_SEC)
        }
    }

    fn handle_record(
        &mut self,
        record: &Record<'_>,
        scratch: &mut Scratch,
        sink: &mut dyn PcmSink,
    ) {
        let at = self.sample_of(record.tick);
        let index = usize::from(record.leg);
        let Some(leg) = self.legs.get_mut(index) else { return };
        let way = leg.ways.get(usize::from(record.slot)).copied();
        if record.void {
            leg.last = leg.last.map(|(_, end)| (record.order, end));
        }
        if leg.ordered.is_some()
            && (record.void || way != Some(Way::G711(Law::Mu)) && way != Some(Way::G711(Law::A)))
        {
            let channel = leg.channel;
            let Some(mut ordered) = leg.ordered.take() else { return };
            ordered.handle(record, &mut |placed, samples| {
                self.put_fitted(placed, channel, samples, scratch, sink);
            });
            if let Some(leg) = self.legs.get_mut(index) {
                leg.ordered = Some(ordered);
            }
            return;
        }
        let channel = leg.channel;
        let (false, Some(Way::G711(law))) = (record.void, way) else { return };
        let payload = record.payload.get(..MAX_SAMPLES).unwrap_or(record.payload);
        let length = i64::try_from(payload.len()).unwrap_or(0);
        let follows = |(order, end): (u32, i64)| (order.wrapping_add(1) == record.order, at - end);
        let fit = match leg.last.map(follows) {
            Some((true, by)) if !record.anew && by != 0 && by.abs() <= STRETCH => by,
            _ => 0,
        };
        if leg.last.is_none_or(|(_, end)| at + length > end) {
            leg.last = Some((record.order, at + length));
        }
        if let Some(end) = self.ends.get_mut(channel) {
            *end = (*end).max(at + length);
        }
        if fit == 0 && at >= self.base {
            let window = self.reach(at, length, &mut scratch.window, sink);
            g711::decode_into(law, payload, window, channel);
            return;
        }
        scratch.samples.clear();
        g711::decode(law, payload, &mut scratch.samples);
        let (at, samples) = if fit == 0 {
            (at, &scratch.samples)
        } else {
            stretch(&scratch.samples, length + fit, &mut scratch.stretched);
            (at - fit, &scratch.stretched)
        };
        self.put(at, channel, samples, &mut scratch.window, sink);
    }

    /// Puts decoded samples at `at`, before or inside the window.
    fn put(
        &mut self,
        at: i64,
        channel: usize,
        samples: &[i16],
        window: &mut Vec<Frame>,
        sink: &mut dyn PcmSink,
    ) {
        // Before the start of the tape nothing can be written.
        let skip = usize::try_from(-at).unwrap_or(0);
        let Some(samples) = samples.get(skip..) else { return };
        let at = at.max(0);
        let before = usize::try_from(self.base - at).unwrap_or(0).min(samples.len());
        let Some((early, rest)) = samples.split_at_checked(before) else { return };
        if !early.is_empty() {
            sink.patch(u64::try_from(at).unwrap_or(0), channel, early);
        }
        if rest.is_empty() {
            return;
        }
        let length = i64::try_from(rest.len()).unwrap_or(0);
        let room = self.reach(at.max(self.base), length, window, sink);
        for (frame, sample) in room.iter_mut().zip(rest) {
            if let Some(place) = frame.get_mut(channel) {
                *place = *sample;
            }
        }
    }

    /// The frames from `at` on, `length` of them, with the window grown to hold them.
    #[inline]
    fn reach<'w>(
        &mut self,
        at: i64,
        length: i64,
        window: &'w mut Vec<Frame>,
        sink: &mut dyn PcmSink,
    ) -> &'w mut [Frame] {
        let have = i64::try_from(window.len()).unwrap_or(i64::MAX);
        if at - self.base > have + HOLE_MS * self.rate / 1000 {
            sink.write(u64::try_from(self.base).unwrap_or(0), window);
            window.clear();
            self.base = at;
        }
        let from = usize::try_from(at - self.base).unwrap_or(0);
        let to = from + usize::try_from(length).unwrap_or(0);
        if window.len() < to {
            window.resize(to, [0, 0]);
        }
        window.get_mut(from..to).unwrap_or_default()
    }

    /// Writes the window and keeps what may still change.
    fn settle(&mut self, until: i64, scratch: &mut Scratch, sink: &mut dyn PcmSink) {
        let window = &scratch.window;
        if !window.is_empty() {
            sink.write(u64::try_from(self.base).unwrap_or(0), window);
        }
        let quiet = self.sample_of(until - SILENT);
        let ends = self.ends.map(|end| end.max(quiet));
        let end = self.base + i64::try_from(window.len()).unwrap_or(0);
        let done = ends[0].min(ends[1]).clamp(self.base, end);
        let keep = usize::try_from(done - self.base).unwrap_or(0);
        self.tail.clear();
        self.tail.extend_from_slice(window.get(keep..).unwrap_or_default());
        self.base = done;
    }
}

/// Makes `samples` as long as `length` by linear interpolation: no click, a pitch change of at most
/// two percent for one packet.
fn stretch(samples: &[i16], length: i64, out: &mut Vec<i16>) {
    out.clear();
    let (Ok(want), have) = (usize::try_from(length), samples.len()) else { return };
    if want < 2 || have < 2 {
        out.extend_from_slice(samples);
        return;
    }
    for n in 0..want {
        let scaled = n * (have - 1);
        let (index, rest) = (scaled / (want - 1), scaled % (want - 1));
        let here = samples.get(index).copied().map_or(0, i64::from);
        let next = samples.get(index + 1).copied().map_or(here, i64::from);
        let (rest, span) = (i64::try_from(rest).unwrap_or(0), i64::try_from(want - 1).unwrap_or(1));
        out.push(i16::try_from(here + (next - here) * rest / span).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{audio::block::append, call::party::Side};

    #[derive(Default, Debug, PartialEq)]
    struct Memory(Vec<Frame>);

    impl PcmSink for Memory {
        fn write(&mut self, at: u64, frames: &[Frame]) {
            let at = usize::try_from(at).unwrap();
            self.0.resize(self.0.len().max(at + frames.len()), [0, 0]);
            self.0[at..at + frames.len()].copy_from_slice(frames);
        }

        fn patch(&mut self, at: u64, channel: usize, samples: &[i16]) {
            let at = usize::try_from(at).unwrap();
            self.0.resize(self.0.len().max(at + samples.len()), [0, 0]);
            for (frame, sample) in self.0[at..].iter_mut().zip(samples) {
                frame[channel] = *sample;
            }
        }
    }

    fn news() -> Vec<News> {
        let codec = |leg, name: &str| News::Codec {
            leg,
            slot: 0,
            name: name.to_owned(),
            clock_rate: 8000,
            channels: 1,
            parameters: None,
        };
        vec![
            News::Leg { leg: 0, side: Side::Local },
            codec(0, "pcmu"),
            News::Leg { leg: 1, side: Side::Remote },
            codec(1, "PCMA"),
        ]
    }

    /// leg, order, milliseconds, byte.
    fn run(records: &[(u8, u32, i64, u8)], cuts: &[usize]) -> Vec<Frame> {
        let mut tape = TapeAudio::new(8000);
        let (mut scratch, mut memory) = (Scratch::default(), Memory::default());
        let mut bytes = Vec::new();
        let mut told = news();
        for (index, (leg, order, ms, byte)) in records.iter().enumerate() {
            let payload = [*byte; 160];
            let tick = ms * TICKS_PER_MILLI;
            let record = Record {
                leg: *leg,
                slot: 0,
                anew: false,
                void: false,
                order: *order,
                tick,
                payload: &payload,
            };
            append(&mut bytes, &record);
            if cuts.contains(&index) {
                tape.handle_block(
                    &std::mem::take(&mut told),
                    &bytes,
                    tick,
                    &mut scratch,
                    &mut memory,
                );
                bytes.clear();
            }
        }
        let until = records.last().map_or(0, |r| r.2 * TICKS_PER_MILLI);
        tape.handle_block(&told, &bytes, until, &mut scratch, &mut memory);
        assert_eq!(u64::try_from(memory.0.len()).unwrap(), tape.frames());
        memory.0
    }

    #[test]
    fn cuts_change_nothing() {
        let mut records = Vec::new();
        for n in 0..60u8 {
            let ms = i64::from(n) * 20;
            records.push((0, u32::from(n), ms, n));
            if n % 7 != 3 {
                records.push((1, u32::from(n), ms + 7, 255 - n));
            }
        }
        records.swap(20, 24);
        records.swap(50, 60);
        records.push((0, 90, 9_000, 1));
        records.push((1, 91, 8_990, 2));
        let whole = run(&records, &[]);
        for step in [1, 3, 10, 37] {
            let cuts: Vec<usize> = (0..records.len()).step_by(step).collect();
            assert_eq!(run(&records, &cuts), whole, "a cut every {step}");
        }
        assert_eq!(whole.len(), 9_020 * 8);
        assert_eq!(whole[5 * 160][0], g711::sample(Law::Mu, 5));
        assert_eq!(whole[5 * 160 + 56][1], g711::sample(Law::A, 250));
        assert_eq!(whole[40_000], [0, 0]);
    }

    #[test]
    fn cuts_change_nothing_for_codecs_with_state() {
        let news = |name: &str, clock_rate| {
            let codec = |leg| News::Codec {
                leg,
                slot: 0,
                name: name.to_owned(),
                clock_rate,
                channels: 1,
                parameters: None,
            };
            vec![
                News::Leg { leg: 0, side: Side::Local },
                codec(0),
                News::Leg { leg: 1, side: Side::Remote },
                codec(1),
            ]
        };
        // Milliseconds of capture, leg, order, milliseconds of place: lost, swapped, late and events.
        let mut records: Vec<(i64, u8, u32, i64, bool)> = Vec::new();
        for n in 0..150u32 {
            let ms = i64::from(n) * 20;
            if n % 11 != 5 {
                records.push((ms, 0, n, ms, n % 17 == 3));
            }
            let delay = if n % 13 == 4 { 90 } else { 0 };
            records.push((ms + 7 + delay, 1, n, ms + 7, false));
        }
        records.sort_by_key(|record| record.0);
        let mut overtaken = records.clone();
        // The first two of each leg, in the other order.
        overtaken.swap(0, 2);
        overtaken.swap(1, 3);
        let run = |records: &[(i64, u8, u32, i64, bool)], rate: u32, name: &str, every: usize| {
            let mut tape = TapeAudio::new(rate);
            let (mut scratch, mut memory) = (Scratch::default(), Memory::default());
            let mut told = news(name, 8000);
            let mut bytes = Vec::new();
            for (index, (at, leg, order, ms, void)) in records.iter().enumerate() {
                let payload: Vec<u8> = (0..160u32)
                    .map(|i| u8::try_from((i * 7 + order * 31) % 251).unwrap())
                    .collect();
                let payload = if *void { &[][..] } else { &payload };
                let tick = ms * TICKS_PER_MILLI;
                let (leg, order, void) = (*leg, *order, *void);
                let record = Record { leg, slot: 0, anew: false, void, order, tick, payload };
                append(&mut bytes, &record);
                if index % every == 0 {
                    let until = at * TICKS_PER_MILLI;
                    tape.handle_block(
                        &std::mem::take(&mut told),
                        &bytes,
                        until,
                        &mut scratch,
                        &mut memory,
                    );
                    bytes.clear();
                }
            }
            tape.handle_block(&told, &bytes, 4_000 * TICKS_PER_MILLI, &mut scratch, &mut memory);
            tape.finish(&mut scratch, &mut memory);
            assert_eq!(tape.refused(), 0);
            memory.0
        };
        for (rate, name) in
            [(16_000, "G722"), (8_000, "G722"), (16_000, "PCMU"), (8_000, "G726-32")]
        {
            let whole = run(&records, rate, name, 1_000_000);
            assert!(whole.len() > 3_000 * usize::try_from(rate / 1_000).unwrap() - 400, "{name}");
            for every in [1, 7, 40] {
                let text = format!("{name} at {rate}, a cut every {every}");
                assert!(run(&records, rate, name, every) == whole, "{text}");
                assert!(run(&overtaken, rate, name, every) == whole, "{text}, first overtaken");
            }
        }
    }

    #[test]
    fn drift_stretches_a_packet_without_a_hole() {
        let tape = |by: i64| {
            let mut tape = TapeAudio::new(8000);
            let (mut scratch, mut memory) = (Scratch::default(), Memory::default());
            let mut bytes = Vec::new();
            for (order, sample) in [(1u32, 0i64), (2, 160 + by)] {
                let payload = [0x90; 160];
                let tick = sample * 6;
                let record = Record {
                    leg: 0,
                    slot: 0,
                    anew: order == 1,
                    void: false,
                    order,
                    tick,
                    payload: &payload,
                };
                append(&mut bytes, &record);
            }
            tape.handle_block(&news(), &bytes, 0, &mut scratch, &mut memory);
            memory.0
        };
        for by in -3..=3 {
            let frames = tape(by);
            assert_eq!(i64::try_from(frames.len()).unwrap(), 320 + by);
            assert!(frames.iter().all(|f| f[0] == g711::sample(Law::Mu, 0x90)), "{by}");
        }
        assert_eq!(tape(40)[170], [0, 0]);
    }

    #[test]
    fn stretching_keeps_both_ends() {
        let mut out = Vec::new();
        stretch(&[0, 10, 20, 30], 7, &mut out);
        assert_eq!(out, [0, 5, 10, 15, 20, 25, 30]);
    }
}
