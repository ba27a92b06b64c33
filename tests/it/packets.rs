//! Packets kept beside the audio: they are a capture of the call, and of nothing else.

use ork_tests::{
    programs::program,
    rehearse::{Rehearsal, Tape, rehearse, rehearse_capture, rehearse_with},
    scenario::{Scenario, play},
    skip,
    wire::PcapWriter,
};
use orkaudio::capture::file::CaptureFile;
use orkbase::{
    call::{
        command::{Command as Order, Target},
        keeping::KeepPackets,
        settings::Settings,
    },
    message::tape::KeepSide,
    packet::{
        Datagram, Frame, LinkType,
        decoder::{Decoder, Limits, Sink, TcpStream},
        pcapng,
    },
    time::Timestamp,
};
use serde_json::Value;
use std::{collections::BTreeMap, fs, io::Cursor, net::SocketAddr, path::Path, process::Command};

const UP: &str = "a->b INVITE pcmu; b->a 180; b->a 200; a->b ACK;";

/// One datagram out of a file.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Packet {
    at: u64,
    source: SocketAddr,
    destination: SocketAddr,
    payload: Vec<u8>,
}

impl Packet {
    fn is_rtp(&self) -> bool {
        self.payload.first() == Some(&0x80) && self.payload.len() > 12
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

#[derive(Default)]
struct Unpacked {
    at: u64,
    packets: Vec<Packet>,
}

impl Sink for Unpacked {
    fn udp(&mut self, got: Datagram<'_>) {
        let Datagram { source, destination, payload } = got;
        let payload = payload.to_vec();
        self.packets.push(Packet { at: self.at, source, destination, payload });
    }

    fn tcp(&mut self, _got: TcpStream<'_>) {
        panic!("SIP stands in UDP");
    }
}

/// The datagrams of a capture file, as our own reader has them.
fn unpack(file: Vec<u8>) -> Vec<Packet> {
    let mut file =
        CaptureFile::from_reader(Box::new(Cursor::new(file)), "kept".to_owned(), None).unwrap();
    let mut decoder = Decoder::new(Limits::default());
    let mut unpacked = Unpacked::default();
    while let Some(frame) = file.next_frame().unwrap() {
        unpacked.at = frame.at.0;
        decoder.handle_frame(&frame, &mut unpacked);
    }
    unpacked.packets
}

fn file_of(tape: &Tape) -> Vec<u8> {
    let mut file = Vec::new();
    pcapng::begin(&mut file, "a test");
    file.extend_from_slice(&tape.packets);
    assert_eq!(pcapng::whole(&file).0, file.len());
    file
}

fn keeping(keep_packets: KeepPackets) -> Settings {
    Settings { keep_packets, ..Settings::default() }
}

/// The same call in a codec that nobody knows: the name in SDP is as long.
fn unknown_codec(mut scenario: Scenario) -> Scenario {
    for (_, frame) in &mut scenario.frames {
        while let Some(at) = frame.windows(5).position(|bytes| bytes == b"PCMU/") {
            frame[at..at + 4].copy_from_slice(b"EVRC");
        }
    }
    scenario
}

fn datagrams(scenario: &Scenario) -> Vec<Packet> {
    let mut decoder = Decoder::new(Limits::default());
    let mut unpacked = Unpacked::default();
    for (at, bytes) in &scenario.frames {
        unpacked.at = *at;
        let wire_len = u32::try_from(bytes.len()).unwrap();
        let frame = Frame { at: Timestamp(*at), link: LinkType::Ethernet, wire_len, bytes };
        decoder.handle_frame(&frame, &mut unpacked);
    }
    unpacked.packets
}

fn tags(tape: &Tape) -> &BTreeMap<String, String> {
    &tape.closing.as_ref().unwrap().message.tags
}

fn tag<'a>(tape: &'a Tape, name: &str) -> &'a str {
    tags(tape).get(name).map_or("", String::as_str)
}

#[test]
fn a_codec_that_nobody_knows_loses_no_packet() {
    let call = play(&format!("{UP} rtp 2s; a->b BYE; b->a 200")).unwrap();
    let got = rehearse(&call.frames, Settings::default());
    assert!(got.only().packets.is_empty(), "what can be decoded is not kept");
    assert_eq!(got.counters.calls.packets_kept, 0);

    let call = unknown_codec(call);
    let got = rehearse(&call.frames, Settings::default());
    let tape = got.only();
    assert_eq!((tag(tape, "undecodable"), tag(tape, "undecoded")), ("EVRC", "200"));
    // Everything: its SIP from the first message on, and all its RTP.
    let kept = unpack(file_of(tape));
    assert_eq!(kept, datagrams(&call));
    assert_eq!(tag(tape, "rawpackets"), kept.len().to_string());
    assert!(!tags(tape).contains_key("rawomitted"));
}

