//! Blocks by hand, and the samples that must come of them.

use super::*;
use crate::{audio::block::append, call::party::Side};

#[derive(Default, Debug, PartialEq)]
struct Memory(Vec<Frame>);

impl PcmSink for Memory {
    fn write(&mut self, at: u64, frames: &[Frame]) {
        let at = usize::try_from(at).unwrap();
        self.0.resize(self.0.len().max(at + frames.len()), [0, 0]);
        self.0[at..at + frames.len()].copy_from_slice(frames);
    }

    fn patch(&mut self, at: u64, channel: usize, samples: &[i16]) {
        let at = usize::try_from(at).unwrap();
        self.0.resize(self.0.len().max(at + samples.len()), [0, 0]);
        for (frame, sample) in self.0[at..].iter_mut().zip(samples) {
            frame[channel] = *sample;
        }
    }
}

fn news() -> Vec<News> {
    let codec = |leg, name: &str| News::Codec {
        leg,
        slot: 0,
        name: name.to_owned(),
        clock_rate: 8000,
        channels: 1,
        parameters: None,
    };
    vec![
        News::Leg { leg: 0, side: Side::Local },
        codec(0, "pcmu"),
        News::Leg { leg: 1, side: Side::Remote },
        codec(1, "PCMA"),
    ]
}

/// leg, order, milliseconds, byte.
fn run(records: &[(u8, u32, i64, u8)], cuts: &[usize]) -> Vec<Frame> {
    let mut tape = TapeAudio::new(8000);
    let (mut scratch, mut memory) = (Scratch::default(), Memory::default());
    let mut bytes = Vec::new();
    let mut told = news();
    for (index, (leg, order, ms, byte)) in records.iter().enumerate() {
        let payload = [*byte; 160];
        let tick = ms * TICKS_PER_MILLI;
        let record = Record {
            leg: *leg,
            slot: 0,
            anew: false,
            void: false,
            order: *order,
            tick,
            payload: &payload,
        };
        append(&mut bytes, &record);
        if cuts.contains(&index) {
            tape.handle_block(&std::mem::take(&mut told), &bytes, tick, &mut scratch, &mut memory);
            bytes.clear();
        }
    }
    let until = records.last().map_or(0, |r| r.2 * TICKS_PER_MILLI);
    tape.handle_block(&told, &bytes, until, &mut scratch, &mut memory);
    assert_eq!(u64::try_from(memory.0.len()).unwrap(), tape.frames());
    memory.0
}

#[test]
fn cuts_change_nothing() {
    let mut records = Vec::new();
    for n in 0..60u8 {
        let ms = i64::from(n) * 20;
        records.push((0, u32::from(n), ms, n));
        if n % 7 != 3 {
            records.push((1, u32::from(n), ms + 7, 255 - n));
        }
    }
    records.swap(20, 24);
    records.swap(50, 60);
    records.push((0, 90, 9_000, 1));
    records.push((1, 91, 8_990, 2));
    let whole = run(&records, &[]);
    for step in [1, 3, 10, 37] {
        let cuts: Vec<usize> = (0..records.len()).step_by(step).collect();
        assert_eq!(run(&records, &cuts), whole, "a cut every {step}");
    }
    assert_eq!(whole.len(), 9_020 * 8);
    // One packet in seven of the right side is made up, and none of it where one was there.
    assert!(whole[3 * 160 + 56 + 80][1] != 0);
    assert_eq!(whole[5 * 160][0], g711::sample(Law::Mu, 5));
    assert_eq!(whole[5 * 160 + 56][1], g711::sample(Law::A, 250));
    assert_eq!(whole[40_000], [0, 0]);
}

#[test]
fn comfort_noise_lasts_until_the_next_packet() {
    let mut told = news();
    told.push(News::Codec {
        leg: 0,
        slot: 1,
        name: "CN".to_owned(),
        clock_rate: 8000,
        channels: 1,
        parameters: None,
    });
    // Speech, noise of -40 dBov told twice, speech, noise that nothing follows.
    let said: [(i64, u8, u32, &[u8]); 5] = [
        (0, 0, 1, &[0; 160]),
        (20, 1, 2, &[40]),
        (400, 1, 3, &[40, 7]),
        (1_000, 0, 4, &[0; 160]),
        (1_020, 1, 5, &[40]),
    ];
    let run = |cuts: bool| {
        let (mut tape, mut memory) = (TapeAudio::new(8000), Memory::default());
        let (mut scratch, mut bytes) = (Scratch::default(), Vec::new());
        let mut news = told.clone();
        for (ms, slot, order, payload) in said {
            let tick = ms * TICKS_PER_MILLI;
            let record = Record { leg: 0, slot, anew: false, void: false, order, tick, payload };
            append(&mut bytes, &record);
            if cuts {
                let (sink, news) = (&mut memory, std::mem::take(&mut news));
                tape.handle_block(&news, &bytes, tick, &mut scratch, sink);
                bytes.clear();
            }
        }
        tape.handle_block(&news, &bytes, 2_000 * TICKS_PER_MILLI, &mut scratch, &mut memory);
        tape.finish(&mut scratch, &mut memory);
        memory.0
    };
    let whole = run(false);
    assert_eq!(run(true), whole);
    assert_eq!(whole.len(), 1_020 * 8, "nothing is invented after the last packet");
    let level = |from: usize, to: usize| {
        let square: f64 = whole[from * 8..to * 8].iter().map(|f| f64::from(f[0]).powi(2)).sum();
        (square / ((to - from) * 8) as f64).sqrt()
    };
    // -40 dBov of 32768 is 328.
    assert!((200.0..450.0).contains(&level(100, 380)), "{}", level(100, 380));
    assert!((200.0..450.0).contains(&level(500, 1_000)), "{}", level(500, 1_000));
    assert_eq!(whole[1_000 * 8][0], g711::sample(Law::Mu, 0));
}

