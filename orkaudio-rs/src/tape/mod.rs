//! Tapes: audio files that are whole at every moment.
//!
//! Law: a tape has one writer. It is written as `<name>.part`; a final name means a finished file
//! whose bytes and whose name are on the disk; only then is it told to be ready.

pub mod closed;
mod disk;
pub mod ears;
pub mod file;
pub mod finish;
pub mod ledger;
pub mod packets;
pub mod recover;
mod settle;
pub mod sidecar;
pub mod sync;
pub mod volume;
pub mod wav;
pub mod worker;

#[cfg(test)]
mod tests;
