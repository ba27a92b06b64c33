//! Writes captures whose content is known: many calls with counter audio, or one scenario.

#![expect(clippy::print_stderr, reason = "a command line tool talks on stderr")]

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use ork_tests::generator::calls::{self, Spec};
use ork_tests::scenario;

#[derive(Parser)]
#[command(
    about,
    version,
    after_help = "Examples:\n  \
    ork-gen calls --calls 100 --seconds 30 --out c100.pcap --truth c100.json\n  \
    ork-gen calls --calls 10 --codec pcma --loss 0.02 --reorder 0.05 --seed 7 --out x.pcap\n  \
    ork-gen scenario 'a->b INVITE; b->a 200; a->b ACK; rtp 2s; a->b BYE' --out call.pcap"
)]
enum Command {
    /// Many calls whose audio carries call, side and frame number (see generator/law.rs).
    Calls {
        #[command(flatten)]
        spec: Spec,
        /// Capture to write.
        #[arg(long)]
        out: PathBuf,
        /// What it holds, as JSON.
        #[arg(long)]
        truth: Option<PathBuf>,
    },
    /// One scenario in the words of scenario.rs.
    Scenario {
        /// The words; - reads them from standard input.
        text: String,
        /// Capture to write.
        #[arg(long)]
        out: PathBuf,
    },
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Calls { spec, out, truth } => write_calls(&spec, &out, truth.as_deref()),
        Command::Scenario { text, out } => write_scenario(text, &out),
    };
    match done {
        Ok(said) => {
            eprintln!("{said}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("ork-gen: {why}");
            ExitCode::FAILURE
        }
    }
}

fn write_calls(spec: &Spec, out: &Path, truth: Option<&Path>) -> Result<String, String> {
    let begun = Instant::now();
    let fail = |path: &Path| {
        let path = path.display().to_string();
        move |e: std::io::Error| format!("{path}: {e}")
    };
    let file = File::create(out).map_err(fail(out))?;
    let told = calls::write(spec, file).map_err(fail(out))?;
    if let Some(path) = truth {
        let file = File::create(path).map_err(fail(path))?;
        let mut file = BufWriter::new(file);
        serde_json::to_writer(&mut file, &told).map_err(|e| format!("{}: {e}", path.display()))?;
        file.flush().map_err(fail(path))?;
    }
    Ok(format!(
        "{}: {} calls, {} RTP packets, {} SIP messages, {:.1} s",
        out.display(),
        told.calls.len(),
        told.rtp_packets,
        told.sip_packets,
        begun.elapsed().as_secs_f64()
    ))
}

fn write_scenario(text: String, out: &Path) -> Result<String, String> {
    let text = if text == "-" {
        std::io::read_to_string(std::io::stdin()).map_err(|e| format!("standard input: {e}"))?
    } else {
        text
    };
    let scene = scenario::play(&text)?;
    scene.write_pcap(out).map_err(|e| format!("{}: {e}", out.display()))?;
    Ok(format!("{}: {} frames", out.display(), scene.frames.len()))
}
