//! What holds for every decoder, and the tools that the tests beside each of them share.

#![expect(clippy::cast_possible_truncation, reason = "test signals are made within range")]

use super::*;
use proptest::prelude::*;

/// A sine of `hertz`, half a second long.
pub(super) fn tone(hertz: f64, peak: f64, rate: u32) -> Vec<i16> {
    let step = std::f64::consts::TAU * hertz / f64::from(rate);
    (0..rate / 2).map(|n| (peak * (step * f64::from(n)).sin()) as i16).collect()
}

/// Signal to noise in decibels at the delay that suits best, the first 50 ms apart.
pub(super) fn snr(signal: &[i16], decoded: &[i16]) -> f64 {
    let start = signal.len() / 10;
    (0..48)
        .map(|delay| {
            let (mut power, mut noise) = (0.0, 1.0);
            for (&a, &b) in signal[start..].iter().zip(&decoded[start + delay..]) {
                power += f64::from(a).powi(2);
                noise += (f64::from(a) - f64::from(b)).powi(2);
            }
            10.0 * f64::log10(power / noise)
        })
        .fold(f64::MIN, f64::max)
}

pub(super) fn loudness(samples: &[i16]) -> f64 {
    let power: f64 = samples.iter().map(|&s| f64::from(s).powi(2)).sum();
    (power / samples.len().max(1) as f64).sqrt()
}

/// Bytes without pattern, the same each time (xorshift64).
pub(super) fn noise(count: usize) -> Vec<u8> {
    let mut x = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 32) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// One number for many samples (FNV-1a).
