//! IPv4 and IPv6, down to the transport header or a fragment.
//!
//! Law: the IP length cuts Ethernet padding off; what exceeds the capture is a cut, not an error.
//! Length 0 (segmentation offload, jumbogram) means "to the end". Checksums are not looked at.

use super::{Ends, Layer, Malformed, Next, take};
use etherparse::{IpAuthHeaderSlice, Ipv6FragmentHeaderSlice, Ipv6RawExtHeaderSlice, err::ip_auth};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Extension headers followed in one packet; real ones have one or two.
const MAX_EXTENSIONS: usize = 16;

/// A packet behind its IP header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    pub(super) ends: Ends,
    /// What `body` is; for a fragment, what the whole will be.
    pub(super) protocol: u8,
    pub(super) body: &'a [u8],
    pub(super) fragment: Option<Fragment>,
    /// Bytes of `body` the header claims beyond what was captured.
    pub(super) missing: usize,
}

/// Which part of which packet a fragment is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Fragment {
    pub(super) id: u32,
    /// Bytes before this part.
    pub(super) offset: u16,
    pub(super) more: bool,
}

const fn broken(offset: usize, why: &'static str) -> Malformed {
    Malformed { layer: Layer::Ip, offset, why }
}

/// Reads the IP header and, for IPv6, its extension headers.
pub(super) fn decode(bytes: &[u8]) -> Result<Packet<'_>, Malformed> {
    match bytes.first().map(|first| first >> 4) {
        Some(4) => ipv4(bytes),
        Some(6) => ipv6(bytes),
        Some(_) => Err(broken(0, "IP version is neither 4 nor 6")),
        None => Err(broken(0, "IP header missing")),
    }
}

/// True when these bytes may be an IP header: a guess for layers that do not name their content.
pub(super) fn plausible(bytes: &[u8]) -> bool {
    let field = |at: usize| {
        bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |two| u16::from_be_bytes(*two))
    };
    match bytes {
        [first @ 0x45..=0x4f, ..] if bytes.len() >= 20 => {
            let total = field(2);
            total == 0 || total >= u16::from(first & 0x0f) * 4
        }
        [0x60..=0x6f, ..] => bytes.len() >= 40,
        _ => false,
    }
}

fn ipv4(bytes: &[u8]) -> Result<Packet<'_>, Malformed> {
    let (header, _) = take::<20>(bytes, Layer::Ip, "IPv4 header is 20 bytes")?;
    let length = usize::from(header[0] & 0x0f) * 4;
    if length < 20 {
        return Err(broken(0, "IPv4 header length counts its own 20 bytes"));
    }
    let total = match u16::from_be_bytes([header[2], header[3]]) {
        0 => bytes.len().max(length),
        total => usize::from(total),
    };
    if total < length {
        return Err(broken(2, "IPv4 total length counts the header"));
    }
    let body = bytes.get(length..total.min(bytes.len()));
    let body = body.ok_or(broken(bytes.len(), "IPv4 options end beyond the capture"))?;
    let flags = u16::from_be_bytes([header[6], header[7]]);
    let fragment = Fragment {
        id: u32::from(u16::from_be_bytes([header[4], header[5]])),
        offset: (flags & 0x1fff) << 3,
        more: flags & 0x2000 != 0,
    };
    Ok(Packet {
        ends: Ends {
            source: Ipv4Addr::new(header[12], header[13], header[14], header[15]).into(),
            destination: Ipv4Addr::new(header[16], header[17], header[18], header[19]).into(),
        },
        protocol: header[9],
        body,
        fragment: (fragment.more || fragment.offset > 0).then_some(fragment),
        missing: total.saturating_sub(bytes.len()),
    })
}

fn ipv6(bytes: &[u8]) -> Result<Packet<'_>, Malformed> {
    let (header, rest) = take::<40>(bytes, Layer::Ip, "IPv6 header is 40 bytes")?;
    let length = match u16::from_be_bytes([header[4], header[5]]) {
        0 => rest.len(),
        length => usize::from(length),
    };
    let address = |from: usize| {
        let octets = header.get(from..).and_then(<[u8]>::first_chunk::<16>);
        octets.map_or(Ipv6Addr::UNSPECIFIED, |octets| Ipv6Addr::from(*octets)).into()
    };
    let ends = Ends { source: address(8), destination: address(24) };
    let inside = rest.get(..length).unwrap_or(rest);
    let (protocol, body, fragment) = extensions(header[6], inside)?;
    let missing = length.saturating_sub(rest.len());
    Ok(Packet { ends, protocol, body, fragment, missing })
}

/// True for a next header that [`extensions`] walks over.
pub(super) const fn is_extension(protocol: u8) -> bool {
    matches!(protocol, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140)
}

/// Walks extension headers up to the first other header or the first real fragment header: what
/// follows that one may be the middle of anything, so nothing behind it is read here.
pub(super) fn extensions(
    mut protocol: u8,
    bytes: &[u8],
) -> Result<(u8, &[u8], Option<Fragment>), Malformed> {
    let mut rest = bytes;
    for _ in 0..MAX_EXTENSIONS {
        let at = bytes.len().saturating_sub(rest.len());
        let (next, length) = match protocol {
            44 => {
                let header = Ipv6FragmentHeaderSlice::from_slice(rest)
                    .map_err(|_| broken(at, "IPv6 fragment header is 8 bytes"))?;
                if header.is_fragmenting_payload() {
                    let fragment = Fragment {
                        id: header.identification(),
                        offset: header.fragment_offset().value() << 3,
                        more: header.more_fragments(),
                    };
                    let body = rest.get(8..).unwrap_or_default();
                    return Ok((header.next_header().0, body, Some(fragment)));
                }
                (header.next_header(), 8)
            }
            51 => {
                let header = IpAuthHeaderSlice::from_slice(rest).map_err(|error| match error {
                    ip_auth::HeaderSliceError::Len(_) => broken(at, "authentication header cut"),
                    ip_auth::HeaderSliceError::Content(_) => {
                        broken(at, "authentication header of zero length")
                    }
                })?;
                (header.next_header(), header.slice().len())
            }
            _ if is_extension(protocol) => {
                let header = Ipv6RawExtHeaderSlice::from_slice(rest)
                    .map_err(|_| broken(at, "IPv6 extension header ends beyond the packet"))?;
                (header.next_header(), header.slice().len())
            }
            _ => return Ok((protocol, rest, None)),
        };
        protocol = next.0;
        rest = rest.get(length..).unwrap_or_default();
    }
    Err(broken(0, "too many IPv6 extension headers"))
}

/// The next step behind extension headers that follow no IP header of their own: an IPv4
/// authentication header, or the beginning of a reassembled IPv6 packet.
pub(super) fn after_extensions(
    ends: Ends,
    protocol: u8,
    bytes: &[u8],
) -> Result<Next<'_>, Malformed> {
    match extensions(protocol, bytes)? {
        (_, _, Some(_)) => Err(broken(0, "fragment of a fragment")),
        (next, body, None) => Ok(Next::Protocol(ends, next, body)),
    }
}
