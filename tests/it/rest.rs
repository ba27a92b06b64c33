//! Recordings at rest, by the programs: the ledger and what it notices, sealed tapes.

use ork_tests::programs::{program, workspace};
use orkvault::sealed::MAGIC;
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn orkaudio(arguments: &[&str]) -> Output {
    Command::new(program("orkaudio")).args(arguments).output().unwrap()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn replay(to: &Path, capture: &str, sets: &[&str]) -> Vec<Value> {
    let (to, capture) = (text(to), text(&workspace(capture)));
    let mut arguments = vec!["replay", "--json", "--set", "tapes.ledger=true", "--output", &to];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    arguments.push(&capture);
    let out = orkaudio(&arguments);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let said = String::from_utf8(out.stdout).unwrap();
    let mut lines: Vec<Value> = said.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let summary = lines.pop().unwrap();
    assert!(summary["summary"]["ledger.lines"].as_u64().unwrap() > 0, "{summary}");
    assert!(!lines.is_empty());
    lines
}

fn verify(folder: &Path) -> (Option<i32>, Vec<(String, String)>) {
    let out = orkaudio(&["verify", "--json", "--folder", &text(folder)]);
    let said = String::from_utf8(out.stdout).unwrap();
    let mut lines: Vec<Value> = said.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let summary = lines.pop().unwrap()["summary"].take();
    assert_eq!(summary["findings"], lines.len(), "{said}");
    let word = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    let mut found: Vec<_> =
        lines.iter().map(|line| (word(line, "kind"), word(line, "path"))).collect();
    found.sort();
    (out.status.code(), found)
}

fn key(home: &Path, mode: u32) -> PathBuf {
    let path = home.join("keys");
    fs::write(&path, format!("test:{}\n", "5a".repeat(32))).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// Every file below a folder, without the ledger.
fn files(root: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true if path.file_name().unwrap() == "ledger" => {}
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    found
}

#[test]
fn what_was_done_to_tapes_is_named() {
    let home = tempfile::tempdir().unwrap();
    let tapes = home.path().join("tapes");
    let told = replay(&tapes, "pcaps", &["tapes.packets=always", "output.channels=split"]);
    for tape in &told {
        assert_eq!(tape["sha256"].as_str().unwrap().len(), 64);
        assert_eq!(tape["sha256"], tape["tags"]["sha256"]);
        assert_eq!(tape["files_sha256"].as_array().unwrap().len(), 2);
    }
    assert_eq!(verify(&tapes), (Some(0), vec![]));
    // Packets and both sides are known: three files of each recording.
    let all = files(&tapes);
    assert!(all.len() >= 3 * told.len() && all.len() >= 9, "{all:?}");
    let name = |n: usize| all[n].strip_prefix(&tapes).unwrap().display().to_string();
    let mut bytes = fs::read(&all[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&all[0], &bytes).unwrap();
    fs::File::options().write(true).open(&all[1]).unwrap().set_len(99).unwrap();
    fs::remove_file(&all[2]).unwrap();
    let planted = all[3].with_file_name("planted.wav");
    fs::write(&planted, "x").unwrap();
    let planted = planted.strip_prefix(&tapes).unwrap().display().to_string();
    let mut expected =
        [("changed", name(0)), ("truncated", name(1)), ("missing", name(2)), ("added", planted)]
            .map(|(kind, path)| (kind.to_owned(), path));
    expected.sort();
    assert_eq!(verify(&tapes), (Some(1), expected.to_vec()));
}

#[test]
fn sealed_tapes_are_the_same_tapes() {
    let home = tempfile::tempdir().unwrap();
    let keys = key(home.path(), 0o600);
    let set = format!("tapes.encrypt_key={}", keys.display());
    let always = "tapes.packets=always";
    let (plain, sealed) = (home.path().join("plain"), home.path().join("sealed"));
    for capture in ["pcaps/mulaw.pcap", "pcaps/reorder.pcap"] {
        replay(&plain, capture, &[always]);
        replay(&sealed, capture, &[always, &set]);
    }
    assert_eq!(verify(&sealed), (Some(0), vec![]));
    let (plain_files, sealed_files) = (files(&plain), files(&sealed));
    assert_eq!(plain_files.len(), sealed_files.len());
    for (plain, sealed) in plain_files.iter().zip(&sealed_files) {
        assert_eq!(
            format!("{}.sealed", plain.file_name().unwrap().display()),
            sealed.file_name().unwrap().display().to_string()
        );
        let bytes = fs::read(plain).unwrap();
        let secret = fs::read(sealed).unwrap();
        assert!(secret.starts_with(&MAGIC));
        assert!(!secret.windows(16).any(|there| bytes[64..].starts_with(there)));
        let opened = home.path().join("opened");
        let keys = text(&keys);
        let out = orkaudio(&["unseal", "--keys", &keys, &text(sealed), "-o", &text(&opened)]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        assert!(fs::read(&opened).unwrap() == bytes, "{}", sealed.display());
        fs::remove_file(opened).unwrap();
    }
    // Cut short and changed: named, and no success.
    let bytes = fs::read(&sealed_files[0]).unwrap();
    let mut changed = bytes.clone();
    changed[bytes.len() / 2] ^= 1;
    let broken = home.path().join("broken.sealed");
    let cut = bytes[..bytes.len() - 1].to_vec();
    for (bytes, why) in [(cut, "cut short"), (changed, "was changed")] {
        fs::write(&broken, bytes).unwrap();
        let out = orkaudio(&["unseal", "--keys", &text(&keys), &text(&broken), "-o", "-"]);
        let said = String::from_utf8(out.stderr).unwrap();
        assert!(out.status.code() == Some(1) && said.contains(why), "{said}");
    }
}

#[test]
fn processed_tapes_are_sealed_too() {
    let home = tempfile::tempdir().unwrap();
    let keys = key(home.path(), 0o600);
    let set = format!("tapes.encrypt_key={}", keys.display());
    let tapes = home.path().join("tapes");
    let more = ["output.format=flac", "output.keep_original=true", "output.rename=x/[orkuid]"];
    let sets = [more.as_slice(), &[&set]].concat();
    let told = replay(&tapes, "pcaps/mulaw.pcap", &sets);
    assert!(told[0]["file"].as_str().unwrap().ends_with(".flac.sealed"));
    let all = files(&tapes);
    assert_eq!(all.len(), 2 * told.len(), "{all:?}");
    for file in &all {
        assert!(fs::read(file).unwrap().starts_with(&MAGIC), "{}", file.display());
        let out = orkaudio(&["unseal", "--keys", &text(&keys), &text(file), "-o", "-"]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let flac = file.display().to_string().ends_with(".flac.sealed");
        assert!(out.stdout.starts_with(if flac { b"fLaC" } else { b"RIFF" }));
        assert!(out.stdout.len() > 10_000);
    }
    assert_eq!(verify(&tapes), (Some(0), vec![]));
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let keys = key(home.path(), 0o644);
    for name in ["tapes.encrypt_key", "tapes.ledger_key"] {
        let set = format!("{name}={}", keys.display());
        let capture = text(&workspace("pcaps/mulaw.pcap"));
        let to = text(&home.path().join("tapes"));
        let ledger = "tapes.ledger=true";
        let sets = ["--set", &set, "--set", ledger];
        let out = orkaudio(&[&["replay", "--output", &to, &capture][..], &sets].concat());
        let said = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(1), "{said}");
        assert!(said.contains(name) && said.contains("chmod 0600"), "{said}");
    }
}
