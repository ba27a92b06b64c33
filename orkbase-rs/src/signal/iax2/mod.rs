//! IAX2 (RFC 5456): signalling and media of all calls between two hosts on one pair of UDP ports.
//!
//! Law: the call core knows media as RTP between addresses, so that is what it gets. Each direction
//! of a call has a 15-bit call number; its voice is handed on as RTP packets made here, from the
//! host's address with the call number for a port. IPv4 hosts appear as IPv4-mapped IPv6 addresses
//! there, so that no real flow is ever taken for one of these. Signalling keeps the true addresses.
//!
//! Where RFC 5456 and Asterisk part, the wire is what Asterisk sends: `formats` says where.

pub mod element;
pub mod frame;

mod call;
mod facts;
mod formats;
mod voice;

pub use self::facts::{Counters, Iax2, Told};
