//! Holds the tapes recorded from a generated capture against its truth.
//!
//! One JSON line on standard output, a table on standard error; exit 0 only if nothing is wrong.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use ork_tests::generator::check::{Verdict, check, find_tapes, read_tapes};
use ork_tests::generator::truth::Truth;

#[derive(Parser)]
#[command(
    about,
    version,
    after_help = "Examples:\n  \
    orkaudio replay --json --output out c100.pcap > tapes.json\n  \
    ork-check --truth c100.json --tapes tapes.json --output out\n  \
    ork-check --truth c100.json --output out            any recorder's *.wav, told by their audio"
)]
struct Arguments {
    /// What the capture holds, as ork-gen wrote it.
    #[arg(long)]
    truth: PathBuf,
    /// What `orkaudio replay --json` printed. Without it every .wav is taken as a tape.
    #[arg(long)]
    tapes: Option<PathBuf>,
    /// The folder the tapes are in.
    #[arg(long)]
    output: PathBuf,
    /// No table.
    #[arg(long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match judge(&arguments).and_then(|verdict| {
        let line = serde_json::to_string(&verdict).map_err(|e| e.to_string())?;
        Ok((verdict, line))
    }) {
        Ok((verdict, line)) => {
            if !arguments.quiet {
                eprint!("{}", verdict.table());
            }
            println!("{line}");
            if verdict.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            eprintln!("ork-check: {why}");
            ExitCode::from(2)
        }
    }
}

fn judge(arguments: &Arguments) -> Result<Verdict, String> {
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
    };
    let truth: Truth = serde_json::from_str(&read(&arguments.truth)?)
        .map_err(|e| format!("{}: {e}", arguments.truth.display()))?;
    let (tapes, folder) = match &arguments.tapes {
        Some(path) => (read_tapes(&read(path)?)?, arguments.output.clone()),
        // Found tapes carry whole paths, which joining leaves as they are.
        None => {
            let folder = arguments.output.canonicalize();
            let folder = folder.map_err(|e| format!("{}: {e}", arguments.output.display()))?;
            (find_tapes(&folder)?, folder)
        }
    };
    Ok(check(&truth, &tapes, &folder))
}
