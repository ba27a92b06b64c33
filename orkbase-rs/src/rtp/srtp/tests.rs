use super::{
    Context, MOST_BYTES, Sender, SrtpError,
    candidates::{Candidates, MOST_KEYS, PATIENCE},
    keys::Keys,
    suite::{SUITES, Suite, named},
};
use aes::{
    Aes128Enc, Aes192Enc, Aes256Enc,
    cipher::{Array, BlockCipherEncrypt, KeyInit},
};
use aes_gcm::{Aes128Gcm, Aes256Gcm, aead::AeadInOut};
use base64ct::{Base64, Encoding};
use hmac::{Hmac, Mac};
use proptest::prelude::*;
use sha1::Sha1;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|byte| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap())
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// What a sender does, straight from the RFCs and block by block: shares nothing with the code
/// under test but the primitives.
struct Writer {
    suite: &'static Suite,
    key: Vec<u8>,
    salt: Vec<u8>,
    mac: Vec<u8>,
    mki: Vec<u8>,
    encrypt: bool,
    ssrc: u32,
}

fn block(key: &[u8], input: [u8; 16]) -> [u8; 16] {
    let mut block = Array::from(input);
    match key.len() {
        16 => Aes128Enc::new_from_slice(key).unwrap().encrypt_block(&mut block),
        24 => Aes192Enc::new_from_slice(key).unwrap().encrypt_block(&mut block),
        _ => Aes256Enc::new_from_slice(key).unwrap().encrypt_block(&mut block),
    }
    block.into()
}

fn key_stream(key: &[u8], mut iv: [u8; 16], length: usize) -> Vec<u8> {
    let mut stream = Vec::new();
    for count in 0..=u16::try_from(length / 16).unwrap() {
        iv[14..].copy_from_slice(&count.to_be_bytes());
        stream.extend(block(key, iv));
    }
    stream.truncate(length);
    stream
}

fn derive(master: &[u8], salt: &[u8], label: u8, length: usize) -> Vec<u8> {
    let mut iv = [0; 16];
    iv[..salt.len()].copy_from_slice(salt);
    iv[7] ^= label;
    key_stream(master, iv, length)
}

fn master(suite: &Suite) -> Vec<u8> {
    (0..).take(suite.key + suite.salt).map(|byte: u8| byte.wrapping_mul(37) ^ 0x5a).collect()
}

fn inline(suite: &Suite) -> String {
    Base64::encode_string(&master(suite))
}

impl Writer {
    fn new(name: &str) -> Self {
        let suite = named(name).unwrap();
        Self::with(suite, &master(suite))
    }

    fn with(suite: &'static Suite, master: &[u8]) -> Self {
        let (key, salt) = master.split_at(suite.key);
        Self {
            suite,
            key: derive(key, salt, 0, suite.key),
            salt: derive(key, salt, 2, suite.salt),
            mac: derive(key, salt, 1, 20),
            mki: Vec::new(),
            encrypt: true,
            ssrc: 0x1234_5678,
        }
    }

    fn packet(&self, index: u64, payload: &[u8]) -> Vec<u8> {
        let mut header = vec![0x80, 8];
        header.extend(&index.to_be_bytes()[6..]);
        header.extend([0, 0, 1, 2]);
        header.extend(self.ssrc.to_be_bytes());
        self.seal(index, header, payload)
    }

