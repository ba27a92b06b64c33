//! The table of connections: its bounds, and bytes of all kinds.

use super::*;
use proptest::prelude::*;

fn end(host: u8, port: u16) -> SocketAddr {
    ([10, 0, 0, host], port).into()
}

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind, 3, 3, high, low], body].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(body.len()).unwrap().to_be_bytes();
    record(22, &[&[kind, a, b, c], body].concat())
}

fn client_hello(random: u8) -> Vec<u8> {
    message(1, &[&[3, 3], &[random; 32][..], &[0, 0, 2, 0x13, 1, 1, 0]].concat())
}

fn server_hello(suite: u16) -> Vec<u8> {
    let [high, low] = suite.to_be_bytes();
    let version: &[u8] = if high == 0x13 { &[0, 6, 0, 43, 0, 2, 3, 4] } else { &[] };
    message(2, &[&[3, 3], &[9; 32][..], &[0, high, low, 0], version].concat())
}

fn stream(source: SocketAddr, destination: SocketAddr, data: &[u8]) -> TcpStream<'_> {
    TcpStream { source, destination, data, gap: false, closed: false }
}

fn say(tls: &mut Tls, from: SocketAddr, to: SocketAddr, data: &[u8]) {
    tls.handle_stream(Timestamp(1), &stream(from, to, data));
}

fn notices(tls: &mut Tls) -> Vec<Why> {
    std::iter::from_fn(|| tls.poll_event())
        .filter_map(|event| match event {
            Event::Noticed(notice) => Some(notice.why),
            Event::Plain { .. } | Event::Closed { .. } => None,
        })
        .collect()
}

#[test]
fn what_waits_is_bounded() {
    let settings = Settings {
        signalling_bytes: 60_000,
        other_bytes: 20_000,
        total_bytes: 100_000,
        ..Settings::default()
    };
    let mut tls = Tls::new(settings);
    let data = record(23, &[7; 9_000]);
    for host in 0..40 {
        for port in [5061, 443] {
            let (client, server) = (end(host, 4_000), end(99, port));
            say(&mut tls, client, server, &client_hello(host));
            say(&mut tls, server, client, &server_hello(0x1301));
            for _ in 0..host {
                say(&mut tls, server, client, &data);
                assert!(tls.waiting_bytes <= 110_000);
                assert!(tls.connections.values().all(|entry| entry.waiting_bytes <= 70_000));
            }
        }
    }
    assert_eq!(tls.connections.len(), 80);
    assert!(tls.counters.overflowed > 60, "{:?}", tls.counters);
    let sum: usize = tls.connections.values().map(|entry| entry.waiting_bytes).sum();
    assert_eq!(sum, tls.waiting_bytes);
    assert_eq!(tls.waiting.len(), tls.connections.values().filter(|e| e.since.is_some()).count());
    // Each of the forty is told of once, at the end at the latest.
    tls.finish();
    assert_eq!(notices(&mut tls).len(), 39);
    assert_eq!((tls.waiting_bytes, tls.connections.len(), tls.waiting.len()), (0, 0, 0));
    assert!(tls.untold.is_empty());
}

#[test]
fn a_flood_of_connections_is_refused_beyond_the_bound() {
    let mut tls = Tls::new(Settings { connections: 10, ..Settings::default() });
    for host in 0..30 {
        say(&mut tls, end(host, 4_000), end(99, 5061), &client_hello(host));
    }
    assert_eq!((tls.connections.len(), tls.counters.refused), (10, 20));
}

#[test]
fn a_suite_of_another_kind_is_named() {
    for suite in [0x0005, 0xc0ac, 0x1304] {
        let mut tls = Tls::new(Settings::default());
        let (client, server) = (end(1, 4_000), end(99, 5061));
        say(&mut tls, client, server, &client_hello(1));
        say(&mut tls, server, client, &server_hello(suite));
        assert_eq!(notices(&mut tls), [Why::CipherUnknown(suite)]);
        assert_eq!(tls.counters.unsupported, 1);
    }
}

#[test]
fn a_missing_key_is_told_of_after_a_while() {
    let mut tls = Tls::new(Settings::default());
    let (client, server) = (end(1, 4_000), end(99, 5061));
    say(&mut tls, client, server, &client_hello(1));
    say(&mut tls, server, client, &[server_hello(0x1301), record(23, &[7; 40])].concat());
    tls.handle_timeout(Timestamp(9_000_000_000));
    assert_eq!(notices(&mut tls), []);
    tls.handle_timeout(Timestamp(11_000_000_000));
    assert_eq!(notices(&mut tls), [Why::KeyUnknown]);
    // It still waits: an operator may come with the key.
    assert_eq!(tls.waiting.len(), 1);
}

