//! Audio: blocks of payloads, decoders, the mix.

pub mod block;
pub mod codec;
pub mod g711;
mod holes;
pub mod inband;
pub mod kinds;
pub mod leg;
pub mod red;
pub mod resample;
pub mod tape;
