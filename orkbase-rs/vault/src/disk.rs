//! What is asked of the disk where its refusals matter, one function each.

use std::{
    fmt::Debug,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

/// A disk, or what stands for one: something that counts or refuses what is asked of it. All of it is what the
/// system does, unless said otherwise.
pub trait Disk: Debug + Send + Sync {
    /// Creates a file that must not be there yet, to read and write it.
    ///
    /// # Errors
    /// When the disk refuses.
    fn create(&self, path: &Path, mode: u32) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path)
    }

    /// Opens a file that is there, to read and write it.
    ///
    /// # Errors
    /// When the disk refuses.
    fn open(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(path)
    }

    /// Writes all of `bytes` at `at`; what was written before a failure stays there.
    ///
    /// # Errors
    /// When the disk refuses.
    fn write_all_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    /// Cuts or extends a file.
    ///
    /// # Errors
    /// When the disk refuses.
    fn set_len(&self, file: &File, bytes: u64) -> io::Result<()> {
        file.set_len(bytes)
    }

    /// Forces the bytes of a file to the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    fn sync_data(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// Forces the names in a folder to the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

/// The system's.
#[derive(Clone, Copy, Debug)]
pub struct System;

impl Disk for System {}
