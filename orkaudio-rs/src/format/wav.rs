//! WAV files: PCM, A-law and mu-law by table, GSM by libgsm.

use super::{Encoder, Labels, ffi, refused};
use crate::tape::wav::{Coding, GSM_BLOCK, Layout, header_of};
use audio_codec_algorithms::{encode_alaw, encode_ulaw};
use orkvault::sealed::Vessel;
use std::io::{self, BufWriter, Seek as _, Write as _};

/// A WAV file being written.
pub(super) struct Wav {
    file: BufWriter<Vessel>,
    coding: Coding,
    layout: Layout,
    labels: Labels,
    /// Samples of one channel.
    frames: u64,
    data: u64,
    /// Samples waiting for their block to be full.
    block: Vec<i16>,
    gsm: Option<ffi::GsmStream>,
    coded: Vec<u8>,
}

impl Wav {
    pub(super) fn create(
        file: Vessel,
        coding: Coding,
        layout: Layout,
        labels: &Labels,
    ) -> io::Result<Self> {
        let gsm = match coding {
            Coding::Gsm if layout.channels == 2 => {
                return Err(refused("GSM holds one channel only"));
            }
            Coding::Gsm => Some(ffi::Gsm::get().map_err(refused)?.stream().map_err(refused)?),
            Coding::Pcm | Coding::ALaw | Coding::MuLaw => None,
        };
        let mut file = BufWriter::new(file);
        file.write_all(&header_of(coding, layout, &labels.info(), 0, 0))?;
        Ok(Self {
            file,
            coding,
            layout,
            labels: labels.clone(),
            frames: 0,
            data: 0,
            block: Vec::new(),
            gsm,
            coded: Vec::new(),
        })
    }

    fn write_gsm(&mut self, samples: &[i16]) {
        let Some(gsm) = self.gsm.as_mut() else { return };
        let size = usize::try_from(GSM_BLOCK.0).unwrap_or(320);
        self.block.extend_from_slice(samples);
        let mut blocks = self.block.chunks_exact(size);
        for block in blocks.by_ref() {
            gsm.encode(block, &mut self.coded);
        }
        self.block = blocks.remainder().to_vec();
    }
}

impl Encoder for Wav {
    fn write(&mut self, samples: &[i16]) -> io::Result<()> {
        self.coded.clear();
        match self.coding {
            Coding::Pcm => self.coded.extend_from_slice(bytemuck::cast_slice(samples)),
            Coding::ALaw => self.coded.extend(samples.iter().map(|s| encode_alaw(*s))),
            Coding::MuLaw => self.coded.extend(samples.iter().map(|s| encode_ulaw(*s))),
            Coding::Gsm => self.write_gsm(samples),
        }
        let count = u64::try_from(samples.len()).unwrap_or(0);
        self.frames += count / u64::from(self.layout.channels);
        self.data += u64::try_from(self.coded.len()).unwrap_or(0);
        self.file.write_all(&self.coded)
    }

    fn finish(mut self: Box<Self>) -> io::Result<Vessel> {
        if !self.block.is_empty() {
            let size = usize::try_from(GSM_BLOCK.0).unwrap_or(320);
            let silence = vec![0; size - self.block.len() % size];
            self.coded.clear();
            self.write_gsm(&silence);
            self.data += u64::try_from(self.coded.len()).unwrap_or(0);
            self.file.write_all(&self.coded)?;
        }
        if self.data % 2 == 1 {
            self.file.write_all(&[0])?;
        }
        let info = self.labels.info();
        let header = header_of(self.coding, self.layout, &info, self.frames, self.data);
        self.file.rewind()?;
        self.file.write_all(&header)?;
        self.file.into_inner().map_err(io::IntoInnerError::into_error)
    }
}
