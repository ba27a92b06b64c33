//! Prints how many calls one core decodes, and how many it transcodes, as a Markdown table.
//!
//! `scripts/bench` calls this after the replays. Decoding is what a tape worker does for both sides of
//! a call in packets of 20 ms, without placing and writing; transcoding is `orkaudio convert` of a
//! stereo tape, whole.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]
#![expect(clippy::cast_possible_truncation, reason = "made samples, and whole numbers for a table")]

use clap::Parser;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use opus_pure::{Application, MAX_PACKET_BYTES, OpusEncoder};
use ork_tests::measure::{Words, command};
use orkaudio::codecs::{Gpl, Libraries};
use orkbase::audio::codec::{Codec, DecoderSource as _};
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

#[derive(Parser)]
#[command(about, version)]
struct Arguments {
    /// The recorder of this repository.
    #[arg(long)]
    orkaudio: PathBuf,
    /// Tapes are made and transcoded in a folder of this one's.
    #[arg(long)]
    dir: PathBuf,
    /// Seconds of audio for each row.
    #[arg(long, default_value_t = 600)]
    seconds: u32,
}

/// Packets of a codec, to be decoded over and over.
struct Voice {
    name: &'static str,
    codec: Option<Codec>,
    packets: Vec<Vec<u8>>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("ork-codecs: {why}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    println!("\n| one core | calls | CPU ms per call and second |");
    println!("|---|---:|---:|");
    for voice in voices()? {
        let rate = decode(&voice, arguments.seconds);
        row(&format!("decodes {}", voice.name), rate);
    }
    let folder = arguments.dir.join(format!("ork-codecs-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let done = transcode(arguments, &folder);
    fs::remove_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    done
}

/// `cost`: seconds of CPU for a second of a call.
fn row(what: &str, cost: Option<f64>) {
    match cost {
        Some(cost) => println!("| {what} | {:.0} | {:.3} |", 1.0 / cost.max(1e-9), cost * 1e3),
        None => println!("| {what} | not on this machine | |"),
    }
}

/// Something between a voice and noise: a decoder has work with it.
fn sample(n: u32, chance: &mut u32) -> i16 {
    *chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    let time = f64::from(n) / 48_000.0;
    let pitch = 110.0 + 30.0 * (time * 3.0).sin();
    let voice: f64 = (1..12)
        .map(|k| (time * pitch * f64::from(k) * std::f64::consts::TAU).sin() / f64::from(k))
        .sum();
    let swell = (time * 4.0 * std::f64::consts::PI).sin().abs();
    (voice * swell * 6_000.0) as i16 + i16::from((*chance >> 24) as u8) - 128
}

fn voices() -> Result<Vec<Voice>, String> {
    let mut chance = 7u32;
    let mut noise = |bytes: usize| -> Vec<Vec<u8>> {
        let mut byte = || {
            chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (chance >> 24) as u8
        };
        (0..50).map(|_| (0..bytes).map(|_| byte()).collect()).collect()
    };
    let plain = |name, codec: &str, packets| Voice {
        name,
        codec: Codec::named(codec, 8_000, 1, None),
        packets,
    };
    let mut all = vec![
        plain("G.711", "PCMU", noise(160)),
        plain("G.722", "G722", noise(160)),
        plain("G.729", "G729", noise(20)),
    ];
    let failed = |why| format!("the Opus encoder: {why:?}");
    let mut encoder = OpusEncoder::new(48_000, 1, Application::Voip).map_err(failed)?;
    encoder.bitrate_bps = 24_000;
    let mut packets = Vec::new();
    for packet in 0..250u32 {
        let mut chance = packet;
        let pcm: Vec<i16> = (0..960).map(|n| sample(packet * 960 + n, &mut chance)).collect();
        let mut room = vec![0; MAX_PACKET_BYTES];
        let length = encoder.encode_s16(&pcm, 960, &mut room).map_err(failed)?;
        room.truncate(length);
        packets.push(room);
    }
    let codec = Codec::named("opus", 48_000, 2, None);
    all.push(Voice { name: "Opus (24 kbit/s)", codec, packets });
    Ok(all)
}

fn cpu_s() -> f64 {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return 0.0 };
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(u64::try_from(micros).unwrap_or(0)).as_secs_f64()
}

/// CPU seconds for a second of a call: two sides, 50 packets each.
fn decode(voice: &Voice, seconds: u32) -> Option<f64> {
    let source = Libraries { gpl: Gpl::Use };
    let mut decoders = [source.decoder(voice.codec?, None)?, source.decoder(voice.codec?, None)?];
    let mut out = Vec::new();
    let begun = cpu_s();
    for packet in voice.packets.iter().cycle().take(usize::try_from(seconds).ok()? * 50) {
        for decoder in &mut decoders {
            out.clear();
            // Noise may be refused: that takes its time too.
            let _samples = decoder.decode(packet, &mut out).unwrap_or(0);
        }
    }
    Some((cpu_s() - begun) / f64::from(seconds))
}

fn transcode(arguments: &Arguments, folder: &Path) -> Result<(), String> {
    let tape = folder.join("tape.wav");
    let spec = hound::WavSpec {
        channels: 2,
        sample_rate: 8_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let failed = |error: hound::Error| format!("{}: {error}", tape.display());
    let mut wav = hound::WavWriter::create(&tape, spec).map_err(failed)?;
    let mut chance = 3;
    for n in 0..arguments.seconds * 8_000 {
        for side in 0..2 {
            wav.write_sample(sample(n * 6 + side * 77_777, &mut chance)).map_err(failed)?;
        }
    }
    wav.finalize().map_err(failed)?;
    for format in ["opus", "mp3", "flac"] {
        let made = folder.join(format!("tape.{format}"));
        let argv = [
            arguments.orkaudio.display().to_string(),
            "convert".to_owned(),
            "--format".to_owned(),
            format.to_owned(),
            "-o".to_owned(),
            made.display().to_string(),
            tape.display().to_string(),
        ];
        let words =
            Words { stdout: Some(folder.join("said")), stderr: Some(folder.join("complained")) };
        let cost = command(&argv, &words, Duration::from_secs(3_600)).map_err(|e| e.to_string())?;
        let done = cost.exit == Some(0) && made.exists();
        let rate = done.then(|| cost.cpu_s() / f64::from(arguments.seconds));
        row(&format!("transcodes to {format}"), rate);
    }
    Ok(())
}
