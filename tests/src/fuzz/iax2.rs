//! IAX2 between hosts: what is stated of calls, and voice as RTP.

use super::{input::Input, signals};
use crate::iax2::trunk;
use orkbase::rtp::packet::RtpPacket;
use orkbase::signal::{
    Fact,
    iax2::{Iax2, Told},
};
use orkbase::time::Timestamp;
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
};

/// Input: datagrams; a byte says what each is and who sends it, another how long after the last.
/// Twice the same gives twice the same.
pub(super) fn datagrams(data: &[u8]) {
    assert_eq!(play(data), play(data), "the same datagrams gave something else");
}

fn play(data: &[u8]) -> u64 {
    let mut input = Input::new(data);
    let mut iax2 = Iax2::default();
    let mut story = DefaultHasher::new();
    let mut at = Timestamp(1_700_000_000_000_000_000);
    let (mut facts, mut voice, mut bytes_in, mut bytes_out) = (0, 0, 0, 0);
    while !input.is_empty() {
        let (how, wait) = (input.byte(), input.byte());
        // Up to 25 s, in steps of a packet's length at first.
        at = at.plus_millis(u64::from(wait & 31) * if wait & 0x80 == 0 { 20 } else { 800 });
        let payload = datagram(how >> 5, at, &mut input);
        let port = if how & 4 == 0 { 4_569 } else { 9_999 };
        let ends: [SocketAddr; 2] =
            [([10, 0, 0, 1 + (how & 3)], port).into(), ([10, 0, 0, 9], port).into()];
        let [source, destination] = if how & 8 == 0 { ends } else { [ends[1], ends[0]] };
        bytes_in += payload.len();
        let mut news = false;
        let taken = iax2.handle(at, source, destination, &payload, &mut |told| {
            match told {
                Told::Fact(signal) => {
                    // Calls that died meanwhile are told of whatever comes.
                    news |= !matches!(signal.fact, Fact::Ended);
                    signals::stated(signal);
                    facts += 1;
                    format!("{signal:?}").hash(&mut story);
                }
                Told::Voice { source, destination, rtp } => {
                    let packet = RtpPacket::decode(rtp).map(|packet| packet.payload.len());
                    assert_eq!(packet, Ok(rtp.len() - 12));
                    assert!(source.port() < 0x8000 && destination.port() < 0x8000);
                    assert!(source.is_ipv6() && destination.is_ipv6(), "a real flow's address");
                    news = true;
                    voice += 1;
                    bytes_out += rtp.len() - 12;
                    (source, destination, rtp).hash(&mut story);
                }
            }
        });
        assert!(taken || !news, "news of what is no IAX2");
    }
    let counters = iax2.counters();
    assert_eq!((counters.facts, counters.voice), (facts, voice));
    assert!(bytes_out <= bytes_in, "{bytes_out} bytes of voice in {bytes_in}");
    assert!(counters.calls <= counters.messages && counters.forgotten <= counters.calls);
    format!("{counters:?}").hash(&mut story);
    story.finish()
}

/// Any bytes, or a frame of one of a few calls.
fn datagram(what: u8, at: Timestamp, input: &mut Input<'_>) -> Vec<u8> {
    let time = u32::try_from(at.0 / 1_000_000 % (1 << 20)).unwrap_or(0);
    let number = |byte: u8| u16::from(byte & 7);
    match what {
        0 | 1 => input.chunk().to_vec(),
        2 => {
            let mut bytes = number(input.byte()).to_be_bytes().to_vec();
            let [_, _, high, low] = time.to_be_bytes();
            bytes.extend([high, low]);
            bytes.extend(vec![input.byte(); usize::from(input.byte())]);
            bytes
        }
        3 => {
            let packets: Vec<_> = (0..input.byte() & 7)
                .map(|_| (number(input.byte()), time, vec![0x55; usize::from(input.byte())]))
                .collect();
            trunk(time, input.byte() & 1 == 1, &packets)
        }
        _ => {
            let numbers = input.byte();
            let mut bytes = (0x8000 | number(numbers)).to_be_bytes().to_vec();
            bytes.extend(number(numbers >> 4).to_be_bytes());
            bytes.extend(time.to_be_bytes());
            // Both sequence numbers, type and subclass.
            bytes.extend([input.byte(), 0, input.byte(), input.byte()]);
            if what == 7 {
                bytes.extend(vec![0x55; 160]);
            } else {
                bytes.extend(input.chunk());
            }
            bytes
        }
    }
}
