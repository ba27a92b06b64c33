//! Pauses at random: what was sent while a call was paused is nowhere (R70).

use super::{
    Bench, Found, Row,
    blocks::{Block, Calls},
    net::{Sender, apart},
    subject::{Subject, below, until, with_extension},
};
use crate::{
    generator::{
        chance::Chance,
        law::{Codec, Law, Side},
    },
    wire::{Frame, RtpHead},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The row.
pub(super) const ROWS: [Row; 1] = [Row {
    id: "R70",
    fault: "calls paused and resumed at random, with digits and listeners",
    promised: "no paused frame or digit in tapes, unfinished tapes, packets, live audio or events",
    run: |bench| apart(|| storm(bench)),
}];

/// Headers before the payload of RTP: Ethernet, IPv4, UDP, RTP.
const HEADERS: usize = 14 + 20 + 8 + 12;

/// Everything that is written down while it happens.
#[derive(Default)]
struct Journal {
    /// When each block was put on the cable.
    sent: Vec<(Block, Instant)>,
    /// From the answer to a pause until the request to go on, by call.
    paused: Vec<(u32, Instant, Instant)>,
    /// Keys pressed while paused, and while not.
    keys: [u64; 2],
}

fn storm(bench: &Bench) -> Result<Found, String> {
    let home = bench.folder("R70");
    let wanted = bench.times(50, 1_000);
    let calls = Calls::of(
        &home,
        u32::try_from(bench.times(10, 40)).unwrap_or(10),
        bench.times(12, 60) as f64,
    )?;
    let sets = ["tapes.packets=always"];
    let mut subject = Subject::on_cable(bench, &home, &sets)?;
    let journal = Mutex::new(Journal::default());
    let over = AtomicBool::new(false);
    let frames = calls.frames();
    let law = Law::new(Codec::Pcmu);
    let (live, events) = thread::scope(|scope| -> Result<_, String> {
        let sending = scope.spawn(|| -> Result<(), String> {
            let mut sender = Sender::open()?;
            let (begin, first) = (Instant::now(), frames.first().map_or(0, |(at, _)| *at));
            for (at, frame) in &frames {
                let due = begin + Duration::from_nanos(at - first);
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let now = Instant::now();
                sender.send(frame)?;
                let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
                journal.sent.extend(blocks_of(&law, frame).into_iter().map(|block| (block, now)));
            }
            Ok(())
        });
        until("the calls are recorded", || {
            Ok(subject.status()?.get("calls").and_then(|c| c.as_array()).map_or(0, Vec::len)
                == calls.truth.calls.len())
        })?;
        let mut listeners = Vec::new();
        for call in &calls.truth.calls {
            let target = format!("/?type=stream&stereo=true&nativecallid={}", call.call_id);
            listeners.push(listen(subject.address("live=")?, &target)?);
        }
        let events = listen(subject.address("events=")?, "/?type=streamevents")?;
        let listeners: Vec<_> =
            listeners.into_iter().map(|one| scope.spawn(|| hear(one, &over))).collect();
        let events = scope.spawn(|| hear(events, &over));
        let copying = scope.spawn(|| copies(&subject.tapes(), &home.join("copies"), &over));
        let commands = command(&subject, &calls, wanted, &journal, &over);
        let sent = sending.join().map_err(|_| "the sender panicked".to_owned());
        let finished = subject.finished(calls.truth.calls.len());
        thread::sleep(Duration::from_millis(500));
        over.store(true, Ordering::Relaxed);
        let live: Vec<_> = listeners.into_iter().filter_map(|one| one.join().ok()).collect();
        let events = events.join().map_err(|_| "a listener panicked".to_owned())?;
        copying.join().map_err(|_| "the copier panicked".to_owned())?;
        commands?;
        sent??;
        finished?;
        Ok((live, events))
    })?;
    subject.stop()?;
    let journal = journal.into_inner().unwrap_or_else(PoisonError::into_inner);
    let paused = paused(&journal);
    let (tapes, _) = calls.found(&subject.tapes())?;
    let mut places: BTreeMap<&str, BTreeSet<Block>> = BTreeMap::new();
    places.insert("tapes", tapes.clone());
    let heard = live.iter().flat_map(|bytes| samples(&law, bytes)).collect();
    places.insert("live audio", heard);
    let scan = |paths: Vec<PathBuf>, of: &dyn Fn(&[u8]) -> Vec<Block>| -> BTreeSet<Block> {
        paths
            .into_iter()
            .filter_map(|path| fs::read(path).ok())
            .flat_map(|bytes| of(&bytes))
            .collect()
    };
    let packets = with_extension(&subject.tapes(), "pcapng");
    places.insert("packets", scan(packets, &|bytes| packed(&law, bytes)));
    let copied = below(&home.join("copies"));
    let unfinished = copied.len();
    places.insert("unfinished tapes", scan(copied, &|bytes| samples(&law, bytes)));
    let mut wrong: Vec<String> = Vec::new();
    let mut seen = Vec::new();
    for (place, blocks) in &places {
        let bad = blocks.intersection(&paused).count();
        if bad > 0 || blocks.is_empty() {
            wrong.push(format!("{place}: {bad} paused blocks of {}", blocks.len()));
        }
        seen.push(format!("{place} {}", blocks.len()));
    }
    let text = String::from_utf8_lossy(&events).into_owned();
    let told = |key: &str| {
        let pressed = format!("tagtext={key}&");
        text.lines().filter(|l| l.contains("tagtype=dtmfdigit") && l.contains(&pressed)).count()
    };
    let sidecars: String = with_extension(&subject.tapes(), "json")
        .into_iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect();
    let paused_keys = told("5") + sidecars.matches("\"digit\":\"5\"").count();
    let [during, between] = journal.keys;
    if paused_keys > 0 || told("7") == 0 || during == 0 {
        wrong.push(format!(
            "{paused_keys} of {during} keys pressed while paused were told, {} of {between} others",
            told("7")
        ));
    }
    let missing = calls.said().difference(&tapes).count();
    let figure = format!(
        "{} pauses, {} blocks of 10 ms sent during them: 0 were expected and {} found (blocks in {}, {unfinished} \
         copies of unfinished tapes); {during} keys while paused, {paused_keys} told; {missing} blocks kept away in all",
        journal.paused.len(),
        paused.len(),
        if wrong.is_empty() { "0".to_owned() } else { wrong.join("; ") },
        seen.join(", ")
    );
    let kept = wrong.is_empty() && journal.paused.len() as u64 >= wanted && !paused.is_empty();
    Ok(Found::when(kept, journal.paused.len() as u64, figure))
}

/// Blocks that were sent wholly within a pause.
fn paused(journal: &Journal) -> BTreeSet<Block> {
    let within = |(block, at): &(Block, Instant)| {
        let mut pauses = journal.paused.iter().filter(|(call, ..)| *call == block.0);
        pauses.any(|(_, from, until)| at > from && at < until).then_some(*block)
    };
    journal.sent.iter().filter_map(within).collect()
}

/// Pauses calls, and lets them go on, until it was done so often or all is over.
fn command(
    subject: &Subject,
    calls: &Calls,
    wanted: u64,
    journal: &Mutex<Journal>,
    over: &AtomicBool,
) -> Result<(), String> {
    let mut chance = Chance::new(70, 0);
    let mut sender = Sender::open()?;
    let mut since: BTreeMap<u32, Instant> = BTreeMap::new();
    let mut done = 0;
    let seconds = Duration::from_secs_f64(calls.spec.seconds - 2.5);
    let begin = Instant::now();
    let pause = seconds / u32::try_from(2 * wanted + 20).unwrap_or(u32::MAX);
    while begin.elapsed() < seconds && !over.load(Ordering::Relaxed) {
        let number = u32::try_from(chance.below(calls.truth.calls.len() as u64)).unwrap_or(0);
        let Some(call) = calls.truth.calls.get(number as usize) else { continue };
        let say = |verb: &str| -> Result<bool, String> {
            let (head, _) = subject.ask(&format!("/?type={verb}&nativecallid={}", call.call_id))?;
            Ok(head.contains("X-Matched: 1"))
        };
        let paused = since.contains_key(&number);
        let key = if paused { 5 } else { 7 };
        press(&mut sender, call, key, done + 1)?;
        let mut keys = journal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = keys.keys.get_mut(usize::from(!paused)) {
            *count += 1;
        }
        drop(keys);
        // So that a key is over before the call goes on.
        thread::sleep(pause.max(Duration::from_millis(15)));
        let asked = Instant::now();
        if let Some(from) = since.remove(&number) {
            if say("record")? {
                done += 1;
                let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
                journal.paused.push((number, from, asked));
            }
        } else if say("pause")? {
            since.insert(number, Instant::now());
        }
    }
    // Whoever is still paused stays so to the end.
    let end = Instant::now() + Duration::from_secs(60);
    let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
    journal.paused.extend(since.into_iter().map(|(call, from)| (call, from, end)));
    Ok(())
}

/// A key of the caller: an event of 80 ms in one packet, sent three times as its end.
fn press(
    sender: &mut Sender,
    call: &crate::generator::truth::CallTruth,
    key: u8,
    number: u64,
) -> Result<(), String> {
    let [.., low] = number.to_be_bytes();
    let stream = &call.from_caller;
    let head = RtpHead {
        marker: true,
        payload_type: 101,
        sequence: u16::from(low).wrapping_mul(3),
        timestamp: u32::try_from(number % 100_000).unwrap_or(0) * 8_000,
        ssrc: stream.ssrc ^ 0x00ff_00ff,
    };
    for again in 0..3 {
        let head =
            RtpHead { marker: again == 0, sequence: head.sequence.wrapping_add(again), ..head };
        let payload = [&head.bytes()[..], &[key, 0x8a, 0x02, 0x80]].concat();
        sender.send(Frame::udp(&[], stream.src, stream.dst, &payload).bytes())?;
    }
    Ok(())
}

fn listen(door: std::net::SocketAddr, target: &str) -> Result<TcpStream, String> {
    let ask = || -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(door)?;
        stream.set_read_timeout(Some(Duration::from_millis(100)))?;
        write!(stream, "GET {target} HTTP/1.0\r\n\r\n")?;
        Ok(stream)
    };
    ask().map_err(|error| format!("{target}: {error}"))
}

