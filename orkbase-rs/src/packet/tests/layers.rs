//! One UDP payload in every wrapping comes out the same.

use super::*;
use crate::packet::fast::{FlowKey, fast_udp};
use crate::packet::{Layer, Malformed};

const PAYLOAD: &[u8] = b"OPTIONS sip:a@b SIP/2.0\r\n\r\n";

/// The payload must come out once, from the addresses of the innermost packet.
fn check(link: LinkType, bytes: &[u8]) {
    let (mut decoder, mut delivered) = (Decoder::new(Limits::default()), Delivered::default());
    decoder.handle_frame(&frame(link, bytes), &mut delivered);
    let [(source, destination, payload)] = delivered.udp.as_slice() else {
        panic!("one datagram expected: {delivered:?} {:?} in {bytes:02x?}", decoder.counters());
    };
    assert_eq!(payload, PAYLOAD);
    let (port, peer) = (source.port(), destination.port());
    assert_eq!((port, peer), (5060, 5080));
    match source {
        SocketAddr::V4(_) => assert_eq!(*source, SOURCE.parse().unwrap()),
        SocketAddr::V6(_) => assert_eq!(*source, "[2001:db8::1]:5060".parse().unwrap()),
    }
}

fn check_ethernet(ethertype: u16, inside: &[u8]) {
    check(LinkType::Ethernet, &ethernet(ethertype, inside));
}

fn v4() -> Vec<u8> {
    ipv4_udp(PAYLOAD)
}

fn mirrored() -> Vec<u8> {
    ethernet(0x0800, &v4())
}

#[test]
fn links() {
    check_ethernet(0x0800, &v4());
    check_ethernet(0x86dd, &ipv6_udp(PAYLOAD));
    check(LinkType::RawIp, &v4());
    check(LinkType::RawIp, &ipv6_udp(PAYLOAD));
    check(LinkType::Null, &join(&[&[2, 0, 0, 0], &v4()]));
    check(LinkType::Null, &join(&[&[0, 0, 0, 2], &v4()]));
    check(LinkType::Loop, &join(&[&[0, 0, 0, 30], &ipv6_udp(PAYLOAD)]));
    check(LinkType::LinuxSll, &join(&[&[0, 0, 0, 1, 0, 6], &[0; 8], &[8, 0], &v4()]));
    let vlan = [0x81, 0, 0, 5, 8, 0];
    check(LinkType::LinuxSll, &join(&[&[0, 0, 0, 1, 0, 6], &[0; 8], &vlan, &v4()]));
    let sll2 = [0x86, 0xdd, 0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0];
    check(LinkType::LinuxSll2, &join(&[&sll2, &ipv6_udp(PAYLOAD)]));
}

#[test]
fn tags_and_labels() {
    let tag = |vlan: u8, next: u16| join(&[&[0, vlan], &next.to_be_bytes()]);
    check_ethernet(0x8100, &join(&[&tag(7, 0x0800), &v4()]));
    check_ethernet(0x88a8, &join(&[&tag(7, 0x8100), &tag(8, 0x86dd), &ipv6_udp(PAYLOAD)]));
    let deep = [tag(1, 0x9100), tag(2, 0x88a8), tag(3, 0x8100), tag(4, 0x0800)].concat();
    check_ethernet(0x8100, &join(&[&deep, &v4()]));
    check_ethernet(0x8847, &join(&[&[0, 1, 0, 64, 0, 2, 1, 64], &v4()]));
    check_ethernet(0x8847, &join(&[&[0, 1, 1, 64, 0, 0, 0, 0], &mirrored()]));
    check_ethernet(0x8848, &join(&[&[0, 1, 1, 64], &mirrored()]));
    let unicast = join(&[&[0x5c], &mirrored()[1..]]);
    check_ethernet(0x8848, &join(&[&[0, 1, 1, 64], &unicast]));
    check_ethernet(0x8909, &join(&[&[1, 1, 0, 1, 0, 5, 8, 0], &v4()]));
    check_ethernet(0x8926, &join(&[&[0, 1, 0, 2, 8, 0], &v4()]));
    check_ethernet(0x88e7, &join(&[&[0, 0, 0, 9], &mirrored()]));
}

#[test]
fn snap_and_pppoe() {
    let snap = join(&[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &v4()]);
    check_ethernet(u16::try_from(snap.len()).unwrap(), &join(&[&snap, &[0; 9]]));
    let ppp = join(&[&[0, 0x21], &v4()]);
    let length = u16::try_from(ppp.len()).unwrap().to_be_bytes();
    check_ethernet(0x8864, &join(&[&[0x11, 0, 0, 1], &length, &ppp, &[0; 5]]));
    let ppp = join(&[&[0x57], &ipv6_udp(PAYLOAD)]);
    let length = u16::try_from(ppp.len()).unwrap().to_be_bytes();
    check_ethernet(0x8864, &join(&[&[0x11, 0, 0, 1], &length, &ppp]));
}

