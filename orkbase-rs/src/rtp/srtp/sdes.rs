//! Reads what follows `inline:` in `a=crypto` (RFC 4568 §6.1, §6.3).
//!
//! Law: a parameter that would change how packets are read is obeyed or refused by name, never
//! overlooked.

use super::SrtpError;
use base64ct::{Base64Unpadded, Encoding};
use zeroize::Zeroizing;

/// Master key and salt of the longest suite.
const MOST_KEY: usize = 32 + 14;

/// Longest MKI (RFC 4568 §6.1).
const MOST_MKI: usize = 128;

/// One stated key.
pub(super) struct Sdes {
    /// Key, then salt.
    master: Zeroizing<[u8; MOST_KEY]>,
    length: usize,
    /// Master key identifier on every packet; empty when there is none.
    pub(super) mki: Box<[u8]>,
    /// False: the sender only authenticates.
    pub(super) encrypted: bool,
}

impl Sdes {
    /// `key|2^20|1:4 UNENCRYPTED_SRTP`: the key, its lifetime and MKI, then session parameters.
    pub(super) fn read(text: &[u8]) -> Result<Self, SrtpError> {
        let mut words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let key = words.next().unwrap_or_default();
        let key = key.split(|byte| *byte == b';').next().unwrap_or_default();
        let mut fields = key.split(|byte| *byte == b'|');
        let mut sdes = Self::base64(fields.next().unwrap_or_default())?;
        for field in fields {
            let mut parts = field.splitn(2, |byte| *byte == b':');
            let first = parts.next().unwrap_or_default();
            match parts.next() {
                Some(length) => sdes.mki = mki(first, length).ok_or(SrtpError::Mki)?,
                None if lifetime(first) => {}
                None => return Err(SrtpError::Lifetime),
            }
        }
        for word in words {
            sdes.encrypted &= session_parameter(word)?;
        }
        Ok(sdes)
    }

    fn base64(text: &[u8]) -> Result<Self, SrtpError> {
        // Some senders leave the padding out; its place says nothing that the length does not.
        let end = text.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
        let text = text.get(..end).unwrap_or_default();
        let mut master = Zeroizing::new([0; MOST_KEY]);
        let length = match Base64Unpadded::decode(text, master.as_mut_slice()) {
            Ok(bytes) => bytes.len(),
            Err(base64ct::Error::InvalidLength) => return Err(SrtpError::KeyLength),
            Err(base64ct::Error::InvalidEncoding) => return Err(SrtpError::Base64),
        };
        Ok(Self { master, length, mki: Box::default(), encrypted: true })
    }

    /// Key, then salt.
    pub(super) fn master(&self) -> &[u8] {
        self.master.get(..self.length).unwrap_or_default()
    }
}

/// `131072` or `2^17`. When it is over, the sender must stop; while packets come, we read them.
fn lifetime(field: &[u8]) -> bool {
    let number = field.strip_prefix(b"2^").unwrap_or(field);
    !number.is_empty() && number.iter().all(u8::is_ascii_digit)
}

/// `value:length`, as it lies in the packet: big endian, filled with zeros from the left.
fn mki(value: &[u8], length: &[u8]) -> Option<Box<[u8]>> {
    let value: u128 = decimal(value)?;
    let length = usize::try_from(decimal(length)?).ok()?;
    if !(1..=MOST_MKI).contains(&length) || (length < 16 && value >> (8 * length) != 0) {
        return None;
    }
    let mut bytes = vec![0; length].into_boxed_slice();
    for (slot, byte) in bytes.iter_mut().rev().zip(value.to_le_bytes()) {
        *slot = byte;
    }
    Some(bytes)
}

fn decimal(digits: &[u8]) -> Option<u128> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

/// Whether packets stay encrypted under this parameter; refuses those that we cannot obey.
fn session_parameter(word: &[u8]) -> Result<bool, SrtpError> {
    let (name, value) = match word.iter().position(|byte| *byte == b'=') {
        Some(at) => (word.get(..at).unwrap_or_default(), word.get(at + 1..).unwrap_or_default()),
        None => (word, &[][..]),
    };
    match name.strip_prefix(b"-").unwrap_or(name) {
        b"UNENCRYPTED_SRTP" => Ok(false),
        b"UNAUTHENTICATED_SRTP" => Err(SrtpError::Refused("UNAUTHENTICATED_SRTP")),
        // New keys every 2^n packets: offered by nobody met so far.
        b"KDR" if decimal(value) != Some(0) => Err(SrtpError::Refused("KDR")),
        // WSH, FEC_ORDER, FEC_KEY, UNENCRYPTED_SRTCP and vendors' own: none changes a media packet.
        _ => Ok(true),
    }
}