#[test]
fn what_is_kept_is_the_same_call_again() {
    let text = format!("{UP} rtp 1s; dtmf a->b 5; rtp 1s; a->b BYE; b->a 200");
    let call = play(&text).unwrap();
    let got = rehearse(&call.frames, keeping(KeepPackets::Always));
    let tape = got.only();
    let kept = unpack(file_of(tape));
    assert_eq!(kept, datagrams(&call));
    let mut again = ork_tests::wrap::Capture::ethernet(&[]);
    again.link = LinkType::RawIp;
    let mut file =
        CaptureFile::from_reader(Box::new(Cursor::new(file_of(tape))), "kept".to_owned(), None)
            .unwrap();
    while let Some(frame) = file.next_frame().unwrap() {
        assert_eq!(frame.link, LinkType::RawIp);
        again.frames.push(ork_tests::wrap::Captured {
            at: frame.at.0,
            wire_len: frame.wire_len,
            bytes: frame.bytes.to_vec(),
        });
    }
    let settings = keeping(KeepPackets::Never);
    let second = rehearse_capture(&again, settings, Limits::default(), &mut |_, _| {});
    let told = |got: &Rehearsal| got.tags.iter().map(|tag| tag.tagtext.clone()).collect::<Vec<_>>();
    assert_eq!(second.only().samples, tape.samples);
    assert_eq!((told(&second), told(&got)), (vec!["5".to_owned()], vec!["5".to_owned()]));
    assert!(second.only().packets.is_empty() && !tags(second.only()).contains_key("rawpackets"));
}

#[test]
fn a_pause_is_a_pause_of_everything() {
    let text =
        format!("{UP} rtp 1s; dtmf a->b 7; rtp 1s; a->b OPTIONS; rtp 1s; a->b BYE; b->a 200");
    let call = play(&text).unwrap();
    let first = call.frames[0].0;
    let (from, to) = (first + 500_000_000, first + 2_600_000_000);
    let party = || Target::Party("1001".to_owned());
    let (mut paused, mut resumed) = (false, false);
    let got = rehearse_with(&call.frames, keeping(KeepPackets::Always), &mut |tap, at| {
        if !paused && at.0 >= from {
            paused = true;
            assert_eq!(tap.handle_command(at, &Order::Pause(party())).matched, 1);
        } else if !resumed && at.0 >= to {
            resumed = true;
            assert_eq!(tap.handle_command(at, &Order::Record(party(), KeepSide::Both)).matched, 1);
        }
    });
    let kept = unpack(file_of(got.only()));
    let mut want = datagrams(&call);
    want.retain(|packet| packet.at < from || packet.at >= to);
    assert!(want.len() > 50 && want.len() + 150 < datagrams(&call).len());
    assert_eq!(kept, want);
}

#[test]
fn a_side_that_is_not_kept_is_in_no_packet() {
    let call = play(&format!("{UP} rtp 2s; a->b BYE; b->a 200")).unwrap();
    let from = call.frames[0].0 + 500_000_000;
    let order = Order::Record(Target::Party("1001".to_owned()), KeepSide::Local);
    let mut asked = false;
    let got = rehearse_with(&call.frames, keeping(KeepPackets::Always), &mut |tap, at| {
        if !asked && at.0 >= from {
            asked = true;
            assert_eq!(tap.handle_command(at, &order).matched, 1);
        }
    });
    let kept = unpack(file_of(got.only()));
    let later: Vec<&Packet> = kept.iter().filter(|p| p.is_rtp() && p.at >= from).collect();
    assert!(later.len() > 50 && later.iter().all(|p| p.source.port() == 10_100), "{}", later.len());
}

#[test]
fn the_bound_holds_and_what_is_beyond_it_is_counted() {
    let call = play(&format!("{UP} rtp 2s; a->b BYE; b->a 200")).unwrap();
    let settings = Settings { packets_max_bytes: 20_000, ..keeping(KeepPackets::Always) };
    let got = rehearse(&call.frames, settings);
    let tape = got.only();
    let number = |name| tag(tape, name).parse::<usize>().unwrap();
    assert!(tape.packets.len() <= 20_000 && tape.packets.len() > 19_000);
    assert_eq!(number("rawpackets") + number("rawomitted"), call.frames.len());
    let counters = &got.counters.calls;
    assert_eq!(counters.packets_kept, number("rawpackets") as u64);
    assert_eq!(counters.packets_omitted, number("rawomitted") as u64);
}

