//! What became of recordings, a line each, in a chain of hashes.
//!
//! ```text
//! 17 2026-11-22T00:10:00Z kept recid=…&path=2026/11/22/00/X.wav&bytes=96044&sha256=…& 9f86d0…
//! ```
//!
//! Law: a line ends with the hash (SHA-256, or HMAC-SHA-256 under a key) of the hash of the line before it and
//! of the line itself up to the space before the hash. Lines are numbered from 1 and go on from day to
//! day. So no line can be changed, taken out, put in or moved without notice, but for the last ones.

use hmac::{Hmac, Mac as _, digest::KeyInit as _};
use orkbase::message::url;
use sha2::{Digest as _, Sha256};
use std::{fmt, str};
use zeroize::Zeroizing;

/// Longest line that is read, in bytes.
pub const MAX_LINE: usize = 64 * 1024;
/// Highest number of a line that is read: nobody comes so far, and whoever goes on behind it can count.
const LAST: u64 = u64::MAX >> 1;
/// Extension of the files, one for each day (UTC): `2026-11-22.ork`.
pub const EXTENSION: &str = "ork";
/// The folder of the files, below that of the recordings.
pub const FOLDER: &str = "ledger";

/// SHA-256, of a file or of a line.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Sum(pub [u8; 32]);

impl Sum {
    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let read = base16ct::lower::decode(text, &mut bytes).ok()?.len();
        (read == bytes.len()).then_some(Self(bytes))
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base16ct::lower::encode_string(&self.0))
    }
}

/// What a line tells.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// The first line of a file.
    Day {
        /// As the file is named, `2026-11-22`.
        day: String,
        /// The day of the file before; empty in the first one.
        previous: String,
    },
    /// A finished file of a recording.
    Kept {
        /// The recording.
        recid: String,
        /// Below the folder of recordings; absolute if it lies elsewhere.
        path: String,
        /// Length of the file.
        bytes: u64,
        /// Hash of the file.
        sha256: Sum,
        /// First packet, Unix milliseconds.
        begin_ms: u64,
        /// Length of the call in milliseconds.
        duration_ms: u64,
        /// What operators did to it, and when: `pause@1500,pauseover@4000`.
        marks: String,
    },
    /// A file was deleted by whoever may.
    Gone {
        /// The recording.
        recid: String,
        /// As in [`Event::Kept`].
        path: String,
        /// Who decided so.
        by: String,
    },
    /// A recording of which nothing was kept.
    NotKept {
        /// The recording.
        recid: String,
        /// Why not.
        why: String,
    },
    /// The end of a line that was torn when its writer was killed, and cut off.
    Cut {
        /// Its length.
        bytes: u64,
    },
}

impl Event {
    fn parts(&self) -> (&'static str, Vec<(&'static str, String)>) {
        match self {
            Self::Day { day, previous } => {
                ("day", vec![("day", day.clone()), ("previous", previous.clone())])
            }
            Self::Kept { recid, path, bytes, sha256, begin_ms, duration_ms, marks } => {
                let mut fields = vec![
                    ("recid", recid.clone()),
                    ("path", path.clone()),
                    ("bytes", bytes.to_string()),
                    ("sha256", sha256.to_string()),
                    ("begin_ms", begin_ms.to_string()),
                    ("duration_ms", duration_ms.to_string()),
                ];
                if !marks.is_empty() {
                    fields.push(("marks", marks.clone()));
                }
                ("kept", fields)
            }
            Self::Gone { recid, path, by } => {
                ("gone", vec![("recid", recid.clone()), ("path", path.clone()), ("by", by.clone())])
            }
            Self::NotKept { recid, why } => {
                ("notkept", vec![("recid", recid.clone()), ("why", why.clone())])
            }
            Self::Cut { bytes } => ("cut", vec![("bytes", bytes.to_string())]),
        }
    }

    fn read(word: &str, fields: &str) -> Option<Self> {
        let pairs = url::decode(fields.as_bytes()).ok()?;
        let get = |key: &str| pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| value);
        let text = |key: &str| get(key).map(ToOwned::to_owned);
        let number = |key: &str| get(key).and_then(|text| text.parse().ok());
        Some(match word {
            "day" => Self::Day { day: text("day")?, previous: text("previous")? },
            "kept" => Self::Kept {
                recid: text("recid")?,
                path: text("path")?,
                bytes: number("bytes")?,
                sha256: Sum::read(get("sha256")?)?,
                begin_ms: number("begin_ms")?,
                duration_ms: number("duration_ms")?,
                marks: text("marks").unwrap_or_default(),
            },
            "gone" => Self::Gone { recid: text("recid")?, path: text("path")?, by: text("by")? },
            "notkept" => Self::NotKept { recid: text("recid")?, why: text("why")? },
            "cut" => Self::Cut { bytes: number("bytes")? },
            _ => return None,
        })
    }
}

