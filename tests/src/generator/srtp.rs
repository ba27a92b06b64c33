//! Encrypted media (RFC 3711, `AES_CM_128_HMAC_SHA1_80`), straight from the RFC and block by block: shares
//! nothing with the recorder but the primitives.

use super::chance::Chance;
use crate::wire::RTP_HEADER;
use aes::{
    Aes128Enc,
    cipher::{Array, BlockCipherEncrypt, KeyInit},
};
use base64ct::{Base64, Encoding};
use hmac::{Hmac, Mac};
use sha1::Sha1;

/// Octets behind each packet that prove it.
pub const TAG: usize = 10;
const KEY: usize = 16;
const SALT: usize = 14;

/// The sender of one stream.
#[derive(Clone, Debug)]
pub struct Sealer {
    master: [u8; KEY + SALT],
    cipher: Aes128Enc,
    salt: [u8; SALT],
    mac: Hmac<Sha1>,
}

impl Sealer {
    /// A sender with a master key of its own.
    #[must_use]
    pub fn new(chance: &mut Chance) -> Self {
        let mut master = [0; KEY + SALT];
        master.fill_with(|| chance.word().to_be_bytes()[0]);
        let (key, salt) = master.split_at(KEY);
        let cipher = Aes128Enc::new(&array(key).into());
        let derive = |label: u8| {
            let mut iv: [u8; 16] = array(salt);
            if let Some(octet) = iv.get_mut(7) {
                *octet ^= label;
            }
            [stream_block(&cipher, iv, 0), stream_block(&cipher, iv, 1)].concat()
        };
        let [encrypt, authenticate, salting] = [0, 1, 2].map(derive);
        let mac = authenticate.get(..20).unwrap_or_default();
        Self {
            master,
            cipher: Aes128Enc::new(&array::<KEY>(&encrypt).into()),
            salt: array(&salting),
            mac: <Hmac<Sha1> as KeyInit>::new(&array::<64>(mac).into()),
        }
    }

    /// The attribute that tells the key (RFC 4568).
    #[must_use]
    pub fn attribute(&self) -> String {
        let key = Base64::encode_string(&self.master);
        format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}\r\n")
    }

    /// Encrypts a packet in place; the last [`TAG`] octets of it are for the proof. `index` counts packets
    /// from a sequence number of zero on.
    pub fn seal(&self, index: u64, ssrc: u32, packet: &mut [u8]) {
        let mut iv = [0; 16];
        for (octet, salt) in iv.iter_mut().zip(self.salt) {
            *octet = salt;
        }
        let places = iv.iter_mut().skip(4);
        let told = ssrc.to_be_bytes().into_iter().chain(index.to_be_bytes().into_iter().skip(2));
        for (octet, mask) in places.zip(told) {
            *octet ^= mask;
        }
        let Some((packet, tag)) = packet.split_at_mut_checked(packet.len().saturating_sub(TAG))
        else {
            return;
        };
        let payload = packet.get_mut(RTP_HEADER..).unwrap_or_default();
        for (count, chunk) in (0..).zip(payload.chunks_mut(16)) {
            let mask = stream_block(&self.cipher, iv, count);
            chunk.iter_mut().zip(mask).for_each(|(octet, mask)| *octet ^= mask);
        }
        let mut mac = self.mac.clone();
        mac.update(packet);
        mac.update(&u32::try_from(index >> 16).unwrap_or(0).to_be_bytes());
        tag.iter_mut().zip(mac.finalize().into_bytes()).for_each(|(octet, proof)| *octet = proof);
    }
}

fn stream_block(cipher: &Aes128Enc, mut iv: [u8; 16], count: u16) -> [u8; 16] {
    let [.., high, low] = &mut iv;
    [*high, *low] = count.to_be_bytes();
    let mut block = Array::from(iv);
    cipher.encrypt_block(&mut block);
    block.into()
}

/// The first octets; zeros behind them.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.iter_mut().zip(bytes).for_each(|(octet, byte)| *octet = *byte);
    array
}
