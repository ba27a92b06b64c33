//! What is told of a tape, as JSON beside it.
//!
//! Law: it has the tape's name with `.json`, it is whole or not there, and it is there before the tape
//! is told to be ready.

use super::{finish::Finished, packets::stem};
use crate::report;
use serde_json::Value;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// How they are written.
#[derive(Clone, Copy, Debug)]
pub struct Sidecars {
    /// Permissions.
    pub mode: u32,
    /// Forced to the disk.
    pub sync: bool,
}

/// The name of what is told of a tape of this name.
#[must_use]
pub fn beside(tape: &Path) -> PathBuf {
    let mut name = stem(tape).into_os_string();
    name.push(".json");
    PathBuf::from(name)
}

impl Sidecars {
    /// Writes down what is told of a finished tape at `path` below `root`; a failure is logged.
    pub fn tell(self, root: &Path, path: &str, finished: &Finished) {
        self.write(&root.join(path), &report::tape(finished));
    }

    /// The same as an object; a failure is logged.
    pub fn write(self, tape: &Path, told: &Value) {
        let path = beside(tape);
        if let Err(error) = self.put(&path, told) {
            tracing::error!(path = %path.display(), %error, "cannot write what is told of a tape beside it");
        }
    }

    fn put(self, path: &Path, told: &Value) -> io::Result<()> {
        let mut name = path.as_os_str().to_owned();
        name.push(".tmp");
        let now = PathBuf::from(name);
        let mut options = OpenOptions::new();
        let open = options.write(true).create(true).truncate(true).mode(self.mode);
        let mut file = open.open(&now)?;
        writeln!(file, "{told}")?;
        if self.sync {
            file.sync_data()?;
        }
        fs::rename(&now, path)?;
        if let Some(folder) = path.parent().filter(|_| self.sync) {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}
