//! From the configuration to the engine's settings: what only the running system knows is added here.

use crate::{
    codecs::{Gpl, Libraries},
    config::Config,
    engine::EngineSettings,
    process::Plan,
    tape::{ledger::Ledger, sidecar::Sidecars, worker::TapeSettings},
};
use jiff::tz::TimeZone;
use orkbase::{
    call::{naming::Naming, recording::HostFacts},
    packet::decoder::Limits,
    tls,
};
use orkvault::{
    book::Rules,
    keys::{self, KeyRing},
    ledger::Link,
    sealed,
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Files needed besides tapes: doors, trackers, database, logs.
const OTHER_FILES: u64 = 1_024;

/// This host's name, as the system has it.
#[must_use]
pub fn hostname() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let short = name.split('.').next().unwrap_or_default();
    if short.is_empty() { "localhost".to_owned() } else { short.to_owned() }
}

/// What messages say of this host.
#[must_use]
pub fn host_facts(config: &Config) -> HostFacts {
    let hostname = if config.tracker.hostname.is_empty() {
        hostname()
    } else {
        config.tracker.hostname.clone()
    };
    let service = if config.tracker.service.is_empty() {
        format!("orkaudio-{hostname}")
    } else {
        config.tracker.service.clone()
    };
    let plan = Plan::of(&config.output);
    let mut extension = plan.map_or_else(|| ".wav".to_owned(), |plan| plan.extension());
    if config.tapes.encrypt_key.is_some() {
        extension.push('.');
        extension.push_str(sealed::EXTENSION);
    }
    HostFacts { hostname, service, extension }
}

/// The engine's settings; `folder` takes the tapes.
#[must_use]
pub fn engine(
    config: &Config,
    folder: PathBuf,
    seed: u32,
    wait: bool,
    sync: bool,
) -> EngineSettings {
    let zone = TimeZone::system();
    let mut calls = config.calls.clone();
    calls.zone = zone.clone();
    calls.host = host_facts(config);
    // The pattern was checked when the configuration was read.
    calls.naming = Naming::parse(&config.tapes.naming).unwrap_or_default();
    calls.tape_rate = config.tapes.rate;
    EngineSettings {
        decoders: Arc::new(Libraries { gpl: gpl(config) }),
        tapes: TapeSettings {
            pins: None,
            root: folder,
            extension: calls.host.extension.clone(),
            channels: if config.tapes.stereo && !config.output.only_mixes() { 2 } else { 1 },
            late_ms: calls.late_ms,
            conceal: config.tapes.conceal,
            inband_dtmf: config.tapes.inband_dtmf,
            mode: config.tapes.mode,
            min_duration_ms: config.tapes.min_duration_ms,
            sync,
            sidecars: sidecars(config, sync),
            ledger: None,
            keys: None,
            zone,
            volume: Arc::default(),
            // A replay can be repeated.
            sync_interval: config.tapes.sync_interval.filter(|_| sync && !wait),
        },
        calls,
        limits: Limits {
            ports: config.capture.ports.clone(),
            hep_key: config.capture.hep_key.clone(),
            ..Limits::default()
        },
        tls: tls::Settings {
            ports: config.capture.tls_ports.clone(),
            // A capture file may bring its keys itself, behind the packets that need them.
            await_keys: wait || config.capture.key_log.is_some(),
            ..tls::Settings::default()
        },
        seed,
        workers: config.tapes.workers,
        backlog_bytes: config.tapes.backlog_mib << 20,
        wait,
        feeds: Arc::default(),
        plan: Plan::of(&config.output).map(Arc::new),
    }
}

/// What is done about libraries that their builder put under the GPL.
#[must_use]
pub const fn gpl(config: &Config) -> Gpl {
    if config.gpl { Gpl::Use } else { Gpl::Leave }
}

/// How what is told of tapes is written beside them, if it is.
#[must_use]
pub fn sidecars(config: &Config, sync: bool) -> Option<Sidecars> {
    let mode = config.tapes.mode;
    config.tapes.sidecar.then_some(Sidecars { mode, sync })
}

/// How lines of the ledger are linked.
///
/// # Errors
/// When the key cannot be read; in words.
pub fn ledger_link(config: &Config) -> Result<Link, String> {
    let Some(path) = &config.tapes.ledger_key else { return Ok(Link::default()) };
    let key = keys::secret(path).map_err(|why| format!("tapes.ledger_key: {why}"))?;
    Ok(Link::keyed(&key))
}

/// What tapes are sealed with, if they are.
///
/// # Errors
/// When the key file cannot be used; in words.
pub fn keys(config: &Config) -> Result<Option<Arc<KeyRing>>, String> {
    let load = |path| KeyRing::load(path).map_err(|why| format!("tapes.encrypt_key: {why}"));
    config.tapes.encrypt_key.as_deref().map(load).transpose().map(|keys| keys.map(Arc::new))
}

/// The ledger of tapes below `folder`, if one is wanted.
///
/// # Errors
/// When its key or its folder cannot be used; in words.
pub fn ledger(config: &Config, folder: &Path, sync: bool) -> Result<Option<Arc<Ledger>>, String> {
    if !config.tapes.ledger {
        return Ok(None);
    }
    let rules = Rules { link: ledger_link(config)?, mode: config.tapes.mode, sync };
    let opened = Ledger::open(folder, rules).map_err(|error| {
        let shown = folder.display();
        format!("cannot use the ledger below {shown}: {error}; tapes.ledger = false does without")
    });
    opened.map(|ledger| Some(Arc::new(ledger)))
}

/// How many of `most` clients may be in at once at one door, so that recordings find descriptors: a sixteenth
/// of what the process may open at the most ([`raise_file_limit`]), but some.
#[must_use]
pub fn share_of_files(most: usize) -> usize {
    use rustix::process::{Resource, getrlimit};
    let files = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    usize::try_from(files / 16).unwrap_or(usize::MAX).max(8).min(most)
}

/// Raises the limit of open files as far as the system lets us: every live call has one.
///
/// # Errors
/// When the limit cannot be changed.
pub fn raise_file_limit(calls: u64) -> io::Result<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let most = now.maximum.unwrap_or(u64::MAX);
    let wanted = calls.saturating_add(OTHER_FILES).min(most);
    if now.current.is_none_or(|current| current >= wanted) {
        return Ok(now.current.unwrap_or(most));
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: now.maximum })?;
    Ok(wanted)
}
