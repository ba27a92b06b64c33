use super::{Vessel, format::*, *};
use crate::keys::KeyRing;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

fn ring(key: &str) -> KeyRing {
    KeyRing::parse(format!("k:{}", key.repeat(32)).as_bytes()).unwrap()
}

fn file(path: &Path) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

fn pattern(count: usize, seed: usize) -> Vec<u8> {
    (0..count).map(|n| u8::try_from((n * 7 + seed * 13 + n / 251) % 256).unwrap()).collect()
}

/// A file of a few records, one of which covers parts of others, and what is in it after each of them.
fn written(path: &Path, close: bool) -> Vec<Vec<u8>> {
    let mut sealed = SealedFile::create(file(path), &ring("aa")).unwrap();
    let (mut plain, mut states) = (Vec::new(), vec![Vec::new()]);
    for (offset, bytes) in
        [(0, pattern(40, 1)), (40, pattern(60, 2)), (30, pattern(20, 3)), (110, pattern(15, 4))]
    {
        sealed.write_all_at(&bytes, u64::try_from(offset).unwrap()).unwrap();
        plain.resize(plain.len().max(offset + bytes.len()), 0);
        plain[offset..offset + bytes.len()].copy_from_slice(&bytes);
        states.push(plain.clone());
    }
    if close {
        sealed.close().unwrap();
    }
    states
}

fn all(sealed: &mut SealedFile) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    sealed.seek(SeekFrom::Start(0))?;
    sealed.read_to_end(&mut bytes)?;
    Ok(bytes)
}

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("x.sealed")
    }
}

fn why(error: io::Error) -> SealError {
    let error = error.into_inner().unwrap();
    error.downcast_ref::<SealError>().unwrap().clone()
}

#[test]
fn what_is_written_is_read_from_everywhere() {
    let home = Home::new();
    for close in [false, true] {
        drop(fs::remove_file(home.path()));
        let plain = written(&home.path(), close).pop().unwrap();
        let mut sealed = SealedFile::open(file(&home.path()), &ring("aa")).unwrap();
        assert_eq!((sealed.is_whole(), sealed.size()), (close, 125));
        sealed.check().unwrap();
        for from in 0..plain.len() {
            for count in [1, 7, 64, 200] {
                let mut bytes = vec![9; count];
                let read = sealed.read_at(&mut bytes, u64::try_from(from).unwrap()).unwrap();
                let want = &plain[from..plain.len().min(from + count)];
                assert_eq!(&bytes[..read], want, "{from} {count}");
            }
        }
        assert_eq!(sealed.read_at(&mut [0; 4], 125).unwrap(), 0);
        let on_disk = fs::read(home.path()).unwrap();
        assert!(!on_disk.windows(8).any(|eight| eight == &plain[..8]), "nothing is plain");
    }
}

#[test]
fn long_writes_and_another_session() {
    let home = Home::new();
    let plain = pattern(300_000, 5);
    let mut vessel = Vessel::create(file(&home.path()), Some(&ring("aa"))).unwrap();
    vessel.write_all(&plain).unwrap();
    vessel.close().unwrap();
    let first = fs::read(home.path()).unwrap();
    let mut vessel = Vessel::open(file(&home.path()), Some(&ring("aa"))).unwrap();
    vessel.write_all_at(b"later", 70_000).unwrap();
    vessel.set_size(200_000).unwrap();
    vessel.close().unwrap();
    let second = fs::read(home.path()).unwrap();
    // The closing record went; no nonce was used for something else.
    let same = first.iter().zip(&second).take_while(|(a, b)| a == b).count();
    assert!(same > 300_000 && second[same..same + 40] != first[same..same + 40]);
    let mut vessel = Vessel::open(file(&home.path()), Some(&ring("aa"))).unwrap();
    let mut now = plain;
    now.truncate(200_000);
    now[70_000..70_005].copy_from_slice(b"later");
    let mut read = Vec::new();
    vessel.read_to_end(&mut read).unwrap();
    assert!(read == now && vessel.size().unwrap() == 200_000);
    let mut bytes = [0; 9];
    vessel.read_exact_at(&mut bytes, 69_998).unwrap();
    assert_eq!(bytes, now[69_998..70_007]);
}

#[test]
fn killed_at_any_byte_every_whole_record_is_kept() {
    let home = Home::new();
    let states = written(&home.path(), true);
    let bytes = fs::read(home.path()).unwrap();
    // Where each record ends, counted from what they hold.
    let mut ends = vec![HEADER];
    for count in [40, 60, 20, 15] {
        ends.push(ends.last().unwrap() + HEAD + count + TAG);
    }
    for cut in 0..=bytes.len() {
        fs::write(home.path(), &bytes[..cut]).unwrap();
        let recovered = SealedFile::recover(file(&home.path()), &ring("aa"));
        if cut < HEADER {
            assert_eq!(why(recovered.unwrap_err()), SealError::NotSealed);
            continue;
        }
        let mut sealed = recovered.unwrap();
        let kept = ends.iter().filter(|end| **end <= cut).count() - 1;
        assert_eq!(all(&mut sealed).unwrap(), states[kept], "{cut}");
        assert_eq!(sealed.is_whole(), cut == bytes.len());
        // It can be written to, and closed.
        sealed.write_all_at(b"more", 200).unwrap();
        sealed.close().unwrap();
        let mut sealed = SealedFile::open(file(&home.path()), &ring("aa")).unwrap();
        assert!(sealed.is_whole() && sealed.size() == 204);
        sealed.check().unwrap();
        let now = all(&mut sealed).unwrap();
        assert_eq!(
            (&now[..states[kept].len()], &now[200..]),
            (states[kept].as_slice(), &b"more"[..])
        );
    }
    // Power failed: the length is there, the bytes are not.
    for end in &ends[..4] {
        let mut torn = bytes[..*end + 50].to_vec();
        torn[*end + HEAD..].fill(0);
        torn.resize(bytes.len(), 0);
        fs::write(home.path(), &torn).unwrap();
        let mut sealed = SealedFile::recover(file(&home.path()), &ring("aa")).unwrap();
        let kept = ends.iter().position(|other| other == end).unwrap();
        assert_eq!(all(&mut sealed).unwrap(), states[kept]);
    }
}

