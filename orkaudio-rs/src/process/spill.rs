//! Paths that wait on the disk, oldest first: a queue whose memory does not grow.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::{ffi::OsStrExt as _, fs::FileExt as _},
    path::{Path, PathBuf},
};

/// Longest path the system takes.
const MOST: usize = 4_096;

/// A queue in a file without a name.
#[derive(Debug, Default)]
pub(super) struct Spill {
    file: Option<File>,
    read: u64,
    written: u64,
    waiting: u64,
}

impl Spill {
    /// How many wait.
    pub(super) const fn len(&self) -> u64 {
        self.waiting
    }

    /// Appends a path; `folder` takes the file.
    pub(super) fn push(&mut self, folder: &Path, path: &Path) -> io::Result<()> {
        let file = match &self.file {
            Some(file) => file,
            None => {
                fs::create_dir_all(folder)?;
                let name = folder.join(format!("queue-{}.tmp", std::process::id()));
                let file = File::options().read(true).write(true).create_new(true).open(&name)?;
                fs::remove_file(&name)?;
                self.file.insert(file)
            }
        };
        let mut bytes = path.as_os_str().as_bytes().to_vec();
        bytes.push(0);
        file.write_all_at(&bytes, self.written)?;
        self.written += u64::try_from(bytes.len()).unwrap_or(0);
        self.waiting += 1;
        Ok(())
    }

    /// Takes the oldest path.
    pub(super) fn pop(&mut self) -> io::Result<Option<PathBuf>> {
        let Some(file) = self.file.as_ref().filter(|_| self.waiting > 0) else { return Ok(None) };
        let mut bytes = vec![0; MOST + 1];
        let length = file.read_at(&mut bytes, self.read)?;
        let bytes = bytes.get(..length).unwrap_or_default();
        let end = bytes.iter().position(|byte| *byte == 0);
        let path = end.and_then(|end| bytes.get(..end));
        let path = path.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        self.read += u64::try_from(path.len()).unwrap_or(0) + 1;
        self.waiting -= 1;
        let path = PathBuf::from(OsStr::from_bytes(path));
        if self.waiting == 0 {
            file.set_len(0)?;
            (self.read, self.written) = (0, 0);
        }
        Ok(Some(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_in_first_out_and_no_trace() {
        let home = tempfile::tempdir().unwrap();
        let mut spill = Spill::default();
        for round in 0..3 {
            for n in 0..1_000 {
                spill.push(home.path(), Path::new(&format!("/tapes/{round}/{n}.part"))).unwrap();
            }
            assert_eq!(spill.len(), 1_000);
            for n in 0..1_000 {
                let path = spill.pop().unwrap().unwrap();
                assert_eq!(path, Path::new(&format!("/tapes/{round}/{n}.part")));
            }
            assert_eq!((spill.pop().unwrap(), spill.written), (None, 0));
        }
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
