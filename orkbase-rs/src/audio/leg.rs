//! One leg of a tape whose codec has state: payloads in order, gaps concealed, rate converted.
//!
//! Law: payloads are decoded in the order in which they were sent, whatever the order of arrival. A
//! hole is waited for as long as a packet may be late; then it is concealed where it is
//! short, and stays silent where it is long. The first payload is waited with as well: one that it
//! overtook may belong before it. Where one block ends and the next begins changes nothing.

use super::{
    block::{News, Record},
    codec::{Codec, Decoder, DecoderSource},
    resample::Resampler,
};
use crate::rtp::timeline::{TICKS_PER_MILLI, TICKS_PER_SEC};
use std::fmt;

/// Longest concealment (60 ms); beyond it silence is the truth.
const CONCEAL: i64 = 60 * TICKS_PER_MILLI;
/// Longest comfort noise between two packets (60 s): senders of it refresh it much sooner.
const NOISE: i64 = 60 * TICKS_PER_SEC;
/// Payloads that may wait behind a hole: 200 ms of 2.5 ms packets and room.
const WAITING: usize = 128;
/// A packet whose place is off by no more than this follows the one before: drift correction moves
/// by one 8 kHz sample a packet.
const FOLLOWS: i64 = 18;

/// Something decoded, to be put on the tape.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Placed {
    /// Where it begins, in samples of the tape.
    pub at: i64,
    /// It must become this long to meet what comes before and after; `None` leaves it as it is.
    pub fit: Option<usize>,
}

/// Where decoded samples go.
pub type Put<'a> = &'a mut dyn FnMut(Placed, &[i16]);

#[derive(Debug)]
struct Waiting {
    order: u32,
    tick: i64,
    slot: u8,
    void: bool,
    payload: Vec<u8>,
}

struct Slot {
    number: u8,
    decoder: Option<Box<dyn Decoder>>,
    resampler: Option<Resampler>,
}

/// Decodes one leg.
pub struct Leg {
    tape_rate: i64,
    /// A hole is given up when what lies behind it is this old, in ticks: the engine takes nothing later.
    hold: i64,
    slots: Vec<Slot>,
    current: Option<u8>,
    next: Option<u32>,
    /// Nothing was decoded since order began anew: what comes may belong before what came.
    fresh: bool,
    waiting: Vec<Waiting>,
    /// End of what was decoded last, in ticks.
    end: i64,
    /// The same on the tape, in samples, resampler delay included.
    end_sample: i64,
    decoded: Vec<i16>,
    converted: Vec<i16>,
    /// Payloads that could not be decoded.
    pub refused: u64,
    /// Where comfort noise begins that lasts until the next packet, and its slot.
    noise: Option<(i64, u8)>,
    /// Make up what is lost.
    conceal: bool,
    /// Audio made up, in microseconds.
    concealed_us: u64,
}

