//! The `orktrack` program: arguments, logging, exit code.
//!
//! Exit codes: 0 done, 1 it could not be done, 2 wrong arguments or configuration.

mod cli;

use clap::{Args, Parser, Subcommand};
use jiff::{Timestamp, tz::TimeZone};
use orktrack::{
    config::{self, Config, Mistakes, Sources},
    list,
    store::{Place, Query, Reader},
    when,
};
use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};

/// The tracker: who talked to whom, when, and where the recording lies.
#[derive(Debug, Parser)]
#[command(name = "orktrack", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// Shown below the help.
const EXAMPLES: &str = "\
First steps:
  orktrack run --set database=/tmp/ork.db            the tracker, here and now
  orktrack users add 5001 --firstname Ann            whose calls those of 5001 are
  echo 'a long password' | orktrack accounts add ann --role admin
  orktrack tokens add ann                            a secret for programs
  curl -H 'Authorization: Bearer SECRET' http://127.0.0.1:8080/api/v1/recordings?user=1
  curl 'http://127.0.0.1:8080/orktrack/command?cmd=livestatus&users=1'

Exit codes: 0 done, 1 it could not be done, 2 wrong arguments or configuration.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Take the recorders' messages and serve searches, until SIGTERM or SIGINT.
    Run(Run),
    /// Show recordings, newest first. Reads the database only.
    List(List),
    /// Show all that is known of one recording.
    Show(cli::Show),
    /// People: list, add, remove, import.
    Users(cli::Users),
    /// Groups: list, add, remove.
    Groups(cli::Groups),
    /// The kinds of tags that recordings have.
    Tags(cli::Tags),
    /// Accounts for people and programs: list, add.
    Accounts(cli::Accounts),
    /// API tokens: list, add, revoke.
    Tokens(cli::Tokens),
    /// Which calls are kept: list, put, remove.
    Programs(cli::Programs),
    /// How long recordings are kept.
    Retention(cli::Retention),
    /// Legal holds: list, add, remove.
    Holds(cli::Holds),
    /// Compare the database with the files, both ways; exit code 1 if something is missing.
    Check(cli::Check),
    /// Hold every file against its SHA-256, and against the recorders' ledgers; exit code 1 if anything was
    /// changed.
    Verify(cli::Verify),
    /// Copy the database while the tracker runs.
    Backup(cli::Backup),
}

#[derive(Debug, Args)]
struct Settings {
    /// The configuration [default: /etc/orktrack/orktrack.toml, if it is there]
    #[arg(long, value_name = "FILE", env = "ORKTRACK_CONFIG")]
    config: Option<PathBuf>,
    /// Override a setting, such as --set listen=0.0.0.0:8080; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

impl Settings {
    fn load(self) -> Result<Config, Mistakes> {
        config::load(&self.sources())
    }

    fn sources(self) -> Sources {
        let environment = std::env::vars_os().collect();
        Sources { file: self.config, environment, sets: self.sets }
    }
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    settings: Settings,
    /// Only check the configuration; exit code 2 if there is a mistake
    #[arg(long)]
    check_config: bool,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    settings: Settings,
    /// The database [default: the one of the configuration]
    #[arg(long, value_name = "FILE")]
    database: Option<PathBuf>,
    /// Begun at this moment or later: 2026-11-21, 2026-11-21T10:00, 1h, 2d
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<i64>,
    /// Begun before this moment
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<i64>,
    /// With this party on either side
    #[arg(long)]
    party: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// JSON in the shape of /api/v1/recordings, with times in Unix seconds
    #[arg(long)]
    json: bool,
}

/// What went wrong, in one line, and the exit code.
struct Failure(String, u8);

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(arguments) => run(arguments),
        Command::List(arguments) => show(arguments),
        Command::Show(command) => command.run(),
        Command::Users(command) => command.run(),
        Command::Groups(command) => command.run(),
        Command::Tags(command) => command.run(),
        Command::Accounts(command) => command.run(),
        Command::Tokens(command) => command.run(),
        Command::Programs(command) => command.run(),
        Command::Retention(command) => command.run(),
        Command::Holds(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Verify(command) => command.run(),
        Command::Backup(command) => command.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(why, code)) => {
            let written = writeln!(io::stderr(), "orktrack: {why}");
            // Nobody reads standard error; the exit code is all that is left.
            drop(written);
            ExitCode::from(code)
        }
    }
}

