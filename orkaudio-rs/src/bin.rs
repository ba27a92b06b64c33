//! Recordings that a tracker decided not to keep: all their files go.

use crate::{
    config::Config,
    pins::Pins,
    tape::{ledger::Ledger, worker::relative},
};
use orkvault::{ledger::Event, names};
use std::{
    fs, io,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

/// Where recordings and their second copies lie.
#[derive(Debug)]
pub struct Bin {
    folder: PathBuf,
    /// The folder of copies, and their extension.
    copies: Option<(PathBuf, &'static str)>,
    ledger: Option<Arc<Ledger>>,
    pins: Arc<Pins>,
}

impl Bin {
    /// For the folders of this configuration.
    #[must_use]
    pub fn new(config: &Config, ledger: Option<Arc<Ledger>>, pins: Arc<Pins>) -> Self {
        let copies = config.output.copy_folder.clone();
        let copies = (!copies.as_os_str().is_empty())
            .then(|| (copies, config.output.copy_format.extension()));
        Self { folder: config.tapes.folder.clone(), copies, ledger, pins }
    }

    /// Deletes a recording by the name it was reported with, its second copy and what lies beside either.
    /// A name that is not of our making is refused, and so is what is pinned. Says whether the recording was there
    /// and is gone.
    pub fn take(&self, recid: &str, filename: &str, tracker: &str) -> bool {
        let name = Path::new(filename);
        if self.pins.has(recid) {
            tracing::error!(recid, filename, tracker, "refused to delete: it is pinned");
            return false;
        }
        if !name.components().all(|part| matches!(part, Component::Normal(_))) {
            tracing::error!(recid, filename, tracker, "refused to delete: not a name we gave");
            return false;
        }
        let mut gone = Vec::new();
        let taken = fs::remove_file(self.folder.join(name));
        match &taken {
            Ok(()) => {
                tracing::info!(recid, filename, tracker, "deleted as the tracker decided");
                gone.push(self.folder.join(name));
            }
            Err(error) => tracing::error!(recid, filename, tracker, %error, "cannot delete"),
        }
        let mut others: Vec<PathBuf> =
            names::beside(filename).iter().map(|name| self.folder.join(name)).collect();
        if let Some((folder, extension)) = &self.copies
            && let Some(copy) = Path::new(names::plain(filename)).with_extension(extension).to_str()
        {
            others.push(folder.join(copy));
            others.extend(names::beside(copy).iter().map(|name| folder.join(name)));
        }
        for path in others {
            match fs::remove_file(&path) {
                Ok(()) => gone.push(path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::error!(recid, path = %path.display(), tracker, %error, "cannot delete");
                }
            }
        }
        if let Some(ledger) = &self.ledger {
            ledger.enter(gone.iter().map(|path| Event::Gone {
                recid: recid.to_owned(),
                path: relative(&self.folder, path),
                by: tracker.to_owned(),
            }));
        }
        taken.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_of_one_recording_go_and_no_other() {
        let home = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.tapes.folder = home.path().join("tapes");
        config.output.copy_folder = home.path().join("copies");
        config.output.copy_format = crate::format::Format::Mp3;
        for folder in ["tapes/2026", "copies/2026"] {
            fs::create_dir_all(home.path().join(folder)).unwrap();
        }
        let gone = [
            "tapes/2026/a.local.wav",
            "tapes/2026/a.remote.wav",
            "tapes/2026/a.json",
            "tapes/2026/a.pcapng.sealed",
        ];
        let copies = ["copies/2026/a.local.mp3", "copies/2026/a.remote.mp3"];
        let left = ["tapes/2026/ab.wav", "copies/2026/ab.mp3", "secret.wav"];
        for name in gone.iter().chain(&copies).chain(&left) {
            fs::write(home.path().join(name), "x").unwrap();
        }
        let pins = Arc::new(Pins::default());
        let bin = Bin::new(&config, None, Arc::clone(&pins));
        for name in ["../secret.wav", "/etc/passwd", "2026/a.local.wav"] {
            bin.take("a", name, "tracker");
        }
        // A hold of one tracker against the verdict of another.
        assert_eq!(pins.set("ab", true), Ok(true));
        assert!(!bin.take("ab", "2026/ab.wav", "tracker"));
        let there = |name: &&&str| home.path().join(name).exists();
        assert_eq!(gone.iter().chain(&copies).filter(there).count(), 0);
        assert_eq!(left.iter().filter(there).count(), left.len());
    }
}
