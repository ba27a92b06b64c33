//! What the operator wants, checked: from the file, the environment and the command line.
//!
//! Law: a later source outweighs an earlier one (file, environment, `--set`); every mistake is
//! reported, with its place and a remedy; nothing runs on a configuration that has one.

pub use orkbase::config::{Mistake, Mistakes};

use crate::files::Folders;
use ipnet::IpNet;
use orkbase::config::{Schema, Value, Written, is_log_level};
use std::{
    ffi::OsString,
    fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

/// Where the configuration is if nobody says.
pub const DEFAULT_FILE: &str = "/etc/orktrack/orktrack.toml";
/// Every key, as in the file; a dot separates section and key.
const KEYS: [&str; 20] = [
    "listen",
    "tls_certificate",
    "tls_key",
    "plain_networks",
    "database",
    "max_connections",
    "commands.networks",
    "commands.strict",
    "fleet.heartbeat_s",
    "fleet.lost_after_s",
    "fleet.timeout_ms",
    "fleet.stream_port",
    "import.root",
    "import.tasks",
    "audio.roots",
    "audio.copies",
    "audio.ledger_key",
    "audio.key_file",
    "access.session_hours",
    "log.level",
];
/// Names the file, so it is not a key.
const FILE_VARIABLE: &str = "ORKTRACK_CONFIG";
/// What may be set; `ORKTRACK_LOG_LEVEL` is `log.level`.
const SCHEMA: Schema<'_> = Schema { keys: &KEYS, prefix: "ORKTRACK_", reserved: &[FILE_VARIABLE] };

/// The configuration of a tracker.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Address and port of the HTTP server; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Certificate and key (PEM) with which the port speaks TLS; it does not without them.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// From where the port is spoken to without TLS when it has a certificate.
    pub plain_networks: Vec<IpNet>,
    /// The database file.
    pub database: PathBuf,
    /// Connections served at a time, 1 to 10000; more wait in the kernel's queue.
    pub max_connections: usize,
    /// From where commands are taken without a token.
    pub networks: Vec<IpNet>,
    /// Repeat the slips of the published answers, too.
    pub strict: bool,
    /// How often recorders are asked how they are, 1 s to an hour.
    pub heartbeat: Duration,
    /// After how long a silence a recorder is lost, 2 s to a day.
    pub lost_after: Duration,
    /// How long a recorder may take to answer, 100 ms to a minute.
    pub fleet_timeout: Duration,
    /// Port of live audio of recorders that do not say.
    pub stream_port: u16,
    /// The folder that `addusers` reads from; without one it is refused.
    pub import_root: Option<PathBuf>,
    /// Tasks of `extdbsync`: names and files below the import folder.
    pub tasks: Vec<(String, String)>,
    /// Where recordings may be read and deleted.
    pub audio_roots: Vec<AudioRoot>,
    /// Where recorders put second copies, which are deleted with their recordings.
    pub audio_copies: Vec<AudioRoot>,
    /// The secret that the ledgers of recorders are linked with.
    pub ledger_key: Option<PathBuf>,
    /// The keys that recordings are sealed with.
    pub key_file: Option<PathBuf>,
    /// How long a sign-in lasts, 1 to 720 hours.
    pub session_hours: u64,
    /// What is logged: a level, or directives such as `info,orktrack::http=debug`.
    pub log_level: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls: None,
            plain_networks: this_host(),
            database: PathBuf::from("/var/lib/orktrack/orktrack.db"),
            max_connections: 200,
            networks: this_host(),
            strict: false,
            heartbeat: Duration::from_secs(10),
            lost_after: Duration::from_secs(60),
            fleet_timeout: Duration::from_secs(3),
            stream_port: 59_120,
            import_root: None,
            tasks: Vec::new(),
            audio_roots: Vec::new(),
            audio_copies: Vec::new(),
            ledger_key: None,
            key_file: None,
            session_hours: 12,
            log_level: "info".to_owned(),
        }
    }
}

