//! Clients that read slowly, never, or are too many (R30 to R34).

use super::{
    Bench, Found, Row,
    blocks::Calls,
    net::{Sender, apart},
    scarce,
    subject::{Subject, ask, until},
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// The rows.
pub(super) const ROWS: [Row; 5] = [
    Row {
        id: "R30",
        fault: "100 clients of live audio that read one byte a second, or nothing",
        promised: "the same recordings as without them; bounded memory",
        run: |bench| apart(|| listeners(bench)),
    },
    Row {
        id: "R31",
        fault: "100 clients of the event stream that never read",
        promised: "bounded memory; they lose their own oldest lines, counted; every recording whole",
        run: |bench| apart(|| deaf(bench)),
    },
    Row {
        id: "R32",
        fault: "thousands of connections: idle, a byte at a time, half a request, no line end",
        promised: "a client who asks properly is answered within 100 ms (p99)",
        run: |bench| apart(|| slow(bench)),
    },
    Row {
        id: "R33",
        fault: "256 open files for the whole recorder, calls and clients by the hundred",
        promised: "recordings first, clients are refused, no spinning, and all is well again after",
        run: |bench| apart(|| scarce::files(bench)),
    },
    Row {
        id: "R34",
        fault: "a limit of threads, from the first one on",
        promised: "a clear error or a working recorder; no crash",
        run: scarce::threads,
    },
];

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// What 100 listeners that stall cost: the blocks that differ, and memory.
fn listeners(bench: &Bench) -> Result<Found, String> {
    const LISTENERS: usize = 100;
    let home = bench.folder("R30");
    let calls = Calls::of(&home, 20, if bench.times(0, 1) == 0 { 8.0 } else { 60.0 })?;
    let said = calls.said();
    let mut took = Vec::new();
    let mut counts = Vec::new();
    for stalled in [0, LISTENERS] {
        let home = bench.folder(&format!("R30/{stalled}"));
        let mut subject = Subject::on_cable(bench, &home, &[])?;
        let door = subject.address("live=")?;
        let over = AtomicBool::new(false);
        let held = thread::scope(|scope| -> Result<usize, String> {
            let sending = scope.spawn(|| Sender::open()?.play(&calls.frames(), || true));
            until("the calls are listed", || {
                Ok(ask(door, "/calls")?.1.matches("orkuid").count() == calls.truth.calls.len())
            })?;
            let mut streams = Vec::new();
            for (n, call) in calls.truth.calls.iter().cycle().take(stalled).enumerate() {
                let mut stream = TcpStream::connect(door).map_err(|e| e.to_string())?;
                let target = format!("/?type=stream&stereo=true&nativecallid={}", call.call_id);
                write!(stream, "GET {target} HTTP/1.0\r\n\r\n").map_err(|e| e.to_string())?;
                stream.set_nonblocking(true).map_err(|e| e.to_string())?;
                streams.push((n, stream));
            }
            if stalled > 0 {
                until("they listen", || Ok(subject.number("live.listening")? == count(stalled)))?;
            }
            let held = streams.len();
            let reader = scope.spawn(|| {
                let mut streams = streams;
                while !over.load(Ordering::Relaxed) {
                    for (_, stream) in streams.iter_mut().filter(|(n, _)| n % 2 == 0) {
                        // One byte, if there is one.
                        drop(stream.read(&mut [0]));
                    }
                    thread::sleep(Duration::from_secs(1));
                }
            });
            let sent = sending.join().map_err(|_| "the sender panicked".to_owned());
            let finished = subject.finished(calls.truth.calls.len());
            over.store(true, Ordering::Relaxed);
            reader.join().map_err(|_| "the reader panicked".to_owned())?;
            sent??;
            finished?;
            Ok(held)
        })?;
        took.push(subject.memory("VmHWM"));
        subject.stop()?;
        let (found, foreign) = calls.found(&subject.tapes())?;
        counts.push((found, foreign, held));
    }
    let [(alone, _, _), (with, foreign, held)] = counts.as_slice() else {
        return Err("two runs were wanted".to_owned());
    };
    let differ = alone.symmetric_difference(with).count();
    let [before, after] = took.as_slice() else { return Err("two runs were wanted".to_owned()) };
    // Two seconds of stereo samples and the kernel's buffers of each, generously.
    let bound = before + LISTENERS as u64 * 1_024;
    let kept = differ == 0 && *foreign == 0 && with.len() == said.len() && after < &bound;
    let figure = format!(
        "{held} clients; {differ} of {} blocks of 10 ms differ; peak memory {} MiB, {} MiB with them",
        said.len(),
        before / 1_024,
        after / 1_024
    );
    Ok(Found::when(kept, *held as u64, figure))
}

/// Event clients that never read, and many events: holds of calls.
fn deaf(bench: &Bench) -> Result<Found, String> {
    const CLIENTS: usize = 100;
    let home = bench.folder("R31");
    let wanted = bench.times(60_000, 1_000_000);
    let calls = Calls::of(&home, 20, 4.0)?;
    let storm = holds(wanted)?;
    let mut subject = Subject::on_cable(bench, &home, &["calls.rtp_timeout_s=600"])?;
    let door = subject.address("events=")?;
    let ask_for = || -> Result<TcpStream, String> {
        let mut stream = TcpStream::connect(door).map_err(|error| error.to_string())?;
        write!(stream, "GET /command?type=streamevents HTTP/1.0\r\n\r\n")
            .map_err(|error| error.to_string())?;
        Ok(stream)
    };
    let clients = (0..CLIENTS).map(|_| ask_for()).collect::<Result<Vec<_>, _>>()?;
    let door_says = |subject: &Subject, name: &str| -> Result<u64, String> {
        let status = subject.status()?;
        Ok(status.pointer(&format!("/http/{name}")).and_then(|n| n.as_u64()).unwrap_or(0))
    };
    until("they are served", || Ok(door_says(&subject, "events_sessions")? == count(CLIENTS)))?;
    let before = subject.memory("VmRSS");
    let mut sender = Sender::open()?;
    let mut peak = before;
    for (n, frame) in storm.iter().enumerate() {
        sender.send(frame)?;
        if n % 200 == 0 {
            // As quick as it takes them in, and not quicker: this is about clients.
            thread::sleep(Duration::from_millis(10));
            peak = peak.max(subject.memory("VmRSS"));
        }
    }
    until("all is told", || Ok(door_says(&subject, "events_published")? >= wanted))?;
    sender.play(&calls.frames(), || true)?;
    until("the calls are over", || {
        Ok(subject.number("tape.finished")? >= count(calls.truth.calls.len()))
    })?;
    peak = peak.max(subject.memory("VmRSS"));
    // What somebody did not take is counted when he takes something again, or is gone.
    drop(clients);
    until("they are gone", || Ok(door_says(&subject, "events_sessions")? == 0))?;
    let (published, dropped) =
        (door_says(&subject, "events_published")?, door_says(&subject, "events_dropped")?);
    subject.stop()?;
    let (found, foreign) = calls.found(&subject.tapes())?;
    let missing = calls.said().difference(&found).count();
    let grown = peak.saturating_sub(before);
    let kept = missing == 0
        && foreign == 0
        && published >= wanted
        && dropped > 0
        // The journal, and 64 KiB of the kernel's for each.
        && grown < (64 << 10);
    let figure = format!(
        "{published} events, {dropped} of them dropped for {CLIENTS} clients; memory +{} MiB; {missing} \
         blocks of the next calls missing",
        grown / 1_024
    );
    Ok(Found::when(kept, published, figure))
}

/// Calls that are put on hold and taken off so often that this many events come of it.
fn holds(events: u64) -> Result<Vec<Vec<u8>>, String> {
    const EACH: u64 = 250;
    let mut frames = Vec::new();
    for call in 0..events.div_ceil(2 * EACH) {
        let host = |side: u64| format!("10.{}.{}.{}", 100 + side, call / 250, 1 + call % 250);
        let mut text = format!(
            "a = {}@{}; b = {}@{}; a->b INVITE; b->a 200; a->b ACK; rtp 40ms;",
            5_000 + call,
            host(0),
            50_000 + call,
            host(1)
        );
        for _ in 0..EACH {
            text.push_str(
                "a->b INVITE sendonly; b->a 200; a->b ACK; a->b INVITE; b->a 200; a->b ACK;",
            );
        }
        frames.extend(crate::scenario::play(&text)?.frames.into_iter().map(|(_, frame)| frame));
    }
    Ok(frames)
}

/// Slow connections by the thousand, and one client who asks properly all the while.
fn slow(bench: &Bench) -> Result<Found, String> {
    let home = bench.folder("R32");
    let many = usize::try_from(bench.times(2_000, 10_000)).map_err(|error| error.to_string())?;
    scarce::raise_files(u64::try_from(many).unwrap_or(0) + 1_000)?;
    let mut subject = Subject::on_cable(bench, &home, &[])?;
    let calls = Calls::of(&home, 5, 5.0)?;
    let doors = ["command=", "events=", "live="];
    let doors =
        doors.map(|word| subject.address(word)).into_iter().collect::<Result<Vec<_>, _>>()?;
    let command = *doors.first().ok_or("no door")?;
    let before = subject.memory("VmRSS");
    let over = AtomicBool::new(false);
    let (mut waits, mut refused) = (Vec::new(), 0_u64);
    thread::scope(|scope| -> Result<(), String> {
        let besieging = thread::Builder::new().spawn_scoped(scope, || besiege(&doors, many, &over));
        let besieging = besieging.map_err(|error| error.to_string())?;
        let sending = scope.spawn(|| Sender::open()?.play(&calls.frames(), || true));
        // Until the siege has lasted.
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(bench.times(8, 30)) {
            let asked = Instant::now();
            match ask(command, "/command?type=ping") {
                Ok((_, body)) if body.contains("true") => waits.push(asked.elapsed()),
                Ok(_) | Err(_) => refused += 1,
            }
            thread::sleep(Duration::from_millis(10));
        }
        over.store(true, Ordering::Relaxed);
        besieging.join().map_err(|_| "the besieger panicked".to_owned())?;
        sending.join().map_err(|_| "the sender panicked".to_owned())?
    })?;
    let after = subject.memory("VmRSS");
    subject.finished(calls.truth.calls.len())?;
    subject.stop()?;
    let (found, _) = calls.found(&subject.tapes())?;
    let missing = calls.said().difference(&found).count();
    waits.sort_unstable();
    let p99 = waits.get(waits.len() * 99 / 100).copied().unwrap_or(Duration::MAX);
    let kept = refused == 0
        && p99 < Duration::from_millis(100)
        && missing == 0
        && after < before + (64 << 10);
    let figure = format!(
        "{many} connections; {} answers, p99 {:.1} ms, longest {:.1} ms, {refused} refused; memory +{} MiB; \
         {missing} blocks of calls missing",
        waits.len(),
        p99.as_secs_f64() * 1e3,
        waits.last().copied().unwrap_or_default().as_secs_f64() * 1e3,
        after.saturating_sub(before) / 1_024
    );
    Ok(Found::when(kept, many as u64, figure))
}

/// Holds so many connections open, each bad in its way, and replaces those that are closed.
fn besiege(doors: &[SocketAddr], many: usize, over: &AtomicBool) {
    let words: [&[u8]; 4] =
        [b"", b"GET /command?type=pi", b"GET /", b"POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\n"];
    let mut held: Vec<TcpStream> = Vec::new();
    let mut next = 0;
    let open = |n: usize| -> Option<TcpStream> {
        let mut stream = TcpStream::connect(doors.get(n % doors.len())?).ok()?;
        stream.write_all(words.get(n / doors.len() % words.len())?).ok()?;
        stream.set_nonblocking(true).ok()?;
        Some(stream)
    };
    while !over.load(Ordering::Relaxed) {
        while held.len() < many && !over.load(Ordering::Relaxed) {
            // A closed door is an answer too.
            held.extend(open(next));
            next += 1;
        }
        held.retain_mut(|stream| {
            drop(stream.write(b"a"));
            !matches!(stream.read(&mut [0; 512]), Ok(0))
        });
        thread::sleep(Duration::from_millis(200));
    }
}
