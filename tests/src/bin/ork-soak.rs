//! Calls without end and faults at random; prints what became of the promises.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

use clap::Parser;
use ork_tests::soak::{Settings, run};
use std::{
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

/// Runs recorder and tracker under mixed calls and random faults; exit code 1 if something is not as promised.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
}

fn main() -> ExitCode {
    let Cli { settings } = Cli::parse();
    let seed = settings.seed.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(1, |now| u64::from(now.subsec_nanos()))
    });
    let say = |text: &str| eprintln!("ork-soak: {text}");
    say(&format!("seed {seed}"));
    match run(&settings, seed, say) {
        Ok(report) => {
            print!("{report}");
            if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            eprintln!("ork-soak: seed {seed}: {why}");
            ExitCode::from(2)
        }
    }
}
