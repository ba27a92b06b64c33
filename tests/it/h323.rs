//! H.323 calls: what the core makes of them.

use ork_tests::generator::law::Codec;
use ork_tests::h323::{Says, forward, key, kind, message, open, opened, reverse, tpkt};
use ork_tests::iax2::code;
use ork_tests::programs::workspace;
use ork_tests::rehearse::{Rehearsal, Tape, rehearse};
use ork_tests::talk::Talk;
use ork_tests::wire::PcapWriter;
use orkbase::call::settings::Settings;
use std::{fs, net::SocketAddr};

const CALLER: &str = "10.0.0.5:50000";
const CALLEE: &str = "10.0.0.6:1720";
const MEDIA: [&str; 2] = ["10.0.0.5:4000", "10.0.0.6:5000"];
const IDENTIFIER: [u8; 16] = *b"0123456789abcdef";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn talk() -> Talk {
    Talk::new(1_700_000_000_000_000_000)
}

fn by(side: usize) -> Says {
    Says { by_callee: side == 1, reference: 7, identifier: IDENTIFIER, ..Says::default() }
}

fn setup() -> Says {
    Says { numbers: ["1001", "1002"], ..by(0) }
}

/// What `side` says on the signalling connection.
fn say(talk: &mut Talk, side: usize, kind: u8, says: &Says) {
    let (from, to) = if side == 0 { (CALLER, CALLEE) } else { (CALLEE, CALLER) };
    talk.tcp(at(from), at(to), &message(kind, says));
}

fn release(talk: &mut Talk, side: usize, cause: u8) {
    say(talk, side, kind::RELEASE_COMPLETE, &Says { cause: Some(cause), ..by(side) });
}

fn fast() -> Talk {
    let mut talk = talk();
    let offered = vec![forward(1, None), reverse(2, at(MEDIA[0]))];
    say(&mut talk, 0, kind::SETUP, &Says { fast: offered, ..setup() });
    say(&mut talk, 1, kind::ALERTING, &by(1));
    talk.wait(500);
    let chosen = vec![forward(1, Some(at(MEDIA[1]))), reverse(2, at(MEDIA[0]))];
    say(&mut talk, 1, kind::CONNECT, &Says { fast: chosen, ..by(1) });
    talk.voice(MEDIA.map(at), 100);
    release(&mut talk, 0, 16);
    talk
}

fn run(talk: &Talk) -> Rehearsal {
    rehearse(&talk.frames, Settings::default())
}

fn check_sound(tape: &Tape, packets: usize) {
    assert_eq!(tape.samples.len(), packets * 160);
    for side in 0..2 {
        for (n, frame) in tape.samples.iter().enumerate() {
            assert_eq!(frame[side], Codec::Pcmu.decode(code(side, u32::try_from(n).unwrap())));
        }
    }
}

fn parties(tape: &Tape) -> (&str, &str) {
    let message = &tape.closing.as_ref().unwrap().message;
    (&message.localparty, &message.remoteparty)
}

#[test]
fn fast_connect() {
    let got = run(&fast());
    let tape = got.only();
    let closing = tape.closing.as_ref().unwrap();
    assert_eq!(parties(tape), ("1001", "1002"));
    assert_eq!(closing.message.nativecallid, "30313233343536373839616263646566");
    assert_eq!((closing.why.as_str(), got.stages().as_str()), ("hungup", "start stop"));
    check_sound(tape, 100);
    assert!(closing.legs.iter().all(|leg| leg.codec == "PCMU" && leg.packets == 100));
    let counted = &got.counters;
    assert_eq!((counted.signals.h323.messages, counted.signals.h323.calls), (4, 1));
    assert_eq!((counted.signals.h323.malformed, counted.calls.calls_answered), (0, 1));
}

#[test]
fn channels_of_a_connection_of_their_own() {
    let mut talk = talk();
    say(&mut talk, 0, kind::SETUP, &setup());
    let (there, here) = ("10.0.0.6:30000", "10.0.0.5:30001");
    say(&mut talk, 1, kind::CONNECT, &Says { control: Some(at(there)), ..by(1) });
    for (from, to, bytes) in [
        (here, there, open(1)),
        (there, here, open(1)),
        (there, here, opened(1, at(MEDIA[1]))),
        (here, there, opened(1, at(MEDIA[0]))),
    ] {
        talk.tcp(at(from), at(to), &tpkt(&bytes));
    }
    talk.voice(MEDIA.map(at), 50);
    talk.tcp(at(here), at(there), &tpkt(&key(b'5')));
    talk.wait(100);
    release(&mut talk, 1, 16);
    let got = run(&talk);
    check_sound(got.only(), 50);
    assert_eq!(parties(got.only()), ("1001", "1002"));
    assert_eq!((got.tags[0].tagtext.as_str(), got.tags.len()), ("5", 1));
    assert_eq!(got.counters.signals.h323.controls, 5);
}

