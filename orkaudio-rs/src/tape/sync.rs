//! Open tapes are forced to the disk at intervals, so that a power cut takes a few seconds of them only.
//!
//! Law: one thread does it; who writes never waits for it. A file of which this failed once is damaged for
//! good: the kernel forgets what it could not write, and asking again would be answered with a lie.

use super::{
    disk,
    volume::{Volume, up_to},
    worker::TapeCounters,
};
use orkvault::sealed::Store;
use std::{
    collections::BTreeSet,
    fs::File,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How often it is looked what is due.
const TICK: Duration = Duration::from_millis(100);
/// With more files due at once the whole file system is asked instead of each of them.
const MANY: usize = 200;
/// Audio waits up to this long in the engine: the interval is that much shorter.
const BLOCK: Duration = Duration::from_secs(1);
const SHORTEST: Duration = Duration::from_millis(500);
/// Folders whose own names are known to be on the disk.
const FOLDERS: usize = 1_000;

/// A file of a tape, as its writer and the syncing thread share it.
#[derive(Debug)]
pub struct Synced {
    file: File,
    /// Something was written since it was last forced to the disk.
    dirty: AtomicBool,
    /// Why it is damaged; held while it is forced to the disk, so that nobody misses what another was told.
    damage: Mutex<Option<String>>,
}

impl Synced {
    /// A file nobody else has open.
    #[must_use]
    pub const fn new(file: File) -> Self {
        Self { file, dirty: AtomicBool::new(true), damage: Mutex::new(None) }
    }

    /// Forces its bytes to the disk.
    ///
    /// # Errors
    /// When the disk refuses, or did so before.
    pub fn sync_data(&self) -> io::Result<()> {
        let mut damage = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = damage.as_ref() {
            return Err(io::Error::other(why.clone()));
        }
        self.dirty.store(false, Ordering::Relaxed);
        disk::sync_data(&self.file).inspect_err(|error| *damage = Some(error.to_string()))
    }
}

impl Store for Synced {
    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(bytes, at)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let written = disk::write_all_at(&self.file, bytes, at);
        // What was written before a refusal is forced to the disk as well.
        self.dirty.store(true, Ordering::Relaxed);
        written
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let set = disk::set_len(&self.file, bytes);
        self.dirty.store(true, Ordering::Relaxed);
        set
    }

    fn sync_data(&self) -> io::Result<()> {
        Self::sync_data(self)
    }
}

/// An open tape.
#[derive(Debug)]
struct Entry {
    file: Weak<Synced>,
    folder: PathBuf,
    due: Instant,
    /// Its name is on the disk.
    named: bool,
}

/// Tapes that were opened since the thread last looked, and how many there were in all.
type News = Arc<Mutex<(Vec<Entry>, u32)>>;

/// Takes open tapes for the thread.
#[derive(Clone, Debug)]
pub struct Opened {
    news: News,
    period: Duration,
}

impl Opened {
    /// A tape that is written from now on.
    pub(super) fn add(&self, file: &Arc<Synced>, folder: PathBuf) {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        // Spread over the interval, whatever begins together.
        let (entries, count) = &mut *news;
        *count = count.wrapping_add(1);
        let due = Instant::now() + self.period * (count.wrapping_mul(27) % 64 + 1) / 64;
        entries.push(Entry { file: Arc::downgrade(file), folder, due, named: false });
    }
}

/// The running thread; ends when this is dropped.
#[derive(Debug)]
pub struct Syncing {
    opened: Opened,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Syncing {
    /// Tapes below `root` reach the disk within `interval` of being written.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(
        root: PathBuf,
        interval: Duration,
        volume: Arc<Volume>,
        counters: Arc<TapeCounters>,
    ) -> io::Result<Self> {
        let period = interval.saturating_sub(BLOCK).max(SHORTEST);
        let opened = Opened { news: Arc::default(), period };
        let stop = Arc::new(AtomicBool::new(false));
        let (news, stopped) = (Arc::clone(&opened.news), Arc::clone(&stop));
        let mut rounds =
            Rounds { root, period, volume, counters, entries: Vec::new(), known: BTreeSet::new() };
        let work = move || {
            while !stopped.load(Ordering::Relaxed) {
                thread::park_timeout(TICK);
                let new =
                    std::mem::take(&mut news.lock().unwrap_or_else(PoisonError::into_inner).0);
                rounds.entries.extend(new);
                rounds.go(Instant::now(), &stopped);
            }
        };
        let thread = thread::Builder::new().name("sync".to_owned()).spawn(work)?;
        Ok(Self { opened, stop, thread: Some(thread) })
    }

    /// Where workers tell of their tapes.
    #[must_use]
    pub fn opened(&self) -> Opened {
        self.opened.clone()
    }
}

impl Drop for Syncing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A disk that hangs is left alone; closing has its own syncs.
            if thread.is_finished() {
                drop(thread.join());
            }
        }
    }
}

/// What the thread knows.
struct Rounds {
    root: PathBuf,
    period: Duration,
    volume: Arc<Volume>,
    counters: Arc<TapeCounters>,
    entries: Vec<Entry>,
    known: BTreeSet<PathBuf>,
}

