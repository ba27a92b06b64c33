//! The packets of a call, in a pcapng file beside its tape.
//!
//! Law: it has the tape's name with `.pcapng`, and `.part` behind that while it is written. It gets
//! its name before the tape gets its own, so that a finished tape never waits for its packets. Blocks
//! are appended: whatever was torn off its end is cut to the last whole block.

use super::{
    disk,
    file::{damaged_of, is_doomed, part_of},
    recover::doomed,
    sync::Synced,
    worker::relative,
};
use orkbase::{message::tape::TapeMessage, packet::pcapng};
use orkvault::{keys::KeyRing, names, sealed::Vessel};
use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Component, Path, PathBuf},
    sync::Arc,
};

/// Its extension.
const EXTENSION: &str = "pcapng";
/// The tag that names it.
pub const TAG: &str = "rawfile";
/// Read at once while looking for the last whole block.
const PIECE: u64 = 1 << 20;

/// A file that is written.
#[derive(Debug)]
pub struct PacketFile {
    file: Vessel<Arc<Synced>>,
    path: PathBuf,
    /// Bytes of whole blocks in it, and packets.
    bytes: u64,
    packets: u64,
    /// The first thing that went wrong.
    failed: Option<io::Error>,
}

impl PacketFile {
    /// Creates the file beside the tape of this name.
    ///
    /// # Errors
    /// When it cannot be made, or one of the name is there already.
    pub fn create(tape: &Path, comment: &str, mode: u32) -> io::Result<Self> {
        Self::create_with(tape, comment, mode, None)
    }

    /// The same, sealed if there are keys.
    ///
    /// # Errors
    /// As for [`PacketFile::create`].
    pub fn create_with(
        tape: &Path,
        comment: &str,
        mode: u32,
        keys: Option<&KeyRing>,
    ) -> io::Result<Self> {
        let path = beside(tape);
        let part = part_of(&path);
        if path.exists() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = Arc::new(Synced::new(disk::create(&part, mode)?, part.clone()));
        let mut head = Vec::new();
        pcapng::begin(&mut head, comment);
        let begun = Vessel::create(file, keys).and_then(|mut file| {
            file.write_all_at(&head, 0)?;
            Ok(file)
        });
        // Nothing can be told by an empty file.
        let file = begun.inspect_err(|_| drop(fs::remove_file(&part)))?;
        let bytes = u64::try_from(head.len()).unwrap_or(0);
        Ok(Self { file, path, bytes, packets: 0, failed: None })
    }

    /// Appends blocks with so many packets; false when they could not be written. Those that come later are
    /// tried again.
    pub fn write(&mut self, blocks: &[u8], packets: u64) -> bool {
        match self.file.write_all_at(blocks, self.bytes) {
            Ok(()) => {
                self.bytes += u64::try_from(blocks.len()).unwrap_or(0);
                self.packets += packets;
                true
            }
            Err(error) => {
                // What was written of it may be half a block; the next one, or the end, takes its place.
                drop(self.file.set_size(self.bytes));
                self.failed.get_or_insert(error);
                false
            }
        }
    }

    /// What went wrong first.
    #[must_use]
    pub const fn failure(&self) -> Option<&io::Error> {
        self.failed.as_ref()
    }

    /// Packets in it.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.packets
    }

    /// Where it will be.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file itself, for whoever forces it to the disk.
    #[must_use]
    pub const fn file(&self) -> &Arc<Synced> {
        self.file.store()
    }

    /// Gives the file its name; to be called before the tape gets its own.
    ///
    /// # Errors
    /// When the disk refuses; the file keeps its `.part` name, but for one that cannot be forced to the disk,
    /// which is damaged.
    pub fn finish(&mut self, sync: bool) -> io::Result<PathBuf> {
        if self.failed.is_some() {
            self.file.set_size(self.bytes)?;
        }
        self.file.close()?;
        let file = self.file.store();
        if sync && let Err(error) = file.sync_data() {
            if let Err(error) = file.rename(&damaged_of(&self.path)) {
                tracing::error!(path = %self.path.display(), %error, "damaged packets keep their name");
            }
            return Err(error);
        }
        file.rename(&self.path)?;
        Ok(self.path.clone())
    }

    /// Removes it: its tape is not kept.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove(&self) -> io::Result<()> {
        self.file.store().remove()
    }
}

