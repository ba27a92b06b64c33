//! Secrets out of a TLS key log (draft-ietf-tls-keylogfile, as `SSLKEYLOGFILE` writes it).
//!
//! Law: a secret is wiped when it is dropped, and nothing prints one.

use foldhash::fast::RandomState;
use std::{
    collections::{HashMap, VecDeque},
    fmt,
};
use zeroize::Zeroizing;

/// The `random` of a `ClientHello`: names a connection in a key log.
pub(super) type Random = [u8; 32];

/// SHA-384, and the master secret of TLS 1.2.
const MAX_SECRET: usize = 48;

/// One secret of one connection.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Secret {
    bytes: Zeroizing<[u8; MAX_SECRET]>,
    length: usize,
}

impl Secret {
    /// `None` when it is longer than any.
    pub(super) fn new(bytes: &[u8]) -> Option<Self> {
        let mut secret = Self { bytes: Zeroizing::new([0; MAX_SECRET]), length: bytes.len() };
        secret.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(secret)
    }

    /// The secret itself.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(<redacted>)")
    }
}

/// What a key log tells of one connection.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Secrets {
    /// `CLIENT_RANDOM`: master secret up to TLS 1.2.
    pub(super) master: Option<Secret>,
    /// `*_HANDSHAKE_TRAFFIC_SECRET` of client and server.
    pub(super) handshake: [Option<Secret>; 2],
    /// `*_TRAFFIC_SECRET_0` of client and server.
    pub(super) application: [Option<Secret>; 2],
}

/// A line of a key log.
#[derive(Debug, Eq, PartialEq)]
enum Line {
    /// Nothing that is needed: empty, a comment, another label.
    Other,
    /// A secret.
    Secret(Label, Random, Secret),
    /// None could have been meant.
    Malformed,
}

/// The labels that are needed; the others open no record that we read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Label {
    Master,
    Handshake(usize),
    Application(usize),
}

impl Label {
    fn parse(label: &str) -> Option<Self> {
        Some(match label {
            "CLIENT_RANDOM" => Self::Master,
            "CLIENT_HANDSHAKE_TRAFFIC_SECRET" => Self::Handshake(0),
            "SERVER_HANDSHAKE_TRAFFIC_SECRET" => Self::Handshake(1),
            "CLIENT_TRAFFIC_SECRET_0" => Self::Application(0),
            "SERVER_TRAFFIC_SECRET_0" => Self::Application(1),
            _ => return None,
        })
    }
}

impl Line {
    fn read(line: &str) -> Self {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Self::Other;
        }
        let mut words = line.split_ascii_whitespace();
        let (Some(label), Some(random), Some(secret), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Self::Malformed;
        };
        let mut bytes = Zeroizing::new([0; MAX_SECRET]);
        let mut name = Random::default();
        if unhex(random, &mut name) != Some(name.len()) {
            // Old key logs name sessions by other things than the random of their hello.
            return if label == "RSA" { Self::Other } else { Self::Malformed };
        }
        let Some(label) = Label::parse(label) else { return Self::Other };
        let Some(length) = unhex(secret, bytes.as_mut_slice()) else { return Self::Malformed };
        let fits = match label {
            Label::Master => length == 48,
            Label::Handshake(_) | Label::Application(_) => matches!(length, 32 | 48),
        };
        let secret = bytes.get(..length).filter(|_| fits).and_then(Secret::new);
        secret.map_or(Self::Malformed, |secret| Self::Secret(label, name, secret))
    }
}

/// Reads hexadecimal digits into the start of `out`; gives the number of bytes.
fn unhex(digits: &str, out: &mut [u8]) -> Option<usize> {
    let pairs = digits.as_bytes().chunks(2);
    let length = pairs.len();
    if length > out.len() {
        return None;
    }
    for (pair, byte) in pairs.zip(out) {
        let [high, low] = pair else { return None };
        let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|d| u8::try_from(d).ok());
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(length)
}

/// What taking in a text did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Taken {
    /// Connections of which something new is known, in the order of the text.
    pub(super) randoms: Vec<Random>,
    /// Lines that were no secrets although they should have been.
    pub(super) malformed: u64,
    /// Connections whose secrets were forgotten to make room.
    pub(super) dropped: u64,
    /// Secrets taken.
    pub(super) secrets: u64,
}

