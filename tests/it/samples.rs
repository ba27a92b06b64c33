//! The sample captures, replayed by the program as a user would, held against what the agents knew.

use ork_tests::programs::{program, workspace};
use ork_tests::skip;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Runs a replay; gives the tapes, the summary and the whole standard output.
pub(crate) fn replay(
    captures: &[&Path],
    output: &Path,
    more: &[&str],
) -> (Vec<Value>, Value, String) {
    let done = Command::new(program("orkaudio"))
        .arg("replay")
        .args(["--json", "--output"])
        .arg(output)
        .args(more)
        .args(captures)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).unwrap();
    let mut lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap()["summary"].take();
    (lines, summary, text)
}

fn captures(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| {
        path.extension().is_some_and(|e| e == "pcap") && path.with_extension("json").exists()
    });
    found.sort();
    found
}

#[test]
fn every_sample_gives_the_tapes_its_agents_made() {
    let home = tempfile::tempdir().unwrap();
    let samples = captures(&workspace("pcaps"));
    assert!(samples.len() >= 12, "the sample captures are missing");
    for capture in samples {
        let truth: Value =
            serde_json::from_slice(&fs::read(capture.with_extension("json")).unwrap()).unwrap();
        let name = capture.file_stem().unwrap().to_string_lossy().into_owned();
        let folder = home.path().join(&name);
        let (tapes, summary, _) = replay(&[&capture], &folder, &[]);
        let calls: Vec<&Value> =
            truth["calls"].as_array().unwrap().iter().filter(|c| !c["media_s"].is_null()).collect();
        assert_eq!(tapes.len(), calls.len(), "{name}: tapes");
        assert_eq!(summary["tape.finished"], tapes.len(), "{name}");
        for call in calls {
            let tape = tapes.iter().find(|t| t["nativecallid"] == call["call_id"]).unwrap();
            let want = (call["media_s"].as_f64().unwrap() * 1000.0).round();
            let got = tape["duration_ms"].as_f64().unwrap();
            assert!((got - want).abs() <= 40.0, "{name}: {got} ms, media lasted {want} ms");
            let user =
                |uri: &Value| uri.as_str().unwrap().split(['@', ':']).nth(1).unwrap().to_owned();
            let line = |uri: &Value| uri.as_str().unwrap().split_once(':').unwrap().1.to_owned();
            // An MGCP line has no number.
            let caller = if name == "mgcp" { line(&call["caller"]) } else { user(&call["caller"]) };
            assert_eq!(tape["localparty"], caller, "{name}");
            assert_eq!(tape["remoteparty"], user(&call["callee"]), "{name}");
            assert_eq!(tape["direction"], "out", "{name}");
            check_legs(&name, &truth, call, tape);
            let wav = hound::WavReader::open(folder.join(tape["file"].as_str().unwrap())).unwrap();
            assert_eq!((wav.spec().channels, wav.spec().sample_rate), (2, 8000));
            assert!((f64::from(wav.duration()) / 8.0 - got).abs() <= 1.0, "{name}: file length");
        }
    }
}

fn check_legs(name: &str, truth: &Value, call: &Value, tape: &Value) {
    let legs = truth["legs"].as_array().unwrap();
    let of_call = |leg: &&Value| leg["calls"].as_array().unwrap().contains(&call["call_id"]);
    for leg in legs.iter().filter(of_call) {
        let got = tape["legs"].as_array().unwrap().iter().find(|l| l["src"] == leg["src"]);
        let got = got.unwrap_or_else(|| panic!("{name}: no leg from {}", leg["src"]));
        for key in ["dst", "ssrc", "codec", "packets", "lost", "duplicates"] {
            assert_eq!(got[key], leg[key], "{name}: {key} of {}", leg["src"]);
        }
    }
}

#[test]
fn paced_and_flat_out_give_the_same_bytes() {
    let home = tempfile::tempdir().unwrap();
    let capture = workspace("pcaps/transfer.pcap");
    let runs = [("flat", &[][..]), ("again", &[][..]), ("paced", &["--paced"][..])];
    let results = runs.map(|(name, more)| {
        let folder = home.path().join(name);
        let (tapes, _, text) = replay(&[&capture], &folder, more);
        let file = |tape: &Value| fs::read(folder.join(tape["file"].as_str().unwrap())).unwrap();
        (text, tapes.iter().map(file).collect::<Vec<_>>())
    });
    assert_eq!(results[0], results[1]);
    assert_eq!(results[0], results[2]);
}

