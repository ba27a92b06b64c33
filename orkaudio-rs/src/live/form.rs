//! In which form a listener gets audio.

use super::{lock, player::RATE};
use opus_pure::{Application, MAX_PACKET_BYTES, OggOpusWriter, OpusEncoder, OpusHead, OpusTags};
use orkbase::audio::tape::Frame;
use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

/// What a listener may ask for as `format=`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// Signed 16-bit little-endian samples and nothing else.
    Raw,
    /// The same behind a WAV header that names no length.
    Wav,
    /// Opus in Ogg: what a browser plays best.
    Opus,
}

impl Form {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "" | "raw" | "pcm" => Some(Self::Raw),
            "wav" => Some(Self::Wav),
            "opus" | "ogg" => Some(Self::Opus),
            _ => None,
        }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Raw => "application/octet-stream",
            Self::Wav => "audio/wav",
            Self::Opus => "audio/ogg; codecs=opus",
        }
    }
}

/// Makes octets of chunks.
pub(super) struct Writer {
    stereo: bool,
    samples: Vec<i16>,
    opus: Option<Opus>,
}

struct Opus {
    encoder: OpusEncoder,
    pages: OggOpusWriter<Pages>,
    done: Pages,
    packet: Vec<u8>,
}

/// Where pages wait to be sent.
#[derive(Clone, Default)]
struct Pages(Arc<Mutex<Vec<u8>>>);

impl Write for Pages {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Writer {
    /// A writer, and what stands before the first chunk.
    pub(super) fn new(form: Form, stereo: bool) -> io::Result<(Self, Vec<u8>)> {
        let channels = if stereo { 2 } else { 1 };
        let mut head = Vec::new();
        let opus = match form {
            Form::Raw => None,
            Form::Wav => {
                head = wav_head(channels);
                None
            }
            Form::Opus => {
                let opus = Opus::new(channels).map_err(io::Error::other)?;
                head = std::mem::take(&mut *lock(&opus.done.0));
                Some(opus)
            }
        };
        Ok((Self { stereo, samples: Vec::new(), opus }, head))
    }

    /// Appends a chunk to `out`.
    pub(super) fn write(&mut self, frames: &[Frame], out: &mut Vec<u8>) -> io::Result<()> {
        self.samples.clear();
        if self.stereo {
            self.samples.extend_from_slice(frames.as_flattened());
        } else {
            let mixed = frames.iter().map(|[local, remote]| local.saturating_add(*remote));
            self.samples.extend(mixed);
        }
        match self.opus.as_mut() {
            None => out.extend(self.samples.iter().flat_map(|sample| sample.to_le_bytes())),
            Some(opus) => {
                opus.write(&self.samples, frames.len()).map_err(io::Error::other)?;
                out.append(&mut lock(&opus.done.0));
            }
        }
        Ok(())
    }

    /// What stands behind the last chunk.
    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        let Some(opus) = self.opus else { return Ok(Vec::new()) };
        let done = opus.done.clone();
        opus.pages.finish().map_err(io::Error::other)?;
        Ok(std::mem::take(&mut *lock(&done.0)))
    }
}

impl Opus {
    fn new(channels: u8) -> Result<Self, opus_pure::Error> {
        let rate = i32::try_from(RATE).unwrap_or(0);
        let mut encoder = OpusEncoder::new(rate, usize::from(channels), Application::Voip)?;
        encoder.bitrate_bps = 20_000 * i32::from(channels);
        let head = OpusHead::for_encoder(&encoder, RATE);
        let done = Pages::default();
        let mut pages = OggOpusWriter::with_tags(done.clone(), head, OpusTags::new())?;
        // Every packet its own page: what is kept back is late.
        pages.set_page_target(1);
        Ok(Self { encoder, pages, done, packet: vec![0; MAX_PACKET_BYTES] })
    }