/// Makes the hash of a line.
#[derive(Clone, Default)]
pub struct Link(Option<Zeroizing<Vec<u8>>>);

impl Link {
    /// Only who has this key can make lines (HMAC, RFC 2104).
    #[must_use]
    pub fn keyed(key: &[u8]) -> Self {
        Self(Some(Zeroizing::new(key.to_vec())))
    }

    fn hash(&self, before: &Sum, text: &[u8]) -> Sum {
        let keyed = self.0.as_ref().and_then(|key| Hmac::<Sha256>::new_from_slice(key).ok());
        match keyed {
            Some(mut mac) => {
                mac.update(&before.0);
                mac.update(text);
                Sum(mac.finalize().into_bytes().into())
            }
            None => Sum(Sha256::new().chain_update(before.0).chain_update(text).finalize().into()),
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Link(HMAC-SHA-256)" } else { "Link(SHA-256)" })
    }
}

/// How far a chain goes: its last line.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct End {
    /// Its number; 0 before the first.
    pub sequence: u64,
    /// Its hash; zero before the first.
    pub hash: Sum,
}

impl End {
    /// The end after a line that is believed; `None` if it is no line.
    #[must_use]
    pub fn of(line: &[u8]) -> Option<Self> {
        let Line { sequence, hash, .. } = Line::read(line)?;
        Some(Self { sequence, hash })
    }

    /// Appends a line, with its newline. `at` is in Unix seconds.
    pub fn append(&mut self, link: &Link, at: u64, event: &Event, out: &mut String) {
        let (word, fields) = event.parts();
        let sequence = self.sequence + 1;
        let mut text = format!("{sequence} {} {word} ", moment(at));
        for (key, value) in fields {
            text.push_str(key);
            text.push('=');
            encode(&value, &mut text);
            text.push('&');
        }
        *self = Self { sequence, hash: link.hash(&self.hash, text.as_bytes()) };
        out.push_str(&text);
        out.push_str(&format!(" {}\n", self.hash));
    }
}

/// As the wire writes it, but for what is plain in paths and lists.
fn encode(value: &str, out: &mut String) {
    let mut rest = value;
    while let Some(at) = rest.find(['/', ':', ',']) {
        let (head, tail) = rest.split_at(at);
        url::encode_value(head, out);
        let mut tail = tail.chars();
        out.extend(tail.next());
        rest = tail.as_str();
    }
    url::encode_value(rest, out);
}

fn moment(at: u64) -> String {
    let at = jiff::Timestamp::from_second(i64::try_from(at).unwrap_or(0)).unwrap_or_default();
    at.to_string()
}

/// The day of a moment (UTC), as files are named. `at` is in Unix seconds.
#[must_use]
pub fn day(at: u64) -> String {
    moment(at).chars().take(10).collect()
}

/// Whether a text is a day.
#[must_use]
pub fn is_day(text: &str) -> bool {
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
}

