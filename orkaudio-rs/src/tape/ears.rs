//! Keys heard in the audio of a tape that is being made.
//!
//! Law: what signalling or telephone events told of a key is not told again. Audio is decoded behind
//! its time, so a key waits until whatever else might tell of it is known. It is told before the tape
//! is finished, with the same tag as any other.

use orkbase::{
    audio::{
        block::News,
        inband::{Heard, Listener},
        tape::{Frame, PcmSink},
    },
    call::{
        output::{AddTag, Digit, Opening, TapeId},
        party::Side,
    },
    message::tag::{AddTagMessage, DTMF_DIGIT},
    rtp::timeline::millis_from_ticks,
};

/// The same key by other means begins within this time of it, in milliseconds.
const SAME_PRESS_MS: u64 = 500;
/// What else may tell of a key is known this long after it, in milliseconds.
const PATIENCE_MS: u64 = 2_000;
/// Keys heard on one tape; beyond it they are something else.
const MOST: usize = 2_000;

/// Listens to both sides of one tape.
#[derive(Debug)]
pub struct Ears {
    tape: TapeId,
    localparty: String,
    orkuid: String,
    sides: [Option<Listener>; 2],
    waiting: Vec<Digit>,
    /// Told by other means, and not yet heard.
    known: Vec<Digit>,
    told: Vec<Digit>,
}

impl Ears {
    /// Ears for a tape.
    #[must_use]
    pub fn new(opening: &Opening) -> Self {
        Self {
            tape: opening.tape,
            localparty: opening.message.localparty.clone(),
            orkuid: opening.orkuid.to_string(),
            sides: [Listener::new(opening.rate), Listener::new(opening.rate)],
            waiting: Vec::new(),
            known: Vec::new(),
            told: Vec::new(),
        }
    }

    /// Takes note of the keys that others tell of.
    pub fn learn(&mut self, news: &[News]) {
        for item in news {
            if let News::Digit(digit) = item {
                self.known.push(*digit);
            }
        }
    }

    /// The keys that nobody else has told of until `until`, in ticks from the tape's start.
    pub fn due(&mut self, until: i64, tell: &mut dyn FnMut(AddTag)) {
        let now = millis_from_ticks(until);
        let due = |digit: &Digit| digit.offset_ms.saturating_add(PATIENCE_MS) <= now;
        self.tell(&due, tell);
        self.known.retain(|known| known.offset_ms.saturating_add(2 * PATIENCE_MS) > now);
    }

    /// The tape ends: all that is left, and all that was told.
    pub fn finish(mut self, tell: &mut dyn FnMut(AddTag)) -> Vec<Digit> {
        self.tell(&|_| true, tell);
        self.told
    }

    fn tell(&mut self, due: &dyn Fn(&Digit) -> bool, tell: &mut dyn FnMut(AddTag)) {
        self.waiting.sort_by_key(|digit| digit.offset_ms);
        let (ready, rest) = std::mem::take(&mut self.waiting).into_iter().partition(due);
        self.waiting = rest;
        for digit in Vec::from_iter::<Vec<Digit>>(ready) {
            let same = |known: &Digit| {
                known.side == digit.side
                    && known.key == digit.key
                    && known.offset_ms.abs_diff(digit.offset_ms) <= SAME_PRESS_MS
            };
            if let Some(index) = self.known.iter().position(same) {
                self.known.remove(index);
                continue;
            }
            if self.told.len() >= MOST {
                continue;
            }
            self.told.push(digit);
            let message = AddTagMessage {
                localparty: self.localparty.clone(),
                orkuid: self.orkuid.clone(),
                tagtype: DTMF_DIGIT.to_owned(),
                tagtext: digit.key.as_str().to_owned(),
                offsetmsec: digit.offset_ms,
            };
            tell(AddTag { tape: self.tape, side: digit.side, message });
        }
    }

    /// Hears what is written to `sink`.
    pub fn on<'a>(&'a mut self, sink: &'a mut dyn PcmSink) -> Overheard<'a> {
        Overheard { ears: self, sink }
    }
}

/// A sink that is listened to.
#[expect(missing_debug_implementations, reason = "holds a sink")]
pub struct Overheard<'a> {
    ears: &'a mut Ears,
    sink: &'a mut dyn PcmSink,
}

impl PcmSink for Overheard<'_> {
    fn write(&mut self, at: u64, frames: &[Frame]) {
        let Ears { sides, waiting, .. } = &mut *self.ears;
        for (side, listener) in [Side::Local, Side::Remote].into_iter().zip(sides) {
            let Some(listener) = listener else { continue };
            let samples =
                frames.iter().map(|frame| frame.get(side.channel()).copied().unwrap_or(0));
            listener.hear(at, samples, &mut |Heard { key, offset_ms }| {
                if waiting.len() < MOST {
                    waiting.push(Digit { side, key, offset_ms });
                }
            });
        }
        self.sink.write(at, frames);
    }

    fn patch(&mut self, at: u64, channel: usize, samples: &[i16]) {
        self.sink.patch(at, channel, samples);
    }
}
