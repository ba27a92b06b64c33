//! Interfaces that go and come back, and frames that are longer than expected, or cut (R59).

use super::{
    Bench, Found,
    blocks::{Block, Calls},
    net::{FAR, NEAR, Sender, cable, run},
    subject::{Subject, until},
};
use crate::wire::Frame;
use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

/// The link goes down, and the interface away, in the middle of calls.
pub(super) fn flaps(bench: &Bench) -> Result<Found, String> {
    let (mut words, mut kept, mut runs) = (Vec::new(), true, 0);
    for round in 0..bench.times(1, 10) {
        for removed in [false, true] {
            let home = bench.folder(&format!("R59/{round}-{removed}"));
            let (gap, told, foreign) = flap(bench, &home, removed)?;
            kept &= gap <= Duration::from_secs(5) && told && foreign == 0;
            runs += 1;
            let what = if removed { "removed and made again" } else { "down and up" };
            words.push(format!("{what}: captured again {:.1} s after", gap.as_secs_f64()));
        }
    }
    let home = bench.folder("R59/long");
    let (long, cut) = (long(bench, &home)?, short(bench)?);
    kept &= long && cut.0;
    words.push(format!("a frame of 8,900 bytes is {}", if long { "read" } else { "lost" }));
    words.push(cut.1);
    words.sort();
    words.dedup();
    Ok(Found::when(kept, runs + 2, words.join("; ")))
}

/// How long after the link was back the first packet was captured; whether both were told; foreign blocks.
fn flap(
    bench: &Bench,
    home: &std::path::Path,
    removed: bool,
) -> Result<(Duration, bool, u64), String> {
    let calls = Calls::of(home, 5, 8.0)?;
    let frames = calls.frames();
    let first = frames.first().map_or(0, |(at, _)| *at);
    let mut subject = Subject::on_cable(bench, home, &[])?;
    let begin = Instant::now();
    let back = AtomicU64::new(0);
    thread::scope(|scope| -> Result<(), String> {
        let flapping = scope.spawn(|| -> Result<(), String> {
            thread::sleep(Duration::from_secs(2));
            if removed {
                run("ip", &["link", "del", NEAR])?;
                thread::sleep(Duration::from_secs(1));
                cable()?;
            } else {
                run("ip", &["link", "set", FAR, "down"])?;
                thread::sleep(Duration::from_secs(1));
                run("ip", &["link", "set", FAR, "up"])?;
            }
            let after = begin.elapsed().as_millis();
            back.store(u64::try_from(after).unwrap_or(u64::MAX), Ordering::Relaxed);
            Ok(())
        });
        let mut sender = Sender::open()?;
        for (at, frame) in &frames {
            let due = begin + Duration::from_nanos(at - first);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if sender.send(frame).is_err() {
                // Nobody hears it; perhaps the cable is a new one.
                if let Ok(anew) = Sender::open() {
                    sender = anew;
                }
            }
        }
        flapping.join().map_err(|_| "the row panicked".to_owned())?
    })?;
    subject.finished(calls.truth.calls.len())?;
    let log = subject.log();
    subject.stop()?;
    let (found, foreign) = calls.found(&subject.tapes())?;
    let back = back.load(Ordering::Relaxed);
    let gap = calls.truth.calls.iter().filter_map(|call| {
        let start = (call.from_caller.first_ns - first) / 1_000_000;
        let heard = |n: &u32| found.contains(&(call.number, true, *n));
        let blocks = calls.truth.frames * 2;
        let after = u32::try_from(back.saturating_sub(start) / 10).unwrap_or(0);
        let again = (after..blocks).find(heard)?;
        Some(Duration::from_millis((start + u64::from(again) * 10).saturating_sub(back)))
    });
    let gap = gap.max().unwrap_or(Duration::MAX);
    Ok((gap, log.contains("interface lost") && log.contains("interface is back"), foreign))
}

/// A call whose INVITE is a jumbo frame.
fn long(bench: &Bench, home: &std::path::Path) -> Result<bool, String> {
    let calls = Calls::of(home, 1, 1.0)?;
    let frames = calls.frames().into_iter().map(|(at, bytes)| {
        let payload = bytes.get(42..).unwrap_or_default();
        let Some(head) = payload.strip_prefix(b"INVITE ") else { return (at, bytes) };
        let end = head.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let (line, rest) = head.split_at(end);
        let filler =
            format!("X-Long: {}\r\n", "x".repeat(8_900_usize.saturating_sub(bytes.len() + 10)));
        let text = [b"INVITE ", line, filler.as_bytes(), rest].concat();
        let call = calls.truth.calls.first();
        let ip = |media: Option<std::net::SocketAddr>| media.map(|media| (media.ip(), 5060).into());
        let ends =
            call.map(|call| (ip(Some(call.from_caller.src)), ip(Some(call.from_caller.dst))));
        match ends {
            Some((Some(from), Some(to))) => (at, Frame::udp(&[], from, to, &text).into_bytes()),
            _ => (at, bytes),
        }
    });
    let frames: Vec<_> = frames.collect();
    if !frames.iter().any(|(_, frame)| frame.len() > 8_000) {
        return Err("no long frame was made".to_owned());
    }
    let mut subject = Subject::on_cable(bench, home, &[])?;
    Sender::open()?.play(&frames, || true)?;
    let tapes = subject.finished(1)?;
    subject.stop()?;
    let (found, _) = calls.found(&subject.tapes())?;
    let whole: BTreeSet<Block> = calls.said();
    Ok(found == whole && tapes.iter().all(|tape| !tape.localparty.is_empty()))
}

/// Frames cut in the middle of their audio, and of the signalling's description.
fn short(bench: &Bench) -> Result<(bool, String), String> {
    let home = bench.folder("R59/short");
    let calls = Calls::of(&home, 5, 2.0)?;
    let mut subject = Subject::on_cable(bench, &home, &["capture.snaplen=96"])?;
    Sender::open()?.play(&calls.frames(), || true)?;
    let sent = calls.frames().len() as u64;
    until("it has taken all in", || {
        Ok(subject.number("packet.truncated")? + subject.number("capture.kernel_dropped")? >= sent)
    })?;
    let cut = subject.number("packet.truncated")?;
    let clean = subject.stop()? == Some(0);
    let figure =
        format!("a snapshot length of 96: {cut} of {sent} frames counted as cut, no crash");
    Ok((clean && cut == sent, figure))
}
