//! Writes first inputs for the fuzzers: `ork-seeds FOLDER`, a folder for each target below it.

use ork_tests::{fuzz::seeds, programs::workspace};
use std::{path::Path, process::ExitCode};

fn main() -> ExitCode {
    let folder = std::env::args_os().nth(1);
    let Some(folder) = folder.filter(|folder| !folder.to_string_lossy().starts_with('-')) else {
        return say("ork-seeds FOLDER: writes first inputs for the fuzzers", 2);
    };
    match seeds::write(Path::new(&folder), &workspace("pcaps")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => say(&format!("ork-seeds: {error}"), 1),
    }
}

#[expect(clippy::print_stderr, reason = "a program says what it does")]
fn say(what: &str, code: u8) -> ExitCode {
    eprintln!("{what}");
    ExitCode::from(code)
}
