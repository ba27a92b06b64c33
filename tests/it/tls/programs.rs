//! The program with a key log: given by option, by setting, in the capture itself, and not at all.

use super::{clear, sealed};
use crate::{
    samples::replay,
    tls::pair::{Ends, Setup},
};
use ork_tests::{
    programs::{program, workspace},
    wire::PcapWriter,
};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

fn capture(path: PathBuf, frames: &[(u64, Vec<u8>)]) -> PathBuf {
    let mut pcap = PcapWriter::new(File::create(&path).unwrap(), true);
    for (at, frame) in frames {
        pcap.write(*at, frame).unwrap();
    }
    pcap.finish().unwrap();
    path
}

/// A capture of the newer kind: frames, and keys before the frame of that number.
fn capture_with_keys(
    path: PathBuf,
    frames: &[(u64, Vec<u8>)],
    keys: &str,
    before: usize,
) -> PathBuf {
    let mut file = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        let padding = body.len().next_multiple_of(4) - body.len();
        let length = u32::try_from(12 + body.len() + padding).unwrap().to_le_bytes();
        file.extend(
            [&kind.to_le_bytes(), &length[..], body, &[0, 0, 0][..padding], &length].concat(),
        );
    };
    block(0x0a0d_0d0a, &[&[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0][..], &[0xff; 8]].concat());
    // Nanoseconds.
    block(1, &[1, 0, 0, 0, 0, 0, 1, 0, 9, 0, 1, 0, 9, 0, 0, 0]);
    for (number, (at, frame)) in frames.iter().enumerate() {
        if number == before {
            let length = u32::try_from(keys.len()).unwrap().to_le_bytes();
            block(10, &[b"KSLT", &length[..], keys.as_bytes()].concat());
        }
        let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
        let [high, low] =
            [at >> 32, at & 0xffff_ffff].map(|half| u32::try_from(half).unwrap().to_le_bytes());
        block(6, &[&[0; 4], &high, &low, &length, &length, &frame[..]].concat());
    }
    fs::write(&path, file).unwrap();
    path
}

#[test]
fn keys_reach_the_replay_by_every_way() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    let ends = Ends::new(&Setup::default());
    let frames = sealed(&ends, 1400);
    fs::write(at("keys"), ends.key_log()).unwrap();
    let set = format!("capture.key_log={}", at("keys").display());
    let named = at("keys").display().to_string();
    let tls = capture(at("tls.pcap"), &frames);
    let early = capture_with_keys(at("early.pcapng"), &frames, &ends.key_log(), 0);
    let late = capture_with_keys(at("late.pcapng"), &frames, &ends.key_log(), 60);

    let (want, ..) = replay(&[&capture(at("clear.pcap"), &clear())], &at("clear"), &[]);
    let file = |folder: &Path, tape: &serde_json::Value| {
        fs::read(folder.join(tape["file"].as_str().unwrap())).unwrap()
    };
    let samples =
        |wav: &[u8]| wav[wav.windows(4).position(|four| four == b"data").unwrap()..].to_vec();
    let want_samples = samples(&file(&at("clear"), &want[0]));
    let ways: [(&Path, &[&str]); 4] =
        [(&tls, &["--key-log", &named]), (&tls, &["--set", &set]), (&early, &[]), (&late, &[])];
    for (number, (capture, more)) in ways.into_iter().enumerate() {
        let folder = at(&format!("out-{number}"));
        let (tapes, summary, _) = replay(&[capture], &folder, more);
        assert_eq!((tapes.len(), summary["tls.decrypted"].as_u64()), (1, Some(1)), "{more:?}");
        assert_eq!(tapes[0]["legs"], want[0]["legs"]);
        assert!(samples(&file(&folder, &tapes[0])) == want_samples, "{more:?}");
    }
}

#[test]
fn without_keys_the_log_tells_and_the_summary_counts() {
    let home = tempfile::tempdir().unwrap();
    let ends = Ends::new(&Setup::default());
    let tls = capture(home.path().join("tls.pcap"), &sealed(&ends, 1400));
    let run = |more: &[&str]| {
        let mut command = Command::new(program("orkaudio"));
        command.args(["replay", "--json", "--output"]).arg(home.path().join("out"));
        command.args(more).arg(&tls).output().unwrap()
    };
    let done = run(&[]);
    let (said, told) =
        (String::from_utf8(done.stderr).unwrap(), String::from_utf8(done.stdout).unwrap());
    assert!(done.status.success());
    let notices = said.lines().filter(|line| {
        line.contains("encrypted signalling from 192.168.1.11 to 192.168.1.12:5061, its calls cannot be recorded")
            && line.contains("SSLKEYLOGFILE")
    });
    assert_eq!(notices.count(), 1, "{said}");
    let lines: Vec<&str> = told.lines().collect();
    let [summary] = lines.as_slice() else { panic!("{told}") };
    let summary: serde_json::Value = serde_json::from_str(summary).unwrap();
    for (name, count) in [
        ("tls.connections", 1),
        ("tls.signalling", 1),
        ("tls.signalling_endpoints_unread", 1),
        ("tls.without_key", 1),
        ("tls.decrypted", 0),
    ] {
        assert_eq!(summary["summary"][name], count, "{name}");
    }
    // On another port nobody would know that it is signalling.
    let quiet = run(&["--set", "capture.tls_ports=5071"]);
    assert!(!String::from_utf8(quiet.stderr).unwrap().contains("encrypted"));
    let missing = run(&["--key-log", "/nonexistent/keys"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        String::from_utf8(missing.stderr)
            .unwrap()
            .contains("cannot read the key log /nonexistent/keys")
    );
}

/// Suites that our own stack does not have, between two `openssl` programs; the keys are in the capture.
#[test]
fn older_suites_are_opened() {
    let home = tempfile::tempdir().unwrap();
    let (tapes, summary, _) = replay(&[&workspace("pcaps/tls_cbc.pcapng")], home.path(), &[]);
    // Five messages on each connection, no media.
    assert_eq!(tapes.len(), 0);
    for (name, count) in [
        ("tls.connections", 9),
        ("tls.decrypted", 9),
        ("tls.records_failed", 0),
        ("tls.lost_bytes", 0),
        ("sip.messages", 45),
        ("sip.malformed", 0),
        ("call.answered", 9),
    ] {
        assert_eq!(summary[name], count, "{name}");
    }
}
