//! The log, and changing what it says while the recorder runs.

use crate::config::{self, Config, Sources};
use orkbase::legible;
use std::{
    io::{self, Write},
    sync::{Mutex, OnceLock, PoisonError},
};
use tracing_subscriber::{
    EnvFilter, Layer as _, Registry, layer::SubscriberExt as _, reload,
    util::SubscriberInitExt as _,
};

struct Running {
    filter: reload::Handle<EnvFilter, Registry>,
    sources: Sources,
    level: Mutex<String>,
}

/// Standard error, to which each event is one line whatever names are in it.
struct Lines {
    colours: bool,
}

impl Write for Lines {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = legible::line(&String::from_utf8_lossy(event), self.colours);
        io::stderr().write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// There is one log in a process.
static RUNNING: OnceLock<Running> = OnceLock::new();

/// Starts to log to standard error. `sources` are read again by [`reload()`].
pub fn start(config: &Config, sources: Sources) {
    let (filter, handle) = reload::Layer::new(EnvFilter::new(&config.log_level));
    let ansi = io::IsTerminal::is_terminal(&io::stderr());
    let writer = move || Lines { colours: ansi };
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(ansi);
    if tracing_subscriber::registry().with(lines.with_filter(filter)).try_init().is_ok() {
        let level = Mutex::new(config.log_level.clone());
        drop(RUNNING.set(Running { filter: handle, sources, level }));
    }
}

/// Reads `log.level` again.
///
/// # Errors
/// Why everything stays as it was.
pub fn reload() -> Result<String, String> {
    let running = RUNNING.get().ok_or("the log was not started by this program")?;
    let config = config::load(&running.sources).map_err(|mistakes| mistakes.to_string())?;
    running.filter.reload(EnvFilter::new(&config.log_level)).map_err(|error| error.to_string())?;
    running.level.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&config.log_level);
    Ok(config.log_level)
}

/// Parts of the program and what they log, `root` first: `name:LEVEL`.
#[must_use]
pub fn loggers() -> Vec<String> {
    let level = RUNNING.get().map_or_else(String::new, |running| {
        running.level.lock().unwrap_or_else(PoisonError::into_inner).clone()
    });
    let mut list = vec![];
    for directive in level.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
        match directive.split_once('=') {
            Some((part, level)) => list.push(format!("{part}:{}", level.to_uppercase())),
            None => list.insert(0, format!("root:{}", directive.to_uppercase())),
        }
    }
    list
}
