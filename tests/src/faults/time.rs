//! Clocks that are set, and captures whose times make no sense (R40, R41).

use super::{
    Bench, Found,
    blocks::{Calls, replay_as},
    maker::MS,
    subject::{Subject, until},
};
use crate::{
    generator::{calls::Spec, chance::Chance},
    rehearse::rehearse_capture,
    wrap::{Capture, agents::hep3},
};
use orkbase::{call::settings::Settings, packet::decoder::Limits};
use std::{
    collections::BTreeSet,
    net::{SocketAddr, UdpSocket},
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// The library that lies to one program about the time.
const FAKETIME: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
];
/// What the clock says at first, and what it is set to three seconds into the calls.
const STEPS: [(&str, &str, i64); 7] = [
    ("+0", "+3600", 3_600_000),
    ("+0", "-3600", -3_600_000),
    ("+0", "+1", 1_000),
    ("+0", "-1", -1_000),
    ("+0", "-86400", -86_400_000),
    ("@2038-01-19 03:14:00", "", 0),
    ("@2106-02-07 06:28:08", "", 0),
];

/// Sets the clock of running recorders, and lets calendars run out.
pub(super) fn steps(bench: &Bench) -> Result<Found, String> {
    let Some(library) = FAKETIME.into_iter().find(|path| Path::new(path).exists()) else {
        return Ok(Found::NotRun("no libfaketime here (Debian: faketime)".to_owned()));
    };
    let (mut kept, mut worst, mut wrong, mut runs) = (true, 0_u64, Vec::new(), 0);
    for round in 0..bench.times(1, 5) {
        // All at once: they do nothing most of the time.
        let results = thread::scope(|scope| {
            let work: Vec<_> = STEPS
                .iter()
                .enumerate()
                .map(|(n, step)| {
                    let home = bench.folder(&format!("R40/{round}-{n}"));
                    scope.spawn(move || step_of(bench, &home, library, step))
                })
                .collect();
            let joined = work
                .into_iter()
                .map(|one| one.join().unwrap_or_else(|_| Err("the row panicked".to_owned())));
            joined.collect::<Vec<_>>()
        });
        for (result, (from, to, _)) in results.into_iter().zip(STEPS) {
            runs += 1;
            match result {
                Ok((error_ms, true)) => worst = worst.max(error_ms),
                Ok((error_ms, false)) => {
                    kept = false;
                    wrong.push(format!(
                        "{from} {to}: something is missing, or untold ({error_ms} ms)"
                    ));
                }
                Err(why) => {
                    kept = false;
                    wrong.push(format!("{from} {to}: {why}"));
                }
            }
        }
    }
    let (calendar, names) = calendar(bench)?;
    worst = worst.max(calendar);
    let mut figure = format!(
        "live: hours, seconds and a day forward and back, 2038, 2106; replayed: both changes of daylight saving \
         time, 2038: durations off by at most {worst} ms, {names} names, each once"
    );
    if !wrong.is_empty() {
        figure = format!("{}; {figure}", wrong.join("; "));
    }
    Ok(Found::when(kept && worst <= 150, runs, figure))
}

