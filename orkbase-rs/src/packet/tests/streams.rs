//! TCP as a story: segments in, text out. `|` is a gap, `.` the end.

use super::*;
use proptest::prelude::*;

const ISN: u32 = 0xffff_fff0;

#[derive(Clone, Copy, Default)]
struct Seg<'a> {
    ms: u64,
    /// Relative to the first data byte; -1 is the SYN's own number.
    from: i32,
    data: &'a str,
    flags: &'a str,
    /// From the receiver: it acknowledges up to here.
    ack: Option<i32>,
}

fn bytes(seg: &Seg<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let sequence = |from: i32| ISN.wrapping_add(1).wrapping_add_signed(from);
    if let Some(ack) = seg.ack {
        let builder = builder.ipv4([10, 4, 5, 6], [10, 1, 2, 3], 64).tcp(5080, 5060, 1, 999);
        builder.ack(sequence(ack)).write(&mut bytes, &[]).unwrap();
        return bytes;
    }
    let mut builder =
        builder.ipv4([10, 1, 2, 3], [10, 4, 5, 6], 64).tcp(5060, 5080, sequence(seg.from), 999);
    for flag in seg.flags.chars() {
        builder = match flag {
            'S' => builder.syn(),
            'F' => builder.fin(),
            'R' => builder.rst(),
            _ => builder.psh(),
        };
    }
    builder.write(&mut bytes, seg.data.as_bytes()).unwrap();
    bytes
}

fn play(limits: Limits, segments: &[Seg<'_>]) -> (Delivered, Decoder) {
    let (mut decoder, mut delivered) = (Decoder::new(limits), Delivered::default());
    for seg in segments {
        let bytes = bytes(seg);
        let frame = Frame { at: at(seg.ms), ..frame(LinkType::Ethernet, &bytes) };
        decoder.handle_frame(&frame, &mut delivered);
    }
    (delivered, decoder)
}

fn check(segments: &[Seg<'_>], expected: &str) {
    let (delivered, decoder) = play(Limits::default(), segments);
    assert_eq!(delivered.text(), expected, "{:?}", decoder.counters());
}

fn syn() -> Seg<'static> {
    Seg { from: -1, flags: "S", ..Seg::default() }
}

fn data(from: i32, data: &str) -> Seg<'_> {
    Seg { from, data, ..Seg::default() }
}

fn fin(from: i32) -> Seg<'static> {
    Seg { from, flags: "F", ..Seg::default() }
}

fn later(ms: u64, seg: Seg<'_>) -> Seg<'_> {
    Seg { ms, ..seg }
}

fn ack(ms: u64, up_to: i32) -> Seg<'static> {
    Seg { ms, ack: Some(up_to), ..Seg::default() }
}

#[test]
fn in_order_across_the_wrap() {
    check(
        &[syn(), data(0, "INVITE sip:bob "), data(15, "SIP/2.0\r\n"), fin(24)],
        "INVITE sip:bob SIP/2.0\r\n.",
    );
}

/// Every split of a message, in both orders, and with the first part sent twice.
#[test]
fn every_split_gives_the_message() {
    let whole = "REGISTER sip:example.com SIP/2.0\r\nCSeq: 1 REGISTER\r\n\r\n";
    let end = i32::try_from(whole.len()).unwrap();
    let expected = format!("{whole}.");
    for at in 1..whole.len() {
        let (one, two) = whole.split_at(at);
        let from = i32::try_from(at).unwrap();
        check(&[syn(), data(0, one), data(from, two), fin(end)], &expected);
        check(&[syn(), data(from, two), data(0, one), fin(end)], &expected);
        check(&[syn(), fin(end), data(from, two), data(0, one)], &expected);
        check(&[syn(), data(0, one), data(0, whole), fin(end)], &expected);
        check(&[syn(), data(from, two), data(0, whole), fin(end), data(0, whole)], &expected);
    }
}

#[test]
fn the_first_copy_of_a_byte_wins() {
    check(&[syn(), data(2, "cd"), data(0, "ABCDEF")], "ABcdEF");
    check(&[syn(), data(0, "ab"), data(0, "ABCD")], "abCD");
    check(&[syn(), data(4, "ef"), data(2, "CDEFGH"), data(0, "ab")], "abCDefGH");
}

