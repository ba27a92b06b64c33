//! Calls whose audio is known: how they are sent, and what recordings hold of them.

use super::rig_recorder::{Site, Tracker, Try, while_};
use crate::{
    generator::{
        calls::{Spec, write},
        law::{Codec, Law, Side},
    },
    wrap::{Capture, agents::hep3},
};
use orkbase::message::tape::TapeMessage;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::{SocketAddr, UdpSocket},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// A second, in blocks of 10 ms.
pub(super) const SECOND: u64 = 100;

/// Some calls, told apart by their seed.
pub(super) fn spec(seed: u64, calls: u32, seconds: f64, stagger: f64) -> Spec {
    Spec { calls, seconds, stagger, seed, ..Spec::default() }
}

/// What was recorded of calls, by how much of them was sent.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Calls of which more than a second was sent.
    pub(super) expected: u64,
    /// Recordings of them.
    pub(super) recordings: u64,
    /// Nothing was told of them.
    pub(super) untold: u64,
    /// The most that was sent of one of those, in blocks.
    untold_sent: u64,
    /// Told more than once.
    pub(super) repeated: u64,
    /// Told, but there is no such file, or none that plays.
    pub(super) unplayable: u64,
    /// What is missing at the end of each, in blocks.
    pub(super) tails: Vec<u64>,
    /// All of them together.
    pub(super) sum: Heard,
}

impl Account {
    /// Adds what was sent of `calls`.
    pub(super) fn add(
        &mut self,
        tracker: &Tracker,
        site: &Site,
        calls: &Calls,
        sent: &Sent,
    ) -> Try<()> {
        let readies = tracker.readies()?;
        for (number, id) in (0..).zip(&calls.ids) {
            let sent = sent.get(&number).copied().unwrap_or_default();
            let longest = u64::from(sent.into_iter().max().unwrap_or(0));
            let due = longest > SECOND;
            self.expected += u64::from(due);
            let told = readies.get(id).map(Vec::as_slice).unwrap_or_default();
            if told.is_empty() && due {
                self.untold += 1;
                self.untold_sent = self.untold_sent.max(longest);
            }
            self.repeated += u64::from(told.len() > 1);
            for message in told {
                self.recordings += 1;
                match hear(site, &message.filename, number, sent) {
                    Ok(heard) => {
                        self.tails.push(heard.tail);
                        self.sum.right += heard.right;
                        self.sum.holes += heard.holes;
                        self.sum.wrong += heard.wrong;
                    }
                    Err(_) => self.unplayable += 1,
                }
            }
        }
        self.tails.sort_unstable();
        Ok(())
    }

    /// Every call has one recording that plays, and nothing on it is out of place.
    pub(super) const fn told_once(&self) -> bool {
        let wrong = self.untold + self.repeated + self.unplayable + self.sum.wrong;
        wrong == 0 && self.recordings > 0
    }

    fn tail_ms(&self, percent: usize) -> u64 {
        let at = self.tails.len().saturating_sub(1) * percent / 100;
        self.tails.get(at).copied().unwrap_or(0) * 10
    }

    pub(super) fn figure(&self) -> String {
        let Self { expected, recordings, untold, repeated, unplayable, sum, .. } = self;
        let sent = match self.untold_sent * 10 {
            0 => String::new(),
            sent => format!(" (of {sent} ms at most)"),
        };
        format!(
            "{recordings} recordings of {expected} calls, tail p99 {} ms, worst {} ms; untold {untold}{sent}, twice {repeated}, unplayable {unplayable}, holes {} ms, wrong {}",
            self.tail_ms(99),
            self.tail_ms(100),
            sum.holes * 10,
            sum.wrong
        )
    }
}

/// Recordings by what is said of them in their tags.
pub(super) fn tagged(tracker: &Tracker, tag: &str) -> Try<BTreeMap<String, u64>> {
    let readies = tracker.readies()?;
    let value = |told: &TapeMessage| told.tags.get(tag)?.parse::<u64>().ok();
    let all = readies.into_iter();
    Ok(all.map(|(id, told)| (id, told.iter().filter_map(value).sum())).collect())
}

/// Finished tapes that the tracker does not know.
pub(super) fn orphans(tracker: &Tracker, site: &Site) -> Try<usize> {
    let readies = tracker.readies()?;
    let known: Vec<_> =
        readies.values().flatten().map(|told| site.tapes().join(&told.filename)).collect();
    Ok(site.files(site.extension()).iter().filter(|file| !known.contains(file)).count())
}

/// A packet of an agent.
#[derive(Clone, Debug)]
struct Due {
    /// From the beginning.
    after: Duration,
    bytes: Vec<u8>,
    /// Call and side whose audio is in it, and the number of blocks sent with it.
    says: Option<(u32, Side, u32)>,
}

/// Calls whose audio is known, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    packets: Arc<Vec<Due>>,
    /// Their Call-IDs, by number.
    pub(super) ids: Vec<String>,
}

/// Bytes before RTP in a frame, and in RTP before its payload.
const BEFORE: usize = 42;
const RTP: usize = 12;

