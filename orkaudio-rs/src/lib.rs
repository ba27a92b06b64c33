//! The recorder: captured packets in, tapes out, and everybody told.

pub mod capture;
pub mod config;
pub mod engine;
pub mod http;
pub mod replay;
pub mod report;
pub mod setup;
pub mod tape;
pub mod track;
