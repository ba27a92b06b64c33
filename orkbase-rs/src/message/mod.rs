//! The catalogue of wire messages and their encodings (Oreka API 2.60).
//!
//! Law: a message states its fields once, in the published order, as [`Fields`]; every encoding is
//! made from that list and read back into [`Pairs`]. Wire spellings (`recid`, `localparty`) occur
//! only in this module. No encoding ever emits a raw CR, LF or NUL, so one message is one line.

pub mod init;
pub mod pairs;
pub mod response;
pub mod single_line;
pub mod tag;
pub mod tape;
pub mod url;
pub mod words;
pub mod xml;

pub use pairs::{FieldError, Fields, Message, Pairs, TooBig};
