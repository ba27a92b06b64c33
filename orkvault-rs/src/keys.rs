//! Files that hold secrets.
//!
//! Law: a file that others than its owner can read holds no secret, and is refused.

use std::{fs::File, io::Read as _, os::unix::fs::MetadataExt as _, path::Path};
use zeroize::Zeroizing;

/// The largest file that is read.
const MOST: u64 = 64 * 1024;
/// The shortest secret.
const LEAST: usize = 16;

/// Reads a file of secrets.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let shown = path.display();
    let failed = |error: std::io::Error| format!("cannot read {shown}: {error}");
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(format!("{shown} is no file"));
    }
    if about.mode() & 0o077 != 0 {
        let mode = about.mode() & 0o777;
        return Err(format!(
            "{shown} can be read by others than its owner (mode {mode:04o}): chmod 0600 {shown}"
        ));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(MOST).unwrap_or(0)));
    file.take(MOST).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The secret of a ledger: all that the file holds, without white space at its ends.
///
/// # Errors
/// In words, with a remedy.
pub fn secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let bytes = read(path)?;
    let secret = Zeroizing::new(bytes.trim_ascii().to_vec());
    if secret.len() < LEAST {
        return Err(format!(
            "{} holds less than {LEAST} bytes: openssl rand -hex 32 makes a good secret",
            path.display()
        ));
    }
    Ok(secret)
}
