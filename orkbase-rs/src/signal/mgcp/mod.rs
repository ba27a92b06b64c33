//! MGCP (RFC 3435) and its cable dialect NCS: a call agent tells gateways what to connect.
//!
//! Law: signalling names lines, not people. A party is the endpoint's name, or the digits that were
//! dialled, or the number that was shown to the ringing phone; more cannot be known.

pub mod message;

mod call;
mod facts;

pub use self::facts::{Counters, Mgcp};
