//! Keys in the audio itself, from the capture to the event.

use ork_tests::{
    generator::law::Codec,
    programs::program,
    scenario::{Scenario, play},
    wire::PcapWriter,
};
use serde_json::Value;
use std::{fs, path::Path, process::Command};

/// Overlays the tones of a key on what the host says in RTP between two moments, in milliseconds from
/// the first RTP packet.
fn dial(call: &mut Scenario, host: u8, tones: [f64; 2], from_ms: u64, to_ms: u64) {
    let is_voice = |frame: &[u8]| frame[42] == 0x80 && frame[43] & 0x7f == 0 && frame.len() == 214;
    let first = call.frames.iter().find(|(_, f)| is_voice(f)).unwrap().0;
    let mine = call.frames.iter_mut().filter(|(_, f)| is_voice(f) && f[29] == host);
    for (at, frame) in mine {
        let ms = (*at - first) / 1_000_000;
        if !(from_ms..to_ms).contains(&ms) {
            continue;
        }
        let start = u32::from_be_bytes(frame[46..50].try_into().unwrap());
        for (n, code) in (start..).zip(&mut frame[54..]) {
            let phase = f64::from(n) / 8_000.0 * std::f64::consts::TAU;
            let sample = tones.iter().map(|hertz| (phase * hertz).sin() * 6_000.0).sum::<f64>();
            #[expect(clippy::cast_possible_truncation, reason = "12,000 at most")]
            let sample = sample as i16;
            *code = Codec::Pcmu.encode(sample);
        }
    }
}

fn decode(call: &Scenario, folder: &Path, more: &[&str]) -> (Value, Value) {
    let capture = folder.join("call.pcap");
    let mut pcap = PcapWriter::new(fs::File::create(&capture).unwrap(), true);
    for (at, frame) in &call.frames {
        pcap.write(*at, frame).unwrap();
    }
    pcap.finish().unwrap();
    let out = Command::new(program("orkaudio"))
        .args(["replay", "--json", "--output"])
        .arg(folder.join("tapes"))
        .args(more)
        .arg(&capture)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    (lines.next().unwrap(), lines.next().unwrap()["summary"].take())
}

#[test]
fn keys_in_the_audio_are_told_once() {
    let home = tempfile::tempdir().unwrap();
    let mut call =
        play("a->b INVITE pcmu; b->a 200; a->b ACK; rtp 2s; dtmf a->b 5; rtp 4s; a->b BYE")
            .unwrap();
    dial(&mut call, 11, [697.0, 1209.0], 500, 580);
    dial(&mut call, 12, [941.0, 1477.0], 1_000, 1_060);
    // Its tones leak before the event, as with gateways that take a moment to notice.
    dial(&mut call, 11, [770.0, 1336.0], 1_940, 2_000);
    dial(&mut call, 11, [770.0, 1336.0], 4_000, 4_100);
    let keys = |tape: &Value| -> Vec<(String, String, i64)> {
        let digits = tape["dtmf"].as_array().unwrap().iter();
        let text = |digit: &Value, key: &str| digit[key].as_str().unwrap().to_owned();
        digits
            .map(|d| (text(d, "side"), text(d, "digit"), d["offset_ms"].as_i64().unwrap()))
            .collect()
    };
    let (tape, summary) = decode(&call, home.path(), &[]);
    assert_eq!(
        (keys(&tape).len(), &summary["dtmf.inband"]),
        (1, &Value::from(0)),
        "off by default"
    );
    let (tape, summary) = decode(&call, home.path(), &["--set", "calls.inband_dtmf=true"]);
    let got = keys(&tape);
    let names: Vec<(&str, &str)> = got.iter().map(|(s, d, _)| (s.as_str(), d.as_str())).collect();
    assert_eq!(names, [("local", "1"), ("remote", "#"), ("local", "5"), ("local", "5")]);
    for ((_, _, at), want) in got.iter().zip([500, 1_000, 2_000, 4_000]) {
        assert!((at - want).abs() <= 30, "{at}, not {want}");
    }
    assert_eq!(
        (&summary["dtmf.inband"], &summary["dtmf.digits"]),
        (&Value::from(3), &Value::from(1))
    );
}
