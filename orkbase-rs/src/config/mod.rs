//! What an operator wrote, before anybody asks what it means: keys, values and places.
//!
//! A program has a [`Schema`], the list of its keys. Three sources are read against it: the text of a
//! TOML file, environment variables (`PREFIX_SECTION_KEY`) and `--set section.key=value` arguments.
//!
//! Law: nothing that was written is passed over. A key outside the schema is a mistake with its
//! place and, where one is near, the key that was probably meant; all mistakes are told at once.

mod file;
mod nearest;
mod value;

pub use value::{Value, Written};

use std::{ffi::OsString, fmt};

/// Names are listed whole up to this many; in larger schemas, those of the same section.
const LISTED: usize = 12;

/// Something wrong in the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// `file:line`, `--set`, or the environment variable.
    pub place: String,
    /// What is wrong and what to do.
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Every mistake that was found; a line each.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Mistakes(pub Vec<Mistake>);

impl Mistakes {
    /// One more.
    pub fn add(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.0.push(Mistake { place: place.into(), what: what.into() });
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Mistakes {}

/// What a program lets its operator set.
#[derive(Clone, Copy, Debug)]
pub struct Schema<'a> {
    /// Every key, as in the file: `key` or `section.key`, one dot at most.
    pub keys: &'a [&'a str],
    /// Prefix of environment variables, with its underscore.
    pub prefix: &'a str,
    /// Variables that have the prefix and are no settings.
    pub reserved: &'a [&'a str],
}

impl<'a> Schema<'a> {
    /// Reads all sources; a later setting outweighs an earlier one: file, environment, `--set`.
    /// `file` is its name, for places, and its text.
    #[must_use]
    pub fn read(
        &self,
        file: Option<(&str, &str)>,
        environment: &[(OsString, OsString)],
        sets: &[String],
        mistakes: &mut Mistakes,
    ) -> Vec<Written> {
        let mut written =
            file.map_or_else(Vec::new, |(name, text)| self.file(name, text, mistakes));
        written.extend(self.environment(environment, mistakes));
        written.extend(self.sets(sets, mistakes));
        written
    }

    /// The settings of a TOML text, in its order. Text that is not TOML is told, and what can be
    /// read is read all the same.
    #[must_use]
    pub fn file(&self, name: &str, text: &str, mistakes: &mut Mistakes) -> Vec<Written> {
        file::read(self, name, text, mistakes)
    }

    /// The settings of the environment; variables without the prefix are not ours.
    #[must_use]
    pub fn environment(
        &self,
        variables: &[(OsString, OsString)],
        mistakes: &mut Mistakes,
    ) -> Vec<Written> {
        let mut written = Vec::new();
        for (name, value) in variables {
            let name = name.to_string_lossy();
            let Some(wanted) = name.strip_prefix(self.prefix) else { continue };
            if self.reserved.contains(&name.as_ref()) {
                continue;
            }
            let Some(key) = self.keys.iter().find(|key| self.variable(key) == name) else {
                let hint = self.hint(wanted, "variables", &|name| self.variable(name));
                mistakes.add(name, format!("there is no such setting; {hint}"));
                continue;
            };
            match value.to_str() {
                Some(value) => written.push(Written {
                    key: (*key).to_owned(),
                    value: Value::Text(value.to_owned()),
                    place: name.into_owned(),
                }),
                None => mistakes.add(name, format!("{key} is not UTF-8; give plain text")),
            }
        }
        written
    }

    /// The settings of `--set key=value` arguments.
    #[must_use]
    pub fn sets(&self, arguments: &[String], mistakes: &mut Mistakes) -> Vec<Written> {
        let mut written = Vec::new();
        for argument in arguments {
            let place = format!("--set {argument}");
            let Some((key, value)) = argument.split_once('=') else {
                mistakes.add(place, "write --set key=value");
                continue;
            };
            let (key, value) = (key.trim().to_owned(), Value::Text(value.to_owned()));
            if self.keys.contains(&key.as_str()) {
                written.push(Written { key, value, place });
            } else {
                mistakes.add(place, self.unknown(&key));
            }
        }
        written
    }

    /// The variable of a key: `PREFIX_SECTION_KEY`.
    #[must_use]
    pub fn variable(&self, key: &str) -> String {
        format!("{}{}", self.prefix, key.replace('.', "_").to_ascii_uppercase())
    }