    fn write(&mut self, samples: &[i16], frame: usize) -> Result<(), opus_pure::Error> {
        let length = self.encoder.encode_s16(samples, frame, &mut self.packet)?;
        self.pages.write_packet(self.packet.get(..length).unwrap_or_default())
    }
}

/// A header whose lengths are as large as they can be: nobody knows how long a call lasts.
fn wav_head(channels: u8) -> Vec<u8> {
    let frame_bytes = 2 * u16::from(channels);
    let mut head = Vec::with_capacity(44);
    // The largest multiple of a frame that leaves room for the header.
    let length = u32::MAX - 39;
    head.extend_from_slice(b"RIFF");
    head.extend((length + 36).to_le_bytes());
    head.extend_from_slice(b"WAVEfmt ");
    head.extend(16_u32.to_le_bytes());
    head.extend(1_u16.to_le_bytes());
    head.extend(u16::from(channels).to_le_bytes());
    head.extend(RATE.to_le_bytes());
    head.extend((RATE * u32::from(frame_bytes)).to_le_bytes());
    head.extend(frame_bytes.to_le_bytes());
    head.extend(16_u16.to_le_bytes());
    head.extend_from_slice(b"data");
    head.extend(length.to_le_bytes());
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use opus_pure::{OggOpusReader, OpusDecoder};

    #[test]
    fn raw_is_interleaved_or_mixed() {
        let frames = [[1, 2], [30_000, 30_000]];
        for (stereo, want) in [(true, vec![1, 2, 30_000, 30_000]), (false, vec![3, 32_767])] {
            let (mut writer, head) = Writer::new(Form::Raw, stereo).unwrap();
            let mut out = head;
            writer.write(&frames, &mut out).unwrap();
            out.extend(writer.finish().unwrap());
            let read: Vec<i16> = out.as_chunks().0.iter().map(|b| i16::from_le_bytes(*b)).collect();
            assert_eq!(read, want);
        }
    }

    #[test]
    fn a_wav_header_without_a_length() {
        let (mut writer, mut out) = Writer::new(Form::Wav, true).unwrap();
        writer.write(&[[5, -5]], &mut out).unwrap();
        let mut reader = hound::WavReader::new(out.as_slice()).unwrap();
        let spec = reader.spec();
        assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (2, 8_000, 16));
        let samples: Vec<i16> = reader.samples().map_while(Result::ok).collect();
        assert_eq!(samples, [5, -5]);
    }

    #[test]
    fn opus_pages_leave_at_once_and_can_be_decoded() {
        let (mut writer, mut out) = Writer::new(Form::Opus, false).unwrap();
        assert!(out.starts_with(b"OggS"));
        let mut largest_delay = 0;
        for n in 0..50 {
            let tone = |k: usize| (f64::from(u32::try_from(n * 160 + k).unwrap()) * 0.35).sin();
            #[expect(clippy::cast_possible_truncation, reason = "within 16 bits")]
            let chunk: Vec<Frame> = (0..160).map(|k| [(tone(k) * 8_000.0) as i16, 0]).collect();
            let before = out.len();
            writer.write(&chunk, &mut out).unwrap();
            largest_delay = if out.len() > before { 0 } else { largest_delay + 1 };
            assert!(largest_delay < 2, "chunk {n}: nothing came out");
        }
        out.extend(writer.finish().unwrap());
        let mut reader = OggOpusReader::new(out.as_slice()).unwrap();
        let mut decoder = OpusDecoder::new(8_000, 1).unwrap();
        let mut pcm = vec![0i16; 960];
        let (mut loudest, mut packets) = (0, 0);
        while let Some(packet) = reader.read_packet().unwrap() {
            let count = decoder.decode_s16(&packet.data, 960, &mut pcm).unwrap();
            loudest = pcm[..count].iter().map(|s| s.unsigned_abs()).max().unwrap().max(loudest);
            packets += 1;
        }
        assert!(packets == 50 && (6_000..12_000).contains(&loudest), "{packets}, {loudest}");
    }
}
