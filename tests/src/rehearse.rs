//! Frames through the core in memory: what it would tell, and what its tapes would hold.

use crate::wrap::{Capture, Captured};
use orkbase::{
    audio::tape::{Frame as Sample, PcmSink, Scratch, TapeAudio},
    call::{
        output::{Closing, EndReason, Opening, Output, TapeId},
        settings::Settings,
        story::Account,
    },
    message::{tag::AddTagMessage, tape::TapeMessage},
    packet::{Frame, decoder::Limits},
    tap::{Tap, TapCounters},
    time::Timestamp,
    tls::Notice,
};
use std::collections::BTreeMap;

/// One tape as it would be on the disk.
#[derive(Debug)]
pub struct Tape {
    /// How it began.
    pub opening: Opening,
    /// How it ended.
    pub closing: Option<Closing>,
    /// Its samples: left, right.
    pub samples: Vec<Sample>,
    /// Packets kept beside it: the blocks of a pcapng file.
    pub packets: Vec<u8>,
}

/// Everything that came out.
#[derive(Debug)]
pub struct Rehearsal {
    /// Messages in order.
    pub told: Vec<TapeMessage>,
    /// Tags in order.
    pub tags: Vec<AddTagMessage>,
    /// Tapes in order of opening.
    pub tapes: Vec<Tape>,
    /// Calls that were over, in order; all of them with `Settings::explain`.
    pub accounts: Vec<Account>,
    /// What the operator was told, in order.
    pub notices: Vec<Notice>,
    /// Counters at the end.
    pub counters: TapCounters,
}

impl Rehearsal {
    /// The one tape.
    ///
    /// # Panics
    /// When there are more or none.
    #[must_use]
    pub fn only(&self) -> &Tape {
        assert_eq!(self.tapes.len(), 1, "one tape wanted");
        self.tapes.first().unwrap_or_else(|| unreachable!("counted above"))
    }

    /// The stages told, in order, with the recording they are about when there are several.
    #[must_use]
    pub fn stages(&self) -> String {
        let words: Vec<&str> = self.told.iter().map(|message| message.stage.as_str()).collect();
        words.join(" ")
    }
}

impl Tape {
    /// Length in milliseconds, as the core reports it.
    #[must_use]
    pub fn ms(&self) -> u64 {
        self.closing.as_ref().map_or(0, |closing| closing.duration_ms)
    }

    /// Root mean square of a channel between two moments in milliseconds.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a level for a test")]
    pub fn level(&self, channel: usize, from_ms: usize, to_ms: usize) -> f64 {
        let span = self.samples.get(from_ms * 8..(to_ms * 8).min(self.samples.len()));
        let span = span.unwrap_or_default();
        let square = |frame: &Sample| f64::from(frame.get(channel).copied().unwrap_or(0)).powi(2);
        (span.iter().map(square).sum::<f64>() / span.len().max(1) as f64).sqrt()
    }
}

#[derive(Default)]
struct Memory(Vec<Sample>);

impl Memory {
    fn room(&mut self, at: u64, length: usize) -> &mut [Sample] {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        if self.0.len() < at + length {
            self.0.resize(at + length, [0, 0]);
        }
        self.0.get_mut(at..at + length).unwrap_or_default()
    }
}

impl PcmSink for Memory {
    fn write(&mut self, at: u64, frames: &[Sample]) {
        self.room(at, frames.len()).copy_from_slice(frames);
    }

    fn patch(&mut self, at: u64, channel: usize, samples: &[i16]) {
        for (frame, sample) in self.room(at, samples.len()).iter_mut().zip(samples) {
            if let Some(place) = frame.get_mut(channel) {
                *place = *sample;
            }
        }
    }
}

struct Making {
    tape: Tape,
    audio: TapeAudio,
    memory: Memory,
}

/// Something done between frames: called before each frame with its time.
pub type Between<'a> = &'a mut dyn FnMut(&mut Tap, Timestamp);

/// Plays Ethernet frames (nanoseconds, bytes) through the core.
#[must_use]
pub fn rehearse(frames: &[(u64, Vec<u8>)], settings: Settings) -> Rehearsal {
    rehearse_with(frames, settings, &mut |_, _| {})
}

/// The same, with something done between frames.
#[must_use]
pub fn rehearse_with(
    frames: &[(u64, Vec<u8>)],
    settings: Settings,
    between: Between<'_>,
) -> Rehearsal {
    rehearse_capture(&Capture::ethernet(frames), settings, Limits::default(), between)
}

/// Plays any capture through the core.
#[must_use]
pub fn rehearse_capture(
    capture: &Capture,
    settings: Settings,
    limits: Limits,
    between: Between<'_>,
) -> Rehearsal {
    let mut tap = Tap::new(settings, limits, 0);
    let mut heard = Heard::default();
    let mut last = Timestamp::default();
    for Captured { at, wire_len, bytes } in &capture.frames {
        last = Timestamp(*at);
        between(&mut tap, last);
        tap.handle_frame(&Frame { at: last, link: capture.link, wire_len: *wire_len, bytes });
        heard.drain(&mut tap);
    }
    tap.finish(last, EndReason::Shutdown);
    heard.drain(&mut tap);
    let Heard { told, tags, notices, accounts, making, .. } = heard;
    let tapes = making.into_values().map(|m| Tape { samples: m.memory.0, ..m.tape }).collect();
    Rehearsal { told, tags, tapes, notices, accounts, counters: tap.counters() }
}

/// What came out so far.
#[derive(Default)]
struct Heard {
    told: Vec<TapeMessage>,
    tags: Vec<AddTagMessage>,
    notices: Vec<Notice>,
    accounts: Vec<Account>,
    making: BTreeMap<TapeId, Making>,
    scratch: Scratch,
}

impl Heard {
    fn drain(&mut self, tap: &mut Tap) {
        let Self { told, tags, notices, accounts, making, scratch } = self;
        while let Some(output) = tap.poll_output() {
            match output {
                Output::Told(message) => told.push(*message),
                Output::Tagged(tag) => tags.push(tag.message),
                Output::Opened(opening) => {
                    let tape = Tape {
                        opening: *opening,
                        closing: None,
                        samples: Vec::new(),
                        packets: Vec::new(),
                    };
                    let id = tape.opening.tape;
                    let audio = TapeAudio::new(8000);
                    making.insert(id, Making { tape, audio, memory: Memory::default() });
                }
                Output::Audio(block) => {
                    if let Some(m) = making.get_mut(&block.tape) {
                        let sink = &mut m.memory;
                        m.audio.handle_block(&block.news, &block.bytes, block.until, scratch, sink);
                    }
                    tap.recycle(block.bytes);
                }
                Output::Packets(block) => {
                    if let Some(m) = making.get_mut(&block.tape) {
                        m.tape.packets.extend_from_slice(&block.bytes);
                    }
                }
                Output::Closed(closing) => {
                    if let Some(m) = making.get_mut(&closing.tape) {
                        m.tape.closing = Some(*closing);
                    }
                }
                Output::Noticed(notice) => notices.push(notice),
                Output::Over(account) => accounts.push(*account),
            }
        }
    }
}
