//! What tapes ask of the disk, one function each; in tests the n-th of them fails (`failpoint`).

use orkvault::disk::{Disk, System};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

/// Creates a file that must not be there yet.
pub(super) fn create(path: &Path, mode: u32) -> io::Result<File> {
    #[cfg(test)]
    failpoint::hit()?;
    OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path)
}

/// Writes all of `bytes` at `at`. What was written of them before a failure stays there.
pub(super) fn write_all_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    #[cfg(test)]
    if let Err(error) = failpoint::hit() {
        // A short write, as a disk that becomes full makes it.
        file.write_all_at(bytes.get(..bytes.len() / 3).unwrap_or_default(), at)?;
        return Err(error);
    }
    file.write_all_at(bytes, at)
}

/// Cuts or extends a file.
pub(super) fn set_len(file: &File, bytes: u64) -> io::Result<()> {
    #[cfg(test)]
    failpoint::hit()?;
    file.set_len(bytes)
}

/// Forces the bytes of a file to the disk.
pub(super) fn sync_data(file: &File) -> io::Result<()> {
    #[cfg(test)]
    failpoint::hit()?;
    file.sync_data()
}

/// Gives a file another name.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(test)]
    failpoint::hit()?;
    fs::rename(from, to)
}

/// Forces the names in a folder to the disk.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(test)]
    failpoint::hit()?;
    File::open(folder)?.sync_all()
}

/// The disk of tapes as the ledger beside them knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tapes;

impl Disk for Tapes {
    fn create(&self, path: &Path, mode: u32) -> io::Result<File> {
        create(path, mode)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        #[cfg(test)]
        failpoint::hit()?;
        System.open(path)
    }

    fn write_all_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        write_all_at(file, bytes, at)
    }

    fn set_len(&self, file: &File, bytes: u64) -> io::Result<()> {
        set_len(file, bytes)
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        sync_data(file)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        sync_folder(folder)
    }
}

/// Makes chosen requests of this thread fail.
#[cfg(test)]
pub(super) mod failpoint {
    use std::{cell::Cell, io};

    thread_local! {
        static PLAN: Cell<Option<(u32, u32, i32)>> = const { Cell::new(None) };
    }

    /// Requests from now on fail with `errno`: `count` of them after `before`.
    pub(in crate::tape) fn set(before: u32, count: u32, errno: i32) {
        PLAN.set(Some((before, count, errno)));
    }

    /// Nothing fails any more; whether everything that was to fail did.
    pub(in crate::tape) fn clear() -> bool {
        matches!(PLAN.take(), Some((_, 0, _)))
    }

    pub(super) fn hit() -> io::Result<()> {
        match PLAN.get() {
            Some((0, count, errno)) if count > 0 => {
                PLAN.set(Some((0, count - 1, errno)));
                Err(io::Error::from_raw_os_error(errno))
            }
            Some((before, count, errno)) if before > 0 => {
                PLAN.set(Some((before - 1, count, errno)));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
