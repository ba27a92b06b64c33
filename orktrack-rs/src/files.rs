//! The files of recordings, as far as this host sees them.
//!
//! Law: nothing outside the folders of `audio.roots` is opened or deleted, whatever a recorder said its
//! file is called and wherever links lead (the kernel sees to it: `openat2`, `RESOLVE_BENEATH`).

use crate::{config::AudioRoot, store::retention::FileOf};
use orkvault::{
    book::{Book, Rules},
    keys::{self, KeyRing},
    ledger::{Event, FOLDER, Link},
    names,
    sealed::{SealError, Vessel},
};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use std::{
    fs::File,
    io,
    path::{Component, Path, PathBuf},
};

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// No configured folder has it.
    #[error("the recording lies in no folder of audio.roots")]
    Outside,
    /// It is not there.
    #[error("the file is not there")]
    Missing,
    /// It is sealed, and there is no key that opens it.
    #[error("the recording is sealed: {0}")]
    Sealed(String),
    /// The system says no.
    #[error("{0}")]
    Failed(io::Error),
}

impl From<rustix::io::Errno> for FileError {
    fn from(error: rustix::io::Errno) -> Self {
        match error {
            rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR => Self::Missing,
            // What RESOLVE_BENEATH says to a way out.
            rustix::io::Errno::XDEV | rustix::io::Errno::LOOP => Self::Outside,
            other => Self::Failed(other.into()),
        }
    }
}

/// The configured folder, and the way from it to the file.
fn locate<'a>(roots: &'a [AudioRoot], file: &FileOf) -> Result<(&'a Path, PathBuf), FileError> {
    let name = Path::new(&file.filename);
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if file.filename.is_empty() || file.filename.contains('\0') || !name.components().all(plain) {
        return Err(FileError::Outside);
    }
    let of_host = roots.iter().find(|root| root.hostname.as_ref() == Some(&file.hostname));
    if let Some(root) = of_host {
        return Ok((&root.folder, name.to_owned()));
    }
    let within = |root: &'a AudioRoot| {
        let rest = Path::new(&file.absolutepath).strip_prefix(&root.folder).ok()?;
        Some((root.folder.as_path(), rest.join(name)))
    };
    let open = roots.iter().filter(|root| root.hostname.is_none());
    open.into_iter().find_map(within).ok_or(FileError::Outside)
}

/// Opens a regular file for reading.
///
/// # Errors
/// See [`FileError`].
pub fn open(roots: &[AudioRoot], file: &FileOf) -> Result<File, FileError> {
    let (root, rest) = locate(roots, file)?;
    let root = rustix::fs::openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    // NONBLOCK: a pipe put there must not hold us.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let opened = File::from(rustix::fs::openat2(root, &rest, flags, Mode::empty(), beneath)?);
    match opened.metadata() {
        Ok(about) if about.is_file() => Ok(opened),
        Ok(_) => Err(FileError::Outside),
        Err(error) => Err(FileError::Failed(error)),
    }
}

/// Opens a recording to be heard, with the keys of this file if it is sealed.
///
/// # Errors
/// See [`FileError`].
pub fn open_sound(
    roots: &[AudioRoot],
    keys: Option<&Path>,
    file: &FileOf,
) -> Result<Vessel, FileError> {
    let opened = open(roots, file)?;
    if !names::is_sealed(Path::new(&file.filename)) {
        return Ok(Vessel::from(opened));
    }
    let Some(keys) = keys else {
        return Err(FileError::Sealed("audio.key_file names no keys".to_owned()));
    };
    // Each time, so that a new key needs no new start.
    let ring = KeyRing::load(keys).map_err(FileError::Sealed)?;
    Vessel::open(opened, Some(&ring)).map_err(|error| {
        match error.get_ref().and_then(|cause| cause.downcast_ref::<SealError>()) {
            Some(cause) => FileError::Sealed(cause.to_string()),
            None => FileError::Failed(error),
        }
    })
}

/// Extensions that second copies have; a recorder's copies may be in another format than its recordings.
const COPIED: [&str; 4] = ["wav", "flac", "opus", "mp3"];

