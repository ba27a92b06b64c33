//! What all encodings share: the ordered field list going out, the pairs coming in.

use std::{borrow::Cow, fmt};

/// Longest text a decoder looks at, in bytes. A `tape` message is under 1 kB; tags may be long.
pub const MAX_BYTES: usize = 64 * 1024;
/// Most pairs a decoder keeps. The longest published message, `tape`, has 20.
pub const MAX_PAIRS: usize = 256;

/// A message of the catalogue: its class word and its fields.
pub trait Message {
    /// The class word, for example `tape` or `simpleresponse`.
    const CLASS: &'static str;

    /// The fields in the published order. Requests begin with `type`, responses do not have it.
    fn fields(&self) -> Fields;
}

/// Keys and unescaped values in the order they are emitted; a key may occur twice (`init` does).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Fields(Vec<(&'static str, String)>);

impl Fields {
    /// An empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// This list with one more field at its end.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.0.push((key, value.into()));
        self
    }

    /// The fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(key, value)| (*key, value.as_str()))
    }
}

/// Keys and unescaped values as they were read, in order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pairs(Vec<(String, String)>);

impl Pairs {
    /// The value of `key`, which is compared without regard to case; the first occurrence wins.
    #[must_use]
    pub fn first(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|pair| pair.0.eq_ignore_ascii_case(key));
        found.map(|(_, value)| value.as_str())
    }

    /// Every value of `key`, in order (only `tagentry` is meant to repeat).
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        let wanted = move |pair: &&(String, String)| pair.0.eq_ignore_ascii_case(key);
        self.0.iter().filter(wanted).map(|(_, value)| value.as_str())
    }

    /// All pairs in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Adds a pair at the end.
    ///
    /// # Errors
    /// [`TooBig::Pairs`] when [`MAX_PAIRS`] are there already.
    pub fn push(&mut self, key: String, value: String) -> Result<(), TooBig> {
        if self.0.len() >= MAX_PAIRS {
            return Err(TooBig::Pairs);
        }
        self.0.push((key, value));
        Ok(())
    }

    /// The value of a key that must be there; it may be empty.
    pub(crate) fn required(&self, key: &'static str) -> Result<&str, FieldError> {
        self.first(key).ok_or(FieldError::Missing(key))
    }

    /// The value of a key, empty when it is not there.
    pub(crate) fn text(&self, key: &str) -> String {
        self.first(key).unwrap_or_default().to_owned()
    }

    /// A decimal number up to `max`; zero when empty or missing (Oreka: empty keeps the default).
    pub(crate) fn number(&self, key: &'static str, max: u64) -> Result<u64, FieldError> {
        let text = self.first(key).unwrap_or_default().trim();
        if text.is_empty() {
            return Ok(0);
        }
        let number = text.parse().ok().filter(|number| *number <= max);
        number.ok_or_else(|| FieldError::invalid(key, text))
    }

    /// A boolean; `default` when empty or missing.
    pub(crate) fn boolean(&self, key: &'static str, default: bool) -> Result<bool, FieldError> {
        let text = self.first(key).unwrap_or_default().trim();
        if text.is_empty() {
            return Ok(default);
        }
        super::words::read_bool(text).ok_or_else(|| FieldError::invalid(key, text))
    }
}

/// Why a text was not taken apart: it passes a bound.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TooBig {
    /// Longer than [`MAX_BYTES`].
    Bytes,
    /// More than [`MAX_PAIRS`] pairs.
    Pairs,
}

impl fmt::Display for TooBig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes => write!(f, "message longer than {MAX_BYTES} bytes"),
            Self::Pairs => write!(f, "message has more than {MAX_PAIRS} parameters"),
        }
    }
}

impl std::error::Error for TooBig {}

/// Why pairs do not make the message they claim to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FieldError {
    /// A required key is not there, or is empty where it must not be.
    Missing(&'static str),
    /// The value of a key cannot be read.
    Invalid {
        /// The key.
        key: &'static str,
        /// The value, shortened to 64 characters.
        value: String,
    },
}

impl FieldError {
    pub(crate) fn invalid(key: &'static str, value: &str) -> Self {
        Self::Invalid { key, value: value.chars().take(64).collect() }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(key) => write!(f, "parameter missing: {key}"),
            Self::Invalid { key, value } => write!(f, "invalid value for {key}: {value}"),
        }
    }
}

impl std::error::Error for FieldError {}

/// Bytes to text; what is not UTF-8 becomes U+FFFD, so that one odd byte does not lose a message.
pub(crate) fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|odd| match String::from_utf8_lossy(odd.as_bytes()) {
        Cow::Owned(text) => text,
        Cow::Borrowed(text) => text.to_owned(),
    })
}
