//! What was named on the command line, as one stream of frames.
//!
//! Law: files are read in the order given, a directory's in the order of their names, and a file
//! that cannot be read (further) does not keep the next one from being read.

use super::CaptureError;
use super::file::{CaptureFile, Record, cannot_open};
use crate::{engine::Frames, keylog::Text};
use orkbase::call::foresee::Seen;
use orkbase::packet::{Frame, LinkType};
use orkbase::time::Timestamp;
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

/// Frames looked for ahead, the current one included.
const AHEAD: usize = 24;
/// Places for them: a power of two, that the next one is found by a mask.
const RING: usize = AHEAD.next_power_of_two();

const NO_FRAME: Frame<'static> =
    Frame { at: Timestamp(0), link: LinkType::Ethernet, wire_len: 0, bytes: &[] };

/// Capture files that follow each other.
#[derive(Debug)]
pub struct CaptureSet {
    waiting: VecDeque<Source>,
    current: Option<CaptureFile>,
    /// Where the frame last advanced to lies, and those behind it that are in memory already: a ring.
    ring: [Record; RING],
    first: usize,
    found: usize,
    /// What was seen of those found ahead.
    seen: [Seen; RING],
    /// TLS keys that files brought.
    keys: Vec<Text>,
    /// Bytes of files that are done, frames likewise.
    bytes_before: u64,
    frames_before: u64,
    total: Option<u64>,
}

#[derive(Debug, Eq, PartialEq)]
enum Source {
    Stdin,
    File(PathBuf),
}

impl CaptureSet {
    /// Expands files, directories and `-` (standard input). Everything is looked up now, so that a
    /// wrong name is told before an hour of replay; nothing is opened yet.
    ///
    /// # Errors
    /// A name that does not exist, a directory with nothing to replay or with compressed captures,
    /// `-` twice.
    pub fn expand<P: AsRef<Path>>(arguments: &[P]) -> Result<Self, CaptureError> {
        let mut waiting = VecDeque::new();
        let mut total = Some(0_u64);
        for argument in arguments {
            let path = argument.as_ref();
            if path == Path::new("-") {
                if waiting.contains(&Source::Stdin) {
                    return Err(CaptureError::StdinTwice);
                }
                total = None;
                waiting.push_back(Source::Stdin);
                continue;
            }
            let found = fs::metadata(path)
                .map_err(|error| cannot_open(&path.display().to_string(), error))?;
            let files = if found.is_dir() { captures_in(path)? } else { vec![path.to_owned()] };
            for file in files {
                let metadata = fs::metadata(&file)
                    .map_err(|error| cannot_open(&file.display().to_string(), error))?;
                let length = metadata.is_file().then_some(metadata.len());
                total = total.zip(length).map(|(sum, length)| sum + length);
                waiting.push_back(Source::File(file));
            }
        }
        Ok(Self {
            waiting,
            current: None,
            ring: [Record::NONE; RING],
            first: 0,
            found: 0,
            seen: [Seen::NOTHING; RING],
            keys: Vec::new(),
            bytes_before: 0,
            frames_before: 0,
            total,
        })
    }

