//! A file that is sealed, or plain: whoever works on it does not care.

use super::{MAGIC, SealError, SealedFile, Store};
use crate::keys::KeyRing;
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
};

/// A file.
#[derive(Debug)]
pub enum Vessel<S = File> {
    /// As it is.
    Plain(S),
    /// Sealed.
    Sealed(Box<SealedFile<S>>),
}

impl From<File> for Vessel {
    fn from(file: File) -> Self {
        Self::Plain(file)
    }
}

/// Whether a file begins like a sealed one.
///
/// # Errors
/// When the disk refuses.
pub(super) fn is_sealed<S: Store>(file: &S) -> io::Result<bool> {
    let mut magic = [0; MAGIC.len()];
    match file.read_exact_at(&mut magic, 0) {
        Ok(()) => Ok(magic == MAGIC),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

impl<S: Store> Vessel<S> {
    /// An empty file is sealed if there are keys.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn create(file: S, ring: Option<&KeyRing>) -> io::Result<Self> {
        match ring {
            Some(ring) => Ok(Self::Sealed(Box::new(SealedFile::create(file, ring)?))),
            None => Ok(Self::Plain(file)),
        }
    }

    /// A file that is there, sealed or not.
    ///
    /// # Errors
    /// [`SealError`] in [`io::ErrorKind::InvalidData`]; or the disk.
    pub fn open(file: S, ring: Option<&KeyRing>) -> io::Result<Self> {
        match ring {
            _ if !is_sealed(&file)? => Ok(Self::Plain(file)),
            Some(ring) => Ok(Self::Sealed(Box::new(SealedFile::open(file, ring)?))),
            None => {
                Err(SealError::UnknownKey("of a key file that is not configured".to_owned()).into())
            }
        }
    }

    /// The same of a file that a killed writer left.
    ///
    /// # Errors
    /// As for [`Vessel::open`].
    pub fn recover(file: S, ring: Option<&KeyRing>) -> io::Result<Self> {
        match ring {
            Some(ring) if is_sealed(&file)? => {
                Ok(Self::Sealed(Box::new(SealedFile::recover(file, ring)?)))
            }
            _ => Self::open(file, ring),
        }
    }

    /// Where its bytes lie.
    #[must_use]
    pub const fn store(&self) -> &S {
        match self {
            Self::Plain(file) => file,
            Self::Sealed(file) => file.store(),
        }
    }

    /// Bytes of the plain file.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn size(&self) -> io::Result<u64> {
        match self {
            Self::Plain(file) => file.bytes(),
            Self::Sealed(file) => Ok(file.size()),
        }
    }

    /// Makes the plain file this long.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn set_size(&mut self, size: u64) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.set_len(size),
            Self::Sealed(file) => file.set_size(size),
        }
    }

    /// Writes bytes where they belong.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.write_all_at(bytes, offset),
            Self::Sealed(file) => file.write_all_at(bytes, offset),
        }
    }

    /// Reads bytes; 0 at the end.
    ///
    /// # Errors
    /// When the disk refuses, or they were changed.
    pub fn read_at(&mut self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read_at(bytes, offset),
            Self::Sealed(file) => file.read_at(bytes, offset),
        }
    }

    /// Reads as many bytes as are asked for.
    ///
    /// # Errors
    /// As for [`Vessel::read_at`]; when there are less.
    pub fn read_exact_at(&mut self, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.read_at(bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    bytes = bytes.get_mut(count..).unwrap_or_default();
                    offset += u64::try_from(count).unwrap_or(0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// No more is written: what is sealed gets its closing record.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn close(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Sealed(file) => file.close(),
        }
    }

    /// Forces it to the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync_data(&self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.sync_data(),
            Self::Sealed(file) => file.sync_data(),
        }
    }
}

impl Read for Vessel {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(bytes),
            Self::Sealed(file) => file.read(bytes),
        }
    }
}

impl Write for Vessel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Sealed(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Sealed(file) => file.flush(),
        }
    }
}

impl Seek for Vessel {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::Plain(file) => file.seek(to),
            Self::Sealed(file) => file.seek(to),
        }
    }
}
