//! SIP over TLS between ends of a real TLS stack: the same call gives the same tape as over plain TCP.

mod pair;
mod programs;
mod srtp;

use ork_tests::{
    generator::chance::Chance,
    rehearse::{Rehearsal, rehearse_with},
    scenario::{START, play},
    tcp::{Connection, From},
};
use orkbase::{
    call::settings::Settings,
    tap::Tap,
    tls::{self, Why},
};
use pair::{Ends, Pair, Setup};
use rustls::{SupportedCipherSuite, crypto::ring::ALL_CIPHER_SUITES};
use std::net::SocketAddrV4;

const CALL: &str = "a->b INVITE; b->a 180; b->a 200; a->b ACK; rtp 2s; a->b INFO; b->a 200; rtp 1s; b->a BYE; a->b 200";
const MS: u64 = 1_000_000;
/// Before the call, so that the connection is there.
const EARLIER: u64 = START - 500 * MS;
/// After it.
const LATER: u64 = START + 4_000 * MS;

type Frames = Vec<(u64, Vec<u8>)>;

/// What is said, by whom and when; and the frames that carry no SIP.
fn call() -> (Vec<(u64, From, Vec<u8>)>, Frames) {
    let (mut said, mut rest) = (Vec::new(), Vec::new());
    for (at, frame) in play(CALL).unwrap().frames {
        if frame[36..38] == 5060_u16.to_be_bytes() {
            let from = if frame[29] == 11 { From::Client } else { From::Server };
            said.push((at, from, frame[42..].to_vec()));
        } else {
            rest.push((at, frame));
        }
    }
    assert_eq!(said.len(), 8);
    (said, rest)
}

fn addresses(port: u16) -> (SocketAddrV4, SocketAddrV4) {
    (
        "192.168.1.11:40000".parse().unwrap(),
        SocketAddrV4::new("192.168.1.12".parse().unwrap(), port),
    )
}

fn merged(mut frames: Frames, rest: Frames) -> Frames {
    frames.extend(rest);
    frames.sort_by_key(|(at, _)| *at);
    frames
}

/// The call over plain TCP.
fn clear() -> Frames {
    let (said, rest) = call();
    let (client, server) = addresses(5060);
    let mut wire = Connection::open(EARLIER, client, server);
    for (at, from, text) in said {
        wire.send(at, from, &text, 1400);
    }
    wire.close(LATER);
    merged(wire.frames, rest)
}

/// The call over one TLS connection, in segments of `size`; `before` every message.
fn sealed_with(
    stacks: &Ends,
    (client, server): (SocketAddrV4, SocketAddrV4),
    size: usize,
    before: &mut dyn FnMut(usize, &mut Pair),
) -> Frames {
    let (said, rest) = call();
    let mut wire = Connection::open(EARLIER, client, server);
    let mut pair = stacks.connect();
    pair.say(EARLIER, From::Client, b"", size, &mut wire);
    for (number, (at, from, text)) in said.into_iter().enumerate() {
        before(number, &mut pair);
        pair.say(at, from, &text, size, &mut wire);
    }
    wire.close(LATER);
    merged(wire.frames, rest)
}

fn sealed(ends: &Ends, size: usize) -> Frames {
    sealed_with(ends, addresses(5061), size, &mut |_, _| {})
}

/// Rehearses with keys given at a moment after [`EARLIER`], in milliseconds.
fn opened(frames: &Frames, keys: &str, after_ms: u64) -> Rehearsal {
    opened_as(frames, keys, after_ms, &tls::Settings::default())
}

fn opened_as(frames: &Frames, keys: &str, after_ms: u64, settings: &tls::Settings) -> Rehearsal {
    let (mut begun, mut given) = (false, false);
    rehearse_with(frames, Settings::default(), &mut |tap: &mut Tap, at| {
        if !std::mem::replace(&mut begun, true) {
            tap.set_tls(settings.clone());
        }
        if !given && at.0 >= EARLIER + after_ms * MS {
            tap.handle_keys(keys);
            given = true;
        }
    })
}

