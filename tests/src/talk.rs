//! A conversation on the wire, written step by step: datagrams, TCP segments, voice.

use crate::{
    iax2::{PACKET_MS, sound},
    wire::{Frame, RtpHead},
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

/// Nanoseconds in a millisecond.
const MS: u64 = 1_000_000;
/// Length of an IPv4 and a TCP header.
const HEADERS: usize = 40;

/// Frames so far and the time of the next.
#[derive(Clone, Debug)]
pub struct Talk {
    /// With their capture time in nanoseconds.
    pub frames: Vec<(u64, Vec<u8>)>,
    /// Now.
    pub at: u64,
    sent: BTreeMap<(SocketAddr, SocketAddr), u32>,
}

impl Talk {
    /// Nothing was said yet.
    #[must_use]
    pub const fn new(at: u64) -> Self {
        Self { frames: Vec::new(), at, sent: BTreeMap::new() }
    }

    /// Nothing is said for a while.
    pub const fn wait(&mut self, ms: u64) {
        self.at += ms * MS;
    }

    /// One datagram; a millisecond passes.
    pub fn udp(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.frames.push((self.at, Frame::udp(&[], from, to, bytes).into_bytes()));
        self.wait(1);
    }

    /// One TCP segment of a connection that is open; a millisecond passes. IPv4 only: any other
    /// address is sent as 0.0.0.0.
    pub fn tcp(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let next = self.sent.entry((from, to)).or_insert(1);
        let sequence = *next;
        *next = next.wrapping_add(u32::try_from(bytes.len()).unwrap_or(0));
        let v4 = |address: SocketAddr| match address.ip() {
            IpAddr::V4(v4) => v4,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        };
        let total = u16::try_from(HEADERS + bytes.len()).unwrap_or(u16::MAX);
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
        frame.extend(total.to_be_bytes());
        frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0]);
        frame.extend(v4(from).octets());
        frame.extend(v4(to).octets());
        frame.extend(from.port().to_be_bytes());
        frame.extend(to.port().to_be_bytes());
        frame.extend(sequence.to_be_bytes());
        frame.extend([0, 0, 0, 1, 0x50, 0x18, 16, 0, 0, 0, 0, 0]);
        frame.extend(bytes);
        self.frames.push((self.at, frame));
        self.wait(1);
    }

    /// Mu-law voice both ways: each sends from where it listens. Side 0 says what side 0 of
    /// [`sound`] does. The time it takes passes.
    pub fn voice(&mut self, ends: [SocketAddr; 2], packets: u32) {
        let [a, b] = ends;
        for n in 0..packets {
            for (side, (from, to)) in [(a, b), (b, a)].into_iter().enumerate() {
                let head = RtpHead {
                    marker: n == 0,
                    payload_type: 0,
                    sequence: u16::try_from(n & 0xFFFF).unwrap_or(0),
                    timestamp: n * 8 * PACKET_MS,
                    ssrc: 0xA0 + u32::from(side == 1),
                };
                let bytes = [&head.bytes()[..], &sound(side, n * PACKET_MS)].concat();
                self.frames.push((self.at, Frame::udp(&[], from, to, &bytes).into_bytes()));
            }
            self.wait(u64::from(PACKET_MS));
        }
    }
}
