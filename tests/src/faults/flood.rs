//! Floods: of packets, of flows, of signalling (R52 to R54).

use super::{
    Bench, Found,
    blocks::{Calls, Replayed, replay},
    maker::{MS, Maker},
    net::Sender,
    subject::{Subject, until},
};
use crate::{
    generator::{calls::Spec, chance::Chance},
    sip::Message,
    wire::Frame,
    wrap::{Capture, Captured},
};
use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Seconds of a live flood.
const FLOOD_S: u64 = 3;

/// Small datagrams, each of a flow of its own, at rising rates, next to live calls.
pub(super) fn packets(bench: &Bench) -> Result<Found, String> {
    let rates: &[u64] = match bench.times(0, 1) {
        0 => &[20_000, 100_000, u64::MAX],
        _ => &[20_000, 50_000, 100_000, 150_000, 200_000, 300_000, u64::MAX],
    };
    let (mut best, mut words, mut kept, mut sent) = (0, Vec::new(), true, 0);
    for (n, rate) in rates.iter().enumerate() {
        let one = storm(bench, n, *rate)?;
        if one.missing * 1_000 < one.said {
            best = best.max(one.pps);
        }
        sent += one.sent;
        // What is missing was counted as dropped, memory stayed, and after the flood all was well.
        kept &= one.foreign == 0
            && (one.missing == 0 || one.dropped > 0)
            && one.grown_kib < (96 << 10)
            && one.recovered < Duration::from_secs(5);
        words.push(format!(
            "{} packets/s: {:.2} % of the calls' audio missing, {} dropped by the kernel, memory +{} MiB, well \
             again after {:.1} s",
            one.pps,
            one.missing as f64 * 100.0 / one.said as f64,
            one.dropped,
            one.grown_kib / 1_024,
            one.recovered.as_secs_f64()
        ));
    }
    let home = bench.folder("R52");
    let count = bench.times(300_000, 3_000_000);
    let replayed = replay_of(bench, &home, flows(count, false), None)?;
    kept &= best > 0 && replayed.cost.max_rss_kb < (256 << 10);
    let figure = format!(
        "under 0.1 % up to {best} packets/s; {}; {count} replayed: {} ns of processor a packet, {} MiB",
        words.join("; "),
        nanos(&replayed, count),
        replayed.cost.max_rss_kb / 1_024
    );
    Ok(Found::when(kept, sent + count, figure))
}

/// What one rate did.
struct Storm {
    pps: u64,
    sent: u64,
    said: usize,
    missing: usize,
    foreign: u64,
    dropped: u64,
    grown_kib: u64,
    recovered: Duration,
}

fn storm(bench: &Bench, number: usize, rate: u64) -> Result<Storm, String> {
    let home = bench.folder(&format!("R52/{number}"));
    let calls = Calls::of(&home, 20, 7.0)?;
    let frames = calls.frames();
    let begin = frames.first().map_or(0, |(at, _)| *at);
    let mut subject = Subject::on_cable(bench, &home, &[])?;
    let before = subject.memory("VmRSS");
    let over = AtomicBool::new(false);
    let (sent, seconds, ended) = thread::scope(|scope| {
        let flooding = scope.spawn(|| {
            thread::sleep(Duration::from_millis(2_500));
            flood(rate, Duration::from_secs(FLOOD_S), &over)
        });
        let from = Instant::now();
        let played = Sender::open()?.play(&frames, || true);
        over.store(true, Ordering::Relaxed);
        let (sent, began, until) =
            flooding.join().map_err(|_| "the flood panicked".to_owned())??;
        played?;
        let seconds = until.duration_since(began).as_secs_f64();
        Ok::<_, String>((sent, seconds, until.duration_since(from)))
    })?;
    subject.finished(calls.truth.calls.len())?;
    let (dropped, grown_kib) =
        (subject.number("capture.kernel_dropped")?, subject.memory("VmHWM").saturating_sub(before));
    subject.stop()?;
    let (found, foreign) = calls.found(&subject.tapes())?;
    let said = calls.said();
    let missing: Vec<_> = said.difference(&found).collect();
    let when = |call: u32, caller: bool, block: u32| {
        let call = calls.truth.calls.get(call as usize)?;
        let stream = if caller { &call.from_caller } else { &call.from_callee };
        Some(Duration::from_nanos(stream.first_ns - begin + u64::from(block) * 10 * MS))
    };
    let last =
        missing.iter().filter_map(|(call, caller, block)| when(*call, *caller, *block)).max();
    Ok(Storm {
        pps: whole(sent as f64 / seconds),
        sent,
        said: said.len(),
        missing: missing.len(),
        foreign,
        dropped,
        grown_kib,
        recovered: last.unwrap_or_default().saturating_sub(ended),
    })
}