/// Everything that must not depend on how the signalling travelled.
fn check(got: &Rehearsal, want: &Rehearsal, how: &str) {
    assert!(got.notices.is_empty(), "{how}: {:?}", got.notices);
    let (tape, clear) = (got.only(), want.only());
    assert!(tape.samples == clear.samples, "{how}: other samples");
    assert_eq!(got.stages(), want.stages(), "{how}");
    let legs = |tape: &ork_tests::rehearse::Tape| tape.closing.as_ref().unwrap().legs.clone();
    assert_eq!(legs(tape), legs(clear), "{how}");
    assert_eq!(legs(tape).len(), 2, "{how}");
    assert_eq!(got.counters.signals, want.counters.signals, "{how}");
    assert_eq!(got.counters.tls.decrypted, got.counters.tls.connections, "{how}");
    assert_eq!(got.counters.tls.records_failed, 0, "{how}");
}

fn plain() -> Rehearsal {
    opened(&clear(), "", 0)
}

/// Every suite that a certificate of our making serves; the others differ in the key exchange only.
fn suites() -> Vec<SupportedCipherSuite> {
    let named = |suite: &SupportedCipherSuite| format!("{:?}", suite.suite());
    let fits = |name: &str| name.starts_with("TLS13") || name.contains("ECDSA");
    let suites: Vec<_> =
        ALL_CIPHER_SUITES.iter().copied().filter(|suite| fits(&named(suite))).collect();
    assert_eq!(suites.len(), 6);
    suites
}

fn setup(suite: SupportedCipherSuite) -> Setup {
    Setup { suite: Some(suite), ..Setup::default() }
}

#[test]
fn every_suite_gives_the_tape_of_plain_tcp() {
    let want = plain();
    assert_eq!(want.counters.signals.sip_messages, 8);
    for suite in suites() {
        let ends = Ends::new(&setup(suite));
        let frames = sealed(&ends, 1400);
        let keys = ends.key_log();
        check(&opened(&frames, &keys, 0), &want, &format!("{suite:?}"));
    }
}

#[test]
fn segments_of_any_size_change_nothing() {
    let want = plain();
    for suite in [suites()[0], suites()[3]] {
        let ends = Ends::new(&Setup { fragment: Some(64), ..setup(suite) });
        for size in [1, 2, 3, 5, 6, 7, 64, 555] {
            let frames = sealed(&ends, size);
            check(&opened(&frames, &ends.key_log(), 0), &want, &format!("{suite:?} {size}"));
        }
    }
}

#[test]
fn keys_may_come_late() {
    let want = plain();
    for suite in suites() {
        let ends = Ends::new(&setup(suite));
        let frames = sealed(&ends, 1400);
        let keys = ends.key_log();
        // In the middle of the handshake, before the INVITE, and with the audio under way.
        for after_ms in [1, 400, 1_500] {
            let got = opened(&frames, &keys, after_ms);
            assert!(got.only().samples == want.only().samples, "{suite:?} {after_ms}");
            assert_eq!(got.counters.signals, want.counters.signals);
        }
        // After the connection has ended nothing can be recorded any more, but what was said is read.
        let got = rehearse_with(&frames, Settings::default(), &mut |_, _| {});
        assert_eq!(got.counters.signals.sip_messages, 0);
        let mut later = frames.clone();
        later.push((LATER + 2_000 * MS, later.last().unwrap().1.clone()));
        let got = opened(&later, &keys, 5_000);
        assert_eq!(got.counters.signals, want.counters.signals);
    }
}

#[test]
fn keys_may_come_line_by_line() {
    let want = plain();
    for suite in suites() {
        let ends = Ends::new(&setup(suite));
        let frames = sealed(&ends, 1400);
        let keys = ends.key_log();
        let mut lines = keys.lines();
        let got = rehearse_with(&frames, Settings::default(), &mut |tap, at| {
            if at.0 > START + 50 * MS {
                tap.handle_keys(lines.next().unwrap_or_default());
            }
        });
        check(&got, &want, &format!("{suite:?}"));
    }
}

