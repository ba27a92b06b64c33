//! What a killed process left behind: `.part` files become tapes.
//!
//! Law: everything that was written is kept; a part that holds no audio is removed; running it again
//! changes nothing. It is safe to kill it at any moment. A part of which a sync failed, then or now, never
//! becomes a tape: it is kept as `X.damaged`. No finished file is written over, and nothing that a part says of
//! itself becomes a path that leads elsewhere.

use super::{
    closed, disk,
    file::{doomed_of, is_doomed, write_sizes},
    packets,
    wav::{self, Coding, Extent, Found, MAX_HEADER},
    worker::relative,
};
use orkbase::message::tape::{Stage, TapeMessage};
use orkvault::{
    keys::KeyRing,
    names,
    sealed::{SealError, Vessel},
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Folders below the audio folder are searched this deep.
const DEPTH: usize = 12;
/// No header of ours is shorter.
const LEAST_HEADER: usize = 44;

/// A tape that was saved.
#[derive(Debug)]
pub struct Recovered {
    /// What its header told of it, with duration, file name and the tag `recovered`.
    pub message: TapeMessage,
    /// Milliseconds of audio.
    pub duration_ms: u64,
    /// Where it is now, relative to the audio folder.
    pub path: String,
}

/// What is unfinished below a folder, each in name order.
#[derive(Debug, Default)]
pub struct Parts {
    /// Tapes.
    pub tapes: Vec<PathBuf>,
    /// Packets beside tapes.
    pub packets: Vec<PathBuf>,
}

/// Finds every `.part` below `root`. All of an archive is walked for a few of them, so of other files no more
/// than the name is looked at.
///
/// # Errors
/// When a folder cannot be read.
pub fn all_parts(root: &Path) -> io::Result<Parts> {
    let mut found = Parts::default();
    let mut folders = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() && depth < DEPTH {
                folders.push((entry.path(), depth + 1));
            } else if kind.is_file() && entry.file_name().as_encoded_bytes().ends_with(b".part") {
                let path = entry.path();
                let which =
                    if packets::is_part(&path) { &mut found.packets } else { &mut found.tapes };
                which.push(path);
            }
        }
    }
    found.tapes.sort();
    found.packets.sort();
    Ok(found)
}

/// Finds every `.part` of a tape below `root`, in name order.
///
/// # Errors
/// When a folder cannot be read.
pub fn parts(root: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(all_parts(root)?.tapes)
}

/// Finds every `.part` of packets below `root`, in name order.
///
/// # Errors
/// When a folder cannot be read.
pub fn packet_parts(root: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(all_parts(root)?.packets)
}

/// A part that is a whole file now.
#[derive(Debug)]
pub struct Mended {
    /// What is to be told of it; the tag `recovered` says that the recording was interrupted.
    pub message: TapeMessage,
    /// Milliseconds of audio.
    pub duration_ms: u64,
}

/// The first bytes of a tape.
fn head_of(file: &mut Vessel) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let limit = u64::try_from(MAX_HEADER).unwrap_or(u64::MAX);
    file.seek(SeekFrom::Start(0))?;
    file.take(limit).read_to_end(&mut head)?;
    Ok(head)
}

/// Makes a part a whole file; `None` when there was nothing in it and it was removed.
///
/// # Errors
/// When the part is not one of ours, is sealed with a key that is not there, or the disk refuses; the
/// part is left as it is, but for its name if it cannot be forced to the disk ([`doomed_of`]).
pub fn mend(part: &Path, keys: Option<&KeyRing>) -> io::Result<Option<Mended>> {
    let Some((file, mended)) = repair(part, keys)? else { return Ok(None) };
    disk::sync_data(file.store()).or_else(|error| doomed(part, error))?;
    Ok(Some(mended))
}

/// What a sync could not keep is nothing for the next start either: it would be told that all is well.
pub(super) fn doomed(part: &Path, error: io::Error) -> io::Result<()> {
    if let Err(error) = disk::rename(part, &doomed_of(part)) {
        tracing::error!(part = %part.display(), %error, "a damaged tape keeps its name");
    }
    Err(error)
}

/// Makes a part of which a sync failed as whole as it gets, under a name that nobody takes for a tape; gives
/// the recording it was to be. `None` when there was nothing in it and it was removed.
///
/// # Errors
/// As for [`mend`].
pub fn set_aside(part: &Path, keys: Option<&KeyRing>) -> io::Result<Option<String>> {
    let Some((file, mended)) = repair(part, keys)? else { return Ok(None) };
    // As far as the disk lets us.
    drop(disk::sync_data(file.store()));
    disk::rename(part, &part.with_extension(""))?;
    if let Some(folder) = part.parent() {
        disk::sync_folder(folder)?;
    }
    Ok(Some(mended.message.recid))
}

