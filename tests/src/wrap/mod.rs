//! Changes how a capture carries its packets, and nothing else: tags, tunnels, fragments, streams,
//! copies. A recorder must make the same tapes of both.
//!
//! Words stand from the inside out: `vlan=7 vxlan` puts a tag on every frame, then the tagged frame
//! into VXLAN. A capture begins as Ethernet frames; a word for another link type comes last.

pub mod agents;
mod fragments;
mod layers;
mod streams;
mod time;
mod tunnels;

use crate::wire::IPV4_HEADER;
use orkaudio::capture::{CaptureError, file::CaptureFile, writer::PcapWriter};
use orkbase::{
    packet::{Frame, LinkType},
    time::Timestamp,
};
use std::{
    fs::File,
    io::{self, BufWriter},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

/// One frame as it was captured.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Captured {
    /// Nanoseconds since 1970.
    pub at: u64,
    /// Length on the wire.
    pub wire_len: u32,
    /// What was kept of it.
    pub bytes: Vec<u8>,
}

impl Captured {
    /// A frame that was kept whole.
    #[must_use]
    pub fn whole(at: u64, bytes: Vec<u8>) -> Self {
        Self { at, wire_len: u32::try_from(bytes.len()).unwrap_or(u32::MAX), bytes }
    }
}

/// Frames of one link type in order of capture.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Capture {
    /// How each frame begins.
    pub link: LinkType,
    /// The frames.
    pub frames: Vec<Captured>,
}

/// What carries out a word; its value is what stands behind `=`.
type Carry = fn(&mut Capture, Option<&str>) -> Result<(), String>;

/// Every word, what it does, and what does it.
const WORDS: &[(&str, &str, Carry)] = &[
    (
        "vlan=N[,N..]",
        "802.1Q tags, outermost first; with several the outer ones are 802.1ad",
        layers::vlan,
    ),
    ("mpls=N[,N..]", "MPLS labels before the packet", layers::mpls),
    ("pseudowire=N", "MPLS label, control word, the whole frame", layers::pseudowire),
    ("pppoe", "PPPoE session", layers::pppoe),
    ("snap", "802.3 with LLC and SNAP", layers::snap),
    ("sll", "Linux cooked capture (link type 113)", layers::sll),
    ("sll2", "Linux cooked capture v2 (276)", layers::sll2),
    ("null", "BSD loopback (0)", layers::null),
    ("loop", "OpenBSD loopback (108)", layers::open_loop),
    ("raw", "raw IP (101)", layers::raw),
    ("gre[=key,seq,sum]", "GRE with the packet", tunnels::gre),
    ("gre-teb[=..]", "GRE with the frame (transparent Ethernet bridging)", tunnels::gre_teb),
    ("gre-ppp", "GRE version 1 with PPP, as PPTP has it", tunnels::gre_ppp),
    ("gre-udp", "GRE in UDP to port 4754", tunnels::gre_udp),
    ("erspan=1|2|3|3sub", "ERSPAN of that type; 3sub has a platform sub-header", tunnels::erspan),
    ("vxlan[=PORT]", "VXLAN, to port 4789 unless another is given", tunnels::vxlan),
    ("geneve[=PORT]", "Geneve with two options, to port 6081", tunnels::geneve),
    (
        "gtp[=seq|ext]",
        "GTP-U to port 2152, plain, with a sequence number or an extension header",
        tunnels::gtp,
    ),
    ("tzsp[=PORT]", "TZSP to port 37008", tunnels::tzsp),
    ("in-ipv4", "the packet in IPv4: IP-in-IP, or 6in4", tunnels::in_ipv4),
    ("in-ipv6", "the packet in IPv6: 4in6, or 6in6", tunnels::in_ipv6),
    (
        "hep=1|2|3|3zlib[,KEY]",
        "each SIP or RTP payload as a capture agent's packet, UDP to 9060",
        agents::hep,
    ),
    (
        "hep-tcp[=SIZE]",
        "the same over TCP to 9060, in segments of SIZE bytes (1000)",
        agents::hep_tcp,
    ),
    (
        "oreka[=PER]",
        "frames in Oreka's encapsulation, UDP to 10002, PER frames a datagram (1)",
        agents::oreka,
    ),
    ("oreka-tcp[=SIZE]", "the same over TCP to 10003", agents::oreka_tcp),
    (
        "frag=SIZE[,reverse][,twice][,overlap]",
        "IP fragments of SIZE bytes; an overlapping one lies behind the true ones",
        fragments::fragment,
    ),
    (
        "tcp[=split:N|reorder|repeat|merge]",
        "SIP over TCP: a segment a message; split at byte N; out of order; retransmitted; several messages a segment",
        streams::tcp,
    ),
    (
        "ws[=masked|unmasked]",
        "SIP over WebSocket; masked from the caller only, unless said",
        streams::websocket,
    ),
    (
        "copy[=MS][,routed][,tagged]",
        "every frame twice, the copy MS later (0); with another TTL and MAC; with a VLAN tag",
        time::copy,
    ),
    (
        "shuffle=MS[,SEED]",
        "frames change places with frames up to MS away; the first of each flow stays",
        time::shuffle,
    ),
    ("cut=BYTES", "snapshot length: no more is kept of a frame", time::cut),
    ("bad-sums", "wrong IP, UDP and TCP checksums", layers::bad_sums),
];

