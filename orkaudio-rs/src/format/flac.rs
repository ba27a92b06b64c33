//! FLAC (RFC 9639) by flacenc, block by block.

use super::{Encoder, Labels, SOFTWARE, refused};
use crate::tape::wav::Layout;
use flacenc::{
    bitsink::ByteSink,
    component::{BitRepr as _, MetadataBlockData, Stream, StreamInfo},
    config,
    error::{Verified, Verify as _},
    source::{Context, Fill as _, FrameBuf},
};
use orkvault::sealed::Vessel;
use std::io::{self, BufWriter, Seek as _, Write as _};

/// Samples of a channel in a block.
const BLOCK: usize = 4_096;
/// The shortest block that may be told of.
const LEAST: usize = 32;
/// Type of the metadata block that holds comments.
const VORBIS_COMMENT: u8 = 4;

/// A FLAC file being written.
pub(super) struct Flac {
    file: BufWriter<Vessel>,
    config: Verified<config::Encoder>,
    info: StreamInfo,
    comments: Vec<u8>,
    frame: FrameBuf,
    context: Context,
    channels: usize,
    blocks: usize,
    waiting: Vec<i32>,
}

impl Flac {
    pub(super) fn create(file: Vessel, layout: Layout, labels: &Labels) -> io::Result<Self> {
        let channels = usize::from(layout.channels);
        let rate = usize::try_from(layout.rate).unwrap_or(0);
        let mut wanted = config::Encoder::default();
        wanted.block_size = BLOCK;
        let config = wanted.into_verified().map_err(|(_, error)| refused(error))?;
        let mut info = StreamInfo::new(rate, channels, 16).map_err(refused)?;
        info.set_block_sizes(BLOCK, BLOCK).map_err(refused)?;
        let mut flac = Self {
            file: BufWriter::new(file),
            config,
            info,
            comments: comments(labels),
            frame: FrameBuf::with_size(channels, BLOCK).map_err(refused)?,
            context: Context::new(16, channels),
            channels,
            blocks: 0,
            waiting: Vec::with_capacity(BLOCK * channels),
        };
        flac.write_header()?;
        Ok(flac)
    }

    /// Its length never changes.
    fn write_header(&mut self) -> io::Result<()> {
        let mut stream = Stream::with_stream_info(self.info.clone());
        let block = MetadataBlockData::new_unknown(VORBIS_COMMENT, &self.comments);
        stream.add_metadata_block(block.map_err(refused)?);
        let mut sink = ByteSink::new();
        stream.write(&mut sink).map_err(refused)?;
        self.file.write_all(sink.as_slice())
    }

    fn write_block(&mut self, samples: &[i32]) -> io::Result<()> {
        self.frame.resize(samples.len() / self.channels);
        self.frame.fill_interleaved(samples).map_err(refused)?;
        self.context.fill_interleaved(samples).map_err(refused)?;
        let frame =
            flacenc::encode_fixed_size_frame(&self.config, &self.frame, self.blocks, &self.info);
        self.blocks += 1;
        let mut sink = ByteSink::new();
        frame.map_err(refused)?.write(&mut sink).map_err(refused)?;
        self.file.write_all(sink.as_slice())
    }
}

impl Encoder for Flac {
    fn write(&mut self, samples: &[i16]) -> io::Result<()> {
        let block = BLOCK * self.channels;
        for sample in samples {
            self.waiting.push(i32::from(*sample));
            if self.waiting.len() == block {
                let waiting = std::mem::take(&mut self.waiting);
                self.write_block(&waiting)?;
                self.waiting = waiting;
                self.waiting.clear();
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<Vessel> {
        let mut waiting = std::mem::take(&mut self.waiting);
        if !waiting.is_empty() {
            // flacenc takes no shorter block: 4 ms of silence at 8 kHz at most.
            waiting.resize(waiting.len().max(LEAST * self.channels), 0);
            self.write_block(&waiting)?;
        }
        self.info.set_total_samples(self.context.total_samples());
        self.info.set_md5_digest(&self.context.md5_digest());
        self.file.rewind()?;
        self.write_header()?;
        self.file.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// The body of a comment block: lengths are little-endian here.
fn comments(labels: &Labels) -> Vec<u8> {
    let all: Vec<String> =
        labels.named().into_iter().map(|(name, text)| format!("{name}={text}")).collect();
    let length = |n: usize| u32::try_from(n).unwrap_or(0).to_le_bytes();
    let mut bytes = length(SOFTWARE.len()).to_vec();
    bytes.extend_from_slice(SOFTWARE.as_bytes());
    bytes.extend_from_slice(&length(all.len()));
    for text in all {
        bytes.extend_from_slice(&length(text.len()));
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}
