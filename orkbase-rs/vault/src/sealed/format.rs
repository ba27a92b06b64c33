//! The bytes of a sealed file; no input or output.

use super::extents::{Extents, Place};
use crate::keys::{Key, KeyRing};
use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce, Tag, aead::AeadInOut as _};
use std::io;
use thiserror::Error;
use zeroize::Zeroizing;

/// How a sealed file begins.
pub const MAGIC: [u8; 8] = *b"ORKSEAL1";
/// What stands behind the name of a sealed file.
pub const EXTENSION: &str = "sealed";
/// Bytes before the first record.
pub(super) const HEADER: usize = 100;
/// Bytes of a record before its ciphertext.
pub(super) const HEAD: usize = 28;
/// Bytes behind it.
pub(super) const TAG: usize = 16;
/// The most plain bytes of a record.
pub(super) const MAX_RECORD: usize = 64 * 1024;
/// The most records of a file: a day of calls has some hundred thousand.
pub(super) const MAX_RECORDS: usize = 3_000_000;
/// The most bytes of a closing record.
const MAX_CLOSING: u32 = 64 << 20;
/// How a closed file ends.
const END: [u8; 8] = *b"ORKSEND1";
/// Bytes behind the closing record.
pub(super) const TRAILER: usize = 16;
/// Bytes of a record in the closing record, and of what stands before them.
const ENTRY: usize = 20;
const FIRST: usize = 16;

/// Why a sealed file is not read.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum SealError {
    /// It begins otherwise.
    #[error("it is no sealed file, or its beginning was changed")]
    NotSealed,
    /// No key.
    #[error("it is sealed with the key {0}, which the key file does not have")]
    UnknownKey(String),
    /// The key of that name is another one.
    #[error("it is sealed with another key of the name {0}, or its beginning was changed")]
    WrongKey(String),
    /// A record.
    #[error("record {0} was changed, or is not where it belongs")]
    Changed(u64),
    /// Its end.
    #[error("its end was changed")]
    End,
}

impl From<SealError> for io::Error {
    fn from(error: SealError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// Encrypts and authenticates records of one file.
pub(super) struct Sealer {
    cipher: Aes256Gcm,
    file_id: [u8; 16],
}

/// What a file of this header needs to begin with: its bytes and its sealer.
pub(super) fn begin(key: &Key, random: &[u8; 60]) -> Option<(Vec<u8>, Sealer)> {
    let (file_id, rest) = random.split_first_chunk::<16>()?;
    let (nonce, rest) = rest.split_first_chunk::<12>()?;
    let data_key = Zeroizing::new(*rest.first_chunk::<32>()?);
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(key.id());
    head.extend_from_slice(file_id);
    let mut wrapped = Zeroizing::new(data_key.to_vec());
    let wrapping = Aes256Gcm::new_from_slice(key.bytes()).ok()?;
    let tag = wrapping
        .encrypt_inout_detached(&Nonce::from(*nonce), &head, wrapped.as_mut_slice().into())
        .ok()?;
    head.extend_from_slice(nonce);
    head.extend_from_slice(&wrapped);
    head.extend_from_slice(&tag);
    let cipher = Aes256Gcm::new_from_slice(data_key.as_slice()).ok()?;
    Some((head, Sealer { cipher, file_id: *file_id }))
}

/// The sealer of a file that begins so.
pub(super) fn read_header(bytes: &[u8; HEADER], ring: &KeyRing) -> Result<Sealer, SealError> {
    let not = SealError::NotSealed;
    let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(not.clone())?;
    if *magic != MAGIC {
        return Err(not);
    }
    let (id, rest) = rest.split_first_chunk::<16>().ok_or(not.clone())?;
    let (file_id, rest) = rest.split_first_chunk::<16>().ok_or(not.clone())?;
    let (nonce, rest) = rest.split_first_chunk::<12>().ok_or(not.clone())?;
    let (wrapped, tag) = rest.split_first_chunk::<32>().ok_or(not.clone())?;
    let tag = tag.first_chunk::<16>().ok_or(not)?;
    let name = || {
        let name = String::from_utf8_lossy(id);
        name.trim_end_matches('\0').replace(|c: char| !c.is_ascii_graphic(), "?")
    };
    let key = ring.find(id).ok_or_else(|| SealError::UnknownKey(name()))?;
    let mut data_key = Zeroizing::new(wrapped.to_vec());
    let head = bytes.get(..40).unwrap_or_default();
    let cipher = Aes256Gcm::new_from_slice(key.bytes())
        .ok()
        .filter(|wrapping| {
            let (nonce, tag) = (Nonce::from(*nonce), Tag::from(*tag));
            let open = data_key.as_mut_slice().into();
            wrapping.decrypt_inout_detached(&nonce, head, open, &tag).is_ok()
        })
        .ok_or_else(|| SealError::WrongKey(name()))?;
    drop(cipher);
    let cipher = Aes256Gcm::new_from_slice(&data_key);
    let cipher = cipher.map_err(|_| SealError::WrongKey(name()))?;
    Ok(Sealer { cipher, file_id: *file_id })
}

/// What a record holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Data,
    Closing,
}

/// What stands before the ciphertext of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) length: u32,
    pub(super) offset: u64,
    pub(super) nonce: [u8; 12],
}