    /// The sections, each once.
    fn sections(&self) -> Vec<&'a str> {
        let mut sections = Vec::new();
        for (section, _) in self.keys.iter().filter_map(|key| key.split_once('.')) {
            if !sections.contains(&section) {
                sections.push(section);
            }
        }
        sections
    }

    /// Says that there is no such key.
    fn unknown(&self, key: &str) -> String {
        if self.sections().contains(&key) {
            return format!("`{key}` is a section; write [{key}] and its settings below it");
        }
        let hint = self.hint(key, "settings", &str::to_owned);
        format!("there is no setting `{}`; {hint}", key.escape_debug())
    }

    /// Says that there is no such section.
    fn unknown_section(&self, name: &str) -> String {
        let sections = self.sections();
        if sections.is_empty() {
            return self.unknown(name);
        }
        let near = nearest::nearest(name, &sections);
        let near = near.map_or_else(String::new, |near| format!("; did you mean [{near}]?"));
        let all = sections.join(", ");
        format!("there is no section [{}]; the sections are {all}{near}", name.escape_debug())
    }

    /// What may have been meant: the keys there are, or the nearest one.
    fn hint(&self, wanted: &str, what: &str, show: &dyn Fn(&str) -> String) -> String {
        let near = nearest::nearest(wanted, self.keys);
        let near = near.map(|near| format!("did you mean {}?", show(near)));
        if let (Some(near), true) = (&near, self.keys.len() > LISTED) {
            return near.clone();
        }
        let wanted = nearest::plain(wanted);
        let beside = |key: &&&str| {
            let section = key.split_once('.').map(|(section, _)| format!("{section}_"));
            section.is_some_and(|section| wanted.starts_with(&section))
        };
        let mut listed: Vec<String> = if self.keys.len() <= LISTED {
            self.keys.iter().map(|key| show(key)).collect()
        } else {
            self.keys.iter().filter(beside).map(|key| show(key)).collect()
        };
        if listed.is_empty() {
            let alone = self.keys.iter().filter(|key| !key.contains('.')).map(|key| show(key));
            let sections = self.sections();
            listed = sections.iter().map(|section| show(&format!("{section}.*"))).collect();
            listed.extend(alone);
        }
        let listed = format!("the {what} are {}", listed.join(", "));
        near.map_or(listed.clone(), |near| format!("{listed}; {near}"))
    }
}

