//! Fragments of 200 bytes in every order, repeated, overlapping, too many, too old.

use super::*;
use proptest::prelude::*;

fn message(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// Cuts an IPv4 packet into fragments of `size` payload bytes.
pub(super) fn cut4(packet: &[u8], size: usize, id: u16) -> Vec<Vec<u8>> {
    let body = &packet[20..];
    let parts = body.chunks(size).enumerate().map(|(index, part)| {
        let more = (index + 1) * size < body.len();
        let mut header = packet[..20].to_vec();
        header[2..4].copy_from_slice(&u16::try_from(part.len() + 20).unwrap().to_be_bytes());
        header[4..6].copy_from_slice(&id.to_be_bytes());
        let offset = u16::try_from(index * size / 8).unwrap() | u16::from(more) << 13;
        header[6..8].copy_from_slice(&offset.to_be_bytes());
        ethernet(0x0800, &join(&[&header, part]))
    });
    parts.collect()
}

/// The same for IPv6.
fn cut6(packet: &[u8], size: usize) -> Vec<Vec<u8>> {
    let body = &packet[40..];
    let parts = body.chunks(size).enumerate().map(|(index, part)| {
        let more = (index + 1) * size < body.len();
        let offset = u16::try_from(index * size).unwrap() | u16::from(more);
        let [high, low] = offset.to_be_bytes();
        ethernet(0x86dd, &ipv6(44, &join(&[&[packet[6], 0, high, low, 1, 2, 3, 4], part])))
    });
    parts.collect()
}

/// All orders of a few things.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for item in 0..count {
        all = all
            .into_iter()
            .flat_map(|order| {
                (0..=order.len()).map(move |at| {
                    let mut order = order.clone();
                    order.insert(at, item);
                    order
                })
            })
            .collect();
    }
    all
}

#[test]
fn every_order_gives_the_message() {
    let message = message(990);
    for parts in [cut4(&ipv4_udp(&message), 200, 7), cut6(&ipv6_udp(&message), 200)] {
        assert_eq!(parts.len(), 5);
        for order in orders(parts.len()) {
            let frames: Vec<_> = order.iter().map(|index| parts[*index].clone()).collect();
            let (delivered, decoder) = decode_all(&frames);
            assert_eq!(delivered.udp.len(), 1, "order {order:?} {:?}", decoder.counters());
            assert_eq!(delivered.udp[0].2, message);
            assert_eq!((decoder.counters().fragments, decoder.counters().reassembled), (5, 1));
        }
    }
}

/// A trunk mirrored twice delivers every part twice: one message.
#[test]
fn repeated_parts_are_one_message() {
    let parts = cut4(&ipv4_udp(&message(990)), 200, 7);
    let twice: Vec<_> = parts.iter().flat_map(|part| [part.clone(), part.clone()]).collect();
    let (delivered, decoder) = decode_all(&twice);
    assert_eq!((delivered.udp.len(), decoder.counters().fragments_repeated), (1, 5));
}

/// Two VLANs may carry two packets of the same addresses and id.
#[test]
fn vlans_do_not_mix() {
    let tagged = |vlan: u8, parts: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
        let tag = [0x81, 0, 0, vlan];
        parts.into_iter().map(|part| join(&[&part[..12], &tag, &part[12..]])).collect()
    };
    let red = tagged(1, cut4(&ipv4_udp(&[b'r'; 500]), 200, 7));
    let blue = tagged(2, cut4(&ipv4_udp(&[b'b'; 500]), 200, 7));
    let frames: Vec<_> = red.into_iter().zip(blue).flat_map(|(red, blue)| [red, blue]).collect();
    let (delivered, _) = decode_all(&frames);
    assert_eq!(delivered.udp.iter().map(|udp| udp.2[0]).collect::<Vec<_>>(), b"rb");
    assert!(delivered.udp.iter().all(|udp| udp.2.iter().all(|byte| *byte == udp.2[0])));
}