/// A line that was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// Its number.
    pub sequence: u64,
    /// When it was written, Unix seconds.
    pub at: u64,
    /// What it tells.
    pub event: Event,
    /// What it says that its hash is.
    pub hash: Sum,
    /// Bytes that are hashed.
    text: usize,
}

impl Line {
    /// Reads a line without its newline.
    #[must_use]
    pub fn read(line: &[u8]) -> Option<Self> {
        let line = str::from_utf8(line).ok()?;
        let (text, hash) = line.rsplit_once(' ')?;
        let hash = Sum::read(hash)?;
        let mut words = text.splitn(4, ' ');
        let sequence = words.next()?.parse().ok().filter(|number| *number <= LAST)?;
        let at: jiff::Timestamp = words.next()?.parse().ok()?;
        let event = Event::read(words.next()?, words.next()?)?;
        let at = u64::try_from(at.as_second()).ok()?;
        Some(Self { sequence, at, event, hash, text: text.len() })
    }
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// It is no line of ours.
    Unreadable,
    /// Lines are missing before it.
    Lost {
        /// Number of the first.
        first: u64,
        /// Number of the last.
        last: u64,
    },
    /// It stands where it does not belong, or twice.
    Moved(u64),
    /// It does not follow from the line before: one of the two was changed, or the key is another one.
    Broken(u64),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => f.write_str("a line cannot be read: it was changed"),
            Self::Lost { first, last } if first == last => write!(f, "line {first} is missing"),
            Self::Lost { first, last } => write!(f, "lines {first} to {last} are missing"),
            Self::Moved(number) => write!(f, "line {number} was moved or copied here"),
            Self::Broken(number) => {
                write!(f, "line {number} does not follow from the line before: it was changed")
            }
        }
    }
}

/// Reads a chain line by line.
#[derive(Clone, Debug)]
pub struct Chain {
    link: Link,
    end: End,
    /// The line before could not be read: what follows cannot be held against it.
    blind: bool,
}

impl Chain {
    /// A chain that goes on from here.
    #[must_use]
    pub const fn after(link: Link, end: End) -> Self {
        Self { link, end, blind: false }
    }

    /// The last good line.
    #[must_use]
    pub const fn end(&self) -> End {
        self.end
    }

