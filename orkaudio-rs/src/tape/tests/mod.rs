//! A worker and its finisher on a disk that refuses what a test wants it to.

mod damage;
mod nth;
mod room;

use super::{
    disk::failpoint,
    finish::{self, Finished, Outcome, Report, Step},
    ledger::Ledger,
    sync::Opened,
    volume::Volume,
    worker::{Ending, Job, TapeCounters, TapeSettings, Worker},
};
use audio_codec_algorithms::decode_ulaw;
use jiff::tz::TimeZone;
use orkbase::{
    audio::{
        block::{Block, News, Record, append},
        codec::{BuiltIn, Codec, Decoder, DecoderSource},
    },
    call::{
        course::CallFacts,
        output::{Closing, EndReason, Opening, PacketBlock, TapeId},
        party::Side,
    },
    ids::{OrkUid, TrackingIds},
    message::{tape::TapeMessage, url},
    packet::pcapng::{self, Carrier},
    rtp::timeline::TICKS_PER_MILLI,
    time::Timestamp,
};
use orkvault::{
    book::{self, Rules},
    keys::KeyRing,
    ledger::{Chain, End, Event, Link},
    sealed::Vessel,
};
use std::{
    fs::{self, File},
    io::Read as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, sync_channel},
    },
};

const SECONDS: u8 = 6;
const ENOSPC: i32 = 28;
const EIO: i32 = 5;
const START: Timestamp = Timestamp(1_390_822_905_000_000_000);

fn message(tape: u64) -> TapeMessage {
    let text = format!(
        "type=tape&recid=r{tape}&stage=stop&captureport=AAAB&timestamp=1390822905&\
         filename=a/r{tape}.wav&localparty=1001&remoteparty=2002&direction=in&\
         tags=rawfile%3A..%2F..%2Fpasswd&"
    );
    TapeMessage::from_pairs(&url::decode(text.as_bytes()).unwrap()).unwrap()
}

fn open(tape: u64) -> Job {
    let orkuid = OrkUid::new(START, &TimeZone::UTC, TrackingIds::new(1).next_id());
    let path = format!("a/r{tape}");
    let (tape, message) = (TapeId(tape), message(tape));
    Job::Open(Box::new(Opening { tape, orkuid, start: START, path, rate: 8000, message }))
}

/// The byte of mu-law that a side says in a second of a call.
fn said(tape: u64, side: u8, second: u8) -> u8 {
    0x10 + u8::try_from(tape).unwrap() * 2 * SECONDS + side * SECONDS + second
}

fn audio(tape: u64, second: u8, codec: &str) -> Job {
    let (mut bytes, mut news) = (Vec::new(), Vec::new());
    for (leg, side) in [(0, Side::Local), (1, Side::Remote)] {
        if second == 0 {
            news.push(News::Leg { leg, side });
            let name = codec.to_owned();
            let (clock_rate, channels, parameters) = (8000, 1, None);
            news.push(News::Codec { leg, slot: 0, name, clock_rate, channels, parameters });
        }
        for packet in 0..50 {
            let order = u32::from(second) * 50 + packet;
            let payload = [said(tape, leg, second); 160];
            let (slot, anew, void) = (0, false, false);
            let tick = i64::from(order) * 20 * TICKS_PER_MILLI;
            append(&mut bytes, &Record { leg, slot, anew, void, order, tick, payload: &payload });
        }
    }
    let until = i64::from(second + 1) * 1_000 * TICKS_PER_MILLI;
    Job::Audio(Block { tape: TapeId(tape), news, until, bytes })
}

fn close(tape: u64) -> Job {
    let nowhere = "10.0.0.1:5060".parse().unwrap();
    let facts = CallFacts {
        began: START,
        ringing: None,
        answered: None,
        released: None,
        code: None,
        cause: None,
        agents: Default::default(),
        signalling: [nowhere; 2],
        diverted_by: String::new(),
        conversation: None,
        rule: "",
    };
    let closing = Closing {
        tape: TapeId(tape),
        why: EndReason::HungUp,
        start: START,
        duration_ms: u64::from(SECONDS) * 1_000,
        legs: Vec::new(),
        digits: Vec::new(),
        facts,
        marks: Vec::new(),
        discard: false,
        message: message(tape),
    };
    Job::Close(Box::new(Ending { closing, order: tape, overrun_ms: 0, packets_lost: 0 }))
}

struct Recorded {
    finished: Vec<Finished>,
    /// Recordings that the tracker was told there are none of.
    tagged: Vec<String>,
    counters: Arc<TapeCounters>,
    volume: Arc<Volume>,
}

