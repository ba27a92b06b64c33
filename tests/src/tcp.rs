//! A TCP connection as frames: both directions in order, acknowledged, over IPv4 and Ethernet.

use crate::wire::{IPV4_HEADER, TCP, add, fold, mac};
use std::net::SocketAddrV4;

const HEADER: usize = 20;
const FIN: u8 = 1;
const SYN: u8 = 2;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// Who sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum From {
    /// The end that connected.
    Client,
    /// The other.
    Server,
}

/// One connection.
#[derive(Clone, Debug)]
pub struct Connection {
    client: (SocketAddrV4, u32),
    server: (SocketAddrV4, u32),
    /// Capture time in nanoseconds, and the frame.
    pub frames: Vec<(u64, Vec<u8>)>,
}

impl Connection {
    /// Connects at a moment in nanoseconds.
    #[must_use]
    pub fn open(at: u64, client: SocketAddrV4, server: SocketAddrV4) -> Self {
        // Near the end of the number space, so that it wraps.
        let mut made =
            Self { client: (client, u32::MAX - 700), server: (server, 7), frames: Vec::new() };
        made.segment(at, From::Client, SYN, &[]);
        made.segment(at, From::Server, SYN | ACK, &[]);
        made
    }

    /// Sends bytes in segments of at most `size`.
    pub fn send(&mut self, at: u64, from: From, bytes: &[u8], size: usize) {
        for piece in bytes.chunks(size.max(1)) {
            self.segment(at, from, PSH | ACK, piece);
        }
    }

    /// Sends bytes that the capture does not see.
    pub const fn lose(&mut self, from: From, bytes: u32) {
        let sequence = match from {
            From::Client => &mut self.client.1,
            From::Server => &mut self.server.1,
        };
        *sequence = sequence.wrapping_add(bytes);
    }

    /// Ends both directions.
    pub fn close(&mut self, at: u64) {
        self.segment(at, From::Client, FIN | ACK, &[]);
        self.segment(at, From::Server, FIN | ACK, &[]);
    }

    fn segment(&mut self, at: u64, from: From, flags: u8, payload: &[u8]) {
        let (sender, receiver) = match from {
            From::Client => (&mut self.client, &self.server),
            From::Server => (&mut self.server, &self.client),
        };
        let (source, destination) = (sender.0, receiver.0);
        let mut tcp = Vec::with_capacity(HEADER + payload.len());
        tcp.extend(source.port().to_be_bytes());
        tcp.extend(destination.port().to_be_bytes());
        tcp.extend(sender.1.to_be_bytes());
        tcp.extend(receiver.1.to_be_bytes());
        tcp.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend(payload);
        let moved = u32::try_from(payload.len()).unwrap_or(0) + u32::from(flags & (SYN | FIN) != 0);
        sender.1 = sender.1.wrapping_add(moved);

        let length = u16::try_from(IPV4_HEADER + tcp.len()).unwrap_or(u16::MAX).to_be_bytes();
        let addresses = [source.ip().octets(), destination.ip().octets()].concat();
        let mut ip = vec![0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 64, TCP, 0, 0];
        ip.extend(&addresses);
        let sum = fold(add(&ip));
        set(&mut ip, 10, sum);
        let bytes = u64::try_from(tcp.len()).unwrap_or(0);
        let sum = fold(add(&addresses) + u64::from(TCP) + bytes + add(&tcp));
        set(&mut tcp, 16, sum);

        let mut frame = mac((*destination.ip()).into()).to_vec();
        frame.extend(mac((*source.ip()).into()));
        frame.extend([8, 0]);
        frame.extend(ip);
        frame.extend(tcp);
        self.frames.push((at, frame));
    }
}

fn set(bytes: &mut [u8], at: usize, sum: [u8; 2]) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&sum);
    }
}