#[test]
fn without_keys_there_is_one_notice_and_no_tape() {
    for suite in suites() {
        for await_keys in [true, false] {
            let settings = tls::Settings { await_keys, ..tls::Settings::default() };
            let ends = Ends::new(&setup(suite));
            let mut frames = sealed(&ends, 1400);
            // Another connection of the same two, a minute later.
            let (mut client, server) = addresses(5061);
            client.set_port(40_001);
            let again = sealed_with(&ends, (client, server), 1400, &mut |_, _| {});
            frames.extend(again.into_iter().map(|(at, frame)| (at + 60_000 * MS, frame)));
            let got = opened_as(&frames, "", 0, &settings);
            assert!(got.tapes.is_empty());
            let [notice] = got.notices.as_slice() else { panic!("{:?}", got.notices) };
            assert_eq!(notice.why, Why::KeyUnknown);
            assert_eq!(
                (notice.client.to_string().as_str(), notice.server.port()),
                ("192.168.1.11", 5061)
            );
            let said = notice.to_string();
            assert!(said.contains("from 192.168.1.11 to 192.168.1.12:5061"), "{said}");
            assert!(said.contains("SSLKEYLOGFILE") && said.contains("capture.key_log"), "{said}");
            let counters = &got.counters.tls;
            assert_eq!((counters.connections, counters.signalling), (2, 2));
            assert_eq!((counters.without_key, counters.endpoints_unread), (2, 1));
            assert_eq!((counters.decrypted, got.counters.signals.sip_messages), (0, 0));
        }
    }
}

#[test]
fn other_ports_are_signalling_when_the_client_says_so() {
    for (alpn, notices) in [(None, 0), (Some("sip/2"), 1), (Some("sip"), 1), (Some("h2"), 0)] {
        let ends = Ends::new(&Setup { alpn, ..Setup::default() });
        let frames = sealed_with(&ends, addresses(4443), 1400, &mut |_, _| {});
        assert_eq!(opened(&frames, "", 0).notices.len(), notices, "{alpn:?}");
        // With the key it is read in any case.
        check(&opened(&frames, &ends.key_log(), 0), &plain(), "4443");
    }
}

#[test]
fn a_wrong_key_opens_nothing_and_says_so() {
    for suite in suites() {
        let ends = Ends::new(&setup(suite));
        let frames = sealed(&ends, 1400);
        let wrong = |line: &str| {
            let (rest, last) = line.split_at(line.len() - 1);
            format!("{rest}{}\n", if last == "0" { "1" } else { "0" })
        };
        let keys: String = ends.key_log().lines().map(wrong).collect();
        let got = opened(&frames, &keys, 0);
        assert!(got.tapes.is_empty());
        let [notice] = got.notices.as_slice() else { panic!("{suite:?} {:?}", got.notices) };
        assert_eq!(notice.why, Why::KeyWrong);
        let counters = &got.counters.tls;
        assert!(counters.records_failed + counters.handshake_records_passed > 4, "{counters:?}");
        assert_eq!((counters.wrong_key, counters.decrypted), (1, 0));
    }
}

