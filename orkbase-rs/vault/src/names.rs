//! Names of sealed files: `X.wav` is `X.wav.sealed`.

use crate::sealed::EXTENSION;
use orkbase::companions;
use std::path::{Path, PathBuf};

/// A name without what says that the file is sealed.
#[must_use]
pub fn plain(name: &str) -> &str {
    name.strip_suffix(EXTENSION).and_then(|name| name.strip_suffix('.')).unwrap_or(name)
}

/// Whether a file is sealed, by its name.
#[must_use]
pub fn is_sealed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == EXTENSION)
}

/// The name of the sealed file.
#[must_use]
pub fn sealed(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(EXTENSION);
    PathBuf::from(name)
}

/// Names that other files of the recording may have, sealed or not: see [`companions::beside`].
#[must_use]
pub fn beside(file: &str) -> Vec<String> {
    let own = plain(file);
    let mut names = companions::beside(own);
    names.push(own.to_owned());
    let sealed: Vec<String> = names.iter().map(|name| format!("{name}.{EXTENSION}")).collect();
    names.extend(sealed);
    names.retain(|name| name != file);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_a_sealed_recording_is_named() {
        assert_eq!((plain("a/X.wav.sealed"), plain("a/X.wav")), ("a/X.wav", "a/X.wav"));
        assert_eq!(sealed(Path::new("X.wav")), Path::new("X.wav.sealed"));
        for name in ["a/X.wav.sealed", "a/X.local.opus.sealed", "a/X.wav"] {
            let beside = beside(name);
            for other in ["a/X.json", "a/X.pcapng", "a/X.pcapng.sealed", "a/X.original.wav.sealed"]
            {
                assert!(beside.iter().any(|known| known == other), "{other} of {name}");
            }
            assert!(!beside.contains(&name.to_owned()));
        }
    }
}
