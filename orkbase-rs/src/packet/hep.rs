//! HEP, the Homer Encapsulation Protocol: messages a capture agent saw, with the addresses it saw.
//!
//! Law: versions 1 and 2 have no magic number, so every field of their header must agree; version 3
//! says its name, and its chunks come in any order. Agents differ (IPv4 in sixteen bytes, a total
//! length beyond the datagram), so an address is what its size says. What the agent took from TCP
//! is one whole message and goes on as a datagram. Chunks we do not need are passed
//! over; the agent's key is compared, never kept, never logged.
//! Not here: the agent's clock. A tape has one clock, that of the capture.

use super::counters::Counters;
use super::{Datagram, Ends};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The longest message that is unpacked: the longest SIP message we read.
const MAX_INFLATED: usize = 64 << 10;

/// The key that agents must show (chunk 14); empty takes every packet, of any version.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct HepKey(Vec<u8>);

impl HepKey {
    /// The key of this text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }

    /// Whether a packet that shows `shown` may be opened; takes the same time wherever they differ.
    fn admits(&self, shown: Option<&[u8]>) -> bool {
        let shown = shown.unwrap_or_default();
        let differs = self.0.iter().zip(shown).fold(0, |all, (one, other)| all | (one ^ other));
        self.0.is_empty() || (self.0.len() == shown.len() && differs == 0)
    }
}

impl fmt::Debug for HepKey {
    /// Keys are never printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "HepKey(none)" } else { "HepKey(<redacted>)" })
    }
}

/// A HEP packet, opened.
#[derive(Debug)]
pub(super) enum Opened<'a> {
    /// A message whose addresses a capture agent wrote down.
    Message(Datagram<'a>),
    /// The same, unpacked.
    Inflated { source: SocketAddr, destination: SocketAddr, payload: Vec<u8> },
    /// Nothing we may or can read.
    Closed,
}

/// Seconds, microseconds and agent number behind the addresses of version 2, padded.
const TIME: usize = 12;

/// What was in the envelope.
enum Inside<'a> {
    Message(Datagram<'a>, Option<&'a [u8]>),
    /// Packed by zlib or gzip.
    Compressed(Datagram<'a>, Option<&'a [u8]>),
}

/// Whether these bytes begin as a HEP packet does.
pub(super) const fn is_named(payload: &[u8]) -> bool {
    matches!(payload, [b'H', b'E', b'P', b'3', ..] | [b'E', b'E', b'P', b'1', ..] | [1 | 2, ..])
}

/// What a payload sent to a capture agent's port carries if it is HEP.
pub(super) fn open<'a>(
    payload: &'a [u8],
    key: &HepKey,
    counters: &mut Counters,
) -> Option<Opened<'a>> {
    let inside = match payload {
        // Kamailio takes the protocol's later name as well.
        [b'H', b'E', b'P', b'3', rest @ ..] | [b'E', b'E', b'P', b'1', rest @ ..] => chunks(rest),
        [1 | 2, ..] => fixed(payload),
        _ => return None,
    };
    match inside {
        Some(Inside::Message(_, shown) | Inside::Compressed(_, shown)) if !key.admits(shown) => {
            counters.hep_unauthorized += 1;
            Some(Opened::Closed)
        }
        Some(Inside::Message(datagram, _)) => {
            counters.hep += 1;
            Some(Opened::Message(datagram))
        }
        Some(Inside::Compressed(Datagram { source, destination, payload }, _)) => {
            let Some(payload) = inflate(payload) else {
                counters.hep_compressed += 1;
                return Some(Opened::Closed);
            };
            counters.hep += 1;
            counters.hep_inflated += 1;
            Some(Opened::Inflated { source, destination, payload })
        }
        None => {
            counters.hep_refused += 1;
            None
        }
    }
}

/// Unpacks zlib (RFC 1950), or gzip (RFC 1952) without options.
fn inflate(packed: &[u8]) -> Option<Vec<u8>> {
    use miniz_oxide::inflate::{decompress_to_vec_with_limit, decompress_to_vec_zlib_with_limit};
    let unpacked = match packed {
        [0x1f, 0x8b, 8, 0, _, _, _, _, _, _, deflated @ ..] => {
            decompress_to_vec_with_limit(deflated, MAX_INFLATED)
        }
        _ => decompress_to_vec_zlib_with_limit(packed, MAX_INFLATED),
    };
    unpacked.ok().filter(|unpacked| !unpacked.is_empty())
}