/// The secrets of many connections, the oldest of which are forgotten.
#[derive(Debug)]
pub(super) struct Table {
    known: HashMap<Random, Secrets, RandomState>,
    order: VecDeque<Random>,
    most: usize,
}

impl Table {
    /// A table of that many connections at most.
    pub(super) fn new(most: usize) -> Self {
        Self { known: HashMap::default(), order: VecDeque::new(), most: most.max(1) }
    }

    /// What is known of a connection.
    pub(super) fn get(&self, random: &Random) -> Option<&Secrets> {
        self.known.get(random)
    }

    /// Takes in lines of a key log; a later line about the same secret outweighs an earlier one.
    pub(super) fn take(&mut self, text: &str) -> Taken {
        let mut taken = Taken::default();
        for line in text.lines() {
            let (label, random, secret) = match Line::read(line) {
                Line::Other => continue,
                Line::Malformed => {
                    taken.malformed += 1;
                    continue;
                }
                Line::Secret(label, random, secret) => (label, random, secret),
            };
            if !self.known.contains_key(&random) {
                if self.known.len() >= self.most
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.known.remove(&oldest);
                    taken.dropped += 1;
                }
                self.order.push_back(random);
            }
            let secrets = self.known.entry(random).or_default();
            let place = match label {
                Label::Master => Some(&mut secrets.master),
                Label::Handshake(side) => secrets.handshake.get_mut(side),
                Label::Application(side) => secrets.application.get_mut(side),
            };
            let Some(place) = place else { continue };
            taken.secrets += 1;
            *place = Some(secret);
            if taken.randoms.last() != Some(&random) {
                taken.randoms.push(random);
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(byte: u8, times: usize) -> String {
        format!("{byte:02x}").repeat(times)
    }

    #[test]
    fn lines_are_read_and_nothing_is_printed() {
        let text = format!(
            "# made by hand\n\nCLIENT_RANDOM {} {}\r\nSERVER_TRAFFIC_SECRET_0 {} {}\n\
             EARLY_EXPORTER_SECRET {} {}\nRSA 0011223344556677 {}\n",
            hex(1, 32),
            hex(0xab, 48),
            hex(1, 32),
            hex(0xCD, 32),
            hex(1, 32),
            hex(2, 32),
            hex(3, 48),
        );
        let mut table = Table::new(9);
        let taken = table.take(&text);
        assert_eq!((taken.secrets, taken.malformed), (2, 0));
        assert_eq!(taken.randoms, [[1; 32]]);
        let secrets = table.get(&[1; 32]).unwrap();
        assert_eq!(secrets.master.as_ref().unwrap().as_bytes(), [0xab; 48]);
        assert_eq!(secrets.application[1].as_ref().unwrap().as_bytes(), [0xcd; 32]);
        let shown = format!("{table:?}").to_lowercase();
        assert!(shown.contains("redacted") && !shown.contains("abab") && !shown.contains("171"));
    }

    #[test]
    fn what_is_no_secret_is_counted() {
        let random = hex(1, 32);
        for line in [
            "CLIENT_RANDOM".to_owned(),
            format!("CLIENT_RANDOM {random} {}", hex(1, 47)),
            format!("CLIENT_RANDOM {random} {}0", hex(1, 47)),
            format!("CLIENT_RANDOM {random} {}", hex(1, 4_000)),
            format!("CLIENT_RANDOM {}zz {}", hex(1, 31), hex(1, 48)),
            format!("CLIENT_TRAFFIC_SECRET_0 {random} {} more", hex(1, 32)),
            "\u{1F511} of mine".to_owned(),
        ] {
            let taken = Table::new(1).take(&line);
            assert_eq!((taken.secrets, taken.malformed), (0, 1), "{line}");
        }
    }

    #[test]
    fn the_oldest_connection_makes_room() {
        let mut table = Table::new(2);
        let line = |n: u8| format!("CLIENT_RANDOM {} {}\n", hex(n, 32), hex(n, 48));
        let taken = table.take(&[line(1), line(2), line(1), line(3)].concat());
        assert_eq!((taken.secrets, taken.dropped), (4, 1));
        assert!(table.get(&[1; 32]).is_none());
        assert!(table.get(&[2; 32]).is_some() && table.get(&[3; 32]).is_some());
        assert_eq!((table.known.len(), table.order.len()), (2, 2));
    }
}