impl fmt::Debug for Leg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leg")
            .field("next", &self.next)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl Leg {
    /// A leg of a tape of `tape_rate` samples a second; packets may be late by `hold` ticks.
    #[must_use]
    pub fn new(tape_rate: u32, hold: i64) -> Self {
        Self {
            tape_rate: i64::from(tape_rate),
            hold,
            slots: Vec::new(),
            current: None,
            next: None,
            fresh: false,
            waiting: Vec::new(),
            end: i64::MIN,
            end_sample: i64::MIN,
            decoded: Vec::new(),
            converted: Vec::new(),
            refused: 0,
            noise: None,
            conceal: true,
            concealed_us: 0,
        }
    }

    /// Leaves losses silent, or not.
    #[must_use]
    pub const fn concealing(mut self, conceal: bool) -> Self {
        self.conceal = conceal;
        self
    }

    /// Audio that was made up where packets were lost, in microseconds.
    #[must_use]
    pub const fn concealed_us(&self) -> u64 {
        self.concealed_us
    }

    /// A codec appears on the leg.
    pub fn learn(&mut self, news: &News, source: &dyn DecoderSource) {
        let News::Codec { slot, name, clock_rate, channels, parameters, .. } = news else { return };
        let fmtp = parameters.as_deref();
        let decoder = Codec::named(name, *clock_rate, *channels, fmtp)
            .and_then(|codec| source.decoder(codec, fmtp));
        let rate = decoder.as_ref().map_or(8000, |decoder| decoder.sample_rate());
        let resampler = u32::try_from(self.tape_rate).ok().and_then(|to| Resampler::new(rate, to));
        if self.slots.iter().all(|known| known.number != *slot) {
            self.slots.push(Slot { number: *slot, decoder, resampler });
        }
    }

    /// Takes in a record; what can be decoded now goes to `put`.
    pub fn handle(&mut self, record: &Record<'_>, put: Put<'_>) {
        if record.anew || self.next.is_none() {
            self.give_up_all(put);
            self.end_run(put);
            self.next = Some(record.order);
            self.fresh = true;
        }
        if self.fresh {
            self.wait(record);
            if self.waiting.len() > WAITING {
                self.give_up_first(put);
            }
            return;
        }
        let ahead = self.next.map_or(0, |next| record.order.wrapping_sub(next).cast_signed());
        match ahead {
            0 => {
                self.take(record.order, record.tick, record.slot, record.void, record.payload, put);
                self.catch_up(put);
            }
            1.. => {
                self.wait(record);
                if self.waiting.len() > WAITING {
                    self.give_up_first(put);
                }
            }
            // Given up before, or seen before.
            _ => {}
        }
    }

    fn wait(&mut self, record: &Record<'_>) {
        let waiting = Waiting {
            order: record.order,
            tick: record.tick,
            slot: record.slot,
            void: record.void,
            payload: record.payload.to_vec(),
        };
        let next = self.next.unwrap_or(record.order);
        let distance = |order: u32| order.wrapping_sub(next).cast_signed();
        let place = self.waiting.partition_point(|w| distance(w.order) < distance(record.order));
        if self.waiting.get(place).is_none_or(|w| w.order != record.order) {
            self.waiting.insert(place, waiting);
        }
    }

    /// Decodes what has waited behind a hole that is filled now.
    fn catch_up(&mut self, put: Put<'_>) {
        while self.waiting.first().is_some_and(|first| Some(first.order) == self.next) {
            let w = self.waiting.remove(0);
            self.take(w.order, w.tick, w.slot, w.void, &w.payload, put);
        }
    }

    /// Time has come to `until` ticks: holes that cannot be filled any more are given up.
    pub fn settle(&mut self, until: i64, put: Put<'_>) {
        while self.waiting.first().is_some_and(|first| first.tick < until - self.hold) {
            self.give_up_first(put);
        }
    }

    /// Nothing comes any more.
    pub fn finish(&mut self, put: Put<'_>) {
        self.give_up_all(put);
        self.end_run(put);
    }

    fn give_up_all(&mut self, put: Put<'_>) {
        while !self.waiting.is_empty() {
            self.give_up_first(put);
        }
    }

    /// Gives up the hole before the first that waits.
    fn give_up_first(&mut self, put: Put<'_>) {
        let Some(first) = self.waiting.first() else { return };
        let (tick, order) = (first.tick, first.order);
        let hole = tick.saturating_sub(self.end);
        let begins = std::mem::take(&mut self.fresh);
        if self.conceal && !begins && self.end > i64::MIN && hole > 0 && !first.void {
            let payload = self.waiting.first_mut().map(|w| std::mem::take(&mut w.payload));
            let payload = payload.unwrap_or_default();
            self.conceal(hole.min(CONCEAL), hole <= CONCEAL, &payload, put);
            if let Some(first) = self.waiting.first_mut() {
                first.payload = payload;
            }
        }
        self.next = Some(order);
        self.catch_up(put);
    }

    fn conceal(&mut self, ticks: i64, whole: bool, next: &[u8], put: Put<'_>) {
        let Some(current) = self.current else { return };
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.number == current) else { return };
        let Some(decoder) = slot.decoder.as_mut() else { return };
        let rate = i64::from(decoder.sample_rate());
        let samples = usize::try_from(ticks * rate / TICKS_PER_SEC).unwrap_or(0);
        self.decoded.clear();
        if whole {
            decoder.conceal_with_next(next, samples, &mut self.decoded);
        } else {
            decoder.conceal(samples, &mut self.decoded);
        }
        self.concealed_us += u64::try_from(ticks * 1_000_000 / TICKS_PER_SEC).unwrap_or(0);
        let tick = self.end;
        self.place(tick, put);
    }

    fn take(&mut self, order: u32, tick: i64, slot: u8, void: bool, payload: &[u8], put: Put<'_>) {
        self.next = Some(order.wrapping_add(1));
        if void {
            return;
        }
        self.end_noise(tick, put);
        if self.current != Some(slot) {
            self.end_run(put);
            self.current = Some(slot);
        }
        let Some(decoder) =
            self.slots.iter_mut().find(|s| s.number == slot).and_then(|s| s.decoder.as_mut())
        else {
            self.refused += 1;
            return;
        };
        self.decoded.clear();
        if decoder.decode(payload, &mut self.decoded).is_err() {
            self.refused += 1;
            return;
        }
        if self.decoded.is_empty() {
            // Comfort noise says how loud it is; the next packet, how long it was.
            self.noise = Some((tick, slot));
        }
        self.place(tick, put);
    }

    /// Comfort noise between packets of a codec that is not decoded here: in no order with them.
    pub fn begin_noise(&mut self, record: &Record<'_>, put: Put<'_>) {
        self.end_noise(record.tick, put);
        let slot = self.slots.iter_mut().find(|s| s.number == record.slot);
        self.decoded.clear();
        match slot
            .and_then(|s| s.decoder.as_mut())
            .map(|d| d.decode(record.payload, &mut self.decoded))
        {
            Some(Ok(_)) => self.noise = Some((record.tick, record.slot)),
            Some(Err(_)) | None => self.refused += 1,
        }
    }

    /// A packet of any codec is at `tick`: comfort noise that was sounding lasted until there.
    pub fn end_noise(&mut self, tick: i64, put: Put<'_>) {
        let Some((begin, slot)) = self.noise else { return };
        let ticks = tick.saturating_sub(begin);
        if ticks <= 0 {
            return;
        }
        self.noise = None;
        if ticks > NOISE {
            return;
        }
        let Some(decoder) =
            self.slots.iter_mut().find(|s| s.number == slot).and_then(|s| s.decoder.as_mut())
        else {
            return;
        };
        let rate = i64::from(decoder.sample_rate());
        self.decoded.clear();
        decoder
            .conceal(usize::try_from(ticks * rate / TICKS_PER_SEC).unwrap_or(0), &mut self.decoded);
        if self.current != Some(slot) {
            self.end_run(put);
            self.current = Some(slot);
        }
        self.place(begin, put);
    }

    /// Puts what was decoded at `tick`.
    fn place(&mut self, tick: i64, put: Put<'_>) {
        if self.decoded.is_empty() {
            return;
        }
        if tick.saturating_sub(self.end).abs() > FOLLOWS {
            self.end_run(put);
        }
        let Some(slot) = self.slots.iter_mut().find(|s| Some(s.number) == self.current) else {
            return;
        };
        let rate = slot.decoder.as_ref().map_or(8000, |d| i64::from(d.sample_rate()));
        let length = i64::try_from(self.decoded.len()).unwrap_or(0);
        let run_begins = self.end_sample == i64::MIN;
        self.end = tick + length * TICKS_PER_SEC / rate;
        let (samples, delay) = match slot.resampler.as_mut() {
            None => (&self.decoded, 0),
            Some(resampler) => {
                self.converted.clear();
                resampler.process(&self.decoded, &mut self.converted);
                (&self.converted, i64::try_from(resampler.delay()).unwrap_or(0))
            }
        };
        let count = i64::try_from(samples.len()).unwrap_or(0);
        let at = (tick * self.tape_rate).div_euclid(TICKS_PER_SEC) - delay;
        if run_begins || at == self.end_sample {
            self.end_sample = at + count;
            put(Placed { at, fit: None }, samples);
            return;
        }
        // Drift: the samples are stretched over what lies between the end so far and their own end.
        let begin = self.end_sample;
        self.end_sample = at + count;
        let fit = usize::try_from(self.end_sample - begin).unwrap_or(samples.len());
        put(Placed { at: begin, fit: Some(fit) }, samples);
    }

    /// The run of contiguous audio ends: the resampler gives what it still holds.
    fn end_run(&mut self, put: Put<'_>) {
        let slot = self.slots.iter_mut().find(|s| Some(s.number) == self.current);
        if let Some(resampler) = slot.and_then(|s| s.resampler.as_mut())
            && self.end_sample > i64::MIN
        {
            self.converted.clear();
            resampler.flush(&mut self.converted);
            put(Placed { at: self.end_sample, fit: None }, &self.converted);
        }
        self.end_sample = i64::MIN;
    }

    /// End of what was decoded, in samples of the tape; `None` before the first.
    #[must_use]
    pub fn end(&self) -> Option<i64> {
        (self.end > i64::MIN).then(|| (self.end * self.tape_rate).div_euclid(TICKS_PER_SEC))
    }
}
