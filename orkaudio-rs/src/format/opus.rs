//! Opus in Ogg (RFC 6716, RFC 7845) by opus-pure, at the tape's own rate: a decoder gives 48 kHz.
//! For audio, not for voice: that mode filters low voices away.

use super::{Encoder, Labels, SOFTWARE, refused};
use crate::tape::wav::Layout;
use opus_pure::{Application, MAX_PACKET_BYTES, OggOpusWriter, OpusEncoder, OpusHead, OpusTags};
use orkvault::sealed::Vessel;
use std::{
    io::{self, BufWriter},
    mem,
};

/// Granule positions are counted at this rate.
const GRANULES: u32 = 48_000;

/// An Opus file being written.
pub(super) struct Opus {
    encoder: OpusEncoder,
    writer: OggOpusWriter<BufWriter<Vessel>>,
    channels: usize,
    /// Samples of a channel in a frame of 20 ms.
    frame: usize,
    /// Granules of one sample.
    ticks: u64,
    pre_skip: u64,
    /// Samples of a channel that came.
    samples: u64,
    /// Frames written, in samples of a channel.
    written: u64,
    waiting: Vec<i16>,
    packet: Vec<u8>,
}

impl Opus {
    pub(super) fn create(
        file: Vessel,
        layout: Layout,
        labels: &Labels,
        kilobits: u32,
    ) -> io::Result<Self> {
        let channels = usize::from(layout.channels);
        let rate = i32::try_from(layout.rate).unwrap_or(0);
        let mut encoder = OpusEncoder::new(rate, channels, Application::Audio).map_err(refused)?;
        encoder.bitrate_bps = i32::try_from(kilobits * 1_000).unwrap_or(i32::MAX);
        let head = OpusHead::for_encoder(&encoder, layout.rate);
        let pre_skip = u64::from(head.pre_skip);
        let mut tags = OpusTags { vendor: SOFTWARE.to_owned(), comments: Vec::new() };
        for (name, text) in labels.named() {
            tags.push(name, &text).map_err(refused)?;
        }
        let writer = OggOpusWriter::with_tags(BufWriter::new(file), head, tags).map_err(refused)?;
        Ok(Self {
            encoder,
            writer,
            channels,
            frame: usize::try_from(layout.rate / 50).unwrap_or(960),
            ticks: u64::from(GRANULES / layout.rate.max(1)),
            pre_skip,
            samples: 0,
            written: 0,
            waiting: Vec::new(),
            packet: vec![0; MAX_PACKET_BYTES],
        })
    }

    /// Writes whole frames; the last of them ends where the audio does.
    fn drain(&mut self, end: bool) -> io::Result<()> {
        let waiting = mem::take(&mut self.waiting);
        let size = self.frame * self.channels;
        let whole = waiting.len() - waiting.len() % size;
        let mut frames = waiting.chunks_exact(size).peekable();
        while let Some(frame) = frames.next() {
            let length = self.encoder.encode_s16(frame, self.frame, &mut self.packet);
            let packet = self.packet.get(..length.map_err(refused)?).unwrap_or_default();
            self.written += u64::try_from(self.frame).unwrap_or(0);
            if end && frames.peek().is_none() {
                let last = self.pre_skip + self.samples * self.ticks;
                let before = u64::try_from(self.writer.granule()).unwrap_or(0);
                let length = u32::try_from(last.saturating_sub(before)).unwrap_or(0);
                self.writer.write_packet_with_duration(packet, length).map_err(refused)?;
            } else {
                self.writer.write_packet(packet).map_err(refused)?;
            }
        }
        self.waiting.extend_from_slice(waiting.get(whole..).unwrap_or_default());
        Ok(())
    }
}

impl Encoder for Opus {
    fn write(&mut self, samples: &[i16]) -> io::Result<()> {
        self.samples += u64::try_from(samples.len() / self.channels).unwrap_or(0);
        self.waiting.extend_from_slice(samples);
        self.drain(false)
    }

    fn finish(mut self: Box<Self>) -> io::Result<Vessel> {
        // The encoder is late by the pre-skip: so much silence brings its last samples out.
        let late = self.pre_skip.div_ceil(self.ticks.max(1));
        let frame = u64::try_from(self.frame).unwrap_or(1).max(1);
        let wanted = (self.samples + late).div_ceil(frame) * frame;
        let count = usize::try_from(wanted.saturating_sub(self.written)).unwrap_or(0);
        self.waiting.resize(count * self.channels, 0);
        self.drain(true)?;
        let file = self.writer.finish().map_err(refused)?;
        file.into_inner().map_err(io::IntoInnerError::into_error)
    }
}
