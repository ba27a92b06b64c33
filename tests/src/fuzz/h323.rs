//! H.323 on its TCP connections: call signalling, and H.245 on its own.

use super::{input::Input, signals};
use crate::h323::tpkt;
use orkbase::signal::h323::{Framer, H323, looks_like_call_signalling, may_be_tpkt};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
};

/// Longest message.
const MAX_MESSAGE: usize = 16 * 1024 - 4;

/// Input: pieces of connections; a byte says whose and what. Twice the same gives twice the same.
pub(super) fn streams(data: &[u8]) {
    assert_eq!(play(data), play(data), "the same pieces gave something else");
}

fn play(data: &[u8]) -> u64 {
    let mut input = Input::new(data);
    let mut h323 = H323::default();
    let mut framers: [Framer; 8] = std::array::from_fn(|_| Framer::default());
    let mut story = DefaultHasher::new();
    let (mut messages, mut controls, mut facts) = (0, 0, 0);
    while !input.is_empty() {
        let how = input.byte();
        let bytes = piece(how >> 5, &mut input);
        let is_control = how & 2 != 0;
        let server: SocketAddr = ([10, 0, 0, 2], if is_control { 5_555 } else { 1_720 }).into();
        let client: SocketAddr = ([10, 0, 0, 1], 4_000 + u16::from(how & 1)).into();
        let (source, destination) = if how & 4 == 0 { (client, server) } else { (server, client) };
        let gap = how & 24 == 8;
        let _looks = looks_like_call_signalling(&bytes, [source.port(), destination.port()]);
        let Some(framer) = framers.get_mut(usize::from(how & 7)) else { continue };
        cut(&bytes, usize::from(how >> 3) + 1);
        let awaited = h323.awaits(source, destination);
        framer.push(&bytes, gap, &mut |message: &[u8]| {
            assert!((1..=MAX_MESSAGE).contains(&message.len()));
            let mut told = |signal: &orkbase::signal::Signal| {
                signals::stated(signal);
                facts += 1;
                format!("{signal:?}").hash(&mut story);
            };
            if is_control {
                controls += 1;
                h323.control(source, destination, message, &mut told);
            } else {
                messages += 1;
                h323.signalling(source, destination, message, &mut told);
            }
        });
        assert!(framer.held_bytes() <= MAX_MESSAGE + 4, "{} held", framer.held_bytes());
        // Control messages alone await nothing.
        assert!(!is_control || awaited == h323.awaits(source, destination));
        if how & 24 == 24 {
            h323.forget(source, destination);
            assert!(!h323.awaits(source, destination));
        }
    }
    let counters = h323.counters();
    assert_eq!((counters.controls, counters.facts), (controls, facts));
    assert!(counters.messages <= messages && counters.calls <= counters.messages);
    assert!(counters.malformed <= messages && counters.refused == 0);
    format!("{counters:?}").hash(&mut story);
    story.finish()
}

/// Any bytes, or a message with any contents.
fn piece(what: u8, input: &mut Input<'_>) -> Vec<u8> {
    match what {
        0 | 1 => input.chunk().to_vec(),
        2 => tpkt(input.chunk()),
        _ => {
            let (reference, kind) = (input.byte(), input.byte());
            const KINDS: [u8; 8] = [1, 2, 3, 5, 7, 0x5a, 0x62, 0x7b];
            let kind = KINDS.get(usize::from(kind & 7)).copied().unwrap_or(kind);
            let mut bytes = vec![8, 2, reference & 0x80, reference & 3, kind];
            if what & 1 == 1 {
                let element = input.chunk();
                bytes.extend(element);
            }
            let user = input.chunk();
            let [high, low] = u16::try_from(user.len() + 1).unwrap_or(u16::MAX).to_be_bytes();
            bytes.extend([0x7e, high, low, 5]);
            bytes.extend(user);
            tpkt(&bytes)
        }
    }
}

/// The same messages come out wherever segments end.
fn cut(bytes: &[u8], size: usize) {
    let framed = |parts: &mut dyn Iterator<Item = &[u8]>| {
        let (mut framer, mut all) = (Framer::default(), Vec::new());
        // After a hole a message is only looked for where a segment begins.
        let mut found = false;
        for part in parts {
            found |= may_be_tpkt(part);
            framer.push(part, false, &mut |message: &[u8]| all.push(message.to_vec()));
        }
        assert!(found || all.is_empty() || bytes.first() == Some(&3));
        all
    };
    let whole = framed(&mut std::iter::once(bytes));
    let parts = framed(&mut bytes.chunks(size));
    // A framer that has lost its place may find it again at a later segment.
    assert!(parts.starts_with(&whole), "{} messages, then {}", whole.len(), parts.len());
}