/// Where files are deleted.
#[derive(Clone, Debug, Default)]
pub struct Folders {
    /// Where recordings are.
    pub roots: Vec<AudioRoot>,
    /// Where recorders put second copies of them.
    pub copies: Vec<AudioRoot>,
    /// The secret that lines of recorders' ledgers are linked with.
    pub ledger_key: Option<PathBuf>,
}

/// How lines of ledgers are linked.
///
/// # Errors
/// When the key cannot be read; in words.
pub fn ledger_link(key: Option<&Path>) -> Result<Link, String> {
    let Some(path) = key else { return Ok(Link::default()) };
    let key = keys::secret(path).map_err(|why| format!("audio.ledger_key: {why}"))?;
    Ok(Link::keyed(&key))
}

/// The folder of the recorder, and the name of the file in it.
///
/// # Errors
/// [`FileError::Outside`].
pub fn place(roots: &[AudioRoot], file: &FileOf) -> Result<PathBuf, FileError> {
    locate(roots, file).map(|(root, rest)| root.join(rest))
}

/// Writes into the recorder's ledger, if there is one, what was deleted of a recording.
fn enter(folders: &Folders, file: &FileOf, recorder: &Path, gone: Vec<String>) {
    if gone.is_empty() || !recorder.join(FOLDER).is_dir() {
        return;
    }
    let event = |path| Event::Gone {
        recid: file.recid.clone(),
        path,
        by: "the tracker deleted it".to_owned(),
    };
    let written = ledger_link(folders.ledger_key.as_deref()).and_then(|link| {
        let rules = Rules { link, mode: 0o640, sync: true };
        let book = Book::open(recorder, rules);
        let written = book.and_then(|book| book.append(gone.into_iter().map(event)));
        written.map_err(|error| error.to_string())
    });
    if let Err(why) = written {
        tracing::warn!(recid = file.recid, "a deletion is not in the recorder's ledger: {why}");
    }
}

/// Whether this host sees the folder of a recording.
///
/// # Errors
/// [`FileError::Outside`].
pub fn is_here(roots: &[AudioRoot], file: &FileOf) -> Result<(), FileError> {
    locate(roots, file).map(|_| ())
}

/// Deletes a recording's file, and before it its second copies and what lies beside it (packets, sidecar,
/// the other side); that the file was not there is told by `false`.
///
/// # Errors
/// See [`FileError`].
pub fn remove(folders: &Folders, file: &FileOf) -> Result<bool, FileError> {
    // Names that lead out of a folder are refused before anything is touched.
    let (root, rest) = locate(&folders.roots, file)?;
    let ours = |copy: &&AudioRoot| copy.hostname.as_ref().is_none_or(|name| *name == file.hostname);
    let mut gone = Vec::new();
    for copy in folders.copies.iter().filter(ours) {
        for extension in COPIED {
            let name = Path::new(names::plain(&file.filename)).with_extension(extension);
            let Some(name) = name.to_str() else { return Err(FileError::Outside) };
            for name in std::iter::once(name.to_owned()).chain(names::beside(name)) {
                if remove_one(&copy.folder, Path::new(&name))? {
                    gone.push(copy.folder.join(&name).display().to_string());
                }
            }
        }
    }
    for filename in names::beside(&file.filename) {
        let named = FileOf { filename, ..file.clone() };
        let (root, rest) = locate(&folders.roots, &named)?;
        if remove_one(root, &rest)? {
            gone.push(named.filename);
        }
    }
    let there = remove_one(root, &rest)?;
    if there {
        gone.push(file.filename.clone());
    }
    let depth = Path::new(&file.filename).components().count();
    let whole = root.join(&rest);
    if let Some(recorder) = whole.ancestors().nth(depth) {
        enter(folders, file, recorder, gone);
    }
    Ok(there)
}

