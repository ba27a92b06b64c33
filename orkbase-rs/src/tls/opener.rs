//! Opens the records of one side under one key.
//!
//! Law: nothing is given out that was not authenticated. Which number a record has (RFC 5246 6.1,
//! RFC 8446 5.3) is known, or guessed among the next few after a hole.

use super::{
    derive::Keys,
    hello::Version,
    record::{HEADER, Record},
    suite::{Mac as MacKind, Protection, Suite},
};
use aes::{
    Aes128Dec, Aes128Enc, Aes256Dec, Aes256Enc,
    cipher::{
        Array, BlockCipherDecrypt, BlockModeDecrypt, KeyInit, KeyIvInit,
        consts::{U12, U16},
    },
};
use aes_gcm::{
    AesGcm,
    aead::{AeadCore, AeadInOut},
};
use cbc::Decryptor;
use chacha20poly1305::ChaCha20Poly1305;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha384};
use zeroize::Zeroizing;

const BLOCK: usize = 16;
const TAG: usize = 16;
/// Nonce bytes that a GCM record of TLS 1.2 carries (RFC 5288 3).
const EXPLICIT: usize = 8;

/// One key of one side, ready for use.
pub(super) struct Opener {
    cipher: Cipher,
    iv: Zeroizing<Vec<u8>>,
    version: Version,
    /// Number of the next record.
    sequence: u64,
}

enum Cipher {
    Gcm128(Box<AesGcm<Aes128Enc, U12, U16>>),
    Gcm256(Box<AesGcm<Aes256Enc, U12, U16>>),
    ChaCha(ChaCha20Poly1305),
    Cbc { wide: bool, key: Zeroizing<Vec<u8>>, mac: MacKey, encrypt_then_mac: bool },
}

struct MacKey {
    kind: MacKind,
    key: Zeroizing<Vec<u8>>,
}

impl Opener {
    /// `None` when the keys do not fit the suite.
    pub(super) fn new(
        suite: &Suite,
        version: Version,
        encrypt_then_mac: bool,
        keys: Keys,
    ) -> Option<Self> {
        let cbc = |wide, kind| {
            let mac = MacKey { kind, key: keys.mac };
            Cipher::Cbc { wide, key: keys.key.clone(), mac, encrypt_then_mac }
        };
        let cipher = match suite.protection {
            Protection::Gcm128 => Cipher::Gcm128(Box::new(AesGcm::new_from_slice(&keys.key).ok()?)),
            Protection::Gcm256 => Cipher::Gcm256(Box::new(AesGcm::new_from_slice(&keys.key).ok()?)),
            Protection::ChaCha => Cipher::ChaCha(ChaCha20Poly1305::new_from_slice(&keys.key).ok()?),
            Protection::Cbc128(kind) => cbc(false, kind),
            Protection::Cbc256(kind) => cbc(true, kind),
        };
        Some(Self { cipher, iv: keys.iv, version, sequence: 0 })
    }

    /// Number of the next record.
    pub(super) const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Writes the plain content to `out` under the first of `guesses` numbers that proves right.
    pub(super) fn open(
        &mut self,
        record: &Record<'_>,
        guesses: u64,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let numbers = self.sequence..self.sequence.saturating_add(guesses);
        let found = match &self.cipher {
            Cipher::Gcm128(gcm) => self.open_aead(gcm.as_ref(), record, numbers, out),
            Cipher::Gcm256(gcm) => self.open_aead(gcm.as_ref(), record, numbers, out),
            Cipher::ChaCha(chacha) => self.open_aead(chacha, record, numbers, out),
            Cipher::Cbc { wide, key, mac, encrypt_then_mac } => {
                let cbc = Cbc { iv: &self.iv, version: self.version, key, wide: *wide, mac };
                let found = if *encrypt_then_mac {
                    cbc.open_encrypted_then_authenticated(record, numbers, out)
                } else {
                    cbc.open_authenticated_then_encrypted(record, numbers, out)
                };
                // TLS 1.0 chains records; the next one is right again even if this one was cut.
                let code = if *encrypt_then_mac { mac.kind.bytes() } else { 0 };
                let end = record.body.len().saturating_sub(code);
                if self.version == Version::Tls10
                    && let Some(last) = record.body.get(..end).and_then(<[u8]>::last_chunk::<BLOCK>)
                {
                    self.iv = Zeroizing::new(last.to_vec());
                }
                found
            }
        };
        if found.is_none() {
            out.clear();
        }
        self.sequence = found?.saturating_add(1);
        Some(())
    }

