//! One direction of a TLS connection as its sender writes it, under secrets that everybody knows.
//!
//! Not here: opening records, agreeing on keys, and every suite but one of each kind of record.

use aes::Aes128Enc;
use aes::cipher::{Array, BlockModeEncrypt, KeyIvInit, consts::U16};
use aes_gcm::{Aes128Gcm, KeyInit, aead::AeadInOut};
use cbc::Encryptor;
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::Sha256;
use std::fmt::Write as _;

/// The `random` of either hello.
pub(super) const RANDOM: [[u8; 32]; 2] = [[0xC1; 32], [0x5E; 32]];
const MASTER: [u8; 48] = [7; 48];
const HEADER: usize = 5;

/// How records are protected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Suite {
    /// TLS 1.3, `AES_128_GCM`.
    Tls13,
    /// TLS 1.2, `AES_128_GCM`.
    Gcm,
    /// TLS 1.2, `AES_128_CBC` with SHA-1.
    Cbc,
}

impl Suite {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Tls13, Self::Gcm, Self::Cbc];

    pub(super) const fn number(self) -> u16 {
        match self {
            Self::Tls13 => 0x1301,
            Self::Gcm => 0xC02F,
            Self::Cbc => 0x002F,
        }
    }
}

/// The lines of a key log that `mask` names.
pub(super) fn key_log(mask: u8) -> String {
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _fits = write!(text, "{byte:02x}");
            text
        })
    };
    let [client, _] = RANDOM.map(|random| hex(&random));
    let mut lines = String::new();
    let labels: [(&str, &[u8]); 5] = [
        ("CLIENT_RANDOM", &MASTER),
        ("CLIENT_HANDSHAKE_TRAFFIC_SECRET", &secret(0, false)),
        ("SERVER_HANDSHAKE_TRAFFIC_SECRET", &secret(1, false)),
        ("CLIENT_TRAFFIC_SECRET_0", &secret(0, true)),
        ("SERVER_TRAFFIC_SECRET_0", &secret(1, true)),
    ];
    for (number, (label, secret)) in labels.into_iter().enumerate() {
        if mask >> number & 1 == 1 {
            let _fits = writeln!(lines, "{label} {client} {}", hex(secret));
        }
    }
    lines
}

/// The first traffic secret of `side` (0 is the client).
const fn secret(side: usize, application: bool) -> [u8; 32] {
    match (side, application) {
        (0, false) => [1; 32],
        (_, false) => [2; 32],
        (0, true) => [3; 32],
        (_, true) => [4; 32],
    }
}

/// One key of one side.
#[derive(Debug)]
pub(super) struct Sealer {
    suite: Suite,
    secret: [u8; 32],
    key: [u8; 16],
    /// Twelve bytes count in TLS 1.3, four with GCM before.
    iv: [u8; 12],
    mac: [u8; 20],
    sequence: u64,
}

impl Sealer {
    pub(super) fn new(suite: Suite, side: usize, application: bool) -> Self {
        let secret = secret(side, application);
        let (key, iv, mac) = ([0; 16], [0; 12], [0; 20]);
        let mut sealer = Self { suite, secret, key, iv, mac, sequence: 0 };
        match suite {
            Suite::Tls13 => sealer.derive(),
            Suite::Gcm => {
                let block = key_block::<40>();
                copy(&mut sealer.key, &block, side * 16);
                copy(&mut sealer.iv[..4], &block, 32 + side * 4);
            }
            Suite::Cbc => {
                let block = key_block::<72>();
                copy(&mut sealer.mac, &block, side * 20);
                copy(&mut sealer.key, &block, 40 + side * 16);
            }
        }
        sealer
    }

    /// Goes over to the next keys of TLS 1.3, after a `KeyUpdate`.
    pub(super) fn update(&mut self) {
        self.secret = expand_label(&self.secret, "traffic upd");
        self.derive();
    }

    fn derive(&mut self) {
        self.key = expand_label(&self.secret, "key");
        self.iv = expand_label(&self.secret, "iv");
        self.sequence = 0;
    }

