//! RTP (RFC 3550): header, sequence accounting, sample timeline, reception quality; telephone events
//! (RFC 4733); SRTP (RFC 3711).

pub mod dtmf;
pub mod emodel;
pub mod jitter;
pub mod losses;
pub mod packet;
pub mod sequence;
pub mod srtp;
pub mod timeline;
pub mod zrtp;
