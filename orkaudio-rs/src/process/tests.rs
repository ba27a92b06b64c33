//! Tapes go through real processors to real files.

use super::*;
use crate::{
    format::{Format, Labels, WavReader},
    tape::{
        closed,
        file::{ClosedTape, TapeFile},
        finish::Report,
        wav::Layout,
        worker::TapeCounters,
    },
};
use orkbase::{
    audio::tape::PcmSink as _,
    message::{
        tape::{KeepSide, TapeMessage},
        url,
    },
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::Ordering},
};

const ORKUID: &str = "20140127_114145_AAAB";
const FRAMES: usize = 24_001;

fn message() -> TapeMessage {
    let text = format!(
        "type=tape&recid={ORKUID}&stage=stop&captureport=AAAB&timestamp=1390822905&\
         filename=a/{ORKUID}.wav&localparty=1001&remoteparty=2002&direction=in&"
    );
    TapeMessage::from_pairs(&url::decode(text.as_bytes()).unwrap()).unwrap()
}

/// A tape of 1000 on the left and a ramp on the right, closed.
fn tape(root: &Path, extension: &str) -> ClosedTape {
    let path = root.join(format!("a/{ORKUID}{extension}"));
    let layout = Layout { rate: 8_000, channels: 2 };
    let labels = Labels::of(&message(), "2014-01-27T11:41:45+00:00");
    let mut tape = TapeFile::create(&path, layout, &labels.info(), 0o640).unwrap();
    let ramp = |n: usize| i16::try_from(n % 20_000).unwrap();
    let frames: Vec<[i16; 2]> = (0..FRAMES).map(|n| [1_000, ramp(n)]).collect();
    tape.write(0, &frames);
    tape.close()
}

/// Closed and marked.
fn marked(root: &Path, extension: &str) -> PathBuf {
    let mut tape = tape(root, extension);
    closed::mark(&mut tape, &message()).unwrap();
    tape.part()
}

/// What was told.
type Told = Arc<Mutex<Vec<TapeMessage>>>;

fn process(root: &Path, output: &Output, part: PathBuf, stored: bool) -> (Told, Arc<TapeCounters>) {
    assert_eq!(output.mistakes(true), []);
    let shop = Shop {
        root: root.to_owned(),
        plan: Arc::new(Plan::of(output).unwrap()),
        mode: 0o640,
        sync: true,
        sidecars: None,
        ledger: None,
        keys: None,
        zone: jiff::tz::TimeZone::UTC,
    };
    let told = Told::default();
    let counters = Arc::new(TapeCounters::default());
    let heard = Arc::clone(&told);
    let hear = move |report| {
        match report {
            Report::Recovered(recovered) => heard.lock().unwrap().push(recovered.message),
            Report::Finished(finished) | Report::Processed(finished) => panic!("{finished:?}"),
            Report::Tagged(tag) => panic!("{tag:?}"),
        }
        stored
    };
    let hear = Arc::new(Mutex::new(hear));
    let (pool, threads) = Pool::start(shop, Arc::clone(&counters), hear, true).unwrap();
    pool.give(Work::Left(part));
    pool.end(threads);
    assert_eq!(counters.process_queued.load(Ordering::Relaxed), 0);
    (told, counters)
}

/// Every file below `root`, by its name there.
fn files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

