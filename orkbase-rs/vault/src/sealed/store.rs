//! Where the bytes of a vessel lie.

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

/// A file, or what stands for one: something that counts or refuses what is asked of the disk.
pub trait Store {
    /// How many bytes there are.
    ///
    /// # Errors
    /// When the disk refuses.
    fn bytes(&self) -> io::Result<u64>;

    /// Reads bytes; 0 at the end.
    ///
    /// # Errors
    /// When the disk refuses.
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes all of them; what was written before a failure stays there.
    ///
    /// # Errors
    /// When the disk refuses.
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Cuts or extends it.
    ///
    /// # Errors
    /// When the disk refuses.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Forces it to the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    fn sync_data(&self) -> io::Result<()>;

    /// Reads as many bytes as are asked for.
    ///
    /// # Errors
    /// When the disk refuses, or there are less.
    fn read_exact_at(&self, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.read_at(bytes, at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    bytes = bytes.get_mut(count..).unwrap_or_default();
                    at += u64::try_from(count).unwrap_or(0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Store for File {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, bytes, at)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, at)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        Self::set_len(self, bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        Self::sync_data(self)
    }
}

impl<S: Store> Store for Arc<S> {
    fn bytes(&self) -> io::Result<u64> {
        S::bytes(self)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        S::read_at(self, bytes, at)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        S::write_all_at(self, bytes, at)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        S::set_len(self, bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        S::sync_data(self)
    }
}
