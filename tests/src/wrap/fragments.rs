//! IP fragments (RFC 791, RFC 8200 4.5).

use super::{Capture, Parts, field, length, number, parts};
use crate::wire::seal_ipv4;

#[derive(Clone, Copy, Default)]
struct Way {
    size: usize,
    reverse: bool,
    twice: bool,
    overlap: bool,
}

pub(super) fn fragment(capture: &mut Capture, value: Option<&str>) -> Result<(), String> {
    let mut way = Way::default();
    for word in value.ok_or("want a size")?.split(',') {
        match word {
            "reverse" => way.reverse = true,
            "twice" => way.twice = true,
            "overlap" => way.overlap = true,
            size => way.size = number(size)?,
        }
    }
    if way.size < 8 || way.size % 8 != 0 {
        return Err("want a multiple of eight".to_owned());
    }
    let mut id = 0;
    capture.instead(|frame| {
        id += 1;
        let of = parts(&frame.bytes)?;
        let pieces = match of.ethertype {
            0x0800 => four(&of, &way, id)?,
            0x86dd => six(&of, &way, id)?,
            _ => return Ok(vec![frame.bytes.clone()]),
        };
        Ok(if pieces.len() < 2 { vec![frame.bytes.clone()] } else { order(pieces, &way) })
    })
}

/// Offset, bytes, whether more follow. An overlapping part says the wrong thing about the end of
/// its predecessor and comes behind it: the first copy of a byte is the one that counts.
fn cuts(body: &[u8], way: &Way) -> Vec<(usize, Vec<u8>, bool)> {
    let mut cuts = Vec::new();
    for (index, part) in body.chunks(way.size).enumerate() {
        let at = index * way.size;
        let more = at + part.len() < body.len();
        if way.overlap && index > 0 {
            let wrong = [&[0xee; 8][..], part].concat();
            cuts.push((at - 8, wrong, more));
        } else {
            cuts.push((at, part.to_vec(), more));
        }
    }
    cuts
}

fn order(mut pieces: Vec<Vec<u8>>, way: &Way) -> Vec<Vec<u8>> {
    if way.reverse {
        pieces.reverse();
    }
    if way.twice {
        pieces = pieces.into_iter().flat_map(|piece| [piece.clone(), piece]).collect();
    }
    pieces
}

fn four(of: &Parts<'_>, way: &Way, id: u16) -> Result<Vec<Vec<u8>>, String> {
    let (header, body) = of.packet.split_at_checked(20).ok_or("an IPv4 header is cut")?;
    let mut pieces = Vec::new();
    for (at, part, more) in cuts(body, way) {
        let mut packet = [header, &part].concat();
        let units = u16::try_from(at / 8).map_err(|_| "too long")?;
        let fields: [(usize, [u8; 2]); 3] = [
            (2, length(packet.len())?),
            (4, id.to_be_bytes()),
            (6, (units | u16::from(more) << 13).to_be_bytes()),
        ];
        for (at, value) in fields {
            if let Some(room) = packet.get_mut(at..at + 2) {
                room.copy_from_slice(&value);
            }
        }
        seal_ipv4(&mut packet);
        pieces.push([of.macs, of.tags, &[8, 0], &packet].concat());
    }
    Ok(pieces)
}

fn six(of: &Parts<'_>, way: &Way, id: u16) -> Result<Vec<Vec<u8>>, String> {
    let (header, body) = of.packet.split_at_checked(40).ok_or("an IPv6 header is cut")?;
    let [next] = field::<1>(header, 6)?;
    let mut pieces = Vec::new();
    for (at, part, more) in cuts(body, way) {
        let offset = u16::try_from(at).map_err(|_| "too long")? | u16::from(more);
        let [high, low] = offset.to_be_bytes();
        let [id_high, id_low] = id.to_be_bytes();
        let mut packet = [header, &[next, 0, high, low, 0, 0, id_high, id_low], &part].concat();
        let [high, low] = length(part.len() + 8)?;
        if let Some(room) = packet.get_mut(4..7) {
            room.copy_from_slice(&[high, low, 44]);
        }
        pieces.push([of.macs, of.tags, &[0x86, 0xdd], &packet].concat());
    }
    Ok(pieces)
}
