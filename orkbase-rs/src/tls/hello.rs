//! Handshake messages (RFC 5246 7.4, RFC 8446 4) as far as they say how records are protected.
//!
//! Law: of a message that is not needed only the length is read; one longer than any hello is passed over.

use super::{secrets::Random, suite::Suite};

pub(super) const CLIENT_HELLO: u8 = 1;
pub(super) const SERVER_HELLO: u8 = 2;
pub(super) const FINISHED: u8 = 20;
pub(super) const KEY_UPDATE: u8 = 24;

/// Type and length.
const HEADER: usize = 4;
/// Longest hello that is read; post-quantum keys and tickets make them some kilobytes.
const MAX_HELLO: usize = 1 << 16;

/// A `ServerHello` with this random asks the client to try again (RFC 8446 4.1.3).
const RETRY: Random = [
    0xCF, 0x21, 0xAD, 0x74, 0xE5, 0x9A, 0x61, 0x11, 0xBE, 0x1D, 0x8C, 0x02, 0x1E, 0x65, 0xB8, 0x91,
    0xC2, 0xA2, 0x11, 0x16, 0x7A, 0xBB, 0x8C, 0x5E, 0x07, 0x9E, 0x09, 0xE2, 0xC8, 0xA8, 0x33, 0x9C,
];

const ALPN: u16 = 16;
const ENCRYPT_THEN_MAC: u16 = 22;
const SUPPORTED_VERSIONS: u16 = 43;

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Version {
    Tls10,
    Tls11,
    Tls12,
    Tls13,
}

impl Version {
    const fn of(number: u16) -> Option<Self> {
        Some(match number {
            0x0301 => Self::Tls10,
            0x0302 => Self::Tls11,
            0x0303 => Self::Tls12,
            0x0304 => Self::Tls13,
            _ => return None,
        })
    }
}

/// What a client asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ClientHello {
    pub(super) random: Random,
    /// It offers SIP by ALPN (RFC 7301).
    pub(super) sip: bool,
}

/// What the server decided on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ServerHello {
    pub(super) random: Random,
    pub(super) version: Version,
    /// Number of the cipher suite.
    pub(super) number: u16,
    /// `None` when its records cannot be opened.
    pub(super) suite: Option<Suite>,
    pub(super) encrypt_then_mac: bool,
    /// The client is asked to say hello once more.
    pub(super) retry: bool,
}

/// A message that matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Said {
    Client(ClientHello),
    Server(ServerHello),
    /// A hello that makes no sense.
    Malformed,
    Finished,
    KeyUpdate,
}

/// Cuts what handshake records carry into messages.
#[derive(Debug, Default)]
pub(super) struct Reader {
    held: Vec<u8>,
    /// Bytes of a message that is passed over.
    skip: usize,
}

impl Reader {
    /// Forgets an unfinished message.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes the content of a record; gives the messages it completes.
    pub(super) fn take(&mut self, content: &[u8]) -> Vec<Said> {
        let skipped = self.skip.min(content.len());
        self.skip -= skipped;
        let mut said = Vec::new();
        self.held.extend_from_slice(content.get(skipped..).unwrap_or_default());
        let mut used = 0;
        while let Some([kind, a, b, c]) = self.held.get(used..).and_then(<[u8]>::first_chunk) {
            // 24 bits fit every usize.
            let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap_or(usize::MAX);
            let whole = length.saturating_add(HEADER);
            let wanted = matches!(*kind, CLIENT_HELLO | SERVER_HELLO | FINISHED | KEY_UPDATE)
                && length <= MAX_HELLO;
            let there = self.held.len() - used;
            if whole > there && wanted {
                break;
            }
            let body = self.held.get(used + HEADER..used + whole.min(there)).unwrap_or_default();
            match *kind {
                CLIENT_HELLO if wanted => {
                    said.push(client(body).map_or(Said::Malformed, Said::Client));
                }
                SERVER_HELLO if wanted => {
                    said.push(server(body).map_or(Said::Malformed, Said::Server));
                }
                FINISHED => said.push(Said::Finished),
                KEY_UPDATE => said.push(Said::KeyUpdate),
                _ => {}
            }
            used += whole.min(there);
            self.skip = whole.saturating_sub(there);
        }
        self.held.drain(..used);
        if self.held.is_empty() {
            self.held = Vec::new();
        }
        said
    }
}

/// A list with its length before it.
fn list<'a>(width: usize, bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = bytes.split_at_checked(width)?;
    let length = length.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
    let (list, after) = after.split_at_checked(length)?;
    *bytes = after;
    Some(list)
}

fn array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (array, after) = bytes.split_first_chunk()?;
    *bytes = after;
    Some(*array)
}

/// Every extension: number and content.
fn extensions(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut all = list(2, &mut bytes).unwrap_or_default();
    std::iter::from_fn(move || {
        let number = u16::from_be_bytes(array(&mut all)?);
        list(2, &mut all).map(|content| (number, content))
    })
}

fn client(mut body: &[u8]) -> Option<ClientHello> {
    let _legacy_version: [u8; 2] = array(&mut body)?;
    let random = array(&mut body)?;
    let _session = list(1, &mut body)?;
    let _suites = list(2, &mut body)?;
    let _compressions = list(1, &mut body)?;
    let sip = extensions(body).any(|(number, content)| number == ALPN && names_sip(content));
    Some(ClientHello { random, sip })
}

/// Whether a list of protocol names has `sip/2` or the like.
fn names_sip(mut content: &[u8]) -> bool {
    let mut names = list(2, &mut content).unwrap_or_default();
    std::iter::from_fn(|| list(1, &mut names))
        .any(|name| name == b"sip" || name.starts_with(b"sip/"))
}

fn server(mut body: &[u8]) -> Option<ServerHello> {
    let legacy = u16::from_be_bytes(array(&mut body)?);
    let random = array(&mut body)?;
    let _session = list(1, &mut body)?;
    let number = u16::from_be_bytes(array(&mut body)?);
    let [compression] = array(&mut body)?;
    let (mut version, mut encrypt_then_mac) = (legacy, false);
    for (extension, content) in extensions(body) {
        match (extension, content) {
            (SUPPORTED_VERSIONS, [high, low]) => version = u16::from_be_bytes([*high, *low]),
            (ENCRYPT_THEN_MAC, _) => encrypt_then_mac = true,
            _ => {}
        }
    }
    let version = Version::of(version)?;
    let suite = Suite::of(number)
        .filter(|suite| compression == 0 && suite.of_13 == (version == Version::Tls13));
    let retry = random == RETRY;
    Some(ServerHello { random, version, number, suite, encrypt_then_mac, retry })
}