    /// A record of `kind`, its header included; padded with as many blocks or zeros as the suite lets.
    pub(super) fn seal(&mut self, kind: u8, content: &[u8], padding: u8) -> Vec<u8> {
        let number = self.sequence.to_be_bytes();
        self.sequence += 1;
        let body = match self.suite {
            Suite::Tls13 => {
                let inner = [content, &[kind], &vec![0; usize::from(padding)]].concat();
                let mut nonce = self.iv;
                for (byte, number) in nonce.iter_mut().skip(4).zip(number) {
                    *byte ^= number;
                }
                let header = record(23, inner.len() + 16);
                return [&header[..], &self.gcm(nonce, &header, inner)].concat();
            }
            Suite::Gcm => {
                let mut nonce = self.iv;
                copy(&mut nonce[4..], &number, 0);
                let head = [&number[..], &record(kind, content.len())].concat();
                [&number[..], &self.gcm(nonce, &head, content.to_vec())].concat()
            }
            Suite::Cbc => self.cbc(&number, kind, content, padding),
        };
        [&record(kind, body.len())[..], &body].concat()
    }

    /// The bytes, sealed together with `head`, and their tag.
    fn gcm(&self, nonce: [u8; 12], head: &[u8], mut bytes: Vec<u8>) -> Vec<u8> {
        let gcm = Aes128Gcm::new(&Array::from(self.key));
        let nonce = Array::from(nonce);
        let tag = gcm.encrypt_inout_detached(&nonce, head, bytes.as_mut_slice().into());
        bytes.extend(tag.map(|tag| tag.to_vec()).unwrap_or_default());
        bytes
    }

    fn cbc(&self, number: &[u8; 8], kind: u8, content: &[u8], padding: u8) -> Vec<u8> {
        let Ok(mac) = <Hmac<Sha1> as KeyInit>::new_from_slice(&self.mac) else { return Vec::new() };
        let head = record(kind, content.len());
        let code = mac.chain_update(number).chain_update(head).chain_update(content).finalize();
        let mut bytes = [content, &code.into_bytes()[..]].concat();
        let least = 15 - bytes.len() % 16;
        let padding = least + usize::from(padding) / 16 % 15 * 16;
        let value = u8::try_from(padding).unwrap_or(0);
        bytes.extend(vec![value; padding + 1]);
        let iv = [0x17; 16];
        let (blocks, _) = Array::<u8, U16>::slice_as_chunks_mut(&mut bytes);
        Encryptor::<Aes128Enc>::new(&Array::from(self.key), &Array::from(iv))
            .encrypt_blocks(blocks);
        [&iv[..], &bytes].concat()
    }
}

/// The header of a record.
pub(super) fn record(kind: u8, length: usize) -> [u8; HEADER] {
    let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    [kind, 3, 3, high, low]
}

fn copy(to: &mut [u8], from: &[u8], at: usize) {
    to.iter_mut().zip(from.iter().skip(at)).for_each(|(to, from)| *to = *from);
}

/// RFC 5246 5 and 6.3.
fn key_block<const N: usize>() -> [u8; N] {
    let [client, server] = RANDOM;
    let seed = [&b"key expansion"[..], &server, &client].concat();
    let hash = |parts: [&[u8]; 2]| -> Vec<u8> {
        let Ok(mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(&MASTER) else { return Vec::new() };
        parts.iter().fold(mac, |mac, part| mac.chain_update(part)).finalize().into_bytes().to_vec()
    };
    let (mut a, mut all) = (hash([&seed, &[]]), Vec::new());
    while all.len() < N {
        all.extend(hash([&a, &seed]));
        a = hash([&a, &[]]);
    }
    let mut block = [0; N];
    copy(&mut block, &all, 0);
    block
}

/// RFC 8446 7.1.
fn expand_label<const N: usize>(secret: &[u8; 32], label: &str) -> [u8; N] {
    let length = u8::try_from(N).unwrap_or(0);
    let name = u8::try_from(label.len() + 6).unwrap_or(0);
    let info = [&[0, length, name][..], b"tls13 ", label.as_bytes(), &[0]].concat();
    let mut out = [0; N];
    let done = Hkdf::<Sha256>::from_prk(secret).map(|hkdf| hkdf.expand(&info, &mut out));
    assert!(matches!(done, Ok(Ok(()))), "keys of TLS 1.3");
    out
}
