//! The words and value encodings that several messages share (csv map, booleans, enumerations).

use std::collections::BTreeMap;

/// Most tags read from one message.
pub const MAX_TAGS: usize = 256;

/// Who called whom, seen from the local party.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Direction {
    /// The local party was called: `in`.
    In,
    /// The local party called: `out`.
    Out,
    /// Not known, as for RTP without signalling: `unkn`.
    #[default]
    Unknown,
}

impl Direction {
    /// The wire word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Unknown => "unkn",
        }
    }

    /// Reads the wire word without regard to case; an unknown word is [`Direction::Unknown`].
    #[must_use]
    pub fn read(text: &str) -> Self {
        let is = |word: Self| text.trim().eq_ignore_ascii_case(word.as_str());
        [Self::In, Self::Out].into_iter().find(|word| is(*word)).unwrap_or_default()
    }
}

/// Which side of the call is kept: the wire key `side`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum KeepSide {
    /// Both sides, the default: `both`.
    #[default]
    Both,
    /// Only what the local party says: `local`.
    Local,
    /// Only what the remote party says: `remote`.
    Remote,
    /// Neither side: `none`.
    None,
    /// A word nobody knows: `invalid`.
    Invalid,
}

impl KeepSide {
    /// Every word.
    pub const ALL: [Self; 5] = [Self::Both, Self::Local, Self::Remote, Self::None, Self::Invalid];

    /// The wire word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Local => "local",
            Self::Remote => "remote",
            Self::None => "none",
            Self::Invalid => "invalid",
        }
    }

    /// Reads the wire word without regard to case: empty is the default, an unknown word is
    /// [`KeepSide::Invalid`].
    #[must_use]
    pub fn read(text: &str) -> Self {
        let text = text.trim();
        if text.is_empty() {
            return Self::default();
        }
        let is = |word: &Self| text.eq_ignore_ascii_case(word.as_str());
        Self::ALL.into_iter().find(is).unwrap_or(Self::Invalid)
    }
}

/// The wire word of a boolean.
#[must_use]
pub const fn bool_str(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// Reads `true yes 1` and `false no 0` without regard to case.
#[must_use]
pub fn read_bool(text: &str) -> Option<bool> {
    let one_of = |words: [&str; 3]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if one_of(["true", "yes", "1"]) {
        return Some(true);
    }
    one_of(["false", "no", "0"]).then_some(false)
}

/// Writes a csv map: `k:v` entries in key order, joined by commas.
///
/// Each half is escaped first (`:` is `%k`, `%` is `%p`), then the entry as a whole (`,` is `%c`,
/// `%` is `%p`), so a colon inside a value ends up as `%pk`.
#[must_use]
pub fn encode_tags(tags: &BTreeMap<String, String>) -> String {
    let half = |text: &str| escape(text, &[(':', "%k"), ('%', "%p")]);
    let entry = |(key, value): (&String, &String)| {
        escape(&format!("{}:{}", half(key), half(value)), &[(',', "%c"), ('%', "%p")])
    };
    tags.iter().map(entry).collect::<Vec<_>>().join(",")
}

/// Reads a csv map. An entry without a colon is a key with an empty value and unknown escapes stay
/// as they are, for a bad tag must not lose a recording; at most [`MAX_TAGS`] are kept and the first
/// of two equal keys wins.
#[must_use]
pub fn read_tags(text: &str) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    for entry in text.split(',').filter(|entry| !entry.trim().is_empty()) {
        if tags.len() >= MAX_TAGS {
            break;
        }
        let entry = unescape(entry, &[('c', ','), ('p', '%')]);
        let (key, value) = entry.split_once(':').unwrap_or((&entry, ""));
        let half = |text: &str| unescape(text, &[('k', ':'), ('p', '%')]);
        tags.entry(half(key)).or_insert_with(|| half(value));
    }
    tags
}

/// Replaces each character of the table by its text.
pub(crate) fn escape(text: &str, table: &[(char, &str)]) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match table.iter().find(|(plain, _)| *plain == c) {
            Some((_, escaped)) => out.push_str(escaped),
            None => out.push(c),
        }
    }
    out
}

/// Replaces `%x` by the character of the table; an unknown escape stays as it is.
pub(crate) fn unescape(text: &str, table: &[(char, char)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let known = chars.peek().and_then(|next| table.iter().find(|(letter, _)| letter == next));
        match known.filter(|_| c == '%') {
            Some((_, plain)) => {
                chars.next();
                out.push(*plain);
            }
            None => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tag_is_escaped_twice() {
        let tags = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        assert_eq!(
            encode_tags(&tags(&[("X-Id", "42"), ("ondemand", "true")])),
            "X-Id:42,ondemand:true"
        );
        assert_eq!(encode_tags(&tags(&[("u", "sip:a,b%")])), "u:sip%pka%cb%pp");
        assert_eq!(read_tags("u:sip%pka%cb%pp,,lone"), tags(&[("u", "sip:a,b%"), ("lone", "")]));
        assert_eq!(read_tags("a:1:2,a:3"), tags(&[("a", "1:2")]));
    }

    #[test]
    fn unknown_words_have_a_place() {
        assert_eq!(Direction::read("OUT"), Direction::Out);
        assert_eq!(Direction::read("sideways"), Direction::Unknown);
        assert_eq!(
            (KeepSide::read(""), KeepSide::read("nonsense")),
            (KeepSide::Both, KeepSide::Invalid)
        );
        assert_eq!(
            (read_bool("YES"), read_bool("0"), read_bool("x")),
            (Some(true), Some(false), None)
        );
    }

    proptest! {
        #[test]
        fn tags_come_back(tags in proptest::collection::btree_map(".*\\PC", ".*", 0..9)) {
            prop_assert_eq!(read_tags(&encode_tags(&tags)), tags);
        }
    }
}
