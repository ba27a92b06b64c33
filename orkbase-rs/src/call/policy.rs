//! Which side is local, and in which direction the call went: pure functions of config and facts.
//!
//! The rules, first match wins:
//! 1. the dialled-number header is present: the caller is local, direction out, the header's number
//!    is the remote party;
//! 2. reference addresses are set: an INVITE sent from one of them came from outside (in), any other
//!    goes out;
//! 3. reference user agents: an INVITE by one of them came from outside;
//! 4. SIP domains: From in one of them is ours (out), only To in one of them: in;
//! 5. extension patterns: exactly one of the two numbers is an extension: it is local;
//! 6. LAN ranges: exactly one of the two signalling addresses is inside: it is local;
//! 7. otherwise the caller is local (out), as the original does.
//!
//! Then, unless rule 1 decided: a Request-URI number that differs from the To number is the local
//! party, the call came in, and the To number is the local entry point. At last both parties pass
//! through the party map.

use super::{dialog::People, party::Role};
use crate::{message::tape::Direction, signal::Name};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

/// A range of addresses, `10.0.0.0/8` or one address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IpRange {
    network: u128,
    mask: u128,
    v6: bool,
}

impl IpRange {
    /// Reads `address` or `address/bits`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().ok()?;
        let (value, width) = number(address);
        let bits = bits.unwrap_or(width);
        if bits > width {
            return None;
        }
        let mask = if bits == 0 { 0 } else { u128::MAX << (width - bits) };
        Some(Self { network: value & mask, mask, v6: address.is_ipv6() })
    }

    /// Whether `address` lies inside.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (value, _) = number(address);
        address.is_ipv6() == self.v6 && value & self.mask == self.network
    }
}

fn number(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    }
}

/// A pattern of numbers: digits stand for themselves, `X` for one digit, a final `*` for anything;
/// `1000-1999` is a range of numbers of that length.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NumberPattern {
    /// Literal characters and `X`, and whether anything may follow.
    Shape(String, bool),
    /// First and last, of equal length.
    Range(String, String),
}

impl NumberPattern {
    /// Reads a pattern; `None` when it is empty or no pattern.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
        if let Some((first, last)) = text.split_once('-')
            && digits(first)
            && digits(last)
        {
            return (first.len() == last.len() && first <= last)
                .then(|| Self::Range(first.to_owned(), last.to_owned()));
        }
        let (shape, open) = text.strip_suffix('*').map_or((text, false), |shape| (shape, true));
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"+#*_.-".contains(&b);
        ((!shape.is_empty() || open) && shape.bytes().all(fits))
            .then(|| Self::Shape(shape.to_owned(), open))
    }

    /// Whether `number` is one of these.
    #[must_use]
    pub fn matches(&self, number: &str) -> bool {
        match self {
            Self::Range(first, last) => {
                number.len() == first.len()
                    && number.bytes().all(|b| b.is_ascii_digit())
                    && (first.as_str()..=last.as_str()).contains(&number)
            }
            Self::Shape(shape, open) => {
                let fits = |(p, n): (u8, u8)| if p == b'X' { n.is_ascii_digit() } else { p == n };
                let enough = number.len() == shape.len() || (*open && number.len() > shape.len());
                enough && shape.bytes().zip(number.bytes()).all(fits)
            }
        }
    }
}

/// The settings behind the rules.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PartyRules {
    /// Header that carries the number dialled; empty for none.
    pub dialed_number_header: String,
    /// Signalling addresses that stand for the outside (trunks).
    pub reference_addresses: Vec<IpRange>,
    /// User agents (substring, case counts) that stand for the outside.
    pub reference_user_agents: Vec<String>,
    /// SIP domains that are ours.
    pub domains: Vec<String>,
    /// Numbers that are ours.
    pub extensions: Vec<NumberPattern>,
    /// Networks that are ours.
    pub lan: Vec<IpRange>,
    /// Let the Request-URI name the local party.
    pub request_uri_as_local_party: bool,
    /// Header whose number replaces the remote party; empty for none.
    pub remote_party_header: String,
    /// Prefer P-Asserted-Identity and Remote-Party-ID to From for the caller.
    pub asserted_identity: bool,
    /// Report display names instead of numbers where given.
    pub display_names: bool,
    /// What a party is called instead of its number; applied last, to both.
    pub map: BTreeMap<String, String>,
}

