//! The packet layer from the outside: bytes in, payloads out.

mod fragments;
mod hep;
mod hostile;
mod layers;
mod streams;

use super::decoder::{Decoder, Limits, Sink, TcpStream};
use super::{Datagram, Frame, LinkType};
use crate::time::{NANOS_PER_MILLI, Timestamp};
use etherparse::PacketBuilder;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What a decoder delivered.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Delivered {
    pub(super) udp: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    pub(super) tcp: BTreeMap<(SocketAddr, SocketAddr), Received>,
}

/// One TCP direction; `|` in `text` marks a gap, `.` the end.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Received {
    pub(super) text: String,
}

impl Sink for Delivered {
    fn udp(&mut self, datagram: Datagram<'_>) {
        self.udp.push((datagram.source, datagram.destination, datagram.payload.to_vec()));
    }

    fn tcp(&mut self, stream: TcpStream<'_>) {
        let text = &mut self.tcp.entry((stream.source, stream.destination)).or_default().text;
        assert!(stream.closed || !stream.data.is_empty(), "an empty chunk says nothing");
        text.push_str(if stream.gap { "|" } else { "" });
        text.extend(stream.data.iter().map(|byte| char::from(*byte)));
        text.push_str(if stream.closed { "." } else { "" });
    }
}

impl Delivered {
    /// Everything delivered over TCP, when there was one direction.
    pub(super) fn text(&self) -> &str {
        assert!(self.tcp.len() <= 1, "one direction expected: {:?}", self.tcp);
        self.tcp.values().next().map_or("", |received| &received.text)
    }
}

pub(super) const fn at(ms: u64) -> Timestamp {
    Timestamp(1_700_000_000_000_000_000 + ms * NANOS_PER_MILLI)
}

pub(super) fn frame(link: LinkType, bytes: &[u8]) -> Frame<'_> {
    Frame { at: at(0), link, wire_len: u32::try_from(bytes.len()).unwrap(), bytes }
}

/// Feeds Ethernet frames to a fresh decoder, a millisecond apart.
pub(super) fn decode_all(frames: &[Vec<u8>]) -> (Delivered, Decoder) {
    let (mut decoder, mut delivered) = (Decoder::new(Limits::default()), Delivered::default());
    for (ms, bytes) in (0..).zip(frames) {
        let frame = Frame { at: at(ms), ..frame(LinkType::Ethernet, bytes) };
        decoder.handle_frame(&frame, &mut delivered);
    }
    (delivered, decoder)
}

pub(super) const SOURCE: &str = "10.1.2.3:5060";
pub(super) const DESTINATION: &str = "10.4.5.6:5080";

/// An IPv4 packet with UDP, no link header.
pub(super) fn ipv4_udp(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ipv4([10, 1, 2, 3], [10, 4, 5, 6], 64)
        .udp(5060, 5080)
        .write(&mut bytes, payload)
        .unwrap();
    bytes
}

/// The same over IPv6.
pub(super) fn ipv6_udp(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ipv6(ip6(1), ip6(2), 64).udp(5060, 5080).write(&mut bytes, payload).unwrap();
    bytes
}

pub(super) fn ip6(last: u8) -> [u8; 16] {
    [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]
}

pub(super) fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

pub(super) fn ethernet(ethertype: u16, inside: &[u8]) -> Vec<u8> {
    join(&[&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2], &ethertype.to_be_bytes(), inside])
}

/// An IPv4 header around any protocol.
pub(super) fn ipv4(protocol: u8, inside: &[u8]) -> Vec<u8> {
    let total = u16::try_from(inside.len() + 20).unwrap().to_be_bytes();
    let head = [0x45, 0, total[0], total[1], 0, 9, 0, 0, 64, protocol, 0, 0];
    join(&[&head, &[192, 0, 2, 1, 192, 0, 2, 2], inside])
}

/// An IPv6 header around any next header.
pub(super) fn ipv6(next: u8, inside: &[u8]) -> Vec<u8> {
    let length = u16::try_from(inside.len()).unwrap().to_be_bytes();
    let head = [0x60, 0, 0, 0, length[0], length[1], next, 64];
    join(&[&head, &ip6(1), &ip6(2), inside])
}

/// A UDP header to `port` around a tunnel's bytes, over IPv4 and Ethernet.
pub(super) fn over_udp(port: u16, inside: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
        .udp(40_000, port)
        .write(&mut bytes, inside)
        .unwrap();
    bytes
}
