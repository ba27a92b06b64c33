//! Calls without end: each of its own length, codec, packet time and network, sent when its packets are due.

use super::rig::{Rig, WIRE};
use crate::generator::{
    calls::{MAX_CALLS, Spec, write},
    chance::Chance,
    law::{Codec, Law, Side},
};
use orkaudio::capture::file::CaptureFile;
use pcap::{Active, Capture};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    io::Cursor,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

/// Headers before the payload of RTP: Ethernet, IPv4, UDP, RTP.
const HEADERS: usize = 14 + 20 + 8 + 12;
/// Not sent.
const NEVER: u64 = u64::MAX;

/// What is shared with those who make trouble.
#[derive(Debug, Default)]
pub(super) struct Wire {
    /// Every frame is sent twice, the copy so many milliseconds later, less one; 0 is once.
    pub(super) span: AtomicU64,
    /// Frames sent, copies and noise included.
    pub(super) frames: AtomicU64,
    /// Frames the kernel would not take.
    pub(super) failed: AtomicU64,
    /// The most milliseconds that a frame was sent behind its time.
    pub(super) worst_lag: AtomicU64,
    /// No call begins any more.
    pub(super) over: AtomicBool,
}

/// A block of audio by its side, true for the caller, and its number.
pub(super) type Block = (bool, u32);

/// A call that was sent.
#[derive(Debug)]
pub(super) struct Sent {
    /// The number in its audio.
    pub(super) number: u32,
    /// Its Call-ID.
    pub(super) call_id: String,
    pub(super) codec: Codec,
    frames: Vec<(u64, Vec<u8>)>,
    /// When each frame was sent, in milliseconds of the run.
    sent: Vec<u64>,
}

impl Sent {
    /// A call as it will be sent; times count from its first packet.
    fn plan(chance: &mut Chance, number: u32, longest: f64) -> Result<Self, String> {
        let some = |chance: &mut Chance, most: f64| f64::from(chance.half()) / 65_536.0 * most;
        let share = some(chance, 1.0);
        let clean = chance.happens(0.7);
        let bad = |chance: &mut Chance, most| if clean { 0.0 } else { some(chance, most) };
        let ptimes = [10, 20, 20, 20, 20, 30];
        let at = usize::try_from(chance.below(6)).unwrap_or(0);
        let spec = Spec {
            calls: 1,
            first: number % MAX_CALLS,
            seconds: 2.0 + (longest - 2.0).max(0.0) * share * share,
            codec: if chance.happens(0.5) { Codec::Pcmu } else { Codec::Pcma },
            ptime: ptimes.get(at).copied().unwrap_or(20),
            stagger: 0.0,
            loss: bad(chance, 0.03),
            reorder: bad(chance, 0.02),
            duplicate: bad(chance, 0.02),
            jitter: bad(chance, 30.0),
            seed: u64::from(number),
            start_time: 1000.0,
            nanoseconds: true,
            ..Spec::default()
        };
        let mut bytes = Vec::new();
        let truth = write(&spec, &mut bytes).map_err(|e| e.to_string())?;
        let reader = Box::new(Cursor::new(bytes));
        let mut file = CaptureFile::from_reader(reader, "a call".to_owned(), None)
            .map_err(|e| e.to_string())?;
        let mut frames: Vec<(u64, Vec<u8>)> = Vec::new();
        while let Some(frame) = file.next_frame().map_err(|e| e.to_string())? {
            frames.push((frame.at.0, frame.bytes.to_vec()));
        }
        let first = frames.first().map_or(0, |(at, _)| *at);
        for (at, _) in &mut frames {
            *at = (*at - first) / 1_000_000;
        }
        let call = truth.calls.first().ok_or("no call")?;
        Ok(Self {
            number: call.number,
            call_id: call.call_id.clone(),
            codec: spec.codec,
            sent: vec![NEVER; frames.len()],
            frames,
        })
    }

    /// When its first packet was sent.
    pub(super) fn begin(&self) -> u64 {
        self.sent.first().copied().unwrap_or(NEVER)
    }

    /// When its last packet was sent.
    pub(super) fn end(&self) -> u64 {
        self.sent.iter().copied().filter(|at| *at != NEVER).max().unwrap_or(0)
    }

