//! What the operator wants, checked: from the file, the environment and the command line.
//!
//! Law: a later source outweighs an earlier one (file, environment, `--set`); every mistake is
//! reported, with its place and a remedy; nothing runs on a configuration that has one.

pub use orkbase::config::{Mistake, Mistakes};

use orkbase::config::{Schema, Value, Written, is_log_level};
use std::{
    ffi::OsString,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Where the configuration is if nobody says.
pub const DEFAULT_FILE: &str = "/etc/orktrack/orktrack.toml";
/// Every key, as in the file; a dot separates section and key.
const KEYS: [&str; 4] = ["listen", "database", "max_connections", "log.level"];
/// Names the file, so it is not a key.
const FILE_VARIABLE: &str = "ORKTRACK_CONFIG";
/// What may be set; `ORKTRACK_LOG_LEVEL` is `log.level`.
const SCHEMA: Schema<'_> = Schema { keys: &KEYS, prefix: "ORKTRACK_", reserved: &[FILE_VARIABLE] };

/// The configuration of a tracker.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Address and port of the HTTP server; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The database file.
    pub database: PathBuf,
    /// Connections served at a time, 1 to 10000; more wait in the kernel's queue.
    pub max_connections: usize,
    /// What is logged: a level, or directives such as `info,orktrack::http=debug`.
    pub log_level: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            database: PathBuf::from("/var/lib/orktrack/orktrack.db"),
            max_connections: 200,
            log_level: "info".to_owned(),
        }
    }
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
    for Written { key, value, place } in written {
        if let Err(what) = set(&mut config, key, value) {
            mistakes.add(place, what);
        }
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
            &format!("{file}:2: there is no setting `datbase`; the settings are listen, database,"),
            &format!("{file}:5: log.level = 3 is not valid; give error, warn, info"),
            "ORKTRACK_MAX_CONNECTIONS: max_connections = \"0\" is not valid; give a number from 1",
            "ORKTRACK_NOPE: there is no such setting; the variables are ORKTRACK_LISTEN,",
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