impl Head {
    fn told(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let kind = u8::from(self.kind == Kind::Closing);
        let parts = [kind, 0, 0, 0].into_iter().chain(self.length.to_le_bytes());
        let parts = parts.chain(self.offset.to_le_bytes());
        bytes.iter_mut().zip(parts).for_each(|(place, byte)| *place = byte);
        bytes
    }

    /// Reads one; `None` when it cannot be one.
    pub(super) fn read(bytes: &[u8; HEAD]) -> Option<Self> {
        let (told, nonce) = bytes.split_first_chunk::<16>()?;
        let [kind, 0, 0, 0, l0, l1, l2, l3, offset @ ..] = *told else { return None };
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::Closing,
            _ => return None,
        };
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        let most = match kind {
            Kind::Data => u32::try_from(MAX_RECORD).unwrap_or(0),
            Kind::Closing => MAX_CLOSING,
        };
        let offset = u64::from_le_bytes(offset);
        let good = (1..=most).contains(&length) && offset.checked_add(u64::from(length)).is_some();
        good.then_some(Self { kind, length, offset, nonce: *nonce.first_chunk()? })
    }

    /// Bytes of the whole record.
    pub(super) fn record_bytes(self) -> u64 {
        u64::try_from(HEAD + TAG).unwrap_or(0) + u64::from(self.length)
    }
}

impl Sealer {
    /// What is authenticated besides the ciphertext.
    fn besides(&self, number: u64, head: Head) -> [u8; 40] {
        let mut bytes = [0; 40];
        let parts = self.file_id.into_iter().chain(number.to_le_bytes()).chain(head.told());
        bytes.iter_mut().zip(parts).for_each(|(place, byte)| *place = byte);
        bytes
    }

    /// A whole record.
    pub(super) fn seal(&self, number: u64, head: Head, plain: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(HEAD + plain.len() + TAG);
        bytes.extend_from_slice(&head.told());
        bytes.extend_from_slice(&head.nonce);
        bytes.extend_from_slice(plain);
        let besides = self.besides(number, head);
        let body = bytes.get_mut(HEAD..).unwrap_or_default();
        let tag = self
            .cipher
            .encrypt_inout_detached(&Nonce::from(head.nonce), &besides, body.into())
            .map_err(|_| io::Error::other("a record could not be sealed"))?;
        bytes.extend_from_slice(&tag);
        Ok(bytes)
    }

    /// What is in a record; `body` is its ciphertext with the tag behind it.
    pub(super) fn open(
        &self,
        number: u64,
        head: Head,
        mut body: Vec<u8>,
    ) -> Result<Vec<u8>, SealError> {
        let changed = SealError::Changed(number);
        let (_, tag) = body.split_last_chunk::<TAG>().ok_or(changed.clone())?;
        let tag = Tag::from(*tag);
        body.truncate(body.len() - TAG);
        let besides = self.besides(number, head);
        self.cipher
            .decrypt_inout_detached(
                &Nonce::from(head.nonce),
                &besides,
                body.as_mut_slice().into(),
                &tag,
            )
            .map_err(|_| changed)?;
        Ok(body)
    }
}

/// What the closing record tells.
pub(super) fn closing(extents: &Extents, size: u64) -> Vec<u8> {
    let records = extents.records();
    let mut bytes = Vec::with_capacity(FIRST + ENTRY * records.len());
    bytes.extend_from_slice(&u64::try_from(records.len()).unwrap_or(0).to_le_bytes());
    bytes.extend_from_slice(&size.to_le_bytes());
    for place in records {
        bytes.extend_from_slice(&place.offset.to_le_bytes());
        bytes.extend_from_slice(&place.length.to_le_bytes());
        bytes.extend_from_slice(&place.at.to_le_bytes());
    }
    bytes
}

/// The same, read.
pub(super) fn read_closing(bytes: &[u8]) -> Option<(Extents, u64)> {
    let (count, rest) = bytes.split_first_chunk::<8>()?;
    let (size, rest) = rest.split_first_chunk::<8>()?;
    let (entries, more) = rest.as_chunks::<ENTRY>();
    if !more.is_empty() || u64::try_from(entries.len()) != Ok(u64::from_le_bytes(*count)) {
        return None;
    }
    let mut extents = Extents::default();
    for entry in entries {
        let (offset, rest) = entry.split_first_chunk::<8>()?;
        let (length, at) = rest.split_first_chunk::<4>()?;
        let (offset, length) = (u64::from_le_bytes(*offset), u32::from_le_bytes(*length));
        let at = u64::from_le_bytes(*at.first_chunk()?);
        offset.checked_add(u64::from(length))?;
        extents.push(Place { offset, length, at });
    }
    Some((extents, u64::from_le_bytes(*size)))
}

/// What stands at the very end.
pub(super) fn trailer(closing_at: u64) -> [u8; TRAILER] {
    let mut bytes = [0; TRAILER];
    let parts = END.into_iter().chain(closing_at.to_le_bytes());
    bytes.iter_mut().zip(parts).for_each(|(place, byte)| *place = byte);
    bytes
}

/// Where the closing record is.
pub(super) fn read_trailer(bytes: &[u8; TRAILER]) -> Option<u64> {
    let (end, at) = bytes.split_first_chunk::<8>()?;
    (*end == END).then_some(u64::from_le_bytes(*at.first_chunk()?))
}
