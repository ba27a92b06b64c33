//! SRTP whose keys stand in SDP (RFC 4568), which TLS hides: with the key log both are opened.

use super::{EARLIER, Ends, Frames, Setup, addresses, call, merged, opened, plain};
use aes::{
    Aes128Enc,
    cipher::{Array, BlockCipherEncrypt},
};
use hmac::{Hmac, KeyInit, Mac};
use ork_tests::tcp::{Connection, From};
use sha1::Sha1;
use std::collections::BTreeMap;

/// A master key and salt that read `BBB..` or `CCC..` in Base64.
fn master(letter: u8) -> Vec<u8> {
    let sextet = u32::from(letter - b'A');
    let [_, a, b, c] = (sextet << 18 | sextet << 12 | sextet << 6 | sextet).to_be_bytes();
    [a, b, c].repeat(10)
}

/// AES counter mode from this block on, added to the bytes.
fn add_key_stream(key: &[u8], start: u128, bytes: &mut [u8]) {
    let aes = Aes128Enc::new_from_slice(key).unwrap();
    for (count, piece) in (0..).zip(bytes.chunks_mut(16)) {
        let mut block = Array::from((start + count).to_be_bytes());
        aes.encrypt_block(&mut block);
        for (byte, key) in piece.iter_mut().zip(block) {
            *byte ^= key;
        }
    }
}

fn number(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

/// `AES_CM_128_HMAC_SHA1_80` (RFC 3711); the roll-over counter says how often the sequence number turned over.
fn seal(letter: u8, packet: &[u8], roll_over: u32) -> Vec<u8> {
    let master = master(letter);
    let salt = number(&master[16..]) << 16;
    let derived = |label: u128, length: usize| {
        let mut bytes = vec![0; length];
        add_key_stream(&master[..16], salt ^ label << 64, &mut bytes);
        bytes
    };
    let (key, authentication, salt) = (derived(0, 16), derived(1, 20), derived(2, 14));
    let mut sealed = packet.to_vec();
    let (sequence, ssrc) = (number(&packet[2..4]), number(&packet[8..12]));
    let index = u128::from(roll_over) << 16 | sequence;
    let start = number(&salt) << 16 ^ ssrc << 64 ^ index << 16;
    add_key_stream(&key, start, &mut sealed[12..]);
    let mac = Hmac::<Sha1>::new_from_slice(&authentication).unwrap();
    let tag =
        mac.chain_update(&sealed).chain_update(roll_over.to_be_bytes()).finalize().into_bytes();
    sealed.extend(&tag[..10]);
    sealed
}

/// The message with a key in its SDP, if it has one.
fn with_key(text: &[u8], letter: u8) -> Vec<u8> {
    let text = String::from_utf8(text.to_vec()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    if body.is_empty() {
        return text.into_bytes();
    }
    let inline = char::from(letter).to_string().repeat(40);
    let body = body.replace("RTP/AVP", "RTP/SAVP")
        + &format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{inline}\r\n");
    let (head, _) = head.rsplit_once("Content-Length").unwrap();
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[test]
fn the_keys_of_srtp_come_with_the_signalling() {
    let (said, rest) = call();
    let (client, server) = addresses(5061);
    let ends = Ends::new(&Setup::default());
    let mut wire = Connection::open(EARLIER, client, server);
    let mut pair = ends.connect();
    for (at, from, text) in said {
        let letter = if from == From::Client { b'B' } else { b'C' };
        pair.say(at, from, &with_key(&text, letter), 1400, &mut wire);
    }
    let mut turns = BTreeMap::new();
    let mut sealed = |frame: &[u8]| {
        let letter = if frame[29] == 11 { b'B' } else { b'C' };
        let sequence = u16::from_be_bytes([frame[44], frame[45]]);
        let (roll_over, last) = turns.entry(letter).or_insert((0, sequence));
        *roll_over += u32::from(sequence < *last);
        *last = sequence;
        let mut sealed = [&frame[..42], &seal(letter, &frame[42..], *roll_over)].concat();
        for at in [16, 38] {
            let length = u16::from_be_bytes([sealed[at], sealed[at + 1]]) + 10;
            sealed[at..at + 2].copy_from_slice(&length.to_be_bytes());
        }
        sealed
    };
    let rest: Frames = rest.iter().map(|(at, frame)| (*at, sealed(frame))).collect();
    let frames = merged(wire.frames, rest);
    let want = plain();
    for after_ms in [0, 400] {
        let got = opened(&frames, &ends.key_log(), after_ms);
        for leg in &got.only().closing.as_ref().unwrap().legs {
            assert_eq!((leg.packets, leg.undecoded, leg.unauthentic), (150, 0, 0), "{leg:?}");
        }
        assert!(got.only().samples == want.only().samples, "{after_ms}");
    }
    assert!(opened(&frames, "", 0).tapes.is_empty());
}