/// Whether a log setting is made of levels (`info`) and directives (`part=debug`). A bare word must
/// be a level: the filter itself would take any word for the name of a module.
#[must_use]
pub fn is_log_level(text: &str) -> bool {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    text.split(',').map(str::trim).all(|part| {
        part.contains(['=', '[']) || levels.iter().any(|level| part.eq_ignore_ascii_case(level))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Schema<'_> =
        Schema { keys: &["listen", "log.level"], prefix: "T_", reserved: &["T_CONFIG"] };
    const LARGE: Schema<'_> = Schema {
        keys: &[
            "top",
            "a.one",
            "a.two",
            "a.three_s",
            "a.four",
            "a.five",
            "b.six",
            "b.seven",
            "b.eight",
            "b.nine",
            "b.ten",
            "b.max_calls",
            "b.list",
        ],
        prefix: "T_",
        reserved: &[],
    };

    fn file(schema: Schema<'_>, text: &str) -> (Vec<Written>, String) {
        let mut mistakes = Mistakes::default();
        let written = schema.file("x.toml", text, &mut mistakes);
        (written, mistakes.to_string())
    }

    fn setting(key: &str, value: Value, place: &str) -> Written {
        Written { key: key.to_owned(), value, place: place.to_owned() }
    }

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_file_gives_its_values_in_its_order_with_their_lines() {
        let text = "top = \"x\"\n[b]\nten = -0x10\nsix = true\n[a]\n\none = [\"p\", 7]\n\
                    two = 1.5\nfour = [true]\nfive = { }\n";
        let (written, mistakes) = file(LARGE, text);
        assert!(mistakes.starts_with("x.toml:3: not TOML: "), "{mistakes}");
        let text = text.replace("-0x10", "0x10");
        assert_eq!(written.last().map(|last| last.place.as_str()), Some("x.toml:10"));
        let (written, mistakes) = file(LARGE, &text);
        assert_eq!(mistakes, "");
        assert_eq!(
            written,
            [
                setting("top", Value::Text("x".to_owned()), "x.toml:1"),
                setting("b.ten", Value::Number(16), "x.toml:3"),
                setting("b.six", Value::Bool(true), "x.toml:4"),
                setting("a.one", Value::List(texts(&["p", "7"])), "x.toml:7"),
                setting("a.two", Value::Other("float"), "x.toml:8"),
                setting("a.four", Value::Other(value::MIXED), "x.toml:9"),
                setting("a.five", Value::Other("table"), "x.toml:10"),
            ]
        );
    }

    #[test]
    fn whatever_is_not_in_the_schema_is_refused() {
        let (written, mistakes) = file(
            LARGE,
            "max_calls = 1\nb = 3\n[A]\none = 1\n[nothing]\n[a]\nthree_ms = 1\none.x = 1\nzzz = 1\n",
        );
        // `a.one` is known, but as what it was written its reader will refuse.
        assert_eq!(written, [setting("a.one", Value::Other("table"), "x.toml:8")]);
        assert_eq!(
            mistakes.lines().collect::<Vec<_>>(),
            [
                "x.toml:1: there is no setting `max_calls`; did you mean b.max_calls?",
                "x.toml:2: `b` is a section; write [b] and its settings below it",
                "x.toml:3: there is no section [A]; the sections are a, b; did you mean [a]?",
                "x.toml:5: there is no section [nothing]; the sections are a, b",
                "x.toml:7: there is no setting `a.three_ms`; did you mean a.three_s?",
                "x.toml:9: there is no setting `a.zzz`; the settings are a.one, a.two, \
                 a.three_s, a.four, a.five",
            ]
        );
        assert_eq!(
            file(SMALL, "lisen = 1").1,
            "x.toml:1: there is no setting `lisen`; the settings are listen, log.level; \
             did you mean listen?"
        );
    }

    #[test]
    fn the_environment_and_arguments() {
        let mut mistakes = Mistakes::default();
        let environment =
            [("HOME", "/"), ("T_CONFIG", "f"), ("T_LOG_LEVEL", "warn"), ("T_LOGLEVEL", "x")];
        let environment = environment.map(|(name, value)| (name.into(), value.into()));
        let sets = texts(&["listen= a=b", "log.levle=x", "listen"]);
        let written = SMALL.read(Some(("f", "listen = \"0\"")), &environment, &sets, &mut mistakes);
        assert_eq!(
            written,
            [
                setting("listen", Value::Text("0".to_owned()), "f:1"),
                setting("log.level", Value::Text("warn".to_owned()), "T_LOG_LEVEL"),
                setting("listen", Value::Text(" a=b".to_owned()), "--set listen= a=b"),
            ]
        );
        assert_eq!(
            mistakes.to_string().lines().collect::<Vec<_>>(),
            [
                "T_LOGLEVEL: there is no such setting; the variables are T_LISTEN, T_LOG_LEVEL; \
                 did you mean T_LOG_LEVEL?",
                "--set log.levle=x: there is no setting `log.levle`; the settings are listen, \
                 log.level; did you mean log.level?",
                "--set listen: write --set key=value",
            ]
        );
        let mut mistakes = Mistakes::default();
        let none = LARGE.environment(
            &[("T_WHATEVER".into(), "".into()), ("T_A_ZZZ".into(), "".into())],
            &mut mistakes,
        );
        assert!(none.is_empty());
        assert_eq!(
            mistakes.to_string().lines().collect::<Vec<_>>(),
            [
                "T_WHATEVER: there is no such setting; the variables are T_A_*, T_B_*, T_TOP",
                "T_A_ZZZ: there is no such setting; the variables are T_A_ONE, T_A_TWO, \
                 T_A_THREE_S, T_A_FOUR, T_A_FIVE",
            ]
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_not_text_is_told() {
        use std::os::unix::ffi::OsStringExt;
        let mut mistakes = Mistakes::default();
        let variable = ("T_LISTEN".into(), OsString::from_vec(vec![b'a', 0xff]));
        assert!(SMALL.environment(&[variable], &mut mistakes).is_empty());
        assert_eq!(mistakes.to_string(), "T_LISTEN: listen is not UTF-8; give plain text");
    }

    #[test]
    fn log_levels() {
        assert!(is_log_level("info") && is_log_level("WARN, a::b=debug"));
        assert!(!is_log_level("loud") && !is_log_level("") && !is_log_level("info,"));
    }
}
