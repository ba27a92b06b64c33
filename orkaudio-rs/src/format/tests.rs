//! Every format is written, then opened and measured by others: hound, our own decoders, ffmpeg.

#![expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "small numbers")]

use super::*;
use std::fs::File;
use std::{f64::consts::TAU, path::Path, process::Command};

fn labels() -> Labels {
    let message = "type=tape&recid=20140127_114145_AAAB&stage=ready&captureport=AAAB&\
                   timestamp=1390822905&filename=a.wav&localparty=1001&remoteparty=Anna%20B%C3%B6ll&\
                   direction=in&nativecallid=abc%40pbx&";
    Labels {
        orkuid: "20140127_114145_AAAB".to_owned(),
        local: "1001".to_owned(),
        remote: "Anna Böll".to_owned(),
        date: "2014-01-27T11:41:45+00:00".to_owned(),
        message: message.to_owned(),
    }
}

/// Something like a voice: a gliding tone with harmonics that swells, another on each channel.
fn voice(layout: Layout, frames: usize) -> Vec<i16> {
    let channels = usize::from(layout.channels);
    let mut samples = Vec::with_capacity(frames * channels);
    for n in 0..frames {
        let t = n as f64 / f64::from(layout.rate);
        for channel in 0..channels {
            let base = 140.0 + 90.0 * channel as f64;
            let phase = TAU * (base * t + 8.0 * (TAU * 0.7 * t).sin());
            let swell = 0.55 + 0.45 * (TAU * 2.3 * t + channel as f64).sin();
            let sum: f64 = (1..=6).map(|k| (phase * f64::from(k)).sin() / f64::from(k)).sum();
            samples.push((sum * swell * 5_000.0) as i16);
        }
    }
    samples
}

fn one(samples: &[i16], channels: usize, channel: usize) -> Vec<f64> {
    samples.iter().skip(channel).step_by(channels).map(|s| f64::from(*s)).collect()
}

/// Normalised cross-correlation at the best offset within 10 ms.
pub(crate) fn likeness(one: &[f64], other: &[f64], reach: usize) -> (f64, i64) {
    let at = |shift: i64| {
        let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
        for (n, a) in one.iter().enumerate() {
            let Ok(m) = usize::try_from(n as i64 + shift) else { continue };
            let Some(b) = other.get(m) else { continue };
            ab += a * b;
            aa += a * a;
            bb += b * b;
        }
        if aa * bb > 0.0 { ab / (aa * bb).sqrt() } else { 0.0 }
    };
    let reach = reach as i64;
    (-reach..=reach).map(|shift| (at(shift), shift)).max_by(|a, b| a.0.total_cmp(&b.0)).unwrap()
}

fn write(format: Format, path: &Path, layout: Layout, samples: &[i16]) {
    let mut encoder = format.encoder(File::create(path).unwrap(), layout, &labels(), 0).unwrap();
    // Pieces that fit no block of any format.
    for piece in samples.chunks(usize::from(layout.channels) * 777) {
        encoder.write(piece).unwrap();
    }
    encoder.finish().unwrap();
}

fn there(program: &str) -> bool {
    let found = Command::new(program).arg("-version").output().is_ok();
    if !found {
        crate::skipped("formats opened by others", &format!("no {program} (Debian: ffmpeg)"));
    }
    found
}

fn writable(format: Format) -> bool {
    if let Err(why) = format.writer() {
        crate::skipped(&format!("writing {}", format.as_str()), &why);
        return false;
    }
    true
}

fn layouts(format: Format) -> Vec<Layout> {
    let rates: &[u32] = if format == Format::Gsm { &[8_000] } else { &[8_000, 16_000, 48_000] };
    let most = if format.holds_stereo() { 2 } else { 1 };
    let of = |&rate| (1..=most).map(move |channels| Layout { rate, channels });
    rates.iter().flat_map(of).collect()
}

#[test]
fn wav_files_are_read_back_by_us() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("a.wav");
    for (format, least) in
        [(Format::Pcm, 1.0), (Format::ALaw, 0.999), (Format::MuLaw, 0.999), (Format::Gsm, 0.9)]
    {
        if !writable(format) {
            continue;
        }
        for layout in layouts(format) {
            let samples = voice(layout, 20_011);
            write(format, &path, layout, &samples);
            let mut reader = WavReader::open(&path).unwrap();
            assert_eq!((reader.layout(), reader.labels()), (layout, labels()));
            assert!(reader.frames().abs_diff(20_011) < 320, "{}", reader.frames());
            let (mut got, mut block) = (Vec::new(), Vec::new());
            loop {
                reader.read(&mut block).unwrap();
                if block.is_empty() {
                    break;
                }
                got.extend_from_slice(&block);
            }
            let channels = usize::from(layout.channels);
            for channel in 0..channels {
                let (like, shift) =
                    likeness(&one(&samples, channels, channel), &one(&got, channels, channel), 8);
                assert!(like >= least - 1e-9 && shift == 0, "{format:?} {layout:?} {like} {shift}");
            }
        }
    }
}

#[test]
fn pcm_is_what_hound_reads() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("a.wav");
    let layout = Layout { rate: 16_000, channels: 2 };
    let samples = voice(layout, 4_001);
    write(Format::Pcm, &path, layout, &samples);
    let wav = hound::WavReader::open(&path).unwrap();
    assert_eq!(wav.into_samples::<i16>().map(Result::unwrap).collect::<Vec<_>>(), samples);
}

