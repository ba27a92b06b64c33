//! What becomes of a tape after it is closed: a chain of processors, and the pool that works on it.
//!
//! ```text
//! finish ─► X.opus.part, marked as closed ─► gain, keep_side ─► transcode ─► rename ─► command ─► report
//!                                            └ files under .processing ┘             │
//!                                                        sync, final names, sync ◄───┘ ready, part removed
//! ```
//!
//! Law: until `ready` is stored by whoever is told, the recording lies as `.part` beside its final
//! name, with all that is to be told of it; whoever is killed begins again from there. A processor
//! that fails costs its own work, never the recording: that is then kept as recorded.

pub mod command;
mod job;
pub mod plan;
mod pool;
pub mod render;
mod spill;
#[cfg(test)]
mod tests;

pub use command::User;
pub use job::{FOLDER, clean};
pub use plan::{Channels, Output, Plan, Step};
pub use pool::{Pool, Progress, Shop, Work};
