//! Tunnels between two hosts that take no part in the call.

use super::{Capture, OUTER, OUTER6, length, number};
use crate::wire::{Frame, ipv4, ipv6};

/// `inside` behind an IPv4 header of this protocol, on Ethernet.
fn over_ip(protocol: u8, inside: &[u8]) -> Vec<u8> {
    ipv4(OUTER[0], OUTER[1], protocol, inside)
}

/// `inside` in a UDP datagram, on Ethernet.
fn over_udp(port: u16, inside: &[u8]) -> Vec<u8> {
    Frame::udp(&[], (OUTER[0], 40_000).into(), (OUTER[1], port).into(), inside).into_bytes()
}

fn port(value: Option<&str>, usual: u16) -> Result<u16, String> {
    value.map_or(Ok(usual), number)
}

/// A GRE header with the options that `value` names.
fn gre_header(value: Option<&str>, ethertype: u16) -> Result<Vec<u8>, String> {
    let (mut flags, mut sum, mut rest) = (0_u8, Vec::new(), [Vec::new(), Vec::new()]);
    for option in value.unwrap_or_default().split(',').filter(|option| !option.is_empty()) {
        match option {
            "sum" => (flags, sum) = (flags | 0x80, vec![0; 4]),
            "key" => (flags, rest[0]) = (flags | 0x20, vec![0, 0, 1, 2]),
            "seq" => (flags, rest[1]) = (flags | 0x10, vec![0, 0, 0, 9]),
            _ => return Err(format!("{option}: want key, seq, sum")),
        }
    }
    let [high, low] = ethertype.to_be_bytes();
    Ok([vec![flags, 0, high, low], sum, rest.concat()].concat())
}

pub(super) fn gre(capture: &mut Capture, value: Option<&str>) -> Result<(), String> {
    capture.each_packet(|of| {
        let head = gre_header(value, of.ethertype)?;
        Ok(over_ip(47, &[&head, of.packet].concat()))
    })
}

pub(super) fn gre_teb(capture: &mut Capture, value: Option<&str>) -> Result<(), String> {
    let head = gre_header(value, 0x6558)?;
    capture.each(|frame| Ok(over_ip(47, &[&head, frame].concat())))
}

/// RFC 2637: key present (length of the payload, call id), sequence present.
pub(super) fn gre_ppp(capture: &mut Capture, _: Option<&str>) -> Result<(), String> {
    capture.each_packet(|of| {
        let packet = of.packet;
        let [high, low] = length(packet.len() + 4)?;
        let protocol =
            if packet.first().is_some_and(|first| first >> 4 == 6) { 0x57 } else { 0x21 };
        let head = [0x30, 0x01, 0x88, 0x0b, high, low, 0, 5, 0, 0, 0, 1, 0xff, 3, 0, protocol];
        Ok(over_ip(47, &[&head, packet].concat()))
    })
}

pub(super) fn gre_udp(capture: &mut Capture, _: Option<&str>) -> Result<(), String> {
    capture.each_packet(|of| {
        let head = gre_header(None, of.ethertype)?;
        Ok(over_udp(4754, &[&head, of.packet].concat()))
    })
}

pub(super) fn erspan(capture: &mut Capture, value: Option<&str>) -> Result<(), String> {
    let sequenced = |protocol| gre_header(Some("seq"), protocol);
    let platform: u8 = u8::from(value == Some("3sub"));
    let third = [&[0x20, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, platform][..], &[0x50; 8]].concat();
    let head = match value {
        Some("1") => gre_header(None, 0x88be)?,
        Some("2") => [sequenced(0x88be)?, vec![0x10, 5, 0, 1, 0, 0, 0, 0]].concat(),
        Some("3") => [sequenced(0x22eb)?, third.get(..12).unwrap_or_default().to_vec()].concat(),
        Some("3sub") => [sequenced(0x22eb)?, third].concat(),
        _ => return Err("want 1, 2, 3 or 3sub".to_owned()),
    };
    capture.each(|frame| Ok(over_ip(47, &[&head, frame].concat())))
}

pub(super) fn vxlan(capture: &mut Capture, value: Option<&str>) -> Result<(), String> {
    let port = port(value, 4789)?;
    capture.each(|frame| Ok(over_udp(port, &[&[8, 0, 0, 0, 0, 0, 42, 0], frame].concat())))
}

pub(super) fn geneve(capture: &mut Capture, value: Option<&str>) -> Result<(), String> {
    let port = port(value, 6081)?;
    // Two options, of four bytes and of none: three units of four bytes.
    let head = [3, 0, 0x65, 0x58, 0, 0, 42, 0, 1, 2, 0x80, 1, 9, 9, 9, 9, 1, 2, 3, 0];
    capture.each(|frame| Ok(over_udp(port, &[&head, frame].concat())))
}

pub(super) fn gtp(capture: &mut Capture, value: Option<&str>) -> Result<(), String> {
    let (flags, options): (u8, &[u8]) = match value {
        None => (0x30, &[]),
        Some("seq") => (0x32, &[0, 7, 0, 0]),
        // A PDU session container of one unit, then no more.
        Some("ext") => (0x34, &[0, 0, 0, 0x85, 1, 0x10, 9, 0]),
        Some(_) => return Err("want seq or ext".to_owned()),
    };
    capture.each_packet(|of| {
        let packet = of.packet;
        let [high, low] = length(options.len() + packet.len())?;
        let head = [flags, 0xff, high, low, 0, 0, 0, 1];
        Ok(over_udp(2152, &[&head, options, packet].concat()))
    })
}

pub(super) fn tzsp(capture: &mut Capture, value: Option<&str>) -> Result<(), String> {
    let port = port(value, 37_008)?;
    // A signal strength, a padding, the end.
    let head = [1, 0, 0, 1, 10, 1, 200, 0, 1];
    capture.each(|frame| Ok(over_udp(port, &[&head, frame].concat())))
}

const fn next_header(packet: &[u8]) -> u8 {
    if matches!(packet, [0x60..=0x6f, ..]) { 41 } else { 4 }
}

pub(super) fn in_ipv4(capture: &mut Capture, _: Option<&str>) -> Result<(), String> {
    capture.each_packet(|of| Ok(over_ip(next_header(of.packet), of.packet)))
}

pub(super) fn in_ipv6(capture: &mut Capture, _: Option<&str>) -> Result<(), String> {
    capture.each_packet(|of| Ok(ipv6(OUTER6[0], OUTER6[1], next_header(of.packet), of.packet)))
}
