//! Messages in a capture agent's envelope, plain, odd and broken.

use super::*;
use crate::packet::fast::fast_udp;
use crate::packet::hep::HepKey;
use crate::packet::ports::TunnelPorts;
use proptest::prelude::*;

const HEP: u16 = 9060;

fn hep_at(port: u16) -> TunnelPorts {
    TunnelPorts { hep: vec![port], ..TunnelPorts::default() }
}

/// A version 3 chunk of the generic vendor.
fn chunk(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 6).unwrap().to_be_bytes();
    join(&[&[0, 0], &kind.to_be_bytes(), &length, value])
}

/// A version 3 packet of these chunks.
fn version_3(chunks: &[Vec<u8>]) -> Vec<u8> {
    let chunks = chunks.concat();
    let total = u16::try_from(chunks.len() + 6).unwrap().to_be_bytes();
    join(&[b"HEP3", &total, &chunks])
}

/// What an agent adds to the addresses: time, protocol type, its number, its key, a correlation.
fn extras() -> Vec<Vec<u8>> {
    let vendor = [0, 9, 0, 15, 0, 8, b'n', b'o'].to_vec();
    vec![
        chunk(9, &[0x65, 0, 0, 0]),
        chunk(10, &[0, 1, 0, 0]),
        chunk(11, &[1]),
        chunk(12, &[0, 0, 7, 0xd4]),
        chunk(14, b"secret"),
        chunk(17, b"call-1"),
        vendor,
    ]
}

/// Chunks for the addresses of [`ipv4_udp`], over UDP or TCP, whose addresses are `source` and
/// `destination` in chunks of type `first` and the next.
fn addressed(protocol: u8, first: u16, ends: [&[u8]; 2], payload: &[u8]) -> Vec<u8> {
    let family = if first == 3 { 2 } else { 10 };
    let mut chunks = vec![chunk(1, &[family]), chunk(2, &[protocol])];
    chunks.push(chunk(first, ends[0]));
    chunks.push(chunk(first + 1, ends[1]));
    chunks.push(chunk(7, &5060_u16.to_be_bytes()));
    chunks.push(chunk(8, &5080_u16.to_be_bytes()));
    chunks.extend(extras());
    chunks.push(chunk(15, payload));
    version_3(&chunks)
}

/// Every way to wrap `payload` with the addresses of [`ipv4_udp`] and [`ipv6_udp`].
pub(super) fn envelopes(payload: &[u8]) -> Vec<Vec<u8>> {
    let (v4, v6) = ([[10, 1, 2, 3], [10, 4, 5, 6]], [ip6(1), ip6(2)]);
    let mapped = v4.map(|address| join(&[&[0; 10], &[0xff; 2], &address]));
    let ports = [5060_u16.to_be_bytes(), 5080_u16.to_be_bytes()].concat();
    let time = [0x2e, 0x6f, 0xa7, 0x5d, 1, 2, 0, 0, 1, 0, 0, 0];
    vec![
        join(&[&[1, 16, 2, 17], &ports, &v4.concat(), payload]),
        join(&[&[1, 40, 10, 17], &ports, &v6.concat(), payload]),
        join(&[&[2, 16, 2, 17], &ports, &v4.concat(), &time, payload]),
        join(&[&[2, 16, 2, 6], &ports, &v4.concat(), &time, payload]),
        join(&[&[2, 40, 30, 132], &ports, &v6.concat(), &time, payload]),
        addressed(17, 3, [&v4[0], &v4[1]], payload),
        addressed(6, 3, [&v4[0], &v4[1]], payload),
        addressed(17, 3, [&mapped[0], &mapped[1]], payload),
        addressed(17, 5, [&v6[0], &v6[1]], payload),
    ]
}

fn decode(port: u16, payload: &[u8]) -> (Delivered, Decoder) {
    decode_all(&[over_udp(port, payload)])
}

