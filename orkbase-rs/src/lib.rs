//! The pure core of the Ork recorder: what a packet, a call and a message *are*.
//!
//! Law: no I/O, no clock, no threads. Packets and moments go in, outputs come out, and the same
//! capture gives the same tapes and messages at any speed.

mod ahead;
pub mod audio;
pub mod call;
pub mod companions;
pub mod config;
pub mod ids;
pub mod legible;
pub mod message;
pub mod packet;
pub mod rtp;
pub mod signal;
pub mod tap;
pub mod time;
pub mod tls;
