//! What each stage of a packet's way costs: CPU per frame of a capture, as a Markdown table.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

use clap::Parser;
use nix::time::{ClockId, clock_gettime};
use ork_tests::path::{STAGES, Stage, walk};
use std::{path::PathBuf, process::ExitCode, time::Duration};

#[derive(Parser)]
#[command(about, version)]
struct Arguments {
    /// A capture of calls; `ork-gen calls` makes one.
    capture: PathBuf,
    /// Walks of each stage; the table has the least.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Only this one, once, and only the frames are told: for those who count instructions.
    #[arg(long)]
    only: Option<Stage>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("ork-stages: {why}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    if let Some(stage) = arguments.only {
        println!("{}", walk(&arguments.capture, stage)?.0);
        return Ok(());
    }
    println!("| up to and with | CPU ns/frame | of it this stage |\n|---|---:|---:|");
    let mut before = 0.0;
    for stage in STAGES {
        let mut least = f64::MAX;
        for _ in 0..arguments.rounds.max(1) {
            let begun = cpu()?;
            let (frames, sum) = walk(&arguments.capture, stage)?;
            std::hint::black_box(sum);
            let frames = u32::try_from(frames).map_or(f64::MAX, f64::from).max(1.0);
            least = least.min((cpu()? - begun).as_secs_f64() * 1e9 / frames);
        }
        let name = format!("{stage:?}").to_lowercase();
        println!("| {name} | {least:.0} | {:.0} |", least - before);
        before = least;
    }
    Ok(())
}

fn cpu() -> Result<Duration, String> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_err(|e| e.to_string())?;
    Ok(time.into())
}
