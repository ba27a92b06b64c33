//! Calls: from signals and media to recordings.

pub mod candidates;
mod clock;
pub mod command;
pub mod dialog;
pub mod digits;
pub mod index;
pub mod media;
pub mod naming;
pub mod output;
pub mod party;
pub mod policy;
pub mod recording;
pub mod report;
pub mod session;
pub mod settings;
pub mod stream;
pub mod switchboard;
