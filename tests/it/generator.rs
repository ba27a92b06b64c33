//! The generator and the judge against each other: a recorder of forty lines stands in for the
//! real one, and every fault it is told to make must be counted as what it is.

use std::collections::BTreeMap;
use std::path::Path;

use ork_tests::generator::calls::{self, Spec};
use ork_tests::generator::check::{Leg, Tape, Verdict, check, find_tapes};
use ork_tests::generator::law::Side;
use ork_tests::generator::truth::{CallTruth, Truth};

const ETHERNET: usize = 14;

/// A packet of RTP as the capture has it.
struct Packet {
    at: u64,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    payload: Vec<u8>,
}

fn be<const N: usize>(bytes: &[u8]) -> u64 {
    bytes[..N].iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

fn le32(bytes: &[u8]) -> u64 {
    u64::from(u32::from_le_bytes(bytes[..4].try_into().unwrap()))
}

/// Reads our own captures, without any of the recorder's code: RTP, and how many other frames.
fn read(pcap: &[u8], vlans: usize) -> (Vec<Packet>, usize) {
    let unit = if le32(pcap) == 0xa1b2_3c4d { 1 } else { 1000 };
    let (mut packets, mut others, mut rest) = (Vec::new(), 0, &pcap[24..]);
    let mut last = 0;
    while !rest.is_empty() {
        let at = le32(rest) * 1_000_000_000 + le32(&rest[4..]) * unit;
        assert!(at >= last, "out of time order");
        last = at;
        let length = usize::try_from(le32(&rest[8..])).unwrap();
        let frame = &rest[16..16 + length];
        rest = &rest[16 + length..];
        let ip = ETHERNET + 4 * vlans;
        let udp = ip + if frame[ip] >> 4 == 6 { 40 } else { 20 };
        let rtp = &frame[udp + 8..];
        assert_eq!(be::<2>(&frame[udp + 4..]), 8 + rtp.len() as u64);
        if rtp[0] != 0x80 {
            others += 1;
            continue;
        }
        packets.push(Packet {
            at,
            ssrc: u32::from_be_bytes(rtp[8..12].try_into().unwrap()),
            sequence: u16::from_be_bytes(rtp[2..4].try_into().unwrap()),
            timestamp: u32::from_be_bytes(rtp[4..8].try_into().unwrap()),
            payload: rtp[12..].to_vec(),
        });
    }
    (packets, others)
}

/// Places every packet by its timestamp, sides apart by capture time.
fn record(truth: &Truth, call: &CallTruth, packets: &[Packet]) -> [Vec<i16>; 2] {
    let first = call.from_caller.first_ns.min(call.from_callee.first_ns);
    Side::BOTH.map(|side| {
        let stream = call.stream(side);
        let late = usize::try_from((stream.first_ns - first) / 125_000).unwrap();
        let mut samples = vec![0_i16; late + (truth.frames * truth.ptime_ms * 8) as usize];
        for packet in packets.iter().filter(|packet| packet.ssrc == stream.ssrc) {
            let from = late + packet.timestamp.wrapping_sub(stream.first_timestamp) as usize;
            for (slot, &code) in samples[from..].iter_mut().zip(&packet.payload) {
                *slot = truth.codec.decode(code);
            }
        }
        samples
    })
}

fn save(path: &Path, [left, right]: &[Vec<i16>; 2]) {
    let spec = hound::WavSpec {
        channels: 2,
        sample_rate: 8000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut out = hound::WavWriter::create(path, spec).unwrap();
    for k in 0..left.len().max(right.len()) {
        for channel in [left, right] {
            out.write_sample(channel.get(k).copied().unwrap_or(0)).unwrap();
        }
    }
    out.finalize().unwrap();
}

/// Generates, records with `fault` applied to the tapes, and judges.
fn run(spec: &Spec, fault: impl FnOnce(&mut Vec<[Vec<i16>; 2]>, &mut Vec<Tape>)) -> Verdict {
    let mut pcap = Vec::new();
    let truth = calls::write(spec, &mut pcap).unwrap();
    let (packets, others) = read(&pcap, spec.vlan.len());
    assert_eq!(packets.len() as u64, truth.rtp_packets);
    assert_eq!(others as u64, truth.sip_packets);
    let dir = tempfile::tempdir().unwrap();
    let mut audio: Vec<_> = truth.calls.iter().map(|call| record(&truth, call, &packets)).collect();
    let mut tapes: Vec<_> = truth.calls.iter().map(|call| tape(&truth, call, &packets)).collect();
    fault(&mut audio, &mut tapes);
    for (call, audio) in truth.calls.iter().zip(&audio) {
        save(&dir.path().join(format!("{}.wav", call.number)), audio);
    }
    let verdict = check(&truth, &tapes, dir.path());
    // The audio alone must lead to the same tapes.
    let found = find_tapes(dir.path()).unwrap();
    if tapes.len() == truth.calls.len() {
        assert_eq!(check(&truth, &found, dir.path()).frames_wrong, verdict.frames_wrong);
    }
    verdict
}

fn tape(truth: &Truth, call: &CallTruth, packets: &[Packet]) -> Tape {
    let leg = |side: Side| {
        let stream = call.stream(side);
        let mut heard: BTreeMap<u16, u64> = BTreeMap::new();
        for packet in packets.iter().filter(|packet| packet.ssrc == stream.ssrc) {
            assert!(packet.at >= stream.first_ns);
            let number = packet.sequence.wrapping_sub(stream.first_sequence);
            *heard.entry(number).or_default() += 1;
        }
        let distinct = heard.len() as u64;
        Leg {
            side: if side == Side::Caller { "local" } else { "remote" }.to_owned(),
            src: stream.src.to_string(),
            packets: distinct,
            lost: u64::from(*heard.keys().last().unwrap()) + 1 - distinct,
            duplicates: heard.values().sum::<u64>() - distinct,
            ..Leg::default()
        }
    };
    let first = call.from_caller.first_ns.min(call.from_callee.first_ns);
    let last = call.from_caller.first_ns.max(call.from_callee.first_ns);
    let late = u32::try_from((last - first) / 1_000_000).unwrap();
    Tape {
        orkuid: format!("tape-{}", call.number),
        nativecallid: call.call_id.clone(),
        localparty: call.caller.clone(),
        remoteparty: call.callee.clone(),
        direction: "out".to_owned(),
        duration_ms: Some(f64::from(truth.frames * truth.ptime_ms + late)),
        file: format!("{}.wav", call.number).into(),
        legs: Side::BOTH.map(leg).to_vec(),
    }
}

fn small() -> Spec {
    Spec { calls: 3, seconds: 4.0, stagger: 1.0, ..Spec::default() }
}

#[test]
fn a_faithful_recorder_is_found_faithful() {
    use ork_tests::generator::calls::Burst;
    use ork_tests::generator::law::Codec;
    let burst = Some(Burst { probability: 0.01, packets: 5 });
    for spec in [
        small(),
        Spec { codec: Codec::Pcma, ptime: 30, vlan: vec![7, 9], ..small() },
        Spec { ipv6: true, ptime: 10, nanoseconds: true, ..small() },
        Spec { loss: 0.05, reorder: 0.05, duplicate: 0.05, ..small() },
        Spec { burst_loss: burst, no_bye: true, ..small() },
        Spec { no_sip: true, ptime: 60, ..small() },
        Spec { jitter: 6.0, loss: 0.02, ..small() },
        Spec { drift_ppm: 300.0, drift_ppm_callee: -300.0, ..small() },
    ] {
        let verdict = run(&spec, |_, _| {});
        assert_eq!(verdict.wrong, 0, "{spec:?}\n{}", verdict.table());
        assert_eq!(verdict.right + verdict.lost_silent, verdict.frames);
        let faulty = spec.loss > 0.0 || spec.burst_loss.is_some();
        assert_eq!(verdict.lost_silent > 0, faulty, "{spec:?}");
    }
}

#[test]
fn the_same_arguments_give_the_same_bytes() {
    let spec = Spec { loss: 0.1, jitter: 30.0, duplicate: 0.1, reorder: 0.1, ..small() };
    let bytes = || {
        let mut out = Vec::new();
        calls::write(&spec, &mut out).unwrap();
        out
    };
    assert_eq!(bytes(), bytes());
}

#[test]
fn every_fault_is_counted_as_what_it_is() {
    // Frames are 160 samples; the caller or the callee may begin up to 159 samples late.
    let place = |audio: &[i16]| audio.iter().position(|&s| s != 0).unwrap();

    let silent = run(&small(), |audio, _| {
        let from = place(&audio[0][0]) + 160 * 10;
        audio[0][0][from..from + 320].fill(0);
    });
    assert_eq!((silent.missing, silent.wrong), (2, 2), "{}", silent.table());

    let moved = run(&small(), |audio, _| {
        let from = place(&audio[1][1]) + 160 * 20;
        audio[1][1].copy_within(from..from + 160 * 5, from + 160 * 2);
    });
    assert_eq!((moved.shifted, moved.damaged, moved.wrong), (3, 2, 5), "{}", moved.table());

    let slid = run(&small(), |audio, _| {
        let from = place(&audio[1][1]) + 160 * 100;
        audio[1][1].insert(from, 0);
    });
    assert_eq!((slid.shifted, slid.damaged, slid.wrong), (100, 0, 100), "{}", slid.table());

    let late = run(&small(), |audio, _| drop(audio[2][0].splice(0..0, [0; 80])));
    assert_eq!((late.shifted, late.wrong), (200, 200), "{}", late.table());

    let crossed = run(&small(), |audio, _| audio[0].swap(0, 1));
    assert!(crossed.swapped >= 396, "{}", crossed.table());

    let mixed = run(&small(), |audio, _| {
        let from = place(&audio[0][0]) + 160 * 30;
        let other = place(&audio[1][0]) + 160 * 30;
        let stolen = audio[1][0][other..other + 480].to_vec();
        audio[0][0][from..from + 480].copy_from_slice(&stolen);
    });
    assert_eq!((mixed.foreign, mixed.wrong), (3, 3), "{}", mixed.table());

    let spoiled = run(&small(), |audio, _| {
        let from = place(&audio[0][1]) + 160 * 30;
        audio[0][1][from + 50] ^= 256;
    });
    assert_eq!((spoiled.damaged, spoiled.wrong), (1, 1), "{}", spoiled.table());

    let gone = run(&small(), |_, tapes| drop(tapes.remove(1)));
    assert_eq!((gone.tapes_missing, gone.missing), (1, 400), "{}", gone.table());

    let twice = run(&small(), |_, tapes| tapes.push(tapes[0].clone()));
    assert_eq!((twice.tapes_extra, twice.wrong), (1, 1), "{}", twice.table());

    let lied = run(&small(), |_, tapes| {
        tapes[0].legs[0].lost = 3;
        tapes[1].localparty = "nobody".to_owned();
        tapes[2].duration_ms = Some(1.0);
    });
    assert_eq!(
        (lied.legs_misreported, lied.facts_wrong, lied.wrong),
        (1, 2, 3),
        "{}",
        lied.table()
    );
}
