//! Tests that cannot run here say so instead of passing in silence.
//!
//! `scripts/test` names a file in `ORK_SKIPPED` and prints what was written to it after the run.

use std::fs::OpenOptions;
use std::io::Write as _;

/// Notes that a test, or a part of one, was left out.
///
/// # Panics
/// When the note cannot be written: a skip nobody hears of would look like a pass.
#[expect(clippy::expect_used, reason = "only tests call this")]
pub fn note(what: &str, why: &str) {
    let Some(path) = std::env::var_os("ORK_SKIPPED") else { return };
    let mut file =
        OpenOptions::new().create(true).append(true).open(path).expect("ORK_SKIPPED names a file");
    // One write, so that lines of tests that run together do not mix.
    file.write_all(format!("{what}: {why}\n").as_bytes()).expect("ORK_SKIPPED can be written");
}
