//! The session keys of one sender, and how a packet is opened with them.
//!
//! Law: nothing is decrypted before it is authenticated, with a comparison of constant time; what
//! was derived from a master key is wiped when its last owner goes.
//!
//! Key derivation is RFC 3711 §4.3 (a rate of zero: once) with the wider ciphers of RFC 6188 and
//! the shorter salt of RFC 7714 §11. The counter block and the GCM nonce are the same sum of salt,
//! SSRC and packet index (RFC 3711 §4.1.1, RFC 7714 §8.1).

use super::suite::Suite;
use aes::{
    Aes128Enc, Aes192Enc, Aes256Enc,
    cipher::{
        Array, BlockCipherEncrypt, InnerIvInit, KeyInit, StreamCipherCore,
        consts::{U8, U12, U16},
    },
};
use aes_gcm::{
    AesGcm,
    aead::{AeadCore, AeadInOut},
};
use ctr::{CtrCore, flavors::Ctr32BE};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use zeroize::Zeroizing;

/// Session key of HMAC-SHA1, in bytes.
const MAC_KEY: usize = 20;

/// What a session key is for (RFC 3711 §4.3.2).
const ENCRYPTION: u8 = 0;
const AUTHENTICATION: u8 = 1;
const SALTING: u8 = 2;

/// One packet, cut into what the transform needs.
pub(super) struct Sealed<'a> {
    /// Everything up to the tag, without MKI.
    pub(super) authenticated: &'a [u8],
    /// Length of its clear start.
    pub(super) header: usize,
    /// The sender's proof.
    pub(super) tag: &'a [u8],
    /// Synchronisation source.
    pub(super) ssrc: u32,
    /// Sequence number.
    pub(super) sequence: u16,
}

/// Session keys, ready for use.
pub(super) struct Keys {
    transform: Transform,
    salt: Zeroizing<u128>,
    encrypted: bool,
}

enum Transform {
    Counter { aes: Aes, mac: Hmac<Sha1> },
    Gcm128(AesGcm<Aes128Enc, U12, U16>),
    Gcm256(AesGcm<Aes256Enc, U12, U16>),
    Gcm128Short(AesGcm<Aes128Enc, U12, U8>),
    Gcm256Short(AesGcm<Aes256Enc, U12, U8>),
}

impl Keys {
    /// Derives the session keys; `None` when the master key is not as long as the suite says.
    pub(super) fn derive(suite: &Suite, master: &[u8], encrypted: bool) -> Option<Self> {
        let (key, salt) = master.split_at_checked(suite.key)?;
        if salt.len() != suite.salt {
            return None;
        }
        let master = Aes::new(key)?;
        // A salt of 96 bits counts as one of 112 that ends in zeros.
        let salt = Zeroizing::new(number(salt) << (8 * (14 - suite.salt)));
        let derive = |label: u8, bytes: &mut [u8]| {
            master.apply((*salt ^ (u128::from(label) << 48)) << 16, bytes);
        };
        let mut session_key = Zeroizing::new([0; 32]);
        let session_key = session_key.get_mut(..suite.key)?;
        let mut mac_key = Zeroizing::new([0; MAC_KEY]);
        let mut session_salt = Zeroizing::new([0; 14]);
        let session_salt = session_salt.get_mut(..suite.salt)?;
        derive(ENCRYPTION, session_key);
        derive(AUTHENTICATION, mac_key.as_mut_slice());
        derive(SALTING, session_salt);
        Self::of_session(suite, session_key, session_salt, &mac_key, encrypted)
    }

    /// From session keys themselves.
    pub(super) fn of_session(
        suite: &Suite,
        key: &[u8],
        salt: &[u8],
        mac: &[u8; MAC_KEY],
        encrypted: bool,
    ) -> Option<Self> {
        let transform = match (suite.aead, suite.key, suite.tag) {
            (false, ..) => Transform::Counter {
                aes: Aes::new(key)?,
                mac: <Hmac<Sha1> as KeyInit>::new_from_slice(mac).ok()?,
            },
            (true, 16, 16) => Transform::Gcm128(AesGcm::new_from_slice(key).ok()?),
            (true, 32, 16) => Transform::Gcm256(AesGcm::new_from_slice(key).ok()?),
            (true, 16, 8) => Transform::Gcm128Short(AesGcm::new_from_slice(key).ok()?),
            (true, 32, 8) => Transform::Gcm256Short(AesGcm::new_from_slice(key).ok()?),
            (true, ..) => return None,
        };
        Some(Self { transform, salt: Zeroizing::new(number(salt)), encrypted })
    }

