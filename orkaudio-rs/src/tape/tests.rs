//! A worker and its finisher on a disk of which the n-th request fails, for every n.

use super::{
    disk::failpoint,
    file::{damaged_of, part_of},
    finish::{self, Finished, Outcome, Report},
    ledger::{Ledger, Stored},
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
        output::{Closing, EndReason, Opening, TapeId},
        party::Side,
    },
    ids::{OrkUid, TrackingIds},
    message::{tape::TapeMessage, url},
    rtp::timeline::TICKS_PER_MILLI,
    time::Timestamp,
};
use orkvault::{book::Rules, digest, keys::KeyRing, ledger::Link, sealed::Vessel};
use std::{
    fs::{self, File},
    io::Read as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::sync_channel,
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
    Rules { link: Link::default(), mode: 0o600, sync: false }
}

/// Two calls at once, of which the first speaks `codec`.
fn record(root: &Path, codec: &str, decoders: Arc<dyn DecoderSource>, sealed: bool) -> Recorded {
    let volume = Arc::<Volume>::default();
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
        volume: Arc::clone(&volume),
        sync_interval: None,
    });
    let counters = Arc::<TapeCounters>::default();
    let (finish_in, finish_out) = sync_channel(64);
    let (empty_in, _empties) = sync_channel(64);
    let (jobs_in, jobs) = sync_channel(64);
    let (held, given) = (Arc::clone(&settings), Arc::clone(&counters));
    let worker = Worker::new(decoders, held, given, finish_in, empty_in, Arc::default());
    let mut all = vec![open(0), open(1)];
    for second in 0..SECONDS {
        all.extend([audio(0, second, codec), audio(1, second, "PCMU")]);
    }
    all.extend([close(0), close(1)]);
    let bytes = AtomicUsize::new(all.iter().map(Job::bytes).sum());
    all.into_iter().for_each(|job| jobs_in.send(vec![job]).unwrap());
    drop(jobs_in);
    worker.run(&jobs, &bytes);
    drop(worker);
    assert_eq!(bytes.load(Ordering::Relaxed), 0);
    let (mut finished, mut tagged) = (Vec::new(), Vec::new());
    finish::run(&settings, &counters, &finish_out, None, &mut |report| match report {
        Report::Finished(done) => finished.push(*done),
        Report::Tagged(tag) => {
            assert_eq!(tag.message.tagtype, "notrecorded");
            tagged.push(tag.message.orkuid);
        }
        Report::Processed(_) | Report::Recovered(_) => panic!("nothing is processed"),
    });
    Recorded { finished, tagged, counters, volume }
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

fn fail(before: u32, count: u32, errno: i32, sealed: bool) -> bool {
    let home = folder();
    let root = home.path();
    fs::create_dir(root.join("a")).unwrap();
    fs::write(root.join("a/old.wav"), [7; 100]).unwrap();
    failpoint::set(before, count, errno);
    let what = format!("{count} requests fail after {before} with {errno}, sealed: {sealed}");
    let recorded = record(root, "PCMU", Arc::new(BuiltIn), sealed);
    let failed = failpoint::clear();
    assert_eq!(fs::read(root.join("a/old.wav")).unwrap(), [7; 100]);
    assert_eq!(recorded.finished.len(), 2);
    for finished in &recorded.finished {
        let (number, recid) = (finished.order, &finished.closing.message.recid);
        let end = if sealed { ".sealed" } else { "" };
        let path = root.join(format!("a/r{number}.wav{end}"));
        match &finished.outcome {
            Outcome::Ready(name) => {
                let missing = hold_against(&root.join(name), number, count > 1);
                // Where not even half a write could be taken back, some of it is there after all.
                let told = finished.lost_frames;
                assert!(
                    missing == told || count > 1 && missing < told,
                    "{what}: {missing} of {told}"
                );
                assert!(missing == 0 || finished.damage.is_some(), "{what}");
                assert!(!part_of(&path).exists(), "{what}");
                let digest = digest::of_file(&root.join(name)).unwrap();
                assert_eq!(finished.stored, [Stored { path: name.clone(), digest }], "{what}");
            }
            Outcome::Failed(why) => {
                assert!(recorded.tagged.contains(recid), "{what}");
                let wrong = why.contains("sync") || why.contains("rename") || why.contains("error");
                assert!(wrong, "{what}: {why}");
                assert!(!path.exists(), "{what}");
                let kept = damaged_of(&path).exists();
                assert!(count > 1 || kept == why.contains("sync"), "{what}");
            }
            Outcome::Unsure(_) => {
                let left = recorded.volume.given_up().is_some() || part_of(&path).exists();
                assert!(left, "{what}");
            }
            Outcome::TooShort | Outcome::Discarded => panic!("{what}"),
        }
    }
    // One that fails hurts one recording only, unless it is the folder of both.
    let whole = recorded.finished.iter().filter(|finished| {
        matches!(finished.outcome, Outcome::Ready(_)) && finished.damage.is_none()
    });
    assert!(
        !failed || count > 1 || recorded.volume.given_up().is_some() || whole.count() >= 1,
        "{what}"
    );
    failed
}

#[test]
fn a_tag_of_a_client_names_no_packets() {
    let home = folder();
    let root = home.path().join("audio/tapes");
    fs::create_dir_all(&root).unwrap();
    fs::write(home.path().join("passwd"), "root").unwrap();
    let recorded = record(&root, "PCMU", Arc::new(BuiltIn), false);
    for finished in &recorded.finished {
        assert!(!finished.closing.message.tags.contains_key("rawfile"));
        assert_eq!(finished.stored.len(), 1, "{:?}", finished.stored);
    }
}

#[test]
fn the_nth_request_fails_for_every_n() {
    for (errno, sealed) in [(ENOSPC, false), (EIO, false), (ENOSPC, true), (EIO, true)] {
        let mut n = 0;
        while fail(n, 1, errno, sealed) {
            n += 1;
        }
        assert!(n >= 25, "only {n} requests");
        // The disk is full from there on, or for a while.
        for before in 0..n {
            for count in [5, u32::MAX] {
                fail(before, count, errno, sealed);
            }
        }
    }
}

#[test]
fn a_call_is_recorded_from_when_the_disk_takes_it() {
    let home = tempfile::tempdir().unwrap();
    // Both are opened, and opened again at each of the first two blocks.
    failpoint::set(0, 3, ENOSPC);
    fs::create_dir(home.path().join("a")).unwrap();
    let recorded = record(home.path(), "PCMU", Arc::new(BuiltIn), false);
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
    let recorded = record(home.path(), "G722", Arc::new(Faulty), false);
    assert_eq!(recorded.counters.panicked.load(Ordering::Relaxed), 1);
    let [faulty, other] = &recorded.finished[..] else { panic!("two calls") };
    assert!(faulty.damage.as_ref().is_some_and(|why| why.contains("fault")), "{faulty:?}");
    assert!(crate::announce::ready(faulty, "x").tags.contains_key("damaged"));
    let Outcome::Ready(name) = &other.outcome else { panic!("{:?}", other.outcome) };
    assert_eq!(hold_against(&home.path().join(name), 1, false), 0);
    assert!(other.damage.is_none());
}