#[test]
fn whatever_was_changed_is_named() {
    let home = Home::new();
    written(&home.path(), true);
    let bytes = fs::read(home.path()).unwrap();
    let read = |bytes: &[u8], ring: &KeyRing| {
        fs::write(home.path(), bytes).unwrap();
        let mut sealed = SealedFile::open(file(&home.path()), ring)?;
        sealed.check()?;
        Ok::<_, io::Error>(sealed.is_whole())
    };
    assert!(read(&bytes, &ring("aa")).unwrap());
    assert_eq!(why(read(&bytes, &ring("bb")).unwrap_err()), SealError::WrongKey("k".to_owned()));
    let other = KeyRing::parse("11".repeat(32).as_bytes()).unwrap();
    assert_eq!(why(read(&bytes, &other).unwrap_err()), SealError::UnknownKey("k".to_owned()));
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        // A changed trailer makes it a file that was not closed.
        match read(&changed, &ring("aa")) {
            Ok(whole) => assert!(!whole && at + TRAILER >= bytes.len(), "{at}"),
            Err(error) => drop(why(error)),
        }
    }
    for cut in HEADER..bytes.len() {
        assert!(matches!(read(&bytes[..cut], &ring("aa")), Ok(false) | Err(_)), "{cut}");
    }
    // Two records of one length change places; one of another file comes in.
    let two = Home::new();
    let make = |path: &Path| {
        let mut sealed = SealedFile::create(file(path), &ring("aa")).unwrap();
        for n in 0..3 {
            sealed.write_all_at(&pattern(32, n), u64::try_from(32 * n).unwrap()).unwrap();
        }
        fs::read(path).unwrap()
    };
    let (one, other) = (make(&two.path()), make(&two.0.path().join("y")));
    let size = HEAD + 32 + TAG;
    let record =
        |bytes: &[u8], n: usize| bytes[HEADER + n * size..HEADER + (n + 1) * size].to_vec();
    let swapped = [&one[..HEADER], &record(&one, 1), &record(&one, 0), &record(&one, 2)].concat();
    assert_eq!(why(read(&swapped, &ring("aa")).unwrap_err()), SealError::Changed(0));
    let spliced = [&one[..HEADER], &record(&one, 0), &record(&other, 1), &record(&one, 2)].concat();
    assert_eq!(why(read(&spliced, &ring("aa")).unwrap_err()), SealError::Changed(1));
}

#[test]
fn a_changed_place_in_a_file_that_was_not_closed_makes_no_hole() {
    let home = Home::new();
    let states = written(&home.path(), false);
    let bytes = fs::read(home.path()).unwrap();
    // The place of the second record: far away, and over the first.
    let at = HEADER + HEAD + 40 + TAG + 8;
    for (byte, to) in [(6, 0x10), (0, 0)] {
        let mut changed = bytes.clone();
        changed[at + byte] = to;
        fs::write(home.path(), &changed).unwrap();
        let mut sealed = SealedFile::open(file(&home.path()), &ring("aa")).unwrap();
        assert_eq!((sealed.is_whole(), sealed.size()), (false, 40));
        let mut read = Vec::new();
        let error = sealed.read_to_end(&mut read).unwrap_err();
        assert_eq!((why(error), &read), (SealError::Changed(1), &states[1]));
        assert_eq!(why(sealed.check().unwrap_err()), SealError::Changed(1));
        assert_eq!(fs::read(home.path()).unwrap(), changed, "looking changed it");
        sealed.write_all_at(b"more", 40).unwrap();
        sealed.close().unwrap();
        let mut sealed = SealedFile::open(file(&home.path()), &ring("aa")).unwrap();
        sealed.check().unwrap();
        assert_eq!(all(&mut sealed).unwrap(), [&states[1][..], b"more"].concat());
    }
}

#[test]
fn a_plain_file_stays_plain_and_a_sealed_one_needs_its_keys() {
    let home = Home::new();
    fs::write(home.path(), "RIFF").unwrap();
    let mut vessel = Vessel::open(file(&home.path()), Some(&ring("aa"))).unwrap();
    assert!(matches!(vessel, Vessel::Plain(_)));
    vessel.write_all_at(b"x", 4).unwrap();
    vessel.close().unwrap();
    assert_eq!(fs::read(home.path()).unwrap(), b"RIFFx");
    fs::remove_file(home.path()).unwrap();
    written(&home.path(), true);
    let refused = why(Vessel::open(file(&home.path()), None).unwrap_err());
    assert!(matches!(refused, SealError::UnknownKey(_)));
    // An old key stays in the file: what it sealed is read.
    let both = KeyRing::parse(format!("new:{}\nk:{}", "bb".repeat(32), "aa".repeat(32)).as_bytes());
    assert!(Vessel::open(file(&home.path()), Some(&both.unwrap())).is_ok());
}
