//! H.323: call signalling (H.225.0 in Q.931) with fast connect, and H.245, tunnelled or on its own
//! TCP connection.
//!
//! Law: only what leads to names and media addresses is read, by hand: a message that is longer than
//! our knowledge of it is read as far as it is known, and nothing is believed beyond its bounds.
//! Not here: RAS, H.235 (encrypted media), H.450 (supplementary services).

mod call;
mod facts;
mod framing;
mod h225;
mod h245;
mod per;
mod q931;

pub use self::{
    facts::{Counters, H323},
    framing::{Framer, looks_like_call_signalling, may_be_tpkt},
};
