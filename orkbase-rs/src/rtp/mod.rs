//! RTP (RFC 3550): header, sequence accounting, sample timeline; SRTP (RFC 3711).

pub mod packet;
pub mod sequence;
pub mod srtp;
pub mod timeline;
