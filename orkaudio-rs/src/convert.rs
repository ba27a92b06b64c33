//! `orkaudio convert`: WAV tapes to files of another format, layout or loudness.

use crate::{
    cli::ConvertArguments,
    format::WavReader,
    process::{
        Channels,
        render::{Sound, Target, render},
    },
};
use orkbase::call::party::Side;
use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Why a file could not be converted.
#[derive(Debug, Error)]
pub enum ConvertError {
    /// This machine lacks something, or the arguments do not fit together.
    #[error("{0}")]
    Arguments(String),
    /// A file.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Some files; each was told.
    #[error("{0} file(s) could not be converted")]
    Some(u64),
    /// Standard output is gone.
    #[error("cannot write: {0}")]
    Write(io::Error),
}

/// Converts each file; prints what it wrote.
///
/// # Errors
/// After the last file, when one could not be converted.
pub fn run(arguments: &ConvertArguments) -> Result<(), ConvertError> {
    let gains = [arguments.gain; 2];
    let sound = Sound { gains, keep: arguments.keep_side(), channels: arguments.channels };
    let format = arguments.format;
    format.writer().map_err(|why| {
        ConvertError::Arguments(format!("{} cannot be written here: {why}", format.as_str()))
    })?;
    if let (Some((least, most)), 1..) = (format.bitrates(), arguments.bitrate)
        && !(least..=most).contains(&arguments.bitrate)
    {
        let why = format!("--bitrate: give 0 or a number from {least} to {most}");
        return Err(ConvertError::Arguments(why));
    }
    let folder = arguments.output.is_dir() || arguments.output.to_string_lossy().ends_with('/');
    let alone = arguments.inputs.len() == 1 && sound.files().len() == 1;
    if !folder && !alone {
        let why = "several files: let --output name a folder, such as --output converted/";
        return Err(ConvertError::Arguments(why.to_owned()));
    }
    let mut failed = 0;
    for input in &arguments.inputs {
        match convert(arguments, sound, input, folder) {
            Ok(files) => {
                for file in files {
                    writeln!(io::stdout(), "{}", file.display()).map_err(ConvertError::Write)?;
                }
            }
            Err(error) => {
                failed += 1;
                tracing::error!("{error}");
            }
        }
    }
    if failed > 0 { Err(ConvertError::Some(failed)) } else { Ok(()) }
}

fn convert(
    arguments: &ConvertArguments,
    sound: Sound,
    input: &Path,
    folder: bool,
) -> Result<Vec<PathBuf>, ConvertError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| ConvertError::File { path, error }
    };
    let mut reader = WavReader::open(input).map_err(at(input))?;
    let (mut names, mut targets) = (Vec::new(), Vec::new());
    for side in sound.files() {
        let path = if folder { name(arguments, input, side) } else { arguments.output.clone() };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(at(parent))?;
        }
        if path.exists() {
            let error = io::Error::new(
                io::ErrorKind::AlreadyExists,
                "is there already; remove it or name another --output",
            );
            return Err(ConvertError::File { path, error });
        }
        let unfinished = unfinished(&path);
        let file = File::create(&unfinished).map_err(at(&unfinished))?;
        targets.push(Target {
            file: file.into(),
            format: arguments.format,
            side,
            bitrate_kbps: arguments.bitrate,
        });
        names.push((unfinished, path));
    }
    let labels = reader.labels();
    let done = render(&mut reader, &labels, sound, targets, &mut |_| true);
    for (unfinished, path) in &names {
        let named = match &done {
            Ok(_) => fs::rename(unfinished, path),
            Err(_) => fs::remove_file(unfinished),
        };
        named.map_err(at(path))?;
    }
    done.map_err(at(input))?;
    Ok(names.into_iter().map(|(_, path)| path).collect())
}

/// Its name until it is whole.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

/// In the folder: the input's name, the side, the format's extension.
fn name(arguments: &ConvertArguments, input: &Path, side: Option<Side>) -> PathBuf {
    let stem = input.file_stem().unwrap_or_default().to_string_lossy();
    let side = side.filter(|_| arguments.channels == Channels::Split);
    let side = side.map(|side| format!(".{}", side.as_str())).unwrap_or_default();
    let extension = arguments.format.extension();
    arguments.output.join(format!("{stem}{side}.{extension}"))
}
