//! IAX2 calls: what the core makes of them.

use ork_tests::generator::law::Codec;
use ork_tests::iax2::{Frames, Line, What, code, element, elements, sound, trunk};
use ork_tests::programs::workspace;
use ork_tests::rehearse::{Rehearsal, Tape, rehearse};
use ork_tests::wire::{Frame, PcapWriter, RtpHead};
use orkbase::call::{output::LegReport, settings::Settings};
use std::fs;

const BEGUN: u64 = 1_700_000_000_000_000_000;

fn line(numbers: [u16; 2]) -> Line {
    let hosts = ["10.0.0.1:4569".parse().unwrap(), "10.0.0.2:4569".parse().unwrap()];
    Line::new(hosts, numbers, BEGUN)
}

/// Sorted by time, as a wire would have it.
fn run(mut frames: Frames) -> Rehearsal {
    frames.sort_by_key(|frame| frame.0);
    rehearse(&frames, Settings::default())
}

/// A call of `packets` both ways, and its end.
fn plain(line: &mut Line, packets: u32) -> Frames {
    let mut frames = line.up("1001", "1002", 4);
    frames.extend(line.voice(0, 40, packets));
    frames.extend(line.voice(1, 40, packets));
    frames.push(line.down(0, 40 + packets * 20 + 10));
    frames
}

fn legs(tape: &Tape) -> [&LegReport; 2] {
    let legs = &tape.closing.as_ref().unwrap().legs;
    let of = |host: &str| legs.iter().find(|leg| leg.source.ip().to_string() == host).unwrap();
    assert_eq!(legs.len(), 2);
    [of("10.0.0.1"), of("10.0.0.2")]
}

/// Every sample of a channel from `from` on is what `side` said.
fn check_sound(tape: &Tape, side: usize, from: usize, to: usize) {
    for n in from..to {
        let want = Codec::Pcmu.decode(code(side, u32::try_from(n).unwrap()));
        assert_eq!(tape.samples[n][side], want, "side {side}, sample {n}");
    }
}

#[test]
fn a_plain_call() {
    let got = run(plain(&mut line([5, 9]), 100));
    let tape = got.only();
    let closing = tape.closing.as_ref().unwrap();
    let message = &closing.message;
    assert_eq!((message.localparty.as_str(), message.remoteparty.as_str()), ("1001", "1002"));
    assert_eq!((message.localip.as_str(), message.remoteip.as_str()), ("10.0.0.1", "10.0.0.2"));
    assert_eq!(message.nativecallid, "10.0.0.1,5");
    assert_eq!((message.direction.as_str(), closing.why.as_str()), ("out", "hungup"));
    assert_eq!(
        (got.stages(), tape.ms(), tape.samples.len()),
        ("start stop".to_owned(), 2000, 16_000)
    );
    for (side, leg) in legs(tape).into_iter().enumerate() {
        assert_eq!((leg.packets, leg.lost, leg.duplicates, leg.late), (100, 0, 0, 0));
        assert_eq!((leg.codec.as_str(), leg.source.port()), ("PCMU", [5, 9][side]));
        check_sound(tape, side, 0, 16_000);
    }
    let counted = &got.counters;
    assert_eq!((counted.signals.iax2.calls, counted.signals.iax2.voice), (1, 200));
    assert_eq!((counted.calls.calls_answered, counted.calls.calls_failed), (1, 0));
    assert_eq!((counted.signals.iax2.orphans, counted.calls.other_datagrams), (0, 0));
}

/// Two calls, their voice in one datagram each 20 ms.
fn trunked(timed: bool) -> Frames {
    let mut lines = [line([5, 9]), line([6, 10])];
    let mut frames = Frames::new();
    for line in &mut lines {
        frames.extend(line.up("1001", "1002", 4));
        for side in 0..2 {
            frames.extend(line.voice(side, 40, 1));
        }
    }
    for n in 1..100 {
        let ms = 40 + n * 20;
        for side in 0..2 {
            let packet = |line: &Line| (line.numbers[side], ms, sound(side, n * 20));
            let bytes = trunk(777_000 + ms, timed, &[packet(&lines[0]), packet(&lines[1])]);
            frames.push(lines[0].frame(side, ms, &bytes));
        }
    }
    frames.extend(lines.iter_mut().map(|line| line.down(0, 2050)));
    frames
}

