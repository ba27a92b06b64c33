//! A network of a row's own: nothing that is sent there leaves it, and it goes with the row.

use super::Found;
use nix::sched::{CloneFlags, unshare};
use std::{
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

/// The end of the cable that rows send into.
pub(super) const NEAR: &str = "ork0";
/// The end that the recorder captures on.
pub(super) const FAR: &str = "ork1";

/// Does `work` in a network namespace of its own, with a loopback interface and a cable from [`NEAR`] to
/// [`FAR`]. Threads and processes that it starts are there too.
pub(super) fn apart(work: impl FnOnce() -> Result<Found, String> + Send) -> Found {
    thread::scope(|scope| {
        let inside = move || {
            if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
                return Found::NotRun(format!("no network namespace for us: {error}"));
            }
            if let Err(why) = run("ip", &["link", "set", "lo", "up"]).and_then(|_| cable()) {
                return Found::NotRun(why);
            }
            said(work())
        };
        let thread = thread::Builder::new().name("row".to_owned()).spawn_scoped(scope, inside);
        match thread.map(thread::ScopedJoinHandle::join) {
            Ok(Ok(found)) => found,
            Ok(Err(_)) => said(Err("the row panicked".to_owned())),
            Err(error) => Found::NotRun(error.to_string()),
        }
    })
}

/// What a row says; one that could not go on has kept no promise.
pub(super) fn said(found: Result<Found, String>) -> Found {
    found.unwrap_or_else(|why| Found::Broken { runs: 0, figure: why })
}

/// Lays the cable.
pub(super) fn cable() -> Result<(), String> {
    // Nobody else is to be heard on it.
    drop(std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"));
    run("ip", &["link", "add", NEAR, "type", "veth", "peer", "name", FAR])?;
    for end in [NEAR, FAR] {
        run("ip", &["link", "set", end, "arp", "off", "mtu", "9000", "up"])?;
    }
    Ok(())
}

/// Runs a program to its end; what it said of its failure.
pub(super) fn run(program: &str, arguments: &[&str]) -> Result<Output, String> {
    let done = Command::new(program).args(arguments).output();
    let done = done.map_err(|error| format!("{program}: {error}"))?;
    if done.status.success() {
        return Ok(done);
    }
    let words = String::from_utf8_lossy(&done.stderr);
    Err(format!("{program} {}: {}", arguments.join(" "), words.trim()))
}

/// Puts frames on the cable.
pub(super) struct Sender(pcap::Capture<pcap::Active>);

impl Sender {
    /// At the near end.
    pub(super) fn open() -> Result<Self, String> {
        let say = |error: pcap::Error| format!("{NEAR}: {error}");
        // What it could capture is of no use: the smallest ring, and a filter that nothing passes.
        let device = pcap::Capture::from_device(NEAR).map_err(say)?.snaplen(64).buffer_size(4096);
        let mut capture = device.open().map_err(say)?;
        capture.filter("len > 65000", true).map_err(say)?;
        Ok(Self(capture))
    }

    /// One frame.
    pub(super) fn send(&mut self, frame: &[u8]) -> Result<(), String> {
        // A full queue of the device is a moment's matter.
        for _ in 0..1_000 {
            match self.0.sendpacket(frame) {
                Ok(()) => return Ok(()),
                Err(pcap::Error::PcapError(why)) if why.contains("buffer") => thread::yield_now(),
                Err(error) => return Err(format!("{NEAR}: {error}")),
            }
        }
        Err(format!("{NEAR}: its queue stays full"))
    }

    /// Frames when they are due (nanoseconds), as long as `goes_on`; the first at once.
    pub(super) fn play(
        &mut self,
        frames: &[(u64, Vec<u8>)],
        mut goes_on: impl FnMut() -> bool,
    ) -> Result<(), String> {
        let begin = Instant::now();
        let mut first = None;
        for (at, frame) in frames {
            let due = begin + Duration::from_nanos(at - *first.get_or_insert(*at));
            if !goes_on() {
                break;
            }
            thread::sleep(due.saturating_duration_since(Instant::now()));
            self.send(frame)?;
        }
        Ok(())
    }
}
