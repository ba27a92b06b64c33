//! RTP: the header, the account of sequence numbers, the timeline, digits, redundancy, SRTP.

use super::input::Input;
use orkbase::audio::red;
use orkbase::rtp::{
    dtmf::Detector,
    packet::{RtpPacket, is_rtcp},
    sequence::{Arrival, Sequence},
    srtp::{Context, candidates::Candidates},
    timeline::{TICKS_PER_MILLI, TICKS_PER_SEC, Timeline, ticks_from_nanos},
};

/// Input: packets of one stream, each with the milliseconds since the last; the first byte says at
/// which rate its clock runs.
pub(super) fn stream(data: &[u8]) {
    const RATES: [u32; 8] = [8_000, 16_000, 48_000, 90_000, 11_025, 44_100, 0, u32::MAX];
    let mut input = Input::new(data);
    let mut sequence = Sequence::default();
    let rate = input.pick(&RATES).copied().unwrap_or(8_000);
    let mut timeline = Timeline::new(rate);
    let mut detector = Detector::default();
    let (mut now, mut packets, mut ancient) = (0_u64, 0, 0);
    while !input.is_empty() {
        now += u64::from(input.number::<u16>()) * 1_000_000;
        let bytes = input.chunk();
        let Ok(packet) = RtpPacket::decode(bytes) else {
            let _rtcp = is_rtcp(bytes);
            continue;
        };
        assert!(!is_rtcp(bytes) && packet.payload.len() + 12 <= bytes.len());
        packets += 1;
        let (extended, arrival) = sequence.accept(packet.sequence);
        assert_eq!(extended & 0xffff, u64::from(packet.sequence));
        ancient += u64::from(arrival == Arrival::Ancient);
        let arrives = ticks_from_nanos(now);
        match arrival {
            Arrival::Restart | Arrival::Next | Arrival::Ahead => {
                if arrival == Arrival::Restart {
                    timeline.unanchor();
                }
                let placed = timeline.place(packet.timestamp, arrives, || sequence.is_settled());
                let apart = (placed - arrives).abs();
                assert!(apart <= TICKS_PER_SEC + 10 * TICKS_PER_MILLI, "{apart} ticks apart");
            }
            Arrival::Behind | Arrival::Ancient | Arrival::Duplicate => {
                let _behind = timeline.place_behind(packet.timestamp);
            }
        }
        if packet.payload_type == 101 {
            let key = detector.handle_packet(packet.payload, packet.timestamp, packet.marker);
            assert!(key.is_none_or(|key| !key.as_str().is_empty()));
        }
        redundant(packet.payload);
        if packet.payload_type == 102 {
            timeline.set_clock_rate(packet.ssrc);
            timeline.set_clock_rate(rate);
        }
    }
    assert_eq!(sequence.received() + sequence.duplicates() + ancient, packets);
    assert!(sequence.lost() <= sequence.expected());
}

fn redundant(payload: &[u8]) {
    let Ok(blocks) = red::split(payload) else { return };
    let blocks: Vec<_> = blocks.collect();
    assert!(!blocks.is_empty() && blocks.len() <= red::MOST_BLOCKS);
    let held: usize = blocks.iter().map(|block| block.payload.len()).sum();
    assert_eq!(held + 4 * (blocks.len() - 1) + 1, payload.len());
    assert!(blocks.last().is_some_and(|block| block.age == 0));
}

/// Input: a suite, what stands behind `inline:`, then packets.
pub(super) fn srtp(data: &[u8]) {
    const SUITES: [&str; 8] = [
        "AES_CM_128_HMAC_SHA1_80",
        "AES_CM_128_HMAC_SHA1_32",
        "AES_192_CM_HMAC_SHA1_80",
        "AES_256_CM_HMAC_SHA1_80",
        "AEAD_AES_128_GCM",
        "AEAD_AES_256_GCM_8",
        "AES_CM_128_NULL_AUTH",
        "NONE",
    ];
    let mut input = Input::new(data);
    let suite = input.pick(&SUITES).copied().unwrap_or_default();
    let inline = input.chunk();
    let mut keys = Candidates::default();
    let offered = keys.offer(suite, inline);
    assert_eq!(offered.is_err() && keys.is_empty(), keys.is_empty());
    // A key said again is no other key.
    let mut again = keys.clone_for_stream();
    let _same = again.offer(suite, inline);
    let mut one = Context::from_sdes(suite, inline);
    let mut out = Vec::new();
    while !input.is_empty() {
        let packet = input.chunk();
        for result in [keys.unprotect(packet, &mut out), again.unprotect(packet, &mut out)] {
            assert!(result.is_ok() || out.is_empty(), "output of a refused packet");
            assert!(out.len() <= packet.len());
        }
        if let Ok(context) = one.as_mut() {
            let result = context.unprotect(packet, &mut out);
            assert!(result.is_ok() || out.is_empty());
        }
    }
    // Keys are never printed. What is no base64 is none, and may read like what is.
    let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    let shown = format!("{keys:?} {:?}", one.as_ref().map(Context::suite));
    let key = inline.get(..24).filter(|key| key.iter().all(base64));
    assert!(key.is_none_or(|key| !shown.as_bytes().windows(24).any(|shown| shown == key)));
}
