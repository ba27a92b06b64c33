//! The TLS key log that a server or phone writes (`SSLKEYLOGFILE`): read whole for a replay, followed as it
//! grows by the recorder.
//!
//! Law: the engine never waits for this file; a thread of its own reads it and hands over whole lines. What was
//! read is wiped from memory.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::Duration,
};
use zeroize::Zeroizing;

/// How often the file is looked at.
const POLL: Duration = Duration::from_millis(200);
/// Texts under way to the engine; the thread waits beyond that.
const TEXTS: usize = 16;
/// Bytes read at once; no line is longer.
const PIECE: usize = 64 << 10;

/// Lines of a key log.
pub type Text = Zeroizing<String>;

/// Gives every line of an opened key log to `take`, some at a time.
///
/// # Errors
/// When it cannot be read.
pub fn read(file: File, take: &mut dyn FnMut(&str)) -> io::Result<()> {
    let mut open = Open::new(file)?;
    while let Some(text) = open.next()? {
        take(&text);
    }
    // At rest, a last line without its end is whole.
    take(&String::from_utf8_lossy(&open.begun));
    Ok(())
}

/// A key log being followed; the thread ends when this is dropped.
#[derive(Debug)]
pub struct Follower {
    texts: Receiver<Text>,
    _running: SyncSender<()>,
}

