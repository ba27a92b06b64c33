//! One tape on the disk while it is being made.

use super::{
    disk,
    sync::Synced,
    wav::{self, Extent, Info, Layout},
};
use orkbase::audio::tape::{Frame, PcmSink};
use orkvault::{
    keys::KeyRing,
    sealed::{Store, Vessel},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

#[cfg(target_endian = "big")]
compile_error!("WAV samples are little-endian and are written as they lie in memory");

/// The header is brought up to date after this much audio, in bytes: five seconds of stereo.
const REFRESH: u64 = 160_000;

/// A tape that may be written to. What the disk refuses is missing from it, as silence in its place; what
/// comes later is written as soon as the disk takes it.
#[derive(Debug)]
pub struct TapeFile {
    file: Vessel<Arc<Synced>>,
    path: PathBuf,
    layout: Layout,
    header_bytes: usize,
    /// Bytes of audio in the file.
    data_bytes: u64,
    /// Bytes of audio that the header tells of.
    told_bytes: u64,
    /// The first thing that went wrong.
    failed: Option<io::Error>,
    /// The last thing asked of the disk was refused, and why.
    refused: Option<io::Error>,
    /// Frames that could not be written, first and behind last.
    missing: Missing,
    mixed: Vec<i16>,
    /// Beyond this size the file is RF64.
    limit: u64,
}

impl TapeFile {
    /// Creates `<path>.part` and its folders; `path` names the finished file.
    ///
    /// # Errors
    /// When the folder or the file cannot be made; an old part of the same name is an error too.
    pub fn create(path: &Path, layout: Layout, info: &Info<'_>, mode: u32) -> io::Result<Self> {
        Self::create_with(path, layout, info, mode, None)
    }

    /// The same, sealed if there are keys.
    ///
    /// # Errors
    /// As for [`TapeFile::create`].
    pub fn create_with(
        path: &Path,
        layout: Layout,
        info: &Info<'_>,
        mode: u32,
        keys: Option<&KeyRing>,
    ) -> io::Result<Self> {
        let part = part_of(path);
        let open = || disk::create(&part, mode);
        let file = open().or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            fs::create_dir_all(path.parent().unwrap_or(path))?;
            open()
        })?;
        let header = wav::header(layout, info);
        let file = Arc::new(Synced::new(file, part.clone()));
        let begun = Vessel::create(file, keys).and_then(|mut file| {
            file.write_all_at(&header, 0)?;
            Ok(file)
        });
        // Its name may be tried again.
        let file = begun.inspect_err(|_| drop(fs::remove_file(&part)))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            layout,
            header_bytes: header.len(),
            data_bytes: 0,
            told_bytes: 0,
            failed: None,
            refused: None,
            missing: Missing::default(),
            mixed: Vec::new(),
            limit: wav::RIFF_LIMIT,
        })
    }

    /// What went wrong first.
    #[must_use]
    pub const fn failure(&self) -> Option<&io::Error> {
        self.failed.as_ref()
    }

    /// Why the disk refused what was asked of it last.
    #[must_use]
    pub const fn refused(&self) -> Option<&io::Error> {
        self.refused.as_ref()
    }

    /// Frames that could not be written.
    #[must_use]
    pub fn lost_frames(&self) -> u64 {
        self.missing.frames()
    }

    /// So many frames were lost before there was a file.
    pub fn begins_late(&mut self, frames: u64, why: io::Error) {
        self.missing.add(0, frames);
        self.failed.get_or_insert(why);
    }

    /// The file itself, for whoever forces it to the disk.
    #[must_use]
    pub const fn file(&self) -> &Arc<Synced> {
        self.file.store()
    }

    /// Frames in the file.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.data_bytes / self.layout.frame_bytes()
    }

    /// Where the file will be.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn offset(&self, frame: u64) -> u64 {
        u64::try_from(self.header_bytes).unwrap_or(0) + frame * self.layout.frame_bytes()
    }

    /// Where the file ends, or should.
    fn end(&self) -> u64 {
        u64::try_from(self.header_bytes).unwrap_or(0) + self.data_bytes
    }

    /// Writes frames, of both sides or `patched` from what was there.
    fn write_bytes(&mut self, at: u64, frames: u64, bytes: &[u8], patched: bool) {
        let end = (at + frames) * self.layout.frame_bytes();
        let offset = self.offset(at);
        match self.file.write_all_at(bytes, offset) {
            Ok(()) => {
                self.data_bytes = self.data_bytes.max(end);
                self.refused = None;
                if !patched {
                    self.missing.written(at, at + frames);
                }
            }
            Err(error) => {
                self.missing.add(at, at + frames);
                // What was written of it may be half a sample.
                let end = self.end();
                drop(self.file.set_size(end));
                return self.refuse(error);
            }
        }
        if self.data_bytes >= self.told_bytes + REFRESH {
            self.refresh();
        }
    }

    fn refuse(&mut self, error: io::Error) {
        if self.failed.is_none() {
            self.failed = Some(again(&error));
        }
        self.refused = Some(error);
    }

    /// Makes the header tell of all audio in the file.
    fn refresh(&mut self) {
        let extent = Extent {
            header: self.header_bytes,
            data: self.data_bytes,
            tail: 0,
            frames: self.frames(),
            limit: self.limit,
        };
        match write_sizes(&mut self.file, extent) {
            Ok(()) => self.told_bytes = self.data_bytes,
            Err(error) => self.refuse(error),
        }
    }

    /// Brings the header up to date and gives the file away for finishing.
    #[must_use]
    pub fn close(mut self) -> ClosedTape {
        // Once more, if the disk was only full or busy for a moment.
        for _ in 0..2 {
            if self.told_bytes != self.data_bytes {
                self.refresh();
            }
        }
        if self.failed.is_some() {
            // Half a write may lie behind what the header tells of.
            let end = self.end();
            if let Err(error) = self.file.set_size(end) {
                self.refuse(error);
            }
        }
        let frames = self.frames();
        ClosedTape {
            file: self.file,
            path: self.path,
            failed: self.failed,
            whole_header: self.told_bytes == self.data_bytes,
            extent: Extent {
                header: self.header_bytes,
                data: self.data_bytes,
                tail: 0,
                frames,
                limit: self.limit,
            },
        }
    }
}

