//! Carries the packets of a capture another way: tags, tunnels, fragments, TCP, copies.

#![expect(clippy::print_stderr, reason = "a command line tool talks on stderr")]

use clap::Parser;
use ork_tests::wrap::{Capture, help};
use std::{path::PathBuf, process::ExitCode};

#[derive(Parser)]
#[command(
    about,
    version,
    after_help = format!(
        "Words, from the inside out:\n{}\n\nExamples:\n  \
         ork-wrap call.pcap out.pcap vlan=100 erspan=2\n  \
         ork-wrap call.pcap out.pcap tcp=split:100 vxlan=8472 mpls=16,17\n  \
         ork-wrap call.pcap out.pcap copy=50,tagged\n\n\
         What it writes makes the same tapes as what it read: orkaudio replay --output tapes out.pcap",
        help()
    )
)]
struct Arguments {
    /// Capture of Ethernet frames, pcap or pcapng
    #[arg(value_name = "IN.pcap")]
    input: PathBuf,
    /// Capture to write
    #[arg(value_name = "OUT.pcap")]
    output: PathBuf,
    /// What to do with every frame
    #[arg(value_name = "WORD", required = true)]
    words: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(frames) => {
            eprintln!("{frames} frames");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("ork-wrap: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<usize, String> {
    let capture = Capture::read(&arguments.input)?.wrapped(&arguments.words.join(" "))?;
    let path = &arguments.output;
    capture.write(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(capture.frames.len())
}
