//! G.729, G.723.1 and iLBC by libavcodec, a frame at a time.
//!
//! Lost frames have no call of their own there, but G.729 and G.723.1 have a frame that says "bad
//! frame" and is answered by the concealment of their standards; that is what is sent. For iLBC
//! libavcodec has none, so the last pitch period is repeated as for the codecs of the core.

use super::ffi::{Av, AvSetup, AvStream};
use orkbase::audio::codec::frames::{self, G723_SAMPLES, IlbcFrame};
use orkbase::audio::codec::{Codec, Concealer, DecodeError, Decoder, Filler};

const RATE: u32 = 8_000;

/// Appends one frame of exactly `samples`, silence where the library gives less.
fn speak(stream: &mut AvStream, frame: &[u8], samples: usize, out: &mut Vec<i16>) {
    let end = out.len() + samples;
    stream.decode(frame, out);
    out.resize(end, 0);
}

/// G.729 with Annex A, which is the same bits, and B, whose silence descriptors we answer
/// ourselves: noise of their level, without their spectrum.
pub(super) struct G729 {
    stream: AvStream,
    filler: Filler,
    noise: Box<dyn Decoder>,
    /// The last frame was a silence descriptor.
    silent: bool,
}

impl G729 {
    const FRAME: usize = 10;
    const SAMPLES: usize = 80;
    /// All bits zero: the frame was erased.
    const ERASED: [u8; Self::FRAME] = [0; Self::FRAME];

    pub(super) fn new(library: &'static Av) -> Option<Self> {
        let stream = library.stream(AvSetup { name: c"g729", rate: RATE, bit_rate: 0 })?;
        let noise = Codec::ComfortNoise { rate: RATE }.decoder()?;
        Some(Self { stream, filler: Filler::new(RATE), noise, silent: false })
    }

    fn hush(&mut self, descriptor: [u8; 2], out: &mut Vec<i16>) {
        self.silent = true;
        let level = level(descriptor);
        let _followed = self.noise.decode(&[level], out).is_ok();
        self.noise.conceal(Self::SAMPLES, out);
    }
}

/// The level of a silence descriptor in -dBov: one bit and nine bits of spectrum, five of energy
/// (G.729 Annex B table B.2), in steps of 4 dB from -12 and -4 up to 16 and of 2 dB up to 66.
fn level(descriptor: [u8; 2]) -> u8 {
    /// What a filter of speech-like noise adds to its excitation, roughly.
    const SHAPE: i16 = 6;
    let energy = match i16::from_be_bytes(descriptor) >> 1 & 31 {
        0 => -12,
        step @ 1..=6 => 4 * step - 8,
        step => 2 * step + 4,
    };
    u8::try_from(90 - energy - SHAPE).unwrap_or(0)
}

impl Decoder for G729 {
    fn sample_rate(&self) -> u32 {
        RATE
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<usize, DecodeError> {
        let (speech, rest) = payload.as_chunks::<{ Self::FRAME }>();
        let before = out.len();
        for frame in speech {
            self.silent = false;
            speak(&mut self.stream, frame, Self::SAMPLES, out);
        }
        if let Ok(descriptor) = <[u8; 2]>::try_from(rest) {
            self.hush(descriptor, out);
        }
        if out.len() == before {
            return Err(DecodeError::Short { got: payload.len(), need: 2 });
        }
        self.filler.heard();
        Ok(out.len() - before)
    }

    fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) {
        if self.silent {
            return self.noise.conceal(samples, out);
        }
        let stream = &mut self.stream;
        self.filler.fill(samples, out, |_, out| {
            speak(stream, &Self::ERASED, Self::SAMPLES, out);
        });
    }
}

/// G.723.1 at both rates, with the silence descriptors of its Annex A.
pub(super) struct G723 {
    stream: AvStream,
    filler: Filler,
}

impl G723 {
    /// A pitch lag that is never sent.
    const BAD: [u8; 24] = {
        let mut frame = [0xff; 24];
        frame[0] = 0xfc;
        frame
    };

    pub(super) fn new(library: &'static Av) -> Option<Self> {
        let stream = library.stream(AvSetup { name: c"g723_1", rate: RATE, bit_rate: 0 })?;
        Some(Self { stream, filler: Filler::new(RATE) })
    }
}

impl Decoder for G723 {
    fn sample_rate(&self) -> u32 {
        RATE
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<usize, DecodeError> {
        let before = out.len();
        for frame in frames::g723(payload) {
            speak(&mut self.stream, frame, G723_SAMPLES, out);
        }
        if out.len() == before {
            return Err(DecodeError::Short { got: payload.len(), need: 4 });
        }
        self.filler.heard();
        Ok(out.len() - before)
    }

    fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) {
        let stream = &mut self.stream;
        self.filler.fill(samples, out, |_, out| speak(stream, &Self::BAD, G723_SAMPLES, out));
    }
}

/// iLBC: a decoder for each frame length, made when that is first met.
pub(super) struct Ilbc {
    library: &'static Av,
    agreed: u8,
    /// The frame length of the last payload, and its decoder.
    current: (IlbcFrame, AvStream),
    cover: Concealer,
}

impl Ilbc {
    pub(super) fn new(library: &'static Av, agreed: u8) -> Option<Self> {
        let frame = frames::ilbc(agreed, 0);
        let current = (frame, Self::stream(library, frame)?);
        Some(Self { library, agreed, current, cover: Concealer::new(RATE) })
    }

    fn stream(library: &'static Av, frame: IlbcFrame) -> Option<AvStream> {
        let bit_rate = match frame {
            IlbcFrame::Twenty => 15_200,
            IlbcFrame::Thirty => 13_330,
        };
        library.stream(AvSetup { name: c"ilbc", rate: RATE, bit_rate })
    }
}

impl Decoder for Ilbc {
    fn sample_rate(&self) -> u32 {
        RATE
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<usize, DecodeError> {
        let frame = frames::ilbc(self.agreed, payload.len());
        if payload.len() < frame.bytes() {
            return Err(DecodeError::Short { got: payload.len(), need: frame.bytes() });
        }
        if frame != self.current.0
            && let Some(stream) = Self::stream(self.library, frame)
        {
            self.current = (frame, stream);
        }
        let before = out.len();
        for bytes in payload.chunks_exact(frame.bytes()) {
            speak(&mut self.current.1, bytes, frame.samples(), out);
        }
        self.cover.heard(out.get_mut(before..).unwrap_or_default());
        Ok(out.len() - before)
    }

    fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) {
        self.cover.conceal(samples, out);
    }
}