fn remove_one(root: &Path, rest: &Path) -> Result<bool, FileError> {
    let root = rustix::fs::openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    let Some(name) = rest.file_name() else { return Err(FileError::Outside) };
    let folder = rest.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let removed = rustix::fs::openat2(root, folder, flags, Mode::empty(), beneath)
        .and_then(|folder| rustix::fs::unlinkat(folder, name, AtFlags::empty()));
    match removed.map_err(FileError::from) {
        Ok(()) => Ok(true),
        Err(FileError::Missing) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Read, os::unix::fs::symlink};

    fn file(absolutepath: &Path, filename: &str) -> FileOf {
        FileOf {
            tape: 1,
            recid: "A".to_owned(),
            hostname: "vm".to_owned(),
            absolutepath: absolutepath.display().to_string(),
            filename: filename.to_owned(),
            state: "ready".to_owned(),
        }
    }

    fn all(roots: &[AudioRoot]) -> Folders {
        Folders { roots: roots.to_vec(), ..Folders::default() }
    }

    #[test]
    fn only_what_lies_below_a_root_is_opened_or_deleted() {
        let home = tempfile::tempdir().unwrap();
        let (root, other) = (home.path().join("audio"), home.path().join("other"));
        for folder in [root.join("2026"), other.clone()] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(root.join("2026/a.wav"), "sound").unwrap();
        fs::write(other.join("secret"), "x").unwrap();
        symlink("../other", root.join("out")).unwrap();
        symlink("2026", root.join("in")).unwrap();
        let roots = [AudioRoot { hostname: None, folder: root.clone() }];
        for good in ["2026/a.wav", "in/a.wav"] {
            let mut text = String::new();
            open(&roots, &file(&root, good)).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "sound");
        }
        assert!(open(&roots, &file(&root.join("2026"), "a.wav")).is_ok());
        let outside = |error| matches!(error, FileError::Outside);
        for bad in ["../other/secret", "/etc/passwd", "out/secret", "", "2026", "a\0b"] {
            assert!(open(&roots, &file(&root, bad)).is_err_and(outside), "{bad:?}");
            let removed = remove(&all(&roots), &file(&root, bad));
            assert!(removed.is_err(), "{bad:?}");
        }
        assert!(open(&roots, &file(&other, "secret")).is_err_and(outside));
        assert!(open(&roots, &file(Path::new(""), "secret")).is_err_and(outside));
        assert!(open(&[], &file(&root, "2026/a.wav")).is_err_and(outside));
        assert!(other.join("secret").exists());

        for name in ["a.pcapng.sealed", "a.json", "a.remote.wav", "ab.wav", "a.txt"] {
            fs::write(root.join("2026").join(name), "x").unwrap();
        }
        let of_host = AudioRoot { hostname: Some("vm".to_owned()), folder: root.clone() };
        let far = file(Path::new("/var/elsewhere"), "2026/a.wav");
        assert!(open(std::slice::from_ref(&of_host), &far).is_ok());
        let copies = home.path().join("copies");
        fs::create_dir_all(copies.join("2026")).unwrap();
        for name in ["a.opus", "a.local.mp3", "ab.opus", "b.opus"] {
            fs::write(copies.join("2026").join(name), "x").unwrap();
        }
        let copied = |hostname: &str| AudioRoot {
            hostname: Some(hostname.to_owned()),
            folder: copies.clone(),
        };
        let of_others = Folders { copies: vec![copied("other")], ..all(&[]) };
        assert!(remove(&of_others, &far).is_err());
        let with_copies = Folders { copies: vec![copied("vm")], ..all(&[of_host]) };
        assert!(remove(&with_copies, &far).unwrap());
        assert!(!remove(&with_copies, &far).unwrap(), "it was gone already");
        let left = fs::read_dir(root.join("2026")).unwrap();
        let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["a.txt", "ab.wav"], "what lay beside it is gone too");
        let left = fs::read_dir(copies.join("2026")).unwrap();
        let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["ab.opus", "b.opus"], "and its copies");
        let missing = |error| matches!(error, FileError::Missing);
        assert!(open(&roots, &file(&root, "2026/a.wav")).is_err_and(missing));
    }
}