#[test]
fn cuts_change_nothing_for_codecs_with_state() {
    let news = |name: &str, clock_rate| {
        let codec = |leg| News::Codec {
            leg,
            slot: 0,
            name: name.to_owned(),
            clock_rate,
            channels: 1,
            parameters: None,
        };
        vec![
            News::Leg { leg: 0, side: Side::Local },
            codec(0),
            News::Leg { leg: 1, side: Side::Remote },
            codec(1),
        ]
    };
    // Milliseconds of capture, leg, order, milliseconds of place: lost, swapped, late and events.
    let mut records: Vec<(i64, u8, u32, i64, bool)> = Vec::new();
    for n in 0..150u32 {
        let ms = i64::from(n) * 20;
        if n % 11 != 5 {
            records.push((ms, 0, n, ms, n % 17 == 3));
        }
        let delay = if n % 13 == 4 { 90 } else { 0 };
        records.push((ms + 7 + delay, 1, n, ms + 7, false));
    }
    records.sort_by_key(|record| record.0);
    let run = |rate: u32, name: &str, every: usize| {
        let mut tape = TapeAudio::new(rate);
        let (mut scratch, mut memory) = (Scratch::default(), Memory::default());
        let mut told = news(name, 8000);
        let mut bytes = Vec::new();
        for (index, (at, leg, order, ms, void)) in records.iter().enumerate() {
            let payload: Vec<u8> =
                (0..160u32).map(|i| u8::try_from((i * 7 + order * 31) % 251).unwrap()).collect();
            let payload = if *void { &[][..] } else { &payload };
            let tick = ms * TICKS_PER_MILLI;
            let (leg, order, void) = (*leg, *order, *void);
            let record = Record { leg, slot: 0, anew: false, void, order, tick, payload };
            append(&mut bytes, &record);
            if index % every == 0 {
                let until = at * TICKS_PER_MILLI;
                tape.handle_block(
                    &std::mem::take(&mut told),
                    &bytes,
                    until,
                    &mut scratch,
                    &mut memory,
                );
                bytes.clear();
            }
        }
        tape.handle_block(&told, &bytes, 4_000 * TICKS_PER_MILLI, &mut scratch, &mut memory);
        tape.finish(&mut scratch, &mut memory);
        assert_eq!(tape.refused(), 0);
        memory.0
    };
    for (rate, name) in [(16_000, "G722"), (8_000, "G722"), (16_000, "PCMU"), (8_000, "G726-32")] {
        let whole = run(rate, name, 1_000_000);
        assert!(whole.len() > 3_000 * usize::try_from(rate / 1_000).unwrap() - 400, "{name}");
        for every in [1, 7, 40] {
            assert!(run(rate, name, every) == whole, "{name} at {rate}, a cut every {every}");
        }
    }
}

#[test]
fn drift_stretches_a_packet_without_a_hole() {
    let tape = |by: i64| {
        let mut tape = TapeAudio::new(8000);
        let (mut scratch, mut memory) = (Scratch::default(), Memory::default());
        let mut bytes = Vec::new();
        for (order, sample) in [(1u32, 0i64), (2, 160 + by)] {
            let payload = [0x90; 160];
            let tick = sample * 6;
            let record = Record {
                leg: 0,
                slot: 0,
                anew: order == 1,
                void: false,
                order,
                tick,
                payload: &payload,
            };
            append(&mut bytes, &record);
        }
        tape.handle_block(&news(), &bytes, 0, &mut scratch, &mut memory);
        memory.0
    };
    for by in -3..=3 {
        let frames = tape(by);
        assert_eq!(i64::try_from(frames.len()).unwrap(), 320 + by);
        assert!(frames.iter().all(|f| f[0] == g711::sample(Law::Mu, 0x90)), "{by}");
    }
    assert_eq!(tape(40)[170], [0, 0]);
}

#[test]
fn stretching_keeps_both_ends() {
    let mut out = Vec::new();
    stretch(&[0, 10, 20, 30], 7, &mut out);
    assert_eq!(out, [0, 5, 10, 15, 20, 25, 30]);
}
