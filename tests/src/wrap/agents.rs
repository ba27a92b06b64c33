//! What a capture agent, or another recorder, sends on.

use super::{Capture, Captured, Datagram, OUTER, datagram, length, number, streams::Connection};
use crate::wire::Frame;
use std::net::{IpAddr, SocketAddr};

/// Where agents send HEP to.
pub const HEP_PORT: u16 = 9060;
/// Where Oreka sends its frames to; one above over TCP.
pub const OREKA_PORT: u16 = 10_002;

fn agent(port: u16, payload: &[u8]) -> Vec<u8> {
    Frame::udp(&[], (OUTER[0], 40_000).into(), (OUTER[1], port).into(), payload).into_bytes()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    }
}

pub(super) fn hep(capture: &mut Capture, value: Option<&str>) -> Result<(), String> {
    let (version, key) = value.unwrap_or("3").split_once(',').unwrap_or((value.unwrap_or("3"), ""));
    capture.instead(|Captured { at, bytes, .. }| {
        let Some(datagram) = datagram(bytes)? else { return Ok(vec![bytes.clone()]) };
        let packet = match version {
            "1" => old(1, *at, &datagram)?,
            "2" => old(2, *at, &datagram)?,
            "3" => version_3(*at, &datagram, key, false)?,
            "3zlib" => version_3(*at, &datagram, key, true)?,
            _ => return Err("want 1, 2, 3 or 3zlib".to_owned()),
        };
        Ok(vec![agent(HEP_PORT, &packet)])
    })
}

/// A HEP 3 packet of what `source` sent to `destination` at `at` nanoseconds since 1970.
///
/// # Errors
/// When the payload is too long for it.
pub fn hep3(
    at: u64,
    source: SocketAddr,
    destination: SocketAddr,
    payload: &[u8],
    key: &str,
) -> Result<Vec<u8>, String> {
    version_3(at, &Datagram { source, destination, payload }, key, false)
}

/// Versions 1 and 2: version 2 has the time behind the addresses.
fn old(version: u8, at: u64, datagram: &Datagram<'_>) -> Result<Vec<u8>, String> {
    let (size, family) = if datagram.source.is_ipv4() { (16, 2) } else { (40, 10) };
    let mut packet = vec![version, size, family, 17];
    packet.extend(datagram.source.port().to_be_bytes());
    packet.extend(datagram.destination.port().to_be_bytes());
    packet.extend(octets(datagram.source.ip()));
    packet.extend(octets(datagram.destination.ip()));
    if version == 2 {
        let [seconds, micros] = seconds(at)?;
        packet.extend(seconds.to_le_bytes());
        packet.extend(micros.to_le_bytes());
        packet.extend([1, 0, 0, 0]);
    }
    packet.extend(datagram.payload);
    Ok(packet)
}

fn seconds(at: u64) -> Result<[u32; 2], String> {
    let word = |number: u64| u32::try_from(number).map_err(|_| "beyond 2106".to_owned());
    Ok([word(at / 1_000_000_000)?, word(at % 1_000_000_000 / 1000)?])
}

fn version_3(at: u64, datagram: &Datagram<'_>, key: &str, zlib: bool) -> Result<Vec<u8>, String> {
    let (family, first) = if datagram.source.is_ipv4() { (2, 3) } else { (10, 5) };
    let [seconds, micros] = seconds(at)?;
    let kind = if datagram.sip().is_some() { 1 } else { 5 };
    let mut chunks: Vec<(u16, Vec<u8>)> = vec![
        (1, vec![family]),
        (2, vec![17]),
        (first, octets(datagram.source.ip())),
        (first + 1, octets(datagram.destination.ip())),
        (7, datagram.source.port().to_be_bytes().to_vec()),
        (8, datagram.destination.port().to_be_bytes().to_vec()),
        (9, seconds.to_be_bytes().to_vec()),
        (10, micros.to_be_bytes().to_vec()),
        (11, vec![kind]),
        (12, vec![0, 0, 7, 0xd4]),
    ];
    if !key.is_empty() {
        chunks.push((14, key.as_bytes().to_vec()));
    }
    chunks.push(if zlib {
        (16, miniz_oxide::deflate::compress_to_vec_zlib(datagram.payload, 6))
    } else {
        (15, datagram.payload.to_vec())
    });
    let mut body = Vec::new();
    for (kind, value) in chunks {
        body.extend([0, 0]);
        body.extend(kind.to_be_bytes());
        body.extend(length(value.len() + 6)?);
        body.extend(value);
    }
    Ok([&b"HEP3"[..], &length(body.len() + 6)?, &body].concat())
}

/// Everything in one connection to `port`; what is no record stays as it is.
fn over_tcp(
    capture: &mut Capture,
    port: u16,
    size: Option<&str>,
    record: impl Fn(&Captured) -> Result<Option<Vec<u8>>, String>,
) -> Result<(), String> {
    let size = size.map_or(Ok(1000), number::<usize>)?.max(1);
    let mut connection: Option<Connection> = None;
    capture.instead(|frame| {
        let Some(record) = record(frame)? else { return Ok(vec![frame.bytes.clone()]) };
        let mut frames = Vec::new();
        let connection = connection.get_or_insert_with(|| {
            let ends = ((OUTER[0], 40_000).into(), (OUTER[1], port).into());
            let (connection, opening) = Connection::open(ends.0, ends.1);
            frames.extend(opening);
            connection
        });
        frames.extend(connection.send(&record, size));
        Ok(frames)
    })
}

pub(super) fn hep_tcp(capture: &mut Capture, value: Option<&str>) -> Result<(), String> {
    over_tcp(capture, HEP_PORT, value, |Captured { at, bytes, .. }| {
        let datagram = datagram(bytes)?;
        datagram.map(|datagram| version_3(*at, &datagram, "", false)).transpose()
    })
}

/// `BE EF`, version 1, a sequence number that nobody fills in, the length.
fn record(frame: &[u8]) -> Result<Vec<u8>, String> {
    let [high, low] = length(frame.len())?;
    Ok([&[0xbe, 0xef, 1, 0, 0, 0, 0, high, low], frame].concat())
}

pub(super) fn oreka(capture: &mut Capture, _: Option<&str>) -> Result<(), String> {
    capture.each(|frame| Ok(agent(OREKA_PORT, &record(frame)?)))
}

pub(super) fn oreka_tcp(capture: &mut Capture, value: Option<&str>) -> Result<(), String> {
    over_tcp(capture, OREKA_PORT + 1, value, |frame| record(&frame.bytes).map(Some))
}
