//! The files of recordings, as far as this host sees them.
//!
//! Law: nothing outside the folders of `audio.roots` is opened or deleted, whatever a recorder said its
//! file is called and wherever links lead (the kernel sees to it: `openat2`, `RESOLVE_BENEATH`).

use crate::{config::AudioRoot, store::retention::FileOf};
use orkbase::companions;
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

/// Deletes a recording's file, and before it what lies beside it (packets, sidecar, the other side);
/// that the file was not there is told by `false`.
///
/// # Errors
/// See [`FileError`].
pub fn remove(roots: &[AudioRoot], file: &FileOf) -> Result<bool, FileError> {
    for filename in companions::beside(&file.filename) {
        remove_one(roots, &FileOf { filename, ..file.clone() })?;
    }
    remove_one(roots, file)
}

fn remove_one(roots: &[AudioRoot], file: &FileOf) -> Result<bool, FileError> {
    let (root, rest) = locate(roots, file)?;
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
            let removed = remove(&roots, &file(&root, bad));
            assert!(removed.is_err(), "{bad:?}");
        }
        assert!(open(&roots, &file(&other, "secret")).is_err_and(outside));
        assert!(open(&roots, &file(Path::new(""), "secret")).is_err_and(outside));
        assert!(open(&[], &file(&root, "2026/a.wav")).is_err_and(outside));
        assert!(other.join("secret").exists());

        for name in ["a.pcapng", "a.json", "a.remote.wav", "ab.wav", "a.txt"] {
            fs::write(root.join("2026").join(name), "x").unwrap();
        }
        let of_host = AudioRoot { hostname: Some("vm".to_owned()), folder: root.clone() };
        let far = file(Path::new("/var/elsewhere"), "2026/a.wav");
        assert!(open(std::slice::from_ref(&of_host), &far).is_ok());
        assert!(remove(std::slice::from_ref(&of_host), &far).unwrap());
        assert!(!remove(&[of_host], &far).unwrap(), "it was gone already");
        let left = fs::read_dir(root.join("2026")).unwrap();
        let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["a.txt", "ab.wav"], "what lay beside it is gone too");
        let missing = |error| matches!(error, FileError::Missing);
        assert!(open(&roots, &file(&root, "2026/a.wav")).is_err_and(missing));
    }
}
