//! Recordings that are never deleted here, whoever asks: a tracker has a legal hold on them.
//!
//! Law: what is pinned stays so over restarts until it is unpinned; an answer that says so comes after the disk
//! has it.

use orkbase::ids::OrkUid;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Most recordings pinned at a time.
const MOST: usize = 100_000;
/// The file is not read beyond this: an orkuid has up to 64 letters.
const MOST_BYTES: u64 = 65 * 100_000;
/// The file in the state folder: an orkuid in each line.
const NAME: &str = "pins";

/// The list, and where it is kept.
#[derive(Debug, Default)]
pub struct Pins {
    path: Option<PathBuf>,
    pinned: Mutex<BTreeSet<String>>,
}

impl Pins {
    /// Reads the list of this folder; there is none before the first pin.
    ///
    /// # Errors
    /// When it is there and cannot be read: nothing may be deleted then.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join(NAME);
        let mut text = String::new();
        match File::open(&path) {
            Ok(file) => {
                let read = file.take(MOST_BYTES + 1).read_to_string(&mut text)?;
                if u64::try_from(read).is_ok_and(|read| read > MOST_BYTES) {
                    let why = format!("{}: more than {MOST} recordings", path.display());
                    return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let pinned = text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
        Ok(Self { path: Some(path), pinned: Mutex::new(pinned) })
    }

    /// Whether nobody may delete this recording.
    #[must_use]
    pub fn has(&self, recid: &str) -> bool {
        self.lock().contains(recid)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pins a recording, finished or not, or lets go of it. False when that was so already.
    ///
    /// # Errors
    /// What is no orkuid, too many, or a disk that refuses; nothing has changed then.
    pub fn set(&self, recid: &str, pin: bool) -> Result<bool, String> {
        if OrkUid::parse(recid).is_none() {
            return Err("that is no orkuid".to_owned());
        }
        let mut pinned = self.lock();
        if pinned.contains(recid) == pin {
            return Ok(false);
        }
        if pin && pinned.len() >= MOST {
            return Err(format!("{MOST} recordings are pinned already"));
        }
        let mut next = pinned.clone();
        if pin {
            next.insert(recid.to_owned());
        } else {
            next.remove(recid);
        }
        if let Some(path) = &self.path {
            write(path, &next).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        *pinned = next;
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All or nothing, whenever the power goes.
fn write(path: &Path, pinned: &BTreeSet<String>) -> io::Result<()> {
    let next = path.with_extension("next");
    let mut file = File::create(&next)?;
    let text: String = pinned.iter().map(|recid| format!("{recid}\n")).collect();
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_outlives_the_process() {
        let home = tempfile::tempdir().unwrap();
        let (one, other) = ("20240101_120000_AAAB", "20240101_120000_AAAC");
        let pins = Pins::open(home.path()).unwrap();
        assert_eq!((pins.set(one, true), pins.set(one, true)), (Ok(true), Ok(false)));
        assert_eq!((pins.set(other, true), pins.set(other, false)), (Ok(true), Ok(true)));
        assert!(pins.set("../x", true).is_err() && pins.set("a\nb", true).is_err());
        let pins = Pins::open(home.path()).unwrap();
        assert_eq!((pins.has(one), pins.has(other), pins.len()), (true, false, 1));
        // A disk that refuses changes nothing.
        fs::create_dir(home.path().join("pins.next")).unwrap();
        assert!(pins.set(one, false).is_err() && pins.has(one));
        fs::write(home.path().join("pins"), [0xff]).unwrap();
        assert!(Pins::open(home.path()).is_err());
        // Nor is more of it held than there may be.
        File::create(home.path().join("pins")).unwrap().set_len(1 << 40).unwrap();
        assert!(Pins::open(home.path()).is_err());
    }
}
