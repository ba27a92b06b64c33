//! Disks for targets that need one: one in memory that may refuse, and a folder that is forgotten.

use orkvault::sealed::Store;
use std::{
    cell::{Cell, RefCell},
    io,
    path::Path,
};
use tempfile::TempDir;

/// It holds no more.
const MOST: usize = 4 << 20;

/// Bytes as a file holds them.
#[derive(Debug, Default)]
pub(super) struct Disk {
    bytes: RefCell<Vec<u8>>,
    /// So many bytes are still taken.
    room: Cell<Option<usize>>,
}

impl Disk {
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.bytes.borrow().clone()
    }

    pub(super) fn replace(&self, bytes: Vec<u8>) {
        *self.bytes.borrow_mut() = bytes;
    }

    /// It is full, or its writer is killed, after so many bytes.
    pub(super) fn refuse_after(&self, room: Option<usize>) {
        self.room.set(room);
    }
}

impl Store for &Disk {
    fn bytes(&self) -> io::Result<u64> {
        Ok(u64::try_from(self.bytes.borrow().len()).unwrap_or(u64::MAX))
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let held = self.bytes.borrow();
        assert!(bytes.len() <= held.len().max(100), "more is asked for than there is");
        let from = usize::try_from(at).unwrap_or(usize::MAX);
        let there = held.get(from..).unwrap_or_default();
        let count = there.len().min(bytes.len());
        bytes.iter_mut().zip(there).for_each(|(to, from)| *to = *from);
        Ok(count)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut held = self.bytes.borrow_mut();
        let count = self.room.get().map_or(bytes.len(), |room| room.min(bytes.len()));
        self.room.set(self.room.get().map(|room| room - count));
        let from = usize::try_from(at).unwrap_or(usize::MAX);
        let end = from.saturating_add(count);
        if end > MOST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let length = held.len().max(end);
        held.resize(length, 0);
        if let Some(room) = held.get_mut(from..end) {
            room.copy_from_slice(bytes.get(..count).unwrap_or_default());
        }
        if count < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        if self.room.get() == Some(0) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        if length > MOST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.borrow_mut().resize(length, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A folder in memory, where there is one: nothing in it need last.
pub(super) fn folder() -> Option<TempDir> {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    assert!(made.is_ok(), "no folder: {made:?}");
    made.ok()
}