/// Makes the header of a file tell of what is in it.
pub(super) fn write_sizes<S: Store>(file: &mut Vessel<S>, extent: Extent) -> io::Result<()> {
    let (prefix, data) = extent.fields();
    let data_at = u64::try_from(extent.header).unwrap_or(4).saturating_sub(4);
    file.write_all_at(&data, data_at)?;
    file.write_all_at(&prefix, 0)
}

/// The same error once more.
fn again(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// Stretches of frames that could not be written, in order.
#[derive(Debug, Default)]
struct Missing {
    /// All before the last one.
    before: u64,
    /// The last one.
    last: (u64, u64),
}

impl Missing {
    fn add(&mut self, from: u64, until: u64) {
        let (first, end) = self.last;
        if from <= end && first < end {
            self.last = (first.min(from), end.max(until));
        } else {
            self.before = self.frames();
            self.last = (from, until);
        }
    }

    /// These were written after all: the end of a tape is written more than once.
    fn written(&mut self, from: u64, until: u64) {
        let (first, end) = self.last;
        let (from, until) = (from.max(first), until.min(end));
        if from >= until {
            return;
        }
        if until == end {
            self.last = (first, from);
        } else {
            self.before += from - first;
            self.last = (until, end);
        }
    }

    const fn frames(&self) -> u64 {
        self.before + self.last.1 - self.last.0
    }
}

impl PcmSink for TapeFile {
    fn write(&mut self, at: u64, frames: &[Frame]) {
        let count = u64::try_from(frames.len()).unwrap_or(0);
        if self.layout.channels == 2 {
            self.write_bytes(at, count, bytemuck::cast_slice(frames), false);
            return;
        }
        let mut mixed = std::mem::take(&mut self.mixed);
        mixed.clear();
        mixed.extend(frames.iter().map(|[left, right]| left.saturating_add(*right)));
        self.write_bytes(at, count, bytemuck::cast_slice(&mixed), false);
        self.mixed = mixed;
    }

    fn patch(&mut self, at: u64, channel: usize, samples: &[i16]) {
        let count = u64::try_from(samples.len()).unwrap_or(0);
        let width = usize::from(self.layout.channels);
        let mut there = vec![0i16; samples.len() * width];
        let offset = self.offset(at);
        let bytes = bytemuck::cast_slice_mut(&mut there);
        if let Err(error) = read_what_is_there(&mut self.file, bytes, offset) {
            self.missing.add(at, at + count);
            return self.refuse(error);
        }
        for (frame, sample) in there.chunks_exact_mut(width).zip(samples) {
            match frame {
                [mixed] => *mixed = mixed.saturating_add(*sample),
                _ => {
                    if let Some(place) = frame.get_mut(channel) {
                        *place = *sample;
                    }
                }
            }
        }
        self.write_bytes(at, count, bytemuck::cast_slice(&there), true);
    }
}

/// Fills `bytes` from `at`; what lies past the end of the file stays zero.
fn read_what_is_there(
    file: &mut Vessel<Arc<Synced>>,
    mut bytes: &mut [u8],
    mut at: u64,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.read_at(bytes, at) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                at += u64::try_from(n).unwrap_or(0);
                bytes = bytes.get_mut(n..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A tape whose audio is complete but not yet known to be on the disk.
#[derive(Debug)]
pub struct ClosedTape {
    /// Its bytes, and where they lie.
    pub file: Vessel<Arc<Synced>>,
    /// Where it belongs.
    pub path: PathBuf,
    /// What went wrong while it was written.
    pub failed: Option<io::Error>,
    /// Its header tells of everything in it.
    pub whole_header: bool,
    /// What is in it.
    pub extent: Extent,
}

impl ClosedTape {
    /// Where it lies now.
    #[must_use]
    pub fn part(&self) -> PathBuf {
        self.file.store().place()
    }

    /// Makes its header tell of everything in it.
    pub(super) fn tell_header(&mut self) -> io::Result<()> {
        write_sizes(&mut self.file, self.extent)?;
        self.whole_header = true;
        Ok(())
    }
}

/// `<path>.part`.
#[must_use]
pub fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// `<path>.damaged`: what the disk said it could not keep.
#[must_use]
pub fn damaged_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".damaged");
    PathBuf::from(name)
}

/// `<path>.damaged.part` of `<path>.part`: what the disk said it could not keep, and is not finished.
#[must_use]
pub fn doomed_of(part: &Path) -> PathBuf {
    part_of(&damaged_of(&part.with_extension("")))
}

/// Whether an unfinished file is known to be damaged.
#[must_use]
pub fn is_doomed(part: &Path) -> bool {
    part.with_extension("").extension().is_some_and(|extension| extension == "damaged")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_and_patched_is_read_by_hound() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("2014/01/a.wav");
        let mut tape =
            TapeFile::create(&path, Layout { rate: 8000, channels: 2 }, &[(b"INAM", "a")], 0o640)
                .unwrap();
        tape.write(0, &[[1, 2], [3, 4]]);
        tape.write(4, &[[5, 6]]);
        tape.patch(1, 1, &[9, 9]);
        assert_eq!(tape.frames(), 5);
        let closed = tape.close();
        assert!(closed.failed.is_none() && !path.exists());
        let wav = hound::WavReader::open(closed.part()).unwrap();
        let samples: Vec<i16> = wav.into_samples().map(Result::unwrap).collect();
        assert_eq!(samples, [1, 2, 3, 9, 0, 9, 0, 0, 5, 6]);
        let again = TapeFile::create(&path, Layout { rate: 8000, channels: 2 }, &[], 0o640);
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_tape_that_grows_too_large_becomes_rf64() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("l.wav");
        let layout = Layout { rate: 8000, channels: 2 };
        let mut tape = TapeFile::create(&path, layout, &[(b"INAM", "l")], 0o640).unwrap();
        tape.limit = 1_000_000;
        for (seconds, id) in [(0..30, b"RIFF"), (30..60, b"RF64")] {
            for second in seconds {
                tape.write(second * 8_000, &[[1, 2]; 8_000]);
            }
            let bytes = fs::read(part_of(&path)).unwrap();
            assert!(bytes.starts_with(id));
            let found = wav::read_header(&bytes).unwrap();
            assert!(found.data_bytes + REFRESH > tape.data_bytes && found.tail().is_none());
        }
        let closed = tape.close();
        let found = wav::read_header(&fs::read(closed.part()).unwrap()).unwrap();
        assert_eq!(found.frames(found.data_bytes), 480_000);
        assert_eq!(found.info, [(*b"INAM", "l".to_owned())]);
    }

    #[test]
    fn mono_is_the_sum_of_both() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("m.wav");
        let mut tape =
            TapeFile::create(&path, Layout { rate: 8000, channels: 1 }, &[], 0o640).unwrap();
        tape.write(0, &[[1, 2], [30_000, 30_000]]);
        tape.patch(0, 1, &[5]);
        let closed = tape.close();
        let wav = hound::WavReader::open(closed.part()).unwrap();
        assert_eq!(wav.into_samples::<i16>().map(Result::unwrap).collect::<Vec<_>>(), [8, 32_767]);
    }
}
