//! The disk of tapes: how much is left of it, and whether it takes what it is given.
//!
//! Law: below the reserve no tape begins; those that run go on until the disk refuses, and again as soon
//! as it does not. Nobody but the watching thread asks the disk, so that a disk that hangs holds up nobody.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How often the disk is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// A disk that has not answered for so long hangs.
const HANGS: Duration = Duration::from_secs(10);
/// So long after the last refusal the disk is taken to be well.
const WELL: Duration = Duration::from_secs(3);
/// What is not known yet, or not to be known.
const UNKNOWN: u64 = u64::MAX;

/// What is known of the disk. The default is one that nobody watches: it takes everything.
#[derive(Debug)]
pub struct Volume {
    reserve: u64,
    /// Bytes that are free.
    free: AtomicU64,
    /// Files that may still be made.
    files: AtomicU64,
    /// No tape begins.
    low: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the disk was last looked at.
    looked: Option<Instant>,
    /// Why it could not be looked at.
    unseen: Option<String>,
    read_only: bool,
    /// The last refusal.
    refused: Option<(Instant, String)>,
    /// Recording ends: names may not be on the disk.
    fatal: Option<String>,
    /// Recordings not made since the disk was low.
    turned_away: u64,
}

impl Default for Volume {
    fn default() -> Self {
        Self {
            reserve: 0,
            free: AtomicU64::new(UNKNOWN),
            files: AtomicU64::new(UNKNOWN),
            low: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }
}

impl Volume {
    /// The disk of `folder`, looked at once a second until the watch is dropped. With less than `reserve`
    /// bytes free no tape begins.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn watch(folder: &Path, reserve: u64) -> io::Result<(Arc<Self>, Watch)> {
        let volume = Arc::new(Self { reserve, ..Self::default() });
        volume.look(folder);
        let (stop, stopped) = sync_channel::<()>(0);
        let (folder, watched) = (folder.to_owned(), Arc::clone(&volume));
        let look = move || {
            while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                watched.look(&folder);
            }
        };
        let thread = thread::Builder::new().name("disk".to_owned()).spawn(look)?;
        Ok((volume, Watch { stop: Some(stop), thread: Some(thread) }))
    }

    fn look(&self, folder: &Path) {
        let found = rustix::fs::statvfs(folder);
        let mut state = self.lock();
        state.looked = Some(Instant::now());
        match found {
            Ok(disk) => {
                let free = disk.f_bavail.saturating_mul(disk.f_frsize);
                // File systems without a table of files say that it has none.
                let files = if disk.f_files == 0 { UNKNOWN } else { disk.f_favail };
                self.free.store(free, Ordering::Relaxed);
                self.files.store(files, Ordering::Relaxed);
                state.unseen = None;
                state.read_only = disk.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
                self.judge(free, &mut state);
            }
            Err(error) => {
                self.free.store(UNKNOWN, Ordering::Relaxed);
                if state.unseen.is_none() {
                    tracing::error!(folder = %folder.display(), %error, "the disk of tapes cannot be looked at");
                }
                state.unseen = Some(error.to_string());
            }
        }
        if let Some((at, _)) = &state.refused
            && at.elapsed() > WELL
        {
            state.refused = None;
            tracing::warn!("the disk of tapes takes what it is given again");
        }
    }

    /// Tapes begin again with an eighth more than the reserve, so that it does not come and go.
    fn judge(&self, free: u64, state: &mut State) {
        let low = self.low.load(Ordering::Relaxed);
        let (free_mib, reserve_mib) = (free >> 20, self.reserve >> 20);
        if !low && free < self.reserve {
            self.low.store(true, Ordering::Relaxed);
            tracing::error!(
                free_mib,
                reserve_mib,
                "no new recordings: the disk of tapes has less than tapes.reserve_mib left"
            );
        } else if low && free >= self.reserve.saturating_add(self.reserve / 8) {
            self.low.store(false, Ordering::Relaxed);
            let not_recorded = std::mem::take(&mut state.turned_away);
            tracing::warn!(free_mib, not_recorded, "new recordings begin again: the disk has room");
        }
    }

    /// Whether a tape may begin.
    #[must_use]
    pub fn takes_tapes(&self) -> bool {
        !self.low.load(Ordering::Relaxed)
    }

    /// A recording was not begun for want of room.
    pub(super) fn turned_away(&self) {
        self.lock().turned_away += 1;
    }

    /// The disk refused something; whether that is news.
    pub(super) fn refused(&self, error: &io::Error) -> bool {
        let mut state = self.lock();
        let news = state.refused.is_none();
        state.refused = Some((Instant::now(), error.to_string()));
        news
    }

    /// Names may be missing from the disk although it said otherwise before: recording ends.
    pub(super) fn give_up(&self, why: String) {
        self.lock().fatal.get_or_insert(why);
    }

    /// Why recording ends, if it does.
    #[must_use]
    pub fn given_up(&self) -> Option<String> {
        self.lock().fatal.clone()
    }

    /// Bytes that are free, if that is known.
    #[must_use]
    pub fn free(&self) -> Option<u64> {
        Some(self.free.load(Ordering::Relaxed)).filter(|free| *free != UNKNOWN)
    }

    /// What is wrong with it, in words.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let state = self.lock();
        let mut problems = Vec::new();
        if let Some(why) = &state.unseen {
            problems.push(format!("the folder of tapes cannot be looked at: {why}"));
        }
        if let Some(rest) = state.looked.map(|at| at.elapsed()).filter(|rest| *rest > HANGS) {
            problems.push(format!("the disk of tapes has not answered for {} s", rest.as_secs()));
        }
        if state.read_only {
            problems.push("the disk of tapes is read-only".to_owned());
        }
        if let (false, Some(free)) = (self.takes_tapes(), self.free()) {
            problems.push(format!(
                "no new recordings: the disk of tapes has {} MiB left, tapes.reserve_mib is {}",
                free >> 20,
                self.reserve >> 20
            ));
        }
        if self.files.load(Ordering::Relaxed) == 0 {
            problems.push("the disk of tapes has no room for another file".to_owned());
        }
        if let Some((_, why)) = &state.refused {
            problems.push(format!("the disk of tapes refuses: {why}"));
        }
        if let Some(why) = &state.fatal {
            problems.push(format!("recording ends: {why}"));
        }
        problems
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches as long as it lives.
#[derive(Debug)]
pub struct Watch {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A disk that hangs is left alone.
        if let Some(thread) = self.thread.take().filter(JoinHandle::is_finished) {
            drop(thread.join());
        }
    }
}