#[test]
fn a_folder_standard_input_and_nanoseconds_are_read() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("in");
    fs::create_dir(&folder).unwrap();
    for name in ["mulaw.pcap", "alaw.pcap"] {
        fs::copy(workspace("pcaps").join(name), folder.join(name)).unwrap();
    }
    let (tapes, ..) = replay(&[&folder], &home.path().join("a"), &[]);
    assert_eq!(tapes.len(), 2);
    let done = Command::new(program("orkaudio"))
        .args(["replay", "--json", "-", "--output"])
        .arg(home.path().join("b"))
        .stdin(fs::File::open(workspace("pcaps/mulaw.pcap")).unwrap())
        .output()
        .unwrap();
    assert!(done.status.success());
    assert_eq!(String::from_utf8(done.stdout).unwrap().lines().count(), 2);
}

#[test]
fn mono_mixes_both_sides() {
    let home = tempfile::tempdir().unwrap();
    let (tapes, ..) =
        replay(&[&workspace("pcaps/mulaw.pcap")], home.path(), &["--set", "tapes.stereo=false"]);
    let wav = hound::WavReader::open(home.path().join(tapes[0]["file"].as_str().unwrap())).unwrap();
    assert_eq!(wav.spec().channels, 1);
}

#[test]
fn bad_input_is_one_clear_line_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = home.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let whole = fs::read(workspace("pcaps/cancel.pcap")).unwrap();
    let cases = [
        (file("empty.pcap", b""), "empty"),
        (file("text.pcap", b"this is no capture, it is a text"), "not a capture"),
        (file("cut.pcap", &whole[..whole.len() - 5]), "cut"),
        (file("packed.pcap.gz", &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0]), "gzip"),
        (home.path().join("missing.pcap"), "missing"),
    ];
    for (path, what) in cases {
        let output = home.path().join("out");
        let done = Command::new(program("orkaudio"))
            .args(["replay", "--output"])
            .arg(&output)
            .arg(&path)
            .env("ORKAUDIO_LOG_LEVEL", "off")
            .output()
            .unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(1), "{what}: {said}");
        assert_eq!(said.lines().count(), 1, "{what}: {said}");
        assert!(said.contains(path.file_name().unwrap().to_str().unwrap()), "{what}: {said}");
        let tapes = fs::read_dir(&output).map_or(0, Iterator::count);
        assert_eq!(tapes, 0, "{what}");
    }
    for (arguments, code) in [
        (&["replay", "--set", "tapes.nope=1", "x"][..], 2),
        (&["run", "--set", "capture.interfaces=nosuchif0", "--set", "log.level=off"][..], 1),
        (&["status", "--address", "127.0.0.1:1"][..], 1),
    ] {
        let done = Command::new(program("orkaudio")).args(arguments).output().unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(!said.is_empty() && said.lines().count() <= 3, "{said}");
    }
}

/// Captures from the field, if the developer has them: their folder in `ORK_FIELD_CAPTURES`.
#[test]
fn captures_from_the_field_never_fail() {
    let Some(folder) = std::env::var_os("ORK_FIELD_CAPTURES") else {
        skip::note("captures from the field", "ORK_FIELD_CAPTURES names no folder");
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let mut folders = vec![PathBuf::from(folder)];
    let mut number = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if !path.extension().is_some_and(|e| e == "pcap" || e == "pcapng" || e == "cap") {
                continue;
            }
            number += 1;
            let done = Command::new(program("orkaudio"))
                .args(["replay", "--json", "--output"])
                .arg(home.path().join(number.to_string()))
                .arg(&path)
                .output()
                .unwrap();
            let code = done.status.code();
            assert!(
                matches!(code, Some(0 | 1)),
                "{}: {code:?} {}",
                path.display(),
                String::from_utf8_lossy(&done.stderr)
            );
        }
    }
    assert!(number > 0);
}