/// What ffprobe says: codec, rate, channels, seconds, tags.
fn probe(path: &Path) -> serde_json::Value {
    let out = Command::new("ffprobe")
        .args(["-v", "error", "-of", "json", "-show_format", "-show_streams"])
        .arg(path)
        .output()
        .unwrap();
    assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
    serde_json::from_slice(&out.stdout).unwrap()
}

/// A tag by its name, wherever the container keeps it.
fn tag(told: &serde_json::Value, name: &str) -> Option<String> {
    let places = [&told["format"]["tags"], &told["streams"][0]["tags"]];
    let maps = places.into_iter().filter_map(serde_json::Value::as_object);
    let mut all = maps.flatten();
    let found = all.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    found.1.as_str().map(str::to_owned)
}

#[test]
fn every_format_is_opened_and_measured_by_ffmpeg() {
    if !there("ffprobe") || !there("ffmpeg") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    for format in Format::ALL {
        if !writable(format) {
            continue;
        }
        let (codec, least) = match format {
            Format::Pcm => ("pcm_s16le", 1.0),
            Format::ALaw => ("pcm_alaw", 0.999),
            Format::MuLaw => ("pcm_mulaw", 0.999),
            Format::Gsm => ("gsm_ms", 0.9),
            Format::Opus => ("opus", 0.9),
            Format::Flac => ("flac", 1.0),
            Format::Mp3 => ("mp3", 0.9),
        };
        for layout in layouts(format) {
            let path = home.path().join(format!("a.{}", format.extension()));
            let frames = usize::try_from(layout.rate).unwrap() * 3 + 123;
            let samples = voice(layout, frames);
            write(format, &path, layout, &samples);
            let told = probe(&path);
            let stream = &told["streams"][0];
            assert_eq!(stream["codec_name"], codec);
            assert_eq!(stream["channels"], layout.channels, "{format:?}");
            let rate = if format == Format::Opus { 48_000 } else { layout.rate };
            assert_eq!(stream["sample_rate"], rate.to_string(), "{format:?}");
            let seconds: f64 = told["format"]["duration"].as_str().unwrap().parse().unwrap();
            let wanted = frames as f64 / f64::from(layout.rate);
            let frame = match format {
                Format::Gsm => 0.04,
                // The header's length counts whole frames of 576 or 1152 samples and the padding.
                Format::Mp3 => 3.0 * 1_152.0 / f64::from(layout.rate),
                Format::Opus => 0.02,
                Format::Pcm | Format::ALaw | Format::MuLaw | Format::Flac => 0.001,
            };
            assert!((seconds - wanted).abs() <= frame, "{format:?} {layout:?} {seconds} {wanted}");
            assert_eq!(tag(&told, "title").as_deref(), Some("20140127_114145_AAAB"), "{told}");
            assert_eq!(tag(&told, "artist").as_deref(), Some("1001"), "{told}");
            assert!(tag(&told, "date").unwrap().starts_with("2014-01-27"), "{told}");
            assert!(
                tag(&told, "comment").unwrap().contains("recid=20140127_114145_AAAB"),
                "{told}"
            );
            if format.extension() != "wav" {
                assert_eq!(tag(&told, "remoteparty").as_deref(), Some("Anna Böll"), "{told}");
                assert_eq!(tag(&told, "nativecallid").as_deref(), Some("abc@pbx"), "{told}");
            }
            let out = Command::new("ffmpeg")
                .args(["-v", "error", "-nostdin", "-i"])
                .arg(&path)
                .args(["-f", "s16le", "-c:a", "pcm_s16le", "-ar", &layout.rate.to_string(), "-"])
                .output()
                .unwrap();
            assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
            let got: Vec<i16> =
                out.stdout.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
            let channels = usize::from(layout.channels);
            // What MP3 adds behind the end is not taken off by every version of ffmpeg.
            let most = if format == Format::Mp3 { 3 * 1_152 } else { 320 };
            assert!((got.len() / channels).abs_diff(frames) <= most, "{format:?} {}", got.len());
            for channel in 0..channels {
                let (like, shift) =
                    likeness(&one(&samples, channels, channel), &one(&got, channels, channel), 8);
                assert!(like >= least - 1e-9, "{format:?} {layout:?} {like} at {shift}");
            }
        }
    }
}

#[test]
fn a_file_of_more_than_four_gigabytes_is_opened_by_others() {
    if !there("ffprobe") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("large.wav");
    let layout = Layout { rate: 48_000, channels: 2 };
    let (seconds, data) = (24_000, 24_000u64 * 192_000);
    let header =
        crate::tape::wav::header_of(Coding::Pcm, layout, &labels().info(), seconds * 48_000, data);
    std::fs::write(&path, &header).unwrap();
    // A hole: nothing of it is on the disk.
    let file = File::options().write(true).open(&path).unwrap();
    if file.set_len(u64::try_from(header.len()).unwrap() + data).is_err() {
        crate::skipped("a WAV file beyond 4 GiB", "the temporary folder takes no sparse file");
        return;
    }
    let told = probe(&path);
    let told: f64 = told["format"]["duration"].as_str().unwrap().parse().unwrap();
    assert!((told - 24_000.0).abs() < 0.01, "{told}");
    assert_eq!(WavReader::open(&path).unwrap().frames(), seconds * 48_000);
}

#[test]
fn what_a_format_cannot_hold_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let file = || File::create(home.path().join("x")).unwrap();
    let stereo = Layout { rate: 8_000, channels: 2 };
    assert!(Format::Gsm.encoder(file(), stereo, &labels(), 0).is_err());
    for format in Format::ALL {
        assert_eq!(Format::read(format.as_str()), Some(format));
    }
}