fn keys() -> KeyRing {
    KeyRing::parse("07".repeat(32).as_bytes()).unwrap()
}

fn rules() -> Rules {
    Rules { link: Link::default(), mode: 0o600, sync: true }
}

/// Packets of each call that are kept, a second.
const PACKETS: u64 = 3;

fn packets(tape: u64) -> Job {
    let mut bytes = Vec::new();
    let ends = ("10.0.0.1:4000".parse().unwrap(), "10.0.0.2:4002".parse().unwrap());
    for _ in 0..PACKETS {
        pcapng::packet(&mut bytes, START, ends.0, ends.1, Carrier::Udp, &[7; 200]);
    }
    Job::Packets(PacketBlock { tape: TapeId(tape), packets: PACKETS, bytes })
}

/// Two calls at once, of which the first speaks `codec`.
fn calls(codec: &str, with_packets: bool) -> Vec<Job> {
    let mut all = vec![open(0), open(1)];
    for second in 0..SECONDS {
        all.extend([audio(0, second, codec), audio(1, second, "PCMU")]);
        if with_packets {
            all.extend([packets(0), packets(1)]);
        }
    }
    all
}

/// Who records them.
struct Rig {
    settings: Arc<TapeSettings>,
    counters: Arc<TapeCounters>,
    decoders: Arc<dyn DecoderSource>,
    syncing: Option<Opened>,
}

impl Rig {
    fn new(root: &Path, sealed: bool) -> Self {
        let settings = Arc::new(TapeSettings {
            pins: None,
            root: root.to_owned(),
            extension: if sealed { ".wav.sealed" } else { ".wav" }.to_owned(),
            channels: 2,
            late_ms: 100,
            conceal: false,
            inband_dtmf: false,
            mode: 0o600,
            min_duration_ms: 0,
            sync: true,
            sidecars: None,
            ledger: Some(Arc::new(Ledger::open(root, rules()).unwrap())),
            keys: sealed.then(|| Arc::new(keys())),
            zone: TimeZone::UTC,
            volume: Arc::default(),
            sync_interval: None,
        });
        let (counters, decoders) = (Arc::default(), Arc::new(BuiltIn));
        Self { settings, counters, decoders, syncing: None }
    }

    /// Does what it is told, until nobody tells it any more; gives what is to be finished.
    fn work(&self, jobs: &Receiver<Vec<Job>>, waiting: &AtomicUsize) -> Receiver<Step> {
        let (finish_in, finish_out) = sync_channel(64);
        let (empty_in, _empties) = sync_channel(64);
        let (settings, counters) = (Arc::clone(&self.settings), Arc::clone(&self.counters));
        let decoders = Arc::clone(&self.decoders);
        let worker = Worker::new(decoders, settings, counters, finish_in, empty_in, Arc::default());
        worker.syncing(self.syncing.clone()).run(jobs, waiting);
        finish_out
    }

    fn do_all(&self, all: Vec<Job>) -> Receiver<Step> {
        let (jobs_in, jobs) = sync_channel(64);
        let bytes = AtomicUsize::new(all.iter().map(Job::bytes).sum());
        all.into_iter().for_each(|job| jobs_in.send(vec![job]).unwrap());
        drop(jobs_in);
        let steps = self.work(&jobs, &bytes);
        assert_eq!(bytes.load(Ordering::Relaxed), 0);
        steps
    }

    fn finish(&self, steps: &Receiver<Step>) -> Recorded {
        let (mut finished, mut tagged) = (Vec::new(), Vec::new());
        finish::run(&self.settings, &self.counters, steps, None, &mut |report| match report {
            Report::Finished(done) => finished.push(*done),
            Report::Tagged(tag) => {
                assert_eq!(tag.message.tagtype, "notrecorded");
                tagged.push(tag.message.orkuid);
            }
            Report::Processed(_) | Report::Recovered(_) => panic!("nothing is processed"),
        });
        let (counters, volume) = (Arc::clone(&self.counters), Arc::clone(&self.settings.volume));
        Recorded { finished, tagged, counters, volume }
    }

    /// Both calls from their first to their last moment.
    fn record(&self, codec: &str, with_packets: bool) -> Recorded {
        let mut all = calls(codec, with_packets);
        all.extend([close(0), close(1)]);
        self.finish(&self.do_all(all))
    }
}

