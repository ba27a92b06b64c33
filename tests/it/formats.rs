//! Tapes in other formats, from the command line to the tracker; a recorder killed while it converts.

#![expect(clippy::cast_possible_truncation, reason = "samples within 9000")]

use ork_tests::{
    programs::{Running, program, wait_until, workspace},
    skip,
};
use orkaudio::{
    format::{Labels, WavReader},
    tape::{closed, file::TapeFile, recover, wav::Layout},
};
use orkbase::{
    audio::tape::PcmSink as _,
    message::{tape::TapeMessage, url},
};
use rusqlite::Connection;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn orkaudio(arguments: &[&str]) -> Output {
    let out = Command::new(program("orkaudio")).args(arguments).output().unwrap();
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    out
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn probe(path: &Path) -> Option<Value> {
    let Ok(out) = Command::new("ffprobe")
        .args(["-v", "error", "-of", "json", "-show_format", "-show_streams"])
        .arg(path)
        .output()
    else {
        skip::note("formats opened by others", "no ffprobe (Debian: ffmpeg)");
        return None;
    };
    assert!(out.status.success(), "{out:?}");
    Some(serde_json::from_slice(&out.stdout).unwrap())
}

/// Seconds and channels as `soxi` has them; `None` where it is missing or does not know the format.
fn sox(path: &Path) -> Option<(f64, String)> {
    let ask = |what: &str| {
        let out = Command::new("soxi").arg(what).arg(path).output().ok()?;
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        let text = String::from_utf8_lossy(&out.stdout).trim().to_owned();
        assert!(out.status.success() || said.contains("no handler"), "{}: {said}", path.display());
        out.status.success().then_some(text)
    };
    let Some(seconds) = ask("-D") else {
        skip::note(
            "formats opened by a second program",
            "no soxi that reads them (Debian: sox, libsox-fmt-all)",
        );
        return None;
    };
    Some((seconds.parse().unwrap(), ask("-c")?))
}

#[test]
fn a_capture_is_decoded_to_every_format() {
    let home = tempfile::tempdir().unwrap();
    let capture = text(&workspace("pcaps/mulaw.pcap"));
    let reference = home.path().join("pcm");
    let listed = orkaudio(&["decode", &capture, "-o", &text(&reference)]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    let calls = listed.lines().count() - 1;
    assert!(listed.starts_with("start (UTC)") && calls > 0, "{listed}");
    for (format, extension) in
        [("opus", "opus"), ("flac", "flac"), ("mp3", "mp3"), ("alaw", "wav"), ("mulaw", "wav")]
    {
        let folder = home.path().join(format);
        let arguments = ["decode", "--json", "--format", format, &capture, "-o", &text(&folder)]
            .map(str::to_owned);
        let out = Command::new(program("orkaudio")).args(&arguments).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        if said.contains("cannot be written on this machine") {
            assert!(out.status.code() == Some(2) && said.contains("install lib"), "{said}");
            skip::note(&format!("{format} files"), "the library is not installed");
            continue;
        }
        assert!(out.status.success(), "{said}");
        let lines = String::from_utf8(out.stdout).unwrap();
        let lines: Vec<Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (summary, tapes) = lines.split_last().unwrap();
        assert_eq!(tapes.len(), calls);
        assert_eq!(summary["summary"]["process.done"], calls);
        assert_eq!(summary["summary"]["process.failed"], 0);
        assert_eq!(summary["summary"]["tape.finished"], calls);
        for tape in tapes {
            let file = tape["file"].as_str().unwrap();
            assert!(file.ends_with(&format!(".{extension}")) && tape.get("files").is_none());
            let Some(told) = probe(&folder.join(file)) else { continue };
            let seconds: f64 = told["format"]["duration"].as_str().unwrap().parse().unwrap();
            let wanted = tape["duration_ms"].as_f64().unwrap() / 1000.0;
            assert!((seconds - wanted).abs() < 0.5, "{format}: {seconds}, not {wanted}");
            let told = told.to_string();
            assert!(told.contains(tape["orkuid"].as_str().unwrap()), "{told}");
            if let Some((seconds, channels)) = sox(&folder.join(file)) {
                assert!((seconds - wanted).abs() < 0.5, "sox, {format}: {seconds}, not {wanted}");
                assert_eq!(channels, "2", "{format}");
            }
        }
        assert!(recover::parts(&folder).unwrap().is_empty());
        assert!(!folder.join(".processing").exists());
    }
}

#[test]
fn what_is_told_of_a_tape_lies_beside_it() {
    let home = tempfile::tempdir().unwrap();
    let capture = text(&workspace("pcaps/mulaw.pcap"));
    for format in ["pcm", "flac"] {
        let folder = home.path().join(format);
        let sidecar = ["--set", "tapes.sidecar=true"];
        let mut arguments = vec!["decode", "--json", "--format", format];
        arguments.extend(sidecar);
        let place = text(&folder);
        arguments.extend([capture.as_str(), "-o", &place]);
        let said = String::from_utf8(orkaudio(&arguments).stdout).unwrap();
        let lines: Vec<Value> = said.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let (_, tapes) = lines.split_last().unwrap();
        assert!(!tapes.is_empty());
        for tape in tapes {
            let file = folder.join(tape["file"].as_str().unwrap());
            let beside: Value =
                serde_json::from_slice(&fs::read(file.with_extension("json")).unwrap()).unwrap();
            assert_eq!(&beside, tape);
            let names: Vec<PathBuf> = fs::read_dir(file.parent().unwrap())
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|e| e == "tmp" || e == "part"))
                .collect();
            assert!(names.is_empty(), "{names:?}");
        }
    }
}