impl Default for PartyRules {
    fn default() -> Self {
        Self {
            dialed_number_header: String::new(),
            reference_addresses: Vec::new(),
            reference_user_agents: Vec::new(),
            domains: Vec::new(),
            extensions: Vec::new(),
            lan: ["10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/12", "fc00::/7"]
                .into_iter()
                .filter_map(IpRange::parse)
                .collect(),
            request_uri_as_local_party: true,
            remote_party_header: String::new(),
            asserted_identity: true,
            display_names: false,
            map: BTreeMap::new(),
        }
    }
}

/// Who is who on a tape.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parties {
    /// Our party; never empty.
    pub local: String,
    /// The other; never empty.
    pub remote: String,
    /// The number through which the call reached us, if it differs.
    pub entry_point: String,
    /// Who called.
    pub direction: Direction,
    /// Which role is local.
    pub local_role: Role,
    /// Address of the local party's signalling or media.
    pub local_ip: IpAddr,
    /// Address of the remote party's.
    pub remote_ip: IpAddr,
    /// The rule that decided, in words for the operator.
    pub because: &'static str,
}

impl Parties {
    /// The same people when `local` is the local role, whatever the rules say: on a tape whose
    /// channels are laid out already.
    #[must_use]
    pub fn seen_by(self, local: Role) -> Self {
        if self.local_role == local {
            return self;
        }
        Self {
            local: self.remote,
            remote: self.local,
            entry_point: String::new(),
            direction: match self.direction {
                Direction::In => Direction::Out,
                Direction::Out => Direction::In,
                other @ Direction::Unknown => other,
            },
            local_role: local,
            local_ip: self.remote_ip,
            remote_ip: self.local_ip,
            because: "the channels were laid out before the call was named",
        }
    }
}

/// Decides for a signalled call.
#[must_use]
pub fn decide(rules: &PartyRules, people: &People) -> Parties {
    let (offer, source, destination) = (people, people.source, people.destination);
    let dialed = header(offer, &rules.dialed_number_header);
    let (caller_is_local, because) = if dialed.is_some() {
        (true, "dialled-number header")
    } else {
        caller_is_local(rules, offer, source.ip(), destination.ip())
    };
    let caller = offer.asserted.as_ref().filter(|_| rules.asserted_identity).unwrap_or(&offer.from);
    let caller = text(rules, caller, source.ip());
    let callee = text(rules, &offer.to, destination.ip());
    let mut parties = Parties {
        local: callee.clone(),
        remote: caller.clone(),
        entry_point: String::new(),
        direction: Direction::In,
        local_role: Role::Callee,
        local_ip: destination.ip(),
        remote_ip: source.ip(),
        because,
    };
    if caller_is_local {
        parties = Parties {
            local: caller.clone(),
            remote: callee,
            direction: Direction::Out,
            local_role: Role::Caller,
            local_ip: source.ip(),
            remote_ip: destination.ip(),
            ..parties
        };
    }
    if let Some(number) = dialed {
        number.clone_into(&mut parties.remote);
    } else if rules.request_uri_as_local_party
        && is_dialable(&offer.request.user)
        && offer.request.user != offer.to.user
    {
        parties = Parties {
            local: offer.request.user.clone(),
            remote: caller,
            entry_point: offer.to.user.clone(),
            direction: Direction::In,
            local_role: Role::Callee,
            local_ip: destination.ip(),
            remote_ip: source.ip(),
            because: "Request-URI differs from To",
        };
    }
    if let Some(number) = header(offer, &rules.remote_party_header) {
        number.clone_into(&mut parties.remote);
    }
    for party in [&mut parties.local, &mut parties.remote] {
        if let Some(other) = rules.map.get(party.as_str()) {
            other.clone_into(party);
        }
    }
    parties
}

