//! `orkaudio unseal`: a sealed recording as it is without.

use crate::{cli::UnsealArguments, config::Config};
use orkvault::{keys::KeyRing, names, sealed::SealedFile};
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// Opens a file.
///
/// # Errors
/// In words.
pub fn run(config: &Config, arguments: &UnsealArguments) -> Result<(), String> {
    let keys = arguments.keys.as_ref().or(config.tapes.encrypt_key.as_ref());
    let keys = keys.ok_or("no keys: give --keys FILE, or tapes.encrypt_key")?;
    let ring = KeyRing::load(keys)?;
    let from = &arguments.file;
    let failed = |error: io::Error| format!("{}: {error}", from.display());
    let opened = File::open(from).and_then(|file| SealedFile::open(file, &ring));
    let mut sealed = opened.map_err(failed)?;
    let whole = sealed.is_whole();
    let to = match &arguments.output {
        Some(to) => to.clone(),
        None => PathBuf::from(from.to_str().map(names::plain).unwrap_or_default()),
    };
    let copied = if to == Path::new("-") {
        io::copy(&mut sealed, &mut io::stdout().lock()).map_err(failed)
    } else {
        if to == *from {
            return Err("its name does not end in .sealed: give --output".to_owned());
        }
        let refused = |error: io::Error| format!("cannot write {}: {error}", to.display());
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&to);
        let mut file = file.map_err(refused)?;
        let copied = io::copy(&mut sealed, &mut file).map_err(failed);
        copied.and_then(|bytes| file.flush().map(|()| bytes).map_err(refused))
    };
    copied?;
    if whole {
        Ok(())
    } else {
        Err(format!(
            "{}: it is cut short, or was never closed; what is there was written",
            from.display()
        ))
    }
}
