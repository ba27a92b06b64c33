//! Which calls the operator does not want recorded: pure functions of addresses and names.
//!
//! Law: a call that is left out is left out for one stated reason, and nobody can ask for it after
//! all: filters stand for what must not be recorded.

use super::policy::{IpRange, NumberPattern, Parties};
use regex::{Regex, RegexBuilder};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

/// A compiled expression may take this much memory.
const REGEX_BYTES: usize = 256 * 1024;
/// Parties are compared up to this many bytes.
const PARTY_BYTES: usize = 256;

/// A pattern of parties: a number pattern, or `/expression/`, which must match the whole name.
#[derive(Clone, Debug)]
pub struct PartyPattern {
    text: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Number(NumberPattern),
    Expression(Regex),
}

impl PartialEq for PartyPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for PartyPattern {}

impl PartyPattern {
    /// Reads a pattern; `None` when it is empty, no pattern, or too large an expression.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let inner = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
        let kind = if let Some(inner) = inner {
            // As whole names: an expression that forgets its anchors must not match half the company.
            let whole = format!("^(?:{inner})$");
            let built = RegexBuilder::new(&whole).size_limit(REGEX_BYTES).build().ok()?;
            Kind::Expression(built)
        } else {
            Kind::Number(NumberPattern::parse(text)?)
        };
        Some(Self { text: text.to_owned(), kind })
    }

    /// Whether `party` is one of these.
    #[must_use]
    pub fn matches(&self, party: &str) -> bool {
        if party.len() > PARTY_BYTES {
            return false;
        }
        match &self.kind {
            Kind::Number(pattern) => pattern.matches(party),
            Kind::Expression(expression) => expression.is_match(party),
        }
    }
}

impl fmt::Display for PartyPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What is left out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filters {
    /// If there are any, both addresses of signalling and of media must lie in one of them.
    pub allowed_addresses: Vec<IpRange>,
    /// Neither address of signalling or of media may lie in one of them.
    pub blocked_addresses: Vec<IpRange>,
    /// Neither address of media may lie in one of them.
    pub blocked_media: Vec<IpRange>,
    /// If there are any, one of the two parties must be one of them.
    pub only_parties: Vec<PartyPattern>,
    /// Neither party may be one of them.
    pub never_parties: Vec<PartyPattern>,
    /// What is said after so long is not recorded, in milliseconds; 0 has no limit.
    pub max_duration_ms: u64,
}

/// Why a call, or a part of it, is left out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ignored {
    /// An address is blocked, or not among those allowed.
    Address(IpAddr),
    /// A party must not be recorded.
    Party(String),
    /// Neither party is among those to be recorded.
    NeitherParty(String, String),
    /// It has gone on for longer than is recorded.
    TooLong,
}

impl Ignored {
    /// A word for counters and tags.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Address(_) => "address",
            Self::Party(_) | Self::NeitherParty(..) => "party",
            Self::TooLong => "duration",
        }
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(
                f,
                "{address} is blocked or not allowed (filters.blocked_addresses, blocked_media, \
                 allowed_addresses)"
            ),
            Self::Party(party) => {
                write!(f, "{party} must not be recorded (filters.never_parties)")
            }
            Self::NeitherParty(one, other) => {
                write!(f, "neither {one} nor {other} is to be recorded (filters.only_parties)")
            }
            Self::TooLong => f.write_str("longer than is recorded (filters.max_duration_s)"),
        }
    }
}

impl Filters {
    /// The reason to leave out signalling between two addresses.
    #[must_use]
    pub fn signalling(&self, source: SocketAddr, destination: SocketAddr) -> Option<Ignored> {
        let refused = |address: &IpAddr| {
            let inside = |ranges: &[IpRange]| ranges.iter().any(|range| range.contains(*address));
            inside(&self.blocked_addresses)
                || !(self.allowed_addresses.is_empty() || inside(&self.allowed_addresses))
        };
        [source.ip(), destination.ip()].into_iter().find(refused).map(Ignored::Address)
    }

