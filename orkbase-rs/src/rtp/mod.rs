//! RTP (RFC 3550): header, sequence accounting, sample timeline; telephone events (RFC 4733);
//! SRTP (RFC 3711).

pub mod dtmf;
pub mod packet;
pub mod sequence;
pub mod srtp;
pub mod timeline;
