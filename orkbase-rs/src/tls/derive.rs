//! From secrets to keys: the PRF up to TLS 1.2 (RFC 2246 5, RFC 5246 5) and HKDF-Expand-Label of
//! TLS 1.3 (RFC 8446 7.1).

use super::{
    secrets::Secret,
    suite::{Hash, Protection},
};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Sha256, Sha384};
use zeroize::Zeroizing;

/// Longest block of keys up to TLS 1.2: two of 48 + 32 + 16 bytes.
const KEY_BLOCK: usize = 192;

/// What one side protects its records with.
pub(super) struct Keys {
    pub(super) mac: Zeroizing<Vec<u8>>,
    pub(super) key: Zeroizing<Vec<u8>>,
    pub(super) iv: Zeroizing<Vec<u8>>,
}

/// Keys of a side (0 client, 1 server) up to TLS 1.2 (RFC 5246 6.3); `None` as hash is TLS 1.0 and 1.1.
pub(super) fn keys_12(
    hash: Option<Hash>,
    master: &Secret,
    [client, server]: [&[u8; 32]; 2],
    protection: Protection,
    side: usize,
) -> Option<Keys> {
    let (mac, key, iv) = (protection.mac_key(), protection.key(), protection.derived_iv());
    let mut block = Zeroizing::new([0; KEY_BLOCK]);
    let block = block.get_mut(..2 * (mac + key + iv))?;
    let seed = [b"key expansion".as_slice(), server, client].concat();
    match hash {
        Some(Hash::Sha256) => expand::<Hmac<Sha256>>(master.as_bytes(), &seed, block),
        Some(Hash::Sha384) => expand::<Hmac<Sha384>>(master.as_bytes(), &seed, block),
        None => {
            // Each hash takes one half; both halves share the middle byte when the length is odd.
            let half = master.as_bytes().len().div_ceil(2);
            let (first, _) = master.as_bytes().split_at_checked(half)?;
            let last = master.as_bytes().get(master.as_bytes().len() - half..)?;
            expand::<Hmac<Md5>>(first, &seed, block);
            expand::<Hmac<Sha1>>(last, &seed, block);
        }
    }
    let mut rest = &*block;
    let mut next = |length: usize| -> Option<[Zeroizing<Vec<u8>>; 2]> {
        let (client, after) = rest.split_at_checked(length)?;
        let (server, after) = after.split_at_checked(length)?;
        rest = after;
        Some([Zeroizing::new(client.to_vec()), Zeroizing::new(server.to_vec())])
    };
    let (macs, keys, ivs) = (next(mac)?, next(key)?, next(iv)?);
    let of = |mut both: [Zeroizing<Vec<u8>>; 2]| both.get_mut(side).map(std::mem::take);
    Some(Keys { mac: of(macs)?, key: of(keys)?, iv: of(ivs)? })
}

/// `P_hash`, added to what stands in `out`.
fn expand<M: Mac + KeyInit + Clone>(secret: &[u8], seed: &[u8], out: &mut [u8]) {
    let Ok(mac) = <M as KeyInit>::new_from_slice(secret) else { return };
    let mut a = mac.clone().chain_update(seed).finalize().into_bytes();
    for piece in out.chunks_mut(a.len()) {
        let bytes = mac.clone().chain_update(&a).chain_update(seed).finalize().into_bytes();
        for (out, byte) in piece.iter_mut().zip(bytes) {
            *out ^= byte;
        }
        a = mac.clone().chain_update(&a).finalize().into_bytes();
    }
}

/// Keys of a traffic secret of TLS 1.3 (RFC 8446 7.3).
pub(super) fn keys_13(hash: Hash, secret: &Secret, protection: Protection) -> Option<Keys> {
    let mut key = Zeroizing::new(vec![0; protection.key()]);
    let mut iv = Zeroizing::new(vec![0; 12]);
    expand_label(hash, secret, "key", &mut key)?;
    expand_label(hash, secret, "iv", &mut iv)?;
    Some(Keys { mac: Zeroizing::default(), key, iv })
}

/// The traffic secret after a `KeyUpdate` (RFC 8446 7.2).
pub(super) fn next_13(hash: Hash, secret: &Secret) -> Option<Secret> {
    let mut bytes = Zeroizing::new([0; 48]);
    let bytes = bytes.get_mut(..secret.as_bytes().len())?;
    expand_label(hash, secret, "traffic upd", bytes)?;
    Secret::new(bytes)
}

fn expand_label(hash: Hash, secret: &Secret, label: &str, out: &mut [u8]) -> Option<()> {
    let length = u16::try_from(out.len()).ok()?.to_be_bytes();
    let name = u8::try_from(label.len() + 6).ok()?;
    let info = [length.as_slice(), &[name], b"tls13 ", label.as_bytes(), &[0]].concat();
    match hash {
        Hash::Sha256 => Hkdf::<Sha256>::from_prk(secret.as_bytes()).ok()?.expand(&info, out),
        Hash::Sha384 => Hkdf::<Sha384>::from_prk(secret.as_bytes()).ok()?.expand(&info, out),
    }
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digit = |digit: &u8| u8::try_from(char::from(*digit).to_digit(16).unwrap()).unwrap();
        hex.as_bytes().chunks(2).map(|pair| digit(&pair[0]) << 4 | digit(&pair[1])).collect()
    }

    /// RFC 8448 3: the server's handshake traffic secret and its keys.
    #[test]
    fn keys_of_rfc_8448() {
        let secret = bytes("b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38");
        let keys =
            keys_13(Hash::Sha256, &Secret::new(&secret).unwrap(), Protection::Gcm128).unwrap();
        assert_eq!(*keys.key, bytes("3fce516009c21727d0f2e4e86ee403bc"));
        assert_eq!(*keys.iv, bytes("5d313eb2671276ee13000b30"));
    }
}
