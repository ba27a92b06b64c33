//! The recorder: captured packets in, tapes out, and everybody told.

pub mod announce;
pub mod capture;
pub mod cli;
pub mod codecs;
pub mod config;
pub mod engine;
pub mod explain;
pub mod http;
pub mod keylog;
pub mod recorder;
pub mod replay;
pub mod report;
pub mod setup;
pub mod status;
pub mod tape;
pub mod track;