    fn open_aead<A: AeadInOut + AeadCore<NonceSize = U12, TagSize = U16>>(
        &self,
        aead: &A,
        record: &Record<'_>,
        mut numbers: impl Iterator<Item = u64>,
        out: &mut Vec<u8>,
    ) -> Option<u64> {
        let carried = self.version != Version::Tls13 && self.iv.len() == 4;
        let (explicit, sealed) =
            record.body.split_at_checked(if carried { EXPLICIT } else { 0 })?;
        let (body, tag) = sealed.split_at_checked(sealed.len().checked_sub(TAG)?)?;
        let tag = <&Array<u8, U16>>::try_from(tag).ok()?;
        out.clear();
        out.extend_from_slice(body);
        numbers.find(|number| {
            let mut nonce = [0; 12];
            for (place, byte) in nonce.iter_mut().zip(self.iv.iter().chain(explicit)) {
                *place = *byte;
            }
            if !carried {
                for (place, byte) in nonce.iter_mut().skip(4).zip(number.to_be_bytes()) {
                    *place ^= byte;
                }
            }
            let (head, nonce) = (head(record, *number, body.len()), Array::from(nonce));
            let head = if self.version == Version::Tls13 { &record.header } else { &head[..] };
            aead.decrypt_inout_detached(&nonce, head, out.as_mut_slice().into(), tag).is_ok()
        })
    }
}

/// What a code covers before the content up to TLS 1.2: number, type, version, length.
fn head(record: &Record<'_>, number: u64, length: usize) -> [u8; 8 + HEADER] {
    let [kind, major, minor, ..] = record.header;
    let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
    let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    [a, b, c, d, e, f, g, h, kind, major, minor, high, low]
}

/// A CBC record and what it needs.
struct Cbc<'a> {
    iv: &'a [u8],
    version: Version,
    key: &'a [u8],
    wide: bool,
    mac: &'a MacKey,
}

impl Cbc<'_> {
    /// RFC 5246 6.2.3.2.
    fn open_authenticated_then_encrypted(
        &self,
        record: &Record<'_>,
        mut numbers: impl Iterator<Item = u64>,
        out: &mut Vec<u8>,
    ) -> Option<u64> {
        self.decipher(record.body, out)?;
        let unpadded = unpadded(out)?;
        let length = unpadded.checked_sub(self.mac.kind.bytes())?;
        let (content, code) = out.get(..unpadded)?.split_at_checked(length)?;
        let number = numbers
            .find(|number| self.mac.proves(&head(record, *number, length), content, code))?;
        out.truncate(length);
        Some(number)
    }

    /// RFC 7366.
    fn open_encrypted_then_authenticated(
        &self,
        record: &Record<'_>,
        mut numbers: impl Iterator<Item = u64>,
        out: &mut Vec<u8>,
    ) -> Option<u64> {
        let length = record.body.len().checked_sub(self.mac.kind.bytes())?;
        let (body, code) = record.body.split_at_checked(length)?;
        let number =
            numbers.find(|number| self.mac.proves(&head(record, *number, length), body, code))?;
        self.decipher(body, out)?;
        let unpadded = unpadded(out)?;
        out.truncate(unpadded);
        Some(number)
    }

    /// Writes the content with its padding.
    fn decipher(&self, body: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let (iv, body) = match self.version {
            Version::Tls10 => (self.iv, body),
            Version::Tls11 | Version::Tls12 | Version::Tls13 => body.split_at_checked(BLOCK)?,
        };
        if body.is_empty() || !body.len().is_multiple_of(BLOCK) {
            return None;
        }
        out.clear();
        out.extend_from_slice(body);
        if self.wide {
            decipher::<Aes256Dec>(self.key, iv, out)
        } else {
            decipher::<Aes128Dec>(self.key, iv, out)
        }
    }
}

fn decipher<C: BlockCipherDecrypt<BlockSize = U16> + KeyInit>(
    key: &[u8],
    iv: &[u8],
    bytes: &mut [u8],
) -> Option<()>
where
    Decryptor<C>: KeyIvInit + BlockModeDecrypt<BlockSize = U16>,
{
    let mut decryptor = <Decryptor<C> as KeyIvInit>::new_from_slices(key, iv).ok()?;
    let (blocks, _) = Array::<u8, U16>::slice_as_chunks_mut(bytes);
    decryptor.decrypt_blocks(blocks);
    Some(())
}

/// Length without the padding; `None` when that is none.
fn unpadded(bytes: &[u8]) -> Option<usize> {
    let padding = usize::from(*bytes.last()?) + 1;
    let length = bytes.len().checked_sub(padding)?;
    let padding = bytes.get(length..)?;
    padding.iter().all(|byte| Some(byte) == bytes.last()).then_some(length)
}

impl MacKey {
    fn proves(&self, head: &[u8], content: &[u8], code: &[u8]) -> bool {
        match self.kind {
            MacKind::Sha1 => proves::<Hmac<Sha1>>(&self.key, head, content, code),
            MacKind::Sha256 => proves::<Hmac<Sha256>>(&self.key, head, content, code),
            MacKind::Sha384 => proves::<Hmac<Sha384>>(&self.key, head, content, code),
        }
    }
}

fn proves<M: Mac + KeyInit>(key: &[u8], head: &[u8], content: &[u8], code: &[u8]) -> bool {
    <M as KeyInit>::new_from_slice(key)
        .is_ok_and(|mac| mac.chain_update(head).chain_update(content).verify_slice(code).is_ok())
}