/// The name of the packets that belong to a tape of this name.
#[must_use]
pub fn beside(tape: &Path) -> PathBuf {
    let mut name = stem(tape).into_os_string();
    name.push(".");
    name.push(EXTENSION);
    let path = PathBuf::from(name);
    let own = if is(tape, "part") { tape.with_extension("") } else { tape.to_owned() };
    if names::is_sealed(&own) { names::sealed(&path) } else { path }
}

fn is(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|own| own == extension)
}

/// A tape's name without what stands for its side, its format and its state.
pub(super) fn stem(tape: &Path) -> PathBuf {
    let mut stem = tape.to_owned();
    if is(&stem, "part") {
        stem.set_extension("");
    }
    if names::is_sealed(&stem) {
        stem.set_extension("");
    }
    stem.set_extension("");
    for word in ["local", "remote", "original"] {
        if stem.extension().is_some_and(|extension| extension == word) {
            stem.set_extension("");
        }
    }
    stem
}

/// Whether a file is one of ours that was not finished.
#[must_use]
pub fn is_part(path: &Path) -> bool {
    let mut own = path.with_extension("");
    if is_doomed(path) {
        own.set_extension("");
    }
    if names::is_sealed(&own) {
        own.set_extension("");
    }
    is(path, "part") && is(&own, EXTENSION)
}

/// The packets that a message names. What is no name of packets below the audio folder is none: tags are also
/// put on by others.
#[must_use]
pub fn named(message: &TapeMessage) -> Option<&str> {
    let name = message.tags.get(TAG)?;
    let path = Path::new(name);
    let below = path.components().all(|part| matches!(part, Component::Normal(_)));
    let own = names::plain(name);
    (below && is(Path::new(own), EXTENSION)).then_some(name)
}

/// Names the packets of a tape in its message, if there are any.
pub fn tag(message: &mut TapeMessage, root: &Path, tape: &Path) {
    let path = beside(tape);
    if path.exists() {
        message.tags.insert(TAG.to_owned(), relative(root, &path));
    }
}

/// Moves the packets that `message` names to where they belong beside `tape`.
///
/// # Errors
/// When the disk refuses.
pub fn follow(message: &mut TapeMessage, root: &Path, tape: &Path) -> io::Result<()> {
    let Some(now) = named(message).map(|name| root.join(name)) else { return Ok(()) };
    let wanted = beside(tape);
    if now != wanted {
        match fs::rename(&now, &wanted) {
            Ok(()) => {}
            // A start that was killed here had moved it.
            Err(error) if error.kind() == io::ErrorKind::NotFound && wanted.exists() => {}
            Err(error) => return Err(error),
        }
        message.tags.insert(TAG.to_owned(), relative(root, &wanted));
    }
    Ok(())
}

/// Finishes what a killed process left, as `X.damaged` if a sync of it failed; `None` when there was no packet in
/// it and it was removed.
///
/// # Errors
/// When the disk refuses.
pub fn recover(part: &Path, keys: Option<&KeyRing>) -> io::Result<Option<PathBuf>> {
    if trim(part, keys)? == 0 {
        fs::remove_file(part)?;
        return Ok(None);
    }
    let path = part.with_extension("");
    disk::rename(part, &path)?;
    if let Some(folder) = path.parent() {
        disk::sync_folder(folder)?;
    }
    Ok(Some(path))
}

