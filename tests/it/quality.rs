//! What is reported of reception, against the same worked out from the frames; and what is made good.

use ork_tests::rehearse::{Rehearsal, rehearse};
use ork_tests::scenario::play;
use ork_tests::wire::Frame;
use orkbase::call::output::LegReport;
use orkbase::call::settings::Settings;
use std::collections::BTreeMap;

type Frames = Vec<(u64, Vec<u8>)>;

/// Where the payload of an untagged frame begins.
const PAYLOAD: usize = 42;

fn rtp(frame: &[u8]) -> Option<(u16, u32, u32)> {
    let payload = frame.get(PAYLOAD..)?;
    let audio = payload[0] == 0x80 && payload[1] & 0x7f == 0;
    let word = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
    audio.then(|| (u16::from_be_bytes([payload[2], payload[3]]), word(4), word(8)))
}

fn legs(got: &Rehearsal) -> BTreeMap<u32, LegReport> {
    let legs = &got.only().closing.as_ref().unwrap().legs;
    legs.iter().map(|leg| (leg.ssrc, leg.clone())).collect()
}

/// RFC 3550 section 6.4.1 in floating point over the first copies of one SSRC, in microseconds.
fn jitter(frames: &Frames, ssrc: u32) -> f64 {
    let mut seen = std::collections::BTreeSet::new();
    let mut last: Option<(u64, u32)> = None;
    let mut jitter = 0.0;
    for (at, frame) in frames {
        let Some((sequence, timestamp, of)) = rtp(frame) else { continue };
        if of != ssrc || !seen.insert(sequence) {
            continue;
        }
        if let Some((before, earlier)) = last {
            let passed = (at - before) as f64 / 1e3;
            let spoken = f64::from(timestamp.wrapping_sub(earlier).cast_signed()) * 125.0;
            jitter += ((passed - spoken).abs() - jitter) / 16.0;
        }
        last = Some((*at, timestamp));
    }
    jitter
}

#[test]
fn loss_duplicates_and_jitter_are_what_the_frames_say() {
    let scene = play(
        "set loss=4% dup=2% reorder=3% jitter=9ms seed=5; \
         a->b INVITE; b->a 200; a->b ACK; rtp 20s; a->b BYE",
    )
    .unwrap();
    let got = rehearse(&scene.frames, Settings::default());
    let legs = legs(&got);
    assert_eq!(legs.len(), 2);
    for stream in &scene.calls[0].streams {
        let leg = &legs[&stream.ssrc];
        let mut numbers: Vec<u16> = scene
            .frames
            .iter()
            .filter_map(|(_, frame)| rtp(frame))
            .filter(|packet| packet.2 == stream.ssrc)
            .map(|packet| packet.0)
            .collect();
        let all = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        let span = u64::from(numbers[numbers.len() - 1] - numbers[0]) + 1;
        let distinct = numbers.len() as u64;
        assert_eq!((leg.expected, leg.packets), (span, distinct));
        assert_eq!(leg.lost, span - distinct);
        assert_eq!(leg.duplicates, all as u64 - distinct);
        let runs: Vec<u64> = numbers
            .windows(2)
            .map(|pair| u64::from(pair[1] - pair[0]) - 1)
            .filter(|missing| *missing > 0)
            .collect();
        assert_eq!(leg.losses.runs, runs.len() as u64);
        assert_eq!(Some(leg.losses.longest_run), runs.iter().copied().max());
        let want = jitter(&scene.frames, stream.ssrc);
        assert!((leg.jitter_us as f64 - want).abs() < 2.0, "{} {want}", leg.jitter_us);
        let mos = leg.opinion.unwrap().mos_centi;
        assert!((250..430).contains(&mos), "{mos}");
    }
    let tags = &got.only().closing.as_ref().unwrap().message.tags;
    assert!(tags.contains_key("mos") && tags.contains_key("jitterms"));
}

#[test]
fn a_clean_call_is_rated_so() {
    let got = rehearse(
        &play("a->b INVITE; b->a 200; a->b ACK; rtp 2s; a->b BYE").unwrap().frames,
        Settings::default(),
    );
    let closing = got.only().closing.as_ref().unwrap();
    assert_eq!(closing.message.tags.get("mos").map(String::as_str), Some("4.40"));
    assert!(closing.legs.iter().all(|leg| leg.jitter_us == 0 && leg.losses.bursts == 0));
    assert!(!closing.message.tags.contains_key("oneway"));
}

#[test]
fn a_side_that_sends_nothing_is_told() {
    let got = rehearse(
        &play("a->b INVITE; b->a 200; a->b ACK; rtp 2s b->a; a->b BYE").unwrap().frames,
        Settings::default(),
    );
    let tags = &got.only().closing.as_ref().unwrap().message.tags;
    assert_eq!(tags.get("oneway").map(String::as_str), Some("remote"));
}

/// The same call with the audio as RFC 2198 blocks, one packet of the past in each.
fn redundant(frames: &Frames) -> Frames {
    let mut before: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut out = Frames::new();
    for (at, frame) in frames {
        let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        let address = |at: usize| <[u8; 4]>::try_from(&frame[at..at + 4]).unwrap();
        let source = (address(26), port(34)).into();
        let destination = (address(30), port(36)).into();
        let payload = if let Some((_, _, ssrc)) = rtp(frame) {
            let audio = frame[PAYLOAD + 12..].to_vec();
            let mut bytes = frame[PAYLOAD..PAYLOAD + 12].to_vec();
            bytes[1] = bytes[1] & 0x80 | 121;
            if let Some(past) = before.insert(ssrc, audio.clone()) {
                let length = u32::try_from(past.len()).unwrap();
                bytes.extend_from_slice(&(0x8000_0000u32 | 160 << 10 | length).to_be_bytes());
                bytes.push(0);
                bytes.extend_from_slice(&past);
            } else {
                bytes.push(0);
            }
            bytes.extend_from_slice(&audio);
            bytes
        } else {
            let text = String::from_utf8(frame[PAYLOAD..].to_vec()).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let body = body
                .replace("RTP/AVP 0", "RTP/AVP 121 0")
                .replace("a=ptime", "a=rtpmap:121 red/8000\r\na=fmtp:121 0/0\r\na=ptime");
            let (start, _) = head.split_once("Content-Length").unwrap();
            format!("{start}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
        };
        let mut frame = Frame::udp(&[], source, destination, &payload);
        frame.seal(7);
        out.push((*at, frame.into_bytes()));
    }
    out
}

#[test]
fn redundant_audio_makes_losses_good() {
    let plain = play("a->b INVITE; b->a 200; a->b ACK; rtp 4s; a->b BYE").unwrap().frames;
    let want = rehearse(&plain, Settings::default());
    let whole = redundant(&plain);
    let got = rehearse(&whole, Settings::default());
    assert_eq!(got.only().samples, want.only().samples);
    assert!(legs(&got).values().all(|leg| leg.recovered == 0 && leg.codec == "PCMU"));

    let audio = |frame: &[u8]| frame[PAYLOAD] == 0x80;
    let mut count = 0;
    let holed: Frames = whole
        .into_iter()
        .filter(|(_, frame)| {
            count += u32::from(audio(frame));
            !(audio(frame) && count % 10 == 5)
        })
        .collect();
    let got = rehearse(&holed, Settings::default());
    assert_eq!(got.only().samples, want.only().samples, "every loss was made good");
    let legs = legs(&got);
    assert_eq!(legs.values().map(|leg| leg.lost).sum::<u64>(), 40, "and told nevertheless");
    assert_eq!(legs.values().map(|leg| leg.recovered).sum::<u64>(), 40);
}
