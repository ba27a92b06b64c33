use super::*;
use crate::{
    book::{Book, Rules},
    digest,
};
use std::fs;

struct Home {
    home: tempfile::TempDir,
    link: Link,
}

impl Home {
    /// Eight recordings on one day, the first of them deleted as it should be.
    fn new(link: Link) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("a")).unwrap();
        let this = Self { home, link };
        let book = this.book();
        for n in 0..8 {
            this.record(&book, n);
        }
        fs::remove_file(this.path(0)).unwrap();
        let (recid, path) = ("R0".to_owned(), Self::name(0));
        book.append([Event::Gone { recid, path, by: "a tracker".to_owned() }]).unwrap();
        let why = "too short".to_owned();
        book.append([Event::NotKept { recid: "R9".to_owned(), why }]).unwrap();
        this
    }

    fn book(&self) -> Book {
        let rules = Rules { link: self.link.clone(), mode: 0o640, sync: false };
        Book::open(self.home.path(), rules).unwrap()
    }

    fn name(n: u32) -> String {
        format!("a/R{n}.wav")
    }

    fn path(&self, n: u32) -> PathBuf {
        self.home.path().join(Self::name(n))
    }

    fn record(&self, book: &Book, n: u32) {
        fs::write(self.path(n), format!("sound {n}").repeat(9)).unwrap();
        // Long ago: nobody waits for the line of a file that is not young.
        let old = SystemTime::now() - Duration::from_secs(60);
        File::options().append(true).open(self.path(n)).unwrap().set_modified(old).unwrap();
        let Digest { bytes, sha256 } = digest::of_file(&self.path(n)).unwrap();
        let (recid, path) = (format!("R{n}"), Self::name(n));
        let (begin_ms, duration_ms, marks) = (1, 2, String::new());
        let event = Event::Kept { recid, path, bytes, sha256, begin_ms, duration_ms, marks };
        book.append([event]).unwrap();
    }

    fn day(&self) -> PathBuf {
        let folder = self.home.path().join(FOLDER);
        folder.join(format!("{}.ork", days(&folder).unwrap().pop().unwrap()))
    }

    fn verify_as(&self, task: &Task) -> (Vec<(Kind, String)>, Totals) {
        let mut found = Vec::new();
        let totals = verify(task, &mut |_| {}, &mut |finding| found.push(finding)).unwrap();
        assert_eq!(usize::try_from(totals.findings).unwrap(), found.len());
        (found.into_iter().map(|finding| (finding.kind, finding.path)).collect(), totals)
    }

    fn task(&self) -> Task {
        let (root, link) = (self.home.path().to_owned(), self.link.clone());
        Task { root, link, since: None, head: None }
    }

    fn verify(&self) -> Vec<(Kind, String)> {
        self.verify_as(&self.task()).0
    }

    fn lines(&self, change: impl FnOnce(&mut Vec<String>)) {
        let text = fs::read_to_string(self.day()).unwrap();
        let mut lines: Vec<String> = text.lines().map(|line| format!("{line}\n")).collect();
        change(&mut lines);
        fs::write(self.day(), lines.concat()).unwrap();
    }
}