    fn seal(&self, index: u64, header: Vec<u8>, payload: &[u8]) -> Vec<u8> {
        let roc = u32::try_from(index >> 16).unwrap().to_be_bytes();
        let mut packet = header.clone();
        let mut iv = [0; 16];
        iv[4..8].copy_from_slice(&self.ssrc.to_be_bytes());
        iv[8..14].copy_from_slice(&index.to_be_bytes()[2..]);
        if self.suite.aead {
            let mut nonce = [0; 12];
            nonce.copy_from_slice(&iv[2..14]);
            nonce.iter_mut().zip(&self.salt).for_each(|(byte, salt)| *byte ^= salt);
            let mut body = payload.to_vec();
            let (nonce, buffer) = (nonce.into(), body.as_mut_slice().into());
            let tag = if self.suite.key == 16 {
                let gcm = Aes128Gcm::new_from_slice(&self.key).unwrap();
                gcm.encrypt_inout_detached(&nonce, &header, buffer).unwrap()
            } else {
                let gcm = Aes256Gcm::new_from_slice(&self.key).unwrap();
                gcm.encrypt_inout_detached(&nonce, &header, buffer).unwrap()
            };
            packet.extend(body);
            packet.extend(&tag[..self.suite.tag]);
            packet.extend(&self.mki);
        } else {
            iv.iter_mut().zip(&self.salt).for_each(|(byte, salt)| *byte ^= salt);
            let stream = key_stream(&self.key, iv, payload.len());
            let on = if self.encrypt { 0xff } else { 0 };
            packet.extend(payload.iter().zip(stream).map(|(byte, mask)| byte ^ (mask & on)));
            let mut mac = <Hmac<Sha1> as KeyInit>::new_from_slice(&self.mac).unwrap();
            mac.update(&packet);
            mac.update(&roc);
            packet.extend(&self.mki);
            packet.extend(&mac.finalize().into_bytes()[..self.suite.tag]);
        }
        packet
    }
}

const CM: &str = "AES_CM_128_HMAC_SHA1_80";

fn context(name: &str) -> Context {
    Context::from_sdes(name, inline(named(name).unwrap()).as_bytes()).unwrap()
}

fn open(context: &mut Context, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut out = vec![1, 2, 3];
    let result = context.unprotect(packet, &mut out);
    assert!(result.is_ok() || out.is_empty(), "no byte of a refused packet comes out");
    result.map(|()| out)
}

/// Keys that stand in an RFC as session keys.
fn of_session(name: &str, key: &str, salt: &str, mac: &str) -> Context {
    let suite = named(name).unwrap();
    let mac = hex(mac).try_into().unwrap();
    let keys = Keys::of_session(suite, &hex(key), &hex(salt), &mac, true).unwrap();
    Context::new(Sender { suite, mki: Box::default(), keys })
}

/// RFC 3711 B.3, RFC 6188 §7.2 and §7.3: encryption, salt and authentication keys.
#[test]
fn keys_are_derived_as_the_appendices_say() {
    for (name, master, salt, expected) in [
        (
            CM,
            "E1F97A0D3E018BE0D64FA32C06DE4139",
            "0EC675AD498AFEEBB6960B3AABE6",
            [
                "C61E7A93744F39EE10734AFE3FF7A087",
                "30CBBC08863D8C85D49DB34A9AE1",
                "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4",
            ],
        ),
        (
            "AES_192_CM_HMAC_SHA1_80",
            "73edc66c4fa15776fb57f9505c17136550ffda71f3e8e5f1",
            "c8522f3acd4ce86d5add78edbb11",
            [
                "31874736a8f1143870c26e4857d8a5b2c4a354407faadabb",
                "2372b82d639b6d8503a47adc0a6c",
                "355b10973cd95b9eacf4061c7e1a7151e7cfbfcb",
            ],
        ),
        (
            "AES_256_CM_HMAC_SHA1_80",
            "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6",
            "3b04803de51ee7c96423ab5b78d2",
            [
                "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4",
                "fa31791685ca444a9e07c6c64e93",
                "fd9c32d39ed5fbb5a9dc96b30818454d1313dc05",
            ],
        ),
    ] {
        let both = [hex(master), hex(salt)].concat();
        let writer = Writer::with(named(name).unwrap(), &both);
        let [key, salt, mac] = expected;
        assert_eq!((&writer.key, &writer.salt, &writer.mac), (&hex(key), &hex(salt), &hex(mac)));
        // What the writer derived and what the RFC prints open the same packet as the master key.
        let packet = writer.packet(7, b"derived");
        let mut derived =
            Context::from_sdes(name, Base64::encode_string(&both).as_bytes()).unwrap();
        assert_eq!(open(&mut derived, &packet).unwrap(), b"derived");
        assert_eq!(open(&mut of_session(name, key, salt, mac), &packet).unwrap(), b"derived");
    }
}

