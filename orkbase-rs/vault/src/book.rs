//! Writes the ledger: a file for each day, appended to and forced to the disk.
//!
//! Law: when [`Book::append`] says yes, the lines are on the disk. Several processes may write (recorder,
//! tracker): each takes the lock and goes on where the last one stopped. What a killed writer left torn is cut
//! off and told by a line. The clock going back begins no earlier day.

use crate::{
    disk::{Disk, System},
    ledger::{EXTENSION, End, Event, FOLDER, Link, MAX_LINE, day, is_day},
};
use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Lines kept in memory while the disk refuses them; more are lost, and counted.
const PENDING: usize = 4_096;
/// Another process may hold the lock for so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the book is kept.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How lines are linked.
    pub link: Link,
    /// Permissions of the files.
    pub mode: u32,
    /// Lines are forced to the disk.
    pub sync: bool,
}

/// What the book counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Lines written.
    pub lines: u64,
    /// Attempts to write that failed; the lines wait for the next.
    pub failed: u64,
    /// Lines given up because too many waited.
    pub lost: u64,
    /// Lines that wait now.
    pub waiting: u64,
}

/// The ledger of a folder of recordings.
#[derive(Debug)]
pub struct Book {
    folder: PathBuf,
    rules: Rules,
    disk: Box<dyn Disk>,
    state: Mutex<State>,
    lines: AtomicU64,
    failed: AtomicU64,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    tail: Option<Tail>,
    pending: VecDeque<Event>,
    /// The name of the newest file is on the disk.
    named: bool,
}

/// Where the next line goes.
#[derive(Debug)]
struct Tail {
    day: String,
    file: File,
    bytes: u64,
    end: End,
    /// When the folder was last changed, to notice another process's new file.
    changed: (i64, i64),
}

impl Book {
    /// The ledger below `root`; it is made when there is none. A torn last line is cut off.
    ///
    /// # Errors
    /// When the folder cannot be made, or the newest file not be read and written.
    pub fn open(root: &Path, rules: Rules) -> io::Result<Self> {
        Self::open_on(root, rules, Box::new(System))
    }

    /// The same, on what stands for the disk.
    ///
    /// # Errors
    /// As for [`Book::open`].
    pub fn open_on(root: &Path, rules: Rules, disk: Box<dyn Disk>) -> io::Result<Self> {
        let folder = root.join(FOLDER);
        fs::create_dir_all(&folder)?;
        let book = Self {
            folder,
            rules,
            disk,
            state: Mutex::default(),
            lines: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        };
        {
            let _lock = book.lock()?;
            let mut state = book.state.lock().unwrap_or_else(PoisonError::into_inner);
            let State { tail, pending, .. } = &mut *state;
            *tail = book.load(pending)?;
        }
        Ok(book)
    }