/// The words and what they do, for people.
#[must_use]
pub fn help() -> String {
    let rows: Vec<String> =
        WORDS.iter().map(|(word, does, _)| format!("  {word:<38} {does}")).collect();
    rows.join("\n")
}

impl Capture {
    /// Ethernet frames kept whole: nanoseconds, bytes.
    #[must_use]
    pub fn ethernet(frames: &[(u64, Vec<u8>)]) -> Self {
        let frames = frames.iter().map(|(at, bytes)| Captured::whole(*at, bytes.clone()));
        Self { link: LinkType::Ethernet, frames: frames.collect() }
    }

    /// Reads a capture file of Ethernet frames.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, String> {
        let say = |error: CaptureError| error.to_string();
        let mut file = CaptureFile::open(path).map_err(say)?;
        let mut frames = Vec::new();
        while let Some(frame) = file.next_frame().map_err(say)? {
            if frame.link != LinkType::Ethernet {
                return Err(format!("{}: not Ethernet but {:?}", path.display(), frame.link));
            }
            let Frame { at, wire_len, bytes, .. } = frame;
            frames.push(Captured { at: at.0, wire_len, bytes: bytes.to_vec() });
        }
        Ok(Self { link: LinkType::Ethernet, frames })
    }

    /// Writes it as a capture file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut out = PcapWriter::new(BufWriter::new(File::create(path)?), self.link)?;
        for Captured { at, wire_len, bytes } in &self.frames {
            let (at, link) = (Timestamp(*at), self.link);
            out.write(&Frame { at, link, wire_len: *wire_len, bytes })?;
        }
        out.close().map(drop)
    }

    /// The capture changed by these words, one after another.
    ///
    /// # Errors
    /// Names the word that cannot be carried out.
    pub fn wrapped(&self, words: &str) -> Result<Self, String> {
        let mut capture = self.clone();
        for word in words.split_whitespace() {
            let (name, value) =
                word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
            let named = |known: &str| known.split(['=', '[']).next() == Some(name);
            let (.., carry) = WORDS
                .iter()
                .find(|(known, ..)| named(known))
                .ok_or_else(|| format!("{word}: there is no such word"))?;
            if capture.link != LinkType::Ethernet {
                return Err(format!("{word}: nothing can stand around {:?}", capture.link));
            }
            carry(&mut capture, value).map_err(|why| format!("{word}: {why}"))?;
        }
        Ok(capture)
    }

    /// Gives every frame another shape.
    fn each(&mut self, change: impl Fn(&[u8]) -> Result<Vec<u8>, String>) -> Result<(), String> {
        for frame in &mut self.frames {
            *frame = Captured::whole(frame.at, change(&frame.bytes)?);
        }
        Ok(())
    }

    /// The same for what carries an IP packet; the rest stays as it is.
    fn each_packet(
        &mut self,
        change: impl Fn(&Parts<'_>) -> Result<Vec<u8>, String>,
    ) -> Result<(), String> {
        self.each(|frame| {
            let parts = parts(frame)?;
            if parts.is_ip() { change(&parts) } else { Ok(frame.to_vec()) }
        })
    }

    /// Puts any number of frames in the place of each, all of the same time.
    fn instead(
        &mut self,
        mut of: impl FnMut(&Captured) -> Result<Vec<Vec<u8>>, String>,
    ) -> Result<(), String> {
        let mut frames = Vec::with_capacity(self.frames.len());
        for frame in &self.frames {
            frames.extend(of(frame)?.into_iter().map(|bytes| Captured::whole(frame.at, bytes)));
        }
        self.frames = frames;
        Ok(())
    }
}

