//! Cipher suites (the IANA registry) as far as they are opened: what protects a record.
//!
//! How the key was agreed on does not matter here: the key log tells what came of it.

/// How a record is protected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Protection {
    /// AES in Galois/counter mode, 128-bit key (RFC 5288).
    Gcm128,
    /// The same, 256-bit key.
    Gcm256,
    /// `ChaCha20` and `Poly1305` (RFC 7905).
    ChaCha,
    /// AES in cipher block chaining mode, 128-bit key (RFC 5246 6.2.3.2).
    Cbc128(Mac),
    /// The same, 256-bit key.
    Cbc256(Mac),
}

/// The HMAC of a CBC suite.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mac {
    Sha1,
    Sha256,
    Sha384,
}

/// What keys are derived with; up to TLS 1.1 it is MD5 and SHA-1 whatever the suite says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
}

/// A cipher suite.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Suite {
    pub(super) protection: Protection,
    pub(super) hash: Hash,
    /// Of TLS 1.3.
    pub(super) of_13: bool,
}

impl Suite {
    /// `None` when its records cannot be opened.
    pub(super) const fn of(number: u16) -> Option<Self> {
        use Protection::{Cbc128, Cbc256, ChaCha, Gcm128, Gcm256};
        let (protection, hash) = match number {
            0x1301 => (Gcm128, Hash::Sha256),
            0x1302 => (Gcm256, Hash::Sha384),
            0x1303 => (ChaCha, Hash::Sha256),
            0x009C | 0x009E | 0x00A0 | 0x00A2 | 0x00A4 | 0x00A6 | 0x00A8 | 0x00AA | 0x00AC
            | 0xC02B | 0xC02D | 0xC02F | 0xC031 | 0xD001 => (Gcm128, Hash::Sha256),
            0x009D | 0x009F | 0x00A1 | 0x00A3 | 0x00A5 | 0x00A7 | 0x00A9 | 0x00AB | 0x00AD
            | 0xC02C | 0xC02E | 0xC030 | 0xC032 | 0xD002 => (Gcm256, Hash::Sha384),
            0xCCA8..=0xCCAE => (ChaCha, Hash::Sha256),
            0x002F..=0x0034
            | 0x008C
            | 0x0090
            | 0x0094
            | 0xC004
            | 0xC009
            | 0xC00E
            | 0xC013
            | 0xC018
            | 0xC035 => (Cbc128(Mac::Sha1), Hash::Sha256),
            0x0035..=0x003A
            | 0x008D
            | 0x0091
            | 0x0095
            | 0xC005
            | 0xC00A
            | 0xC00F
            | 0xC014
            | 0xC019
            | 0xC036 => (Cbc256(Mac::Sha1), Hash::Sha256),
            0x003C
            | 0x003E..=0x0040
            | 0x0067
            | 0x006C
            | 0x00AE
            | 0x00B2
            | 0x00B6
            | 0xC023
            | 0xC025
            | 0xC027
            | 0xC029
            | 0xC037 => (Cbc128(Mac::Sha256), Hash::Sha256),
            0x003D | 0x0068..=0x006B | 0x006D => (Cbc256(Mac::Sha256), Hash::Sha256),
            0x00AF | 0x00B3 | 0x00B7 | 0xC024 | 0xC026 | 0xC028 | 0xC02A | 0xC038 => {
                (Cbc256(Mac::Sha384), Hash::Sha384)
            }
            _ => return None,
        };
        Some(Self { protection, hash, of_13: number >> 8 == 0x13 })
    }
}

impl Protection {
    /// Bytes of the key.
    pub(super) const fn key(self) -> usize {
        match self {
            Self::Gcm128 | Self::Cbc128(_) => 16,
            Self::Gcm256 | Self::ChaCha | Self::Cbc256(_) => 32,
        }
    }

    /// Bytes of the MAC key up to TLS 1.2.
    pub(super) const fn mac_key(self) -> usize {
        match self {
            Self::Gcm128 | Self::Gcm256 | Self::ChaCha => 0,
            Self::Cbc128(mac) | Self::Cbc256(mac) => mac.bytes(),
        }
    }

    /// Bytes of the initialisation vector that is derived up to TLS 1.2; CBC uses it in TLS 1.0 only.
    pub(super) const fn derived_iv(self) -> usize {
        match self {
            Self::Gcm128 | Self::Gcm256 => 4,
            Self::ChaCha => 12,
            Self::Cbc128(_) | Self::Cbc256(_) => 16,
        }
    }
}

impl Mac {
    /// Bytes of the code, and of its key.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
        }
    }
}
