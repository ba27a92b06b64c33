//! Capture agents: real sockets, a recorder without any interface.

use ork_tests::programs::{Running, program, wait_until};
use ork_tests::scenario::{Scenario, play};
use ork_tests::wrap::agents::hep3;
use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// A recorder that listens for agents only.
pub(crate) struct Recorder {
    home: tempfile::TempDir,
    tapes: PathBuf,
    /// Where agents send to.
    pub(crate) address: SocketAddr,
    running: Running,
}

impl Recorder {
    /// The address that the log gives behind a word.
    pub(crate) fn said(&self, word: &str) -> SocketAddr {
        let log = fs::read_to_string(self.home.path().join("log")).unwrap();
        let rest = log.split(word).nth(1).unwrap_or_else(|| panic!("no {word} in {log}"));
        rest.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Its configuration file.
    pub(crate) fn settings(&self) -> PathBuf {
        self.home.path().join("orkaudio.toml")
    }

    /// Every file below the folder of tapes.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        below(&self.tapes)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.running.0.id()
    }

    /// Memory it occupies, in KiB.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Tapes that are finished.
    pub(crate) fn finished(&self) -> Vec<PathBuf> {
        finished(&self.tapes)
    }
}

/// Starts one, with further settings.
pub(crate) fn recorder(more: &[&str]) -> Recorder {
    started(more, "")
}

/// Starts one, with further settings and with this in its configuration file.
pub(crate) fn started(more: &[&str], file: &str) -> Recorder {
    let home = tempfile::tempdir().unwrap();
    let (tapes, log) = (home.path().join("tapes"), home.path().join("log"));
    let settings = home.path().join("orkaudio.toml");
    fs::write(&settings, file).unwrap();
    let mut command = Command::new(program("orkaudio"));
    command.arg("run").arg("--config").arg(&settings);
    for set in [
        "capture.interfaces=",
        "capture.hep_listen=127.0.0.1:0",
        "tracker.urls=",
        "doors.command=",
        "doors.events=",
        "doors.live=",
        &format!("tapes.folder={}", tapes.display()),
        &format!("tracker.state_folder={}", home.path().join("state").display()),
    ]
    .iter()
    .chain(more)
    {
        command.args(["--set", set]);
    }
    let mut running = Running::start(&mut command, &log);
    let mut address = None;
    wait_until("the recorder listens", || {
        let said = fs::read_to_string(&log).unwrap();
        assert!(running.runs(), "{said}");
        let known = said.split("agents=").nth(1).and_then(|rest| rest.split_whitespace().next());
        address = known.and_then(|known| known.parse().ok());
        address.is_some()
    });
    Recorder { home, tapes, address: address.unwrap(), running }
}

/// The payloads of a call with the time at which each is due, as an agent sends them.
pub(crate) fn envelopes(scene: &Scenario, key: &str) -> Vec<(u64, Vec<u8>)> {
    scene.frames.iter().map(|(at, frame)| (*at, envelope(*at, frame, key))).collect()
}

/// The payload of an Ethernet frame as an agent sends it.
pub(crate) fn envelope(at: u64, frame: &[u8], key: &str) -> Vec<u8> {
    let end = |address: usize, port: usize| {
        let ip: [u8; 4] = frame[address..address + 4].try_into().unwrap();
        SocketAddr::from((ip, u16::from_be_bytes([frame[port], frame[port + 1]])))
    };
    // An agent whose clock is wrong by years.
    hep3(at / 3, end(26, 34), end(30, 36), &frame[42..], key).unwrap()
}

/// Sends each packet when it is due.
pub(crate) fn send(packets: &[(u64, Vec<u8>)], mut to: impl FnMut(&[u8])) {
    let begin = Instant::now();
    for (at, packet) in packets {
        let due = begin + Duration::from_nanos(at - packets[0].0);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        to(packet);
    }
}

fn finished(folder: &Path) -> Vec<PathBuf> {
    let mut found = below(folder);
    found.retain(|path| path.extension().is_some_and(|extension| extension == "wav"));
    found
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found
}

const CALL: &str = "a->b INVITE; b->a 180; b->a 200; a->b ACK; rtp 1s; a->b BYE; b->a 200";

/// The one tape has what both parties sent, and nothing else.
fn check(recorder: &Recorder) {
    wait_until("the tape is finished", || !finished(&recorder.tapes).is_empty());
    let found = finished(&recorder.tapes);
    assert_eq!(found.len(), 1, "{found:?}");
    let mut wav = hound::WavReader::open(&found[0]).unwrap();
    let samples: Vec<i16> = wav.samples().map(Result::unwrap).collect();
    // 50 packets a side; where the other lies depends on when they were read.
    for side in 0..2 {
        let heard: Vec<i16> = samples.iter().skip(side).step_by(2).copied().collect();
        let first = heard.iter().position(|sample| *sample != 0).unwrap();
        let last = heard.iter().rposition(|sample| *sample != 0).unwrap();
        assert!((7_990..=8_000).contains(&(last - first)), "side {side}: {first} to {last}");
        assert!(heard.iter().filter(|sample| **sample == 0).count() < heard.len() - 7_500);
    }
}

#[test]
fn a_call_sent_by_an_agent_over_udp() {
    let recorder = recorder(&[]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    // Garbage before it harms nobody.
    for garbage in [&b"HEP3"[..], b"", &[2, 16], b"HEP3\xff\xff\0\0\0\x0f\0\x06"] {
        socket.send_to(garbage, recorder.address).unwrap();
    }
    send(&envelopes(&play(CALL).unwrap(), ""), |packet| {
        socket.send_to(packet, recorder.address).unwrap();
    });
    check(&recorder);
}

#[test]
fn a_call_sent_by_an_agent_over_tcp() {
    let recorder = recorder(&[]);
    let mut stream = TcpStream::connect(recorder.address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(b"not HEP at all").unwrap();
    send(&envelopes(&play(CALL).unwrap(), ""), |packet| {
        for part in packet.chunks(101) {
            stream.write_all(part).unwrap();
        }
    });
    check(&recorder);
}

#[test]
fn only_agents_with_the_key_are_heard() {
    let recorder = recorder(&["capture.hep_key=open sesame"]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let right = envelopes(&play(CALL).unwrap(), "open sesame");
    // The same in time, of other parties, with another key and with none.
    let other = play(&CALL.replace('a', "c").replace('b', "d")).unwrap();
    let mut all = right.clone();
    all.extend(envelopes(&other, "open says me"));
    all.extend(envelopes(&other, ""));
    all.sort_by_key(|(at, _)| *at);
    send(&all, |packet| {
        socket.send_to(packet, recorder.address).unwrap();
    });
    check(&recorder);
    let log = fs::read_to_string(recorder.home.path().join("log")).unwrap();
    assert!(!log.contains("sesame"), "{log}");
}
