//! The hash of a file.

use crate::ledger::Sum;
use sha2::{Digest as _, Sha256};
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// Bytes read at a time.
const BLOCK: usize = 256 * 1024;

/// Length and SHA-256 of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Digest {
    /// Bytes.
    pub bytes: u64,
    /// Their hash.
    pub sha256: Sum,
}

/// Of all that a reader gives. `read` hears of each block how many bytes it had.
///
/// # Errors
/// When it cannot be read.
pub fn of(from: &mut impl Read, read: &mut dyn FnMut(u64)) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut block = vec![0; BLOCK];
    let mut bytes = 0;
    loop {
        match from.read(&mut block) {
            Ok(0) => return Ok(Digest { bytes, sha256: Sum(hash.finalize().into()) }),
            Ok(count) => {
                hash.update(block.get(..count).unwrap_or_default());
                let count = u64::try_from(count).unwrap_or(0);
                bytes += count;
                read(count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Of a file.
///
/// # Errors
/// When it cannot be read.
pub fn of_file(path: &Path) -> io::Result<Digest> {
    of(&mut File::open(path)?, &mut |_| {})
}
