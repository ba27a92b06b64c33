//! Decoders against the vectors of their standards, and tapes against independent decoders: those of the
//! developer, where `ORK_FIELD_CAPTURES` names a folder that has `codec-vectors` and `reference`.

#![expect(clippy::cast_precision_loss, reason = "statistics of samples")]
#![expect(clippy::print_stdout, reason = "the figures that were measured")]

use ork_tests::{programs::program, skip};
use orkaudio::codecs::{Gpl, Libraries};
use orkbase::audio::codec::{Codec, DecoderSource as _};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn folder(name: &str) -> Option<PathBuf> {
    let found = std::env::var_os("ORK_FIELD_CAPTURES").map(|folder| Path::new(&folder).join(name));
    let found = found.filter(|folder| folder.is_dir());
    if found.is_none() {
        skip::note(name, "ORK_FIELD_CAPTURES names no folder with it");
    }
    found
}

/// Vectors are 16-bit words, little-endian.
fn words(path: &Path) -> Vec<i16> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    bytes.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect()
}

fn codes(path: &Path) -> Vec<u8> {
    words(path).iter().map(|word| word.to_le_bytes()[0]).collect()
}

fn decoded(name: &str, clock: u32, payload: &[u8], packet: usize) -> Vec<i16> {
    let codec = Codec::named(name, clock, 1, None).unwrap();
    let mut decoder = Libraries { gpl: Gpl::Use }.decoder(codec, None).unwrap();
    let mut out = Vec::new();
    for payload in payload.chunks(packet) {
        decoder.decode(payload, &mut out).unwrap();
    }
    out
}

#[test]
fn g711_gives_the_vectors_of_the_itu() {
    let Some(folder) = folder("codec-vectors/g711/test_data") else { return };
    for (name, source, want) in
        [("PCMA", "sweep-r.a", "sweep-r.rea"), ("PCMU", "sweep-r.u", "sweep-r.reu")]
    {
        let mut codes = codes(&folder.join(source));
        if name == "PCMA" {
            // Without the inversion of even bits.
            let raw = decoded(name, 8_000, &codes, 160) == words(&folder.join(want));
            codes.iter_mut().filter(|_| !raw).for_each(|code| *code ^= 0x55);
        }
        let got = decoded(name, 8_000, &codes, 160);
        let want = words(&folder.join(want));
        assert_eq!(got.len(), want.len(), "{name}");
        let wrong = got.iter().zip(&want).filter(|(got, want)| got != want).count();
        assert_eq!(wrong, 0, "{name}: of {} samples", want.len());
    }
}

#[test]
fn g722_gives_the_vectors_of_the_itu() {
    let Some(folder) = folder("codec-vectors/g722/test_data") else { return };
    let got = decoded("G722", 8_000, &codes(&folder.join("codspw.cod")), 160);
    assert!(got == words(&folder.join("outsp1.bin")), "bit for bit");
}

/// A-law as 13 bits, for a distance in steps.
fn steps(code: i16) -> i32 {
    let code = code.to_le_bytes()[0] ^ 0x55;
    let size = i32::from(code & 0x7f);
    if code & 0x80 != 0 { size } else { -1 - size }
}

#[test]
fn g726_stays_within_a_step_of_the_vectors() {
    let Some(folder) = folder("codec-vectors/g726/test_data") else { return };
    for bits in 2..=5usize {
        let rate = bits * 8;
        let codes = codes(&folder.join(format!("rn{rate}fa.i")));
        let mut packed = vec![0u8; (codes.len() * bits).div_ceil(8)];
        for n in 0..codes.len() * bits {
            packed[n / 8] |= (codes[n / bits] >> (n % bits) & 1) << (n % 8);
        }
        let got = decoded(&format!("G726-{rate}"), 8_000, &packed, 20 * bits);
        let want = words(&folder.join(format!("rn{rate}fa.o")));
        assert_eq!(got.len(), want.len());
        // The vectors are A-law after synchronous tandem adjustment, which linear output does not have.
        let law = ork_tests::generator::law::Codec::Pcma;
        let far =
            |(got, want): (&i16, &i16)| (steps(i16::from(law.encode(*got))) - steps(*want)).abs();
        let worst = got.iter().zip(&want).map(far).max().unwrap();
        assert!(worst <= 1, "{rate} kbit/s: {worst} steps");
    }
}

struct Sound {
    rate: u32,
    samples: Vec<f64>,
}

fn channel(path: &Path, channel: usize) -> Sound {
    let wav = hound::WavReader::open(path).unwrap();
    let (rate, width) = (wav.spec().sample_rate, usize::from(wav.spec().channels));
    let all: Vec<f64> = wav.into_samples::<i16>().map(|s| f64::from(s.unwrap())).collect();
    let samples = all.chunks(width).filter_map(|frame| frame.get(channel).copied()).collect();
    Sound { rate, samples }
}

