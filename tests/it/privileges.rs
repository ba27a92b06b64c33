//! What the recorder gives up before the first packet.

use crate::agents::{Recorder, envelopes, recorder, send};
use ork_tests::{programs::wait_until, scenario::play, skip};
use std::{
    collections::BTreeMap,
    fs,
    net::UdpSocket,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::Path,
};

/// `nobody` and `nogroup` of every Debian.
const NOBODY: u32 = 65_534;

const CALL: &str = "a = 1001@192.168.1.11 rtp=10000; b = 1002@203.0.113.11 rtp=20000; a->b INVITE; b->a 200; \
    a->b ACK; rtp 2s; a->b BYE; b->a 200";

/// What the kernel says of each thread.
fn threads(recorder: &Recorder) -> Vec<BTreeMap<String, String>> {
    let tasks = fs::read_dir(format!("/proc/{}/task", recorder.pid())).unwrap();
    let status =
        tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok());
    let read = |text: String| {
        let lines = text.lines().filter_map(|line| line.split_once(":\t"));
        lines.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect()
    };
    status.map(read).collect()
}

fn record(recorder: &Recorder, tapes: &Path) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    send(&envelopes(&play(CALL).unwrap(), ""), |packet| {
        socket.send_to(packet, recorder.address).unwrap();
    });
    wait_until("the tape is finished", || {
        let mut folders = vec![tapes.to_owned()];
        let mut found = false;
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                found |= path.extension().is_some_and(|extension| extension == "wav");
                if path.is_dir() {
                    folders.push(path);
                }
            }
        }
        found
    });
}

#[test]
fn root_is_given_up_for_good() {
    if !nix::unistd::geteuid().is_root() {
        return skip::note("giving up root", "not root");
    }
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (tapes, state) = (home.path().join("tapes"), home.path().join("state"));
    for folder in [&tapes, &state] {
        fs::create_dir(folder).unwrap();
        chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let recorder = recorder(&[
        "security.user=nobody",
        &format!("tapes.folder={}", tapes.display()),
        &format!("tracker.state_folder={}", state.display()),
    ]);
    record(&recorder, &tapes);
    let ids = [NOBODY.to_string().as_str(); 4].join("\t");
    for thread in threads(&recorder) {
        assert_eq!((&thread["Uid"], &thread["Gid"], &*thread["Groups"]), (&ids, &ids, ""));
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(u64::from_str_radix(&thread[set], 16), Ok(0), "{set}");
        }
        assert_eq!((&*thread["NoNewPrivs"], &*thread["Seccomp"]), ("1", "2"), "{}", thread["Name"]);
    }
    assert_eq!(fs::metadata(state.join("orkaudio.db")).unwrap().uid(), NOBODY);
    let limits = fs::read_to_string(format!("/proc/{}/limits", recorder.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).collect::<Vec<_>>(), ["0", "0", "bytes"]);
}

#[test]
fn it_is_confined_as_it_comes() {
    let recorder = recorder(&[]);
    for thread in threads(&recorder) {
        assert_eq!((&*thread["NoNewPrivs"], &*thread["Seccomp"]), ("1", "2"), "{}", thread["Name"]);
    }
}
