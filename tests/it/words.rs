//! Recorder and tracker together: what the one tells, the other knows.

use ork_tests::programs::{program, workspace};
use orktrack::{
    config::Config,
    store::{Query, Reader},
};
use std::process::Command;

#[test]
fn a_replay_reported_to_the_tracker_is_listed_once() {
    let home = tempfile::tempdir().unwrap();
    let database = home.path().join("track.db");
    let config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        database: database.clone(),
        ..Config::default()
    };
    let tracker = orktrack::start(&config).unwrap();
    let url = format!("http://{}/orktrack", tracker.address());
    // The second replay writes other files but reports the same recordings.
    for round in 1..=2 {
        let done = Command::new(program("orkaudio"))
            .args(["replay", "--tracker", &url, "--output"])
            .arg(home.path().join(format!("tapes{round}")))
            .arg(workspace("pcaps/two_calls.pcap"))
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let page = Reader::open(&database).unwrap().recordings(&Query::default()).unwrap();
        assert_eq!(page.recordings.len(), 2, "round {round}");
    }
    let list = Command::new(program("orktrack"))
        .args(["list", "--database"])
        .arg(&database)
        .output()
        .unwrap();
    let text = String::from_utf8(list.stdout).unwrap();
    for word in ["alice", "bob", "carol", "dave", "PCMU", "PCMA", "out", ".wav"] {
        assert!(text.contains(word), "{word} in\n{text}");
    }
}

#[test]
fn a_tracker_that_is_away_fails_the_replay_but_not_the_tapes() {
    let home = tempfile::tempdir().unwrap();
    let done = Command::new(program("orkaudio"))
        .args(["replay", "--tracker", "http://127.0.0.1:1/orktrack", "--patience", "1", "--output"])
        .arg(home.path())
        .arg(workspace("pcaps/mulaw.pcap"))
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert!(String::from_utf8(done.stderr).unwrap().contains("did not reach the tracker"));
    let there = |name: &str| home.path().join(name).is_dir();
    assert!(there("2026") && there("ledger"));
}
