//! Link headers: Ethernet II, 802.3 with LLC and SNAP, VLAN and other tags, MPLS, `PPPoE`, Linux
//! cooked capture, loopback.

use super::{Layer, LinkType, Malformed, Next, Path, take};

/// Largest value of the Ethernet type field that is a length (IEEE 802.3 3.2.6).
const MAX_LENGTH: u16 = 1500;

const fn short(offset: usize, why: &'static str) -> Malformed {
    Malformed { layer: Layer::Link, offset, why }
}

/// Reads what stands before the first network header of a frame of this link type.
pub(super) fn first(link: LinkType, bytes: &[u8]) -> Result<Next<'_>, Malformed> {
    match link {
        LinkType::Ethernet => Ok(Next::Ethernet(bytes)),
        LinkType::RawIp => Ok(Next::Ip(bytes)),
        LinkType::Null | LinkType::Loop => loopback(bytes),
        LinkType::LinuxSll => {
            let (header, rest) = take::<16>(bytes, Layer::Link, "cooked header is 16 bytes")?;
            Ok(cooked([header[2], header[3]], [header[14], header[15]], rest))
        }
        LinkType::LinuxSll2 => {
            let (header, rest) = take::<20>(bytes, Layer::Link, "cooked v2 header is 20 bytes")?;
            Ok(cooked([header[8], header[9]], [header[0], header[1]], rest))
        }
        LinkType::Hep | LinkType::Other(_) => Ok(Next::Nothing),
    }
}

/// The protocol of a cooked capture is an `EtherType`, except where the device says otherwise
/// (`ARPHRD_*`: 824 netlink, 801..=804 raw 802.11).
fn cooked(device: [u8; 2], protocol: [u8; 2], rest: &[u8]) -> Next<'_> {
    match (u16::from_be_bytes(device), u16::from_be_bytes(protocol)) {
        (824 | 801..=804, _) => Next::Nothing,
        // 802.2 LLC behind a Linux pseudo type.
        (_, 0x0004) => llc(rest),
        (_, ethertype) => Next::EtherType(ethertype, rest),
    }
}

/// `AF_INET` is 2 everywhere; `AF_INET6` is 10, 23, 24, 28 or 30 depending on the system. Byte
/// order is that of the capturing host, so both are tried.
fn loopback(bytes: &[u8]) -> Result<Next<'_>, Malformed> {
    let (family, rest) = take::<4>(bytes, Layer::Link, "loopback header is 4 bytes")?;
    let (little, big) = (u32::from_le_bytes(*family), u32::from_be_bytes(*family));
    match little.min(big) {
        2 | 10 | 23 | 24 | 28 | 30 => Ok(Next::Ip(rest)),
        _ => Ok(Next::Nothing),
    }
}

/// Ethernet II, or 802.3 when the type is a length.
pub(super) fn ethernet(bytes: &[u8]) -> Result<Next<'_>, Malformed> {
    let (header, rest) = take::<14>(bytes, Layer::Link, "Ethernet header is 14 bytes")?;
    Ok(Next::EtherType(u16::from_be_bytes([header[12], header[13]]), rest))
}

/// What an `EtherType` announces; `None` when we do not follow it.
pub(super) fn ethertype<'a>(
    number: u16,
    bytes: &'a [u8],
    path: &mut Path,
) -> Result<Option<Next<'a>>, Malformed> {
    let next = match number {
        // The version nibble decides: a wrong EtherType of the pair harms nobody.
        0x0800 | 0x86dd => Next::Ip(bytes),
        // 802.1Q, 802.1ad and their forerunners.
        0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300 => {
            let (tag, rest) = take::<4>(bytes, Layer::Link, "VLAN tag is 4 bytes")?;
            let vlan = u16::from_be_bytes([tag[0], tag[1]]) & 0x0fff;
            path.vlan = path.vlan.or(Some(vlan));
            Next::EtherType(u16::from_be_bytes([tag[2], tag[3]]), rest)
        }
        0x8847 | 0x8848 => mpls(bytes)?,
        0x8864 => pppoe(bytes)?,
        // Transparent Ethernet Bridging.
        0x6558 => Next::Ethernet(bytes),
        // PPP, as GRE says it.
        0x880b => Next::Ppp(bytes),
        // VN-Tag (Cisco FEX ports): 4 bytes, then an EtherType.
        0x8926 => {
            let (tag, rest) = take::<6>(bytes, Layer::Link, "VN-Tag is 6 bytes")?;
            Next::EtherType(u16::from_be_bytes([tag[4], tag[5]]), rest)
        }
        // Cisco MetaData (TrustSec group tag): 6 bytes, then an EtherType.
        0x8909 => {
            let (tag, rest) = take::<8>(bytes, Layer::Link, "Cisco MetaData is 8 bytes")?;
            Next::EtherType(u16::from_be_bytes([tag[6], tag[7]]), rest)
        }
        // 802.1ah: a 4-byte service tag, then the customer's frame.
        0x88e7 => {
            let (_, rest) = take::<4>(bytes, Layer::Link, "802.1ah tag is 4 bytes")?;
            Next::Ethernet(rest)
        }
        length @ 0..=MAX_LENGTH => {
            // Padding after the 802.3 length is not payload; a length beyond the frame is a cut.
            llc(bytes.get(..usize::from(length)).unwrap_or(bytes))
        }
        _ => return Ok(None),
    };
    Ok(Some(next))
}

