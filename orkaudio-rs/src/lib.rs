//! The recorder: captured packets in, tapes out, and everybody told.

pub mod announce;
pub mod audit;
pub mod bin;
pub mod capture;
pub mod cli;
pub mod codecs;
pub mod config;
pub mod confine;
pub mod convert;
pub mod engine;
pub mod explain;
pub mod format;
pub mod gate;
pub mod http;
pub mod import;
pub mod keylog;
pub mod live;
pub mod logging;
pub mod office;
pub mod pins;
pub mod process;
pub mod recorder;
pub mod replay;
pub mod report;
pub mod setup;
pub mod status;
pub mod tape;
pub mod track;
pub mod unseal;
pub mod verify;

/// Notes that a test, or a part of one, was left out; `scripts/test` prints the notes.
#[cfg(test)]
pub(crate) fn skipped(what: &str, why: &str) {
    use std::io::Write as _;
    let Some(path) = std::env::var_os("ORK_SKIPPED") else { return };
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(format!("{what}: {why}\n").as_bytes()).unwrap();
}
