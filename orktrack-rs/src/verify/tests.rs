use super::*;
use crate::{
    files::Folders,
    sample,
    store::{once, tapes},
};
use orkbase::message::tape::Stage;
use orkvault::{
    book::{Book, Rules},
    digest,
    ledger::Link,
};
use std::fs::{self, File};

struct Bench {
    home: tempfile::TempDir,
    config: Config,
}

impl Bench {
    /// Six recordings that a recorder told of.
    fn new(ledger: bool) -> Self {
        let home = tempfile::tempdir().unwrap();
        let root = AudioRoot { hostname: Some("vm".to_owned()), folder: home.path().join("audio") };
        let config = Config { audio_roots: vec![root], ..Config::default() };
        let bench = Self { home, config };
        fs::create_dir_all(bench.path(0).parent().unwrap()).unwrap();
        let rules = Rules { link: Link::default(), mode: 0o640, sync: false };
        let book = ledger.then(|| Book::open(&bench.home.path().join("audio"), rules).unwrap());
        for n in 0..6 {
            fs::write(bench.path(n), format!("sound {n}").repeat(9)).unwrap();
            let Digest { bytes, sha256 } = digest::of_file(&bench.path(n)).unwrap();
            let mut message = sample::tape(&format!("R{n}"), Stage::Ready);
            message.tags.insert("sha256".to_owned(), sha256.to_string());
            let path = message.filename.clone();
            let database = bench.database();
            once(&database, move |session| tapes::put(session, &message, 10, "")).unwrap();
            if let Some(book) = &book {
                let (recid, marks) = (format!("R{n}"), String::new());
                let (begin_ms, duration_ms) = (1, 2);
                let event =
                    Event::Kept { recid, path, bytes, sha256, begin_ms, duration_ms, marks };
                book.append([event]).unwrap();
            }
        }
        bench
    }

    fn database(&self) -> PathBuf {
        self.home.path().join("t.db")
    }

    fn path(&self, n: u32) -> PathBuf {
        self.home.path().join(format!("audio/2026/11/21/02/R{n}.wav"))
    }

    fn verify(&self) -> (Vec<(Kind, PathBuf)>, Totals) {
        let mut found = Vec::new();
        let mut tell = |Finding { kind, path, .. }: Finding| found.push((kind, path.into()));
        let totals = verify(&self.database(), &self.config, &mut |_, _| {}, &mut tell).unwrap();
        found.sort();
        (found, totals)
    }
}

#[test]
fn whatever_was_done_to_a_recording_is_named() {
    for ledger in [false, true] {
        let bench = Bench::new(ledger);
        let (found, totals) = bench.verify();
        assert_eq!(found, []);
        assert_eq!((totals.recordings, totals.files, totals.unhashed), (6, 6, 0));
        let mut bytes = fs::read(bench.path(1)).unwrap();
        bytes[20] ^= 1;
        fs::write(bench.path(1), bytes).unwrap();
        File::options().write(true).open(bench.path(2)).unwrap().set_len(10).unwrap();
        fs::rename(bench.path(3), bench.path(9)).unwrap();
        fs::rename(bench.path(4), bench.path(3)).unwrap();
        fs::rename(bench.path(9), bench.path(4)).unwrap();
        fs::remove_file(bench.path(5)).unwrap();
        fs::write(bench.path(8), "planted").unwrap();
        fs::write(bench.path(0).with_extension("json"), "{}").unwrap();
        let (found, _) = bench.verify();
        // Only the ledger knows how long files were.
        let cut = if ledger { Kind::Truncated } else { Kind::Changed };
        let mut expected = [
            (Kind::Missing, 5),
            (Kind::Changed, 1),
            (cut, 2),
            (Kind::Swapped, 3),
            (Kind::Swapped, 4),
            (Kind::Added, 8),
        ];
        expected.sort();
        assert_eq!(found, expected.map(|(kind, n)| (kind, bench.path(n))), "{ledger}");
    }
}

#[test]
fn an_old_database_is_noticed() {
    for ledger in [false, true] {
        let bench = Bench::new(ledger);
        let old = bench.home.path().join("old.db");
        crate::check::backup(&bench.database(), &old).unwrap();
        // After that copy one recording came, and one was deleted.
        let message = sample::tape("R7", Stage::Ready);
        once(&bench.database(), move |session| tapes::put(session, &message, 10, "")).unwrap();
        fs::write(bench.path(7), "sound 7").unwrap();
        let file = |session: &mut dyn crate::store::Session| retention::file_of(session, 2);
        let file = once(&bench.database(), file).unwrap().unwrap();
        let folders = Folders { roots: bench.config.audio_roots.clone(), ..Folders::default() };
        once(&bench.database(), |session| retention::delete(session, 2, 20)).unwrap();
        assert!(files::remove(&folders, &file).unwrap());
        assert_eq!(bench.verify().0, [], "a deletion that the tracker made is no finding");
        assert_eq!(bench.verify().1.unhashed, 1);
        // And the old one is put back.
        for end in ["db-wal", "db-shm"] {
            drop(fs::remove_file(bench.database().with_extension(end)));
        }
        fs::copy(&old, bench.database()).unwrap();
        let deleted = if ledger { Kind::Database } else { Kind::Missing };
        let mut expected = [(deleted, bench.path(1)), (Kind::Added, bench.path(7))];
        expected.sort();
        assert_eq!(bench.verify().0, expected, "{ledger}");
    }
}

#[test]
fn a_row_that_is_gone_and_a_hash_that_was_changed_are_noticed() {
    let bench = Bench::new(true);
    let change = |sql: &'static str| once(&bench.database(), |s| s.change(sql, &[])).unwrap();
    change("DELETE FROM tape WHERE recid = 'R1'");
    change("UPDATE tape SET sha256 = replace(sha256, 'a', 'b') WHERE recid = 'R2'");
    let found = bench.verify().0;
    assert_eq!(found, [(Kind::Database, bench.path(1)), (Kind::Database, bench.path(2))]);
    // What a recorder tells later does not change what it told first.
    let bench = Bench::new(false);
    let mut again = sample::tape("R3", Stage::Update);
    again.tags.insert("sha256".to_owned(), "0".repeat(64));
    once(&bench.database(), move |session| tapes::put(session, &again, 30, "")).unwrap();
    assert_eq!(bench.verify().0, []);
}