/// Every line of the ledger; none may be torn or out of place.
fn lines(root: &Path) -> Vec<Event> {
    let folder = root.join(orkvault::ledger::FOLDER);
    let mut chain = Chain::after(Link::default(), End::default());
    let mut events = Vec::new();
    for day in book::days(&folder).unwrap() {
        let text = fs::read(folder.join(format!("{day}.{}", orkvault::ledger::EXTENSION))).unwrap();
        assert!(text.ends_with(b"\n"), "{day}");
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let (line, fault) = chain.take(line);
            assert!(fault.is_none(), "{fault:?}");
            events.extend(line.map(|line| line.event));
        }
    }
    events
}

/// Holds a ready tape against what was said; gives the frames that are missing.
fn hold_against(path: &Path, tape: u64, untrimmed: bool) -> u64 {
    let mut vessel = Vessel::open(File::open(path).unwrap(), Some(&keys())).unwrap();
    let mut bytes = Vec::new();
    vessel.read_to_end(&mut bytes).unwrap();
    let length = u64::try_from(bytes.len()).unwrap();
    let wav = hound::WavReader::new(&bytes[..]).unwrap();
    let frames = u64::from(wav.duration());
    assert!(
        untrimmed || length - frames * 4 < 1_000,
        "the header tells of {frames} frames in {length} bytes"
    );
    let samples: Vec<i16> = wav.into_samples().map(Result::unwrap).collect();
    let mut missing = u64::from(SECONDS) * 8_000 - frames;
    for (at, frame) in samples.chunks_exact(2).enumerate() {
        let second = u8::try_from(at / 8_000).unwrap();
        let wanted = [0, 1].map(|side| decode_ulaw(said(tape, side, second)));
        if frame == [0, 0] {
            missing += 1;
        } else {
            let fits = frame.iter().zip(wanted).all(|(got, wanted)| *got == wanted || *got == 0);
            assert!(fits, "{frame:?} at {at} of {tape}, not {wanted:?}");
        }
    }
    missing
}

/// In memory, if it can be: there are thousands of syncs.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

#[test]
fn a_tag_of_a_client_names_no_packets() {
    let home = folder();
    let root = home.path().join("audio/tapes");
    fs::create_dir_all(&root).unwrap();
    fs::write(home.path().join("passwd"), "root").unwrap();
    let recorded = Rig::new(&root, false).record("PCMU", false);
    for finished in &recorded.finished {
        assert!(!finished.closing.message.tags.contains_key("rawfile"));
        assert_eq!(finished.stored.len(), 1, "{:?}", finished.stored);
    }
}

#[test]
fn a_call_is_recorded_from_when_the_disk_takes_it() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("a")).unwrap();
    let rig = Rig::new(home.path(), false);
    // Both are opened, and opened again at each of the first two blocks.
    failpoint::set(0, 3, ENOSPC);
    let recorded = rig.record("PCMU", false);
    assert!(failpoint::clear());
    for finished in &recorded.finished {
        let Outcome::Ready(name) = &finished.outcome else { panic!("{:?}", finished.outcome) };
        let missing = hold_against(&home.path().join(name), finished.order, false);
        assert_eq!(missing, finished.lost_frames);
        assert_eq!(missing > 0, finished.order == 0, "the other began with its first block");
        assert!(missing <= 8_000);
    }
    assert_eq!(recorded.counters.resumed.load(Ordering::Relaxed), 2);
    assert_eq!(recorded.counters.open_failed.load(Ordering::Relaxed), 2);
}

/// A source of decoders that has a fault.
struct Faulty;

impl DecoderSource for Faulty {
    fn decoder(&self, _codec: Codec, _parameters: Option<&str>) -> Option<Box<dyn Decoder>> {
        panic!("a decoder has a fault")
    }
}

#[test]
fn a_fault_ends_one_recording_only() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig { decoders: Arc::new(Faulty), ..Rig::new(home.path(), false) };
    let recorded = rig.record("G722", false);
    assert_eq!(recorded.counters.panicked.load(Ordering::Relaxed), 1);
    let [faulty, other] = &recorded.finished[..] else { panic!("two calls") };
    assert!(faulty.damage.as_ref().is_some_and(|why| why.contains("fault")), "{faulty:?}");
    assert!(crate::announce::ready(faulty, "x").tags.contains_key("damaged"));
    let Outcome::Ready(name) = &other.outcome else { panic!("{:?}", other.outcome) };
    assert_eq!(hold_against(&home.path().join(name), 1, false), 0);
    assert!(other.damage.is_none());
}
