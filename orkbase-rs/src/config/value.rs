//! Values as they were written.

use std::fmt;

/// What an array of anything but text and whole numbers is called.
pub(super) const MIXED: &str = "a list of other things than texts and whole numbers";
/// Longer texts are shortened where they are quoted.
const QUOTED_CHARS: usize = 100;

/// A value as it was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// Text; from the environment and `--set` everything is.
    Text(String),
    /// A whole number of the file.
    Number(i64),
    /// `true` or `false` in the file.
    Bool(bool),
    /// An array of the file; whole numbers are texts here.
    List(Vec<String>),
    /// Anything else, by the name of its type.
    Other(&'static str),
}

impl Value {
    /// The text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(_) | Self::Bool(_) | Self::List(_) | Self::Other(_) => None,
        }
    }

    /// The number, also one that was written as text.
    #[must_use]
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Text(text) => text.trim().parse().ok(),
            Self::Number(number) => Some(*number),
            Self::Bool(_) | Self::List(_) | Self::Other(_) => None,
        }
    }

    /// Yes or no, also written as text: `true` or `false`.
    #[must_use]
    pub fn bool(&self) -> Option<bool> {
        match self {
            Self::Text(text) => text.trim().parse().ok(),
            Self::Bool(bool) => Some(*bool),
            Self::Number(_) | Self::List(_) | Self::Other(_) => None,
        }
    }

    /// The list; of a text, its parts between commas, none if it is blank. Entries that contain a
    /// comma can be written in the file only.
    #[must_use]
    pub fn list(&self) -> Option<Vec<String>> {
        match self {
            Self::Text(text) if text.trim().is_empty() => Some(Vec::new()),
            Self::Text(text) => {
                Some(text.split(',').map(|entry| entry.trim().to_owned()).collect())
            }
            Self::List(list) => Some(list.clone()),
            Self::Number(_) | Self::Bool(_) | Self::Other(_) => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) if text.chars().count() > QUOTED_CHARS => {
                let start: String = text.chars().take(QUOTED_CHARS).collect();
                write!(f, "{start:?}...")
            }
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Bool(bool) => write!(f, "{bool}"),
            Self::List(list) => write!(f, "(a list of {})", list.len()),
            Self::Other(kind) => write!(f, "({kind})"),
        }
    }
}

/// A setting as it was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Written {
    /// `key` or `section.key`.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// Where: `file:line`, the variable, or the argument.
    pub place: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn text_may_be_read_as_anything() {
        assert_eq!(text(" 12 ").number(), Some(12));
        assert_eq!((text("true").bool(), text("yes").bool()), (Some(true), None));
        assert_eq!(text("a, b,c d").list().unwrap(), ["a", "b", "c d"]);
        assert_eq!((text("").list(), text(" ").list()), (Some(Vec::new()), Some(Vec::new())));
        // An entry too many is for the reader to refuse.
        assert_eq!(text("a,").list().unwrap(), ["a", ""]);
    }

    #[test]
    fn other_kinds_are_only_themselves() {
        let list = Value::List(vec!["a,b".to_owned()]);
        assert_eq!(list.list().unwrap(), ["a,b"]);
        assert_eq!((list.text(), list.number(), list.bool()), (None, None, None));
        let (one, no) = (Value::Number(1), Value::Bool(false));
        assert_eq!((one.text(), one.bool(), one.list()), (None, None, None));
        assert_eq!((no.text(), no.number(), no.list(), no.bool()), (None, None, None, Some(false)));
        assert_eq!(Value::Other("float").list(), None);
    }

    #[test]
    fn values_are_quoted_briefly() {
        assert_eq!(text("a\n").to_string(), "\"a\\n\"");
        assert_eq!(text(&"ä".repeat(101)).to_string(), format!("\"{}\"...", "ä".repeat(100)));
        assert_eq!(Value::List(vec![String::new()]).to_string(), "(a list of 1)");
    }
}