/// The folders from `folder` up to `root`.
pub(super) fn up_to<'a>(root: &'a Path, folder: &'a Path) -> impl Iterator<Item = PathBuf> + 'a {
    folder.ancestors().take_while(move |folder| folder.starts_with(root)).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tapes_begin_with_room_to_spare() {
        let volume = Volume { reserve: 800, ..Volume::default() };
        let takes = |free| {
            volume.judge(free, &mut volume.lock());
            volume.takes_tapes()
        };
        assert_eq!(
            [900, 800, 799, 0, 899, 900, 800].map(takes),
            [true, true, false, false, false, true, true]
        );
    }

    #[test]
    fn a_disk_is_seen_and_its_refusals_pass() {
        let home = tempfile::tempdir().unwrap();
        let (volume, _watch) = Volume::watch(home.path(), u64::MAX / 4).unwrap();
        assert!(volume.free().is_some() && !volume.takes_tapes());
        assert_eq!(volume.problems().len(), 1, "{:?}", volume.problems());
        let error = io::Error::from_raw_os_error(28);
        assert!(volume.refused(&error) && !volume.refused(&error));
        assert_eq!(volume.problems().len(), 2);
        volume.lock().refused.as_mut().unwrap().0 -= WELL * 2;
        volume.look(home.path());
        assert_eq!(volume.problems().len(), 1);
        volume.look(&home.path().join("gone"));
        assert!(volume.problems()[0].contains("cannot be looked at"));
    }

    #[test]
    fn a_disk_nobody_watches_takes_everything() {
        let volume = Volume::default();
        assert!(volume.takes_tapes() && volume.problems().is_empty() && volume.free().is_none());
    }
}