#[test]
fn joined_midway_begins_with_a_gap() {
    check(&[data(0, "tail\r\n"), data(6, "INVITE")], "|tail\r\nINVITE");
    // The SYN comes just behind its first bytes: no second beginning.
    check(&[data(0, "ab"), syn(), data(2, "cd")], "|abcd");
    // Acknowledgements and keep-alives alone begin nothing.
    check(&[ack(0, 5), fin(9)], "");
}

#[test]
fn a_keep_alive_repeats_an_old_byte() {
    check(&[syn(), data(0, "ab"), data(1, "\0"), data(2, "cd")], "abcd");
}

#[test]
fn a_hole_waits_for_its_time() {
    check(&[syn(), data(0, "ab"), later(10, data(4, "ef")), later(1_900, data(6, "gh"))], "ab");
    check(
        &[syn(), data(0, "ab"), later(10, data(4, "ef")), later(2_100, data(6, "gh"))],
        "ab|efgh",
    );
    // The hole is filled just in time.
    check(&[syn(), later(10, data(2, "cd")), later(1_900, data(0, "ab"))], "abcd");
}

/// Who receives has the bytes: only we lost them.
#[test]
fn an_acknowledged_hole_is_given_up_at_once() {
    let start = [syn(), data(0, "ab"), later(10, data(4, "ef"))];
    check(&[&start[..], &[ack(11, 6), ack(90, 6)]].concat(), "ab");
    check(&[&start[..], &[ack(11, 6), ack(120, 6)]].concat(), "ab|ef");
    check(&[&start[..], &[ack(11, 2), ack(120, 2)]].concat(), "ab");
}

#[test]
fn the_end_of_the_capture_delivers_what_waits() {
    let (mut delivered, mut decoder) =
        play(Limits::default(), &[syn(), data(0, "ab"), data(4, "ef")]);
    assert_eq!(delivered.text(), "ab");
    decoder.finish(&mut delivered);
    assert_eq!(delivered.text(), "ab|ef.");
}

#[test]
fn reset_and_reuse() {
    let reset = Seg { from: 4, flags: "R", ..Seg::default() };
    check(&[syn(), data(0, "ab"), data(4, "ef"), reset], "ab|ef.");
    // A reset from nowhere near is not believed.
    let blind = Seg { from: 0x3000_0000, flags: "R", ..Seg::default() };
    check(&[syn(), data(0, "ab"), blind, data(2, "cd")], "abcd");
    // The same addresses again, with a new SYN, and without one.
    let again = Seg { from: 99_999, flags: "S", ..Seg::default() };
    check(&[syn(), data(0, "ab"), again, data(100_000, "cd")], "ab.cd");
    check(&[syn(), data(0, "ab"), fin(2), data(700_000, "cd")], "ab.|cd");
    check(&[syn(), data(0, "ab"), data(0x2000_0000, "cd")], "ab.|cd");
    // A copy of everything after the end is nothing new.
    check(&[syn(), data(0, "ab"), fin(2), syn(), data(0, "ab"), fin(2)], "ab.");
}

#[test]
fn memory_of_one_stream_is_bounded() {
    let limits = || Limits { tcp_stream_bytes: 1000, ..Limits::default() };
    let text = "x".repeat(600);
    let segments = [syn(), data(0, "ab"), data(10, &text), data(710, &text), data(1410, "cd")];
    let (delivered, decoder) = play(limits(), &segments);
    assert_eq!(delivered.text(), format!("ab|{text}"));
    assert_eq!((decoder.counters().tcp_gaps, decoder.counters().tcp_early), (1, 3));
}

