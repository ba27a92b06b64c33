//! Bytes from strangers: nothing panics, the fast path never disagrees, etherparse agrees on what
//! both understand.

use super::*;
use crate::packet::fast::{FlowKey, fast_udp};
use etherparse::{LaxSlicedPacket, TransportSlice};
use proptest::prelude::*;

/// Well-formed frames to damage.
fn seeds() -> Vec<Vec<u8>> {
    let inner = ethernet(0x0800, &ipv4_udp(b"\x80\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01abc"));
    let gre = |protocol: [u8; 2], middle: &[u8]| {
        let head = [if middle.is_empty() { 0 } else { 0x10 }, 0, protocol[0], protocol[1]];
        ethernet(0x0800, &ipv4(47, &join(&[&head, middle, &inner])))
    };
    let mut tcp = Vec::new();
    PacketBuilder::ethernet2([0; 6], [1; 6])
        .ipv6(ip6(1), ip6(2), 9)
        .tcp(5060, 5060, 1, 1)
        .write(&mut tcp, b"INVITE")
        .unwrap();
    let mut seeds = vec![
        inner.clone(),
        tcp,
        ethernet(0x8100, &join(&[&[0, 1, 0x88, 0xa8, 0, 2, 0x86, 0xdd], &ipv6_udp(b"x")])),
        ethernet(0x8847, &join(&[&[0, 1, 0, 1, 0, 1, 1, 1, 0, 0, 0, 0], &inner])),
        ethernet(0x8864, &join(&[&[0x11, 0, 0, 1, 0, 40, 0, 0x21], &ipv4_udp(b"abc")])),
        ethernet(
            0x86dd,
            &ipv6(0, &join(&[&[44, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 1, 0, 0, 0, 1], &inner])),
        ),
        gre([0x88, 0xbe], &[]),
        gre([0x88, 0xbe], &[0, 0, 0, 1, 0x10, 0, 0, 0, 0, 0, 0, 0]),
        gre([0x22, 0xeb], &[0, 0, 0, 1, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        over_udp(4789, &join(&[&[8, 0, 0, 0, 0, 0, 1, 0], &inner])),
        over_udp(6081, &join(&[&[1, 0, 0x65, 0x58, 0, 0, 1, 0, 0, 0, 0, 0], &inner])),
        over_udp(
            2152,
            &join(&[&[0x34, 0xff, 0, 60, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0, 0, 0], &ipv4_udp(b"a")]),
        ),
        over_udp(37008, &join(&[&[1, 0, 0, 1, 10, 1, 9, 1], &inner])),
        over_udp(4754, &join(&[&[0, 0, 0x65, 0x58], &inner])),
    ];
    seeds.push(over_udp(10002, &layers::record(&inner).repeat(3)));
    seeds.extend(hep::envelopes(b"x").iter().map(|envelope| over_udp(9060, envelope)));
    seeds.extend(fragments::cut4(&ipv4_udp(&[7; 300]), 104, 5));
    seeds
}

fn links() -> impl Strategy<Value = LinkType> {
    prop_oneof![
        4 => Just(LinkType::Ethernet),
        1 => Just(LinkType::RawIp),
        1 => Just(LinkType::Null),
        1 => Just(LinkType::LinuxSll),
        1 => Just(LinkType::LinuxSll2),
    ]
}

/// Damaged frames: bytes changed, cut, repeated.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>());
    let changes = prop::collection::vec(change, 0..6);
    (any::<prop::sample::Index>(), changes, 0_usize..40).prop_map(|(seed, changes, cut)| {
        let mut bytes = seed.get(&seeds()).clone();
        for (index, value) in changes {
            *index.get_mut(&mut bytes) = value;
        }
        bytes.truncate(bytes.len().saturating_sub(cut.saturating_sub(20)));
        bytes
    })
}

fn agrees(decoder: &mut Decoder, frame: &Frame<'_>) {
    let mut delivered = Delivered::default();
    decoder.handle_frame(frame, &mut delivered);
    if let Some(fast) = fast_udp(frame) {
        let [(source, destination, payload)] = delivered.udp.as_slice() else {
            panic!("fast {fast:?}, decoder {delivered:?}");
        };
        assert_eq!(Some(fast.key), FlowKey::from_addrs(source, destination));
        assert_eq!((fast.key.source(), fast.key.destination()), (*source, *destination));
        assert_eq!(fast.payload, payload);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bytes_never_panic(
        link in links(),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        agrees(&mut Decoder::new(Limits::default()), &frame(link, &bytes));
    }

    #[test]
    fn damaged_frames_never_panic_and_both_paths_agree(
        frames in prop::collection::vec((links(), damaged(), 0_u64..5_000), 1..20),
    ) {
        let limits = Limits { fragment_bytes: 2_000, tcp_stream_bytes: 300, tcp_streams: 3, ..Limits::default() };
        let mut decoder = Decoder::new(limits);
        let mut clock = 0;
        for (link, bytes, pause) in &frames {
            clock += pause;
            agrees(&mut decoder, &Frame { at: at(clock), ..frame(*link, bytes) });
        }
        decoder.handle_timeout(at(clock + 100_000));
        decoder.finish(&mut Delivered::default());
        prop_assert!(decoder.is_empty(), "nothing may be left behind: {:?}", decoder);
    }

    /// Where etherparse finds UDP without tunnels or fragments, we find the same.
    #[test]
    fn etherparse_agrees(bytes in damaged()) {
        let (delivered, decoder) = decode_all(std::slice::from_ref(&bytes));
        let Ok(sliced) = LaxSlicedPacket::from_ethernet(&bytes) else {
            prop_assert!(delivered.udp.is_empty());
            return Ok(());
        };
        let Some(TransportSlice::Udp(udp)) = sliced.transport else { return Ok(()) };
        // It overlooks an IPv4 total length shorter than the header; every receiver drops that.
        let plain = udp.length() >= 8 && decoder.counters().malformed_ip == 0;
        let plain = plain && sliced.stop_err.is_none();
        if plain && !crate::packet::fast::may_be_tunnel(udp.destination_port()) {
            prop_assert_eq!(delivered.udp.len(), 1);
            let (source, destination, payload) = &delivered.udp[0];
            prop_assert_eq!((source.port(), destination.port()), (udp.source_port(), udp.destination_port()));
            prop_assert_eq!(&payload[..], udp.payload());
        }
    }
}
