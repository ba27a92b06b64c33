//! What is found on the disk at a start: parts of tapes and of packets, recordings made elsewhere, pins.
//!
//! Law besides: only what was meant is touched, whatever the files say of themselves.

use super::{disk, input::Input};
use orkaudio::{
    format::WavReader,
    http::Import,
    import::Importer,
    pins::Pins,
    tape::{
        packets,
        recover::{self, Mended, Recovered},
        wav::{self, Extent, Layout, RIFF_LIMIT},
    },
};
use orkbase::{
    call::{naming::Naming, recording::HostFacts},
    ids::{OrkUid, TrackingIds},
    message::tape::Direction,
    packet::pcapng::{self, Carrier},
    time::Timestamp,
};
use orkvault::{keys::KeyRing, sealed::Vessel};
use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Component, Path, PathBuf},
    sync::Mutex,
};

const KEY: &str = "11223344556677881122334455667788aabbccddeeff0011aabbccddeeff0011";
const RATES: [u32; 4] = [8_000, 16_000, 48_000, 11_025];
/// Names of parts.
const NAMES: [&str; 4] = ["X.wav", "X.opus", "X.wav.sealed", "X.opus.sealed"];
const RECID: &str = "20261122_001000_AAAB";
/// A finished tape, and a file that is none of ours.
const FINISHED: &[u8] = b"a finished tape";
const FOREIGN: &[u8] = b"nobody asked for it";