fn run(arguments: Run) -> Result<(), Failure> {
    let check_only = arguments.check_config;
    let sources = arguments.settings.sources();
    let config = config::load(&sources).map_err(in_config)?;
    if check_only {
        let listen = config.listen;
        let database = Place::of(&config.database).shown();
        let line = format!("the configuration is good: listen {listen}, database {database}");
        return print(|out| writeln!(out, "{line}"));
    }
    let reload = start_log(&config, sources);
    let tracker = orktrack::start_with(&config, Some(reload))
        .map_err(|error| Failure(error.to_string(), 1))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure(format!("cannot wait for signals: {error}"), 1))?;
    match runtime.block_on(wait(&tracker)) {
        Ok(true) => {}
        Ok(false) => {
            return Err(Failure("a thread of the tracker ended; see the log".to_owned(), 1));
        }
        Err(error) => return Err(Failure(format!("cannot wait for signals: {error}"), 1)),
    }
    tracing::info!("stopping");
    let second = std::thread::Builder::new().name("orktrack-signal".to_owned());
    let second = second.spawn(move || {
        if runtime.block_on(next_signal()).is_ok() {
            std::process::exit(1);
        }
    });
    if let Err(error) = second {
        tracing::warn!("a second signal will not be heard: {error}");
    }
    tracker.stop();
    tracing::info!("stopped");
    Ok(())
}

/// Waits for a signal (true) or for the tracker to break down (false).
async fn wait(tracker: &orktrack::Tracker) -> io::Result<bool> {
    let mut look = tokio::time::interval(Duration::from_secs(1));
    let mut signalled = std::pin::pin!(next_signal());
    loop {
        tokio::select! {
            heard = signalled.as_mut() => return heard.map(|()| true),
            _ = look.tick() => {
                if !tracker.is_running() {
                    return Ok(false);
                }
            }
        }
    }
}

/// Waits for the next SIGTERM or SIGINT.
async fn next_signal() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn show(arguments: List) -> Result<(), Failure> {
    let database = match arguments.database {
        Some(database) => database,
        None => arguments.settings.load().map_err(in_config)?.database,
    };
    let query = Query {
        since: arguments.since,
        until: arguments.until,
        party: arguments.party,
        limit: Some(arguments.limit),
        ..Query::default()
    };
    let page = Reader::open(&database).and_then(|mut reader| reader.recordings(&query));
    let page = page.map_err(|error| {
        Failure(format!("{error}; is this the tracker's file? give --database FILE"), 1)
    })?;
    let as_json = arguments.json;
    print(|out| match as_json {
        true => list::as_json(out, &page),
        false => list::table(out, &page, &TimeZone::system()),
    })?;
    if page.next.is_some() && !as_json {
        let limit = arguments.limit;
        let written =
            writeln!(io::stderr(), "only the newest {limit}; there are more, see --limit");
        drop(written);
    }
    Ok(())
}

/// Writes to standard output; a reader that has seen enough (`| head`) is no failure.
fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure(format!("cannot write: {error}"), 1))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn in_config(mistakes: Mistakes) -> Failure {
    Failure(format!("mistakes in the configuration:\n{mistakes}"), 2)
}

/// Standard error, to which each event is one line whatever names are in it.
struct Lines {
    colours: bool,
}

impl Write for Lines {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = orkbase::legible::line(&String::from_utf8_lossy(event), self.colours);
        io::stderr().write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Starts the log; what is returned reads its settings again.
fn start_log(config: &Config, sources: Sources) -> orktrack::ReloadLog {
    let filter = tracing_subscriber::EnvFilter::new(&config.log_level);
    let colours = io::stderr().is_terminal();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(move || Lines { colours })
        .with_filter_reloading();
    let handle = log.reload_handle();
    log.init();
    Box::new(move || {
        let config = config::load(&sources).map_err(|mistakes| mistakes.to_string())?;
        let filter = tracing_subscriber::EnvFilter::new(&config.log_level);
        handle.reload(filter).map_err(|error| error.to_string())
    })
}

fn moment(text: &str) -> Result<i64, String> {
    when::read(text, Timestamp::now(), &TimeZone::system())
        .ok_or_else(|| format!("not a moment; give {}", when::FORMS))
}