    /// The next frame of this file or the first of the next one; none when all are read.
    ///
    /// # Errors
    /// What [`CaptureFile`] says. Calling again goes on with the next file, so a caller may report
    /// the error (for `Truncated` as a warning) and go on.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        Ok(self.advance()?.then(|| self.frame()))
    }

    /// The first half of [`next_frame`](Self::next_frame): whether there is one more.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn advance(&mut self) -> Result<bool, CaptureError> {
        if self.found > 1 {
            (self.first, self.found) = ((self.first + 1) % RING, self.found - 1);
            return Ok(true);
        }
        self.step()
    }

    /// The next frame, when none was found ahead.
    fn step(&mut self) -> Result<bool, CaptureError> {
        self.found = 0;
        let next = match &mut self.current {
            Some(file) => file.next_record(),
            None => Ok(None),
        };
        match next {
            Ok(Some(record)) => {
                self.put(record);
                if self.current.as_ref().is_some_and(CaptureFile::has_keys) {
                    self.note_keys();
                }
                Ok(true)
            }
            Ok(None) => self.turn(),
            Err(error) => self.stumble(error),
        }
    }

    fn put(&mut self, record: Record) {
        if let Some(place) = self.seen.get_mut((self.first + self.found) % RING) {
            *place = Seen::NOTHING;
        }
        if let Some(place) = self.ring.get_mut((self.first + self.found) % RING) {
            *place = record;
            self.found += 1;
        }
    }

    /// A frame that will come soon, each once, as far as they are in memory already; ask until there is none.
    #[inline]
    pub fn look_ahead(&mut self) -> Option<Frame<'_>> {
        if self.found == AHEAD {
            return None;
        }
        let file = self.current.as_mut()?;
        let place = self.ring.get_mut((self.first + self.found) % RING)?;
        if !file.at_hand(place) {
            return None;
        }
        self.found += 1;
        if let Some(place) = self.seen.get_mut((self.first + self.found).wrapping_sub(1) % RING) {
            // Until it is noted.
            place.forget();
        }
        Some(file.frame(place))
    }

    /// The file has ended, or there is none: on to the first record of the next one that has any.
    #[cold]
    fn turn(&mut self) -> Result<bool, CaptureError> {
        loop {
            self.note_keys();
            self.leave();
            if !self.open_next()? {
                return Ok(false);
            }
            let next = self.current.as_mut().map_or(Ok(None), CaptureFile::next_record);
            match next {
                Ok(Some(record)) => {
                    self.put(record);
                    self.note_keys();
                    return Ok(true);
                }
                Ok(None) => {}
                Err(error) => return self.stumble(error),
            }
        }
    }

    #[cold]
    fn stumble(&mut self, error: CaptureError) -> Result<bool, CaptureError> {
        self.note_keys();
        self.leave();
        Err(error)
    }

    #[cold]
    fn note_keys(&mut self) {
        let keys = self.current.as_mut().and_then(CaptureFile::take_keys);
        self.keys.extend(keys);
    }

    /// The frame advanced to; an empty one before the first and behind the last.
    #[inline]
    #[must_use]
    pub fn frame(&self) -> Frame<'_> {
        let record = self.ring.get(self.first).filter(|_| self.found > 0);
        let frame = self.current.as_ref().zip(record);
        frame.map_or(NO_FRAME, |(file, record)| file.frame(record))
    }

    /// Whether there is something for [`take_keys`](Self::take_keys).
    #[must_use]
    pub const fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Lines of TLS key logs that the files advanced through brought with them.
    pub fn take_keys(&mut self) -> Vec<Text> {
        std::mem::take(&mut self.keys)
    }

    fn open_next(&mut self) -> Result<bool, CaptureError> {
        self.current = match self.waiting.pop_front() {
            None => return Ok(false),
            Some(Source::Stdin) => Some(CaptureFile::stdin()?),
            Some(Source::File(path)) => Some(CaptureFile::open(path)?),
        };
        Ok(true)
    }

    fn leave(&mut self) {
        if let Some(file) = self.current.take() {
            // A damaged file counts whole: its rest will not be read.
            self.bytes_before += file.total_bytes().unwrap_or(0).max(file.position());
            self.frames_before += file.frames();
        }
    }

    /// Name of the file being read.
    #[must_use]
    pub fn current_name(&self) -> Option<&str> {
        self.current.as_ref().map(CaptureFile::name)
    }

    /// Files not yet opened.
    #[must_use]
    pub fn files_waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Frames handed out so far.
    #[must_use]
    pub fn frames(&self) -> u64 {
        // Found, but not handed out yet.
        let ahead = self.found.saturating_sub(1) as u64;
        self.frames_before + self.current.as_ref().map_or(0, CaptureFile::frames) - ahead
    }

    /// How far the replay is, in bytes over all files.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.bytes_before + self.current.as_ref().map_or(0, CaptureFile::position)
    }

    /// Length of all files together; unknown with pipes or standard input among them.
    #[must_use]
    pub fn total_bytes(&self) -> Option<u64> {
        self.total
    }
}

