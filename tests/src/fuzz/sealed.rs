//! Sealed files and the key file: whatever becomes of the bytes on the disk, what is opened is what was
//! sealed, or nothing is.

use super::{disk::Disk, input::Input};
use orkvault::{
    keys::KeyRing,
    sealed::{SealError, SealedFile},
};
use std::io;

/// The most plain bytes of a record.
const RECORD: usize = 64 * 1024;
/// Bytes before the first record.
const HEADER: usize = 100;
const KEYS: &str = "new:1111111111111111111111111111111111111111111111111111111111111111\n\
    old:2222222222222222222222222222222222222222222222222222222222222222";
const OTHERS: [&str; 2] = [
    "new:3333333333333333333333333333333333333333333333333333333333333333",
    "other:1111111111111111111111111111111111111111111111111111111111111111",
];

/// Input: a byte; then a key file, or what is written to a sealed file and what becomes of its bytes.
pub(super) fn container(data: &[u8]) {
    let mut input = Input::new(data);
    let what = input.byte();
    if what & 1 == 1 {
        return key_file(input.take(usize::MAX));
    }
    let disk = Disk::default();
    let Some(ring) = ring(KEYS) else { return };
    let Ok(mut file) = SealedFile::create(&disk, &ring) else { return };
    let (mut model, mut refused) = (Model::default(), false);
    while !input.is_empty() {
        let step = input.byte();
        match step & 7 {
            // Written; the disk may be full, or the writer killed, after so many bytes.
            0..=3 => {
                let bytes = pattern(&mut input);
                let offset = u64::from(input.number::<u16>());
                let full = (step & 0x18 == 0x18).then(|| usize::from(input.number::<u16>()));
                disk.refuse_after(full);
                let done = file.write_all_at(&bytes, offset);
                disk.refuse_after(None);
                assert!(done.is_ok() || full.is_some(), "{done:?}");
                refused |= done.is_err();
                if done.is_ok() {
                    model.write(offset, &bytes);
                }
            }
            4 => {
                let size = u64::from(input.number::<u16>());
                if file.set_size(size).is_ok() {
                    model.size = size;
                }
            }
            5 => {
                let full = (step & 0x18 == 0x18).then(|| usize::from(input.byte()));
                disk.refuse_after(full);
                let done = file.close();
                disk.refuse_after(None);
                assert!(done.is_ok() || full.is_some(), "{done:?}");
                refused |= done.is_err();
                if done.is_ok() {
                    model.closed.push(model.now());
                }
            }
            // Killed, and found again.
            6 => {
                let opened = if step & 8 == 0 && !refused {
                    SealedFile::open(&disk, &ring)
                } else {
                    SealedFile::recover(&disk, &ring)
                };
                assert!(opened.is_ok(), "{opened:?} of what we wrote");
                let Ok(again) = opened else { return };
                file = again;
                if !file.is_whole() {
                    model.size = model.extent();
                }
            }
            _ => break,
        }
        assert_eq!(file.size(), model.size);
    }
    let read = all(&mut file, model.most());
    assert!(read.1.is_none() && read.0 == model.now(), "{:?}", read.1);
    drop(file);
    let before = disk.bytes();
    for other in OTHERS.into_iter().filter_map(self::ring) {
        assert!(SealedFile::open(&disk, &other).is_err(), "opened without its key");
    }
    tamper(&disk, &mut input);
    // What was torn may read like a record that was changed.
    judge(&disk, &ring, &model, disk.bytes() == before && !refused);
}

/// What was written.
#[derive(Default)]
struct Model {
    records: Vec<(u64, Vec<u8>)>,
    size: u64,
    /// All that was there whenever it was closed.
    closed: Vec<Vec<u8>>,
}

impl Model {
    fn write(&mut self, mut offset: u64, bytes: &[u8]) {
        for piece in bytes.chunks(RECORD) {
            self.records.push((offset, piece.to_vec()));
            offset += wide(piece.len());
            self.size = self.size.max(offset);
        }
    }