/// 802.2 LLC: SNAP (RFC 1042) names an `EtherType`, SAP 06 is IP, anything else is not ours.
fn llc(bytes: &[u8]) -> Next<'_> {
    match bytes {
        [0xaa, 0xaa, 0x03, 0, 0, 0 | 0xf8, high, low, rest @ ..] => {
            Next::EtherType(u16::from_be_bytes([*high, *low]), rest)
        }
        [0x06, 0x06, 0x03, rest @ ..] => Next::Ip(rest),
        _ => Next::Nothing,
    }
}

/// A label stack (RFC 3032) to its bottom; what follows is not named.
pub(super) fn mpls(bytes: &[u8]) -> Result<Next<'_>, Malformed> {
    let mut rest = bytes;
    loop {
        let (label, after) =
            take::<4>(rest, Layer::Link, "MPLS stack without its bottom").map_err(|broken| {
                Malformed { offset: bytes.len().saturating_sub(rest.len()), ..broken }
            })?;
        rest = after;
        if label[2] & 1 == 1 {
            return Ok(Next::Unlabelled(rest));
        }
    }
}

/// What follows an MPLS stack: IP by its version, a frame, or a pseudowire control word (RFC 4385)
/// and a frame. A control word begins with zero bits, and so do many MAC addresses.
pub(super) fn unlabelled(bytes: &[u8]) -> Next<'_> {
    let behind_control_word = bytes.get(4..).unwrap_or_default();
    match bytes.first().map(|first| first >> 4) {
        Some(4 | 6) if super::ip::plausible(bytes) => Next::Ip(bytes),
        Some(0) if frame_type(behind_control_word).is_some_and(is_known) => {
            Next::Ethernet(behind_control_word)
        }
        Some(0) if !frame_type(bytes).is_some_and(is_known) => Next::Ethernet(behind_control_word),
        Some(1) | None => Next::Nothing,
        Some(_) => Next::Ethernet(bytes),
    }
}

fn frame_type(bytes: &[u8]) -> Option<u16> {
    let header = bytes.first_chunk::<14>()?;
    Some(u16::from_be_bytes([header[12], header[13]]))
}

/// True when these bytes may be an Ethernet frame of a type that a mirrored network has.
pub(super) fn plausible(bytes: &[u8]) -> bool {
    frame_type(bytes).is_some_and(|number| number <= MAX_LENGTH || is_known(number))
}

const fn is_known(ethertype: u16) -> bool {
    match ethertype {
        // IP, tags, labels, sessions: what a call may hide behind.
        0x0800 | 0x86dd | 0x8100 | 0x88a8 | 0x9100 | 0x8847 | 0x8848 | 0x8864 => true,
        0x88e7 | 0x8909 | 0x8926 => true,
        // ARP, reverse ARP, flow control, slow protocols, PPPoE discovery, 802.1X, LLDP, loopback.
        0x0806 | 0x8035 | 0x8808 | 0x8809 | 0x8863 | 0x888e | 0x88cc | 0x9000 => true,
        _ => false,
    }
}

/// `PPPoE` session stage (RFC 2516): version and type 1, code 0, session, length.
fn pppoe(bytes: &[u8]) -> Result<Next<'_>, Malformed> {
    let (header, rest) = take::<6>(bytes, Layer::Link, "PPPoE header is 6 bytes")?;
    if header[0] != 0x11 || header[1] != 0 {
        return Err(short(0, "PPPoE session data has version 1, type 1, code 0"));
    }
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    Ok(Next::Ppp(rest.get(..length).unwrap_or(rest)))
}

/// PPP from its protocol field on (RFC 1661): HDLC address bytes may precede it, and the protocol
/// may be compressed to one odd byte.
pub(super) fn ppp(bytes: &[u8]) -> Result<Next<'_>, Malformed> {
    let bytes = bytes.strip_prefix(&[0xff, 0x03]).unwrap_or(bytes);
    let (protocol, rest) = match bytes {
        [odd, rest @ ..] if odd & 1 == 1 => (u16::from(*odd), rest),
        [high, low, rest @ ..] => (u16::from_be_bytes([*high, *low]), rest),
        _ => return Err(short(bytes.len(), "PPP protocol missing")),
    };
    match protocol {
        0x0021 | 0x0057 => Ok(Next::Ip(rest)),
        0x0281 | 0x0283 => mpls(rest),
        // Bridged Ethernet (RFC 3518): flags and pads, MAC type 1, then the frame.
        0x0031 => match rest {
            [flags, 1, frame @ ..] if flags & 0x40 == 0 => Ok(Next::Ethernet(frame)),
            _ => Ok(Next::Nothing),
        },
        // Link control, compressed or encrypted payload.
        _ => Ok(Next::Nothing),
    }
}
