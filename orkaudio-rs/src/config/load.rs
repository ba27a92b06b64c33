//! From the file, the environment and the command line to a [`Config`].
//!
//! Law: a later source outweighs an earlier one (file, environment, `--set`); every mistake is
//! reported, with its place and a remedy; nothing runs on a configuration that has one.

use super::{
    Config, Mistake, Mistakes,
    keys::{KEYS, Setter, mapping},
};
use orkbase::{
    config::{Schema, Written},
    packet::ports::TunnelPorts,
};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Where the configuration is if nobody says.
pub const DEFAULT_FILE: &str = "/etc/orkaudio/orkaudio.toml";
/// Prefix of environment variables: `ORKAUDIO_LOG_LEVEL` is `log.level`.
const PREFIX: &str = "ORKAUDIO_";
/// Most parties that a map may rename.
const MOST_MAPPED: usize = 100_000;
/// Names the file, so it is not a key.
const FILE_VARIABLE: &str = "ORKAUDIO_CONFIG";

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config`; if absent the file that `ORKAUDIO_CONFIG` names; if that is absent too,
    /// [`DEFAULT_FILE`] if it is there.
    pub file: Option<PathBuf>,
    /// The environment; only `ORKAUDIO_` variables count.
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
    let variable = sources.environment.iter().find(|(name, _)| name == FILE_VARIABLE);
    let variable = variable.map(|(_, file)| Path::new(file)).filter(|file| *file != Path::new(""));
    let file = match read_file(sources.file.as_deref().or(variable)) {
        Ok(file) => file,
        Err(mistake) => {
            mistakes.0.push(mistake);
            None
        }
    };
    let file = file.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
    let names: Vec<&str> = KEYS.iter().map(|(name, _)| *name).collect();
    let schema = Schema { keys: &names, prefix: PREFIX, reserved: &[FILE_VARIABLE] };
    let written = schema.read(file, &sources.environment, &sources.sets, &mut mistakes);
    let mut config = mean(&written, &mut mistakes);
    if let Err(what) = read_party_map(&mut config) {
        mistakes.add("parties.map_file", what);
    }
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

/// Adds the lines of the party map's file; what the configuration itself says outweighs them.
fn read_party_map(config: &mut Config) -> Result<(), String> {
    let path = config.party_map_file.clone();
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    let text = fs::read_to_string(&path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let map = &mut config.calls.parties.map;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let pair = mapping(&line.replacen(',', "=", 1));
        let (party, name) = pair.ok_or_else(|| {
            format!("{}:{}: not a line of the form number,name", path.display(), number + 1)
        })?;
        if map.len() >= MOST_MAPPED {
            return Err(format!("{}: more than {MOST_MAPPED} parties", path.display()));
        }
        map.entry(party).or_insert(name);
    }
    Ok(())
}

/// From what was written to what is meant.
fn mean(written: &[Written], mistakes: &mut Mistakes) -> Config {
    let mut config = Config::default();
    for Written { key, value, place } in written {
        match setter(key).map(|set| set(&mut config, value)) {
            Some(Ok(())) => {}
            Some(Err(wrong)) => mistakes.add(wrong.place(place), wrong.of(key, value)),
            None => mistakes.add(place, format!("there is no setting `{key}`")),
        }
    }
    let doors = [
        ("doors.command", config.doors.command),
        ("doors.events", config.doors.events),
        ("doors.live", config.doors.live),
    ];
    let open: Vec<_> =
        doors.iter().filter_map(|(name, address)| Some((*name, (*address)?))).collect();
    let mut pairs = open
        .iter()
        .enumerate()
        .flat_map(|(index, one)| open.iter().skip(index + 1).map(move |other| (*one, *other)));
    if let Some(((one, here), (other, there))) =
        pairs.find(|((_, here), (_, there))| are_one(*here, *there))
    {
        let last = written.iter().rfind(|setting| setting.key.starts_with("doors."));
        let place = last.map_or("doors", |setting| setting.place.as_str());
        mistakes.add(
            place,
            format!(
                "{one} = \"{here}\" and {other} = \"{there}\" are one address; give them \
                 different ports"
            ),
        );
    }
    if let Some((port, [one, other])) = ambiguous(&config.capture.ports) {
        let names = |setting: &&Written| [one, other].contains(&setting.key.as_str());
        let place = written.iter().rfind(names).map_or(other, |setting| setting.place.as_str());
        let what = format!("{one} and {other} both have {port}; take it out of one of them");
        mistakes.add(place, what);
    }
    let mut wrong = config.output.mistakes(config.tapes.stereo);
    if config.tapes.encrypt_key.is_some() && !config.output.command.is_empty() {
        let why = "programs need plain audio, and tapes.encrypt_key leaves none on the disk; \
                   give one of the two";
        wrong.push(("output.command", why.to_owned()));
    }
    for (key, remedy) in wrong {
        let said = written.iter().rfind(|setting| setting.key == key);
        let place = said.map_or(key, |setting| setting.place.as_str());
        let value = said.map(|setting| format!(" = {}", setting.value)).unwrap_or_default();
        mistakes.add(place, format!("{key}{value} does not fit: {remedy}"));
    }
    config
}

/// A port that two lists have: which of them would count?
fn ambiguous(ports: &TunnelPorts) -> Option<(u16, [&'static str; 2])> {
    let lists = [
        ("capture.vxlan_ports", &ports.vxlan),
        ("capture.geneve_ports", &ports.geneve),
        ("capture.gtp_ports", &ports.gtp_u),
        ("capture.tzsp_ports", &ports.tzsp),
        ("capture.oreka_ports", &ports.oreka),
        ("capture.hep_ports", &ports.hep),
    ];
    let mut seen = BTreeMap::new();
    let mut all = lists.iter().flat_map(|(name, list)| list.iter().map(|port| (*port, *name)));
    all.find_map(|(port, name)| {
        let first = *seen.entry(port).or_insert(name);
        (first != name).then_some((port, [first, name]))
    })
}

fn setter(key: &str) -> Option<Setter> {
    KEYS.iter().find(|(name, _)| *name == key).map(|(_, set)| *set)
}

/// Whether only one of two doors could be opened.
fn are_one(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (one.ip() == other.ip() || everywhere)
}
