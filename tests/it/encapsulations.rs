//! However a call's packets are carried, its tapes and what is told of them are the same.

use ork_tests::rehearse::{Rehearsal, rehearse_capture};
use ork_tests::scenario::play;
use ork_tests::wrap::Capture;
use orkbase::call::settings::Settings;
use orkbase::message::tape::TapeMessage;
use orkbase::packet::decoder::Limits;

/// A call with early media, a digit, a hold and an end, that neither begins nor ends on a beat.
const CALL: &str = "a->b INVITE pcmu; b->a 180; b->a 183; rtp 500ms b->a; b->a 200; a->b ACK; rtp 1.5s; \
    dtmf a->b 5; rtp 500ms; a->b reINVITE sendonly; b->a 200 recvonly; a->b ACK; idle 1s; \
    a->b reINVITE; b->a 200; a->b ACK; rtp 1.5s; a->b BYE; b->a 200";

fn plain() -> Capture {
    Capture::ethernet(&play(CALL).unwrap().frames)
}

fn run(capture: &Capture) -> Rehearsal {
    rehearse_capture(capture, Settings::default(), Limits::default(), &mut |_, _| {})
}

/// What was told, without the count of copies.
fn told(got: &Rehearsal) -> Vec<TapeMessage> {
    let mut told = got.told.clone();
    for message in &mut told {
        message.tags.remove("duplicates");
    }
    told
}

/// Both make the same tapes and say the same of them; `copies` of every RTP packet were counted.
fn same(row: &str, want: &Rehearsal, got: &Rehearsal, copies: u64) {
    for (got, want) in told(got).iter().zip(&told(want)) {
        assert_eq!(got.tags, want.tags, "{row}: tags");
        assert_eq!(got, want, "{row}: told");
    }
    assert_eq!(got.told.len(), want.told.len(), "{row}: told");
    assert_eq!(got.tags, want.tags, "{row}: digits");
    assert_eq!(got.tapes.len(), want.tapes.len(), "{row}: tapes");
    for (got, want) in got.tapes.iter().zip(&want.tapes) {
        assert_eq!(got.samples.len(), want.samples.len(), "{row}: samples");
        let first = got.samples.iter().zip(&want.samples).position(|(got, want)| got != want);
        assert_eq!(first, None, "{row}: first other sample");
        assert_eq!(got.opening.orkuid, want.opening.orkuid, "{row}");
        let [got, want] = [got, want].map(|tape| tape.closing.as_ref().unwrap());
        assert_eq!((got.start, got.duration_ms), (want.start, want.duration_ms), "{row}");
        for (got, want) in got.legs.iter().zip(&want.legs) {
            let duplicates = want.packets * copies;
            let want = orkbase::call::output::LegReport { duplicates, ..want.clone() };
            assert_eq!(got, &want, "{row}: leg");
        }
    }
}

fn rows(base: &Capture, rows: &[&str]) {
    let want = run(base);
    assert!(!want.tapes.is_empty());
    for row in rows {
        let wrapped = base.wrapped(row).unwrap();
        assert_ne!(&wrapped, base, "{row} changes something");
        same(row, &want, &run(&wrapped), 0);
    }
}

#[test]
fn links() {
    rows(
        &plain(),
        &["snap", "pppoe", "sll", "sll2", "null", "loop", "raw", "vlan=7 sll2", "vlan=7 pppoe"],
    );
}

#[test]
fn tags_and_labels() {
    rows(
        &plain(),
        &[
            "vlan=1",
            "vlan=1,2",
            "vlan=1,2,3",
            "vlan=1,2,3,4",
            "mpls=16",
            "mpls=16,1048575",
            "mpls=16,17,18",
            "pseudowire=16",
            "vlan=5 pseudowire=16,17",
        ],
    );
}

#[test]
fn gre() {
    rows(
        &plain(),
        &[
            "gre",
            "gre=key",
            "gre=seq",
            "gre=sum",
            "gre=key,seq,sum",
            "gre-teb",
            "gre-teb=key",
            "gre-ppp",
            "gre-udp",
        ],
    );
}

#[test]
fn erspan() {
    rows(&plain(), &["erspan=1", "erspan=2", "erspan=3", "erspan=3sub", "vlan=9 erspan=3"]);
}

#[test]
fn tunnels_over_udp() {
    rows(
        &plain(),
        &["vxlan", "vxlan=8472", "vxlan=4790", "geneve", "gtp", "gtp=seq", "gtp=ext", "tzsp"],
    );
}

#[test]
fn ip_in_ip() {
    rows(&plain(), &["in-ipv4", "in-ipv6", "in-ipv4 in-ipv6"]);
    rows(&six(), &["in-ipv4", "in-ipv6", "in-ipv6 in-ipv4", "pppoe", "null", "gre-ppp", "snap"]);
}