/// The file of a part, made whole, and what is to be told of it.
fn repair(part: &Path, keys: Option<&KeyRing>) -> io::Result<Option<(Vessel, Mended)>> {
    let file = OpenOptions::new().read(true).write(true).open(part)?;
    let mut file = match Vessel::recover(file, keys) {
        Ok(file) => file,
        // Killed before the first bytes of a sealed file were whole.
        Err(error) if names::is_sealed(&name_of(part)) && is_torn(part, &error) => {
            fs::remove_file(part)?;
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let head = head_of(&mut file)?;
    let found = match wav::read_header(&head) {
        Ok(found) if found.coding == Coding::Pcm => found,
        Ok(_) => return Err(io::Error::from(io::ErrorKind::InvalidData)),
        // Killed before the header was whole: there is no audio behind it.
        Err(_) if head.len() < LEAST_HEADER => {
            fs::remove_file(part)?;
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if let Some(message) = closed::read(&mut file, &found) {
        let duration_ms = found.milliseconds(found.frames(found.data_bytes));
        file.close()?;
        return Ok(Some((file, Mended { message, duration_ms })));
    }
    if !wav::has_room(&head) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a WAV file that is none of ours"));
    }
    let header = u64::try_from(found.header_bytes).unwrap_or(0);
    let length = file.size()?.saturating_sub(header);
    let frames = found.frames(audio_bytes(&found, length));
    if frames == 0 {
        fs::remove_file(part)?;
        return Ok(None);
    }
    let duration_ms = found.milliseconds(frames);
    let message = message(&found.info, "", duration_ms)?;
    let data = frames * found.layout.frame_bytes();
    let limit = wav::RIFF_LIMIT;
    file.set_size(header + data)?;
    write_sizes(&mut file, Extent { header: found.header_bytes, data, tail: 0, frames, limit })?;
    file.close()?;
    Ok(Some((file, Mended { message, duration_ms })))
}

/// The name of the tape that a part was to be.
fn name_of(part: &Path) -> PathBuf {
    let name = part.with_extension("");
    if is_doomed(part) { name.with_extension("") } else { name }
}

/// Whether both names are of one file.
pub(crate) fn same(one: &Path, other: &Path) -> bool {
    let of = |path: &Path| fs::symlink_metadata(path).map(|told| (told.dev(), told.ino())).ok();
    of(one).is_some() && of(one) == of(other)
}

/// Whether a sealed file is shorter than its beginning.
fn is_torn(part: &Path, error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|error| error.downcast_ref::<SealError>());
    let short = fs::metadata(part).is_ok_and(|about| about.len() < 100);
    short && cause == Some(&SealError::NotSealed)
}

/// Bytes of samples in a file that has so many behind its header. Where the header tells of
/// something behind the samples, it was written last and tells the truth of them.
fn audio_bytes(found: &Found, length: u64) -> u64 {
    if found.tail().is_some() { length.min(found.data_bytes) } else { length }
}

/// Makes a tape of a part; `None` when there was nothing in it and it was removed.
///
/// # Errors
/// When the part is not one of ours or the disk refuses; the part is left as it is.
pub fn recover(root: &Path, part: &Path, keys: Option<&KeyRing>) -> io::Result<Option<Recovered>> {
    let Some(Mended { mut message, duration_ms }) = mend(part, keys)? else { return Ok(None) };
    let mut path = part.with_extension("");
    let sealed = names::is_sealed(&path);
    if sealed {
        path.set_extension("");
    }
    // Recorded when tapes were to become something else.
    if path.extension().is_none_or(|extension| extension != "wav") {
        path.set_extension("wav");
    }
    let with_seal = |path: PathBuf| if sealed { names::sealed(&path) } else { path };
    let mut finished = with_seal(path.clone());
    // What is finished stays.
    if finished.exists() && !same(part, &finished) {
        finished = with_seal(path.with_extension(format!("{}.wav", message.recid)));
    }
    let path = finished;
    disk::rename(part, &path)?;
    // Of two names of one file `rename` takes none away.
    if same(part, &path) {
        fs::remove_file(part)?;
    }
    if let Some(folder) = path.parent() {
        disk::sync_folder(folder)?;
    }
    let path = relative(root, &path);
    path.clone_into(&mut message.filename);
    packets::tag(&mut message, root, &root.join(&path));
    Ok(Some(Recovered { message, duration_ms, path }))
}

/// What `path` below `root` holds, if it is a finished tape of the recording that `said` is about.
#[must_use]
pub fn finished(
    root: &Path,
    path: &str,
    said: &TapeMessage,
    keys: Option<&KeyRing>,
) -> Option<Recovered> {
    let mut file = Vessel::open(File::open(root.join(path)).ok()?, keys).ok()?;
    let length = file.size().ok()?;
    let head = head_of(&mut file).ok()?;
    let found = wav::read_header(&head).ok()?;
    let header = u64::try_from(found.header_bytes).unwrap_or(0);
    let frames = found.frames(audio_bytes(&found, length.saturating_sub(header)));
    let duration_ms = found.milliseconds(frames);
    let mut message = message(&found.info, path, duration_ms).ok()?;
    packets::tag(&mut message, root, &root.join(path));
    (message.recid == said.recid).then(|| Recovered { message, duration_ms, path: path.to_owned() })
}

fn message(info: &[([u8; 4], String)], path: &str, duration_ms: u64) -> io::Result<TapeMessage> {
    let bad = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let text = info.iter().find(|(id, _)| id == b"ICMT").map(|(_, text)| text.as_str());
    let text =
        text.ok_or_else(|| bad("the header does not say what the recording is".to_owned()))?;
    let mut message = closed::believed(text.as_bytes())?;
    message.stage = Stage::Ready;
    path.clone_into(&mut message.filename);
    message.duration = duration_ms / 1000;
    message.tags.insert("recovered".to_owned(), "true".to_owned());
    Ok(message)
}

#[cfg(test)]
mod tests;
