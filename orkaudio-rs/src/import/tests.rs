//! Files in, recordings out.

use super::*;
use crate::tape::recover;
use std::{
    os::unix::fs::symlink,
    sync::{Arc, Mutex as Lock},
};

struct Bench {
    home: tempfile::TempDir,
    importer: Importer,
    told: Arc<Lock<Vec<TapeMessage>>>,
}

fn bench(process: Option<Process>) -> Bench {
    let home = tempfile::tempdir().unwrap();
    for folder in ["in", "out", "elsewhere"] {
        fs::create_dir(home.path().join(folder)).unwrap();
    }
    let told = Arc::new(Lock::new(Vec::new()));
    let heard = Arc::clone(&told);
    let importer = Importer {
        folders: vec![home.path().join("in")],
        root: home.path().join("out"),
        naming: Naming::default(),
        zone: TimeZone::UTC,
        host: HostFacts {
            hostname: "h".to_owned(),
            service: "s".to_owned(),
            extension: ".wav".to_owned(),
        },
        mode: 0o640,
        sync: false,
        ids: Mutex::new(TrackingIds::new(0)),
        // The first name is taken.
        known: Box::new(|recid| recid.ends_with("AAAB")),
        tell: Box::new(move |report| {
            let Report::Recovered(recovered) = report else { panic!("an imported tape") };
            heard.lock().unwrap().push(recovered.message.clone());
            true
        }),
        ledger: None,
        keys: None,
        process,
    };
    Bench { home, importer, told }
}

impl Bench {
    fn wav(&self, name: &str, rate: u32, channels: u16, frames: i16) -> String {
        let path = self.home.path().join(name);
        let spec = hound::WavSpec {
            channels,
            sample_rate: rate,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut wav = hound::WavWriter::create(&path, spec).unwrap();
        for frame in 0..frames {
            for channel in 0..channels {
                wav.write_sample(frame / (1 + i16::try_from(channel).unwrap())).unwrap();
            }
        }
        wav.finalize().unwrap();
        path.display().to_string()
    }

    fn run(&self, url: &str) -> Result<OrkUid, ImportError> {
        let import = Import {
            mediatype: "A".to_owned(),
            url: url.to_owned(),
            timestamp: 1_352_481_737,
            localparty: "1234".to_owned(),
            remoteparty: "../5".to_owned(),
            ..Import::default()
        };
        self.importer.run(&import)
    }
}

#[test]
fn a_file_becomes_a_recording() {
    let bench = bench(None);
    let url = bench.wav("in/a.wav", 8_000, 2, 20_000);
    let orkuid = bench.run(&format!("file://{url}")).unwrap();
    assert!(orkuid.as_str().starts_with("20121109_172217_") && !orkuid.as_str().ends_with("AAAB"));
    let told = bench.told.lock().unwrap();
    let [message] = told.as_slice() else { panic!("told once") };
    assert_eq!((message.duration, message.live, message.stage), (2, false, Stage::Ready));
    assert_eq!(message.filename, format!("2012/11/09/17/{orkuid}.wav"));
    let wav = hound::WavReader::open(bench.importer.root.join(&message.filename)).unwrap();
    assert_eq!((wav.spec().channels, wav.spec().sample_rate, wav.duration()), (2, 8_000, 20_000));
    let samples: Vec<i16> = wav.into_samples().map(Result::unwrap).collect();
    assert_eq!(samples[39_998..], [19_999, 9_999]);
    assert!(Path::new(&url).exists());
}

#[test]
fn odd_rates_become_the_next_one() {
    let bench = bench(None);
    let url = bench.wav("in/b.wav", 44_100, 1, 22_050);
    bench.run(&url).unwrap();
    let told = bench.told.lock().unwrap();
    let wav = hound::WavReader::open(bench.importer.root.join(&told[0].filename)).unwrap();
    assert_eq!((wav.spec().channels, wav.spec().sample_rate), (1, 48_000));
    assert!(wav.duration().abs_diff(24_000) < 200, "{}", wav.duration());
}

#[test]
fn processors_get_a_tape_like_any_other() {
    let given = Arc::new(Lock::new(Vec::new()));
    let parts = Arc::clone(&given);
    let bench = bench(Some(Box::new(move |part| {
        parts.lock().unwrap().push(part);
        true
    })));
    let url = bench.wav("in/c.wav", 8_000, 1, 8_000);
    let orkuid = bench.run(&url).unwrap();
    assert!(bench.told.lock().unwrap().is_empty());
    let part = given.lock().unwrap().pop().unwrap();
    let mended = recover::mend(&part, None).unwrap().unwrap();
    assert_eq!((mended.duration_ms, mended.message.recid.as_str()), (1_000, orkuid.as_str()));
    assert!(!mended.message.tags.contains_key("recovered"));
}

#[test]
fn nothing_outside_is_read() {
    let bench = bench(None);
    let home = bench.home.path();
    let secret = bench.wav("elsewhere/s.wav", 8_000, 1, 8_000);
    symlink(home.join("elsewhere/s.wav"), home.join("in/link.wav")).unwrap();
    symlink(home.join("elsewhere"), home.join("in/folder")).unwrap();
    let inside = |name: &str| home.join("in").join(name).display().to_string();
    let outside = [
        secret,
        inside("../elsewhere/s.wav"),
        inside("link.wav"),
        inside("folder/s.wav"),
        inside(""),
        format!("{}/in", home.display()),
        "in/a.wav".to_owned(),
        "http://127.0.0.1/a.wav".to_owned(),
        String::new(),
    ];
    for url in &outside {
        let error = bench.run(url).unwrap_err();
        assert!(matches!(error, ImportError::Outside), "{url}: {error}");
    }
    fs::create_dir(home.join("in/deep")).unwrap();
    fs::write(home.join("in/text.wav"), "no audio").unwrap();
    for name in ["deep", "text.wav", "nothing.wav"] {
        assert!(matches!(bench.run(&inside(name)), Err(ImportError::Read(_))), "{name}");
    }
    let screens = Import { mediatype: "S".to_owned(), ..Import::default() };
    assert!(matches!(bench.importer.run(&screens), Err(ImportError::MediaType)));
    // Not even a part of a file is left.
    assert!(recover::parts(&bench.importer.root).unwrap().is_empty());
    assert!(bench.told.lock().unwrap().is_empty());
}