/// RFC 3711 B.2: SSRC, sequence and counter are zero, so that the payload is the key stream.
#[test]
fn counter_mode_gives_the_key_stream_of_rfc_3711() {
    let key = "2B7E151628AED2A6ABF7158809CF4F3C";
    let salt = "F0F1F2F3F4F5F6F7F8F9FAFBFCFD";
    let mac = "00".repeat(20);
    let mut packet = hex("80080000 00000000 00000000");
    packet.resize(12 + 48, 0);
    let mut hmac = <Hmac<Sha1> as KeyInit>::new_from_slice(&[0; 20]).unwrap();
    hmac.update(&packet);
    hmac.update(&[0; 4]);
    packet.extend(&hmac.finalize().into_bytes()[..10]);
    let stream = "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB \
                  41E95B3BB0A2E8DD477901E4FCA894C0";
    assert_eq!(open(&mut of_session(CM, key, salt, &mac), &packet).unwrap(), hex(stream));
}

/// A packet that libsrtp made, under the master key of RFC 3711 B.3.
#[test]
fn packet_of_another_implementation() {
    let master = hex("E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6");
    let packet = hex("800f1234 decafbad cafebabe 4e55dc4ce79978d88ca4d215949d2402 \
                      b78d6acc99ea179b8dbb");
    let mut context = Context::from_sdes(CM, Base64::encode_string(&master).as_bytes()).unwrap();
    assert_eq!(open(&mut context, &packet).unwrap(), [0xab; 16]);
}

/// RFC 7714 §16.1.2 and §16.2.2, "Quid pro quo".
#[test]
fn gcm_opens_the_packets_of_rfc_7714() {
    let key = "000102030405060708090a0b0c0d0e0f";
    for (name, key, body) in [
        (
            "AEAD_AES_128_GCM",
            key.to_owned(),
            "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833
             899d7f27beb16a9152cf765ee4390cce",
        ),
        (
            "AEAD_AES_256_GCM",
            format!("{key}101112131415161718191a1b1c1d1e1f"),
            "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b
             7aa3db36dfffd6b0f9bb7878d7a76c13",
        ),
    ] {
        let salt = "517569642070726f2071756f";
        let mut context = of_session(name, &key, salt, &"00".repeat(20));
        let packet = hex(&format!("8040f17b 8041f8d3 5501a0b2 {body}"));
        let text = b"Gallia est omnis divisa in partes tres";
        assert_eq!(open(&mut context, &packet).unwrap(), text);
    }
}

#[test]
fn every_suite_opens_what_its_sender_sealed() {
    for suite in &SUITES {
        let writer = Writer::new(suite.name);
        let mut context = context(suite.name);
        for (index, length) in (65_000..).zip([0, 1, 15, 16, 17, 160, 1400, 9000]) {
            let payload: Vec<u8> = (0..length).map(|at: u32| at.to_le_bytes()[0]).collect();
            let packet = writer.packet(index, &payload);
            assert_eq!(open(&mut context, &packet).unwrap(), payload, "{} {length}", suite.name);
        }
        assert_eq!(context.suite(), suite.name);
    }
}

#[test]
fn one_altered_bit_refuses_a_packet() {
    for suite in &SUITES {
        let writer = Writer::new(suite.name);
        let packet = writer.packet(1, b"payload");
        for bit in 0..packet.len() * 8 {
            let mut context = context(suite.name);
            let mut altered = packet.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&mut context, &altered).is_err(), "{} {bit}", suite.name);
            assert_eq!(open(&mut context, &packet).unwrap(), b"payload");
        }
        for length in 0..packet.len() {
            assert!(open(&mut context(suite.name), &packet[..length]).is_err());
        }
    }
}

