//! The way of a packet, stage by stage, without files and threads: for measuring, not for recording.

use orkaudio::{
    capture::set::CaptureSet,
    engine::Frames as _,
    tape::{file::TapeFile, wav::Layout},
};
use orkbase::{
    audio::tape::{Frame as Pcm, PcmSink, Scratch, TapeAudio},
    call::{
        foresee::Seen,
        output::{Output, TapeId},
        settings::Settings,
    },
    packet::{
        Frame,
        decoder::{Decoder, Limits},
    },
    tap::Tap,
};
use std::{collections::HashMap, path::Path};
use tempfile::TempDir;

/// How far a packet goes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, clap::ValueEnum)]
pub enum Stage {
    /// Read from the file.
    Read,
    /// Found to be UDP.
    Decode,
    /// Routed to its call and placed in its block.
    Place,
    /// Decoded into the samples of its tape.
    Audio,
    /// Written to files in the folder for temporary ones.
    Write,
}

/// All of them, each with those before it.
pub const STAGES: [Stage; 5] =
    [Stage::Read, Stage::Decode, Stage::Place, Stage::Audio, Stage::Write];

/// Where samples are only counted.
#[derive(Debug, Default)]
pub struct Count(
    /// Frames.
    pub u64,
);

impl PcmSink for Count {
    fn write(&mut self, _at: u64, frames: &[Pcm]) {
        self.0 += frames.len() as u64;
    }

    fn patch(&mut self, _at: u64, _channel: usize, samples: &[i16]) {
        self.0 += samples.len() as u64;
    }
}

/// Where the samples of a tape go: they are counted, and written if there is a file.
struct Sink<'a> {
    count: &'a mut Count,
    file: Option<&'a mut TapeFile>,
}

impl PcmSink for Sink<'_> {
    fn write(&mut self, at: u64, frames: &[Pcm]) {
        self.count.write(at, frames);
        if let Some(file) = &mut self.file {
            file.write(at, frames);
        }
    }

    fn patch(&mut self, at: u64, channel: usize, samples: &[i16]) {
        self.count.patch(at, channel, samples);
        if let Some(file) = &mut self.file {
            file.patch(at, channel, samples);
        }
    }
}

/// A recorder whose tapes nobody keeps.
pub struct Way {
    tap: Tap,
    tapes: HashMap<TapeId, (TapeAudio, Option<TapeFile>)>,
    folder: Option<TempDir>,
    scratch: Scratch,
    audio: bool,
    /// Frames of tapes so far.
    pub frames: Count,
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Way").finish_non_exhaustive()
    }
}

impl Way {
    /// One that decodes audio, or throws it away as it came.
    #[must_use]
    pub fn new(audio: bool) -> Self {
        Self::with(audio, Settings { max_calls: 20_000, ..Settings::default() })
    }

    /// The same with settings of its own.
    #[must_use]
    pub fn with(audio: bool, settings: Settings) -> Self {
        Self {
            tap: Tap::new(settings, Limits::default(), 1),
            tapes: HashMap::new(),
            folder: None,
            scratch: Scratch::default(),
            audio,
            frames: Count::default(),
        }
    }

    /// Media flows bound to calls.
    #[must_use]
    pub fn flows(&self) -> usize {
        self.tap.held().flows
    }

    /// This frame comes soon.
    pub fn foresee(&mut self, frame: &Frame<'_>) -> Seen {
        self.tap.foresee(frame)
    }

    /// Takes in a frame and does what it leads to.
    pub fn handle(&mut self, frame: &Frame<'_>) {
        self.handle_seen(frame, &Seen::NOTHING);
    }

    /// The same for a frame of which this was seen.
    pub fn handle_seen(&mut self, frame: &Frame<'_>, seen: &Seen) {
        self.tap.handle_seen(frame, seen);
        while let Some(output) = self.tap.poll_output() {
            match output {
                Output::Opened(opening) if self.audio => {
                    let layout = Layout { rate: opening.rate, channels: 2 };
                    let file = self.folder.as_ref().and_then(|folder| {
                        let path = folder.path().join(opening.orkuid.to_string());
                        TapeFile::create(&path, layout, &[], 0o600).ok()
                    });
                    self.tapes.insert(opening.tape, (TapeAudio::new(opening.rate), file));
                }
                Output::Audio(block) => {
                    if let Some((tape, file)) = self.tapes.get_mut(&block.tape) {
                        let scratch = &mut self.scratch;
                        let sink = &mut Sink { count: &mut self.frames, file: file.as_mut() };
                        tape.handle_block(&block.news, &block.bytes, block.until, scratch, sink);
                    }
                    self.tap.recycle(block.bytes);
                }
                Output::Closed(closing) => {
                    self.tapes.remove(&closing.tape);
                }
                Output::Opened(_)
                | Output::Told(_)
                | Output::Tagged(_)
                | Output::Packets(_)
                | Output::Noticed(_)
                | Output::Over(_) => {}
            }
        }
    }
}

#[inline]
fn look_ahead(set: &mut CaptureSet, path: &mut Way) {
    while let Some(frame) = set.soon() {
        let seen = path.foresee(&frame);
        set.note(seen);
    }
}

/// Sends a capture so far; tells of how many frames, and something that depends on all of them.
///
/// # Errors
/// The capture cannot be read.
pub fn walk(capture: &Path, stage: Stage) -> Result<(u64, u64), String> {
    let mut set = CaptureSet::expand(&[capture]).map_err(|error| error.to_string())?;
    let decoder = Decoder::new(Limits::default());
    let mut path = (stage >= Stage::Place).then(|| Way::new(stage >= Stage::Audio));
    if let Some(path) = path.as_mut().filter(|_| stage == Stage::Write) {
        path.folder = Some(tempfile::tempdir().map_err(|error| error.to_string())?);
    }
    let (mut frames, mut sum) = (0, 0_u64);
    while set.advance().map_err(|error| error.to_string())? {
        let frame = set.frame();
        frames += 1;
        match (&mut path, stage) {
            (Some(path), _) => {
                path.handle(&frame);
                look_ahead(&mut set, path);
                while let Some((frame, seen)) = set.next() {
                    frames += 1;
                    path.handle_seen(&frame, &seen);
                    look_ahead(&mut set, path);
                }
            }
            (None, Stage::Read) => sum = sum.wrapping_add(frame.at.0),
            (None, _) => {
                let udp = decoder.fast_udp(&frame);
                sum = sum.wrapping_add(udp.map_or(0, |udp| u64::from(udp.key.destination_port())));
            }
        }
    }
    Ok((frames, sum.wrapping_add(path.map_or(0, |path| path.frames.0))))
}