/// Opened, refused, compressed; and where what was delivered went.
fn outcome(payload: &[u8]) -> ([u64; 3], Vec<u16>) {
    let (delivered, decoder) = decode(HEP, payload);
    let counters = decoder.counters();
    let ports = delivered.udp.iter().map(|(_, destination, _)| destination.port()).collect();
    ([counters.hep, counters.hep_refused, counters.hep_compressed], ports)
}

#[test]
fn the_order_of_chunks_and_a_wrong_total_do_not_matter() {
    let parts = [
        chunk(15, b"BYE"),
        chunk(8, &[0x13, 0xd8]),
        chunk(7, &[0x13, 0xc4]),
        chunk(4, &[10, 4, 5, 6]),
        chunk(3, &[10, 1, 2, 3]),
    ];
    let mut bytes = version_3(&parts);
    assert_eq!(outcome(&bytes), ([1, 0, 0], vec![5080]));
    bytes[4] = 0x70;
    assert_eq!(outcome(&bytes), ([1, 0, 0], vec![5080]));
    bytes[..4].copy_from_slice(b"EEP1");
    assert_eq!(outcome(&bytes), ([1, 0, 0], vec![5080]));
    // Without one of them it is only a datagram that begins like HEP.
    for missing in 0..parts.len() {
        let mut parts = parts.to_vec();
        parts.remove(missing);
        assert_eq!(outcome(&version_3(&parts)), ([0, 1, 0], vec![HEP]), "{missing}");
    }
}

#[test]
fn compressed_messages_are_unpacked_within_bounds() {
    use miniz_oxide::deflate::{compress_to_vec, compress_to_vec_zlib};
    let packed = |payload: &[u8]| {
        let mut bytes = addressed(17, 3, [&[10, 1, 2, 3], &[10, 4, 5, 6]], payload);
        let at = bytes.len() - payload.len() - 3;
        assert_eq!(bytes[at], 15);
        bytes[at] = 16;
        bytes
    };
    let gzip = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &compress_to_vec(b"BYE", 6)].concat();
    for payload in [compress_to_vec_zlib(b"BYE", 6), gzip] {
        let (delivered, decoder) = decode(HEP, &packed(&payload));
        assert_eq!((delivered.udp[0].2.as_slice(), delivered.udp[0].1.port()), (&b"BYE"[..], 5080));
        assert_eq!((decoder.counters().hep, decoder.counters().hep_inflated), (1, 1));
    }
    let most = compress_to_vec_zlib(&[b'a'; 64 << 10], 6);
    assert_eq!(outcome(&packed(&most)), ([1, 0, 0], vec![5080]));
    let bomb = compress_to_vec_zlib(&vec![b'a'; (64 << 10) + 1], 6);
    for payload in [&bomb[..], &most[..20], b"\x78\x9c....", b"x", &[0x1f, 0x8b, 8, 4, 0, 0]] {
        assert_eq!(outcome(&packed(payload)), ([0, 0, 1], vec![]));
    }
}

#[test]
fn a_key_is_asked_for_and_never_shown() {
    let right = addressed(17, 3, [&[10, 1, 2, 3], &[10, 4, 5, 6]], b"BYE");
    let without = version_3(&[
        chunk(3, &[10, 1, 2, 3]),
        chunk(4, &[10, 4, 5, 6]),
        chunk(7, &[0x13, 0xc4]),
        chunk(8, &[0x13, 0xd8]),
        chunk(15, b"BYE"),
    ]);
    let old = envelopes(b"BYE").swap_remove(0);
    for (key, taken) in [("", 3), ("secret", 1), ("secre", 0), ("secret2", 0), ("Secret", 0)] {
        let limits = Limits { hep_key: HepKey::new(key), ..Limits::default() };
        assert!(!format!("{limits:?}").contains("ecre"));
        let (mut decoder, mut delivered) = (Decoder::new(limits), Delivered::default());
        for bytes in [&right, &without, &old] {
            decoder.handle_frame(&frame(LinkType::Ethernet, &over_udp(HEP, bytes)), &mut delivered);
        }
        let counters = decoder.counters();
        assert_eq!((counters.hep, counters.hep_unauthorized), (taken, 3 - taken), "{key}");
        assert_eq!(delivered.udp.len(), usize::try_from(taken).unwrap());
    }
}

