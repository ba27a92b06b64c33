//! The recorder's command line.

use clap::{Parser, Subcommand};
use orkaudio::{config::Config, replay};
use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Handle captures as a live interface would deliver them.
    Replay {
        /// Hold frames back to the speed of the capture.
        #[arg(long)]
        paced: bool,
        /// Where tapes go.
        #[arg(long, default_value = "tapes")]
        output: PathBuf,
        /// One JSON object per tape on standard output.
        #[arg(long)]
        json: bool,
        /// Captures: files, folders, or - for standard input.
        #[arg(required = true)]
        captures: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    let Verb::Replay { paced, output, json, captures } = Arguments::parse().command;
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut config = Config::default();
    config.tapes.sync = false;
    let job = replay::Replay { captures, folder: output, paced, json, filter: String::new() };
    let stop = Arc::new(AtomicBool::new(false));
    match replay::run(&config, &job, Box::new(replay::Nobody), |_| {}, &stop) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
