//! Tunnels: GRE with ERSPAN and PPTP inside, and those over UDP.
//!
//! Law: GRE is named by IP and believed. A UDP port is only a hint: a phone may send RTP to 4789, so
//! a tunnel over UDP must look like one down to the first header inside, or it is plain UDP.

use super::counters::Counters;
use super::hep::{self, HepKey};
use super::ports::Tunnel;
use super::{Layer, Malformed, Next, ip, link, oreka, take};

const fn broken(offset: usize, why: &'static str) -> Malformed {
    Malformed { layer: Layer::Tunnel, offset, why }
}

/// A GRE header: RFC 2784 and 2890 are version 0, RFC 2637 (PPTP) is version 1.
struct Gre<'a> {
    protocol: u16,
    sequenced: bool,
    version: u8,
    rest: &'a [u8],
}

fn gre_header(bytes: &[u8]) -> Result<Gre<'_>, Malformed> {
    const CHECKSUM: u16 = 0x8000;
    const ROUTING: u16 = 0x4000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const ACKNOWLEDGED: u16 = 0x0080;
    let (header, rest) = take::<4>(bytes, Layer::Tunnel, "GRE header is 4 bytes")?;
    let flags = u16::from_be_bytes([header[0], header[1]]);
    let protocol = u16::from_be_bytes([header[2], header[3]]);
    let version = header[1] & 7;
    let present = |flag| usize::from(flags & flag != 0) * 4;
    let options = match version {
        0 if flags & ROUTING != 0 => return Err(broken(0, "GRE source routing")),
        0 => present(CHECKSUM) + present(KEY) + present(SEQUENCE),
        1 => present(KEY) + present(SEQUENCE) + present(ACKNOWLEDGED),
        _ => return Err(broken(1, "GRE version is neither 0 nor 1")),
    };
    let rest = rest.get(options..).ok_or(broken(bytes.len(), "GRE options cut"))?;
    Ok(Gre { protocol, sequenced: flags & SEQUENCE != 0, version, rest })
}

/// GRE over IP.
pub(super) fn gre<'a>(bytes: &'a [u8], counters: &mut Counters) -> Result<Next<'a>, Malformed> {
    let gre = gre_header(bytes)?;
    counters.gre += 1;
    if matches!(gre.protocol, 0x88be | 0x22eb) {
        counters.erspan += 1;
    }
    inside_gre(&gre)
}

fn inside_gre<'a>(gre: &Gre<'a>) -> Result<Next<'a>, Malformed> {
    match gre.protocol {
        // Type I has no sequence number and no header of its own.
        0x88be if !gre.sequenced => Ok(Next::Ethernet(gre.rest)),
        0x88be | 0x22eb => erspan(gre.rest),
        // PPTP acknowledgements carry nothing.
        0x880b if gre.version == 1 && gre.rest.is_empty() => Ok(Next::Nothing),
        // WCCP: version 2 puts four bytes before the packet.
        0x883e if ip::plausible(gre.rest) => Ok(Next::Ip(gre.rest)),
        0x883e => Ok(Next::Ip(gre.rest.get(4..).unwrap_or_default())),
        ethertype => Ok(Next::EtherType(ethertype, gre.rest)),
    }
}

/// ERSPAN (draft-foschiano-erspan): version 1 is type II with 8 bytes, version 2 is type III with
/// 12 and perhaps 8 more for the platform.
fn erspan(bytes: &[u8]) -> Result<Next<'_>, Malformed> {
    match bytes.first().map(|first| first >> 4) {
        Some(1) => {
            let (_, frame) = take::<8>(bytes, Layer::Tunnel, "ERSPAN II header is 8 bytes")?;
            Ok(Next::Ethernet(frame))
        }
        Some(2) => {
            let (header, rest) = take::<12>(bytes, Layer::Tunnel, "ERSPAN III header is 12 bytes")?;
            let (frame_type, platform) = (header[10] >> 2 & 0x1f, header[11] & 1 == 1);
            // Type 7 is not in the draft; Nexus switches send it with a sub-header but no flag.
            let skip = if platform || frame_type == 7 { 8 } else { 0 };
            let frame = rest.get(skip..).ok_or(broken(12, "ERSPAN platform header cut"))?;
            Ok(if frame_type == 2 { Next::Ip(frame) } else { Next::Ethernet(frame) })
        }
        _ => Err(broken(0, "ERSPAN version is neither 1 nor 2")),
    }
}

/// `EtherIP` (RFC 3378): version 3, then a frame.
pub(super) fn etherip(bytes: &[u8]) -> Result<Next<'_>, Malformed> {
    match bytes {
        [0x30..=0x3f, 0, frame @ ..] => Ok(Next::Ethernet(frame)),
        _ => Err(broken(0, "EtherIP version is 3, reserved bits are 0")),
    }
}