#[test]
fn keys_are_never_stored() {
    let secret = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
    let head = format!("head=X-Echo:a=crypto:1~AES_CM_128_HMAC_SHA1_80~inline:{secret}|2^20");
    let call =
        play(&format!("a->b INVITE pcmu {head}; b->a 200; a->b ACK; rtp 1s; a->b BYE")).unwrap();
    let there = |packets: &[Packet], what: &str| packets.iter().any(|p| p.text().contains(what));
    assert!(there(&datagrams(&call), secret));
    let got = rehearse(&call.frames, keeping(KeepPackets::Always));
    let kept = unpack(file_of(got.only()));
    assert!(there(&kept, "inline:XXXX") && !there(&kept, secret));
    assert_eq!(kept.len(), datagrams(&call).len());
}

#[test]
fn zrtp_is_named_and_its_packets_are_kept() {
    let call = play(&format!("{UP} rtp 1s; idle 100ms; rtp 1s; a->b BYE; b->a 200")).unwrap();
    let plain = rehearse(&call.frames, Settings::default());
    assert!(!tags(plain.only()).contains_key("undecodable"));
    // The last confirmation, between the same ports as the voice.
    let rtp = datagrams(&call).into_iter().find(Packet::is_rtp).unwrap();
    let index = call.frames.iter().position(|(at, _)| *at >= rtp.at + 1_040_000_000).unwrap();
    let (at, like) = (call.frames[index].0 - 1, {
        let of = datagrams(&call).iter().position(Packet::is_rtp).unwrap();
        call.frames[of].1.clone()
    });
    let mut zrtp = like;
    let body = zrtp.len() - 172;
    let name =
        [&[0x10, 0, 0, 1][..], b"ZRTP", &[0, 0, 0, 7, 0x50, 0x5a, 0, 3], b"Conf2ACK"].concat();
    zrtp[body..body + name.len()].copy_from_slice(&name);
    let mut frames = call.frames.clone();
    frames.insert(index, (at, zrtp));
    let got = rehearse(&frames, Settings::default());
    let tape = got.only();
    assert_eq!((tag(tape, "undecodable"), tag(tape, "codec")), ("ZRTP", "PCMU"));
    assert_eq!(tag(tape, "undecoded"), "100");
    let kept = unpack(file_of(tape));
    assert_eq!(kept.iter().filter(|p| p.is_rtp()).count(), 100, "from then on");
    assert!(kept[0].text().starts_with("INVITE"));
    // Noise would be loud.
    assert!(tape.level(0, 1_300, 2_000) < 1.0 && tape.level(0, 0, 1_000) > 5_000.0);
}

fn capture(call: &Scenario, path: &Path) {
    let mut pcap = PcapWriter::new(fs::File::create(path).unwrap(), true);
    for (at, frame) in &call.frames {
        pcap.write(*at, frame).unwrap();
    }
    pcap.finish().unwrap();
}

#[test]
fn the_file_lies_beside_its_tape_and_others_open_it() {
    let home = tempfile::tempdir().unwrap();
    let call = unknown_codec(play(&format!("{UP} rtp 2s; a->b BYE; b->a 200")).unwrap());
    let source = home.path().join("call.pcap");
    capture(&call, &source);
    for (format, extension) in [("pcm", "wav"), ("flac", "flac")] {
        let folder = home.path().join(format);
        let rename = ["--set", "output.rename=moved/[orkuid]"];
        let out = Command::new(program("orkaudio"))
            .args(["decode", "--json", "--format", format, "-o"])
            .arg(&folder)
            .args(if format == "flac" { rename.as_slice() } else { &[] })
            .arg(&source)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let lines = String::from_utf8(out.stdout).unwrap();
        let lines: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let (tape, summary) = (&lines[0], &lines[1]["summary"]);
        let (file, raw) = (tape["file"].as_str().unwrap(), tape["raw_file"].as_str().unwrap());
        assert_eq!(raw, file.replace(&format!(".{extension}"), ".pcapng"));
        assert_eq!(file.starts_with("moved/"), format == "flac");
        assert_eq!(tape["tags"]["rawfile"], raw);
        assert_eq!(tape["legs"][0]["undecodable"], serde_json::json!(["EVRC"]));
        let kept = folder.join(raw);
        assert_eq!(unpack(fs::read(&kept).unwrap()), datagrams(&call));
        assert_eq!(summary["packets.kept"], call.frames.len());
        let head =
            fs::metadata(&kept).unwrap().len() - summary["tape.packet_bytes"].as_u64().unwrap();
        assert!((60..400).contains(&head), "section and interface: {head}");
        // An independent reader.
        match Command::new("capinfos").args(["-c", "-E", "-T", "-r", "-M"]).arg(&kept).output() {
            Ok(out) => {
                assert!(out.status.success(), "{out:?}");
                let told = String::from_utf8(out.stdout).unwrap();
                assert!(
                    told.contains(&call.frames.len().to_string()) && told.contains("rawip"),
                    "{told}"
                );
            }
            Err(_) => {
                skip::note("packets opened by others", "no capinfos (Debian: wireshark-common)");
            }
        }
    }
}