    /// Keeps events for the next [`Book::append`]; waits for no disk.
    pub fn note(&self, events: impl IntoIterator<Item = Event>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            if state.pending.len() < PENDING {
                state.pending.push_back(event);
            } else {
                self.lost.fetch_add(1, Relaxed);
            }
        }
    }

    /// Writes events, and those that waited, and forces them to the disk. When it fails they wait.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn append(&self, events: impl IntoIterator<Item = Event>) -> io::Result<()> {
        self.note(events);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.pending.is_empty() {
            return Ok(());
        }
        let done = self.write(&mut state, now());
        if done.is_err() {
            self.failed.fetch_add(1, Relaxed);
            // Read again what is there, whatever that is.
            state.tail = None;
        }
        done
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Counts {
            lines: self.lines.load(Relaxed),
            failed: self.failed.load(Relaxed),
            lost: self.lost.load(Relaxed),
            waiting: u64::try_from(state.pending.len()).unwrap_or(u64::MAX),
        }
    }

    fn write(&self, state: &mut State, now: u64) -> io::Result<()> {
        let _lock = self.lock()?;
        let State { tail, pending, named } = state;
        let mut last = match tail.take() {
            Some(tail) if self.is_last(&tail)? => Some(tail),
            _ => {
                // Whoever began the newest file may not have come to forcing its name to the disk.
                *named = false;
                self.load(pending)?
            }
        };
        let today = day(now);
        if last.as_ref().is_none_or(|tail| tail.day < today) {
            *named = false;
            last = Some(self.begin(last.as_ref(), &today, now)?);
        }
        let Some(mut last) = last else { return Ok(()) };
        if !*named {
            self.sync_folder()?;
            last.changed = self.changed()?;
            *named = true;
        }
        let (mut end, mut text) = (last.end, String::new());
        for event in &*pending {
            end.append(&self.rules.link, now, event, &mut text);
        }
        self.put(&mut last, &text)?;
        last.end = end;
        self.lines.fetch_add(u64::try_from(pending.len()).unwrap_or(0), Relaxed);
        pending.clear();
        *tail = Some(last);
        Ok(())
    }

    /// Appends whole lines, all or (as far as the disk lets us) none.
    fn put(&self, tail: &mut Tail, text: &str) -> io::Result<()> {
        let disk = &self.disk;
        let written = disk
            .write_all_at(&tail.file, text.as_bytes(), tail.bytes)
            .and_then(|()| if self.rules.sync { disk.sync_data(&tail.file) } else { Ok(()) });
        if let Err(error) = written {
            // What cannot be cut off now is found when the file is read again.
            drop(disk.set_len(&tail.file, tail.bytes));
            return Err(error);
        }
        tail.bytes += u64::try_from(text.len()).unwrap_or(0);
        Ok(())
    }

    /// The file of a new day.
    fn begin(&self, before: Option<&Tail>, day: &str, now: u64) -> io::Result<Tail> {
        let file = self.create(day)?;
        let mut end = before.map_or_else(End::default, |tail| tail.end);
        let previous = before.map_or_else(String::new, |tail| tail.day.clone());
        let mut text = String::new();
        let event = Event::Day { day: day.to_owned(), previous };
        end.append(&self.rules.link, now, &event, &mut text);
        let changed = (0, 0);
        let mut tail = Tail { day: day.to_owned(), file, bytes: 0, end, changed };
        self.put(&mut tail, &text)?;
        Ok(tail)
    }

    fn create(&self, day: &str) -> io::Result<File> {
        self.disk.create(&self.path(day), self.rules.mode)
    }

    fn path(&self, day: &str) -> PathBuf {
        self.folder.join(format!("{day}.{EXTENSION}"))
    }

    fn sync_folder(&self) -> io::Result<()> {
        if self.rules.sync {
            self.disk.sync_folder(&self.folder)?;
            self.disk.sync_folder(self.folder.parent().unwrap_or(&self.folder))?;
        }
        Ok(())
    }

    fn changed(&self) -> io::Result<(i64, i64)> {
        let about = fs::metadata(&self.folder)?;
        Ok((about.mtime(), about.mtime_nsec()))
    }

    /// Whether nobody else wrote since.
    fn is_last(&self, tail: &Tail) -> io::Result<bool> {
        let about = tail.file.metadata()?;
        Ok(about.len() == tail.bytes && about.nlink() > 0 && self.changed()? == tail.changed)
    }

    /// Looks where the chain ends; `None` when there is no line yet. What was torn is cut off, and noted.
    fn load(&self, pending: &mut VecDeque<Event>) -> io::Result<Option<Tail>> {
        let mut days = days(&self.folder)?;
        while let Some(day) = days.pop() {
            let path = self.path(&day);
            let mut file = self.disk.open(&path)?;
            let (mut whole, mut torn, mut end) = last_line(&mut file)?;
            let mut cut = 0;
            // It may be longer than what is looked at: a disk that lost power may leave zeros.
            while torn > 0 {
                self.disk.set_len(&file, whole)?;
                cut += torn;
                (whole, torn, end) = last_line(&mut file)?;
            }
            if cut > 0 {
                pending.push_front(Event::Cut { bytes: cut });
            }
            let Some(end) = end else {
                if whole > 0 {
                    // Lines, and none of ours: they stay for whoever verifies.
                    let changed = self.changed()?;
                    let end = End::default();
                    return Ok(Some(Tail { day, file, bytes: whole, end, changed }));
                }
                // Killed before its first line was whole.
                fs::remove_file(&path)?;
                continue;
            };
            let changed = self.changed()?;
            return Ok(Some(Tail { day, file, bytes: whole, end, changed }));
        }
        Ok(None)
    }

    /// Held by one process at a time.
    fn lock(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).write(true).mode(self.rules.mode);
        let file = options.open(self.folder.join("lock"))?;
        let until = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    thread::sleep(Duration::from_millis(5));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(io::Error::other("another process holds the ledger"));
                }
            }
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The days that have a file, in order.
///
/// # Errors
/// When the folder cannot be read; there are none in a folder that is not there.
pub fn days(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut days = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION)
            && let Some(day) = path.file_stem().and_then(|stem| stem.to_str())
            && is_day(day)
        {
            days.push(day.to_owned());
        }
    }
    days.sort();
    Ok(days)
}