#[test]
fn converting_keeps_what_a_tape_tells() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("pcm");
    let capture = text(&workspace("pcaps/mulaw.pcap"));
    let out = orkaudio(&["decode", "--json", &capture, "-o", &text(&folder)]);
    let line = String::from_utf8(out.stdout).unwrap();
    let tape: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    let source = folder.join(tape["file"].as_str().unwrap());
    let before = WavReader::open(&source).unwrap();
    let sides = format!("{}/", text(&home.path().join("sides")));
    let out =
        orkaudio(&["convert", "--channels", "split", "--gain", "-6", "-o", &sides, &text(&source)]);
    let names = String::from_utf8(out.stdout).unwrap();
    let names: Vec<PathBuf> = names.lines().map(PathBuf::from).collect();
    assert_eq!(names.len(), 2);
    for name in &names {
        let after = WavReader::open(name).unwrap();
        assert_eq!((after.labels(), after.frames()), (before.labels(), before.frames()));
        assert_eq!(after.layout().channels, 1);
    }
    let single = text(&home.path().join("one.flac"));
    orkaudio(&["convert", "--format", "flac", "-o", &single, &text(&source)]);
    if let Some(told) = probe(Path::new(&single)) {
        let seconds: f64 = told["format"]["duration"].as_str().unwrap().parse().unwrap();
        assert!((seconds - before.frames() as f64 / 8000.0).abs() < 0.001);
        assert_eq!(told["format"]["tags"]["ORKUID"], tape["orkuid"]);
    }
    // Nothing is overwritten.
    let again = Command::new(program("orkaudio"))
        .args(["convert", "--format", "flac", "-o", &single, &text(&source)])
        .output()
        .unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("is there already"));
}

const TAPES: usize = 24;