#[test]
fn trunked_calls_sound_like_untrunked_ones() {
    let alone = run(plain(&mut line([5, 9]), 100));
    for timed in [false, true] {
        let got = run(trunked(timed));
        assert_eq!(got.tapes.len(), 2, "{timed}");
        for tape in &got.tapes {
            assert_eq!(tape.samples, alone.only().samples, "{timed}");
            assert!(legs(tape).iter().all(|leg| (leg.packets, leg.lost) == (100, 0)));
        }
    }
}

#[test]
fn loss_and_duplicates_are_counted_exactly_and_gaps_are_silent() {
    let mut line = line([5, 9]);
    let mut frames = line.up("1001", "1002", 4);
    let lost = [7, 30, 31, 32, 60];
    let twice = [8, 50, 99];
    for (n, frame) in line.voice(0, 40, 100).into_iter().enumerate() {
        if twice.contains(&n) {
            frames.push((frame.0 + 1000, frame.1.clone()));
        }
        if n == 70 {
            // Overtaken by the next.
            frames.push((frame.0 + 25_000_000, frame.1));
        } else if !lost.contains(&n) {
            frames.push(frame);
        }
    }
    frames.extend(line.voice(1, 40, 100));
    frames.push(line.down(1, 2050));
    let got = run(frames);
    let [a, b] = legs(got.only());
    assert_eq!((a.packets, a.lost, a.duplicates, a.gap_ms), (95, 5, 3, 100));
    assert_eq!((b.packets, b.lost, b.duplicates), (100, 0, 0));
    check_sound(got.only(), 0, 0, 7 * 160);
    check_sound(got.only(), 0, 33 * 160, 60 * 160);
    check_sound(got.only(), 0, 61 * 160, 100 * 160);
}

#[test]
fn the_clock_of_mini_frames_wraps_unheard() {
    let got = run(plain(&mut line([5, 9]), 3500));
    assert_eq!(got.only().ms(), 70_000);
    for (side, leg) in legs(got.only()).into_iter().enumerate() {
        assert_eq!((leg.packets, leg.lost), (3500, 0));
        check_sound(got.only(), side, 0, 560_000);
    }
}

#[test]
fn silence_is_not_loss() {
    let mut line = line([5, 9]);
    let mut frames = line.up("1001", "1002", 4);
    frames.extend(line.voice(1, 40, 200));
    frames.extend(line.voice(0, 40, 50));
    frames.push(line.full(0, 1040, What::ComfortNoise, &[]));
    frames.extend(line.voice(0, 1640, 100));
    frames.push(line.down(0, 4050));
    let got = run(frames);
    let [a, _] = legs(got.only());
    assert_eq!((a.packets, a.lost), (150, 0));
    assert!(got.only().level(0, 1010, 1590) < 1.0);
}

#[test]
fn a_digit_is_told_once_however_often_it_is_sent() {
    let mut line = line([5, 9]);
    let mut frames = plain(&mut line, 100);
    for (ms, key) in [(500, b'5'), (700, b'#')] {
        let (at, bytes) = line.full(0, ms, What::Dtmf(key), &[]);
        // The retransmission has the R bit set.
        let mut again = bytes.clone();
        again[14 + 20 + 8 + 2] |= 0x80;
        frames.extend([(at, bytes.clone()), (at + 1_000, bytes), (at + 500_000_000, again)]);
    }
    let got = run(frames);
    let digits: Vec<_> =
        got.tags.iter().map(|tag| (tag.tagtext.as_str(), tag.offsetmsec)).collect();
    assert_eq!(digits, [("5", 460), ("#", 660)]);
    assert_eq!(got.counters.signals.iax2.repeated, 4);
}

#[test]
fn hold_is_told() {
    for (hold, unhold) in [(What::Control(16), What::Control(17)), (What::Iax(28), What::Iax(29))] {
        let mut line = line([5, 9]);
        let mut frames = line.up("1001", "1002", 4);
        for side in 0..2 {
            frames.extend(line.voice(side, 40, 50));
        }
        frames.push(line.full(1, 1050, hold, &[]));
        frames.push(line.full(1, 41_000, unhold, &[]));
        for side in 0..2 {
            frames.extend(line.voice(side, 41_040, 50));
        }
        frames.push(line.down(0, 42_100));
        let got = run(frames);
        assert_eq!(got.stages(), "start hold resume stop");
        assert_eq!(got.only().ms(), 42_000);
        assert_eq!(legs(got.only())[0].lost, 0);
    }
}