#[test]
fn header_parts_and_padding_are_cut() {
    for name in [CM, "AEAD_AES_128_GCM"] {
        let writer = Writer::new(name);
        let header = hex("b2080009 00000102 12345678 11111111 22222222 bede0001 10ff0000");
        let sealed = |payload| writer.seal(9, header.clone(), payload);
        let mut context = context(name);
        assert_eq!(open(&mut context, &sealed(&[5, 6, 0, 2])).unwrap(), [5, 6]);
        assert_eq!(open(&mut context, &sealed(&[5, 6, 0])).unwrap(), [5, 6, 0], "see RtpPacket");
        assert_eq!(open(&mut context, &sealed(&[5, 9])), Err(SrtpError::Padding));
        assert_eq!(open(&mut context, &sealed(&[])), Err(SrtpError::Padding));
        for (flags, why) in [(0x40, SrtpError::NotRtp), (0x9f, SrtpError::Short)] {
            let mut packet = sealed(b"payload");
            packet[0] = flags;
            assert_eq!(open(&mut context, &packet), Err(why));
        }
        assert_eq!(open(&mut context, &[0x80; 11]), Err(SrtpError::Short));
        assert_eq!(open(&mut context, &[0x80; MOST_BYTES + 1]), Err(SrtpError::Long));
        assert_eq!(open(&mut context, &hex("80c80006 00000000 12345678")), Err(SrtpError::NotRtp));
    }
}

#[test]
fn roll_over_is_followed_both_ways() {
    for name in [CM, "AEAD_AES_256_GCM"] {
        let writer = Writer::new(name);
        let mut context = context(name);
        // Wraps, latecomers from before the wrap, a gap of most of the sequence space and one that
        // the estimate gets wrong.
        for index in [65_534, 65_536, 65_535, 65_537, 65_533, 98_000, 130_000, 131_072, 131_071]
            .into_iter()
            .chain([131_073, 131_073 + 40_000, 131_073 + 105_000])
        {
            assert_eq!(open(&mut context, &writer.packet(index, b"x")).unwrap(), b"x", "{index}");
        }
    }
}

#[test]
fn joins_in_the_middle_of_a_call() {
    for name in [CM, "AES_CM_128_HMAC_SHA1_32", "AEAD_AES_128_GCM"] {
        let writer = Writer::new(name);
        // Counter, and the packets missed until the search comes to it.
        for (roc, missed) in [(0, 0), (1, 0), (2, 0), (64, 0), (65, 1), (66, 1), (1000, 15)] {
            let mut context = context(name);
            let mut opened = Vec::new();
            for at in 0..20 {
                let packet = writer.packet((roc << 16) + 1000 + at, b"joined");
                opened.push(open(&mut context, &packet).is_ok());
            }
            let expected: Vec<bool> = (0..20).map(|at| at >= missed).collect();
            assert_eq!(opened, expected, "{name} {roc}");
        }
        let mut context = context(name);
        for at in 0..200 {
            let packet = writer.packet((1024 << 16) + at, b"too far");
            assert_eq!(open(&mut context, &packet), Err(SrtpError::Auth));
        }
        assert!(open(&mut context, &writer.packet(1 << 16, b"near")).is_ok(), "{name}");
    }
}

#[test]
fn a_restarted_counter_is_found_again() {
    let mut writer = Writer::new(CM);
    let mut context = context(CM);
    for index in [5 << 16, (5 << 16) + 1, 7, 8] {
        assert!(open(&mut context, &writer.packet(index, b"zero")).is_ok(), "{index}");
    }
    let found = (0..60)
        .position(|at| open(&mut context, &writer.packet((40 << 16) + at, b"hours later")).is_ok());
    assert_eq!(found, Some(50));
    writer.ssrc += 1;
    assert!(open(&mut context, &writer.packet(1, b"new stream")).is_ok());
    let mut clone = context.clone_for_stream();
    assert!(open(&mut clone, &writer.packet(3 << 16, b"other stream")).is_ok());
}