/// Cuts a file to its last whole block; gives the packets in it.
fn trim(part: &Path, keys: Option<&KeyRing>) -> io::Result<u64> {
    let file = OpenOptions::new().read(true).write(true).open(part)?;
    let mut file = Vessel::recover(file, keys)?;
    file.seek(SeekFrom::Start(0))?;
    let (mut end, mut packets) = (0u64, 0);
    let mut held = Vec::new();
    loop {
        let read = io::Read::by_ref(&mut file).take(PIECE).read_to_end(&mut held)?;
        let (whole, count) = pcapng::whole(&held);
        end += u64::try_from(whole).unwrap_or(0);
        packets += count;
        held.drain(..whole);
        if read == 0 || whole == 0 {
            break;
        }
    }
    file.set_size(end)?;
    file.close()?;
    if !is_doomed(part) {
        disk::sync_data(file.store()).or_else(|error| doomed(part, error))?;
    }
    Ok(packets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use orkbase::{packet::pcapng::Carrier, time::Timestamp};

    fn block(size: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let ends = ("10.0.0.1:4000".parse().unwrap(), "10.0.0.2:4002".parse().unwrap());
        pcapng::packet(&mut out, Timestamp(1), ends.0, ends.1, Carrier::Udp, &vec![7; size]);
        out
    }

    #[test]
    fn names_lie_beside_their_tapes() {
        for tape in ["/a/b.c.wav", "/a/b.c.wav.part", "/a/b.c.local.opus", "/a/b.c.original.wav"] {
            assert_eq!(beside(Path::new(tape)), Path::new("/a/b.c.pcapng"), "{tape}");
        }
        for tape in ["/a/b.wav.sealed", "/a/b.local.opus.sealed.part"] {
            assert_eq!(beside(Path::new(tape)), Path::new("/a/b.pcapng.sealed"), "{tape}");
        }
        assert!(is_part(Path::new("/a/b.pcapng.sealed.part")));
        assert!(is_part(Path::new("/a/b.pcapng.part")) && !is_part(Path::new("/a/b.wav.part")));
        assert!(!is_part(Path::new("/a/b.pcapng")));
        for name in ["/a/b.pcapng", "/a/b.pcapng.sealed"] {
            let damaged = crate::tape::file::doomed_of(&part_of(Path::new(name)));
            assert!(is_part(&damaged) && is_doomed(&damaged), "{damaged:?}");
        }
    }

    #[test]
    fn packets_that_a_tag_names_elsewhere_are_none() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("audio");
        fs::create_dir(&root).unwrap();
        fs::write(home.path().join("x.pcapng"), "foreign").unwrap();
        let text = b"recid=R&stage=ready&captureport=&timestamp=&filename=&";
        let pairs = orkbase::message::url::decode(text).unwrap();
        let mut message = TapeMessage::from_pairs(&pairs).unwrap();
        let absolute = home.path().join("x.pcapng").display().to_string();
        for name in ["../x.pcapng", &absolute, "a/../../x.pcapng", "x.wav", "", ".."] {
            message.tags.insert(TAG.to_owned(), name.to_owned());
            assert_eq!(named(&message), None, "{name}");
            follow(&mut message, &root, &root.join("t.wav")).unwrap();
            assert!(home.path().join("x.pcapng").exists() && !root.join("t.pcapng").exists());
        }
        for name in ["x.pcapng", "2026/11/x.pcapng.sealed"] {
            message.tags.insert(TAG.to_owned(), name.to_owned());
            assert_eq!(named(&message), Some(name));
        }
    }

    #[test]
    fn a_torn_file_is_good_up_to_its_last_whole_block() {
        let home = tempfile::tempdir().unwrap();
        let tape = home.path().join("t.wav");
        let mut file = PacketFile::create(&tape, "a call", 0o640).unwrap();
        for size in [100, 60_000, 1_000] {
            for _ in 0..40 {
                assert!(file.write(&block(size), 1));
            }
        }
        assert_eq!(
            PacketFile::create(&tape, "", 0o640).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        let part = part_of(&beside(&tape));
        let length = fs::metadata(&part).unwrap().len();
        drop(file);
        OpenOptions::new().write(true).open(&part).unwrap().set_len(length - 3).unwrap();
        let path = recover(&part, None).unwrap().unwrap();
        assert_eq!((path, part.exists()), (beside(&tape), false));
        let bytes = fs::read(beside(&tape)).unwrap();
        assert_eq!(pcapng::whole(&bytes), (bytes.len(), 119));
        let last = u64::try_from(block(1_000).len()).unwrap();
        assert_eq!(u64::try_from(bytes.len()).unwrap(), length - last);
    }

    #[test]
    fn a_file_without_packets_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let file = PacketFile::create(&home.path().join("t.wav"), "", 0o640).unwrap();
        let part = file.file().place();
        drop(file);
        assert_eq!(recover(&part, None).unwrap(), None);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