/// Loopback.
fn this_host() -> Vec<IpNet> {
    ["127.0.0.0/8", "::1/128"].into_iter().filter_map(|network| network.parse().ok()).collect()
}

impl Config {
    /// Where files are deleted.
    pub(crate) fn folders(&self) -> Folders {
        Folders {
            roots: self.audio_roots.clone(),
            copies: self.audio_copies.clone(),
            ledger_key: self.ledger_key.clone(),
        }
    }
}

/// A folder in which recordings may be read and deleted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AudioRoot {
    /// Only those of this recorder, whose tape folder it is seen from here; else any whose
    /// `absolutepath` lies below.
    pub hostname: Option<String>,
    /// The folder.
    pub folder: PathBuf,
}

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config`; if absent, [`DEFAULT_FILE`] if it is there.
    pub file: Option<PathBuf>,
    /// The environment; only `ORKTRACK_` variables count.
    pub environment: Vec<(OsString, OsString)>,
    /// `--set` arguments, `key=value`.
    pub sets: Vec<String>,
}

/// Reads all sources.
///
/// # Errors
/// Every mistake in any of them.
pub fn load(sources: &Sources) -> Result<Config, Mistakes> {
    let mut mistakes = Mistakes::default();
    let file = match read_file(sources.file.as_deref()) {
        Ok(file) => file,
        Err(mistake) => {
            mistakes.0.push(mistake);
            None
        }
    };
    let file = file.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
    let written = SCHEMA.read(file, &sources.environment, &sources.sets, &mut mistakes);
    let config = mean(&written, &mut mistakes);
    if mistakes.0.is_empty() { Ok(config) } else { Err(mistakes) }
}

/// The file's name and text.
fn read_file(named: Option<&Path>) -> Result<Option<(String, String)>, Mistake> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some((path.display().to_string(), text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => Ok(None),
        Err(error) => Err(Mistake {
            place: path.display().to_string(),
            what: format!("cannot read the configuration: {error}; give another --config"),
        }),
    }
}

/// From what was written to what is meant.
fn mean(written: &[Written], mistakes: &mut Mistakes) -> Config {
    let mut config = Config::default();
    let (mut certificate, mut key_file) = (None, None);
    for Written { key, value, place } in written {
        let file = || {
            let text = value.text().filter(|text| !text.contains('\0'));
            let path = text.map(|text| (!text.is_empty()).then(|| PathBuf::from(text)));
            path.ok_or_else(|| format!("{key} = {value} is not valid; give the path of a PEM file"))
        };
        let done = match key.as_str() {
            "tls_certificate" => file().map(|path| certificate = path),
            "tls_key" => file().map(|path| key_file = path),
            _ => set(&mut config, key, value),
        };
        if let Err(what) = done {
            mistakes.add(place, what);
        }
    }
    match (certificate, key_file) {
        (Some(certificate), Some(key)) => config.tls = Some((certificate, key)),
        (None, None) => {}
        _ => mistakes.0.push(Mistake {
            place: "tls_certificate, tls_key".to_owned(),
            what: "one goes not without the other; give both".to_owned(),
        }),
    }
    config
}

fn set(config: &mut Config, key: &str, value: &Value) -> Result<(), String> {
    let wrong = |remedy: &str| format!("{key} = {value} is not valid; give {remedy}");
    match key {
        "listen" => {
            let address = value.text().and_then(|text| text.parse().ok());
            config.listen = address.ok_or_else(|| {
                wrong("an IP address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"")
            })?;
        }
        "database" => {
            let path = value.text().filter(|text| !text.is_empty() && !text.contains('\0'));
            config.database = path.map(PathBuf::from).ok_or_else(|| wrong("the path of a file"))?;
        }
        "max_connections" => {
            let number = value.number().filter(|number| (1..=10_000).contains(number));
            let number = number.and_then(|number| usize::try_from(number).ok());
            config.max_connections = number.ok_or_else(|| wrong("a number from 1 to 10000"))?;
        }
        "commands.networks" | "plain_networks" => {
            let read = |text: &String| {
                text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
            };
            let networks = value.list().and_then(|texts| texts.iter().map(read).collect());
            let networks = networks.ok_or_else(|| {
                wrong("a list of networks, such as [\"127.0.0.0/8\", \"10.1.0.0/16\"]")
            })?;
            if key == "plain_networks" {
                config.plain_networks = networks;
            } else {
                config.networks = networks;
            }
        }
        "commands.strict" => {
            config.strict = value.bool().ok_or_else(|| wrong("true or false"))?;
        }
        "fleet.heartbeat_s" => {
            config.heartbeat = seconds(value, 1, 3600).ok_or_else(|| wrong("1 to 3600 seconds"))?;
        }
        "fleet.lost_after_s" => {
            config.lost_after =
                seconds(value, 2, 86_400).ok_or_else(|| wrong("2 to 86400 seconds"))?;
        }
        "fleet.timeout_ms" => {
            let number = value.number().filter(|number| (100..=60_000).contains(number));
            config.fleet_timeout = number
                .and_then(|number| u64::try_from(number).ok())
                .map(Duration::from_millis)
                .ok_or_else(|| wrong("100 to 60000 milliseconds"))?;
        }
        "fleet.stream_port" => {
            let port = value.number().and_then(|number| u16::try_from(number).ok());
            config.stream_port =
                port.filter(|port| *port > 0).ok_or_else(|| wrong("a port from 1 to 65535"))?;
        }
        "import.root" => {
            let text = value.text().ok_or_else(|| wrong("a folder"))?;
            config.import_root = (!text.is_empty()).then(|| PathBuf::from(text));
        }
        "import.tasks" => {
            let task = |text: &String| {
                let (name, file) = text.split_once('=')?;
                Some((name.trim().to_owned(), file.trim().to_owned()))
            };
            let tasks = value.list().and_then(|texts| texts.iter().map(task).collect());
            config.tasks = tasks.ok_or_else(|| wrong("a list such as [\"hr=hr.csv\"]"))?;
        }
        "audio.roots" => {
            let texts = value.list().ok_or_else(|| {
                wrong("a list of folders, such as [\"/var/spool/orkaudio\", \"rec2=/mnt/rec2\"]")
            })?;
            config.audio_roots = texts.iter().map(|text| root(text)).collect();
        }
        "audio.copies" => {
            let texts = value.list().ok_or_else(|| {
                wrong("a list of folders, such as [\"/srv/copies\", \"rec2=/mnt/copies2\"]")
            })?;
            config.audio_copies = texts.iter().map(|text| root(text)).collect();
        }
        "audio.ledger_key" => {
            let text = value.text().ok_or_else(|| wrong("a file"))?;
            config.ledger_key = (!text.is_empty()).then(|| PathBuf::from(text));
        }
        "audio.key_file" => {
            let text = value.text().ok_or_else(|| wrong("a file"))?;
            config.key_file = (!text.is_empty()).then(|| PathBuf::from(text));
        }
        "access.session_hours" => {
            let hours = value.number().filter(|hours| (1..=720).contains(hours));
            let hours = hours.and_then(|hours| u64::try_from(hours).ok());
            config.session_hours = hours.ok_or_else(|| wrong("1 to 720 hours"))?;
        }
        "log.level" => {
            let level = value.text().filter(|text| is_level(text));
            config.log_level = level.map(str::to_owned).ok_or_else(|| {
                wrong("error, warn, info, debug or trace, or directives such as \"info,orktrack::http=debug\"")
            })?;
        }
        unknown => return Err(format!("there is no setting `{unknown}`")),
    }
    Ok(())
}

fn seconds(value: &Value, least: i64, most: i64) -> Option<Duration> {
    let number = value.number().filter(|number| (least..=most).contains(number))?;
    u64::try_from(number).ok().map(Duration::from_secs)
}

fn root(text: &str) -> AudioRoot {
    match text.split_once('=') {
        Some((hostname, folder)) if !hostname.contains('/') => AudioRoot {
            hostname: Some(hostname.trim().to_owned()),
            folder: PathBuf::from(folder.trim()),
        },
        _ => AudioRoot { hostname: None, folder: PathBuf::from(text.trim()) },
    }
}

fn is_level(text: &str) -> bool {
    is_log_level(text) && tracing_subscriber::EnvFilter::try_new(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(file: Option<&Path>, environment: &[(&str, &str)], sets: &[&str]) -> Sources {
        Sources {
            file: file.map(Path::to_owned),
            environment: environment.iter().map(|(k, v)| (k.into(), v.into())).collect(),
            sets: sets.iter().map(|set| (*set).to_owned()).collect(),
        }
    }

    fn write(text: &str) -> (tempfile::TempDir, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("orktrack.toml");
        fs::write(&path, text).unwrap();
        (home, path)
    }

    #[test]
    fn the_annotated_file_says_what_the_default_is() {
        let text = include_str!("../../../conf/orktrack.toml");
        let (_home, path) = write(text);
        assert_eq!(load(&sources(Some(&path), &[], &[])), Ok(Config::default()));
        for key in KEYS {
            let name = key.rsplit('.').next().unwrap();
            assert!(text.lines().any(|line| line.starts_with(&format!("{name} = "))), "{key}");
        }
    }

    #[test]
    fn later_sources_outweigh_earlier_ones() {
        let (_home, path) =
            write("listen = \"[::1]:1\"\nmax_connections = 2\n[log]\nlevel = \"warn\"");
        let environment = [("ORKTRACK_MAX_CONNECTIONS", "3"), ("ORKTRACK_LOG_LEVEL", "debug")];
        let environment = [environment.as_slice(), &[("HOME", "/"), (FILE_VARIABLE, "x")]].concat();
        let config = load(&sources(Some(&path), &environment, &["max_connections=4"])).unwrap();
        assert_eq!((config.listen.port(), config.max_connections), (1, 4));
        assert_eq!(config.log_level, "debug");
    }

    #[test]
    fn every_mistake_is_told_with_its_line_and_a_remedy() {
        let (_home, path) = write("listen = \"localhost\"\ndatbase = \"/x\"\n\n[log]\nlevel = 3\n");
        let environment = [("ORKTRACK_MAX_CONNECTIONS", "0"), ("ORKTRACK_NOPE", "1")];
        let sets = ["log.level=loud", "database", "max_connections=many"];
        let mistakes = load(&sources(Some(&path), &environment, &sets)).unwrap_err().to_string();
        let file = path.display();
        for expected in [
            &format!(
                "{file}:1: listen = \"localhost\" is not valid; give an IP address and a port"
            ),
            &format!("{file}:2: there is no setting `datbase`; did you mean database?"),
            &format!("{file}:5: log.level = 3 is not valid; give error, warn, info"),
            "ORKTRACK_MAX_CONNECTIONS: max_connections = \"0\" is not valid; give a number from 1",
            "ORKTRACK_NOPE: there is no such setting; the variables are ORKTRACK_COMMANDS_*,",
            "--set log.level=loud: log.level = \"loud\" is not valid",
            "--set database: write --set key=value",
            "--set max_connections=many: max_connections = \"many\" is not valid",
        ] {
            assert!(mistakes.contains(expected), "no {expected:?} in:\n{mistakes}");
        }
        assert_eq!(mistakes.lines().count(), 8);
    }

    #[test]
    fn a_broken_file_and_a_missing_one_are_told() {
        let (_home, path) = write("listen = \"[::1]:1\"\nmax_connections = = 2\n");
        let mistakes = load(&sources(Some(&path), &[], &[])).unwrap_err();
        assert!(mistakes.0[0].place.ends_with("orktrack.toml:2"), "{mistakes}");
        let missing = load(&sources(Some(Path::new("/nonexistent/x.toml")), &[], &[])).unwrap_err();
        assert!(missing.to_string().contains("give another --config"));
    }
}
