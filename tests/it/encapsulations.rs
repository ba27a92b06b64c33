//! However a call's packets are carried, its tapes and what is told of them are the same.

use ork_tests::programs::{program, workspace};
use ork_tests::rehearse::{Rehearsal, rehearse_capture};
use ork_tests::scenario::play;
use ork_tests::wrap::Capture;
use orkbase::call::settings::Settings;
use orkbase::message::tape::TapeMessage;
use orkbase::packet::{decoder::Limits, ports::TunnelPorts};
use serde_json::Value;
use std::{path::Path, process::Command};

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

/// What was told, without the count of copies and how evenly packets came.
fn told(got: &Rehearsal) -> Vec<TapeMessage> {
    let mut told = got.told.clone();
    for message in &mut told {
        for measured in ["duplicates", "holdms", "jitterms", "mos"] {
            message.tags.remove(measured);
        }
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
            let want = orkbase::call::output::LegReport {
                duplicates,
                jitter_us: got.jitter_us,
                max_jitter_us: got.max_jitter_us,
                opinion: got.opinion,
                ..want.clone()
            };
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
    rows(
        &plain(),
        &["hep=3zlib", "hep-tcp", "hep-tcp=7", "hep-tcp=1 vlan=2", "oreka-tcp", "oreka-tcp=33"],
    );
    rows(&plain(), &["tcp=split:40 oreka-tcp", "oreka-tcp vxlan"]);
    rows(&six(), &["hep=1", "hep=2", "hep=3", "hep=3zlib", "hep-tcp", "oreka", "oreka-tcp"]);
}

/// Ports that no default names, and the default ones when they are not named.
#[test]
fn ports_of_our_own() {
    let ports = TunnelPorts {
        vxlan: vec![14_789],
        geneve: vec![16_081],
        tzsp: vec![17_008],
        gtp_u: Vec::new(),
        hep: Vec::new(),
        oreka: Vec::new(),
    };
    let limits = || Limits { ports: ports.clone(), ..Limits::default() };
    let with = |row: &str| {
        let wrapped = plain().wrapped(row).unwrap();
        rehearse_capture(&wrapped, Settings::default(), limits(), &mut |_, _| {})
    };
    let want = run(&plain());
    for row in ["vxlan=14789", "geneve=16081", "tzsp=17008", "erspan=2 vxlan=14789 tzsp=17008"] {
        same(row, &want, &with(row), 0);
    }
    for row in ["vxlan", "geneve", "tzsp", "gtp", "hep=3", "hep-tcp", "oreka", "oreka-tcp"] {
        assert!(with(row).tapes.is_empty(), "{row}");
    }
}

/// An agent's connection that was there before us: its first packets are lost, nothing else.
#[test]
fn agents_joined_midway() {
    for word in ["hep-tcp=100", "oreka-tcp=100"] {
        let mut late = plain().wrapped(word).unwrap();
        // The handshake and the beginning of the INVITE.
        late.frames.drain(..4);
        let got = run(&late);
        assert_eq!(got.tapes.len(), 1, "{word}");
        assert_eq!(got.only().ms(), run(&plain()).only().ms(), "{word}");
    }
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
        "copy=10 oreka-tcp",
        "copy frag=96",
        "frag=96 copy=20,tagged",
        "copy=50 vlan=7 sll",
    ];
    for base in [plain(), six()] {
        let want = run(&base);
        for row in ways {
            same(row, &want, &run(&base.wrapped(row).unwrap()), 1);
        }
        // The copy of a segment, or of a fragment, is dropped before anybody looks into it.
        let ways = ["hep-tcp copy=30", "oreka-tcp copy=10,routed", "frag=96 copy=20,routed"];
        // Telephone events are too short to be cut.
        let cut = if want.tags.is_empty() { 3 } else { 2 };
        for row in &ways[..cut] {
            let got = run(&base.wrapped(row).unwrap());
            same(row, &want, &got, 0);
            let packets = got.counters.packets;
            assert!(packets.tcp_repeated_bytes + packets.fragments_repeated > 500, "{row}");
        }
        same("three times", &want, &run(&base.wrapped("copy=20 copy=30,tagged").unwrap()), 3);
    }
}

