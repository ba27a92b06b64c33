//! The mark of a tape whose audio is complete and that waits for its processors.
//!
//! Law: the mark is a chunk behind the audio with the message that is to be told. The header tells
//! of it first: a file that tells of a chunk and has none is a tape of the length its header tells.

use super::{
    file::{ClosedTape, write_sizes},
    wav::{self, Found},
};
use crate::tape::packets;
use orkbase::{
    ids::OrkUid,
    message::{Message as _, tape::TapeMessage, url},
};
use orkvault::sealed::Vessel;
use std::io;

/// Its chunk.
const ID: [u8; 4] = *b"orkM";
/// The longest that is read.
const MOST: u64 = 256 * 1024;

/// Marks a tape.
///
/// # Errors
/// When the disk refuses.
pub fn mark(tape: &mut ClosedTape, message: &TapeMessage) -> io::Result<()> {
    let chunk = wav::chunk(ID, url::encode(&message.fields()).as_bytes());
    let mut extent = tape.extent;
    extent.tail = u64::try_from(chunk.len()).unwrap_or(0);
    write_sizes(&mut tape.file, extent)?;
    tape.file.write_all_at(&chunk, u64::try_from(extent.header).unwrap_or(0) + extent.data)
}

/// The message of a tape that was marked.
#[must_use]
pub fn read(file: &mut Vessel, found: &Found) -> Option<TapeMessage> {
    let at = found.tail()?;
    let mut head = [0; 8];
    file.read_exact_at(&mut head, at).ok()?;
    let [a, b, c, d, size @ ..] = head;
    let size = u64::from(u32::from_le_bytes(size));
    if [a, b, c, d] != ID || size > MOST {
        return None;
    }
    let mut body = vec![0; usize::try_from(size).ok()?];
    file.read_exact_at(&mut body, at + 8).ok()?;
    believed(&body).ok()
}

/// The message that a file has in it. Whoever can write there could name what is no recording, and packets that
/// lie elsewhere: neither becomes a path.
pub(super) fn believed(text: &[u8]) -> io::Result<TapeMessage> {
    let bad = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let pairs = url::decode(text).map_err(|error| bad(error.to_string()))?;
    let mut message = TapeMessage::from_pairs(&pairs).map_err(|error| bad(error.to_string()))?;
    if OrkUid::parse(&message.recid).is_none() {
        return Err(bad("the recording that the file names has a name that is none".to_owned()));
    }
    if packets::named(&message).is_none() {
        message.tags.remove(packets::TAG);
    }
    Ok(message)
}
