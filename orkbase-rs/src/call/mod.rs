//! Calls: from signals and media to recordings.

pub mod candidates;
mod clock;
pub mod command;
mod control;
pub mod course;
pub mod dialog;
pub mod digits;
pub mod filter;
pub mod index;
pub mod links;
mod meaning;
pub mod media;
pub mod naming;
pub mod output;
pub mod party;
pub mod policy;
pub mod recording;
pub mod redundancy;
pub mod report;
pub mod session;
pub mod settings;
mod signalling;
pub mod story;
pub mod stream;
pub mod switchboard;
pub mod tails;
mod taping;