    /// Takes the next line, without its newline: what it tells, and what is wrong with it.
    pub fn take(&mut self, bytes: &[u8]) -> (Option<Line>, Option<Fault>) {
        let Some(line) = Line::read(bytes) else {
            self.blind = true;
            return (None, Some(Fault::Unreadable));
        };
        let expected = self.end.sequence + 1;
        if line.sequence < expected {
            return (Some(line.clone()), Some(Fault::Moved(line.sequence)));
        }
        // One that cannot be read stands for one that is missing, and was told of.
        let gap = line.sequence - expected;
        let lost = gap > u64::from(self.blind);
        let text = bytes.get(..line.text).unwrap_or_default();
        let follows = self.link.hash(&self.end.hash, text) == line.hash;
        let fault = if lost {
            Some(Fault::Lost { first: expected, last: line.sequence - 1 })
        } else if follows || self.blind {
            None
        } else {
            Some(Fault::Broken(line.sequence))
        };
        self.end = End { sequence: line.sequence, hash: line.hash };
        self.blind = false;
        (Some(line), fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(n: u64) -> Event {
        Event::Kept {
            recid: format!("R{n}"),
            path: format!("2026/11/22/00/R {n}.wav"),
            bytes: 44 + n,
            sha256: Sum([u8::try_from(n).unwrap(); 32]),
            begin_ms: 1_795_305_600_123,
            duration_ms: 1_500,
            marks: "pause@10,pauseover@20".to_owned(),
        }
    }

    fn written(link: &Link) -> Vec<String> {
        let mut end = End::default();
        let day = Event::Day { day: "2026-11-22".to_owned(), previous: String::new() };
        let gone = Event::Gone {
            recid: "R1".to_owned(),
            path: "a\nb".to_owned(),
            by: "http://t:1/x".to_owned(),
        };
        let not = Event::NotKept { recid: "R9".to_owned(), why: "too short".to_owned() };
        let mut out = String::new();
        for event in [day, kept(1), kept(2), gone, not, Event::Cut { bytes: 7 }] {
            end.append(link, 1_795_305_600, &event, &mut out);
        }
        assert_eq!(End::of(out.lines().last().unwrap().as_bytes()), Some(end));
        out.lines().map(ToOwned::to_owned).collect()
    }

    fn faults(link: &Link, lines: &[String]) -> Vec<Fault> {
        let mut chain = Chain::after(link.clone(), End::default());
        lines.iter().filter_map(|line| chain.take(line.as_bytes()).1).collect()
    }

    #[test]
    fn lines_are_read_as_they_were_written() {
        let lines = written(&Link::default());
        assert!(lines[1].starts_with(
            "2 2026-11-22T00:00:00Z kept recid=R1&path=2026/11/22/00/R+1.wav&bytes=45&sha256=0101"
        ));
        let mut chain = Chain::after(Link::default(), End::default());
        let events: Vec<Event> =
            lines.iter().map(|line| chain.take(line.as_bytes()).0.unwrap().event).collect();
        assert_eq!(events[2], kept(2));
        assert!(matches!(&events[3], Event::Gone { path, .. } if path == "a\nb"));
        assert_eq!((chain.end().sequence, events[5].clone()), (6, Event::Cut { bytes: 7 }));
        assert_eq!((day(1_795_305_600), is_day("2026-11-22")), ("2026-11-22".to_owned(), true));
        assert!(!is_day("2026-13-01") && !is_day("lock"));
    }

    #[test]
    fn every_change_of_every_line_is_noticed() {
        let lines = written(&Link::default());
        for n in 0..lines.len() - 1 {
            let mut less = lines.clone();
            less.remove(n);
            let number = u64::try_from(n).unwrap() + 1;
            assert_eq!(
                faults(&Link::default(), &less),
                [Fault::Lost { first: number, last: number }]
            );
            let mut swapped = lines.clone();
            swapped.swap(n, n + 1);
            assert_eq!(faults(&Link::default(), &swapped).len(), 2, "{n}");
        }
        for (n, line) in lines.iter().enumerate() {
            for at in 0..line.len() {
                let mut changed = lines.clone();
                let mut bytes = line.clone().into_bytes();
                bytes[at] ^= 1;
                let mut chain = Chain::after(Link::default(), End::default());
                changed.remove(n);
                let mut found = 0;
                for (m, other) in lines.iter().enumerate() {
                    let bytes = if m == n { &bytes } else { other.as_bytes() };
                    found += usize::from(chain.take(bytes).1.is_some());
                }
                assert!((1..=3).contains(&found), "{n} {at}: {found}");
            }
        }
    }

    #[test]
    fn a_line_with_the_highest_of_numbers_is_no_line() {
        let mut out = String::new();
        for number in [u64::MAX, LAST + 1, LAST] {
            let mut end = End { sequence: number - 1, hash: Sum::default() };
            out.clear();
            end.append(&Link::default(), 1, &Event::Cut { bytes: 1 }, &mut out);
            let line = out.trim_end().as_bytes();
            assert_eq!(End::of(line).is_some(), number == LAST);
            let mut chain = Chain::after(Link::default(), End::default());
            assert!(chain.take(line).1.is_some() && chain.take(line).1.is_some());
        }
    }

    #[test]
    fn who_has_no_key_cannot_make_lines() {
        let (key, other) = (Link::keyed(b"geheim"), Link::keyed(b"anders"));
        let lines = written(&key);
        assert!(faults(&key, &lines).is_empty());
        for link in [Link::default(), other] {
            assert_eq!(faults(&link, &lines).len(), 6);
        }
        assert!(!format!("{key:?}").contains("geheim"));
    }
}
