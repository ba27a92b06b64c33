//! SIP (RFC 3261) and SDP (RFC 8866), read tolerantly from borrowed bytes.
//!
//! Law: what a phone would understand, we understand; what is garbage costs one look. Every loop
//! and collection is bounded by a named constant, and nothing here can panic.

pub mod facts;
pub mod framing;
pub mod header;
pub mod message;
pub mod multipart;
pub mod sdp;
pub mod uri;

mod sdp_value;
mod text;
mod websocket;

pub use self::{
    framing::Framer,
    header::{ContentType, NameAddr, Reason, Replaces},
    message::{Message, Method, StartLine, looks_like_sip},
    sdp::Sdp,
    uri::{Scheme, Uri},
};
