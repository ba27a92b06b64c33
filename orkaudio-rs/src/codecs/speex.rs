//! Speex (RFC 5574) by libspeex: frames of any bit rate, one after the other in a payload.

use super::ffi::{self, SpeexStream};
use orkbase::audio::codec::frames::SpeexBand;
use orkbase::audio::codec::{DecodeError, Decoder, Filler};

/// One stream of Speex.
pub(super) struct Speex {
    stream: SpeexStream,
    rate: u32,
    filler: Filler,
}

impl Speex {
    pub(super) fn new(library: &'static ffi::Speex, rate: u32) -> Option<Self> {
        let stream = library.stream(SpeexBand::of(rate))?;
        Some(Self { stream, rate, filler: Filler::new(rate) })
    }
}

impl Decoder for Speex {
    fn sample_rate(&self) -> u32 {
        self.rate
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<usize, DecodeError> {
        let band = self.stream.band();
        let count = band.count(payload);
        if count == 0 {
            return Err(DecodeError::Foreign { offset: 0, why: "no whole Speex frame" });
        }
        self.filler.heard();
        self.stream.read(payload);
        let mut pcm = [0; SpeexStream::SAMPLES];
        let mut readable = true;
        for _ in 0..count {
            // What follows a frame that the library does not like has lost its place.
            readable = readable && self.stream.decode(&mut pcm);
            if !readable {
                self.stream.conceal(&mut pcm);
            }
            out.extend(pcm.iter().take(band.samples()));
        }
        Ok(count * band.samples())
    }

    fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) {
        let size = self.stream.band().samples();
        self.filler.fill(samples, out, |_, out| {
            let mut pcm = [0; SpeexStream::SAMPLES];
            self.stream.conceal(&mut pcm);
            out.extend(pcm.iter().take(size));
        });
    }
}