#[test]
fn mki_is_recognised() {
    for name in [CM, "AEAD_AES_128_GCM"] {
        let mut writer = Writer::new(name);
        for (text, mki) in [
            ("1:1", vec![1]),
            ("2^20|1:4", vec![0, 0, 0, 1]),
            ("65537:3", vec![1, 0, 1]),
            ("131072|7:128", [vec![0; 127], vec![7]].concat()),
        ] {
            let inline = format!("{}|{text}", inline(writer.suite));
            let mut context = Context::from_sdes(name, inline.as_bytes()).unwrap();
            writer.mki = mki;
            assert_eq!(open(&mut context, &writer.packet(1, b"with")).unwrap(), b"with", "{text}");
            writer.mki[0] ^= 0x80;
            assert_eq!(open(&mut context, &writer.packet(2, b"other")), Err(SrtpError::Auth));
            writer.mki.clear();
            for length in [0, 1, 200] {
                let payload = vec![5; length];
                let packet = writer.packet(3, &payload);
                assert_eq!(open(&mut context, &packet).unwrap(), payload, "left out {length}");
            }
        }
    }
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let key = inline(named(CM).unwrap());
    let refuse = |suite: &str, inline: &str| Context::from_sdes(suite, inline.as_bytes()).err();
    assert_eq!(
        refuse("F8_128_HMAC_SHA1_80", &key),
        Some(SrtpError::Refused("F8_128_HMAC_SHA1_80"))
    );
    assert_eq!(refuse("ROT13", &key), Some(SrtpError::UnknownSuite));
    for (tail, why) in [
        ("|", SrtpError::Lifetime),
        ("|2^", SrtpError::Lifetime),
        ("|soon", SrtpError::Lifetime),
        ("|1:", SrtpError::Mki),
        ("|:1", SrtpError::Mki),
        ("|256:1", SrtpError::Mki),
        ("|1:0", SrtpError::Mki),
        ("|1:129", SrtpError::Mki),
        ("|-1:4", SrtpError::Mki),
        ("AAAA", SrtpError::KeyLength),
        ("!AAA", SrtpError::Base64),
        (" UNAUTHENTICATED_SRTP", SrtpError::Refused("UNAUTHENTICATED_SRTP")),
        (" KDR=3", SrtpError::Refused("KDR")),
    ] {
        assert_eq!(refuse(CM, &format!("{key}{tail}")), Some(why), "{tail}");
    }
    assert_eq!(refuse(CM, ""), Some(SrtpError::KeyLength));
    assert_eq!(refuse(CM, &"A".repeat(4000)), Some(SrtpError::KeyLength));
    assert_eq!(refuse("AES_256_CM_HMAC_SHA1_80", &key), Some(SrtpError::KeyLength));
    for tail in ["|2^31", "|1048576|1:4", " KDR=0 WSH=64 FEC_ORDER=SRTP_FEC -X", ";inline:junk"] {
        assert_eq!(refuse(CM, &format!("{key}{tail}")), None, "{tail}");
    }
    // Padding of base64 may be missing.
    let long = inline(named("AES_256_CM_HMAC_SHA1_80").unwrap());
    assert!(long.ends_with('='));
    assert_eq!(refuse("aes_256_cm_hmac_sha1_80", long.trim_end_matches('=')), None);
}

#[test]
fn unencrypted_but_authenticated() {
    let mut writer = Writer::new(CM);
    writer.encrypt = false;
    let inline = format!("{} UNENCRYPTED_SRTP", inline(writer.suite));
    let mut context = Context::from_sdes(CM, inline.as_bytes()).unwrap();
    let mut packet = writer.packet(1, b"in the clear");
    assert_eq!(open(&mut context, &packet).unwrap(), b"in the clear");
    packet[13] ^= 1;
    assert_eq!(open(&mut context, &packet), Err(SrtpError::Auth));
}

#[test]
fn keys_are_not_printed() {
    let mut candidates = Candidates::default();
    candidates.offer(CM, inline(named(CM).unwrap()).as_bytes()).unwrap();
    let mut out = Vec::new();
    candidates.unprotect(&Writer::new(CM).packet(1, b"x"), &mut out).unwrap();
    assert_eq!(
        format!("{candidates:?}"),
        "Candidates(1 keys, fits: Some(Context(AES_CM_128_HMAC_SHA1_80 <redacted>, Rollover { \
         last: Some(Last { ssrc: 305419896, roc: 0, sequence: 1 }), search: 1024, refused: 0 })))"
    );
}