#[test]
fn ip_oddities() {
    let padded = join(&[&v4(), &[0xee; 30]]);
    check_ethernet(0x0800, &padded);
    let mut offloaded = v4();
    offloaded[2..4].fill(0);
    check_ethernet(0x0800, &offloaded);
    let mut unsummed = v4();
    unsummed[10..12].fill(0xff);
    unsummed[26..28].fill(0xff);
    check_ethernet(0x0800, &unsummed);
    let mut options = v4();
    options.splice(20..20, [1, 1, 1, 0]);
    options[0] = 0x46;
    options[3] += 4;
    check_ethernet(0x0800, &options);
    let mut v6 = ipv6_udp(PAYLOAD);
    v6[4..6].fill(0);
    check_ethernet(0x86dd, &v6);
}

#[test]
fn ipv6_extensions() {
    let udp = ipv6_udp(PAYLOAD).split_off(40);
    let hop_by_hop = [43, 0, 5, 2, 0, 0, 1, 0];
    let routing = [60, 1, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let options = [44, 0, 1, 4, 0, 0, 0, 0];
    let atomic_fragment = [51, 0, 0, 0, 1, 2, 3, 4];
    let authentication = [17, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9];
    let chain = [&hop_by_hop[..], &routing, &options, &atomic_fragment, &authentication, &udp];
    check_ethernet(0x86dd, &ipv6(0, &chain.concat()));
}

/// GRE with every optional field, ERSPAN of three types, PPTP.
#[test]
fn gre_and_erspan() {
    let gre = |flags: u16, protocol: u16, inside: &[u8]| {
        let header = join(&[&flags.to_be_bytes(), &protocol.to_be_bytes()]);
        ethernet(0x0800, &ipv4(47, &join(&[&header, inside])))
    };
    let checks = |bytes: &[u8]| check(LinkType::Ethernet, bytes);
    checks(&gre(0, 0x0800, &v4()));
    checks(&gre(0, 0x86dd, &ipv6_udp(PAYLOAD)));
    checks(&gre(0x2000, 0x6558, &join(&[&[0, 0, 0, 1], &mirrored()])));
    checks(&gre(0xb000, 0x6558, &join(&[&[0; 12], &mirrored()])));
    checks(&gre(0, 0x8847, &join(&[&[0, 1, 1, 64], &v4()])));
    checks(&gre(0, 0x883e, &join(&[&[0, 0, 0, 0], &v4()])));

    checks(&gre(0, 0x88be, &mirrored()));
    let two = [0x10, 7, 0, 1, 0, 0, 0, 5];
    checks(&gre(0x1000, 0x88be, &join(&[&[0, 0, 0, 9], &two, &mirrored()])));
    let mut three = [0x20, 7, 0, 1, 0, 0, 0, 5, 0, 0, 0, 0];
    checks(&gre(0x1000, 0x22eb, &join(&[&[0, 0, 0, 9], &three, &mirrored()])));
    three[11] |= 1;
    checks(&gre(0x1000, 0x22eb, &join(&[&[0, 0, 0, 9], &three, &[3; 8], &mirrored()])));
    three[10] |= 2 << 2;
    checks(&gre(0x1000, 0x22eb, &join(&[&[0, 0, 0, 9], &three, &[3; 8], &v4()])));

    let pptp = join(&[&[0, 60, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3], &[0xff, 3, 0, 0x21], &v4()]);
    checks(&gre(0x3081, 0x880b, &pptp));
    let over_ipv6 = ipv6(47, &join(&[&[0, 0, 8, 0], &v4()]));
    check_ethernet(0x86dd, &over_ipv6);
}

#[test]
fn ip_in_ip() {
    check_ethernet(0x0800, &ipv4(4, &v4()));
    check_ethernet(0x0800, &ipv4(41, &ipv6_udp(PAYLOAD)));
    check_ethernet(0x86dd, &ipv6(4, &v4()));
    check_ethernet(0x86dd, &ipv6(41, &ipv6_udp(PAYLOAD)));
    check_ethernet(0x0800, &ipv4(97, &join(&[&[0x30, 0], &mirrored()])));
    check_ethernet(0x0800, &ipv4(137, &join(&[&[0, 1, 1, 64], &v4()])));
    let authentication = [4, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9];
    check_ethernet(0x0800, &ipv4(51, &join(&[&authentication, &v4()])));
}

#[test]
fn tunnels_over_udp() {
    let checks = |port: u16, parts: &[&[u8]]| {
        check(LinkType::Ethernet, &over_udp(port, &parts.concat()));
    };
    checks(4789, &[&[8, 0, 0, 0, 0, 0, 7, 0], &mirrored()]);
    checks(8472, &[&[8, 0, 0, 0, 0, 0, 7, 0], &mirrored()]);
    checks(4789, &[&[0x88, 0x40, 0, 9, 0, 0, 7, 0], &mirrored()]);
    checks(4790, &[&[0x0c, 0, 0, 1, 0, 0, 7, 0], &v4()]);
    checks(6081, &[&[0, 0, 0x65, 0x58, 0, 0, 7, 0], &mirrored()]);
    checks(6081, &[&[2, 0x40, 0x86, 0xdd, 0, 0, 7, 0], &[1; 8], &ipv6_udp(PAYLOAD)]);
    let length = |extra: usize| u16::try_from(v4().len() + extra).unwrap().to_be_bytes();
    checks(2152, &[&[0x30, 0xff], &length(0), &[0, 0, 0, 1], &v4()]);
    checks(2152, &[&[0x32, 0xff], &length(4), &[0, 0, 0, 1, 0, 9, 0, 0], &v4()]);
    let extensions = [0, 0, 0, 0x85, 1, 0, 9, 0x40, 2, 1, 2, 3, 4, 5, 6, 0];
    checks(2152, &[&[0x34, 0xff], &length(16), &[0, 0, 0, 1], &extensions, &v4()]);
    checks(37008, &[&[1, 0, 0, 1, 10, 1, 200, 0, 1], &mirrored()]);
    checks(4754, &[&[0x20, 0, 8, 0, 0, 0, 0, 1], &v4()]);
    checks(4754, &[&[0, 0, 0x65, 0x58], &mirrored()]);
    checks(10002, &[&record(&mirrored())]);
    checks(10002, &[&record(&ethernet(0x0806, &[0; 28])), &record(&mirrored())]);
    for envelope in hep::envelopes(PAYLOAD) {
        checks(9060, &[&envelope]);
    }
}

/// A record of Oreka's encapsulation.
pub(super) fn record(frame: &[u8]) -> Vec<u8> {
    let length = u16::try_from(frame.len()).unwrap().to_be_bytes();
    join(&[&[0xbe, 0xef, 1, 0, 0, 0, 7], &length, frame])
}

#[test]
fn several_frames_in_one_datagram() {
    let three = record(&mirrored()).repeat(3);
    let (delivered, decoder) = decode_all(&[over_udp(10002, &three)]);
    assert_eq!((delivered.udp.len(), decoder.counters().oreka), (3, 1));
    assert!(delivered.udp.iter().all(|(_, destination, _)| destination.port() == 5080));
    // A snaplen may cut the last, even in its header.
    let one = record(&mirrored()).len();
    for (length, frames) in [(3 * one - 5, 3), (2 * one + 8, 2), (2 * one + 1, 2)] {
        let (delivered, _) = decode_all(&[over_udp(10002, &three[..length])]);
        assert_eq!(delivered.udp.len(), frames, "{length}");
    }
    // A broken chain is somebody's datagram.
    for (at, value) in [(one, 0), (one + 2, 2), (8, 20), (2, 0)] {
        let mut broken = three.clone();
        broken[at] = value;
        let (delivered, _) = decode_all(&[over_udp(10002, &broken)]);
        assert_eq!((delivered.udp.len(), delivered.udp[0].1.port()), (1, 10002));
    }
    // Records in records end like any other tunnel.
    let mut nested = mirrored();
    for _ in 0..9 {
        nested = over_udp(10002, &record(&nested));
    }
    let (delivered, decoder) = decode_all(&[nested]);
    assert_eq!((delivered.udp.len(), decoder.counters().too_deep), (0, 1));
}

/// An eight-fold mirror of a mirror is followed, a ninth is refused and counted.
#[test]
fn nesting_is_bounded() {
    let mut bytes = v4();
    for _ in 0..8 {
        bytes = ipv4(4, &bytes);
    }
    check(LinkType::RawIp, &bytes);
    let mut decoder = Decoder::new(Limits::default());
    let mut delivered = Delivered::default();
    decoder.handle_frame(&frame(LinkType::RawIp, &ipv4(4, &bytes)), &mut delivered);
    let tags = ethernet(0x8100, &[0, 1, 0x81, 0].repeat(1000));
    decoder.handle_frame(&frame(LinkType::Ethernet, &tags), &mut delivered);
    assert_eq!((decoder.counters().too_deep, delivered.udp.len()), (2, 0));
}

/// A phone may choose any port: what does not look like a tunnel is the phone's.
#[test]
fn media_on_tunnel_ports_stays_media() {
    let rtp = join(&[&[0x80, 0, 0x12, 0x34, 0, 0, 0, 160, 1, 2, 3, 4], &[0xff; 160]]);
    for port in [2152, 4754, 4789, 4790, 6081, 8472, 37008, 9060, 10002] {
        for payload in [&rtp[..], PAYLOAD, &[0], &[]] {
            let bytes = over_udp(port, payload);
            assert_eq!(fast_udp(&frame(LinkType::Ethernet, &bytes)), None, "port {port}");
            let (delivered, _) = decode_all(&[bytes]);
            assert_eq!(delivered.udp.len(), 1, "port {port}");
            assert_eq!((delivered.udp[0].1.port(), &delivered.udp[0].2[..]), (port, payload));
        }
    }
}

#[test]
fn what_a_snaplen_left_is_delivered_and_counted() {
    let whole = ethernet(0x0800, &v4());
    let cut = &whole[..whole.len() - 10];
    let frame =
        Frame { wire_len: u32::try_from(whole.len()).unwrap(), ..frame(LinkType::Ethernet, cut) };
    assert_eq!(fast_udp(&frame), None);
    let (mut decoder, mut delivered) = (Decoder::new(Limits::default()), Delivered::default());
    decoder.handle_frame(&frame, &mut delivered);
    assert_eq!(delivered.udp[0].2, PAYLOAD[..PAYLOAD.len() - 10]);
    assert_eq!(decoder.counters().truncated, 1);
}

#[test]
fn what_is_not_ours_is_counted_by_number() {
    let mut decoder = Decoder::new(Limits::default());
    let mut delivered = Delivered::default();
    let arp = ethernet(0x0806, &[0; 28]);
    let icmp = ethernet(0x0800, &ipv4(1, &[8, 0, 0, 0]));
    for (link, bytes) in [
        (LinkType::Ethernet, &arp[..]),
        (LinkType::Ethernet, &arp),
        (LinkType::Ethernet, &icmp),
        (LinkType::Other(127), &[1, 2, 3]),
        (LinkType::Ethernet, &[1, 2, 3]),
    ] {
        decoder.handle_frame(&frame(link, bytes), &mut delivered);
    }
    let counters = decoder.counters();
    assert_eq!(counters.unknown_ethertypes.count(0x0806), 2);
    assert_eq!(counters.unknown_ip_protocols.count(1), 1);
    assert_eq!(counters.unknown_links.iter().collect::<Vec<_>>(), [(127, 1)]);
    assert_eq!((counters.frames, counters.malformed_link), (5, 1));
}

#[test]
fn a_refusal_names_layer_place_and_law() {
    struct Refusals(Vec<Malformed>);
    impl Sink for Refusals {
        fn udp(&mut self, _: Datagram<'_>) {}
        fn tcp(&mut self, _: TcpStream<'_>) {}
        fn refused(&mut self, malformed: Malformed) {
            self.0.push(malformed);
        }
    }
    let mut refusals = Refusals(Vec::new());
    let bytes = ethernet(0x0800, &ipv4(17, &[0, 1, 2]));
    Decoder::new(Limits::default()).handle_frame(&frame(LinkType::Ethernet, &bytes), &mut refusals);
    let why = "UDP header is 8 bytes";
    assert_eq!(refusals.0, [Malformed { layer: Layer::Transport, offset: 3, why }]);
}

#[test]
fn a_flow_key_keeps_both_ends() {
    let bytes = join(&[&[0, 1, 8, 0], &v4()]);
    let frame_bytes = ethernet(0x8100, &bytes);
    let fast = fast_udp(&frame(LinkType::Ethernet, &frame_bytes)).unwrap();
    let (source, destination) = (SOURCE.parse().unwrap(), DESTINATION.parse().unwrap());
    assert_eq!((fast.key.source(), fast.key.destination()), (source, destination));
    assert_eq!(FlowKey::from_addrs(&source, &destination), Some(fast.key));
    assert_eq!(FlowKey::from_addrs(&destination, &source), Some(fast.key.reversed()));
    assert_eq!(fast.key.destination_port(), 5080);
    assert_eq!(FlowKey::from_addrs(&source, &"[::1]:5".parse().unwrap()), None);
    assert_eq!(fast.payload, PAYLOAD);
}

#[test]
fn a_port_of_our_own_for_vxlan_is_not_fast() {
    let decoder = Decoder::new(Limits {
        ports: crate::packet::ports::TunnelPorts { vxlan: vec![5080], ..Default::default() },
        ..Limits::default()
    });
    let bytes = mirrored();
    assert_eq!(decoder.fast_udp(&frame(LinkType::Ethernet, &bytes)), None);
    let decoder = Decoder::new(Limits::default());
    assert!(decoder.fast_udp(&frame(LinkType::Ethernet, &bytes)).is_some());
}