    /// Whether both come from one master key: salts derived from two differ.
    pub(super) fn same(&self, other: &Self) -> bool {
        *self.salt == *other.salt && self.encrypted == other.encrypted
    }

    /// Writes the plain payload under the first roll-over counter that proves right, and gives it.
    pub(super) fn open(
        &self,
        sealed: &Sealed<'_>,
        guesses: impl Iterator<Item = u32>,
        out: &mut Vec<u8>,
    ) -> Option<u32> {
        match &self.transform {
            Transform::Counter { aes, mac } => self.open_counter(aes, mac, sealed, guesses, out),
            Transform::Gcm128(gcm) => self.open_gcm(gcm, sealed, guesses, out),
            Transform::Gcm256(gcm) => self.open_gcm(gcm, sealed, guesses, out),
            Transform::Gcm128Short(gcm) => self.open_gcm(gcm, sealed, guesses, out),
            Transform::Gcm256Short(gcm) => self.open_gcm(gcm, sealed, guesses, out),
        }
    }

    fn open_counter(
        &self,
        aes: &Aes,
        mac: &Hmac<Sha1>,
        sealed: &Sealed<'_>,
        mut guesses: impl Iterator<Item = u32>,
        out: &mut Vec<u8>,
    ) -> Option<u32> {
        // The counter comes last, so that a further guess costs its own few bytes only.
        let mac = mac.clone().chain_update(sealed.authenticated);
        let roc = guesses.find(|roc| {
            mac.clone().chain_update(roc.to_be_bytes()).verify_truncated_left(sealed.tag).is_ok()
        })?;
        out.clear();
        out.extend_from_slice(sealed.authenticated.get(sealed.header..)?);
        if self.encrypted {
            aes.apply(self.nonce(sealed, roc) << 16, out);
        }
        Some(roc)
    }

    fn open_gcm<A: AeadInOut + AeadCore<NonceSize = U12>>(
        &self,
        gcm: &A,
        sealed: &Sealed<'_>,
        mut guesses: impl Iterator<Item = u32>,
        out: &mut Vec<u8>,
    ) -> Option<u32> {
        let (header, body) = sealed.authenticated.split_at_checked(sealed.header)?;
        let tag = <&Array<u8, A::TagSize>>::try_from(sealed.tag).ok()?;
        out.clear();
        out.extend_from_slice(body);
        let roc = guesses.find(|roc| {
            let [_, _, _, _, nonce @ ..] = self.nonce(sealed, *roc).to_be_bytes();
            gcm.decrypt_inout_detached(&Array::from(nonce), header, out.as_mut_slice().into(), tag)
                .is_ok()
        });
        if roc.is_none() {
            out.clear();
        }
        roc
    }

    fn nonce(&self, sealed: &Sealed<'_>, roc: u32) -> u128 {
        let index = u128::from(roc) << 16 | u128::from(sealed.sequence);
        *self.salt ^ (u128::from(sealed.ssrc) << 48) ^ index
    }
}

/// AES in one direction: counter mode never deciphers.
enum Aes {
    Aes128(Aes128Enc),
    Aes192(Aes192Enc),
    Aes256(Aes256Enc),
}

impl Aes {
    fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Aes128Enc::new_from_slice(key).ok().map(Self::Aes128),
            24 => Aes192Enc::new_from_slice(key).ok().map(Self::Aes192),
            32 => Aes256Enc::new_from_slice(key).ok().map(Self::Aes256),
            _ => None,
        }
    }

    /// Adds the key stream that starts at `counter`.
    fn apply(&self, counter: u128, bytes: &mut [u8]) {
        match self {
            Self::Aes128(aes) => apply(aes, counter, bytes),
            Self::Aes192(aes) => apply(aes, counter, bytes),
            Self::Aes256(aes) => apply(aes, counter, bytes),
        }
    }
}

/// The low 16 bits of `counter` are zero and a datagram has less than 2^12 blocks: no carry ever
/// leaves the low 32 bits.
fn apply<C: BlockCipherEncrypt<BlockSize = U16>>(aes: &C, counter: u128, bytes: &mut [u8]) {
    let iv = Array::from(counter.to_be_bytes());
    CtrCore::<&C, Ctr32BE>::inner_iv_init(aes, &iv).apply_keystream_partial(bytes.into());
}

fn number(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
}
