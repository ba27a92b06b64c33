//! Crypto suites by the names that SDP gives them (RFC 4568 §6.2, RFC 6188 §6, RFC 7714 §14.1).

use super::SrtpError;

/// Sizes of one suite, in bytes.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Suite {
    /// As registered, or as a vendor writes it.
    pub(super) name: &'static str,
    /// Master key and session key.
    pub(super) key: usize,
    /// Master salt and session salt.
    pub(super) salt: usize,
    /// Authentication tag on every packet.
    pub(super) tag: usize,
    /// GCM; else counter mode with HMAC-SHA1.
    pub(super) aead: bool,
}

const fn counter(name: &'static str, key: usize, tag: usize) -> Suite {
    Suite { name, key, salt: 14, tag, aead: false }
}

const fn gcm(name: &'static str, key: usize, tag: usize) -> Suite {
    Suite { name, key, salt: 12, tag, aead: true }
}

/// The registered names, then those that `FreeSWITCH` and Linphone write.
pub(super) const SUITES: [Suite; 14] = [
    counter("AES_CM_128_HMAC_SHA1_80", 16, 10),
    counter("AES_CM_128_HMAC_SHA1_32", 16, 4),
    counter("AES_192_CM_HMAC_SHA1_80", 24, 10),
    counter("AES_192_CM_HMAC_SHA1_32", 24, 4),
    counter("AES_256_CM_HMAC_SHA1_80", 32, 10),
    counter("AES_256_CM_HMAC_SHA1_32", 32, 4),
    gcm("AEAD_AES_128_GCM", 16, 16),
    gcm("AEAD_AES_256_GCM", 32, 16),
    gcm("AEAD_AES_128_GCM_8", 16, 8),
    gcm("AEAD_AES_256_GCM_8", 32, 8),
    counter("AES_CM_192_HMAC_SHA1_80", 24, 10),
    counter("AES_CM_192_HMAC_SHA1_32", 24, 4),
    counter("AES_CM_256_HMAC_SHA1_80", 32, 10),
    counter("AES_CM_256_HMAC_SHA1_32", 32, 4),
];

/// Known and not read: obsolete, or without authentication, so that no key could be proven right.
const REFUSED: [&str; 7] = [
    "F8_128_HMAC_SHA1_80",
    "F8_128_HMAC_SHA1_32",
    "SEED_CTR_128_HMAC_SHA1_80",
    "SEED_128_CCM_80",
    "SEED_128_GCM_96",
    "AES_CM_128_NULL_AUTH",
    "NULL_HMAC_SHA1_80",
];

/// The suite of that name; case does not matter.
pub(super) fn named(name: &str) -> Result<&'static Suite, SrtpError> {
    if let Some(suite) = SUITES.iter().find(|suite| suite.name.eq_ignore_ascii_case(name)) {
        return Ok(suite);
    }
    let refused = REFUSED.iter().find(|refused| refused.eq_ignore_ascii_case(name));
    Err(refused.map_or(SrtpError::UnknownSuite, |refused| SrtpError::Refused(refused)))
}