fn caller_is_local(
    rules: &PartyRules,
    offer: &People,
    source: IpAddr,
    destination: IpAddr,
) -> (bool, &'static str) {
    if !rules.reference_addresses.is_empty() {
        let outside = rules.reference_addresses.iter().any(|range| range.contains(source));
        return (!outside, "reference addresses");
    }
    if rules.reference_user_agents.iter().any(|agent| offer.user_agent.contains(agent.as_str())) {
        return (false, "reference user agent");
    }
    let in_domain = |name: &Name| rules.domains.iter().any(|d| d.eq_ignore_ascii_case(&name.host));
    if in_domain(&offer.from) {
        return (true, "From in a local SIP domain");
    }
    if in_domain(&offer.to) {
        return (false, "To in a local SIP domain");
    }
    let extension = |name: &Name| rules.extensions.iter().any(|p| p.matches(&name.user));
    if extension(&offer.from) != extension(&offer.to) {
        return (extension(&offer.from), "local extension");
    }
    let inside = |address| rules.lan.iter().any(|range| range.contains(address));
    if inside(source) != inside(destination) {
        return (inside(source), "LAN range");
    }
    (true, "default: the caller is local")
}

/// Decides for RTP that nobody announced; `source` sent its first packet.
#[must_use]
pub fn decide_bare(rules: &PartyRules, source: SocketAddr, destination: SocketAddr) -> Parties {
    let inside = |address: IpAddr| rules.lan.iter().any(|range| range.contains(address));
    let source_is_local = inside(source.ip());
    let (local, remote, local_role) = if source_is_local {
        (source.ip(), destination.ip(), Role::Caller)
    } else {
        (destination.ip(), source.ip(), Role::Callee)
    };
    Parties {
        local: local.to_string(),
        remote: remote.to_string(),
        entry_point: String::new(),
        direction: Direction::Unknown,
        local_role,
        local_ip: local,
        remote_ip: remote,
        because: "RTP without signalling",
    }
}

/// A number somebody could dial, as opposed to the made-up user of a contact address.
fn is_dialable(user: &str) -> bool {
    let digit = |b: u8| b.is_ascii_digit() || b"+*#".contains(&b);
    !user.is_empty() && user.bytes().all(digit)
}

fn header<'a>(offer: &'a People, name: &str) -> Option<&'a str> {
    let found = offer.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    (!name.is_empty() && !found.1.is_empty()).then_some(found.1.as_str())
}