/// What a UDP payload to a tunnel's port carries if it is a tunnel's.
pub(super) fn over_udp<'a>(
    tunnel: Tunnel,
    payload: &'a [u8],
    key: &HepKey,
    counters: &mut Counters,
) -> Option<Next<'a>> {
    let (next, count) = match tunnel {
        Tunnel::Vxlan => (vxlan(payload)?, &mut counters.vxlan),
        Tunnel::Geneve => (geneve(payload)?, &mut counters.geneve),
        Tunnel::GtpU => (gtp_u(payload)?, &mut counters.gtp_u),
        Tunnel::Tzsp => (tzsp(payload)?, &mut counters.tzsp),
        Tunnel::Gre => (gre_in_udp(payload)?, &mut counters.gre),
        Tunnel::Oreka if oreka::plausible(payload) => (Next::Records(payload), &mut counters.oreka),
        Tunnel::Oreka => return None,
        // It counts for itself: opened, refused, compressed.
        Tunnel::Hep => return hep::open(payload, key, counters).map(Next::Hep),
    };
    *count += 1;
    Some(next)
}

/// VXLAN (RFC 7348) with its group policy and generic protocol extensions.
fn vxlan(bytes: &[u8]) -> Option<Next<'_>> {
    let (header, rest) = bytes.split_first_chunk::<8>()?;
    match *header {
        [0x08, 0, 0, 0, _, _, _, 0] => frame(rest),
        // Group policy: a learn and an apply bit, then the group.
        [0x88, policy, _, _, _, _, _, 0] if policy & 0xb7 == 0 => frame(rest),
        // Generic protocol extension: the next protocol is named. Some forget the bit that says so.
        [0x08 | 0x0c, 0, 0, 1 | 2, _, _, _, 0] => packet(rest),
        [0x08 | 0x0c, 0, 0, 3, _, _, _, 0] => frame(rest),
        _ => None,
    }
}

/// Geneve (RFC 8926): version 0, options in units of four bytes.
fn geneve(bytes: &[u8]) -> Option<Next<'_>> {
    let (header, rest) = bytes.split_first_chunk::<8>()?;
    let [version_and_options, flags, high, low, _, _, _, reserved] = *header;
    if version_and_options >> 6 != 0 || flags & 0x3f != 0 || reserved != 0 {
        return None;
    }
    let rest = rest.get(usize::from(version_and_options & 0x3f) * 4..)?;
    match u16::from_be_bytes([high, low]) {
        0x6558 => frame(rest),
        0x0800 | 0x86dd => packet(rest),
        ethertype @ (0x8847 | 0x8848) => Some(Next::EtherType(ethertype, rest)),
        _ => None,
    }
}

/// GTP-U version 1 (3GPP TS 29.281), user data only.
fn gtp_u(bytes: &[u8]) -> Option<Next<'_>> {
    let (header, rest) = bytes.split_first_chunk::<8>()?;
    // Version 1, GTP rather than GTP', spare bit 0; message type 255 is user data.
    if header[0] & 0xf8 != 0x30 || header[1] != 0xff {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let rest = rest.get(..length).unwrap_or(rest);
    if header[0] & 0x07 == 0 {
        return packet(rest);
    }
    let (optional, mut rest) = rest.split_first_chunk::<4>()?;
    let mut kind = if header[0] & 0x04 == 0 { 0 } else { optional[3] };
    while kind != 0 {
        // Length in units of four bytes, never zero, so each turn consumes some.
        let units = rest.first().copied().filter(|units| *units > 0)?;
        let (extension, after) = rest.split_at_checked(usize::from(units) * 4)?;
        (kind, rest) = (*extension.last()?, after);
    }
    packet(rest)
}

/// TZSP, as `MikroTik` and Aruba send it: tagged fields up to an end tag, then a frame.
fn tzsp(bytes: &[u8]) -> Option<Next<'_>> {
    // Version 1, received or to be sent, Ethernet.
    let (header, mut rest) = bytes.split_first_chunk::<4>()?;
    if !matches!(header, [1, 0 | 1, 0, 1]) {
        return None;
    }
    loop {
        rest = match rest {
            [1, inside @ ..] => return frame(inside),
            [0, after @ ..] => after,
            [_, length, after @ ..] => after.get(usize::from(*length)..)?,
            _ => return None,
        };
    }
}

/// GRE in UDP (RFC 8086).
fn gre_in_udp(bytes: &[u8]) -> Option<Next<'_>> {
    let gre = gre_header(bytes).ok()?;
    let flags = u16::from_be_bytes(*bytes.first_chunk()?);
    if flags & 0x4fff != 0 {
        return None;
    }
    match inside_gre(&gre).ok()? {
        Next::EtherType(0x0800 | 0x86dd, rest) | Next::Ip(rest) => packet(rest),
        Next::EtherType(0x6558, rest) | Next::Ethernet(rest) => frame(rest),
        next @ Next::EtherType(0x8847 | 0x8848, _) => Some(next),
        Next::EtherType(..)
        | Next::Unlabelled(_)
        | Next::Protocol(..)
        | Next::Ppp(_)
        | Next::Records(_)
        | Next::Hep(_)
        | Next::Nothing => None,
    }
}

/// The content as an Ethernet frame if it may be one.
fn frame(bytes: &[u8]) -> Option<Next<'_>> {
    link::plausible(bytes).then_some(Next::Ethernet(bytes))
}

/// The content as an IP packet if it may be one.
fn packet(bytes: &[u8]) -> Option<Next<'_>> {
    ip::plausible(bytes).then_some(Next::Ip(bytes))
}