#[test]
fn tunnelled_channels() {
    let mut talk = talk();
    let alias = Says { alias: "Ann", numbers: ["", "1002"], ..setup() };
    say(&mut talk, 0, kind::SETUP, &Says { tunnelled: vec![open(1)], ..alias });
    say(
        &mut talk,
        1,
        kind::ALERTING,
        &Says { tunnelled: vec![opened(1, at(MEDIA[1])), open(9)], ..by(1) },
    );
    say(&mut talk, 1, kind::CONNECT, &by(1));
    say(&mut talk, 0, kind::FACILITY, &Says { tunnelled: vec![opened(9, at(MEDIA[0]))], ..by(0) });
    talk.voice(MEDIA.map(at), 50);
    release(&mut talk, 0, 16);
    let got = run(&talk);
    check_sound(got.only(), 50);
    assert_eq!(parties(got.only()), ("Ann", "1002"));
}

#[test]
fn segments_end_anywhere() {
    let mut cut = talk();
    for (at_ns, frame) in fast().frames {
        cut.at = at_ns;
        let payload = &frame[54.min(frame.len())..];
        if frame[23] != 6 {
            cut.frames.push((at_ns, frame));
            continue;
        }
        let by_caller = frame[34..36] == 50_000_u16.to_be_bytes();
        let (from, to) = if by_caller { (CALLER, CALLEE) } else { (CALLEE, CALLER) };
        let (head, body) = payload.split_at(4);
        cut.tcp(at(from), at(to), head);
        cut.at = at_ns;
        for piece in body.chunks(7) {
            cut.tcp(at(from), at(to), piece);
            cut.at = at_ns;
        }
    }
    assert_eq!(run(&cut).only().samples, run(&fast()).only().samples);
}

#[test]
fn a_call_through_a_gatekeeper_is_one_call() {
    let mut talk = fast();
    // The second half of its way, on a connection of its own.
    let routed: Vec<_> = talk
        .frames
        .iter()
        .filter(|(_, frame)| frame[23] == 6)
        .map(|(at_ns, frame)| {
            let mut frame = frame.clone();
            for byte in [29, 33] {
                frame[byte] += 10;
            }
            (*at_ns + 300_000, frame)
        })
        .collect();
    talk.frames.extend(routed);
    talk.frames.sort_by_key(|frame| frame.0);
    let got = run(&talk);
    check_sound(got.only(), 100);
    assert_eq!((got.stages().as_str(), got.counters.calls.calls_signalled), ("start stop", 1));
}

#[test]
fn busy_and_abandoned_calls_make_no_tape() {
    for side in 0..2 {
        let mut talk = talk();
        say(&mut talk, 0, kind::SETUP, &setup());
        say(&mut talk, 1, kind::ALERTING, &by(1));
        release(&mut talk, side, 17);
        let got = run(&talk);
        assert_eq!((got.tapes.len(), got.counters.calls.calls_failed), (0, 1), "{side}");
    }
}

#[test]
fn a_call_whose_end_is_not_seen_ends_when_it_is_silent() {
    let mut talk = fast();
    talk.frames.pop();
    talk.wait(40_000);
    talk.udp(at("10.0.0.9:9"), at("10.0.0.8:9"), b"time passes");
    let got = run(&talk);
    assert_eq!(got.only().closing.as_ref().unwrap().why.as_str(), "silent");
}

#[test]
fn the_sample_capture_is_what_is_built_here() {
    let mut pcap = PcapWriter::new(Vec::new(), true);
    for (at, bytes) in fast().frames {
        pcap.write(at, &bytes).unwrap();
    }
    let built = pcap.finish().unwrap();
    let path = workspace("pcaps/h323.pcap");
    if std::env::var_os("ORK_WRITE_SAMPLES").is_some() {
        fs::write(&path, &built).unwrap();
    }
    assert!(fs::read(&path).unwrap() == built, "run with ORK_WRITE_SAMPLES=1 to write it anew");
}
