//! Captures whose every sample is known beforehand, and the judge of what was recorded from them.

pub mod calls;
pub mod chance;
pub mod check;
pub mod law;
pub mod srtp;
pub mod truth;