#[test]
fn a_packet_sent_to_us_is_a_frame_of_its_own() {
    let (mut decoder, mut delivered) = (Decoder::new(Limits::default()), Delivered::default());
    for bytes in envelopes(b"BYE") {
        decoder.handle_frame(&frame(LinkType::Hep, &bytes), &mut delivered);
    }
    for bytes in [&b"BYE sip:a"[..], b"", b"HEP3", &[1, 2, 3]] {
        decoder.handle_frame(&frame(LinkType::Hep, bytes), &mut delivered);
    }
    assert_eq!((delivered.udp.len(), decoder.counters().hep), (9, 9));
    assert_eq!(decoder.counters().hep_refused, 4);
}

#[test]
fn a_cut_message_is_delivered_as_far_as_it_goes() {
    let bytes = addressed(17, 3, [&[10, 1, 2, 3], &[10, 4, 5, 6]], b"INVITE sip:");
    let (delivered, _) = decode(HEP, &bytes[..bytes.len() - 5]);
    assert_eq!(delivered.udp[0].2, b"INVITE");
}

#[test]
fn what_does_not_agree_is_plain_udp() {
    for (at, value) in [(1, 17), (2, 9), (3, 18)] {
        for mut bytes in envelopes(b"BYE").into_iter().take(5) {
            bytes[at] = value;
            assert_eq!(outcome(&bytes), ([0, 1, 0], vec![HEP]), "{at} {value}");
        }
    }
    let mixed = addressed(17, 3, [&[10, 1, 2, 3], &ip6(2)], b"BYE");
    assert_eq!(outcome(&mixed), ([0, 1, 0], vec![HEP]));
    // STUN, RTP and SIP are not even refused.
    for payload in [&[0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42][..], &[0x80, 0, 0, 1], b"BYE sip:a", b""]
    {
        assert_eq!(outcome(payload), ([0, 0, 0], vec![HEP]));
    }
    // Another port is not a capture agent's.
    for bytes in envelopes(b"BYE") {
        let (delivered, decoder) = decode(5060, &bytes);
        assert_eq!((delivered.udp[0].1.port(), decoder.counters().hep), (5060, 0));
    }
}

#[test]
fn a_port_of_our_own_for_hep_is_opened_and_not_fast() {
    let limits = Limits { ports: hep_at(9999), ..Limits::default() };
    let (mut decoder, mut delivered) = (Decoder::new(limits), Delivered::default());
    let bytes = over_udp(9999, &envelopes(b"BYE").swap_remove(5));
    let frame = frame(LinkType::Ethernet, &bytes);
    assert!(fast_udp(&frame).is_some());
    assert_eq!(decoder.fast_udp(&frame), None);
    decoder.handle_frame(&frame, &mut delivered);
    assert_eq!(delivered.udp[0].0, SOURCE.parse().unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// One datagram or none, whatever the chunks say.
    #[test]
    fn any_chunks_give_at_most_one_datagram(
        chunks in prop::collection::vec((0_u16..20, prop::collection::vec(any::<u8>(), 0..20)), 0..12),
        total in prop::option::of(any::<u16>()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let chunks: Vec<_> = chunks.iter().map(|(kind, value)| chunk(*kind, value)).collect();
        let mut bytes = version_3(&chunks);
        if let Some(total) = total {
            bytes[4..6].copy_from_slice(&total.to_be_bytes());
        }
        for (index, value) in changes {
            *index.get_mut(&mut bytes) = value;
        }
        let ([opened, refused, compressed], ports) = outcome(&bytes);
        prop_assert!(opened + refused + compressed <= 1);
        prop_assert_eq!(ports.len(), usize::from(compressed == 0));
    }
}