    /// Every block of audio that was sent, and when.
    pub(super) fn blocks(&self) -> BTreeMap<Block, u64> {
        let law = Law::new(self.codec);
        let mut blocks = BTreeMap::new();
        for ((_, bytes), sent) in self.frames.iter().zip(&self.sent) {
            let rtp = bytes.get(HEADERS - 12) == Some(&0x80);
            let payload = bytes.get(HEADERS..).filter(|_| rtp && *sent != NEVER);
            let Some(payload) = payload else { continue };
            let samples: Vec<i16> = payload.iter().map(|code| self.codec.decode(*code)).collect();
            for (_, mark) in law.marks(&samples) {
                blocks.entry((mark.side == Side::Caller, mark.block)).or_insert(*sent);
            }
        }
        blocks
    }
}

/// Sends frames onto the wire.
pub(super) struct Sender(Capture<Active>);

impl Sender {
    pub(super) fn open() -> Result<Self, String> {
        let open = Capture::from_device(WIRE).and_then(|device| device.snaplen(64).open());
        let mut open = open.map_err(|e| format!("{WIRE}: {e}"))?;
        // It only sends: nothing of the wire is to be queued for it.
        open.filter("less 1", true).map_err(|e| format!("{WIRE}: {e}"))?;
        Ok(Self(open))
    }

    pub(super) fn send(&mut self, wire: &Wire, frame: &[u8]) -> bool {
        wire.frames.fetch_add(1, Relaxed);
        let sent = self.0.sendpacket(frame).is_ok();
        if !sent {
            wire.failed.fetch_add(1, Relaxed);
        }
        sent
    }
}

/// Plans calls ahead, so that the sender never waits for one.
pub(super) fn plan(
    seed: u64,
    longest: f64,
    ahead: &SyncSender<Sent>,
    wire: &Wire,
) -> Option<String> {
    let mut chance = Chance::new(seed, 1);
    for number in 0.. {
        let mut call = match Sent::plan(&mut chance, number, longest) {
            Ok(call) => call,
            Err(why) => return Some(why),
        };
        loop {
            if wire.over.load(Relaxed) {
                return None;
            }
            match ahead.try_send(call) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return None,
                Err(TrySendError::Full(back)) => call = back,
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    None
}

/// A packet that is due: when, of which call, which one, and whether it is a copy.
type Due = Reverse<(u64, u64, usize, bool)>;

/// Sends calls, about `every` milliseconds one, until no more begin and the last is over. A call that would
/// last beyond `until` is not begun.
pub(super) fn send(
    rig: &Rig,
    wire: &Wire,
    (seed, every, until): (u64, u64, u64),
    planned: &Receiver<Sent>,
    ended: &SyncSender<Sent>,
) -> Result<u64, String> {
    let mut sender = Sender::open()?;
    let mut chance = Chance::new(seed, 2);
    let mut due: BinaryHeap<Due> = BinaryHeap::new();
    let mut calls: BTreeMap<u64, Sent> = BTreeMap::new();
    let (mut next, mut begun) = (rig.now(), 0_u64);
    loop {
        let now = rig.now();
        while next <= now && now < until {
            next += 1 + chance.below(2 * every);
            let Ok(call) = planned.try_recv() else { continue };
            let length = call.frames.last().map_or(0, |(at, _)| *at);
            if now + length < until {
                due.push(Reverse((now, begun, 0, false)));
                calls.insert(begun, call);
                begun += 1;
            }
        }
        if now >= until {
            wire.over.store(true, Relaxed);
            if calls.is_empty() && due.is_empty() {
                return Ok(begun);
            }
        }
        while due.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Some(Reverse((at, number, frame, copy))) = due.pop() else { break };
            let Some(call) = calls.get_mut(&number) else { continue };
            let Some((offset, bytes)) = call.frames.get(frame) else { continue };
            let sent = sender.send(wire, bytes);
            if copy {
                continue;
            }
            wire.worst_lag.fetch_max(now.saturating_sub(at), Relaxed);
            if let Some(slot) = call.sent.get_mut(frame).filter(|_| sent) {
                *slot = now;
            }
            let span = wire.span.load(Relaxed);
            if span > 0 {
                due.push(Reverse((now + span - 1, number, frame, true)));
            }
            if let Some((after, _)) = call.frames.get(frame + 1) {
                // From its own beginning, not from when the last one was sent: lag does not add up.
                due.push(Reverse((at + (after - offset), number, frame + 1, false)));
            } else if let Some(call) = calls.remove(&number) {
                ended.send(call).map_err(|_| "the judge is gone")?;
            }
        }
        let wait = due.peek().map_or(5, |Reverse((at, ..))| at.saturating_sub(rig.now()));
        thread::sleep(Duration::from_millis(wait.clamp(1, 5)));
    }
}

/// A queue of calls planned ahead.
pub(super) fn ahead() -> (SyncSender<Sent>, Receiver<Sent>) {
    sync_channel(16)
}