#[test]
fn agents() {
    rows(
        &plain(),
        &["hep=1", "hep=2", "hep=3", "hep=3,secret", "hep=3 vlan=4", "oreka", "oreka vxlan"],
    );
    rows(&six(), &["hep=1", "hep=2", "hep=3", "oreka"]);
}

#[test]
fn stacked() {
    rows(
        &plain(),
        &[
            "vlan=3 vxlan mpls=16,17 vlan=8,9",
            "gtp in-ipv6 gre=key vlan=2",
            "pppoe erspan=2 vlan=1,2",
            "tcp vlan=7 geneve in-ipv4 pppoe",
            "hep=3 frag=96 vxlan",
            "snap gre-teb tzsp oreka",
            "ws erspan=3sub sll",
        ],
    );
}

#[test]
fn fragments() {
    let every = ["frag=200", "frag=200,reverse", "frag=200,twice", "frag=200,overlap"];
    rows(&plain(), &every);
    rows(&six(), &every);
    let both = ["frag=64,reverse,twice", "vlan=6 frag=200", "vxlan frag=200", "frag=200 vxlan"];
    rows(&plain(), &both);
    rows(&plain(), &["frag=200,reverse gre=seq frag=104,twice"]);
}

#[test]
fn checksums_are_not_believed() {
    rows(&plain(), &["bad-sums", "tcp bad-sums", "bad-sums gre bad-sums", "bad-sums frag=200"]);
    rows(&six(), &["bad-sums"]);
}

#[test]
fn sip_over_tcp() {
    let ways =
        ["tcp", "tcp=reorder", "tcp=repeat", "tcp=merge", "tcp=split:1", "tcp frag=96,reverse"];
    rows(&plain(), &ways);
    rows(&six(), &ways);
}

#[test]
fn sip_over_web_sockets() {
    rows(&plain(), &["ws", "ws=masked", "ws=unmasked", "ws frag=200,twice"]);
}

/// Every message split between its bytes `N` and `N+1`, for every `N` that the longest has.
#[test]
fn split_at_every_byte() {
    let plain = Capture::ethernet(
        &play("a->b INVITE; b->a 180; b->a 200; a->b ACK; rtp 300ms; a->b BYE; b->a 200")
            .unwrap()
            .frames,
    );
    let want = run(&plain);
    let longest = plain.frames.iter().map(|frame| frame.bytes.len() - 42).max().unwrap();
    assert!(longest > 400, "an INVITE with SDP");
    for at in 1..longest {
        let row = format!("tcp=split:{at}");
        same(&row, &want, &run(&plain.wrapped(&row).unwrap()), 0);
    }
}

#[test]
fn copies_are_dropped_and_counted() {
    let ways = [
        "copy",
        "copy=routed",
        "copy=tagged",
        "copy=routed,tagged",
        "copy=50",
        "copy=50,routed",
        "copy=50,tagged",
        "vxlan copy=20,tagged",
        "copy=50 vxlan",
        "copy=7 erspan=2 vlan=5",
        "tcp copy=50",
        "ws copy=50,routed",
        "hep=3 copy=30",
        "copy frag=96",
        "copy=50 vlan=7 sll",
    ];
    for base in [plain(), six()] {
        let want = run(&base);
        for row in ways {
            same(row, &want, &run(&base.wrapped(row).unwrap()), 1);
        }
        same("three times", &want, &run(&base.wrapped("copy=20 copy=30,tagged").unwrap()), 3);
    }
}

#[test]
fn reordering_within_a_tenth_of_a_second() {
    // Long enough for the drift of the clocks to be judged several times.
    let long = play("a->b INVITE; b->a 200; a->b ACK; rtp 40s; a->b BYE").unwrap().frames;
    for base in [Capture::ethernet(&long), plain(), six()] {
        let want = run(&base);
        for seed in 1..=12 {
            for row in [format!("shuffle=100,{seed}"), format!("shuffle=100,{seed} copy=50,tagged")]
            {
                let copies = u64::from(row.contains("copy"));
                same(&row, &want, &run(&base.wrapped(&row).unwrap()), copies);
            }
        }
    }
}

/// Every frame is cut, and every cut is counted.
#[test]
fn what_was_not_captured_is_counted() {
    let cut = plain().wrapped("cut=100").unwrap();
    let frames = cut.frames.iter().filter(|frame| frame.wire_len > 100).count();
    let got = run(&cut);
    assert_eq!(got.counters.packets.truncated, u64::try_from(frames).unwrap());
    // Half of the audio is there, but no SDP says whose it is.
    assert_eq!((got.tapes.len(), got.counters.calls.candidate_packets > 100), (0, true));
    // A snapshot length beyond the last byte that counts takes nothing away.
    rows(&plain(), &["cut=2000 vlan=1"]);
}

/// A call of the same kind between real agents, over IPv6.
fn six() -> Capture {
    Capture::read(&ork_tests::programs::workspace("pcaps/ipv6.pcap")).unwrap()
}