#[test]
fn number_and_sum_of_streams_are_bounded() {
    let limits = Limits { tcp_streams: 10, tcp_total_bytes: 2_000, ..Limits::default() };
    let (mut decoder, mut delivered) = (Decoder::new(limits), Delivered::default());
    for port in 1..=50_u16 {
        for (sequence, syn, text) in [(0, true, ""), (1, false, "a"), (3, false, "ccc")] {
            let mut bytes = Vec::new();
            let builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9);
            let mut builder = builder.tcp(port, 5060, sequence, 9);
            builder = if syn { builder.syn() } else { builder };
            builder.write(&mut bytes, text.as_bytes()).unwrap();
            decoder.handle_frame(&frame(LinkType::RawIp, &bytes), &mut delivered);
        }
    }
    assert_eq!(decoder.counters().tcp_evicted, 40);
    // Evicted directions deliver what they held and say that they are over.
    for (index, received) in delivered.tcp.values().enumerate() {
        assert_eq!(received.text, if index < 40 { "a|ccc." } else { "a" });
    }
    let limits = Limits { tcp_total_bytes: 600, ..Limits::default() };
    let (delivered, _) = play(
        limits,
        &[syn(), data(0, "ab"), data(9, "x"), data(20, "y"), data(30, "z"), data(40, "w")],
    );
    assert_eq!(delivered.text(), "ab|x");
}

#[test]
fn long_silence_is_an_end() {
    let limits = Limits { tcp_idle_ms: 60_000, ..Limits::default() };
    let segments = [syn(), data(0, "ab"), ack(70_000, 2), later(70_001, data(2, "cd"))];
    let (delivered, decoder) = play(limits, &segments);
    assert_eq!(delivered.text(), "ab.|cd");
    assert_eq!(decoder.counters().tcp_expired, 1);
}

/// A snaplen cuts every segment: what is there comes out, each with its gap, nothing waits.
#[test]
fn cut_segments_leave_gaps() {
    let (mut decoder, mut delivered) = (Decoder::new(Limits::default()), Delivered::default());
    for seg in [syn(), data(0, "abcdef"), data(6, "ghijkl")] {
        let whole = bytes(&seg);
        let cut = &whole[..whole.len().min(54 + 4)];
        let frame = Frame {
            wire_len: u32::try_from(whole.len()).unwrap(),
            ..frame(LinkType::Ethernet, cut)
        };
        decoder.handle_frame(&frame, &mut delivered);
    }
    assert_eq!(delivered.text(), "abcd|ghij");
}

/// A capture clock set back must not stop ageing: what waited comes out, what follows ages anew.
#[test]
fn a_clock_set_back_ages_on() {
    let before = [later(900_000, syn()), later(900_000, data(2, "cd"))];
    check(&[&before[..], &[later(0, data(4, "e"))]].concat(), "|cde");
    let after = [later(0, data(6, "f")), later(2_100, data(7, "g"))];
    check(&[&before[..], &after].concat(), "|cd|fg");
}

/// Where all media takes the fast path, time alone must bring the rest.
#[test]
fn time_alone_delivers() {
    let (mut delivered, mut decoder) = play(Limits::default(), &[syn(), data(2, "BYE")]);
    decoder.deliver_due(at(1_999), &mut delivered);
    assert_eq!(delivered.text(), "");
    decoder.deliver_due(at(2_000), &mut delivered);
    assert_eq!(delivered.text(), "|BYE");
    decoder.deliver_due(at(4_000_000), &mut delivered);
    assert_eq!(delivered.text(), "|BYE.");
    assert!(decoder.is_empty());
}

proptest! {
    /// Any cuts, repetitions and order that lose nothing give the text; the ring of numbers may
    /// wrap anywhere.
    #[test]
    fn nothing_lost_means_nothing_missing(
        cuts in prop::collection::vec((0_usize..300, 1_usize..60), 1..120),
        seed in any::<u64>(),
    ) {
        let text: String = (0..300_u32).map(|at| char::from(b'a' + u8::try_from(at % 26).unwrap())).collect();
        let mut parts: Vec<(usize, usize)> = (0..300).step_by(30).map(|at| (at, 30)).collect();
        parts.extend(cuts);
        let mut random = seed | 1;
        for index in (1..parts.len()).rev() {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            parts.swap(index, usize::try_from(random % (index as u64 + 1)).unwrap());
        }
        let mut segments = vec![syn()];
        for (from, length) in &parts {
            let part = text.get(*from..(from + length).min(300)).unwrap();
            segments.push(data(i32::try_from(*from).unwrap(), part));
        }
        segments.push(fin(300));
        let (delivered, decoder) = play(Limits::default(), &segments);
        prop_assert_eq!(delivered.text(), format!("{text}."));
        prop_assert_eq!(decoder.counters().tcp_bytes, 300);
    }
}