/// Versions 1 and 2: version, length, family, protocol, ports, addresses; version 2 adds the time,
/// which its length does not count.
fn fixed(bytes: &[u8]) -> Option<Inside<'_>> {
    let (header, rest) = bytes.split_first_chunk::<8>()?;
    let [version, length, family, protocol, from_high, from_low, to_high, to_low] = *header;
    let from = u16::from_be_bytes([from_high, from_low]);
    let to = u16::from_be_bytes([to_high, to_low]);
    // TCP, UDP, SCTP, and XNS IDP, by which OpenSIPS and Kamailio mean TLS.
    if !matches!(protocol, 6 | 17 | 22 | 132) || from == 0 || to == 0 {
        return None;
    }
    // The address family is a number of the agent's system.
    let (ends, rest) = match (family, length) {
        (2, 16) => ends::<4>(rest)?,
        (10 | 23 | 24 | 28 | 30, 40) => ends::<16>(rest)?,
        _ => return None,
    };
    let payload = if version == 2 { rest.get(TIME..)? } else { rest };
    let datagram = message(ends.source, from, ends.destination, to, payload)?;
    Some(Inside::Message(datagram, None))
}

fn ends<const N: usize>(bytes: &[u8]) -> Option<(Ends, &[u8])>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = bytes.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    Some((Ends { source: (*source).into(), destination: (*destination).into() }, rest))
}

/// Version 3 after its name: the total length, then chunks of vendor, type, length and value. Each
/// length counts its own header. A message cut by a snaplen is delivered as far as it goes.
fn chunks(bytes: &[u8]) -> Option<Inside<'_>> {
    const NAME_AND_TOTAL: usize = 6;
    const CHUNK_HEADER: usize = 6;
    let (total, rest) = bytes.split_first_chunk::<2>()?;
    let total = usize::from(u16::from_be_bytes(*total)).checked_sub(NAME_AND_TOTAL)?;
    let mut rest = rest.get(..total).unwrap_or(rest);
    let (mut source, mut destination, mut from, mut to) = (None, None, None, None);
    let (mut payload, mut packed, mut shown) = (None, None, None);
    while let Some((header, after)) = rest.split_first_chunk::<CHUNK_HEADER>() {
        let [vendor_high, vendor_low, kind_high, kind_low, high, low] = *header;
        // At least its header, so each turn consumes some.
        let length = usize::from(u16::from_be_bytes([high, low])).checked_sub(CHUNK_HEADER)?;
        let value = after.get(..length).unwrap_or(after);
        rest = after.get(length..).unwrap_or_default();
        if (vendor_high, vendor_low) != (0, 0) {
            continue;
        }
        match u16::from_be_bytes([kind_high, kind_low]) {
            3 | 5 => source = Some(address(value)?),
            4 | 6 => destination = Some(address(value)?),
            7 => from = Some(u16::from_be_bytes(value.try_into().ok()?)),
            8 => to = Some(u16::from_be_bytes(value.try_into().ok()?)),
            14 => shown = Some(value),
            15 => payload = Some(value),
            16 => packed = Some(value),
            _ => {}
        }
    }
    let datagram = message(source?, from?, destination?, to?, payload.or(packed)?)?;
    Some(match payload {
        Some(_) => Inside::Message(datagram, shown),
        None => Inside::Compressed(datagram, shown),
    })
}

/// An address by its size. No packet carries a mapped one: that is IPv4 in an agent's larger field.
fn address(value: &[u8]) -> Option<IpAddr> {
    match <[u8; 4]>::try_from(value) {
        Ok(v4) => Some(v4.into()),
        Err(_) => <[u8; 16]>::try_from(value).ok().map(|v6| IpAddr::from(v6).to_canonical()),
    }
}

fn message(
    source: IpAddr,
    from: u16,
    destination: IpAddr,
    to: u16,
    payload: &[u8],
) -> Option<Datagram<'_>> {
    if payload.is_empty() || source.is_ipv4() != destination.is_ipv4() {
        return None;
    }
    let (source, destination) = (SocketAddr::new(source, from), SocketAddr::new(destination, to));
    Some(Datagram { source, destination, payload })
}