/// Where the tunnels of [`tunnels`] and the agents of [`agents`] stand: neither is a party's.
const OUTER: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 2)];
const OUTER6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2),
];

/// A frame at its seams.
#[derive(Clone, Copy)]
struct Parts<'a> {
    /// Both addresses.
    macs: &'a [u8],
    /// VLAN tags with their types.
    tags: &'a [u8],
    ethertype: u16,
    /// From the network header on, padding cut off.
    packet: &'a [u8],
}

fn parts(frame: &[u8]) -> Result<Parts<'_>, String> {
    let short = || "a frame is too short".to_owned();
    let (macs, mut rest) = frame.split_at_checked(12).ok_or_else(short)?;
    let begin = rest;
    loop {
        let (kind, after) = rest.split_first_chunk::<2>().ok_or_else(short)?;
        let ethertype = u16::from_be_bytes(*kind);
        if matches!(ethertype, 0x8100 | 0x88a8) {
            rest = after.get(2..).ok_or_else(short)?;
            continue;
        }
        let tags = begin.get(..begin.len() - rest.len()).unwrap_or_default();
        let length = match ethertype {
            0x0800 => u16::from_be_bytes(field(after, 2)?).into(),
            0x86dd => usize::from(u16::from_be_bytes(field(after, 4)?)) + 40,
            _ => after.len(),
        };
        let packet = after.get(..length).ok_or_else(short)?;
        return Ok(Parts { macs, tags, ethertype, packet });
    }
}

impl Parts<'_> {
    const fn is_ip(&self) -> bool {
        matches!(self.ethertype, 0x0800 | 0x86dd)
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], String> {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk::<N>());
    field.copied().ok_or_else(|| "a header is cut".to_owned())
}

/// A UDP datagram of a frame.
#[derive(Clone, Copy)]
struct Datagram<'a> {
    source: SocketAddr,
    destination: SocketAddr,
    payload: &'a [u8],
}

/// The datagram in a frame; none for anything else than UDP in one piece.
fn datagram(frame: &[u8]) -> Result<Option<Datagram<'_>>, String> {
    let Parts { ethertype, packet, .. } = parts(frame)?;
    let (from, to, body): (IpAddr, IpAddr, usize) = match ethertype {
        0x0800 if packet.first() == Some(&0x45) && packet.get(9) == Some(&17) => {
            if u16::from_be_bytes(field(packet, 6)?) & 0x3fff != 0 {
                return Ok(None);
            }
            let end = |at| field::<4>(packet, at).map(IpAddr::from);
            (end(12)?, end(16)?, IPV4_HEADER)
        }
        0x86dd if packet.get(6) == Some(&17) => {
            let end = |at| field::<16>(packet, at).map(IpAddr::from);
            (end(8)?, end(24)?, 40)
        }
        _ => return Ok(None),
    };
    let udp = packet.get(body..).unwrap_or_default();
    let port = |at| field::<2>(udp, at).map(u16::from_be_bytes);
    Ok(Some(Datagram {
        source: (from, port(0)?).into(),
        destination: (to, port(2)?).into(),
        payload: udp.get(8..).unwrap_or_default(),
    }))
}

impl<'a> Datagram<'a> {
    /// The payload if it is a SIP message.
    fn sip(&self) -> Option<&'a [u8]> {
        let line = self.payload.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let name = b"SIP/2.0";
        line.windows(name.len()).any(|window| window == name).then_some(self.payload)
    }
}

fn length(bytes: usize) -> Result<[u8; 2], String> {
    let length = u16::try_from(bytes).map_err(|_| format!("{bytes} bytes are too many"))?;
    Ok(length.to_be_bytes())
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text}: want a number"))
}