/// By how much durations are wrong, and whether all audio is there and the step was told.
fn step_of(
    bench: &Bench,
    home: &Path,
    library: &str,
    (from, to, by): &(&str, &str, i64),
) -> Result<(u64, bool), String> {
    let calls = Calls::of(home, 3, 6.0)?;
    let clock = home.join("clock");
    std::fs::write(&clock, from).map_err(|error| error.to_string())?;
    let (preload, file) =
        (format!("LD_PRELOAD={library}"), format!("FAKETIME_TIMESTAMP_FILE={}", clock.display()));
    let before = ["env", &preload, &file, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"];
    // The library maps memory of its own; that is not what is tried here.
    let sets = ["capture.hep_listen=127.0.0.1:0", "security.confine=false", "tapes.sync=false"];
    let mut subject = Subject::start(bench, home, &before, &sets)?;
    let agents = subject.address("agents=")?;
    let socket = UdpSocket::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let frames = calls.frames();
    let (begin, first) = (Instant::now(), frames.first().map_or(0, |(at, _)| *at));
    let mut set = to.is_empty();
    for (at, frame) in &frames {
        let due = Duration::from_nanos(at - first);
        thread::sleep(due.saturating_sub(begin.elapsed()));
        if !set && due > Duration::from_secs(3) {
            set = true;
            std::fs::write(&clock, to).map_err(|error| error.to_string())?;
        }
        let packet = enveloped(frame)?;
        socket.send_to(&packet, agents).map_err(|error| error.to_string())?;
    }
    let tapes = subject.finished(calls.truth.calls.len())?;
    let told = *by == 0 || subject.number("capture.clock_set")? == 1;
    until("its numbers are fresh", || {
        Ok(subject.number("tape.finished")? >= u64::try_from(calls.truth.calls.len()).unwrap_or(0))
    })?;
    subject.stop()?;
    let (found, foreign) = calls.found(&subject.tapes())?;
    let lengths = tapes.iter().map(|tape| tape.duration_ms.unwrap_or(f64::MAX));
    let error = lengths.map(|ms| (ms - 6_000.0).abs()).fold(0.0, f64::max);
    let whole = found == calls.said() && foreign == 0 && tapes.len() == calls.truth.calls.len();
    Ok((whole_ms(error), told && whole))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a figure")]
const fn whole_ms(ms: f64) -> u64 {
    ms as u64
}

/// The payload of an Ethernet frame as a capture agent sends it.
pub(super) fn enveloped(frame: &[u8]) -> Result<Vec<u8>, String> {
    let byte = |at: usize| frame.get(at).copied().unwrap_or(0);
    let end = |address: usize, port: usize| {
        let ip = [0, 1, 2, 3].map(|n| byte(address + n));
        SocketAddr::from((ip, u16::from_be_bytes([byte(port), byte(port + 1)])))
    };
    hep3(0, end(26, 34), end(30, 36), frame.get(42..).unwrap_or_default(), "")
}

/// Calls over changes of the calendar: by how much durations are wrong, and how many names there are.
fn calendar(bench: &Bench) -> Result<(u64, usize), String> {
    let (mut worst, mut names) = (0.0_f64, 0);
    // Clocks in Berlin went back on 26 October 2025 at 01:00 UTC, and forward on 30 March at 01:00.
    for (n, change) in [1_761_440_400.0, 1_743_296_400.0, 2_147_483_648.0].into_iter().enumerate() {
        let home = bench.folder(&format!("R40/calendar-{n}"));
        let start_time = change - 3_600.0;
        let spec =
            Spec { calls: 200, seconds: 4.0, stagger: 7_200.0, start_time, ..Spec::default() };
        let calls = Calls::make(&home, spec)?;
        let naming = "tapes.naming=[year]/[month]/[day]/[hour][min][sec]-[trackingid]";
        let before = ["env", "TZ=Europe/Berlin"];
        let more = ["--set", naming];
        let done = replay_as(bench, &before, &home.join("calls.pcap"), home.join("out"), &more)?;
        let files: BTreeSet<_> = done.tapes.iter().map(|tape| tape.file.clone()).collect();
        let (found, foreign) = calls.found(&done.folder)?;
        if found != calls.said() || foreign > 0 || files.len() != calls.truth.calls.len() {
            return Err(format!("calendar change {n}: {} names, audio is missing", files.len()));
        }
        names += files.len();
        let lengths = done.tapes.iter().map(|tape| tape.duration_ms.unwrap_or(f64::MAX));
        worst = lengths.map(|ms| (ms - 4_000.0).abs()).fold(worst, f64::max);
    }
    Ok((whole_ms(worst), names))
}

/// Times that jump, go back, stand still, or are those of other packets.
pub(super) fn nonsense(bench: &Bench) -> Result<Found, String> {
    let home = bench.folder("R41");
    let runs = bench.times(400, 10_000);
    let calls = Calls::of(&home, 3, 4.0)?;
    let (mut tapes, mut longest, mut wrong) = (0_u64, 0_u64, Vec::new());
    for seed in 0..runs {
        let mut chance = Chance::new(seed, 41);
        let mut capture = calls.capture.clone();
        twist(&mut capture, seed, &mut chance);
        let times = capture.frames.iter().map(|frame| frame.at);
        let span_ms = (times.clone().max().unwrap_or(0) - times.min().unwrap_or(0)) / MS;
        let got =
            rehearse_capture(&capture, Settings::default(), Limits::default(), &mut |_, _| {});
        for closing in got.tapes.iter().filter_map(|tape| tape.closing.as_ref()) {
            tapes += 1;
            longest = longest.max(closing.duration_ms);
            // Audio that was sent in it may make it longer than the capture's own clock says.
            if closing.duration_ms > span_ms + 2 * 4_000 || closing.message.duration > 86_400 {
                wrong.push(format!(
                    "seed {seed}: {} ms in a capture of {span_ms} ms",
                    closing.duration_ms
                ));
            }
        }
        if got.tapes.iter().any(|tape| tape.closing.is_none()) || got.tapes.is_empty() {
            wrong.push(format!("seed {seed}: {} tapes, not all closed", got.tapes.len()));
        }
    }
    wrong.truncate(5);
    let figure = format!(
        "{runs} captures, {tapes} tapes, the longest {longest} ms, none longer than its capture and its audio {}",
        wrong.join("; ")
    );
    Ok(Found::when(wrong.is_empty(), runs, figure.trim_end().to_owned()))
}

fn twist(capture: &mut Capture, seed: u64, chance: &mut Chance) {
    let count = capture.frames.len() as u64;
    let jump = |chance: &mut Chance| (1 + chance.below(120_000)) * MS;
    match seed % 5 {
        // It jumps, forward or back, and goes on from there.
        0 | 1 => {
            for _ in 0..=chance.below(4) {
                let from = usize::try_from(chance.below(count)).unwrap_or(0);
                let by = jump(chance);
                for frame in capture.frames.iter_mut().skip(from) {
                    let at = frame.at;
                    frame.at = if seed.is_multiple_of(5) { at + by } else { at.saturating_sub(by) };
                }
            }
        }
        // Single packets are anywhere.
        2 => {
            for _ in 0..20 {
                let one = usize::try_from(chance.below(count)).unwrap_or(0);
                let by = jump(chance);
                if let Some(frame) = capture.frames.get_mut(one) {
                    frame.at = if chance.happens(0.5) { frame.at + by } else { frame.at - by };
                }
            }
        }
        // It stands still.
        3 => {
            let at = capture.frames.first().map_or(0, |frame| frame.at);
            capture.frames.iter_mut().for_each(|frame| frame.at = at);
        }
        // Everything is shuffled, times too.
        _ => {
            for n in (1..capture.frames.len()).rev() {
                let other = usize::try_from(chance.below(n as u64 + 1)).unwrap_or(0);
                capture.frames.swap(n, other);
            }
        }
    }
}