/// A minute of two tones, as a recorder leaves it that was killed before it was processed.
fn closed_tape(folder: &Path, number: usize) {
    let recid = format!("20140127_1141{number:02}_AAAB");
    let query = format!(
        "type=tape&recid={recid}&stage=stop&captureport=AAAB&timestamp=1390822905&filename={recid}.flac&\
         localparty=1001&remoteparty=2002&direction=in&duration=60&"
    );
    let message = TapeMessage::from_pairs(&url::decode(query.as_bytes()).unwrap()).unwrap();
    let labels = Labels::of(&message, "2014-01-27T11:41:45+00:00");
    let path = folder.join(format!("{recid}.flac"));
    let layout = Layout { rate: 8_000, channels: 2 };
    let mut tape = TapeFile::create(&path, layout, &labels.info(), 0o640).unwrap();
    let tone = |n: u32, hertz: f64| {
        (f64::from(n) / 8_000.0 * hertz * std::f64::consts::TAU).sin() * 9_000.0
    };
    let frames: Vec<[i16; 2]> =
        (0..480_000).map(|n| [tone(n, 440.0) as i16, tone(n, 700.0) as i16]).collect();
    tape.write(0, &frames);
    let mut tape = tape.close();
    closed::mark(&mut tape, &message).unwrap();
}

fn recorder(home: &Path, tracker: &str, log: &str) -> Running {
    let mut command = Command::new(program("orkaudio"));
    command.args(["run", "--interface", "lo"]);
    for (key, value) in [
        ("tapes.folder", text(&home.join("tapes"))),
        ("tracker.state_folder", text(&home.join("state"))),
        ("tracker.urls", tracker.to_owned()),
        ("capture.filter", "udp port 1".to_owned()),
        ("doors.command", String::new()),
        ("doors.events", String::new()),
        ("doors.live", String::new()),
        ("output.format", "flac".to_owned()),
    ] {
        command.args(["--set", &format!("{key}={value}")]);
    }
    Running::start(&mut command, &home.join(log))
}

#[test]
fn killed_while_it_converts() {
    if !nix::unistd::Uid::effective().is_root() {
        skip::note("kill -9 of a converting recorder", "capturing needs root");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let tapes = home.path().join("tapes");
    let database = home.path().join("track.db");
    let config = orktrack::config::Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        database: database.clone(),
        ..orktrack::config::Config::default()
    };
    let tracker = orktrack::start(&config).unwrap();
    let url = format!("http://{}/orktrack", tracker.address());
    for number in 0..TAPES {
        closed_tape(&tapes, number);
    }
    let left = || recover::parts(&tapes).map_or(0, |parts| parts.len());
    // Killed again and again, each time with a file half written.
    let mut before = TAPES;
    for round in 0..3 {
        let mut running = recorder(home.path(), &url, &format!("{round}.log"));
        wait_until("some tapes are converted", || {
            assert!(running.runs(), "{}", fs::read_to_string(home.path().join("0.log")).unwrap());
            left() + 2 < before
        });
        drop(running);
        before = left();
        assert!(before > 0, "killed too late");
        for file in fs::read_dir(&tapes).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "flac") {
                let Some(told) = probe(&path) else { continue };
                let seconds: f64 = told["format"]["duration"].as_str().unwrap().parse().unwrap();
                assert!((seconds - 60.0).abs() < 0.001, "half a file has a final name");
            }
        }
    }
    let reader = Connection::open(&database).unwrap();
    let ready = || -> i64 {
        let sql = "SELECT count(*) FROM tape_stage WHERE stage = 'ready'";
        reader.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    let last = recorder(home.path(), &url, "last.log");
    wait_until("all tapes are converted", || left() == 0);
    wait_until("all tapes are told", || ready() >= i64::try_from(TAPES).unwrap());
    drop(last);
    assert_eq!(ready(), i64::try_from(TAPES).unwrap());
    let mut names = reader.prepare("SELECT filename FROM tape").unwrap();
    let names: Vec<String> =
        names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(names.len(), TAPES);
    for name in names {
        assert!(name.ends_with(".flac"), "{name}");
        assert!(fs::read(tapes.join(name)).unwrap().starts_with(b"fLaC"));
    }
}