#[test]
fn what_is_as_it_was_is_good() {
    let home = Home::new(Link::default());
    let (found, totals) = home.verify_as(&home.task());
    assert_eq!(found, []);
    let said = (totals.files, totals.gone, totals.not_kept, totals.lines, totals.sequence);
    assert_eq!(said, (7, 1, 1, 11, 11));
    // A part and a sidecar are no recordings.
    for name in ["a/X.wav.part", "a/R1.json"] {
        fs::write(home.home.path().join(name), "x").unwrap();
    }
    let head = Task { head: Some(totals.head), ..home.task() };
    assert_eq!(home.verify_as(&head).0, []);
    home.lines(|lines| drop(lines.pop()));
    let found = home.verify_as(&head).0;
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn whatever_was_done_to_a_recording_is_named() {
    let home = Home::new(Link::default());
    let mut bytes = fs::read(home.path(1)).unwrap();
    bytes[20] ^= 1;
    fs::write(home.path(1), bytes).unwrap();
    File::options().write(true).open(home.path(2)).unwrap().set_len(10).unwrap();
    fs::rename(home.path(3), home.path(99)).unwrap();
    fs::rename(home.path(4), home.path(3)).unwrap();
    fs::rename(home.path(99), home.path(4)).unwrap();
    fs::remove_file(home.path(5)).unwrap();
    fs::write(home.path(6), "sound 6".repeat(10)).unwrap();
    fs::write(home.path(8), "planted").unwrap();
    fs::write(home.path(0), "back again").unwrap();
    let mut found = home.verify();
    found.sort();
    let expected = [
        (Kind::Missing, 5),
        (Kind::Changed, 1),
        (Kind::Changed, 6),
        (Kind::Truncated, 2),
        (Kind::Swapped, 3),
        (Kind::Swapped, 4),
        (Kind::Added, 0),
        (Kind::Added, 8),
    ];
    assert_eq!(found, expected.map(|(kind, n)| (kind, Home::name(n))));
}

#[test]
fn whatever_was_done_to_the_ledger_is_named() {
    type Change = fn(&mut Vec<String>);
    let changes: [(Change, usize); 6] = [
        // The day; a recording, which is not known any more then; a deletion.
        (|lines| drop(lines.remove(0)), 2),
        (|lines| drop(lines.remove(3)), 2),
        (|lines| drop(lines.remove(9)), 2),
        (|lines| lines.swap(4, 5), 2),
        (|lines| lines[4] = lines[4].replace("begin_ms=1", "begin_ms=7"), 1),
        (|lines| lines[4].insert(3, 'x'), 2),
    ];
    for link in [Link::default(), Link::keyed(b"geheim")] {
        for (n, (change, count)) in changes.into_iter().enumerate() {
            let home = Home::new(link.clone());
            home.lines(change);
            let found = home.verify();
            let of_ledger = found.iter().filter(|(kind, _)| *kind == Kind::Ledger).count();
            assert!(of_ledger > 0 && found.len() == count, "{n}: {found:?}");
        }
    }
    let home = Home::new(Link::keyed(b"geheim"));
    let other = Task { link: Link::default(), ..home.task() };
    assert_eq!(home.verify_as(&other).0.len(), 11, "every line is of another key");
    fs::remove_file(home.day()).unwrap();
    let found = home.verify();
    assert_eq!(found.len(), 8, "no ledger, and seven files that nobody knows: {found:?}");
}

#[test]
fn a_day_that_is_missing_is_named() {
    let home = Home::new(Link::default());
    let folder = home.home.path().join(FOLDER);
    // Three days by hand.
    fs::remove_dir_all(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    let (mut end, mut previous) = (End::default(), String::new());
    for (n, day) in ["2026-01-01", "2026-01-02", "2026-01-05"].into_iter().enumerate() {
        let mut text = String::new();
        let n = u32::try_from(n).unwrap() + 1;
        let begins = Event::Day { day: day.to_owned(), previous: previous.clone() };
        let Digest { bytes, sha256 } = digest::of_file(&home.path(n)).unwrap();
        let (recid, path, marks) = (format!("R{n}"), Home::name(n), String::new());
        let kept = Event::Kept { recid, path, bytes, sha256, begin_ms: 1, duration_ms: 2, marks };
        for event in [begins, kept] {
            end.append(&home.link, 7, &event, &mut text);
        }
        fs::write(folder.join(format!("{day}.ork")), text).unwrap();
        day.clone_into(&mut previous);
    }
    for n in 4..8 {
        fs::remove_file(home.path(n)).unwrap();
    }
    assert_eq!(home.verify(), []);
    let since = Task { since: Some("2026-01-03".to_owned()), ..home.task() };
    fs::remove_file(home.path(1)).unwrap();
    let (found, totals) = home.verify_as(&since);
    // The others were changed today, so they are looked for; their lines are older.
    assert_eq!(found, [(Kind::Added, Home::name(2))]);
    assert_eq!((totals.days, totals.files), (1, 1));
    fs::rename(folder.join("2026-01-02.ork"), folder.join("aside")).unwrap();
    let found = home.verify();
    let names: Vec<&str> = found.iter().map(|(_, path)| path.as_str()).collect();
    let last = "ledger/2026-01-05.ork";
    assert_eq!(names, [last, "ledger/2026-01-02.ork", "a/R1.wav", "a/R2.wav"]);
    fs::rename(folder.join("aside"), folder.join("2026-01-07.ork")).unwrap();
    assert!(home.verify().iter().any(|(_, path)| path == "ledger/2026-01-07.ork"));
}