impl Frames for CaptureSet {
    #[inline]
    fn next(&mut self) -> Option<(Frame<'_>, Seen)> {
        if self.found <= 1 {
            return None;
        }
        (self.first, self.found) = ((self.first + 1) % RING, self.found - 1);
        let seen = self.seen.get(self.first).copied()?;
        Some((self.frame(), seen))
    }

    #[inline]
    fn soon(&mut self) -> Option<Frame<'_>> {
        self.look_ahead()
    }

    #[inline]
    fn note(&mut self, seen: Seen) {
        if let Some(place) = self.seen.get_mut((self.first + self.found).wrapping_sub(1) % RING) {
            *place = seen;
        }
    }
}

/// The captures directly in a directory, by name.
fn captures_in(directory: &Path) -> Result<Vec<PathBuf>, CaptureError> {
    let name = || directory.display().to_string();
    let mut captures = Vec::new();
    for entry in fs::read_dir(directory).map_err(|error| cannot_open(&name(), error))? {
        let path = entry.map_err(|error| cannot_open(&name(), error))?.path();
        let ending =
            |path: &Path| path.extension().map(|text| text.to_string_lossy().to_ascii_lowercase());
        let is_capture = |path: &Path| {
            ending(path).is_some_and(|text| matches!(&*text, "pcap" | "pcapng" | "cap"))
        };
        let zipped = ending(&path).is_some_and(|text| text == "gz");
        if zipped && path.file_stem().is_some_and(|stem| is_capture(Path::new(stem))) {
            let path = path.display().to_string();
            return Err(CaptureError::Compressed { path, format: "gzip", command: "zcat" });
        }
        if is_capture(&path) && path.is_file() {
            captures.push(path);
        }
    }
    if captures.is_empty() {
        return Err(CaptureError::NothingToReplay { path: name() });
    }
    captures.sort();
    Ok(captures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::writer::PcapWriter;

    fn capture(payloads: &[&str]) -> Vec<u8> {
        let link = LinkType::Ethernet;
        let mut writer = PcapWriter::new(Vec::new(), link).unwrap();
        for payload in payloads {
            let bytes = payload.as_bytes();
            writer.write(&Frame { at: Timestamp(1), link, wire_len: 0, bytes }).unwrap();
        }
        writer.close().unwrap()
    }

    fn replay(set: &mut CaptureSet) -> String {
        let mut story = Vec::new();
        loop {
            match set.next_frame() {
                Ok(Some(frame)) => story.push(String::from_utf8_lossy(frame.bytes).into_owned()),
                Ok(None) => return story.join(" "),
                Err(CaptureError::Truncated { .. }) => story.push("(cut)".to_owned()),
                Err(CaptureError::Empty { .. }) => story.push("(empty)".to_owned()),
                Err(other) => story.push(format!("({other})")),
            }
        }
    }

    #[test]
    fn a_directory_is_its_captures_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
        put("b.pcapng", &capture(&["b1"]));
        put("a.PCAP", &capture(&["a1", "a2"]));
        put("c.cap", &capture(&["c1", "c2"])[..55]);
        put("d.pcap", b"");
        put("e.pcap", &capture(&["e1"]));
        put("notes.txt", b"not replayed");
        put("recordings.tar.gz", b"not replayed");
        fs::create_dir(directory.path().join("sub.pcap")).unwrap();

        let mut set = CaptureSet::expand(&[directory.path()]).unwrap();
        assert_eq!(set.files_waiting(), 5);
        assert_eq!(replay(&mut set), "a1 a2 b1 c1 (cut) (empty) e1");
        assert_eq!((set.frames(), Some(set.position())), (5, set.total_bytes()));

        put("z.pcap.gz", b"\x1f\x8b");
        let refused = CaptureSet::expand(&[directory.path()]).unwrap_err().to_string();
        assert!(refused.contains("zcat"), "{refused}");
    }

    /// A frame of UDP with this payload.
    fn udp(payload: u8) -> Vec<u8> {
        let mut bytes = vec![0; 12];
        bytes.extend([8, 0, 0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0]);
        bytes.extend([10, 0, 0, 1, 10, 0, 0, 2, 0x40, 0, 0x50, 0, 0, 9, 0, 0, payload]);
        bytes
    }

    #[test]
    fn what_was_seen_of_a_frame_comes_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.pcap");
        let link = LinkType::Ethernet;
        let mut writer = PcapWriter::new(Vec::new(), link).unwrap();
        for number in 0..100 {
            // Every seventh is nothing that could be seen; lengths tell frames apart.
            let mut bytes = if number % 7 == 3 { vec![0; 60] } else { udp(number) };
            bytes.resize(bytes.len() + usize::from(number), 0);
            writer.write(&Frame { at: Timestamp(1), link, wire_len: 0, bytes: &bytes }).unwrap();
        }
        fs::write(&path, writer.close().unwrap()).unwrap();
        let mut set = CaptureSet::expand(&[path]).unwrap();
        let mut tap = orkbase::tap::Tap::new(Default::default(), Default::default(), 1);
        let mut taken = 0;
        assert!(set.next().is_none(), "nothing was found yet");
        while set.advance().unwrap() {
            taken += 1;
            // What was found and not noted is not known either.
            while let Some(frame) = set.soon() {
                let (length, seen) = (frame.bytes.len(), tap.foresee(&frame));
                if length % 5 > 0 {
                    set.note(seen);
                }
            }
            while let Some((frame, seen)) = set.next() {
                let number = taken;
                let length = if number % 7 == 3 { 60 } else { 43 } + number;
                assert_eq!(frame.bytes.len(), length);
                let known = number % 7 != 3 && length % 5 > 0;
                assert_eq!(seen.payload(&frame).is_some(), known, "{number}");
                if let Some(payload) = seen.payload(&frame) {
                    assert_eq!(usize::from(payload[0]), number);
                }
                taken += 1;
                while let Some(frame) = set.soon() {
                    let (length, seen) = (frame.bytes.len(), tap.foresee(&frame));
                    if length % 5 > 0 {
                        set.note(seen);
                    }
                }
            }
        }
        assert_eq!((taken, set.frames()), (100, 100));
    }

    /// Frames, errors and keys as they come, and what the numbers say meanwhile.
    fn told(path: &Path, ahead: bool) -> Vec<String> {
        let mut set = CaptureSet::expand(&[path]).unwrap();
        let mut story = Vec::new();
        loop {
            let frame = match set.advance() {
                Ok(true) => format!("{:?}", set.frame()),
                Ok(false) => return story,
                Err(error) => error.to_string(),
            };
            story.push(format!("{} {frame} {:?}", set.frames(), set.take_keys()));
            while ahead && set.look_ahead().is_some() {}
        }
    }

    #[test]
    fn looking_ahead_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.pcap");
        let pcaps = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps");
        for name in ["two_calls.pcap", "vlan.pcap", "tls_cbc.pcapng"] {
            let whole = fs::read(pcaps.join(name)).unwrap();
            fs::write(&path, &whole).unwrap();
            assert!(told(&path, true).len() > 20, "{name}");
            assert_eq!(told(&path, true), told(&path, false), "{name}");
            // Cut, and with a wrong byte, at places all over the file.
            for at in (24..whole.len()).step_by(whole.len() / 50) {
                fs::write(&path, &whole[..at]).unwrap();
                assert_eq!(told(&path, true), told(&path, false), "{name} cut at {at}");
                let mut wrong = whole.clone();
                wrong[at] ^= 0x55;
                fs::write(&path, &wrong).unwrap();
                assert_eq!(told(&path, true), told(&path, false), "{name} wrong at {at}");
            }
        }
    }

    #[test]
    fn mistakes_are_told_before_the_replay() {
        let directory = tempfile::tempdir().unwrap();
        let check = |arguments: &[&Path], expected: &str| {
            let text = CaptureSet::expand(arguments).unwrap_err().to_string();
            assert!(text.contains(expected), "{text}");
        };
        check(&[Path::new("-"), Path::new("-")], "named twice");
        check(&[directory.path()], "no *.pcap");
        check(&[&directory.path().join("gone.pcap")], "there is no file");
        assert_eq!(CaptureSet::expand(&["-"]).unwrap().total_bytes(), None);
    }
}
