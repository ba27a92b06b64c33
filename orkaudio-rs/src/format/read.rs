//! Our WAV files, block by block.

use super::{Labels, ffi, refused};
use crate::tape::wav::{self, Coding, Found, GSM_BLOCK, Layout, MAX_HEADER};
use orkbase::audio::g711::{self, Law};
use orkvault::{keys::KeyRing, sealed::Vessel};
use std::{
    fs::File,
    io::{self, BufReader, Read as _, Seek as _, SeekFrom},
    path::Path,
};

/// Samples of a channel read at once; whole blocks of GSM too.
const BLOCK: u64 = 6_400;

/// A WAV file being read.
pub struct WavReader {
    file: BufReader<Vessel>,
    found: Found,
    /// Bytes of samples not read yet.
    left: u64,
    total: u64,
    coded: Vec<u8>,
    gsm: Option<ffi::GsmStream>,
}

impl std::fmt::Debug for WavReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WavReader").field("found", &self.found).finish_non_exhaustive()
    }
}

impl WavReader {
    /// Opens a tape. Where its header tells of more than there is, what there is counts.
    ///
    /// # Errors
    /// When it cannot be read or is no tape of ours.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_with(path, None)
    }

    /// The same of one that may be sealed.
    ///
    /// # Errors
    /// As for [`WavReader::open`]; when there is no key.
    pub fn open_with(path: &Path, keys: Option<&KeyRing>) -> io::Result<Self> {
        let mut file = Vessel::open(File::open(path)?, keys)?;
        let length = file.size()?;
        let mut head = Vec::new();
        let limit = u64::try_from(MAX_HEADER).unwrap_or(u64::MAX);
        file.by_ref().take(limit).read_to_end(&mut head)?;
        let found = wav::read_header(&head)?;
        let header = u64::try_from(found.header_bytes).unwrap_or(0);
        file.seek(SeekFrom::Start(header))?;
        let bytes = found.data_bytes.min(length.saturating_sub(header));
        let gsm = match found.coding {
            Coding::Gsm => Some(ffi::Gsm::get().map_err(refused)?.stream().map_err(refused)?),
            Coding::Pcm | Coding::ALaw | Coding::MuLaw => None,
        };
        let file = BufReader::new(file);
        Ok(Self { file, found, left: bytes, total: bytes, coded: Vec::new(), gsm })
    }

    /// How the samples lie.
    #[must_use]
    pub const fn layout(&self) -> Layout {
        self.found.layout
    }

    /// Samples of each channel.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.found.frames(self.total)
    }

    /// What the file tells of its recording.
    #[must_use]
    pub fn labels(&self) -> Labels {
        Labels::read(&self.found.info)
    }

    /// The next samples, channel by channel in turn, in place of what `samples` holds; none at the
    /// end.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn read(&mut self, samples: &mut Vec<i16>) -> io::Result<()> {
        samples.clear();
        let block = match self.found.coding {
            Coding::Pcm => BLOCK * self.found.layout.frame_bytes(),
            Coding::ALaw | Coding::MuLaw => BLOCK * u64::from(self.found.layout.channels),
            Coding::Gsm => BLOCK / GSM_BLOCK.0 * GSM_BLOCK.1,
        };
        let count = usize::try_from(self.left.min(block)).unwrap_or(0);
        self.coded.resize(count, 0);
        self.file.read_exact(&mut self.coded)?;
        self.left = self.left.saturating_sub(block);
        match self.found.coding {
            Coding::Pcm => {
                let pairs = self.coded.as_chunks::<2>().0;
                samples.extend(pairs.iter().map(|pair| i16::from_le_bytes(*pair)));
            }
            Coding::ALaw => g711::decode(Law::A, &self.coded, samples),
            Coding::MuLaw => g711::decode(Law::Mu, &self.coded, samples),
            Coding::Gsm => {
                if let Some(gsm) = self.gsm.as_mut() {
                    gsm.decode(&self.coded, samples);
                }
            }
        }
        let whole = samples.len() - samples.len() % usize::from(self.found.layout.channels);
        samples.truncate(whole);
        Ok(())
    }
}
