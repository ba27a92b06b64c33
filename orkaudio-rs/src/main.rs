//! The `orkaudio` program: arguments, logging, exit code.
//!
//! Exit codes: 0 done, 1 it could not be done, 2 wrong arguments or configuration.

use clap::Parser;
use orkaudio::{
    announce::{Announcer, LiveTable},
    cli::{
        Arguments, DecodeArguments, ExplainArguments, ReplayArguments, RunArguments, Settings,
        TokenArguments, Verb, VerifyArguments,
    },
    config::{self, Config, Sources},
    convert::{self, ConvertError},
    explain::{self, ExplainError},
    http::EventHub,
    logging,
    replay::{self, Nobody, Print, Replay},
    setup,
    status::{self, StatusError},
    track::{Reporter, ReporterConfig},
    unseal, verify,
};
use orkbase::message::init::InitMessage;
use std::{
    io::{self, Write},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};

/// What went wrong, in one line, and the exit code.
struct Failure(String, u8);

impl Failure {
    fn new(error: impl std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self(text, 1)
    }
}

#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Run(arguments) => run(arguments),
        Verb::Replay(arguments) => replay(arguments),
        Verb::Explain(arguments) => explain(arguments),
        Verb::Decode(arguments) => decode(arguments),
        Verb::Convert(arguments) => {
            start_log(&Config::default());
            match convert::run(&arguments) {
                Err(ConvertError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                    Ok(())
                }
                Err(ConvertError::Arguments(why)) => Err(Failure(why, 2)),
                done => done.map_err(Failure::new),
            }
        }
        Verb::Codecs(settings) => load(settings, Vec::new()).and_then(|config| {
            let read = orkaudio::codecs::table(setup::gpl(&config));
            let written = orkaudio::format::table();
            write!(io::stdout(), "{read}{written}").map_err(Failure::new)
        }),
        Verb::Status(arguments) => match status::show(&arguments) {
            // `| head` has seen enough.
            Err(StatusError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            shown => shown.map_err(Failure::new),
        },
        Verb::Token(arguments) => token(&arguments),
        Verb::Verify(arguments) => verify(arguments),
        Verb::Unseal(arguments) => load(arguments.settings.clone(), Vec::new())
            .and_then(|config| unseal::run(&config, &arguments).map_err(|why| Failure(why, 1))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(why, code)) => {
            // Nobody reads standard error; the exit code is all that is left.
            drop(writeln!(io::stderr(), "orkaudio: {why}"));
            ExitCode::from(code)
        }
    }
}

fn token(arguments: &TokenArguments) -> Result<(), Failure> {
    let made = orkaudio::gate::make_token(&arguments.name, &arguments.rights);
    let (token, line) = made.map_err(|why| Failure(why, 2))?;
    let text = format!("token for the program:\n  {token}\nline for doors.token_file:\n  {line}\n");
    io::stdout().write_all(text.as_bytes()).map_err(Failure::new)
}

fn verify(arguments: VerifyArguments) -> Result<(), Failure> {
    let config = load(arguments.settings.clone(), Vec::new())?;
    match verify::run(&config, &arguments) {
        Ok(0) => Ok(()),
        Ok(1) => Err(Failure("1 thing is not as it was".to_owned(), 1)),
        Ok(findings) => Err(Failure(format!("{findings} things are not as they were"), 1)),
        Err(why) => Err(Failure(why, 1)),
    }
}

fn sources(settings: Settings, more: Vec<String>) -> Sources {
    let mut sets = settings.sets;
    sets.extend(more);
    Sources { file: settings.config, environment: std::env::vars_os().collect(), sets }
}

fn load(settings: Settings, more: Vec<String>) -> Result<Config, Failure> {
    config::load(&sources(settings, more))
        .map_err(|mistakes| Failure(format!("wrong configuration\n{mistakes}"), 2))
}

fn start_log(config: &Config) {
    logging::start(config, Sources::default());
}

/// Sets a flag at the first SIGTERM or SIGINT and calls `wake`; exits at the second.
fn on_signal(stop: Arc<AtomicBool>, wake: impl Fn() + Send + 'static) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::new)?;
    let watch = async move {
        let (Ok(mut term), Ok(mut int)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            tracing::error!("cannot wait for signals: only SIGKILL will stop this process");
            return;
        };
        for second in [false, true] {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            if second {
                tracing::warn!("second signal: exit at once; the next start recovers open tapes");
                std::process::exit(1);
            }
            stop.store(true, Ordering::Relaxed);
            wake();
        }
    };
    let started =
        thread::Builder::new().name("signals".to_owned()).spawn(move || runtime.block_on(watch));
    started.map(drop).map_err(Failure::new)
}

