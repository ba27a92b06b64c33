//! Recordings at rest: hashes of their files, the ledger beside them, and whether all is as it was.
//!
//! Law: whatever a file says of itself, no more is held of it than a block; nothing outside the folder that
//! was asked for is written.

pub mod book;
pub mod digest;
pub mod disk;
pub mod keys;
pub mod ledger;
pub mod names;
pub mod sealed;
pub mod shelf;
pub mod verify;
