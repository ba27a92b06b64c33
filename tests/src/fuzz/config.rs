//! Configuration text, variables and arguments, as both programs read them.

use orkbase::config::{Mistakes, Schema};
use std::ffi::OsString;

const KEYS: [&str; 8] = [
    "listen",
    "database",
    "max_connections",
    "log.level",
    "calls.max_calls",
    "parties.lan",
    "tapes.stereo",
    "capture.interfaces",
];

/// Input: the text of a file; its lines are also taken for `--set` arguments and variables.
pub(super) fn texts(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let schema = Schema { keys: &KEYS, prefix: "ORK_", reserved: &["ORK_CONFIG"] };
    let lines: Vec<String> = text.lines().take(40).map(str::to_owned).collect();
    let variable = |line: &String| {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        (OsString::from(format!("ORK_{name}")), OsString::from(value))
    };
    let environment: Vec<_> = lines.iter().map(variable).collect();
    let mut mistakes = Mistakes::default();
    let written = schema.read(Some(("fuzz.toml", &text)), &environment, &lines, &mut mistakes);
    for setting in &written {
        assert!(KEYS.contains(&setting.key.as_str()), "{} is no key", setting.key);
        assert!(!setting.place.is_empty());
        let _meant = (setting.value.text(), setting.value.number(), setting.value.bool());
        let _list = setting.value.list();
    }
    for mistake in &mistakes.0 {
        assert!(!mistake.place.is_empty() && !mistake.what.is_empty());
    }
    // Every argument is a setting or a mistake.
    let told = mistakes.0.iter().filter(|mistake| mistake.place.starts_with("--set")).count();
    let set = written.iter().filter(|setting| setting.place.starts_with("--set")).count();
    assert_eq!(told + set, lines.len());
    means(lines);
}

/// What the programs make of it; files are not read here.
fn means(sets: Vec<String>) {
    let file = Some("/dev/null".into());
    let recorder = orkaudio::config::Sources {
        file: file.clone(),
        environment: Vec::new(),
        sets: sets.clone(),
    };
    if let Err(mistakes) = orkaudio::config::load(&recorder) {
        assert!(!mistakes.0.is_empty());
    }
    let tracker = orktrack::config::Sources { file, environment: Vec::new(), sets };
    if let Err(mistakes) = orktrack::config::load(&tracker) {
        assert!(!mistakes.0.is_empty());
    }
}