pub(super) fn digest(samples: &[i16]) -> u64 {
    let bytes = samples.iter().flat_map(|s| s.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

/// Decodes `payload` in one go with a fresh decoder.
pub(super) fn decoded(codec: Codec, payload: &[u8]) -> Vec<i16> {
    let mut out = Vec::new();
    codec.decoder().unwrap().decode(payload, &mut out).unwrap();
    out
}

/// The same in packets of `size` bytes.
pub(super) fn decoded_in_packets(codec: Codec, payload: &[u8], size: usize) -> Vec<i16> {
    let mut decoder = codec.decoder().unwrap();
    let mut out = Vec::new();
    for packet in payload.chunks(size) {
        decoder.decode(packet, &mut out).unwrap();
    }
    out
}

/// Every codec by name, at a rate it accepts.
fn all() -> Vec<Codec> {
    let of = |info: &CodecInfo| Codec::named(info.name, info.rates[0], 0, None).unwrap();
    let mut all: Vec<_> = catalogue().iter().map(of).collect();
    all.push(Codec::L16 { rate: 44_100, channels: 2 });
    all.push(Codec::Dvi4 { rate: 11_025 });
    all.push(Codec::ComfortNoise { rate: 16_000 });
    all
}

#[test]
fn the_catalogue_tells_the_truth() {
    assert!(NAMES.iter().all(|(name, _)| {
        catalogue().iter().any(|info| info.name == *name) || *name == "G729A"
    }));
    for info in catalogue() {
        for &rate in info.rates {
            let codec = Codec::named(info.name, rate, 1, None).unwrap();
            let lower = info.name.to_ascii_lowercase();
            assert_eq!(Codec::named(&lower, rate, 0, None), Some(codec));
            let decoder = codec.decoder();
            assert_eq!(decoder.is_some(), info.decoded == Decoded::BuiltIn, "{}", info.name);
            assert_eq!(codec.ticks_in(&[]), 0);
            assert_eq!(BuiltIn.decoder(codec, None).is_some(), decoder.is_some());
            assert!(decoder.is_none_or(|decoder| decoder.sample_rate() == codec.sample_rate()));
        }
    }
}

#[test]
fn what_we_do_not_know_is_refused() {
    assert_eq!(Codec::named("telephone-event", 8_000, 1, None), None);
    assert_eq!(Codec::named("PCMU", 16_000, 1, None), None);
    assert_eq!(Codec::named("PCMU", 8_000, 2, None), None);
    assert_eq!(Codec::named("L16", 96_000, 1, None), None);
    assert_eq!(Codec::named("L16", 8_000, 9, None), None);
    assert_eq!(Codec::named("opus", 8_000, 2, None), None);
    assert!(decoder_for("AMR", 8_000, 1, None).is_none());
    assert!(decoder_for("opus", 48_000, 2, None).is_some());
    assert!(decoder_for("pcmu", 8_000, 1, None).is_some());
    assert_eq!(samples_in("G722", 8_000, 1, None, &[0; 160]), Some(160));
}

#[test]
fn fixed_payload_types_are_the_named_codecs() {
    for (number, name, rate) in [
        (0, "PCMU", 8_000),
        (2, "G726-32", 8_000),
        (2, "G721", 8_000),
        (3, "GSM", 8_000),
        (4, "G723", 8_000),
        (5, "DVI4", 8_000),
        (6, "DVI4", 16_000),
        (8, "PCMA", 8_000),
        (9, "G722", 8_000),
        (11, "L16", 44_100),
        (13, "CN", 8_000),
        (18, "G729", 8_000),
    ] {
        assert_eq!(Codec::of_payload_type(number), Codec::named(name, rate, 1, None));
    }
    assert_eq!(Codec::of_payload_type(96), None);
}

#[test]
fn errors_name_the_place() {
    let mut out = Vec::new();
    let mut gsm = Codec::Gsm.decoder().unwrap();
    let short = gsm.decode(&[0xd0; 32], &mut out).unwrap_err();
    assert_eq!(short.to_string(), "payload of 32 bytes, a frame needs 33");
    let foreign = gsm.decode(&[0x10; 33], &mut out).unwrap_err();
    assert_eq!(foreign.to_string(), "GSM frame without its signature 0xD at byte 0");
    assert!(out.is_empty());
}

/// One thing that happens to a decoder.
#[derive(Clone, Debug)]
enum Event {
    Packet(Vec<u8>),
    Lost(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..400).prop_map(Event::Packet),
        1 => (1..6_usize).prop_map(|count| {
            let frame = [&[0xd5; 1][..], &[0x5a; 32]].concat();
            Event::Packet(frame.repeat(count))
        }),
        1 => (0..3_000_usize).prop_map(Event::Lost),
    ];
    prop::collection::vec(event, 0..12)
}

proptest! {
    #[test]
    fn any_bytes_give_the_samples_their_length_says(events in events()) {
        for codec in all() {
            let Some(mut decoder) = codec.decoder() else { continue };
            let scale = codec.sample_rate() / codec.clock_rate();
            let mut out = vec![1];
            for event in &events {
                let before = out.clone();
                let count = match event {
                    Event::Packet(payload) => {
                        let count = decoder.decode(payload, &mut out).unwrap_or(0);
                        let ticks = codec.ticks_in(payload) as usize;
                        prop_assert_eq!(count, ticks * scale as usize, "{:?}", codec);
                        let bound = if codec == Codec::Opus { 5_760 } else { 5 * payload.len() };
                        prop_assert!(count <= bound);
                        count
                    }
                    Event::Lost(samples) => {
                        decoder.conceal(*samples, &mut out);
                        *samples
                    }
                };
                prop_assert_eq!(out.len(), before.len() + count);
                prop_assert_eq!(&out[..before.len()], &before[..]);
            }
        }
    }

    #[test]
    fn a_fresh_decoder_has_no_past(events in events()) {
        let run = |codec: Codec| {
            let mut decoder = codec.decoder()?;
            let mut out = Vec::new();
            for event in &events {
                match event {
                    Event::Packet(payload) => {
                        let _refused = decoder.decode(payload, &mut out).is_err();
                    }
                    Event::Lost(samples) => decoder.conceal(*samples, &mut out),
                }
            }
            Some(out)
        };
        for codec in all() {
            prop_assert_eq!(run(codec), run(codec));
        }
    }

    #[test]
    fn a_packet_lasts_at_most_what_its_bytes_allow(payload in prop::collection::vec(any::<u8>(), 0..1_500)) {
        for codec in all() {
            // Opus is the densest: 120 ms may hang on one byte.
            prop_assert!(codec.ticks_in(&payload) as usize <= payload.len() * 5_760);
        }
    }
}
