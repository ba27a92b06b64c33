//! Below IP: tags, labels, sessions, other link types.

use super::{Capture, Parts, length, number, parts};
use orkbase::packet::LinkType;

fn list(value: Option<&str>) -> Result<Vec<u32>, String> {
    value.ok_or("want numbers")?.split(',').map(number).collect()
}

/// The frame with `middle` between its tags and its type field's packet.
fn framed(of: &Parts<'_>, ethertype: u16, middle: &[u8], inside: &[u8]) -> Vec<u8> {
    [of.macs, of.tags, &ethertype.to_be_bytes(), middle, inside].concat()
}

pub(super) fn vlan(capture: &mut Capture, value: Option<&str>) -> Result<(), String> {
    let mut tags = Vec::new();
    let ids = list(value)?;
    for (index, id) in ids.iter().enumerate() {
        let kind: u16 = if index + 1 < ids.len() { 0x88a8 } else { 0x8100 };
        tags.extend(kind.to_be_bytes());
        let id = u16::try_from(*id).ok().filter(|id| *id < 4095).ok_or("want 0 to 4094")?;
        tags.extend(id.to_be_bytes());
    }
    capture.each(|frame| {
        let (macs, rest) = frame.split_at_checked(12).ok_or("a frame is too short")?;
        Ok([macs, &tags, rest].concat())
    })
}

fn labels(ids: &[u32]) -> Result<Vec<u8>, String> {
    let mut stack = Vec::new();
    for (index, id) in ids.iter().enumerate() {
        let bottom = u32::from(index + 1 == ids.len());
        let label = Some(*id).filter(|id| *id < 1 << 20).ok_or("want 0 to 1048575")?;
        stack.extend((label << 12 | bottom << 8 | 64).to_be_bytes());
    }
    Ok(stack)
}

pub(super) fn mpls(capture: &mut Capture, value: Option<&str>) -> Result<(), String> {
    let stack = labels(&list(value)?)?;
    capture.each_packet(|of| Ok(framed(of, 0x8847, &stack, of.packet)))
}

pub(super) fn pseudowire(capture: &mut Capture, value: Option<&str>) -> Result<(), String> {
    let mut stack = labels(&list(value)?)?;
    // RFC 4385 control word: zero nibble, no flags, no length, sequence 1.
    stack.extend([0, 0, 0, 1]);
    capture.each(|frame| Ok(framed(&parts(frame)?, 0x8847, &stack, frame)))
}

pub(super) fn pppoe(capture: &mut Capture, _: Option<&str>) -> Result<(), String> {
    capture.each_packet(|of| {
        let packet = of.packet;
        let protocol =
            if packet.first().is_some_and(|first| first >> 4 == 6) { 0x57 } else { 0x21 };
        let [high, low] = length(packet.len() + 2)?;
        Ok(framed(of, 0x8864, &[0x11, 0, 0, 7, high, low, 0, protocol], packet))
    })
}

pub(super) fn snap(capture: &mut Capture, _: Option<&str>) -> Result<(), String> {
    capture.each(|frame| {
        let of = parts(frame)?;
        let [high, low] = of.ethertype.to_be_bytes();
        let llc = [0xaa, 0xaa, 3, 0, 0, 0, high, low];
        let long = length(llc.len() + of.packet.len())?;
        Ok(framed(&of, u16::from_be_bytes(long), &llc, of.packet))
    })
}

fn other_link(
    capture: &mut Capture,
    link: LinkType,
    head: impl Fn(&Parts<'_>) -> Vec<u8>,
) -> Result<(), String> {
    // Where the header has no EtherType there is nothing but IP.
    let ip_only = matches!(link, LinkType::Null | LinkType::Loop | LinkType::RawIp);
    capture.frames.retain(|frame| !ip_only || parts(&frame.bytes).is_ok_and(|of| of.is_ip()));
    capture.each(|frame| {
        let of = parts(frame)?;
        Ok([head(&of), of.packet.to_vec()].concat())
    })?;
    capture.link = link;
    Ok(())
}

pub(super) fn sll(capture: &mut Capture, _: Option<&str>) -> Result<(), String> {
    other_link(capture, LinkType::LinuxSll, |of| {
        let address = of.macs.get(6..).unwrap_or_default();
        let [high, low] = of.ethertype.to_be_bytes();
        [&[0, 0, 0, 1, 0, 6], address, &[0, 0, high, low]].concat()
    })
}

pub(super) fn sll2(capture: &mut Capture, _: Option<&str>) -> Result<(), String> {
    other_link(capture, LinkType::LinuxSll2, |of| {
        let address = of.macs.get(6..).unwrap_or_default();
        let [high, low] = of.ethertype.to_be_bytes();
        [&[high, low, 0, 0, 0, 0, 0, 3, 0, 1, 0, 6], address, &[0, 0]].concat()
    })
}

const fn family(of: &Parts<'_>) -> u32 {
    if of.ethertype == 0x86dd { 30 } else { 2 }
}

pub(super) fn null(capture: &mut Capture, _: Option<&str>) -> Result<(), String> {
    other_link(capture, LinkType::Null, |of| family(of).to_le_bytes().to_vec())
}

pub(super) fn open_loop(capture: &mut Capture, _: Option<&str>) -> Result<(), String> {
    other_link(capture, LinkType::Loop, |of| family(of).to_be_bytes().to_vec())
}

pub(super) fn raw(capture: &mut Capture, _: Option<&str>) -> Result<(), String> {
    other_link(capture, LinkType::RawIp, |_| Vec::new())
}

/// Flips bits of every checksum there is.
pub(super) fn bad_sums(capture: &mut Capture, _: Option<&str>) -> Result<(), String> {
    capture.each(|frame| {
        let of = parts(frame)?;
        let ip = of.macs.len() + of.tags.len() + 2;
        let first = of.packet.first().copied().unwrap_or(0);
        let v4 = first >> 4 == 4;
        let (above, protocol) = if v4 {
            (ip + usize::from(first & 15) * 4, of.packet.get(9))
        } else {
            (ip + 40, of.packet.get(6))
        };
        let sum = match protocol {
            Some(17) => Some(above + 6),
            Some(6) => Some(above + 16),
            _ => None,
        };
        let mut bytes = frame.to_vec();
        for at in v4.then_some(ip + 10).into_iter().chain(sum) {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 0x5a;
            }
        }
        Ok(bytes)
    })
}
