//! AMR and AMR-WB (RFC 4867) by the opencore libraries, or by libavcodec where they are missing.

use super::ffi::{AmrStream, Av, AvSetup, AvStream};
use orkbase::audio::codec::frames::{AmrFormat, AmrFrame};
use orkbase::audio::codec::{Concealer, DecodeError, Decoder, Filler};

/// Who turns frames into samples.
pub(super) enum Voice {
    /// Knows lost frames, silence descriptors and comfort noise.
    Opencore(AmrStream),
    /// Knows speech alone; the rest is made of what was heard before.
    Av { stream: AvStream, cover: Concealer },
}

impl Voice {
    pub(super) fn opencore(stream: AmrStream) -> Self {
        Self::Opencore(stream)
    }

    pub(super) fn av(library: &'static Av, wide: bool) -> Option<Self> {
        let (name, rate) = if wide { (c"amrwb", 16_000) } else { (c"amrnb", 8_000) };
        let stream = library.stream(AvSetup { name, rate, bit_rate: 0 })?;
        Some(Self::Av { stream, cover: Concealer::new(rate) })
    }

    /// Appends the `samples` of one frame.
    fn speak(&mut self, frame: &AmrFrame, samples: usize, out: &mut Vec<i16>) {
        match self {
            Self::Opencore(stream) => {
                let mut pcm = [0; AmrStream::SAMPLES];
                stream.decode(frame, &mut pcm);
                out.extend(pcm.iter().take(samples));
            }
            Self::Av { stream, cover } => {
                let before = out.len();
                let silence = if samples == 320 { 9 } else { 8 };
                if frame.kind() < silence && stream.decode(frame.as_bytes(), out) == samples {
                    cover.heard(out.get_mut(before..).unwrap_or_default());
                } else {
                    out.truncate(before);
                    cover.conceal(samples, out);
                }
            }
        }
    }
}

/// One stream of AMR.
pub(super) struct Amr {
    voice: Voice,
    format: AmrFormat,
    filler: Filler,
}

impl Amr {
    pub(super) fn new(voice: Voice, format: AmrFormat) -> Self {
        Self { voice, format, filler: Filler::new(rate(format)) }
    }
}

const fn rate(format: AmrFormat) -> u32 {
    if format.wide { 16_000 } else { 8_000 }
}

impl Decoder for Amr {
    fn sample_rate(&self) -> u32 {
        rate(self.format)
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<usize, DecodeError> {
        if self.format.count(payload) == 0 {
            let why = "AMR table of contents without an end";
            return Err(DecodeError::Foreign { offset: payload.len(), why });
        }
        self.filler.heard();
        let before = out.len();
        for frame in self.format.frames(payload) {
            self.voice.speak(&frame, self.format.samples(), out);
        }
        Ok(out.len() - before)
    }

    fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) {
        let size = self.format.samples();
        self.filler.fill(samples, out, |_, out| {
            self.voice.speak(&AmrFrame::NO_DATA, size, out);
        });
    }
}
