//! Cisco Skinny (SCCP): little-endian binary messages between a phone and its call manager.
//!
//! Law: nothing is believed beyond its bounds. A message is read from its own bytes, a call from the
//! messages of its phone, and the call core hears only facts.

pub mod facts;
pub mod framing;
pub mod message;

mod media;

pub use self::{
    facts::Phones,
    framing::{Framer, looks_like_skinny},
    message::Message,
};