/// Bytes of whole lines, bytes behind them, and the last line that can be read, of those that lie within
/// reach of the end.
pub(crate) fn last_line(file: &mut File) -> io::Result<(u64, u64, Option<End>)> {
    let length = file.metadata()?.len();
    let reach = u64::try_from(2 * MAX_LINE).unwrap_or(0).min(length);
    file.seek(SeekFrom::Start(length - reach))?;
    let mut bytes = Vec::new();
    file.take(reach).read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let torn = u64::try_from(bytes.len() - whole).unwrap_or(0);
    let lines = bytes.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n');
    let end = lines.rev().find_map(End::of);
    Ok((length - torn, torn, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Chain, Fault};
    use std::sync::Arc;

    fn rules() -> Rules {
        Rules { link: Link::default(), mode: 0o640, sync: true }
    }

    fn event(n: usize) -> Event {
        Event::NotKept { recid: format!("R{n}"), why: "too short".to_owned() }
    }

    fn faults(book: &Book) -> (Vec<Event>, Vec<Fault>) {
        let mut chain = Chain::after(Link::default(), End::default());
        let (mut events, mut faults) = (Vec::new(), Vec::new());
        for day in days(&book.folder).unwrap() {
            let text = fs::read(book.path(&day)).unwrap();
            for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let (line, fault) = chain.take(line);
                events.extend(line.map(|line| line.event));
                faults.extend(fault);
            }
        }
        (events, faults)
    }

    const DAY: u64 = 86_400;

    fn write(book: &Book, n: usize, at: u64) {
        book.note([event(n)]);
        let mut state = book.state.lock().unwrap();
        book.write(&mut state, at).unwrap();
    }

    /// The n-th request fails, and so many after it.
    #[derive(Clone, Debug)]
    struct Failing(Arc<Mutex<(u32, u32)>>);

    impl Failing {
        fn ask(&self) -> io::Result<()> {
            let mut plan = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let (before, count) = &mut *plan;
            if *before > 0 {
                *before -= 1;
            } else if *count > 0 {
                *count -= 1;
                return Err(io::Error::from_raw_os_error(5));
            }
            Ok(())
        }
    }

    impl Disk for Failing {
        fn create(&self, path: &Path, mode: u32) -> io::Result<File> {
            self.ask()?;
            System.create(path, mode)
        }

        fn open(&self, path: &Path) -> io::Result<File> {
            self.ask()?;
            System.open(path)
        }

        fn write_all_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
            self.ask().inspect_err(|_| {
                drop(System.write_all_at(file, &bytes[..bytes.len() / 3], at));
            })?;
            System.write_all_at(file, bytes, at)
        }

        fn set_len(&self, file: &File, bytes: u64) -> io::Result<()> {
            self.ask()?;
            System.set_len(file, bytes)
        }

        fn sync_data(&self, file: &File) -> io::Result<()> {
            self.ask()?;
            System.sync_data(file)
        }

        fn sync_folder(&self, folder: &Path) -> io::Result<()> {
            self.ask()?;
            System.sync_folder(folder)
        }
    }

    /// Five lines on two days; `count` requests fail after `before`. Whether all of those were made.
    fn fail(before: u32, count: u32) -> bool {
        let home = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let plan = Arc::new(Mutex::new((0, 0)));
        let disk = Box::new(Failing(Arc::clone(&plan)));
        let book = Book::open_on(home.path(), rules(), disk).unwrap();
        *plan.lock().unwrap() = (before, count);
        let mut refused = 0;
        for n in 0..5 {
            book.note([event(n)]);
            let mut state = book.state.lock().unwrap();
            if book.write(&mut state, u64::from(n > 2) * DAY + 9).is_err() {
                state.tail = None;
                refused += 1;
                continue;
            }
            assert!(state.pending.is_empty());
            drop(state);
            let last = faults(&book).0.into_iter().rfind(is_end);
            assert_eq!(last, Some(event(n)), "{count} after {before}: it said that this is there");
        }
        let (_, left) = *plan.lock().unwrap();
        *plan.lock().unwrap() = (0, 0);
        // The next start, and all that waits.
        let waits: Vec<Event> = book.state.lock().unwrap().pending.drain(..).collect();
        drop(book);
        let book = Book::open(home.path(), rules()).unwrap();
        book.append(waits).unwrap();
        let (events, faults) = faults(&book);
        assert!(faults.is_empty(), "{count} after {before}: {faults:?}");
        let mut ends: Vec<Event> = events.into_iter().filter(is_end).collect();
        // A line whose sync failed may be there twice.
        ends.dedup();
        for n in 0..5 {
            assert!(ends.contains(&event(n)), "{count} after {before}: {n} of {ends:?}");
        }
        assert!(ends.len() == 5 || refused > 0, "{count} after {before}: {ends:?}");
        left < count
    }

    fn is_end(event: &Event) -> bool {
        matches!(event, Event::NotKept { .. })
    }

    #[test]
    fn no_line_is_lost_or_half_believed_whichever_request_fails() {
        let mut n = 0;
        while fail(n, 1) {
            n += 1;
        }
        assert!(n > 10, "only {n} requests");
        for before in 0..n {
            for count in [2, 3, 5, u32::MAX] {
                fail(before, count);
            }
        }
    }

    #[test]
    fn a_torn_end_longer_than_what_is_looked_at_is_cut_off() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(FOLDER);
        fs::create_dir(&folder).unwrap();
        let (mut end, mut text) = (End::default(), String::new());
        end.append(&Link::default(), 1, &event(1), &mut text);
        let path = folder.join("9999-12-31.ork");
        let zeros = vec![0; 5 * MAX_LINE + 7];
        fs::write(&path, [text.as_bytes(), &zeros].concat()).unwrap();
        let book = Book::open(home.path(), rules()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), text.as_bytes());
        book.append([event(2)]).unwrap();
        let (events, wrong) = faults(&book);
        let bytes = u64::try_from(zeros.len()).unwrap();
        assert_eq!((events, wrong), (vec![event(1), Event::Cut { bytes }, event(2)], vec![]));
    }

    #[test]
    fn days_follow_each_other_and_never_go_back() {
        let home = tempfile::tempdir().unwrap();
        let book = Book::open(home.path(), rules()).unwrap();
        for (n, at) in [0, 5, DAY, DAY - 5, 3 * DAY].into_iter().enumerate() {
            write(&book, n, at);
        }
        // Another process, and this one again.
        let other = Book::open(home.path(), rules()).unwrap();
        write(&other, 5, 3 * DAY + 1);
        write(&book, 6, 3 * DAY + 2);
        write(&other, 7, 4 * DAY);
        write(&book, 8, 3 * DAY + 9);
        let days = days(&book.folder).unwrap();
        assert_eq!(days, ["1970-01-01", "1970-01-02", "1970-01-04", "1970-01-05"]);
        let (events, faults) = faults(&book);
        assert_eq!((events.len(), faults), (13, Vec::new()));
        let day = |event: &&Event| matches!(event, Event::Day { .. });
        let previous = events.iter().filter(day).nth(2).unwrap();
        let (day, previous_day) = ("1970-01-04".to_owned(), "1970-01-02".to_owned());
        assert_eq!(previous, &Event::Day { day, previous: previous_day });
    }

    #[test]
    fn a_line_torn_at_any_byte_is_cut_and_told() {
        let home = tempfile::tempdir().unwrap();
        let book = Book::open(home.path(), rules()).unwrap();
        for n in 0..2 {
            write(&book, n, 7);
        }
        let path = book.path("1970-01-01");
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let book = Book::open(home.path(), rules()).unwrap();
            write(&book, 9, 9);
            let (events, faults) = faults(&book);
            assert!(faults.is_empty(), "{cut}: {faults:?}");
            let lines = whole[..cut].split_inclusive(|byte| *byte == b'\n');
            let torn = lines.filter(|line| !line.ends_with(b"\n")).map(<[u8]>::len).sum::<usize>();
            let told: Vec<_> = events
                .iter()
                .filter_map(|event| match event {
                    Event::Cut { bytes } => Some(usize::try_from(*bytes).unwrap()),
                    Event::Day { .. }
                    | Event::Kept { .. }
                    | Event::Gone { .. }
                    | Event::NotKept { .. } => None,
                })
                .collect();
            assert_eq!(told, Vec::from_iter((torn > 0).then_some(torn)), "{cut}");
            assert_eq!(events.last(), Some(&event(9)));
        }
    }

    #[test]
    fn lines_that_the_disk_refuses_wait_and_are_counted() {
        let home = tempfile::tempdir().unwrap();
        let book = Book::open(home.path(), rules()).unwrap();
        fs::remove_dir_all(&book.folder).unwrap();
        assert!(book.append([event(0)]).is_err());
        book.note((0..PENDING).map(event));
        let counts = book.counts();
        assert_eq!((counts.failed, counts.lost, counts.lines), (1, 1, 0));
        fs::create_dir(&book.folder).unwrap();
        book.append([]).unwrap();
        assert_eq!(book.counts().waiting, 0);
        assert_eq!(faults(&book).0.len(), PENDING + 1);
    }
}
