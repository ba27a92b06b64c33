//! Sealed files: AES-256-GCM (NIST SP 800-38D) in a container that is only ever appended to.
//!
//! ```text
//! ORKSEAL1  key id 16  file id 16  nonce 12  data key, wrapped 48        100 bytes
//! kind 1, 0 0 0, length 4, offset 8, nonce 12 | ciphertext | tag 16     a record, as often as needed
//! the same of kind 1: count 8, size 8, then offset 8, length 4, place 8 of each record
//! ORKSEND1, place of that record 8                                      closed files only
//! ```
//!
//! Law: each file has a data key of its own, which lies in it wrapped by a key of the key file; with the file
//! the data key is gone. A record says where its bytes belong in the plain file, so what is written over
//! earlier bytes is one more record, and no byte that lies in the file is ever changed. It is
//! authenticated together with the file's id and its own number: none can be changed, taken out, moved or
//! brought in from another file. Numbers are little-endian. No nonce is used twice under a key: its first eight
//! bytes are drawn at random each time a file is opened to be written to, the others count.

mod extents;
mod file;
mod format;
mod store;
#[cfg(test)]
mod tests;
mod vessel;

pub use file::SealedFile;
pub use format::{EXTENSION, MAGIC, SealError};
pub use store::Store;
pub use vessel::Vessel;
