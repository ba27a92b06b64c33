//! Records generated calls live from a veth pair, more of them each time until frames are lost, and prints what
//! it cost, as a Markdown table; then some while people listen, and some captured by several threads.
//!
//! To be started in a network namespace of its own, as `scripts/bench live` does (`unshare --net`): it makes the
//! pair there, and both end with it.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

use clap::Parser;
use ork_tests::live::{Asked, Field, Row};
use std::{path::PathBuf, process::ExitCode};

#[derive(Parser)]
#[command(about, version)]
struct Arguments {
    /// Calls at once, a row for each; 100 packets a second a call. Rows after the first loss are left out.
    #[arg(long, value_delimiter = ',', default_value = "500,1000,2000,3000,4000,5000,6000")]
    calls: Vec<u32>,
    /// Seconds of audio in each call.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Listeners of the rows after that, each to a call of its own as far as there are so many.
    #[arg(long, value_delimiter = ',', default_value = "0,10,100")]
    listeners: Vec<u32>,
    /// Calls while people listen.
    #[arg(long, default_value_t = 200)]
    heard: u32,
    /// Threads that capture, of the rows after that.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4")]
    threads: Vec<u32>,
    /// Calls that they share.
    #[arg(long, default_value_t = 2_000)]
    shared: u32,
    /// Captures and recordings go into a folder of this one's, which is removed.
    #[arg(long)]
    dir: PathBuf,
    /// Recordings go into a folder of this one's instead: of another disk.
    #[arg(long)]
    tapes: Option<PathBuf>,
    /// The recorder.
    #[arg(long)]
    orkaudio: PathBuf,
    /// More settings of the recorder, as tapes.workers=2.
    #[arg(long)]
    set: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("ork-live: {why}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    let scratch = tempfile::tempdir_in(&arguments.dir).map_err(|e| e.to_string())?;
    let elsewhere = arguments.tapes.as_ref().map(tempfile::tempdir_in).transpose();
    let elsewhere = elsewhere.map_err(|e| e.to_string())?;
    let tapes = elsewhere.as_ref().unwrap_or(&scratch).path().join("tapes");
    let field = Field::new(&arguments.orkaudio, scratch.path(), &tapes, &arguments.set)?;
    let alone = field.alone(*arguments.calls.iter().max().unwrap_or(&1000))?;
    println!("The sender alone, as fast as it can, nobody recording: {alone} packets/s.\n");
    println!("{}", Row::HEAD);
    let mut good = true;
    for &calls in &arguments.calls {
        eprintln!("{calls} calls");
        let row =
            field.row(Asked { calls, seconds: arguments.seconds, listeners: 0, threads: 1 })?;
        println!("{row}");
        if row.dropped > 0 {
            break;
        }
        good &= row.wrong == 0;
    }
    println!("\n{}", Row::HEAD);
    for &listeners in &arguments.listeners {
        let seconds = arguments.seconds;
        eprintln!("{} calls, {listeners} listeners", arguments.heard);
        let row = field.row(Asked { calls: arguments.heard, seconds, listeners, threads: 1 })?;
        println!("{row}");
        good &= row.wrong == 0 && row.dropped == 0;
    }
    println!("\n{}", Row::HEAD);
    for &threads in &arguments.threads {
        let (calls, seconds) = (arguments.shared, arguments.seconds);
        eprintln!("{calls} calls, {threads} capture threads");
        let row = field.row(Asked { calls, seconds, listeners: 0, threads })?;
        println!("{row}");
        good &= row.wrong == 0 && row.dropped == 0;
    }
    println!(
        "\nCPU is that of all threads of the recorder by the scheduler's own account, while frames were sent. \
         Frames are lost where the kernel says so; wrong is what `ork-check` finds beyond."
    );
    Ok(good)
}