fn samples(path: &Path) -> (Layout, Vec<i16>) {
    let mut reader = WavReader::open(path).unwrap();
    let (mut all, mut block) = (Vec::new(), Vec::new());
    loop {
        reader.read(&mut block).unwrap();
        if block.is_empty() {
            return (reader.layout(), all);
        }
        all.extend_from_slice(&block);
    }
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn processors_work_in_their_order() {
    let home = tempfile::tempdir().unwrap();
    let (root, copies) = (home.path().join("tapes"), home.path().join("copies"));
    let output = Output {
        gain_db: 20,
        gain_local_db: -14,
        keep_side: KeepSide::Remote,
        rename: "[localparty]/[remoteparty]-[orkuid]".to_owned(),
        command: words(&["/bin/cp", "[IN]", "[OUT]"]),
        command_extension: "raw".to_owned(),
        copy_folder: copies.clone(),
        copy_format: Format::Flac,
        keep_original: true,
        ..Output::default()
    };
    let part = marked(&root, ".raw");
    let (told, counters) = process(&root, &output, part, true);
    let name = format!("1001/2002-{ORKUID}");
    assert_eq!(files(&root), [format!("{name}.raw"), format!("{name}.wav")]);
    assert_eq!(files(&copies), [format!("{name}.flac")]);
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].filename, format!("{name}.raw"));
    assert_eq!((told[0].side, told[0].tags.len()), (KeepSide::Remote, 0));
    assert_eq!(counters.processed.load(Ordering::Relaxed), 1);
    // One side, ten times as loud, and never beyond the end of the range.
    let (layout, got) = samples(&root.join(format!("{name}.raw")));
    assert_eq!((layout.channels, got.len()), (1, FRAMES));
    assert_eq!([got[7], got[2_000], got[4_000], got[19_999]], [70, 20_000, 32_767, 32_767]);
    let (layout, original) = samples(&root.join(format!("{name}.wav")));
    assert_eq!((layout.channels, original[0], original.len()), (2, 1_000, 2 * FRAMES));
}

#[test]
fn a_file_for_each_side() {
    let home = tempfile::tempdir().unwrap();
    let output = Output { channels: Channels::Split, format: Format::MuLaw, ..Output::default() };
    let (told, _) = process(home.path(), &output, marked(home.path(), ".local.wav"), true);
    let name = |side: &str| format!("a/{ORKUID}.{side}.wav");
    assert_eq!(files(home.path()), [name("local"), name("remote")]);
    assert_eq!(told.lock().unwrap()[0].filename, name("local"));
    for (side, want) in [("local", 1_000), ("remote", 15_000)] {
        let (layout, got) = samples(&home.path().join(name(side)));
        assert_eq!((layout.channels, got.len()), (1, FRAMES));
        assert!(got[15_000].abs_diff(want) < 300, "{side} {}", got[15_000]);
    }
    let labels = WavReader::open(&home.path().join(name("remote"))).unwrap().labels();
    assert_eq!((labels.orkuid.as_str(), labels.remote.as_str()), (ORKUID, "2002"));
}

#[test]
fn a_processor_that_fails_costs_no_recording() {
    let home = tempfile::tempdir().unwrap();
    let output = Output {
        format: Format::Flac,
        command: words(&["/bin/sh", "-c", "echo no >&2; exit 7"]),
        ..Output::default()
    };
    let (told, counters) = process(home.path(), &output, marked(home.path(), ".flac"), true);
    assert_eq!(files(home.path()), [format!("a/{ORKUID}.wav")]);
    let told = told.lock().unwrap();
    assert_eq!((told.len(), told[0].filename.as_str()), (1, format!("a/{ORKUID}.wav").as_str()));
    let why = "failed: command: /bin/sh ended with exit status: 7: no";
    assert_eq!(told[0].tags.get("processing").map(String::as_str), Some(why));
    let count = (&counters.processed, &counters.process_failed);
    assert_eq!((count.0.load(Ordering::Relaxed), count.1.load(Ordering::Relaxed)), (0, 1));
    assert_eq!(samples(&home.path().join(format!("a/{ORKUID}.wav"))).1.len(), 2 * FRAMES);
}

#[test]
fn what_is_not_stored_is_done_again_and_told_again() {
    let home = tempfile::tempdir().unwrap();
    let output = Output {
        format: Format::Opus,
        rename: "[orkuid]".to_owned(),
        keep_original: true,
        ..Output::default()
    };
    let (told, _) = process(home.path(), &output, marked(home.path(), ".opus"), false);
    assert_eq!(told.lock().unwrap().len(), 1);
    let part = home.path().join(format!("{ORKUID}.opus.part"));
    assert!(part.exists(), "{:?}", files(home.path()));
    // Killed here; the next start finds the part under its new name.
    let (told, _) = process(home.path(), &output, part, true);
    assert_eq!(files(home.path()), [format!("{ORKUID}.opus"), format!("{ORKUID}.wav")]);
    assert_eq!(told.lock().unwrap()[0].filename, format!("{ORKUID}.opus"));
    assert!(told.lock().unwrap()[0].tags.is_empty());
}