/// A fragmented tunnel packet, whose content is fragmented too.
#[test]
fn fragments_inside_fragments() {
    let message = message(3000);
    let mut frames = Vec::new();
    for (id, inner) in (0..).zip(cut4(&ipv4_udp(&message), 1400, 7)) {
        let outer = ipv4(47, &join(&[&[0, 0, 0x88, 0xbe], &inner]));
        frames.extend(cut4(&outer, 800, 100 + id));
    }
    let (delivered, decoder) = decode_all(&frames);
    assert_eq!(delivered.udp[0].2, message);
    // Two outer packets of two parts, one whole; then the message.
    assert_eq!(decoder.counters().reassembled, 3);
}

#[test]
fn the_first_end_and_the_first_bytes_win() {
    let packet = ipv4_udp(&message(990));
    let parts = cut4(&packet, 200, 7);
    let mut other = cut4(&ipv4_udp(&[0xee; 990]), 200, 7);
    // A second last part that ends elsewhere, and a second copy of another part that differs.
    let mut longer = other[4].clone();
    longer[14 + 7] += 10;
    let liar = other.swap_remove(1);
    let frames = [&parts[4], &longer, &parts[1], &liar, &parts[0], &parts[2], &parts[3]];
    let (delivered, decoder) = decode_all(&frames.map(Clone::clone));
    assert_eq!(delivered.udp[0].2, message(990));
    let counters = decoder.counters();
    assert_eq!((counters.fragments_refused, counters.fragments_repeated), (1, 1));
}

#[test]
fn unfinished_packets_age_and_are_bounded() {
    let limits = Limits { fragment_bytes: 4096, ..Limits::default() };
    let (mut decoder, mut delivered) = (Decoder::new(limits), Delivered::default());
    let first = |id: u16| cut4(&ipv4_udp(&message(990)), 600, id).swap_remove(0);
    for id in 0..100 {
        decoder.handle_frame(&frame(LinkType::Ethernet, &first(id)), &mut delivered);
    }
    let evicted = decoder.counters().fragments_evicted;
    assert!((90..100).contains(&evicted), "{evicted}");
    decoder.handle_timeout(at(29_999));
    assert_eq!(decoder.counters().fragments_expired, 0);
    decoder.handle_timeout(at(30_000));
    assert_eq!(decoder.counters().fragments_expired, 100 - evicted);
    // What comes too late does not complete it.
    let last = cut4(&ipv4_udp(&message(990)), 600, 99).swap_remove(1);
    decoder.handle_frame(&frame(LinkType::Ethernet, &last), &mut delivered);
    assert!(delivered.udp.is_empty());
}

#[test]
fn a_cut_part_is_refused() {
    let mut parts = cut4(&ipv4_udp(&message(990)), 200, 7);
    parts[2].truncate(100);
    let (delivered, decoder) = decode_all(&parts);
    assert_eq!((delivered.udp.len(), decoder.counters().fragments_refused), (0, 1));
    assert_eq!(decoder.counters().truncated, 1);
}

proptest! {
    /// Any sizes, any order, any repetition: the message or nothing, never another.
    #[test]
    fn overlapping_parts_of_one_message_agree(
        length in 100_usize..4000,
        sizes in prop::collection::vec(1_usize..60, 1..4),
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..400),
    ) {
        let message = message(length);
        let packet = ipv4_udp(&message);
        let parts: Vec<_> = sizes.iter().flat_map(|size| cut4(&packet, size * 8, 7)).collect();
        let frames: Vec<_> = order.iter().map(|index| index.get(&parts).clone()).collect();
        let (delivered, _) = decode_all(&frames);
        for (_, _, payload) in &delivered.udp {
            prop_assert_eq!(payload, &message);
        }
        let (delivered, _) = decode_all(&[frames, parts].concat());
        prop_assert!(!delivered.udp.is_empty());
    }
}