#[test]
fn a_call_whose_end_is_not_seen_ends_when_it_is_silent() {
    let mut line = line([5, 9]);
    let mut frames = plain(&mut line, 100);
    frames.pop();
    frames.push(line.full(0, 40_000, What::Iax(2), &[]));
    // Another call on the same numbers, long after.
    line.begun += 200_000_000_000;
    frames.extend(plain(&mut line, 50));
    let got = run(frames);
    assert_eq!(got.stages(), "start stop start stop");
    let ends: Vec<_> =
        got.tapes.iter().map(|t| (t.ms(), t.closing.as_ref().unwrap().why.as_str())).collect();
    assert_eq!(ends, [(2000, "silent"), (1000, "hungup")]);
    assert_eq!(got.counters.signals.iax2.forgotten, 1);
}

#[test]
fn numbers_used_again_at_once_are_another_call() {
    let mut line = line([5, 9]);
    let mut frames = plain(&mut line, 50);
    let mut next = Line::new(line.hosts, line.numbers, BEGUN + 1_500_000_000);
    frames.extend(plain(&mut next, 50));
    let got = run(frames);
    assert_eq!(got.stages(), "start stop start stop");
    for tape in &got.tapes {
        assert_eq!(tape.ms(), 1000);
        check_sound(tape, 0, 0, 8000);
    }
}

#[test]
fn a_call_under_way_is_joined_without_names() {
    let mut line = line([5, 9]);
    let frames = plain(&mut line, 3500);
    // From its 30th second on: only the full frames at the wrap say what is in the mini frames.
    let frames = frames.into_iter().filter(|f| f.0 > BEGUN + 30_000_000_000).collect();
    let got = run(frames);
    let tape = got.only();
    let message = &tape.closing.as_ref().unwrap().message;
    assert_eq!(
        (message.localparty.as_str(), message.remoteparty.as_str()),
        ("10.0.0.1", "10.0.0.2")
    );
    assert_eq!(message.nativecallid, "10.0.0.1,5#1");
    assert!(legs(tape).iter().all(|leg| leg.lost == 0 && leg.packets > 200), "{:?}", legs(tape));
    assert!((4400..4600).contains(&tape.ms()), "{}", tape.ms());
}

#[test]
fn an_answer_without_its_call_names_the_caller_by_address() {
    let mut line = line([5, 9]);
    let mut frames = plain(&mut line, 100);
    frames.remove(0);
    let got = run(frames);
    let message = &got.only().closing.as_ref().unwrap().message;
    assert_eq!(
        (message.localparty.as_str(), message.remoteparty.as_str()),
        ("10.0.0.1", "10.0.0.2")
    );
    check_sound(got.only(), 0, 0, 16_000);
    check_sound(got.only(), 1, 0, 16_000);
}

#[test]
fn refused_and_cancelled_calls_make_no_tape() {
    let mut refused = line([5, 9]);
    let mut cancelled = line([6, 10]);
    let frames = vec![
        refused.full(0, 3, What::Iax(1), &elements("1001", "1002", 4)),
        refused.full(1, 9, What::Iax(6), &[]),
        cancelled.full(0, 20, What::Iax(1), &elements("1001", "1002", 4)),
        cancelled.full(1, 25, What::Iax(7), &[]),
        cancelled.full(1, 26, What::Control(3), &[]),
        cancelled.down(0, 2000),
    ];
    let got = run(frames);
    assert_eq!((got.tapes.len(), got.counters.calls.calls_failed), (0, 2));
}

#[test]
fn a_call_that_had_to_fetch_a_token_is_one_call() {
    let mut line = line([5, 9]);
    let first = line.full(0, 1, What::Iax(1), &elements("1001", "1002", 4));
    // The host answers from a number that is none.
    let mut asked = Line::new(line.hosts, [5, 1], BEGUN);
    let token = asked.full(1, 2, What::Iax(40), &element(54, b"token"));
    let mut frames = vec![first, token];
    frames.extend(plain(&mut line, 50));
    let got = run(frames);
    assert_eq!((got.counters.signals.iax2.calls, got.only().ms()), (1, 1000));
    check_sound(got.only(), 1, 0, 8000);
}

