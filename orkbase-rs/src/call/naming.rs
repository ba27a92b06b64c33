//! Where a tape lies below the audio folder: a pattern with tokens in brackets.
//!
//! Law: whatever a caller puts into a header, the result is a relative path inside the folder: each
//! token becomes `[A-Za-z0-9._@+-]`, at most 64 bytes, never a leading dot.

use super::policy::Parties;
use crate::{ids::OrkUid, message::tape::Direction, time::Timestamp};
use jiff::tz::TimeZone;
use std::net::IpAddr;

/// The tokens a pattern may hold.
pub const TOKENS: [&str; 17] = [
    "orkuid",
    "nativecallid",
    "trackingid",
    "direction",
    "shortdirection",
    "localparty",
    "remoteparty",
    "localentrypoint",
    "localip",
    "remoteip",
    "hostname",
    "year",
    "month",
    "day",
    "hour",
    "min",
    "sec",
];

/// `YYYY/MM/DD/HH/<orkuid>`, as the original does.
pub const DEFAULT_PATTERN: &str = "[year]/[month]/[day]/[hour]/[orkuid]";
/// A token's value is cut to this many bytes.
const VALUE_BYTES: usize = 64;

/// A checked naming pattern.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Naming(Vec<Part>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Part {
    Literal(String),
    Token(&'static str),
}

/// What the tokens stand for.
#[derive(Debug)]
pub struct NameFacts<'a> {
    /// The recording.
    pub orkuid: &'a OrkUid,
    /// Its capture port.
    pub tracking_id: &'a str,
    /// Signalling's name of the call; may be empty.
    pub native_call_id: &'a str,
    /// Who is on it.
    pub parties: &'a Parties,
    /// This host.
    pub hostname: &'a str,
    /// When it began.
    pub start: Timestamp,
}

impl Default for Naming {
    fn default() -> Self {
        Self::parse(DEFAULT_PATTERN).unwrap_or(Self(vec![Part::Token("orkuid")]))
    }
}

impl Naming {
    /// Reads a pattern.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(pattern: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = pattern;
        while let Some((literal, after)) = rest.split_once('[') {
            let (token, after) =
                after.split_once(']').ok_or_else(|| format!("'[' without ']' in '{pattern}'"))?;
            let known = TOKENS.into_iter().find(|known| *known == token);
            let known = known.ok_or_else(|| {
                format!("unknown token '[{token}]'; known: {}", TOKENS.join(", "))
            })?;
            parts.push(Part::Literal(literal.to_owned()));
            parts.push(Part::Token(known));
            rest = after;
        }
        parts.push(Part::Literal(rest.to_owned()));
        parts.retain(|part| *part != Part::Literal(String::new()));
        let literal = pattern.split('/').any(|step| step.is_empty() || step == "." || step == "..");
        if literal {
            return Err(format!(
                "'{pattern}' must be a relative path without empty, '.' or '..' steps"
            ));
        }
        if !parts.contains(&Part::Token("orkuid")) && !parts.contains(&Part::Token("trackingid")) {
            return Err(format!(
                "'{pattern}' needs [orkuid] or [trackingid], or names would collide"
            ));
        }
        Ok(Self(parts))
    }

    /// The path of a recording, without extension.
    #[must_use]
    pub fn path(&self, facts: &NameFacts<'_>, zone: &TimeZone) -> String {
        let mut path = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(text) => path.push_str(text),
                Part::Token(token) => path.push_str(&plain(&value(token, facts, zone))),
            }
        }
        path
    }
}

fn value(token: &str, facts: &NameFacts<'_>, zone: &TimeZone) -> String {
    let or = |text: &str, instead: &str| {
        if text.is_empty() { instead.to_owned() } else { text.to_owned() }
    };
    let calendar = |format: &str| facts.start.to_zoned(zone).strftime(format).to_string();
    let address = |ip: IpAddr| ip.to_string();
    let parties = facts.parties;
    match token {
        "orkuid" => facts.orkuid.to_string(),
        "nativecallid" => or(facts.native_call_id, "nonativecallid"),
        "trackingid" => or(facts.tracking_id, "notrackingid"),
        "direction" => parties.direction.as_str().to_owned(),
        "shortdirection" => match parties.direction {
            Direction::In => "I".to_owned(),
            Direction::Out => "O".to_owned(),
            Direction::Unknown => "U".to_owned(),
        },
        "localparty" => or(&parties.local, "nolocalparty"),
        "remoteparty" => or(&parties.remote, "noremoteparty"),
        "localentrypoint" => or(&parties.entry_point, "nolocalentrypoint"),
        "localip" => address(parties.local_ip),
        "remoteip" => address(parties.remote_ip),
        "hostname" => or(facts.hostname, "nohostname"),
        "year" => calendar("%Y"),
        "month" => calendar("%m"),
        "day" => calendar("%d"),
        "hour" => calendar("%H"),
        "min" => calendar("%M"),
        "sec" => calendar("%S"),
        _ => String::new(),
    }
}

/// Anything that is not plain becomes `_`.
fn plain(value: &str) -> String {
    let mut plain: String =
        value
            .bytes()
            .take(VALUE_BYTES)
            .map(|b| {
                if b.is_ascii_alphanumeric() || b"._@+-".contains(&b) { char::from(b) } else { '_' }
            })
            .collect();
    if plain.starts_with('.') {
        plain.replace_range(..1, "_");
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{call::policy::decide_bare, ids::TrackingIds};

    fn path(pattern: &str, local: &str) -> String {
        let at = "10.0.0.5:5004".parse().unwrap();
        let mut parties = decide_bare(&super::super::policy::PartyRules::default(), at, at);
        local.clone_into(&mut parties.local);
        let start = Timestamp(1_390_822_905_000_000_000);
        let id = TrackingIds::new(0).next_id();
        let orkuid = OrkUid::new(start, &TimeZone::UTC, id);
        let facts = NameFacts {
            orkuid: &orkuid,
            tracking_id: id.as_str(),
            native_call_id: "",
            parties: &parties,
            hostname: "host1",
            start,
        };
        Naming::parse(pattern).unwrap().path(&facts, &TimeZone::UTC)
    }

    #[test]
    fn the_default_is_the_original_layout() {
        assert_eq!(path(DEFAULT_PATTERN, "1001"), "2014/01/27/11/20140127_114145_AAAB");
        assert_eq!(Naming::default(), Naming::parse(DEFAULT_PATTERN).unwrap());
    }

    #[test]
    fn hostile_names_stay_inside() {
        let got = path(
            "[localparty]/[orkuid]-[nativecallid]-[shortdirection]",
            "../../etc/passwd\0\n;rm",
        );
        assert_eq!(got, "_._.._etc_passwd___rm/20140127_114145_AAAB-nonativecallid-U");
        assert!(path("[orkuid]/[localparty]", &"9".repeat(500)).len() < 100);
    }

    #[test]
    fn bad_patterns_say_why() {
        for pattern in ["[nope]", "[orkuid", "/[orkuid]", "../[orkuid]", "[year]", "a//[orkuid]"] {
            assert!(!Naming::parse(pattern).unwrap_err().is_empty(), "{pattern}");
        }
    }
}
