//! What signalling protocols say, read into facts.

pub mod sip;