#[test]
fn a_skinny_message_is_none_of_ours() {
    let tls = Tls::new(Settings::default());
    let (phone, manager) = (end(1, 4_000), end(99, 2000));
    for length in 0x0313..0x031a_u32 {
        let message = [length, 0, 1].map(u32::to_le_bytes).concat();
        assert!(!tls.claims(&stream(phone, manager, &message)), "{length}");
    }
    assert!(tls.claims(&stream(phone, manager, &record(23, &[7; 40]))));
}

#[test]
fn bytes_that_only_begin_like_tls_are_passed_on() {
    let mut tls = Tls::new(Settings::default());
    let (client, server) = (end(1, 4_000), end(99, 5060));
    assert!(tls.claims(&stream(client, server, &[22])));
    say(&mut tls, client, server, &[22]);
    say(&mut tls, client, server, b"INVITE");
    say(&mut tls, client, server, b" sip:");
    let mut all = Vec::new();
    while let Some(Event::Plain { data, .. }) = tls.poll_event() {
        all.extend(data);
    }
    assert_eq!(all, b"\x16INVITE sip:");
}

#[derive(Clone, Debug)]
enum Act {
    Bytes(bool, Vec<u8>, bool),
    Hello(bool, u16),
    Close(bool),
    Keys(String),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let bytes =
        prop::collection::vec(prop_oneof![3 => any::<u8>(), 1 => 20u8..24, 1 => Just(3)], 0..80);
    let suites = prop::sample::select(vec![
        0x1301, 0x1302, 0x1303, 0x002f, 0x003d, 0xc028, 0xc02b, 0xcca8, 5,
    ]);
    let body = prop::collection::vec(any::<u8>(), 0..300);
    let kind = prop::sample::select(vec![20u8, 21, 22, 23, 24]);
    let label = prop::sample::select(vec![
        "CLIENT_RANDOM",
        "CLIENT_TRAFFIC_SECRET_0",
        "SERVER_HANDSHAKE_TRAFFIC_SECRET",
        "RSA",
    ]);
    prop_oneof![
        (any::<bool>(), bytes, any::<bool>())
            .prop_map(|(way, bytes, gap)| Act::Bytes(way, bytes, gap)),
        (any::<bool>(), kind, body, any::<bool>()).prop_map(|(way, kind, body, gap)| Act::Bytes(
            way,
            record(kind, &body),
            gap
        )),
        (any::<bool>(), suites).prop_map(|(way, suite)| Act::Hello(way, suite)),
        any::<bool>().prop_map(Act::Close),
        (label, 0..3u8, 0..50usize).prop_map(|(label, random, length)| {
            Act::Keys(format!(
                "{label} {} {}",
                format!("{random:02x}").repeat(32),
                "ab".repeat(length)
            ))
        }),
        ".{0,40}".prop_map(Act::Keys),
        (0..20_000u64).prop_map(Act::Wait),
    ]
}

proptest! {
    #[test]
    fn nothing_panics_and_the_accounts_are_right(acts in prop::collection::vec(act(), 1..60), await_keys: bool) {
        let (client, server) = (end(1, 4_000), end(99, 5061));
        let mut now = Timestamp(1);
        let mut tls = Tls::new(Settings { await_keys, ..Settings::default() });
        for act in acts {
            let ends = |way: bool| if way { (client, server) } else { (server, client) };
            match act {
                Act::Bytes(way, data, gap) => {
                    let (source, destination) = ends(way);
                    let closed = false;
                    tls.handle_stream(now, &TcpStream { source, destination, data: &data, gap, closed });
                }
                Act::Hello(way, suite) => {
                    let (source, destination) = ends(way);
                    let data = if way { client_hello(1) } else { server_hello(suite) };
                    tls.handle_stream(now, &stream(source, destination, &data));
                }
                Act::Close(way) => {
                    let (source, destination) = ends(way);
                    let stream = TcpStream { closed: true, ..stream(source, destination, &[]) };
                    tls.handle_stream(now, &stream);
                }
                Act::Keys(text) => tls.handle_keys(now, &text),
                Act::Wait(ms) => {
                    now = now.plus_millis(ms);
                    tls.handle_timeout(now);
                }
            }
            let sum: usize = tls.connections.values().map(|entry| entry.waiting_bytes).sum();
            prop_assert_eq!(sum, tls.waiting_bytes);
            let waiting = tls.connections.values().filter(|entry| entry.connection.waits()).count();
            prop_assert_eq!(tls.waiting.len(), waiting);
            prop_assert!(tls.untold.is_subset(&tls.waiting));
            prop_assert!(tls.connections.len() <= 1);
        }
        tls.finish();
        prop_assert!(tls.connections.is_empty() && tls.waiting.is_empty() && tls.waiting_bytes == 0);
        prop_assert_eq!(tls.counters.decrypted, 0);
    }
}
