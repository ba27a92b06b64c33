//! Runs the fault matrix and prints its table.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

use clap::Parser;
use ork_tests::faults::{Bench, Effort, Found, HEAD, line, rows};
use std::{io::Write, path::PathBuf, process::ExitCode, time::Instant};

/// Makes faults happen and tells what became of the promises.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
struct Cli {
    /// Only these rows, as R01,R10; a letter and a digit stand for all that begin so (R0).
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// How often each fault is made to happen.
    #[arg(long, value_enum, default_value_t = Effort::Quick)]
    effort: Effort,
    /// The folder with orkaudio and orktrack.
    #[arg(long)]
    programs: PathBuf,
    /// Where rows may write; a folder is made in it and removed.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    scratch: PathBuf,
    /// Write the table to this file, too.
    #[arg(long)]
    table: Option<PathBuf>,
    /// Only list the rows.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("ork-faults: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> std::io::Result<bool> {
    let all = rows();
    let wanted = |id: &str| cli.rows.is_empty() || cli.rows.iter().any(|w| id.starts_with(w));
    if let Some(unknown) = cli.rows.iter().find(|w| !all.iter().any(|r| r.id.starts_with(*w))) {
        return Err(std::io::Error::other(format!("no row begins with {unknown}; see --list")));
    }
    let scratch = tempfile::Builder::new().prefix("ork-faults-").tempdir_in(&cli.scratch)?;
    let bench = Bench {
        programs: cli.programs.clone(),
        scratch: scratch.path().to_owned(),
        effort: cli.effort,
    };
    let mut table = HEAD.to_owned();
    let mut kept = true;
    println!("{HEAD}");
    for row in all.iter().filter(|row| wanted(row.id)) {
        if cli.list {
            println!("| {} | {} | {} |  |  |  |", row.id, row.fault, row.promised);
            continue;
        }
        let begin = Instant::now();
        let found = (row.run)(&bench);
        kept &= !matches!(found, Found::Broken { .. });
        let line = line(row, &found);
        println!("{line}");
        std::io::stdout().flush()?;
        eprintln!("{}: {:.1} s", row.id, begin.elapsed().as_secs_f64());
        table.push('\n');
        table.push_str(&line);
    }
    if let Some(path) = &cli.table {
        std::fs::write(path, table + "\n")?;
    }
    Ok(kept)
}
