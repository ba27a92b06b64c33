//! RTP (RFC 3550): header, sequence accounting, sample timeline.

pub mod packet;
pub mod sequence;
pub mod timeline;
