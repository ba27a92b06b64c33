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
    holes::Holes,
    leg::{Leg as Ordered, Placed, Put},
};
use crate::{
    ahead::{self, LINE},
    rtp::timeline::{TICKS_PER_MILLI, TICKS_PER_SEC},
};
use std::{fmt, sync::Arc};

/// A side that has been silent this long no longer holds back what is final.
const SILENT: i64 = 100 * TICKS_PER_MILLI;
/// A longer hole than this part of a second is left to the file (it reads as silence).
const HOLE: i64 = 2;
/// A block's bytes are asked for so long before their record comes, in cache lines.
const AHEAD: usize = 16;
/// Cache lines of a record of 20 ms of G.711.
const RECORD_LINES: usize = 3;
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
    /// Comfort noise (RFC 3389): among G.711 it needs no order.
    Noise,
    /// In order, by [`Ordered`].
    Ordered,
}

/// A record and where its payload lies in its block.
struct InBlock<'a> {
    record: Record<'a>,
    block: &'a [u8],
    from: usize,
}

#[derive(Debug)]
struct Leg {
    channel: usize,
    ways: Vec<Way>,
    /// Order number and end of the last G.711 record, in samples.
    last: Option<(u32, i64)>,
    /// Losses of G.711.
    holes: Holes,
    ordered: Option<Box<Ordered>>,
}

impl Leg {
    /// A packet that is no audio: order goes on, unless it came late.
    fn note_void(&mut self, order: u32) {
        let Some((last, end)) = self.last else { return };
        if order.wrapping_sub(last).cast_signed() > 0 {
            self.last = Some((order, end));
        } else {
            self.holes.dismiss(order);
        }
    }

