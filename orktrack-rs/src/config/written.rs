//! What was written, before anybody asks what it means: keys, values and places.

use super::{FILE_VARIABLE, KEYS, Mistake, PREFIX};
use std::{ffi::OsString, fmt, ops::Range, path::Path};
use toml::de::{DeTable, DeValue};

/// A value as it was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Value {
    /// Text; from the environment and `--set` everything is.
    Text(String),
    /// A whole number of the file.
    Number(i64),
    /// Anything else, by the name of its type.
    Other(&'static str),
}

impl Value {
    /// The text.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(_) | Self::Other(_) => None,
        }
    }

    /// The number, also one that was written as text.
    pub(super) fn number(&self) -> Option<i64> {
        match self {
            Self::Text(text) => text.trim().parse().ok(),
            Self::Number(number) => Some(*number),
            Self::Other(_) => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Other(kind) => write!(f, "({kind})"),
        }
    }
}

/// A setting as it was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Written {
    /// `key` or `section.key`.
    pub(super) key: String,
    /// Its value.
    pub(super) value: Value,
    /// Where.
    pub(super) place: String,
}

/// The settings of a TOML file.
pub(super) fn file(path: &Path, text: &str, mistakes: &mut Vec<Mistake>) -> Vec<Written> {
    let place = |span: &Range<usize>| {
        let before = text.as_bytes().get(..span.start).unwrap_or(text.as_bytes());
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("{}:{line}", path.display())
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let place = place(&error.span().unwrap_or_default());
        mistakes.push(Mistake { place, what: format!("not TOML: {}", error.message()) });
    }
    let mut written = Vec::new();
    flatten(table.get_ref(), "", &place, &mut written);
    written
}

fn flatten(
    table: &DeTable<'_>,
    section: &str,
    place: &dyn Fn(&Range<usize>) -> String,
    written: &mut Vec<Written>,
) {
    for (name, value) in table {
        let key = match section {
            "" => name.get_ref().to_string(),
            section => format!("{section}.{}", name.get_ref()),
        };
        let value = match value.get_ref() {
            DeValue::Table(inner) if section.is_empty() => {
                flatten(inner, &key, place, written);
                continue;
            }
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Value::Other("a number out of range"), Value::Number),
            other @ (DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_)) => Value::Other(other.type_str()),
        };
        written.push(Written { key, value, place: place(&name.span()) });
    }
}

/// The settings of the environment.
pub(super) fn environment(
    variables: &[(OsString, OsString)],
    mistakes: &mut Vec<Mistake>,
) -> Vec<Written> {
    let mut written = Vec::new();
    for (name, value) in variables {
        let name = name.to_string_lossy();
        if !name.starts_with(PREFIX) || name == FILE_VARIABLE {
            continue;
        }
        match KEYS.iter().find(|key| variable(key) == name) {
            Some(key) => written.push(Written {
                key: (*key).to_owned(),
                value: Value::Text(value.to_string_lossy().into_owned()),
                place: name.into_owned(),
            }),
            None => {
                let all: Vec<String> = KEYS.iter().map(|key| variable(key)).collect();
                let all = all.join(", ");
                let what = format!("there is no such setting; the variables are {all}");
                mistakes.push(Mistake { place: name.into_owned(), what });
            }
        }
    }
    written
}

/// The variable of a key: `ORKTRACK_<SECTION>_<KEY>`.
fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_ascii_uppercase())
}

/// The settings of `--set key=value` arguments.
pub(super) fn sets(arguments: &[String], mistakes: &mut Vec<Mistake>) -> Vec<Written> {
    let mut written = Vec::new();
    for argument in arguments {
        let place = format!("--set {argument}");
        match argument.split_once('=') {
            Some((key, value)) => written.push(Written {
                key: key.trim().to_owned(),
                value: Value::Text(value.to_owned()),
                place,
            }),
            None => mistakes.push(Mistake { place, what: "write --set key=value".to_owned() }),
        }
    }
    written
}
