//! Runs one command and prints, as one JSON line, its CPU seconds, wall time and peak memory.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use ork_tests::measure::{Words, command, floor};

#[derive(Parser)]
#[command(about, version)]
enum Arguments {
    /// A command, to its end.
    Run {
        /// Its standard output goes here, or nowhere.
        #[arg(long)]
        stdout: Option<PathBuf>,
        /// Its standard error goes here, or where ours goes.
        #[arg(long)]
        stderr: Option<PathBuf>,
        /// Kill it after this many seconds.
        #[arg(long, default_value_t = 600)]
        limit: u64,
        /// The command and its arguments.
        #[arg(last = true, required = true)]
        argv: Vec<String>,
    },
    /// A plain read of one file and a plain write of so many bytes to another.
    Floor {
        /// File to read.
        #[arg(long)]
        read: PathBuf,
        /// File to write.
        #[arg(long)]
        write: PathBuf,
        /// Bytes to write.
        #[arg(long)]
        bytes: u64,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse() {
        Arguments::Run { stdout, stderr, limit, argv } => {
            command(&argv, &Words { stdout, stderr }, Duration::from_secs(limit))
        }
        Arguments::Floor { read, write, bytes } => floor(&read, &write, bytes),
    };
    match done.map_err(|e| e.to_string()).and_then(|cost| {
        let line = serde_json::to_string(&cost).map_err(|e| e.to_string())?;
        Ok((cost, line))
    }) {
        Ok((cost, line)) => {
            println!("{line}");
            if cost.exit == Some(0) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            eprintln!("ork-measure: {why}");
            ExitCode::from(2)
        }
    }
}