/// Sends datagrams for a while; how many, from when until when.
fn flood(
    rate: u64,
    lasting: Duration,
    over: &AtomicBool,
) -> Result<(u64, Instant, Instant), String> {
    let mut sender = Sender::open()?;
    let mut frame = stranger(0, &[0; 18]).into_bytes();
    let (began, mut sent) = (Instant::now(), 0_u64);
    while began.elapsed() < lasting && !over.load(Ordering::Relaxed) {
        for _ in 0..64 {
            sent += 1;
            readdress(&mut frame, sent);
            sender.send(&frame)?;
        }
        if rate < u64::MAX {
            let due = began + Duration::from_nanos(sent * 1_000_000_000 / rate);
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
    Ok((sent, began, Instant::now()))
}

/// A datagram between two strangers.
fn stranger(number: u64, payload: &[u8]) -> Frame {
    let from = SocketAddr::from(([172, 20, 0, 1], 1_024));
    let to = SocketAddr::from(([172, 30, 0, 1], 1_024));
    let mut bytes = Frame::udp(&[], from, to, payload);
    bytes.seal(u16::try_from(number % 65_536).unwrap_or(0));
    bytes
}

/// Gives an Ethernet frame another flow: bytes of both addresses and both ports.
fn readdress(frame: &mut [u8], number: u64) {
    let chance = Chance::new(number, 52).bits().to_be_bytes();
    for (place, byte) in [27, 28, 29, 31, 32, 33].into_iter().zip(chance) {
        if let Some(old) = frame.get_mut(place) {
            *old = byte;
        }
    }
    let [.., a, b, c, d] = number.to_be_bytes();
    for (place, byte) in [34, 35, 36, 37].into_iter().zip([a | 0x40, b, c | 0x40, d & 0xfe]) {
        if let Some(old) = frame.get_mut(place) {
            *old = byte;
        }
    }
}

/// So many flows of one packet each, 100 µs apart; RTP, or nothing anybody knows.
fn flows(count: u64, rtp: bool) -> impl Iterator<Item = Vec<u8>> {
    let mut payload = vec![0_u8; if rtp { 172 } else { 18 }];
    if rtp && let Some(first) = payload.first_mut() {
        *first = 0x80;
    }
    let mut frame = stranger(0, &payload).into_bytes();
    (1..=count).map(move |number| {
        readdress(&mut frame, number);
        let sequence = number.to_be_bytes();
        if rtp {
            for (place, byte) in (44..54).zip([sequence, sequence].concat()) {
                if let Some(old) = frame.get_mut(place) {
                    *old = byte;
                }
            }
        }
        frame.clone()
    })
}

/// Replays a flood that begins 100 ms into the calls, if there are any, and ends with them.
fn replay_of(
    bench: &Bench,
    home: &std::path::Path,
    flood: impl Iterator<Item = Vec<u8>>,
    calls: Option<&Calls>,
) -> Result<Replayed, String> {
    replay_with(bench, home, flood, calls, &[])
}

fn replay_with(
    bench: &Bench,
    home: &std::path::Path,
    flood: impl Iterator<Item = Vec<u8>>,
    calls: Option<&Calls>,
    more: &[&str],
) -> Result<Replayed, String> {
    let first =
        calls.and_then(|calls| calls.capture.frames.first()).map_or(super::maker::START, |f| f.at);
    let step = 100_000;
    let flood = (0_u64..).zip(flood).map(|(n, bytes)| Captured {
        at: first + 100 * MS + n * step,
        wire_len: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        bytes,
    });
    let mut frames: Vec<Captured> = flood.collect();
    frames.extend(calls.iter().flat_map(|calls| calls.capture.frames.iter().cloned()));
    frames.sort_by_key(|frame| frame.at);
    let capture = Capture { link: orkbase::packet::LinkType::Ethernet, frames };
    let path = home.join("flood.pcap");
    capture.write(&path).map_err(|error| error.to_string())?;
    replay(bench, &path, home.join("out"), more)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a figure")]
const fn whole(figure: f64) -> u64 {
    figure as u64
}

fn nanos(replayed: &Replayed, packets: u64) -> u64 {
    whole(replayed.cost.cpu_s() * 1e9 / packets as f64)
}

/// Calls whose audio lasts as long as a flood of so many packets, 100 µs apart.
fn beside(home: &std::path::Path, packets: u64) -> Result<Calls, String> {
    let seconds = packets as f64 / 10_000.0;
    Calls::make(
        home,
        Spec { calls: 10, seconds: seconds.clamp(2.0, 60.0), stagger: 1.0, ..Spec::default() },
    )
}

/// RTP of strangers, a flow a packet.
pub(super) fn scan(bench: &Bench) -> Result<Found, String> {
    let count = bench.times(50_000, 500_000);
    let (mut kept, mut words) = (true, Vec::new());
    for (name, after) in [("never", 0), ("after 10 packets", 10)] {
        let home = bench.folder("R53");
        let calls = beside(&home, count)?;
        let set = format!("calls.unannounced_after={after}");
        let replayed =
            replay_with(bench, &home, flows(count, true), Some(&calls), &["--set", &set])?;
        let (found, foreign) = calls.found(&replayed.folder)?;
        let missing = calls.said().difference(&found).count();
        kept &= missing == 0
            && foreign == 0
            && replayed.tapes.len() == calls.truth.calls.len()
            && replayed.number("rtp.candidates") >= count
            && replayed.cost.max_rss_kb < (256 << 10);
        words.push(format!(
            "unannounced RTP recorded {name}: {} tapes for {} calls, {missing} blocks missing, {} ns of \
             processor a packet, {} MiB",
            replayed.tapes.len(),
            calls.truth.calls.len(),
            nanos(&replayed, count),
            replayed.cost.max_rss_kb / 1_024
        ));
    }
    Ok(Found::when(kept, 2 * count, format!("{count} flows: {}", words.join("; "))))
}

/// Signalling that leads nowhere, ten thousand messages a second.
pub(super) fn signalling(bench: &Bench) -> Result<Found, String> {
    let count = bench.times(50_000, 600_000);
    let home = bench.folder("R54");
    let calls = beside(&home, count)?;
    let flood = (0..count).map(|n| {
        let maker = Maker::new(1_000_000 + u32::try_from(n).unwrap_or(0));
        let plain = Message { tagged: true, ..super::maker::request("BYE", 9, None) };
        let text = match n % 4 {
            0 | 1 => maker.invite(),
            2 => maker.dialog.text(plain),
            _ => maker.dialog.text(Message { what: Ok("OPTIONS"), method: "OPTIONS", ..plain }),
        };
        maker.message(true, &text)
    });
    let most = 2_000_u64;
    let set = format!("calls.max_calls={most}");
    let replayed = replay_with(bench, &home, flood, Some(&calls), &["--set", &set])?;
    let (found, foreign) = calls.found(&replayed.folder)?;
    let (said, begun) = (calls.said(), replayed.number("call.signalled"));
    let missing = said.difference(&found).count();
    let evicted = replayed.number("call.evicted");
    let kept = missing == 0
        && foreign == 0
        && replayed.tapes.len() == calls.truth.calls.len()
        && evicted + most + 100 >= begun
        && replayed.cost.max_rss_kb < (256 << 10);
    let figure = format!(
        "{count} messages beside {} calls, a table of {most}: {} tapes, {missing} of {} blocks missing, {evicted} \
         calls without media displaced; {} ns of processor a message, {} MiB",
        calls.truth.calls.len(),
        replayed.tapes.len(),
        said.len(),
        nanos(&replayed, count),
        replayed.cost.max_rss_kb / 1_024
    );
    Ok(Found::when(kept, count, figure))
}

/// The same live, as fast as it goes, with the default table.
pub(super) fn signalling_live(bench: &Bench) -> Result<Found, String> {
    let home = bench.folder("R54/live");
    let calls = Calls::of(&home, 20, 6.0)?;
    let mut subject = Subject::on_cable(bench, &home, &["calls.max_calls=2000"])?;
    let before = subject.memory("VmRSS");
    let over = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let flooding = scope.spawn(|| -> Result<u64, String> {
            let mut sender = Sender::open()?;
            let (began, mut sent) = (Instant::now(), 0_u64);
            while !over.load(Ordering::Relaxed) {
                let maker = Maker::new(1_000_000 + u32::try_from(sent % 10_000_000).unwrap_or(0));
                sender.send(&maker.message(true, &maker.invite()))?;
                sent += 1;
                let due = began + Duration::from_micros(sent * 100);
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            Ok(sent)
        });
        let played = Sender::open()?.play(&calls.frames(), || true);
        over.store(true, Ordering::Relaxed);
        let sent = flooding.join().map_err(|_| "the flood panicked".to_owned())?;
        played.and(sent)
    })?;
    subject.finished(calls.truth.calls.len())?;
    until("it has handled all", || {
        let handled = subject.number("call.signalled")? + subject.number("call.refused")?;
        Ok(handled + subject.number("capture.kernel_dropped")? >= sent)
    })?;
    let grown = subject.memory("VmHWM").saturating_sub(before);
    let dropped = subject.number("capture.kernel_dropped")?;
    subject.stop()?;
    let (found, foreign) = calls.found(&subject.tapes())?;
    let (said, missing) = (calls.said().len(), calls.said().difference(&found).count());
    let kept = missing == 0 && foreign == 0 && grown < (96 << 10);
    let figure = format!(
        "live, {sent} INVITEs in 7 s: {missing} of {said} blocks missing, {dropped} dropped by the kernel, memory \
         +{} MiB",
        grown / 1_024
    );
    Ok(Found::when(kept, sent, figure))
}
