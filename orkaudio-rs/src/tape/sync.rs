//! Open tapes are forced to the disk at intervals, so that a power cut takes a few seconds of them only.
//!
//! Law: one thread does it; who writes never waits for it. A file of which this failed once is damaged for
//! good: the kernel forgets what it could not write, and asking again would be answered with a lie. Its name
//! says so from then on (`X.wav.damaged.part`): a name needs no room, and is there or not, whoever is killed.

use super::{
    disk,
    file::doomed_of,
    volume::{Volume, up_to},
    worker::TapeCounters,
};
use orkvault::sealed::Store;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
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
    /// Held while it is forced to the disk, so that nobody misses what another was told.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Where it lies now.
    place: PathBuf,
    /// Why it is damaged.
    damage: Option<String>,
    /// Its name says so, or it has a name that nobody takes for an unfinished tape.
    marked: bool,
}

impl State {
    /// Gives a damaged file a name that says so. A disk that refuses is asked again.
    fn mark(&mut self) {
        if self.marked {
            return;
        }
        let doomed = doomed_of(&self.place);
        match disk::rename(&self.place, &doomed) {
            Ok(()) => {
                self.place = doomed;
                self.marked = true;
            }
            Err(error) => {
                tracing::error!(file = %self.place.display(), %error, "a damaged tape keeps its name for now");
            }
        }
    }

    /// What was written is not, or not wholly, on the disk.
    fn damaged(&mut self, error: &io::Error) {
        self.damage = Some(error.to_string());
        self.mark();
    }
}

impl Synced {
    /// A file nobody else has open, lying at `place`.
    #[must_use]
    pub const fn new(file: File, place: PathBuf) -> Self {
        let state = State { place, damage: None, marked: false };
        Self { file, dirty: AtomicBool::new(true), state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it lies now.
    #[must_use]
    pub fn place(&self) -> PathBuf {
        self.lock().place.clone()
    }

    /// Gives it another name.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn rename(&self, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        disk::rename(&state.place, to)?;
        to.clone_into(&mut state.place);
        state.marked = true;
        Ok(())
    }

    /// Removes it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove(&self) -> io::Result<()> {
        let mut state = self.lock();
        fs::remove_file(&state.place)?;
        state.marked = true;
        Ok(())
    }

    /// Forces its bytes to the disk.
    ///
    /// # Errors
    /// When the disk refuses, or did so before.
    pub fn sync_data(&self) -> io::Result<()> {
        let mut state = self.lock();
        if let Some(why) = &state.damage {
            let error = io::Error::other(why.clone());
            state.mark();
            return Err(error);
        }
        self.dirty.store(false, Ordering::Relaxed);
        disk::sync_data(&self.file).inspect_err(|error| state.damaged(error))
    }