impl Calls {
    /// Generated as `spec` says, through a file in `folder`.
    pub(super) fn make(spec: &Spec, folder: &Path) -> Try<Self> {
        let path = folder.join(format!("calls-{}.pcap", spec.seed));
        let spec = Spec { nanoseconds: true, codec: Codec::Pcmu, ..spec.clone() };
        let file = File::create(&path).map_err(while_("capture"))?;
        let truth = write(&spec, std::io::BufWriter::new(file)).map_err(while_("capture"))?;
        let capture = Capture::read(&path)?;
        drop(fs::remove_file(&path));
        let law = Law::new(spec.codec);
        let begin = capture.frames.first().map_or(0, |frame| frame.at);
        let mut packets = Vec::with_capacity(capture.frames.len());
        for frame in &capture.frames {
            let bytes = &frame.bytes;
            let end = |address: usize, port: usize| {
                let ip: [u8; 4] = bytes.get(address..address + 4)?.try_into().ok()?;
                let port: [u8; 2] = bytes.get(port..port + 2)?.try_into().ok()?;
                Some(SocketAddr::from((ip, u16::from_be_bytes(port))))
            };
            let (Some(from), Some(to), Some(payload)) =
                (end(26, 34), end(30, 36), bytes.get(BEFORE..))
            else {
                continue;
            };
            let audio = payload.get(RTP..).unwrap_or_default();
            let samples: Vec<i16> = audio.iter().map(|code| spec.codec.decode(*code)).collect();
            let last =
                law.marks(&samples).last().map(|(_, mark)| (mark.call, mark.side, mark.block + 1));
            packets.push(Due {
                after: Duration::from_nanos(frame.at - begin),
                bytes: hep3(frame.at, from, to, payload, "")?,
                says: last.filter(|_| payload.first() == Some(&0x80)),
            });
        }
        let ids = truth.calls.into_iter().map(|call| call.call_id).collect();
        Ok(Self { packets: Arc::new(packets), ids })
    }

    /// How long sending takes.
    pub(super) fn length(&self) -> Duration {
        self.packets.last().map_or(Duration::ZERO, |packet| packet.after)
    }

    /// Sends each packet when it is due, from a thread of its own.
    pub(super) fn send(&self, to: SocketAddr) -> Try<Sending> {
        let socket = UdpSocket::bind("127.0.0.1:0").map_err(while_("socket"))?;
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (flag, count, packets) =
            (Arc::clone(&stop), Arc::clone(&sent), Arc::clone(&self.packets));
        let began = Instant::now();
        let work = move || {
            for packet in packets.iter() {
                let rest = (began + packet.after).saturating_duration_since(Instant::now());
                if flag.load(Ordering::Relaxed) {
                    return;
                }
                thread::sleep(rest);
                // A recorder that was killed does not listen.
                drop(socket.send_to(&packet.bytes, to));
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        let thread = thread::Builder::new().name("agent".to_owned()).spawn(work);
        let thread = Some(thread.map_err(while_("thread"))?);
        Ok(Sending { stop, sent, thread, packets: Arc::clone(&self.packets) })
    }
}

/// Blocks of 10 ms sent of each call, caller first.
pub(super) type Sent = BTreeMap<u32, [u32; 2]>;

/// Packets on their way; ends when dropped.
#[derive(Debug)]
pub(super) struct Sending {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
    packets: Arc<Vec<Due>>,
}

impl Sending {
    /// What was sent so far.
    pub(super) fn sent(&self) -> Sent {
        let mut sent = Sent::new();
        let count = self.sent.load(Ordering::Relaxed);
        for (call, side, blocks) in self.packets.iter().take(count).filter_map(|packet| packet.says)
        {
            let [caller, callee] = sent.entry(call).or_default();
            *(if side == Side::Caller { caller } else { callee }) = blocks;
        }
        sent
    }

    /// How many packets were sent.
    pub(super) fn count(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until all is sent.
    pub(super) fn finish(mut self) -> Sent {
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        self.sent()
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// What a tape holds of what was sent, in blocks of 10 ms of both sides.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    /// In their place.
    pub(super) right: u64,
    /// Missing, with something behind them.
    pub(super) holes: u64,
    /// Missing at the end, of the side that lacks more.
    pub(super) tail: u64,
    /// Of another call or side, twice, or in the wrong place.
    pub(super) wrong: u64,
}

/// Holds a tape against what was sent of its call.
pub(super) fn hear(site: &Site, name: &str, call: u32, sent: [u32; 2]) -> Try<Heard> {
    let wav = site.wav(name)?;
    let law = Law::new(Codec::Pcmu);
    let mut heard = Heard::default();
    for ((side, samples), sent) in Side::BOTH.into_iter().zip(&wav.channels).zip(sent) {
        let (mut next, mut offset) = (0u32, None);
        for (at, mark) in law.marks(samples) {
            let at = i64::try_from(at).unwrap_or(0) - i64::from(mark.block) * 80;
            let place = *offset.get_or_insert(at);
            if mark.call != call || mark.side != side || mark.block < next || at.abs_diff(place) > 8
            {
                heard.wrong += 1;
                continue;
            }
            heard.holes += u64::from(mark.block - next);
            heard.right += 1;
            next = mark.block + 1;
        }
        heard.tail = heard.tail.max(u64::from(sent.saturating_sub(next)));
    }
    Ok(heard)
}