#[test]
fn a_tape_that_was_cut_short_is_processed_and_says_so() {
    let home = tempfile::tempdir().unwrap();
    let output = Output { format: Format::ALaw, channels: Channels::Mono, ..Output::default() };
    let part = tape(home.path(), ".wav").part();
    let length = fs::metadata(&part).unwrap().len();
    fs::File::options().write(true).open(&part).unwrap().set_len(length - 4_001).unwrap();
    let (told, _) = process(home.path(), &output, part, true);
    let told = told.lock().unwrap();
    assert_eq!(told[0].tags.get("recovered").map(String::as_str), Some("true"));
    assert_eq!((told[0].duration, told[0].filename.as_str()), (2, &*format!("a/{ORKUID}.wav")));
    let (layout, got) = samples(&home.path().join(&told[0].filename));
    assert_eq!((layout.channels, got.len()), (1, FRAMES - 1_001));
}

#[test]
fn a_mark_that_was_not_written_wholly_costs_no_audio_and_adds_none() {
    let home = tempfile::tempdir().unwrap();
    let part = marked(home.path(), ".wav");
    let whole = fs::read(&part).unwrap();
    let mark = whole.windows(4).position(|bytes| bytes == b"orkM").unwrap();
    for cut in [mark, mark + 3, mark + 8, whole.len() - 2] {
        fs::write(&part, &whole[..cut]).unwrap();
        let recovered = crate::tape::recover::recover(home.path(), &part, None).unwrap().unwrap();
        assert_eq!(recovered.path, format!("a/{ORKUID}.wav"));
        assert_eq!(recovered.message.tags.len(), 1, "{cut}");
        assert_eq!(samples(&home.path().join(&recovered.path)).1.len(), 2 * FRAMES, "{cut}");
        fs::remove_file(home.path().join(&recovered.path)).unwrap();
    }
    // Processed no more: the tape as recorded, told as it would have been.
    fs::write(part.with_file_name("b.opus.part"), &whole).unwrap();
    let part = part.with_file_name("b.opus.part");
    let recovered = crate::tape::recover::recover(home.path(), &part, None).unwrap().unwrap();
    assert_eq!((recovered.path.as_str(), recovered.message.tags.len()), ("a/b.wav", 0));
}

#[test]
fn a_plan_has_only_what_there_is_to_do() {
    assert!(Plan::of(&Output::default()).is_none());
    let mono = Output { channels: Channels::Mono, ..Output::default() };
    assert!(mono.only_mixes() && Plan::of(&mono).is_none());
    let loud = Output { gain_db: 1, ..mono };
    assert!(!loud.only_mixes());
    assert_eq!(Plan::of(&loud).unwrap().steps, [Step::Gain, Step::Transcode, Step::Report]);
    let listed =
        Output { processors: vec![Step::Transcode], format: Format::Mp3, ..Output::default() };
    let plan = Plan::of(&listed).unwrap();
    assert_eq!(
        (plan.steps.as_slice(), plan.extension().as_str()),
        ([Step::Transcode, Step::Report].as_slice(), ".mp3")
    );
}

#[test]
fn what_a_killed_process_was_making_is_removed() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(FOLDER);
    fs::create_dir_all(folder.join("1-2-command.run")).unwrap();
    fs::write(folder.join("1-2-command.run/in.wav"), "x").unwrap();
    fs::write(folder.join("1-2-0.opus.tmp"), "x").unwrap();
    fs::write(folder.join("mine"), "x").unwrap();
    clean(home.path());
    assert_eq!(files(home.path()), [".processing/mine"]);
}