/// Input: two bytes, then what lies there.
pub(super) fn found(data: &[u8]) {
    let mut input = Input::new(data);
    let (what, how) = (input.byte(), input.byte());
    let (Some(home), Ok(ring)) = (disk::folder(), KeyRing::parse(KEY.as_bytes())) else { return };
    let root = home.path().join("audio");
    let foreign = home.path().join("foreign.pcapng");
    let laid = fs::create_dir(&root).and_then(|()| fs::write(&foreign, FOREIGN));
    assert!(laid.is_ok(), "{laid:?}");
    match what & 7 {
        0 => pins(home.path(), input.take(usize::MAX)),
        1 => packet_part(&root, &ring, how, &mut input),
        2 => import(&root, home.path(), input.take(usize::MAX)),
        _ => tape(&root, &ring, how, &mut input),
    }
    assert!(fs::read(&foreign).is_ok_and(|bytes| bytes == FOREIGN), "a foreign file was touched");
    let about = ["audio", "foreign.pcapng", "in", "pins"];
    for name in names(home.path()) {
        assert!(about.contains(&name.as_str()), "{name} was made");
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A list in any state: what it names is pinned, and stays so.
fn pins(folder: &Path, bytes: &[u8]) {
    assert!(fs::write(folder.join("pins"), bytes).is_ok());
    let Ok(pins) = Pins::open(folder) else { return };
    let text = String::from_utf8_lossy(bytes);
    let said: Vec<&str> = text.lines().filter(|line| OrkUid::parse(line).is_some()).collect();
    assert!(said.iter().all(|recid| pins.has(recid)), "a pin was lost");
    let count = pins.len();
    let new = !pins.has(RECID);
    assert_eq!(pins.set(RECID, true), Ok(new));
    assert!(pins.set("../x", true).is_err());
    let Ok(pins) = Pins::open(folder) else {
        return assert!(!new, "pins that cannot be read again");
    };
    assert!(pins.has(RECID) && pins.len() == count + usize::from(new));
    assert!(said.iter().all(|recid| pins.has(recid)), "a pin was lost");
}

/// The part of a tape, written by us as far as the input does not say otherwise.
fn tape(root: &Path, ring: &KeyRing, how: u8, input: &mut Input<'_>) {
    let name = NAMES.get(usize::from(how & 3)).copied().unwrap_or_default();
    let sealed = name.ends_with(".sealed");
    let layout = Layout {
        rate: input.pick(&RATES).copied().unwrap_or(8_000),
        channels: u16::from(how >> 2 & 1) + 1,
    };
    let extra = String::from_utf8_lossy(input.chunk()).into_owned();
    let said = format!(
        "{extra}recid={RECID}&stage=start&captureport=AAAB&timestamp=1795306200&filename=&tags=a%3Ab&"
    );
    let said = if how & 8 == 0 { said } else { extra.clone() };
    let info: [(&[u8; 4], &str); 2] = [(b"INAM", RECID), (b"ICMT", &said)];
    let mut plain = wav::header(layout, &info);
    let header = plain.len();
    let length = usize::from(input.number::<u16>() % 3_000);
    let audio: Vec<u8> = (0..length).map(|n| (n * 5 + n / 256).to_le_bytes()[0]).collect();
    let whole = length - length % usize::try_from(layout.frame_bytes()).unwrap_or(4);
    plain.extend(&audio);
    let marked = how & 0x30 == 0x30;
    if marked {
        // Complete: the header tells so, and the mark lies behind.
        plain.truncate(header + whole);
        let mark = wav::chunk(*b"orkM", said.as_bytes());
        let (data, tail) = (wide(whole), wide(mark.len()));
        let frames = data / layout.frame_bytes();
        let (prefix, size) = Extent { header, data, tail, frames, limit: RIFF_LIMIT }.fields();
        plain.splice(..prefix.len(), prefix);
        plain.splice(header - 4..header, size);
        plain.extend(mark);
    }
    let honest = plain.clone();
    tamper(&mut plain, input, how & 0x40 == 0x40);
    let as_written =
        plain == honest && extra.is_empty() && how & 8 == 0 && header <= wav::MAX_HEADER;
    let part = root.join(format!("{name}.part"));
    assert!(lay(&part, &plain, sealed.then_some(ring), how & 0x80 == 0x80).is_ok());
    // What is finished has its name; here, the one that this part would have.
    let taken = root.join(if sealed { "X.wav.sealed" } else { "X.wav" });
    let occupied = input.byte() & 1 == 0;
    assert!(!occupied || fs::write(&taken, FINISHED).is_ok());
    let before = fs::read(&part).unwrap_or_default();

    let kept = |part: &Path| sealed || fs::read(part).is_ok_and(|now| now == before);
    match recover::mend(&part, Some(ring)) {
        Ok(Some(Mended { message, duration_ms })) => {
            let once = content(&part, ring);
            let again = recover::mend(&part, Some(ring)).ok().flatten();
            assert!(again.is_some_and(|m| (m.message, m.duration_ms) == (message, duration_ms)));
            assert!(once.is_some() && content(&part, ring) == once, "mended twice");
            let done = recover::recover(root, &part, Some(ring));
            assert!(done.is_ok() && !part.exists(), "{done:?}");
            let Ok(Some(tape)) = done else { return assert!(!as_written, "thrown away") };
            let samples = saved(root, ring, tape);
            let said = audio.get(..whole).unwrap_or_default();
            assert!(!as_written || samples == said, "not what was recorded");
        }
        Ok(None) => {
            assert!(!(part.exists() || as_written && whole > 0), "sound was thrown away");
        }
        Err(error) => assert!(!as_written && kept(&part), "{error}"),
    }
    assert!(!occupied || fs::read(&taken).is_ok_and(|now| now == FINISHED), "a tape was lost");
    // The next start finds what was left, and leaves it again.
    let left = recover::parts(root).unwrap_or_default();
    for part in left {
        let before = fs::read(&part).unwrap_or_default();
        assert!(recover::recover(root, &part, Some(ring)).is_err());
        assert!(fs::read(&part).is_ok_and(|now| now == before));
    }
}

/// A tape that was saved lies where it belongs and can be played; gives its bytes of sound.
fn saved(root: &Path, ring: &KeyRing, tape: Recovered) -> Vec<u8> {
    let Recovered { mut message, duration_ms, path } = tape;
    let inside =
        |path: &str| Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
    assert!(inside(&path) && root.join(&path).is_file(), "{path:?}");
    assert!(OrkUid::parse(&message.recid).is_some(), "{:?}", message.recid);
    let reader = WavReader::open_with(&root.join(&path), Some(ring));
    assert!(reader.is_ok(), "{reader:?}");
    let Ok(mut reader) = reader else { return Vec::new() };
    let rate = u64::from(reader.layout().rate);
    let mut sound = Vec::new();
    let mut samples = Vec::new();
    while reader.read(&mut samples).is_ok() && !samples.is_empty() {
        sound.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    }
    assert!(reader.frames() * 1_000 / rate <= duration_ms, "shorter than there is");
    // Its packets, if it names any, are only ever those beside it.
    drop(packets::follow(&mut message, root, &root.join(&path)));
    sound
}

/// Packets of a call: good up to the last whole block.
fn packet_part(root: &Path, ring: &KeyRing, how: u8, input: &mut Input<'_>) {
    let sealed = how & 1 == 1;
    let mut plain = Vec::new();
    pcapng::begin(&mut plain, &String::from_utf8_lossy(input.chunk()));
    let (one, other) = (([10, 0, 0, 1], 4_000).into(), ([10, 0, 0, 2], 4_002).into());
    for n in 0..how >> 1 & 7 {
        let carrier = match input.byte() & 1 {
            0 => Carrier::Udp,
            _ => Carrier::Tcp { sequence: input.number(), acknowledged: 7 },
        };
        let at = Timestamp(u64::from(n) * 20_000_000);
        pcapng::packet(&mut plain, at, one, other, carrier, input.chunk());
    }
    let honest = plain.clone();
    tamper(&mut plain, input, how & 0x40 == 0x40);
    let name = if sealed { "X.pcapng.sealed.part" } else { "X.pcapng.part" };
    let part = root.join(name);
    assert!(lay(&part, &plain, sealed.then_some(ring), how & 0x80 == 0x80).is_ok());
    let count = usize::from(how >> 1 & 7);
    match packets::recover(&part, Some(ring)) {
        Ok(Some(path)) => {
            let now = content(&path, ring).unwrap_or_default();
            assert!(plain.starts_with(&now), "not what was written");
            let (bytes, packets) = pcapng::whole(&now);
            assert!(bytes == now.len() && packets > 0);
            assert!(plain != honest || (now == honest && packets == wide(count)));
        }
        Ok(None) => assert!(plain != honest || count == 0, "packets were thrown away"),
        Err(error) => assert!(part.exists() && plain != honest, "{error}"),
    }
}

/// A WAV file of another maker becomes a tape of bounded size, or is refused.
fn import(root: &Path, home: &Path, bytes: &[u8]) {
    let folder = home.join("in");
    let laid = fs::create_dir(&folder).and_then(|()| fs::write(folder.join("a.wav"), bytes));
    assert!(laid.is_ok(), "{laid:?}");
    let importer = Importer {
        folders: vec![folder.clone()],
        root: root.to_owned(),
        naming: Naming::default(),
        zone: jiff::tz::TimeZone::UTC,
        host: HostFacts {
            service: "s".to_owned(),
            hostname: "h".to_owned(),
            extension: ".wav".to_owned(),
        },
        mode: 0o600,
        sync: false,
        ids: Mutex::new(TrackingIds::new(0)),
        known: Box::new(|_| false),
        tell: Box::new(|_| true),
        ledger: None,
        keys: None,
        process: None,
    };
    let url = folder.join("a.wav").display().to_string();
    let asked = Import {
        mediatype: "A".to_owned(),
        url,
        timestamp: 1_795_306_200,
        duration: 0,
        localparty: "1".to_owned(),
        remoteparty: "2".to_owned(),
        direction: Direction::In,
        nativecallid: String::new(),
    };
    let done = importer.run(&asked);
    let made = all_below(root);
    assert!(made.len() == usize::from(done.is_ok()), "{made:?} after {done:?}");
    if let (Ok(uid), Some(path)) = (done, made.first()) {
        assert!(path.to_string_lossy().contains(uid.as_str()));
        let length = fs::metadata(path).map_or(u64::MAX, |about| about.len());
        assert!(length < 2_000 + 16 * wide(bytes.len()), "{length} of {} bytes", bytes.len());
        assert!(WavReader::open(path).is_ok_and(|reader| reader.frames() > 0));
    }
}

fn all_below(folder: &Path) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}

/// Writes a file, sealed if there is a key, as who is killed leaves it or as who is not.
fn lay(path: &Path, plain: &[u8], ring: Option<&KeyRing>, closed: bool) -> io::Result<()> {
    let options = File::options().read(true).write(true).create_new(true).open(path)?;
    let mut vessel = Vessel::create(options, ring)?;
    let mut at = 0;
    // In several records.
    for piece in plain.chunks(700) {
        vessel.write_all_at(piece, at)?;
        at += wide(piece.len());
    }
    if closed { vessel.close() } else { Ok(()) }
}

/// What a file holds when it is open.
fn content(path: &Path, ring: &KeyRing) -> Option<Vec<u8>> {
    let mut vessel = Vessel::open(File::open(path).ok()?, Some(ring)).ok()?;
    let mut bytes = Vec::new();
    vessel.read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Bytes are changed, cut off, put in; or all is something else.
fn tamper(bytes: &mut Vec<u8>, input: &mut Input<'_>, wholly: bool) {
    if wholly {
        let mut begin = input.chunk().to_vec();
        if input.byte() & 1 == 0 {
            std::mem::swap(bytes, &mut begin);
        }
        bytes.splice(..bytes.len().min(begin.len()), begin.iter().copied());
    }
    for _ in 0..input.byte() & 7 {
        let what = input.byte();
        let at = usize::from(input.number::<u16>()) % (bytes.len() + 1);
        match what & 3 {
            0 => {
                let change = input.byte();
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= change;
                }
            }
            1 => bytes.truncate(at),
            2 => {
                let piece = input.chunk();
                let end = if what & 4 == 0 { at } else { (at + piece.len()).min(bytes.len()) };
                bytes.splice(at..end, piece.iter().copied());
            }
            _ => drop(bytes.drain(at..(at + usize::from(what >> 2)).min(bytes.len()))),
        }
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