    /// Keeps account of what is missing before a G.711 record at `at` samples.
    #[inline]
    fn note_losses(&mut self, law: Law, placed: &InBlock<'_>, at: i64, payload: &[u8]) {
        let InBlock { record, block, from } = placed;
        if record.anew {
            self.holes.forget();
        } else if let Some((order, end)) = self.last {
            let step = record.order.wrapping_sub(order).cast_signed();
            if step <= 0 {
                return self.holes.fill(record.order, at, payload);
            }
            if step > 1 {
                let missing = (order.wrapping_add(1), step.unsigned_abs() - 1);
                self.holes.open(law, missing, (end, at - end), payload, block);
            }
        }
        self.holes.heard(block, *from, payload.len());
    }
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
    /// Make up short losses of G.711.
    conceal: bool,
    /// Samples made up for G.711.
    concealed: u64,
    /// Loudest sample of each channel.
    peaks: [u16; 2],
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
        Self {
            rate,
            hold,
            source,
            legs: Vec::new(),
            base: 0,
            tail: Vec::new(),
            ends: [0, 0],
            conceal: true,
            concealed: 0,
            peaks: [0; 2],
        }
    }

    /// Leaves losses silent, or not.
    #[must_use]
    pub fn concealing(mut self, conceal: bool) -> Self {
        self.conceal = conceal;
        self
    }

    /// Frames from the start to the end of the last audio.
    #[must_use]
    pub fn frames(&self) -> u64 {
        u64::try_from(self.ends[0].max(self.ends[1])).unwrap_or(0)
    }

    /// Audio that was made up where packets were lost, in milliseconds, both sides together.
    #[must_use]
    pub fn concealed_ms(&self) -> u64 {
        let ordered = self.legs.iter().filter_map(|leg| leg.ordered.as_ref());
        // G.711 is made up on tapes of 8 kHz only.
        self.concealed / 8 + ordered.map(|leg| leg.concealed_us()).sum::<u64>() / 1_000
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
                    let leg = Leg {
                        channel,
                        ways: Vec::new(),
                        last: None,
                        holes: Holes::default(),
                        ordered: None,
                    };
                    self.legs.push(leg);
                }
            }
            // Heard of elsewhere; it makes no sound of its own.
            News::Digit(_) => {}
            News::Codec { leg, slot, name, .. } => {
                let Some(leg) = self.legs.get_mut(usize::from(*leg)) else { return };
                let is = |law: &str| self.rate == 8000 && name.eq_ignore_ascii_case(law);
                let way = if is("PCMU") {
                    Way::G711(Law::Mu)
                } else if is("PCMA") {
                    Way::G711(Law::A)
                } else {
                    let rate = u32::try_from(self.rate).unwrap_or(8000);
                    let conceal = self.conceal;
                    let ordered = leg.ordered.get_or_insert_with(|| {
                        Box::new(Ordered::new(rate, self.hold).concealing(conceal))
                    });
                    ordered.learn(news, &*self.source);
                    if is("CN") { Way::Noise } else { Way::Ordered }
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
        let mut records = Records::new(bytes);
        while let Some(record) = records.next() {
            let from = bytes.len() - records.left() - record.payload.len();
            let soon = record.payload.as_ptr().wrapping_add(AHEAD * LINE);
            ahead::ask(soon, RECORD_LINES);
            self.handle_record(&InBlock { record, block: bytes, from }, scratch, sink);
        }
        for leg in &mut self.legs {
            leg.holes.gather(bytes);
        }
        self.ordered(scratch, sink, &mut |leg, put| leg.settle(until, put));
        self.cover(self.sample_of(until - self.hold), scratch, sink);
        self.settle(until, scratch, sink);
    }

    /// Takes in that nothing comes any more.
    pub fn finish(&mut self, scratch: &mut Scratch, sink: &mut dyn PcmSink) {
        scratch.window.clear();
        scratch.window.extend_from_slice(&self.tail);
        self.ordered(scratch, sink, &mut |leg, put| leg.finish(put));
        self.cover(i64::MAX, scratch, sink);
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
            self.with_ordered(index, scratch, sink, act);
        }
    }

    /// Lets one of them do something.
    fn with_ordered(
        &mut self,
        index: usize,
        scratch: &mut Scratch,
        sink: &mut dyn PcmSink,
        act: &mut dyn FnMut(&mut Ordered, Put<'_>),
    ) {
        let Some(leg) = self.legs.get_mut(index) else { return };
        let channel = leg.channel;
        let Some(mut ordered) = leg.ordered.take() else { return };
        act(&mut ordered, &mut |placed, samples| {
            self.put_fitted(placed, channel, samples, scratch, sink);
        });
        if let Some(leg) = self.legs.get_mut(index) {
            leg.ordered = Some(ordered);
        }
    }

    /// Comfort noise among G.711: from here to the next packet of the leg.
    #[cold]
    fn begin_noise(
        &mut self,
        index: usize,
        record: &Record<'_>,
        scratch: &mut Scratch,
        sink: &mut dyn PcmSink,
    ) {
        let at = self.sample_of(record.tick);
        let Some(leg) = self.legs.get_mut(index) else { return };
        if let Some((order, end)) = leg.last {
            // One that comes late says nothing of what is heard now.
            if record.order.wrapping_sub(order).cast_signed() <= 0 || at < end {
                return;
            }
            leg.last = Some((record.order, end));
        }
        self.with_ordered(index, scratch, sink, &mut |leg, put| leg.begin_noise(record, put));
    }

    /// Makes up what was lost before `until` (samples) and can no longer come.
    fn cover(&mut self, until: i64, scratch: &mut Scratch, sink: &mut dyn PcmSink) {
        for index in 0..self.legs.len() {
            let Some(leg) = self.legs.get_mut(index) else { return };
            let channel = leg.channel;
            let mut holes = std::mem::take(&mut leg.holes);
            holes.conceal(until, &mut |at, samples| {
                self.concealed += u64::try_from(samples.len()).unwrap_or(0);
                self.put(at, channel, samples, &mut scratch.window, sink);
            });
            if let Some(leg) = self.legs.get_mut(index) {
                leg.holes = holes;
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
        let (high, low) =
            samples.iter().fold((0, 0), |(high, low), s| (*s.max(&high), *s.min(&low)));
        self.note_peak(channel, high.unsigned_abs().max(low.unsigned_abs()));
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
        placed: &InBlock<'_>,
        scratch: &mut Scratch,
        sink: &mut dyn PcmSink,
    ) {
        let record = &placed.record;
        let index = usize::from(record.leg);
        let Some(leg) = self.legs.get_mut(index) else { return };
        let way = leg.ways.get(usize::from(record.slot)).copied();
        if let Some(Way::G711(law)) = way
            && !record.void
            && leg.ordered.is_none()
        {
            return self.handle_g711(law, placed, scratch, sink);
        }
        self.handle_odd(way, placed, scratch, sink);
    }

    /// A record that is no audio, or of a leg that has other audio than G.711 too.
    fn handle_odd(
        &mut self,
        way: Option<Way>,
        placed: &InBlock<'_>,
        scratch: &mut Scratch,
        sink: &mut dyn PcmSink,
    ) {
        let record = &placed.record;
        let index = usize::from(record.leg);
        let Some(leg) = self.legs.get_mut(index) else { return };
        if record.void {
            if record.anew {
                // A pause lies before it.
                leg.holes.forget();
            }
            leg.note_void(record.order);
        }
        if way == Some(Way::Noise) && leg.ways.iter().any(|way| matches!(way, Way::G711(_))) {
            return self.begin_noise(index, record, scratch, sink);
        }
        if leg.ordered.is_some()
            && (record.void || way != Some(Way::G711(Law::Mu)) && way != Some(Way::G711(Law::A)))
        {
            self.with_ordered(index, scratch, sink, &mut |leg, put| leg.handle(record, put));
            return;
        }
        let (false, Some(Way::G711(law))) = (record.void, way) else { return };
        self.with_ordered(index, scratch, sink, &mut |leg, put| {
            leg.end_noise(record.tick, put);
        });
        self.handle_g711(law, placed, scratch, sink);
    }

    #[inline]
    fn handle_g711(
        &mut self,
        law: Law,
        placed: &InBlock<'_>,
        scratch: &mut Scratch,
        sink: &mut dyn PcmSink,
    ) {
        let record = &placed.record;
        let at = self.sample_of(record.tick);
        let Some(leg) = self.legs.get_mut(usize::from(record.leg)) else { return };
        let channel = leg.channel;
        let payload = record.payload.get(..MAX_SAMPLES).unwrap_or(record.payload);
        let length = i64::try_from(payload.len()).unwrap_or(0);
        let follows = |(order, end): (u32, i64)| (order.wrapping_add(1) == record.order, at - end);
        let fit = match leg.last.map(follows) {
            Some((true, by)) if !record.anew && by != 0 && by.abs() <= STRETCH => by,
            _ => 0,
        };
        if self.conceal {
            leg.note_losses(law, placed, at, payload);
        }
        if leg.last.is_none_or(|(_, end)| at + length > end) {
            leg.last = Some((record.order, at + length));
        }
        if let Some(end) = self.ends.get_mut(channel) {
            *end = (*end).max(at + length);
        }
        if fit == 0 && at >= self.base {
            let window = self.reach(at, length, &mut scratch.window, sink);
            let peak = g711::decode_into(law, payload, window, channel);
            self.note_peak(channel, peak);
            return;
        }
        self.note_peak(channel, g711::peak(law, payload));
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
        if at - self.base > have + self.rate / HOLE {
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

    fn note_peak(&mut self, channel: usize, peak: u16) {
        if let Some(known) = self.peaks.get_mut(channel) {
            *known = (*known).max(peak);
        }
    }

    /// Loudest sample of the local and of the remote side, 0 to 32768.
    #[must_use]
    pub const fn peaks(&self) -> [u16; 2] {
        self.peaks
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
mod tests;