    /// Where the last byte was written to.
    fn extent(&self) -> u64 {
        self.records.iter().map(|(offset, bytes)| offset + wide(bytes.len())).max().unwrap_or(0)
    }

    /// The first so many records.
    fn plain(&self, count: usize) -> Vec<u8> {
        let mut plain = Vec::new();
        for (offset, bytes) in self.records.iter().take(count) {
            let at = usize::try_from(*offset).unwrap_or(usize::MAX);
            plain.resize(plain.len().max(at + bytes.len()), 0);
            if let Some(room) = plain.get_mut(at..at + bytes.len()) {
                room.copy_from_slice(bytes);
            }
        }
        plain
    }

    fn now(&self) -> Vec<u8> {
        let mut plain = self.plain(usize::MAX);
        plain.resize(usize::try_from(self.size).unwrap_or(0), 0);
        plain
    }

    /// No state of it had more bytes.
    fn most(&self) -> usize {
        let closed = self.closed.iter().map(Vec::len).max().unwrap_or(0);
        usize::try_from(self.extent().max(self.size)).unwrap_or(0).max(closed)
    }

    /// Whether this is what it once was; of a closed file, as far as it was read.
    fn was(&self, bytes: &[u8], whole: bool, ended: bool) -> bool {
        let fits = |state: &[u8]| if ended { state == bytes } else { state.starts_with(bytes) };
        if whole {
            return self.closed.iter().any(|state| fits(state));
        }
        (0..=self.records.len()).any(|count| self.plain(count) == bytes)
    }
}

/// Bytes are changed, taken away, put in from elsewhere.
fn tamper(disk: &Disk, input: &mut Input<'_>) {
    let mut bytes = disk.bytes();
    while !input.is_empty() {
        let what = input.byte();
        let place = |input: &mut Input<'_>, most: usize| {
            let at = usize::try_from(input.number::<u32>()).unwrap_or(0) % (most + 1);
            // Counted from either end: both have something to tell.
            if what & 8 == 0 { at } else { most - at }
        };
        let at = place(input, bytes.len());
        match what & 7 {
            0 | 1 => {
                let change = input.byte();
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= change;
                }
            }
            2 => bytes.truncate(at),
            3 => {
                let piece = input.chunk();
                bytes.splice(at..at, piece.iter().copied());
            }
            // One piece of it over, or beside, another.
            4 | 5 => {
                let from = place(input, bytes.len());
                let length = usize::from(input.number::<u16>());
                let end = from.saturating_add(length).min(bytes.len());
                let piece = bytes.get(from..end).unwrap_or_default().to_vec();
                let over = if what & 7 == 4 { (at + piece.len()).min(bytes.len()) } else { at };
                bytes.splice(at..over, piece);
            }
            // A record that nobody sealed.
            6 => {
                let (kind, length, offset) =
                    (input.byte() & 1, input.number::<u32>(), input.number::<u64>());
                let length = if what & 16 == 0 { length % 300 } else { length };
                let mut forged = vec![kind, 0, 0, 0];
                forged.extend(length.to_le_bytes());
                forged.extend(offset.to_le_bytes());
                let body = usize::try_from(length).unwrap_or(0).min(300);
                forged.resize(forged.len() + 12 + body + 16, what);
                bytes.splice(at..at, forged);
            }
            _ => drop(bytes.drain(at..(at + 16).min(bytes.len()))),
        }
        bytes.truncate(1 << 20);
    }
    disk.replace(bytes);
}