fn text(rules: &PartyRules, name: &Name, address: IpAddr) -> String {
    if rules.display_names && !name.display.is_empty() {
        return name.display.clone();
    }
    if !name.user.is_empty() {
        return name.user.clone();
    }
    if name.host.is_empty() { address.to_string() } else { name.host.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(user: &str, host: &str) -> Name {
        Name { user: user.to_owned(), host: host.to_owned(), display: String::new() }
    }

    fn offer(from: &str, to: &str, request: &str) -> People {
        People {
            from: name(from, "a.example"),
            to: name(to, "b.example"),
            request: name(request, "b.example"),
            ..nobody()
        }
    }

    fn nobody() -> People {
        People::unnamed(at("0.0.0.0:0"), at("0.0.0.0:0"))
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// One row of the table: rules, offer, sender, receiver, what must come out.
    #[test]
    fn the_rules_in_their_order() {
        let none = PartyRules { lan: Vec::new(), ..PartyRules::default() };
        let with = |change: &dyn Fn(&mut PartyRules)| {
            let mut rules = none.clone();
            change(&mut rules);
            rules
        };
        let headers = |mut offer: People, key: &str, value: &str| {
            offer.headers.push((key.to_owned(), value.to_owned()));
            offer
        };
        let range = |text: &str| vec![IpRange::parse(text).unwrap()];
        let shapes = |text: &str| vec![NumberPattern::parse(text).unwrap()];
        let out =
            |o: &People| (o.from.user.clone(), o.to.user.clone(), String::new(), Direction::Out);
        let plain = offer("1001", "2002", "2002");
        let (lan, wan) = ("10.0.0.5:5060", "198.51.100.7:5060");
        type Row<'a> = (&'a str, PartyRules, People, &'a str, &'a str, [&'a str; 4]);
        let table: Vec<Row<'_>> = vec![
            ("default", none.clone(), plain.clone(), lan, wan, ["1001", "2002", "", "out"]),
            (
                "dialled number",
                with(&|r| r.dialed_number_header = "X-Dialed".to_owned()),
                headers(plain.clone(), "x-dialed", "5551"),
                lan,
                wan,
                ["1001", "5551", "", "out"],
            ),
            (
                "reference address",
                with(&|r| r.reference_addresses = range("198.51.100.0/24")),
                plain.clone(),
                wan,
                lan,
                ["2002", "1001", "", "in"],
            ),
            (
                "reference address elsewhere",
                with(&|r| r.reference_addresses = range("203.0.113.1")),
                plain.clone(),
                wan,
                lan,
                ["1001", "2002", "", "out"],
            ),
            (
                "user agent",
                with(&|r| r.reference_user_agents = vec!["TrunkBox".to_owned()]),
                People { user_agent: "TrunkBox/7".to_owned(), ..plain.clone() },
                lan,
                wan,
                ["2002", "1001", "", "in"],
            ),
            (
                "domain of To",
                with(&|r| r.domains = vec!["B.example".to_owned()]),
                plain.clone(),
                lan,
                wan,
                ["2002", "1001", "", "in"],
            ),
            (
                "domain of both",
                with(&|r| r.domains = vec!["a.example".to_owned(), "b.example".to_owned()]),
                plain.clone(),
                lan,
                wan,
                ["1001", "2002", "", "out"],
            ),
            (
                "extension",
                with(&|r| r.extensions = shapes("2XXX")),
                plain.clone(),
                lan,
                wan,
                ["2002", "1001", "", "in"],
            ),
            (
                "LAN",
                with(&|r| r.lan = range("10.0.0.0/8")),
                plain.clone(),
                wan,
                lan,
                ["2002", "1001", "", "in"],
            ),
            (
                "Request-URI",
                none.clone(),
                offer("1001", "2002", "3003"),
                lan,
                wan,
                ["3003", "1001", "2002", "in"],
            ),
            (
                "Request-URI is a contact",
                none.clone(),
                offer("1001", "2002", "bob-0x55f1"),
                lan,
                wan,
                ["1001", "2002", "", "out"],
            ),
            (
                "remote-party header",
                with(&|r| r.remote_party_header = "X-Remote".to_owned()),
                headers(plain.clone(), "X-Remote", "777"),
                lan,
                wan,
                ["1001", "777", "", "out"],
            ),
            (
                "asserted identity",
                none.clone(),
                People { asserted: Some(name("8888", "x")), ..plain.clone() },
                lan,
                wan,
                ["8888", "2002", "", "out"],
            ),
            (
                "nobody named",
                none.clone(),
                nobody(),
                lan,
                wan,
                ["10.0.0.5", "198.51.100.7", "", "out"],
            ),
        ];
        assert_eq!(out(&plain).3, Direction::Out);
        for (row, rules, offer, source, destination, want) in table {
            let people = People { source: at(source), destination: at(destination), ..offer };
            let got = decide(&rules, &people);
            let got = [got.local.as_str(), &got.remote, &got.entry_point, got.direction.as_str()];
            assert_eq!(got, want, "{row}");
        }
    }

    #[test]
    fn bare_rtp_belongs_to_the_lan_side() {
        let rules = PartyRules::default();
        let got = decide_bare(&rules, at("198.51.100.7:4000"), at("10.0.0.5:5004"));
        assert_eq!((got.local.as_str(), got.local_role), ("10.0.0.5", Role::Callee));
        let got = decide_bare(&rules, at("10.0.0.5:5004"), at("198.51.100.7:4000"));
        assert_eq!((got.local.as_str(), got.local_role), ("10.0.0.5", Role::Caller));
    }

    #[test]
    fn patterns() {
        let is =
            |pattern: &str, number: &str| NumberPattern::parse(pattern).unwrap().matches(number);
        assert!(is("1XX", "123") && !is("1XX", "1234") && is("0049*", "0049123") && is("*", "x"));
        assert!(is("1000-1999", "1500") && !is("1000-1999", "150") && !is("1000-1999", "2000"));
        assert!(NumberPattern::parse("").is_none() && NumberPattern::parse("9-10").is_none());
        let range = IpRange::parse("fd00::/8").unwrap();
        assert!(
            range.contains("fd77::2".parse().unwrap()) && !range.contains(at("10.0.0.1:1").ip())
        );
        assert!(IpRange::parse("10.0.0.0/33").is_none() && IpRange::parse("ten").is_none());
    }
}