    /// The reason to leave out media between two addresses.
    #[must_use]
    pub fn media(&self, source: SocketAddr, destination: SocketAddr) -> Option<Ignored> {
        let refused =
            |address: &IpAddr| self.blocked_media.iter().any(|range| range.contains(*address));
        let blocked = [source.ip(), destination.ip()].into_iter().find(refused);
        blocked.map(Ignored::Address).or_else(|| self.signalling(source, destination))
    }

    /// The reason to leave out a call between two parties.
    #[must_use]
    pub fn parties(&self, parties: &Parties) -> Option<Ignored> {
        let both = [&parties.local, &parties.remote];
        let among = |list: &[PartyPattern], party: &str| list.iter().any(|p| p.matches(party));
        if let Some(party) = both.iter().find(|party| among(&self.never_parties, party)) {
            return Some(Ignored::Party((*party).clone()));
        }
        let wanted = self.only_parties.is_empty()
            || both.iter().any(|party| among(&self.only_parties, party));
        (!wanted).then(|| Ignored::NeitherParty(parties.local.clone(), parties.remote.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{
        dialog::People,
        policy::{PartyRules, decide},
    };

    fn at(text: &str) -> SocketAddr {
        format!("{text}:5060").parse().unwrap()
    }

    fn between(from: &str, to: &str) -> Parties {
        let mut people = People::unnamed(at("10.0.0.1"), at("10.0.0.2"));
        (people.from.user, people.to.user) = (from.to_owned(), to.to_owned());
        decide(&PartyRules::default(), &people)
    }

    fn patterns(list: &[&str]) -> Vec<PartyPattern> {
        list.iter().map(|text| PartyPattern::parse(text).unwrap()).collect()
    }

    #[test]
    fn addresses() {
        let ranges = |list: &[&str]| list.iter().map(|t| IpRange::parse(t).unwrap()).collect();
        let open = Filters::default();
        assert_eq!(open.signalling(at("10.0.0.1"), at("192.0.2.1")), None);
        let filters = Filters {
            allowed_addresses: ranges(&["10.0.0.0/8", "192.0.2.0/24"]),
            blocked_addresses: ranges(&["10.9.0.0/16"]),
            blocked_media: ranges(&["10.0.0.7"]),
            ..Filters::default()
        };
        assert_eq!(filters.signalling(at("10.0.0.1"), at("192.0.2.1")), None);
        let refused = |one, other| filters.signalling(at(one), at(other)).is_some();
        assert!(refused("10.0.0.1", "10.9.1.1") && refused("172.16.0.1", "10.0.0.1"));
        assert!(!refused("10.0.0.7", "10.0.0.1"));
        assert!(filters.media(at("10.0.0.1"), at("10.0.0.7")).is_some());
        assert!(filters.media(at("10.9.0.1"), at("10.0.0.1")).is_some());
        assert_eq!(filters.media(at("10.0.0.1"), at("10.0.0.2")), None);
    }

    #[test]
    fn parties() {
        let filters = Filters {
            only_parties: patterns(&["1000-1999", "/a(lice|nna)/"]),
            never_parties: patterns(&["1500", "+49*"]),
            ..Filters::default()
        };
        for (from, to, word) in [
            ("1001", "22", None),
            ("22", "1001", None),
            ("alice", "22", None),
            ("xalicex", "22", Some("party")),
            ("22", "33", Some("party")),
            ("1001", "1500", Some("party")),
            ("1001", "+4930", Some("party")),
        ] {
            let got = filters.parties(&between(from, to));
            assert_eq!(got.as_ref().map(Ignored::as_str), word, "{from} {to}");
        }
        assert_eq!(Filters::default().parties(&between("a", "b")), None);
    }

    #[test]
    fn patterns_that_are_none() {
        for text in ["", "//(/", "/(/", "/a{1000}{1000}{1000}/", "2000-1000"] {
            assert!(PartyPattern::parse(text).is_none(), "{text}");
        }
        assert!(PartyPattern::parse("/.*/").unwrap().matches("anything"));
        assert!(!PartyPattern::parse("/.*/").unwrap().matches(&"9".repeat(300)));
    }
}