fn judge(disk: &Disk, ring: &KeyRing, model: &Model, unchanged: bool) {
    match SealedFile::open(disk, ring) {
        Ok(mut file) => {
            let whole = file.is_whole();
            let (read, error) = all(&mut file, model.most());
            assert!(model.was(&read, whole, error.is_none()), "it opens as something else");
            assert!(error.is_none() || file.check().is_err());
            assert!(!unchanged || error.is_none());
        }
        Err(error) => {
            named(&error);
            assert!(!unchanged, "{error}");
        }
    }
    let mut file = match SealedFile::recover(disk, ring) {
        Ok(file) => file,
        Err(error) => return named(&error),
    };
    let whole = file.is_whole();
    let (read, error) = all(&mut file, model.most());
    assert!(model.was(&read, whole, error.is_none()), "it is recovered as something else");
    assert!(whole || error.is_none(), "{error:?} after a recovery");
    if whole {
        return;
    }
    drop(file);
    let bytes = disk.bytes();
    let again = SealedFile::recover(disk, ring);
    assert!(again.is_ok() && disk.bytes() == bytes, "a recovery was not the last");
    let Ok(mut again) = again else { return };
    assert!(all(&mut again, model.most()).0 == read);
    // It goes on as if nothing had been.
    assert!(again.write_all_at(b"more", 7).is_ok() && again.close().is_ok());
    let mut now = read;
    now.resize(now.len().max(11), 0);
    now.splice(7..11, *b"more");
    let opened = SealedFile::open(disk, ring);
    assert!(opened.as_ref().is_ok_and(SealedFile::is_whole), "{opened:?}");
    if let Ok(mut file) = opened {
        let most = now.len();
        assert!(all(&mut file, most).0 == now);
    }
}

/// All that can be read, and why it ended.
fn all(file: &mut SealedFile<&Disk>, most: usize) -> (Vec<u8>, Option<io::Error>) {
    let mut read = Vec::new();
    let mut piece = [0; 5_000];
    loop {
        match file.read_at(&mut piece, wide(read.len())) {
            Ok(0) => return (read, None),
            Ok(count) => read.extend(piece.iter().take(count)),
            Err(error) => {
                named(&error);
                return (read, Some(error));
            }
        }
        assert!(read.len() <= most, "more is read than was ever written");
    }
}

/// Damage is told as what it is.
fn named(error: &io::Error) {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<SealError>());
    assert!(cause.is_some() && error.kind() == io::ErrorKind::InvalidData, "{error:?}");
    assert!(!error.to_string().chars().any(char::is_control));
}

/// So many bytes that are not alike.
fn pattern(input: &mut Input<'_>) -> Vec<u8> {
    let (seed, length) = (input.byte(), usize::from(input.byte()) + 1);
    let length = if seed & 15 == 15 { length * 300 } else { length };
    (0..length).map(|n| seed.wrapping_add((n * 7 + n / 251).to_le_bytes()[0])).collect()
}

fn ring(text: &str) -> Option<KeyRing> {
    let ring = KeyRing::parse(text.as_bytes());
    assert!(ring.is_ok(), "keys of ours");
    ring.ok()
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// What is taken for keys seals and opens; nothing of them is shown.
fn key_file(bytes: &[u8]) {
    let ring = match KeyRing::parse(bytes) {
        Ok(ring) => ring,
        Err(why) => {
            assert!(!why.chars().any(char::is_control), "{why:?}");
            return;
        }
    };
    let newest = ring.newest().map(|key| *key.id());
    assert!(newest.is_some_and(|id| ring.find(&id).is_some()), "a ring without a key");
    let shown = format!("{ring:?}");
    assert!(shown.starts_with("KeyRing(") && shown.len() < 40, "{shown}");
    let disk = Disk::default();
    let sealed = SealedFile::create(&disk, &ring)
        .and_then(|mut file| file.write_all_at(b"sound", 0).and_then(|()| file.close()));
    assert!(sealed.is_ok(), "{sealed:?}");
    assert!(disk.bytes().len() > HEADER);
    let again = KeyRing::parse(bytes).map_err(io::Error::other);
    let opened = again.and_then(|ring| SealedFile::open(&disk, &ring));
    assert!(opened.is_ok_and(|mut file| all(&mut file, 5).0 == b"sound"));
}