fn correlation(one: &[f64], other: &[f64]) -> f64 {
    let n = one.len().min(other.len());
    let (one, other) = (&one[..n], &other[..n]);
    let mean = |of: &[f64]| of.iter().sum::<f64>() / n as f64;
    let (a, b) = (mean(one), mean(other));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in one.iter().zip(other) {
        ab += (x - a) * (y - b);
        aa += (x - a).powi(2);
        bb += (y - b).powi(2);
    }
    ab / (aa * bb).sqrt().max(1e-9)
}

fn envelope(sound: &Sound) -> Vec<f64> {
    let window = sound.rate as usize / 100;
    let level = |w: &[f64]| (w.iter().map(|s| s * s).sum::<f64>() / w.len() as f64).sqrt();
    sound.samples.chunks(window).map(level).collect()
}

/// How well `got` follows `want`: their envelopes at the best of all shifts, and the samples a second at
/// a time, each at its own best shift near that.
fn likeness(got: &Sound, want: &Sound) -> (f64, f64) {
    assert_eq!(got.rate, want.rate);
    let (one, other) = (envelope(got), envelope(want));
    let shifted = |shift: usize| correlation(one.get(shift..).unwrap_or(&[]), &other);
    let most = one.len().saturating_sub(other.len()).max(1) + 20;
    let shift = (0..most).max_by(|a, b| shifted(*a).total_cmp(&shifted(*b))).unwrap();
    let window = got.rate as usize;
    let near = shift * window / 100;
    let mut all = Vec::new();
    for (n, piece) in want.samples.chunks_exact(window).enumerate() {
        if piece.iter().map(|s| s * s).sum::<f64>() / (window as f64) < 1_000.0 {
            continue;
        }
        let middle = near + n * window;
        let best = (middle.saturating_sub(window / 50)..=middle + window / 50)
            .filter_map(|at| got.samples.get(at..at + window))
            .map(|got| correlation(got, piece))
            .fold(0.0, f64::max);
        all.push(best);
    }
    all.sort_by(f64::total_cmp);
    (shifted(shift), all.get(all.len() / 2).copied().unwrap_or(0.0))
}

#[test]
fn tapes_sound_as_independent_decoders_say() {
    let Some(references) = folder("reference") else { return };
    let home = tempfile::tempdir().unwrap();
    let list: Vec<Value> =
        serde_json::from_slice(&fs::read(references.join("REFERENCE.json")).unwrap()).unwrap();
    // One speaker in every codec.
    let wanted = |entry: &&Value| entry["wav"].as_str().is_some_and(|w| w.starts_with("sip-rtp-"));
    let mut replays: BTreeMap<(String, u64), Vec<Value>> = BTreeMap::new();
    let mut compared = 0;
    for entry in list.iter().filter(wanted) {
        let (capture, rate) = (entry["capture"].as_str().unwrap(), entry["rate"].as_u64().unwrap());
        let output = home.path().join(format!("{}-{rate}", capture.replace('/', "-")));
        let tapes = replays.entry((capture.to_owned(), rate)).or_insert_with(|| {
            let done = Command::new(program("orkaudio"))
                .args(["replay", "--json", "--set", &format!("tapes.rate={rate}"), "--output"])
                .arg(&output)
                .arg(references.parent().unwrap().join(capture))
                .output()
                .unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            let text = String::from_utf8(done.stdout).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        });
        let (name, ssrc) =
            (entry["wav"].as_str().unwrap(), entry["ssrc"].as_str().unwrap().to_lowercase());
        let leg_of = |tape: &Value| {
            let legs = tape["legs"].as_array()?;
            legs.iter().find(|leg| leg["ssrc"] == ssrc && leg["src"] == entry["src"]).cloned()
        };
        let (tape, leg) = tapes.iter().find_map(|tape| Some((tape, leg_of(tape)?))).unwrap();
        if leg["undecoded"].as_u64() != Some(0) {
            skip::note(name, "no library here decodes it");
            continue;
        }
        let side = usize::from(leg["side"] == "remote");
        let got = channel(&output.join(tape["file"].as_str().unwrap()), side);
        let want = channel(&references.join(name), 0);
        let (envelope, wave) = likeness(&got, &want);
        let lossy = ["g729", "opus", "speex"].iter().any(|codec| name.contains(codec));
        println!("{name}: envelope {envelope:.4}, samples {wave:.4}");
        assert!(envelope > if lossy { 0.95 } else { 0.99 }, "{name}: envelope {envelope}");
        assert!(lossy || wave > 0.99, "{name}: samples {wave}");
        compared += 1;
    }
    assert!(compared > 10, "{compared}");
}