#[test]
fn the_secrets_of_the_application_are_enough() {
    for retry in [false, true] {
        let ends = Ends::new(&Setup { retry, ..Setup::default() });
        let frames = sealed(&ends, 1400);
        let keys = ends.key_log();
        check(&opened(&frames, &keys, 0), &plain(), "all secrets");
        let some: String = keys
            .lines()
            .filter(|line| line.contains("TRAFFIC_SECRET_0"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(some.lines().count(), 2);
        let got = opened(&frames, &some, 0);
        check(&got, &plain(), "some secrets");
        assert!(got.counters.tls.handshake_records_passed > 0);
    }
}

#[test]
fn sessions_are_resumed() {
    for suite in suites() {
        let ends = Ends::new(&setup(suite));
        let full = sealed(&ends, 1400);
        let known = ends.key_log();
        let short = sealed_with(&ends, addresses(5061), 1400, &mut |number, pair| {
            if number > 0 {
                let kind = format!("{:?}", pair.client.handshake_kind());
                assert!(kind.contains("Resumed"), "{suite:?}: {kind}");
            }
        });
        let bytes = |frames: &Frames| frames.iter().map(|(_, frame)| frame.len()).sum::<usize>();
        assert!(bytes(&short) < bytes(&full));
        let keys = ends.key_log();
        check(
            &opened(&short, keys.strip_prefix(&*known).unwrap(), 0),
            &plain(),
            &format!("{suite:?}"),
        );
    }
}

#[test]
fn keys_are_renewed() {
    let ends = Ends::new(&Setup::default());
    let frames = sealed_with(&ends, addresses(5061), 1400, &mut |number, pair| match number {
        1 | 4 => pair.server.refresh_traffic_keys().unwrap(),
        3 | 5 => pair.client.refresh_traffic_keys().unwrap(),
        _ => {}
    });
    check(&opened(&frames, &ends.key_log(), 0), &plain(), "renewed");
}

#[test]
fn a_hole_costs_only_the_messages_in_it() {
    let (said, rest) = call();
    let (client, server) = addresses(5061);
    for suite in suites() {
        for lost in 1..7 {
            let ends = Ends::new(&setup(suite));
            let mut wire = Connection::open(EARLIER, client, server);
            let mut pair = ends.connect();
            pair.say(EARLIER, From::Client, b"", 1400, &mut wire);
            for (number, (at, from, text)) in said.iter().enumerate() {
                if number == lost {
                    for _ in 0..20 {
                        pair.say_unseen(*from, text, &mut wire);
                    }
                } else {
                    pair.say(*at, *from, text, 1400, &mut wire);
                }
            }
            let frames = merged(wire.frames, rest.clone());
            let got = opened(&frames, &ends.key_log(), 0);
            assert!(got.notices.is_empty(), "{suite:?} {lost}: {:?}", got.notices);
            assert_eq!(got.counters.signals.sip_messages, 7, "{suite:?} {lost}");
            assert_eq!(got.only().closing.as_ref().unwrap().legs.len(), 2);
        }
    }
}

#[test]
fn a_hole_in_the_middle_of_a_record_is_passed() {
    let (said, rest) = call();
    for suite in suites() {
        let ends = Ends::new(&setup(suite));
        let (client, server) = addresses(5061);
        let mut wire = Connection::open(EARLIER, client, server);
        let mut pair = ends.connect();
        pair.say(EARLIER, From::Client, b"", 1400, &mut wire);
        for (at, from, text) in &said {
            let before = wire.frames.len();
            pair.say(*at, *from, text, 100, &mut wire);
            if *from == From::Client && text.starts_with(b"INFO") {
                // The end of one record and the beginning of the next.
                pair.say(*at, *from, text, 100, &mut wire);
                let count = wire.frames.len() - before;
                drop(wire.frames.drain(before + count / 2 - 1..before + count / 2 + 1));
            }
        }
        let frames = merged(wire.frames, rest.clone());
        let got = opened(&frames, &ends.key_log(), 0);
        assert_eq!(got.counters.signals.sip_messages, 7, "{suite:?}");
        assert!(got.counters.tls.lost_bytes > 0);
        assert_eq!(got.tapes.len(), 1);
    }
}

#[test]
fn a_capture_that_begins_too_late_says_so() {
    for suite in suites() {
        let ends = Ends::new(&setup(suite));
        for size in [1400, 100] {
            let mut frames = sealed(&ends, size);
            let first = frames.iter().position(|(at, _)| *at >= START).unwrap();
            drop(frames.drain(..first));
            if size == 100 {
                frames.remove(0);
            }
            let got = opened(&frames, &ends.key_log(), 0);
            let [notice] = got.notices.as_slice() else { panic!("{:?}", got.notices) };
            assert_eq!(notice.why, Why::HandshakeUnseen);
            assert_eq!(
                (notice.client.to_string().as_str(), notice.server.port()),
                ("192.168.1.11", 5061)
            );
            assert!(notice.to_string().contains("began after the handshake"));
            assert_eq!((got.tapes.len(), got.counters.tls.without_handshake), (0, 1));
        }
    }
}

#[test]
fn websocket_over_tls_is_read() {
    let (said, rest) = call();
    let ends = Ends::new(&Setup::default());
    let (client, server) = addresses(443);
    let mut wire = Connection::open(EARLIER, client, server);
    let mut pair = ends.connect();
    let asked = b"GET / HTTP/1.1\r\nHost: pbx\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Protocol: sip\r\n\r\n";
    let granted = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Protocol: sip\r\n\r\n";
    pair.say(EARLIER, From::Client, asked, 1400, &mut wire);
    pair.say(EARLIER, From::Server, granted, 1400, &mut wire);
    for (at, from, text) in said {
        let key = [1, 2, 3, 4];
        let length = u16::try_from(text.len()).unwrap().to_be_bytes();
        let masked = text.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key);
        let framed = match from {
            From::Client => {
                [&[0x81, 0xfe], &length[..], &key].concat().into_iter().chain(masked).collect()
            }
            From::Server => [&[0x81, 126], &length[..], &text].concat(),
        };
        pair.say(at, from, &framed, 1400, &mut wire);
    }
    let frames = merged(wire.frames, rest);
    check(&opened(&frames, &ends.key_log(), 0), &plain(), "wss");
}

#[test]
fn skinny_over_tls_is_read() {
    let (client, server) = addresses(2443);
    let ends = Ends::new(&Setup::default());
    let mut wire = Connection::open(EARLIER, client, server);
    let mut pair = ends.connect();
    // On hook: length, version, type, line, call.
    let hung_up = [16_u32, 0x14, 0x111, 2, 1, 7].map(u32::to_le_bytes).concat();
    for _ in 0..3 {
        pair.say(EARLIER, From::Server, &hung_up, 1400, &mut wire);
    }
    let got = opened(&wire.frames, &ends.key_log(), 0);
    assert_eq!((got.counters.signals.skinny_messages, got.counters.signals.sip_messages), (3, 0));
}

/// Bytes flipped, frames lost, doubled and moved, with and without keys: nothing panics, nothing is invented.
#[test]
fn damaged_connections_are_survived() {
    let mut chance = Chance::new(7, 1);
    for suite in suites() {
        let ends = Ends::new(&setup(suite));
        let whole = sealed(&ends, 300);
        for round in 0..20 {
            let mut frames = whole.clone();
            for _ in 0..=round {
                let tcp: Vec<usize> = (0..frames.len())
                    .filter(|at| frames[*at].1[23] == 6 && frames[*at].1.len() > 60)
                    .collect();
                let Some(at) = tcp.get(chance.word() as usize % tcp.len().max(1)).copied() else {
                    continue;
                };
                match chance.word() % 4 {
                    0 => drop(frames.remove(at)),
                    1 => frames.push((LATER, frames[at].1.clone())),
                    2 => frames[at].0 += 30 * MS,
                    _ => {
                        let bytes = &mut frames[at].1;
                        let place = 54 + chance.word() as usize % (bytes.len() - 54);
                        bytes[place] ^= 1 << (chance.word() % 8);
                    }
                }
            }
            frames.sort_by_key(|(at, _)| *at);
            let got = opened(&frames, &ends.key_log(), u64::from(chance.word() % 4_000));
            assert!(got.counters.signals.sip_messages <= 8);
            assert_eq!(got.counters.signals.sip_malformed, 0);
        }
    }
}