#[test]
fn an_encrypted_call_is_a_tape_of_silence_that_says_so() {
    let mut line = line([5, 9]);
    let new = [elements("1001", "1002", 4), element(43, &[0, 1])].concat();
    let mut frames = vec![
        line.full(0, 3, What::Iax(1), &new),
        line.full(1, 5, What::Iax(8), &element(43, &[0, 1])),
    ];
    let scramble =
        |n: u32, length: u32| -> Vec<u8> { (0..length).map(|k| code(0, n * 1000 + k)).collect() };
    for n in 0..100 {
        for side in 0..2 {
            let number = line.numbers[side].to_be_bytes();
            let mini = [&number[..], &scramble(n, 180)].concat();
            frames.push(line.frame(side, 40 + n * 20, &mini));
            let other = line.numbers[1 - side].to_be_bytes();
            let full = [&[number[0] | 0x80, number[1]], &other[..], &scramble(n + 7, 32)].concat();
            frames.push(line.frame(side, 41 + n * 20, &full));
        }
    }
    let got = run(frames);
    let tape = got.only();
    assert!((1980..=2020).contains(&tape.ms()), "{}", tape.ms());
    assert!(tape.level(0, 0, 2000) < 1.0 && tape.level(1, 0, 2000) < 1.0);
    assert!(legs(tape).iter().all(|leg| (leg.packets, leg.undecoded, leg.lost) == (100, 100, 0)));
    let counted = &got.counters;
    assert_eq!((counted.signals.iax2.encrypted, counted.calls.rtp_undecoded), (200, 200));
}

#[test]
fn calls_are_known_on_any_port_from_their_beginning() {
    let mut line = line([5, 9]);
    for host in &mut line.hosts {
        host.set_port(14_569);
    }
    let got = run(plain(&mut line, 100));
    check_sound(got.only(), 0, 0, 16_000);
    check_sound(got.only(), 1, 0, 16_000);
}

#[test]
fn real_rtp_between_ports_that_are_call_numbers_is_not_taken_for_the_call() {
    let mut frames = plain(&mut line([5, 9]), 100);
    for n in 0..50_u16 {
        let head = RtpHead {
            marker: false,
            payload_type: 0,
            sequence: n,
            timestamp: 160 * u32::from(n),
            ssrc: 1,
        };
        let bytes = [&head.bytes()[..], &[0x55; 160]].concat();
        let frame =
            Frame::udp(&[], "10.0.0.1:5".parse().unwrap(), "10.0.0.2:9".parse().unwrap(), &bytes);
        frames.push((BEGUN + 100_000_000 + u64::from(n) * 20_000_000, frame.into_bytes()));
    }
    let got = run(frames);
    check_sound(got.only(), 0, 0, 16_000);
    assert_eq!(got.counters.calls.candidate_packets, 50);
}

#[test]
fn linear_sound_is_in_network_byte_order() {
    let mut line = line([5, 9]);
    let mut frames = line.up("1001", "1002", 0x40);
    let wave: Vec<i16> = (0..160_i16).map(|n| n * 150 - 12_000).collect();
    let data: Vec<u8> = wave.iter().flat_map(|sample| sample.to_be_bytes()).collect();
    frames.push(line.full(0, 40, What::Voice(0x40), &data));
    frames.extend((1..50).map(|n| line.mini(0, 40 + n * 20, &data)));
    frames.push(line.down(0, 1100));
    let got = run(frames);
    let left: Vec<i16> = got.only().samples.iter().map(|frame| frame[0]).collect();
    assert_eq!(left, wave.repeat(50));
}

/// What `pcaps/iax2.pcap` holds: two calls on a trunk, one packet lost.
fn sample() -> Vec<u8> {
    let mut frames = trunked(true);
    frames.sort_by_key(|frame| frame.0);
    let mut pcap = PcapWriter::new(Vec::new(), true);
    for (n, (at, bytes)) in frames.iter().enumerate() {
        if n != 60 {
            pcap.write(*at, bytes).unwrap();
        }
    }
    pcap.finish().unwrap()
}

#[test]
fn the_sample_capture_is_what_is_built_here() {
    let path = workspace("pcaps/iax2.pcap");
    if std::env::var_os("ORK_WRITE_SAMPLES").is_some() {
        fs::write(&path, sample()).unwrap();
    }
    assert!(fs::read(&path).unwrap() == sample(), "run with ORK_WRITE_SAMPLES=1 to write it anew");
}