impl Follower {
    /// Starts to follow a file, which need not exist yet.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(path: PathBuf) -> io::Result<Self> {
        let (text_in, texts) = sync_channel(TEXTS);
        let (running, stopped) = sync_channel::<()>(1);
        let mut tail = Tail::new(path);
        thread::Builder::new().name("key-log".to_owned()).spawn(move || {
            loop {
                tail.poll(&mut |text| text_in.send(text).is_ok());
                match stopped.recv_timeout(POLL) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(Self { texts, _running: running })
    }

    /// The next lines, if there are any.
    #[must_use]
    pub fn next(&self) -> Option<Text> {
        self.texts.try_recv().ok()
    }
}

/// A file that others append to, cut off, replace or remove.
struct Tail {
    path: PathBuf,
    open: Option<Open>,
    /// Why it was not read the last time; told when it changes.
    trouble: Option<io::ErrorKind>,
}

struct Open {
    file: File,
    /// Which file it is: a new one of the same name is another.
    id: (u64, u64),
    position: u64,
    /// A line that has not ended yet.
    begun: Zeroizing<Vec<u8>>,
}

impl Tail {
    fn new(path: PathBuf) -> Self {
        Self { path, open: None, trouble: None }
    }

    /// Gives what is new to `give`, until that refuses.
    fn poll(&mut self, give: &mut dyn FnMut(Text) -> bool) {
        match self.read(give) {
            Ok(()) => self.trouble = None,
            Err(error) => {
                if self.trouble.replace(error.kind()) == Some(error.kind()) {
                    return;
                }
                let path = self.path.display();
                if error.kind() == io::ErrorKind::NotFound {
                    tracing::warn!(%path, "the key log is not there yet; waiting for it");
                } else {
                    tracing::error!(%path, %error, "cannot read the key log; trying again");
                }
            }
        }
    }

    fn read(&mut self, give: &mut dyn FnMut(Text) -> bool) -> io::Result<()> {
        let named = id(&self.path);
        if let Some(open) = self.open.as_mut() {
            let truncated = open.file.metadata()?.len() < open.position;
            if truncated {
                tracing::info!(path = %self.path.display(), "the key log was cut off; reading it anew");
                open.rewind()?;
            }
            while let Some(text) = open.next()? {
                if !give(text) {
                    return Ok(());
                }
            }
            if named.as_ref().is_ok_and(|named| *named == open.id) {
                return Ok(());
            }
            // Renamed or removed: what it still held was read just now.
            self.open = None;
        }
        named?;
        let open = self.open.insert(Open::new(File::open(&self.path)?)?);
        tracing::info!(path = %self.path.display(), "reading TLS keys");
        while let Some(text) = open.next()? {
            if !give(text) {
                break;
            }
        }
        Ok(())
    }
}

fn id(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

impl Open {
    fn new(file: File) -> io::Result<Self> {
        let found = file.metadata()?;
        let id = (found.dev(), found.ino());
        Ok(Self { file, id, position: 0, begun: Zeroizing::default() })
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.position = 0;
        self.begun = Zeroizing::default();
        self.file.seek(SeekFrom::Start(0)).map(drop)
    }

    /// The next lines that are whole.
    fn next(&mut self) -> io::Result<Option<Text>> {
        loop {
            let mut piece = Zeroizing::new(vec![0; PIECE]);
            let length = match self.file.read(&mut piece) {
                Ok(0) => return Ok(None),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.position = self.position.saturating_add(u64::try_from(length).unwrap_or(0));
            let piece = piece.get(..length).unwrap_or_default();
            let Some(end) = piece.iter().rposition(|byte| *byte == b'\n') else {
                if self.begun.len() < PIECE {
                    self.begun = joined(&self.begun, piece);
                } else {
                    tracing::warn!("a line of the key log is too long and is left out");
                    self.begun = Zeroizing::default();
                }
                continue;
            };
            let (lines, begun) = piece.split_at_checked(end + 1).unwrap_or((piece, &[]));
            let lines = joined(&self.begun, lines);
            self.begun = Zeroizing::new(begun.to_vec());
            return Ok(Some(Zeroizing::new(String::from_utf8_lossy(&lines).into_owned())));
        }
    }
}

/// Both, in a buffer that is wiped; growing one would leave copies behind.
fn joined(one: &[u8], other: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([one, other].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn said(tail: &mut Tail) -> String {
        let mut said = String::new();
        tail.poll(&mut |text| {
            said.push_str(&text);
            true
        });
        said
    }

    #[test]
    fn a_file_is_followed_through_all_that_happens_to_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("keys");
        let mut tail = Tail::new(path.clone());
        assert_eq!(said(&mut tail), "");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"one\ntw").unwrap();
        assert_eq!(said(&mut tail), "one\n");
        file.write_all(b"o\n").unwrap();
        assert_eq!((said(&mut tail), said(&mut tail)), ("two\n".to_owned(), String::new()));
        // Cut off and written anew.
        fs::write(&path, "3\n").unwrap();
        assert_eq!(said(&mut tail), "3\n");
        // Rotated: the old file's last words first.
        let mut file = File::options().append(true).open(&path).unwrap();
        fs::rename(&path, home.path().join("keys.1")).unwrap();
        file.write_all(b"four\n").unwrap();
        fs::write(&path, "five\n").unwrap();
        assert_eq!(said(&mut tail), "four\nfive\n");
        fs::remove_file(&path).unwrap();
        assert_eq!(said(&mut tail), "");
        fs::write(&path, "six\n").unwrap();
        assert_eq!(said(&mut tail), "six\n");
    }

    #[test]
    fn the_whole_file_is_read_whatever_its_lines() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("keys");
        let text = format!("{}\n{}\nlast", "a".repeat(1_000).repeat(90), "b\n".repeat(50_000));
        fs::write(&path, &text).unwrap();
        let mut all = String::new();
        read(File::open(&path).unwrap(), &mut |text| all.push_str(text)).unwrap();
        assert_eq!(all, text);
        fs::write(&path, "x".repeat(5 * PIECE)).unwrap();
        let mut most = 0;
        read(File::open(&path).unwrap(), &mut |text| most = most.max(text.len())).unwrap();
        assert!(most <= 2 * PIECE);
    }

    #[test]
    fn a_follower_hands_over_and_ends() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("keys");
        let follower = Follower::start(path.clone()).unwrap();
        fs::write(&path, "one\n").unwrap();
        let text = (0..500).find_map(|_| {
            thread::sleep(Duration::from_millis(10));
            follower.next()
        });
        assert_eq!(text.as_deref().map(String::as_str), Some("one\n"));
    }
}