impl Rounds {
    /// Forces to the disk what is due.
    fn go(&mut self, now: Instant, stop: &AtomicBool) {
        self.entries.retain(|entry| entry.file.strong_count() > 0);
        let due: Vec<usize> = (0..)
            .zip(&self.entries)
            .filter(|(_, entry)| entry.due <= now)
            .map(|(n, _)| n)
            .collect();
        let late =
            due.iter().filter_map(|n| self.entries.get(*n)).map(|entry| now - entry.due).max();
        let late = u64::try_from(late.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
        self.counters.sync_behind_ms.store(late, Ordering::Relaxed);
        if due.is_empty() {
            return;
        }
        if due.len() > MANY {
            self.all();
        }
        let mut folders = BTreeSet::new();
        for n in due.iter().copied() {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let Some(entry) = self.entries.get_mut(n) else { continue };
            if !entry.named {
                entry.named = true;
                folders.insert(entry.folder.clone());
            }
            let file = entry.file.upgrade().filter(|file| file.dirty.load(Ordering::Relaxed));
            if let Some(file) = file
                && let Err(error) = self.one(&file)
            {
                self.counters.sync_failed.fetch_add(1, Ordering::Relaxed);
                self.volume.refused(&error);
                tracing::error!(%error, "a tape could not be forced to the disk: it is damaged");
            }
            if let Some(entry) = self.entries.get_mut(n) {
                entry.due = Instant::now() + self.period;
            }
        }
        self.names(folders);
    }

    fn one(&self, file: &Synced) -> io::Result<()> {
        self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        file.sync_data()
    }

    /// Everything that waits in memory, in one go: what follows for each file is then quick. An error is told
    /// there.
    fn all(&self) {
        if let Ok(root) = File::open(&self.root)
            && let Err(error) = rustix::fs::syncfs(&root)
        {
            tracing::debug!(%error, "syncfs");
        }
    }

    /// Forces names of new tapes to the disk.
    fn names(&mut self, folders: BTreeSet<PathBuf>) {
        let mut wanted = BTreeSet::new();
        for folder in folders {
            wanted.extend(up_to(&self.root, &folder).filter(|up| !self.known.contains(up)));
            wanted.insert(folder);
        }
        for folder in wanted {
            match disk::sync_folder(&folder) {
                Ok(()) => drop(self.known.insert(folder)),
                Err(error) => {
                    self.volume.give_up(format!("cannot sync {}: {error}", folder.display()));
                }
            }
        }
        if self.known.len() > FOLDERS {
            self.known.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{disk::failpoint, *};

    fn rounds(root: PathBuf) -> Rounds {
        Rounds {
            root,
            period: Duration::from_secs(4),
            volume: Arc::default(),
            counters: Arc::default(),
            entries: Vec::new(),
            known: BTreeSet::new(),
        }
    }

    fn tape(rounds: &mut Rounds, name: &str) -> Arc<Synced> {
        let folder = rounds.root.join("a/b");
        std::fs::create_dir_all(&folder).unwrap();
        let file = Arc::new(Synced::new(disk::create(&folder.join(name), 0o600).unwrap()));
        let count = u32::try_from(rounds.entries.len()).unwrap();
        let news = Arc::new(Mutex::new((Vec::new(), count)));
        Opened { news: Arc::clone(&news), period: rounds.period }.add(&file, folder);
        rounds.entries.append(&mut news.lock().unwrap().0);
        file
    }

    #[test]
    fn open_tapes_are_synced_while_they_are_written_to() {
        let home = tempfile::tempdir().unwrap();
        let mut rounds = rounds(home.path().to_owned());
        let (one, two) = (tape(&mut rounds, "one"), tape(&mut rounds, "two"));
        let never = AtomicBool::new(false);
        let syncs = |rounds: &Rounds| rounds.counters.syncs.load(Ordering::Relaxed);
        rounds.go(Instant::now() + Duration::from_secs(5), &never);
        assert_eq!(syncs(&rounds), 2);
        let names =
            ["", "a", "a/b"].map(|name| home.path().join(name).components().as_path().to_owned());
        assert!(names.iter().all(|name| rounds.known.contains(name)), "{:?}", rounds.known);
        one.write_all_at(b"more", 0).unwrap();
        rounds.go(Instant::now(), &never);
        assert_eq!(syncs(&rounds), 2, "not due yet");
        rounds.go(Instant::now() + Duration::from_secs(5), &never);
        assert_eq!(syncs(&rounds), 3, "nothing was written to the other");
        drop(one);
        drop(two);
        rounds.go(Instant::now(), &never);
        assert!(rounds.entries.is_empty());
    }

    #[test]
    fn what_begins_together_is_spread() {
        let home = tempfile::tempdir().unwrap();
        let mut rounds = rounds(home.path().to_owned());
        let _tapes: Vec<_> = (0..50).map(|n| tape(&mut rounds, &n.to_string())).collect();
        let dues: BTreeSet<Duration> = rounds
            .entries
            .iter()
            .map(|entry| entry.due.saturating_duration_since(rounds.entries[0].due))
            .collect();
        assert!(dues.len() > 10, "{dues:?}");
    }

    #[test]
    fn a_failed_sync_is_final() {
        let home = tempfile::tempdir().unwrap();
        let mut rounds = rounds(home.path().to_owned());
        let file = tape(&mut rounds, "one");
        failpoint::set(0, 1, 5);
        rounds.go(Instant::now() + Duration::from_secs(5), &AtomicBool::new(false));
        assert!(failpoint::clear());
        assert_eq!(rounds.counters.sync_failed.load(Ordering::Relaxed), 1);
        // The disk would say yes now.
        assert!(file.sync_data().is_err());
        assert!(rounds.volume.given_up().is_none());
    }

    #[test]
    fn a_folder_that_cannot_be_synced_ends_recording() {
        let home = tempfile::tempdir().unwrap();
        let mut rounds = rounds(home.path().to_owned());
        let _file = tape(&mut rounds, "one");
        failpoint::set(1, 1, 5);
        rounds.go(Instant::now() + Duration::from_secs(5), &AtomicBool::new(false));
        assert!(failpoint::clear());
        assert!(rounds.volume.given_up().is_some_and(|why| why.starts_with("cannot sync")));
    }
}