/// All that comes until it is over.
fn hear(mut stream: TcpStream, over: &AtomicBool) -> Vec<u8> {
    let (mut all, mut piece) = (Vec::new(), [0; 16_384]);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return all,
            Ok(length) => all.extend_from_slice(piece.get(..length).unwrap_or_default()),
            Err(_) if over.load(Ordering::Relaxed) => return all,
            Err(_) => {}
        }
    }
}

/// Copies what is not finished yet, again and again.
fn copies(from: &Path, to: &Path, over: &AtomicBool) {
    drop(fs::create_dir_all(to));
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        for path in with_extension(from, "part") {
            // It may be finished by now.
            drop(fs::copy(&path, to.join(number.to_string())));
            number += 1;
        }
        thread::sleep(Duration::from_secs(1));
    }
}

/// Blocks in the payload of an Ethernet frame.
fn blocks_of(law: &Law, frame: &[u8]) -> Vec<Block> {
    if frame.get(HEADERS - 12) != Some(&0x80) {
        return Vec::new();
    }
    coded(law, frame.get(HEADERS..).unwrap_or_default())
}

fn coded(law: &Law, codes: &[u8]) -> Vec<Block> {
    let decoded: Vec<i16> = codes.iter().map(|code| Codec::Pcmu.decode(*code)).collect();
    marks(law, &decoded)
}

fn marks(law: &Law, samples: &[i16]) -> Vec<Block> {
    let block =
        |mark: crate::generator::law::Mark| (mark.call, mark.side == Side::Caller, mark.block);
    law.marks(samples).into_iter().map(|(_, mark)| block(mark)).collect()
}

/// Blocks in 16-bit stereo samples, wherever they begin in these bytes: behind any header.
fn samples(law: &Law, bytes: &[u8]) -> Vec<Block> {
    let mut found = Vec::new();
    for skip in 0..4 {
        let words = bytes.get(skip..).unwrap_or_default().chunks_exact(4);
        let first = |four: &[u8]| four.first_chunk().map_or(0, |two| i16::from_le_bytes(*two));
        let channel = words.map(first).collect::<Vec<_>>();
        found.extend(marks(law, &channel));
    }
    found
}

/// Blocks in the packets of a pcapng file, wherever they are in it.
fn packed(law: &Law, bytes: &[u8]) -> Vec<Block> {
    coded(law, bytes)
}
