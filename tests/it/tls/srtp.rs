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

/// The frame with keys in its SDP, or sealed with the key of its sender.
fn keyed(frame: &[u8]) -> Vec<u8> {
    let letter = if frame[29] == 11 { b'B' } else { b'C' };
    let payload = &frame[42..];
    let payload =
        if payload[0] == 0x80 { seal(letter, payload, 0) } else { with_key(payload, letter) };
    let mut frame = [&frame[..42], &payload].concat();
    for (at, header) in [(16, 28), (38, 8)] {
        let length = u16::try_from(payload.len() + header).unwrap().to_be_bytes();
        frame[at..at + 2].copy_from_slice(&length);
    }
    frame
}

#[test]
fn media_that_overtakes_its_key_is_not_lost() {
    use ork_tests::{rehearse::rehearse, scenario::play};
    use orkbase::call::settings::Settings;
    let call = play(
        "a->b INVITE pcmu; b->a 200; a->b ACK; rtp 1s; dtmf b->a 5; rtp 2s; a->b BYE; b->a 200",
    )
    .unwrap();
    let want = rehearse(&call.frames, Settings::default());
    let tags = |got: &ork_tests::rehearse::Rehearsal| format!("{:?}", got.tags);
    let first = call.frames.iter().position(|(_, frame)| frame[42] == 0x80).unwrap();
    let answer = call.frames.iter().position(|(_, f)| f[42..].starts_with(b"SIP/2.0 200")).unwrap();
    let turned = |frames: &[(u64, Vec<u8>)]| {
        // One that tells of turning over must not be in it.
        let sequences = frames.iter().filter(|(_, f)| f[42] == 0x80);
        assert!(sequences.clone().all(|(_, f)| f[44] < 0xff) && sequences.count() > 300);
    };
    turned(&call.frames);
    for late_ms in [0u64, 200, 460, 2_000] {
        let mut frames: Frames = call.frames.iter().map(|(at, f)| (*at, keyed(f))).collect();
        frames[answer].0 = frames[answer].0.max(frames[first].0 + late_ms * 1_000_000);
        frames.sort_by_key(|(at, _)| *at);
        let got = rehearse(&frames, Settings::default());
        let closing = got.only().closing.as_ref().unwrap();
        for leg in &closing.legs {
            assert_eq!((leg.undecoded, leg.unauthentic, leg.lost), (0, 0, 0), "{late_ms}: {leg:?}");
        }
        assert!(got.only().samples == want.only().samples, "{late_ms}");
        assert_eq!(tags(&got).matches("dtmfdigit").count(), 1, "{late_ms}");
        assert_eq!(got.counters.calls.srtp_unauthentic, 0);
        assert!(!closing.message.tags.contains_key("undecodable"));
    }
    // Without the answer they have waited in vain, and every one is counted.
    let mut frames: Frames = call.frames.iter().map(|(at, f)| (*at, keyed(f))).collect();
    frames.remove(answer);
    let got = rehearse(&frames, Settings::default());
    let closing = got.only().closing.as_ref().unwrap();
    let callee: Vec<_> =
        closing.legs.iter().filter(|leg| leg.source.ip().to_string().ends_with(".12")).collect();
    let unauthentic: u64 = callee.iter().map(|leg| leg.unauthentic).sum();
    let packets: u64 = callee.iter().map(|leg| leg.packets).sum();
    assert!(packets > 150 && unauthentic == packets, "{unauthentic} of {packets}");
    assert_eq!(got.counters.calls.srtp_unauthentic, packets);
    assert_eq!(closing.message.tags["undecodable"], "SRTP");
    assert!(!got.only().packets.is_empty(), "its packets are kept");
    let text = got.only().packets.windows(8).any(|bytes| bytes == b"BBBBBBBB");
    assert!(!text, "and its keys are not");
}