/// What comes before its call is known, or without one, is no more for being seen twice.
#[test]
fn copies_of_what_nobody_announced() {
    let early = "a->b INVITE; rtp 1900ms a->b; b->a 200; a->b ACK; rtp 1s; a->b BYE";
    let early = Capture::ethernet(&play(early).unwrap().frames);
    let mut bare =
        Capture::ethernet(&play("a->b INVITE; b->a 200; rtp 3s; a->b BYE").unwrap().frames);
    bare.frames.retain(|frame| frame.bytes[42] == 0x80);
    let run = |capture: &Capture, unannounced_after| {
        let settings = Settings { unannounced_after, ..Settings::default() };
        rehearse_capture(capture, settings, Limits::default(), &mut |_, _| {})
    };
    for (capture, after, tapes) in [(&early, 0, 1), (&bare, 50, 1), (&bare, 151, 0)] {
        let want = run(capture, after);
        assert_eq!(want.tapes.len(), tapes);
        for row in ["copy", "copy=50,tagged"] {
            same(row, &want, &run(&capture.wrapped(row).unwrap(), after), 1);
        }
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

/// The programs, as a user has them: the file and its line in JSON are the same.
#[test]
fn tapes_on_the_disk() {
    let home = tempfile::tempdir().unwrap();
    let capture = workspace("pcaps/mulaw.pcap");
    let replay = |capture: &Path, name: &str| {
        let folder = home.path().join(name);
        let done = Command::new(program("orkaudio"))
            .args(["replay", "--json", "--output"])
            .args([&folder, capture])
            .output()
            .unwrap();
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
        let lines = String::from_utf8(done.stdout).unwrap();
        let (tape, summary) = lines.trim().split_once('\n').unwrap();
        let mut tape: Value = serde_json::from_str(tape).unwrap();
        // How evenly packets came differs where they change places.
        for leg in tape["legs"].as_array_mut().unwrap() {
            for measured in ["jitter_ms", "max_jitter_ms", "mos", "r_factor"] {
                leg.as_object_mut().unwrap().remove(measured);
            }
        }
        for measured in ["jitterms", "mos"] {
            tape["tags"].as_object_mut().unwrap().remove(measured);
        }
        let file = std::fs::read(folder.join(tape["file"].as_str().unwrap())).unwrap();
        (file, tape, serde_json::from_str::<Value>(summary).unwrap()["summary"].take())
    };
    let (file, tape, _) = replay(&capture, "plain");
    let changed = home.path().join("changed.pcap");
    let wrap =
        |words: &str| Capture::read(&capture).unwrap().wrapped(words).unwrap().write(&changed);
    for words in [
        "vlan=1,2 mpls=16 vlan=3",
        "erspan=3sub vxlan",
        "sll2",
        "null",
        "raw",
        "frag=200,reverse",
        "hep=3zlib",
        "oreka-tcp=100",
        "tcp=split:77 gtp=ext",
        "ws",
        "bad-sums",
        "shuffle=100,5",
    ] {
        wrap(words).unwrap();
        let (got, line, _) = replay(&changed, &words.replace(' ', "_"));
        assert_eq!(line, tape, "{words}");
        assert!(got == file, "{words}: another file");
    }
    wrap("copy=50,tagged").unwrap();
    let (_, mut line, _) = replay(&changed, "copies");
    for (leg, plain) in (0..).zip(tape["legs"].as_array().unwrap()) {
        assert_eq!(line["legs"][leg]["duplicates"].take(), plain["packets"]);
        line["legs"][leg]["duplicates"] = 0.into();
    }
    assert_eq!(line["legs"], tape["legs"]);
    // What we do not follow is told by its number.
    let mut strange = Capture::read(&capture).unwrap();
    for frame in strange.frames.iter_mut().take(3) {
        frame.bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
    }
    strange.write(&changed).unwrap();
    let (.., summary) = replay(&changed, "strange");
    assert_eq!(summary["packet.unknown_ethertypes"]["0x88b5"], 3, "{summary}");
    // The tool teaches.
    let help = Command::new(ork_wrap()).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for word in ["vlan=N", "hep-tcp", "shuffle=MS", "Examples:"] {
        assert!(help.contains(word), "{help}");
    }
    let output = home.path().join("by_tool.pcap");
    let mut tool = Command::new(ork_wrap());
    tool.arg(&capture).arg(&output).args(["vlan=5", "vxlan"]);
    assert!(tool.status().unwrap().success());
    assert!(replay(&output, "tool").0 == file);
}

/// The tool itself, which cargo builds with these tests.
fn ork_wrap() -> &'static str {
    env!("CARGO_BIN_EXE_ork-wrap")
}

/// A call of the same kind between real agents, over IPv6.
fn six() -> Capture {
    Capture::read(&workspace("pcaps/ipv6.pcap")).unwrap()
}