    /// The same if something was written since, and no more once it is damaged. Whether there is a name to be
    /// forced to the disk, that of a damaged file, and what went wrong now.
    fn sync_written(&self) -> (bool, io::Result<bool>) {
        let mut state = self.lock();
        let marked = state.marked;
        let mut done = Ok(false);
        if state.damage.is_some() {
            state.mark();
        } else if self.dirty.swap(false, Ordering::Relaxed) {
            done = disk::sync_data(&self.file).map(|()| true);
            if let Err(error) = &done {
                state.damaged(error);
            }
        }
        (state.marked && !marked, done)
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
        let (opened, mut rounds) = rounds(root, interval, volume, counters);
        let stop = Arc::new(AtomicBool::new(false));
        let (news, stopped) = (Arc::clone(&opened.news), Arc::clone(&stop));
        let work = move || {
            while !stopped.load(Ordering::Relaxed) {
                thread::park_timeout(TICK);
                rounds.learn(&news);
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

/// Where workers tell of their tapes, and who forces those to the disk within `interval`.
fn rounds(
    root: PathBuf,
    interval: Duration,
    volume: Arc<Volume>,
    counters: Arc<TapeCounters>,
) -> (Opened, Rounds) {
    let period = interval.saturating_sub(BLOCK).max(SHORTEST);
    let opened = Opened { news: Arc::default(), period };
    let (entries, known) = (Vec::new(), BTreeSet::new());
    (opened, Rounds { root, period, volume, counters, entries, known })
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
    /// Takes what was opened since.
    fn learn(&mut self, news: &News) {
        let new = std::mem::take(&mut news.lock().unwrap_or_else(PoisonError::into_inner).0);
        self.entries.extend(new);
    }

    /// Forces to the disk what is due, the oldest first.
    fn go(&mut self, now: Instant, stop: &AtomicBool) {
        self.entries.retain(|entry| entry.file.strong_count() > 0);
        let mut due: Vec<(Instant, usize)> = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.due <= now)
            .map(|(n, entry)| (entry.due, n))
            .collect();
        due.sort_unstable();
        self.counters.sync_due(due.first().map(|(at, _)| *at));
        if due.len() > MANY {
            self.all();
        }
        let mut folders = BTreeSet::new();
        for (at, n) in due {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            // It is late until it is there.
            self.counters.sync_due(Some(at));
            let Some(entry) = self.entries.get_mut(n) else { continue };
            if !entry.named {
                entry.named = true;
                folders.insert(entry.folder.clone());
            }
            if let Some(file) = entry.file.upgrade() {
                let (renamed, done) = file.sync_written();
                if renamed {
                    folders.insert(entry.folder.clone());
                }
                match done {
                    Ok(false) => {}
                    Ok(true) => drop(self.counters.syncs.fetch_add(1, Ordering::Relaxed)),
                    Err(error) => {
                        self.counters.sync_failed.fetch_add(1, Ordering::Relaxed);
                        self.volume.refused(&error);
                        tracing::error!(file = %file.place().display(), %error, "a file could not be forced to the disk: it is damaged");
                    }
                }
            }
            entry.due = Instant::now() + self.period;
        }
        self.counters.sync_due(None);
        self.names(folders);
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

/// Rounds that are made when a test says so, by its own thread.
#[cfg(test)]
pub(super) struct ByHand(Opened, Rounds);

#[cfg(test)]
impl ByHand {
    pub(super) fn new(root: PathBuf, counters: Arc<TapeCounters>) -> Self {
        let (opened, rounds) = rounds(root, Duration::from_secs(5), Arc::default(), counters);
        Self(opened, rounds)
    }

    pub(super) fn opened(&self) -> Opened {
        self.0.clone()
    }

    /// All that is open is due.
    pub(super) fn go(&mut self) {
        self.1.learn(&self.0.news);
        self.1.go(Instant::now() + Duration::from_secs(60), &AtomicBool::new(false));
    }
}

#[cfg(test)]
mod tests {
    use super::{disk::failpoint, *};

    fn rounds(root: PathBuf) -> Rounds {
        super::rounds(root, Duration::from_secs(5), Arc::default(), Arc::default()).1
    }

    fn tape(rounds: &mut Rounds, name: &str) -> Arc<Synced> {
        let folder = rounds.root.join("a/b");
        fs::create_dir_all(&folder).unwrap();
        let place = folder.join(format!("{name}.wav.part"));
        let file = Arc::new(Synced::new(disk::create(&place, 0o600).unwrap(), place));
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
        let folder = home.path().join("a/b");
        assert_eq!(file.place(), folder.join("one.wav.damaged.part"));
        assert!(file.place().exists() && !folder.join("one.wav.part").exists());
    }

    #[test]
    fn a_name_that_the_disk_refuses_is_asked_for_again() {
        let home = tempfile::tempdir().unwrap();
        let mut rounds = rounds(home.path().to_owned());
        let file = tape(&mut rounds, "one");
        failpoint::set(0, 2, 5);
        rounds.go(Instant::now() + Duration::from_secs(5), &AtomicBool::new(false));
        assert!(failpoint::clear() && file.place().ends_with("one.wav.part"));
        rounds.go(Instant::now() + Duration::from_secs(20), &AtomicBool::new(false));
        assert!(file.place().ends_with("one.wav.damaged.part") && file.place().exists());
        assert_eq!(rounds.counters.sync_failed.load(Ordering::Relaxed), 1, "counted once");
    }

    #[test]
    fn a_tape_is_late_until_it_is_on_the_disk() {
        let counters = TapeCounters::default();
        assert_eq!(counters.sync_behind_ms(), 0);
        let Some(due) = Instant::now().checked_sub(Duration::from_secs(3)) else { return };
        counters.sync_due(Some(due));
        assert!((3_000..60_000).contains(&counters.sync_behind_ms()));
        counters.sync_due(None);
        assert_eq!(counters.sync_behind_ms(), 0);
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