#[test]
fn the_fitting_candidate_is_found_and_changed() {
    let mut candidates = Candidates::default();
    let mut out = Vec::new();
    assert_eq!(candidates.unprotect(&[0x80; 60], &mut out), Err(SrtpError::NoKey));
    for suite in &SUITES[..8] {
        candidates.offer(suite.name, inline(suite).as_bytes()).unwrap();
        candidates.offer(suite.name, inline(suite).as_bytes()).unwrap();
    }
    assert!(format!("{candidates:?}").starts_with("Candidates(8 keys, fits: None"));
    for name in [CM, "AEAD_AES_256_GCM", "AES_192_CM_HMAC_SHA1_32"] {
        let mut stream = candidates.clone_for_stream();
        let writer = Writer::new(name);
        for index in 0..3 {
            stream.unprotect(&writer.packet((3 << 16) + index, b"found"), &mut out).unwrap();
            assert_eq!((out.as_slice(), stream.fitting().unwrap().suite()), (&b"found"[..], name));
        }
        let writer = Writer::new("AEAD_AES_128_GCM");
        stream.unprotect(&writer.packet(1, b"changed"), &mut out).unwrap();
        assert_eq!(out, b"changed");
    }
}

#[test]
fn candidates_lose_patience_and_regain_it() {
    let mut other = master(named(CM).unwrap());
    other[0] ^= 1;
    let writer = Writer::with(named(CM).unwrap(), &other);
    let mut candidates = Candidates::default();
    candidates.offer(CM, inline(writer.suite).as_bytes()).unwrap();
    let mut out = Vec::new();
    let mut index = 0;
    let mut next = |candidates: &mut Candidates| {
        index += 1;
        candidates.unprotect(&writer.packet(index, b"later"), &mut out)
    };
    for _ in 0..=PATIENCE {
        assert_eq!(next(&mut candidates), Err(SrtpError::Auth));
    }
    for _ in 1..PATIENCE {
        assert_eq!(next(&mut candidates), Err(SrtpError::GaveUp));
    }
    assert_eq!(next(&mut candidates), Err(SrtpError::Auth), "one more try");
    let late = format!("AAAA;inline:{}|1:1", Base64::encode_string(&other));
    assert_eq!(candidates.offer(CM, late.as_bytes()), Err(SrtpError::KeyLength));
    assert_eq!(next(&mut candidates), Ok(()));
    // However many keys come after, the one in use stays.
    for number in 0..40 {
        other[1] = number;
        candidates.offer(CM, Base64::encode_string(&other).as_bytes()).unwrap();
        assert_eq!(next(&mut candidates), Ok(()));
    }
    assert!(format!("{candidates:?}").starts_with(&format!("Candidates({MOST_KEYS} keys")));
}

#[test]
fn a_warm_buffer_is_not_allocated_again() {
    let writer = Writer::new(CM);
    let mut context = context(CM);
    let mut out = Vec::with_capacity(200);
    let place = out.as_ptr();
    for index in 0..300 {
        context.unprotect(&writer.packet(index, &[7; 160]), &mut out).unwrap();
        assert_eq!((out.as_ptr(), out.len()), (place, 160));
    }
}

proptest! {
    #[test]
    fn any_packet_is_answered(raw in proptest::collection::vec(any::<u8>(), 0..120), at in 0..10usize) {
        let mki = format!("{}|1:4", inline(&SUITES[at]));
        let mut context = Context::from_sdes(SUITES[at].name, mki.as_bytes()).unwrap();
        prop_assert!(open(&mut context, &raw).is_err());
    }

    #[test]
    fn any_inline_is_answered(text in proptest::collection::vec(any::<u8>(), 0..300), tail in "[|:;^= 0-9A-Z]{0,60}") {
        prop_assert!(Context::from_sdes(CM, &text).is_err());
        let mut candidates = Candidates::default();
        let all = format!("{}{tail}", inline(&SUITES[0]));
        let offered = candidates.offer(CM, all.as_bytes());
        prop_assert!(offered.is_err() || !candidates.is_empty());
    }
}