fn run(arguments: RunArguments) -> Result<(), Failure> {
    let sources = sources(arguments.settings.clone(), Vec::new());
    let mut config = load(arguments.settings, Vec::new())?;
    if !arguments.interface.is_empty() {
        config.capture.interfaces = arguments.interface;
    }
    if arguments.check_config {
        let secrets = setup::keys(&config).and(setup::ledger_link(&config).map(drop));
        secrets.map_err(|why| Failure(why, 2))?;
        let line = format!(
            "the configuration is good: interfaces {:?}, capture agents {}, tapes in {}, trackers {:?}",
            config.capture.interfaces,
            config.capture.hep_listen.map_or("none".to_owned(), |address| address.to_string()),
            config.tapes.folder.display(),
            config.tracker.urls,
        );
        return writeln!(io::stdout(), "{line}").map_err(Failure::new);
    }
    logging::start(&config, sources);
    let stop = Arc::new(AtomicBool::new(false));
    let mut signals = Ok(());
    let done = orkaudio::recorder::run(&config, &stop, |waker| {
        signals = on_signal(Arc::clone(&stop), move || waker.wake());
    });
    done.map_err(Failure::new).and(signals)
}

fn explain(arguments: ExplainArguments) -> Result<(), Failure> {
    let config = load(arguments.settings, Vec::new())?;
    start_log(&config);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let done = explain::run(&config, &arguments.captures, arguments.json, &mut out);
    match done.and_then(|()| out.flush().map_err(ExplainError::Write)) {
        // `| head` has seen enough.
        Err(ExplainError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done.map_err(Failure::new),
    }
}

fn decode(arguments: DecodeArguments) -> Result<(), Failure> {
    // For people, at once: nothing is promised of what lies there tomorrow.
    let mut sets = vec!["tapes.sync=false".to_owned(), "tapes.ledger=false".to_owned()];
    sets.extend(arguments.settings.sets.clone());
    sets.extend(arguments.format.map(|format| format!("output.format={}", format.as_str())));
    let channels = arguments.channels;
    sets.extend(channels.map(|channels| format!("output.channels={}", channels.as_str())));
    let config = load(arguments.settings, sets)?;
    start_log(&config);
    let stop = Arc::new(AtomicBool::new(false));
    on_signal(Arc::clone(&stop), || {})?;
    let job = Replay {
        captures: arguments.captures,
        folder: arguments.output,
        paced: false,
        print: if arguments.json { Print::Json } else { Print::Table },
        filter: config.capture.filter.clone(),
    };
    replay::run(&config, &job, Box::new(Nobody), |_| {}, &stop).map_err(Failure::new)
}

fn replay(arguments: ReplayArguments) -> Result<(), Failure> {
    // Without a tracker nobody is promised anything about the disk, and a replay may be repeated.
    let told = arguments.tracker.is_some();
    let mut sets = vec![format!("tapes.sync={told}"), format!("tapes.ledger={told}")];
    sets.extend(arguments.settings.sets.clone());
    let mut config = load(arguments.settings, sets)?;
    if arguments.key_log.is_some() {
        config.capture.key_log = arguments.key_log;
    }
    start_log(&config);
    let stop = Arc::new(AtomicBool::new(false));
    on_signal(Arc::clone(&stop), || {})?;
    let job = Replay {
        captures: arguments.captures,
        folder: arguments.output,
        paced: arguments.paced,
        print: if arguments.json { Print::Json } else { Print::Nothing },
        filter: config.capture.filter.clone(),
    };
    let Some(url) = arguments.tracker else {
        return replay::run(&config, &job, Box::new(Nobody), |_| {}, &stop).map_err(Failure::new);
    };
    let patience = Duration::from_secs(arguments.patience);
    let url = url.parse().map_err(|error| Failure(format!("--tracker: {error}"), 2))?;
    let facts = setup::host_facts(&config);
    let init =
        InitMessage::new(&facts.service, &facts.hostname, 0, &job.folder.display().to_string());
    let timeout = Duration::from_secs(config.tracker.timeout_s);
    let ca = config.tracker.ca.clone();
    let link = ReporterConfig { timeout, ca, ..ReporterConfig::new(vec![url], init) };
    let (reporter, track) = Reporter::start(link).map_err(Failure::new)?;
    let announcer = Announcer::new(track, EventHub::new(), Arc::new(LiveTable::new()));
    let finisher = announcer.clone();
    let done =
        replay::run(&config, &job, Box::new(announcer), move |told| finisher.replayed(told), &stop);
    let left = reporter.stop(patience);
    done.map_err(Failure::new)?;
    if left > 0 {
        return Err(Failure(format!("{left} message(s) did not reach the tracker"), 1));
    }
    Ok(())
}
