//! When frames come, and how often; and how much of them is kept.

use super::{Capture, Captured, datagram, number};
use crate::generator::chance::Chance;
use crate::wire::seal_ipv4;
use std::collections::{BTreeMap, BTreeSet};

const MS: u64 = 1_000_000;
/// VLAN of tagged copies.
const TAG: [u8; 4] = [0x81, 0, 0, 77];

pub(super) fn copy(capture: &mut Capture, value: Option<&str>) -> Result<(), String> {
    let (mut late, mut routed, mut tagged) = (0, false, false);
    for word in value.unwrap_or("0").split(',') {
        match word {
            "routed" => routed = true,
            "tagged" => tagged = true,
            ms => late = number::<u64>(ms)? * MS,
        }
    }
    let mut all = Vec::with_capacity(capture.frames.len() * 2);
    for frame in &capture.frames {
        let mut bytes = frame.bytes.clone();
        if routed {
            route(&mut bytes);
        }
        if tagged {
            let (macs, rest) = bytes.split_at_checked(12).ok_or("a frame is too short")?;
            bytes = [macs, &TAG, rest].concat();
        }
        all.push(frame.clone());
        all.push(Captured::whole(frame.at + late, bytes));
    }
    // Stable: frames of one moment keep their order.
    all.sort_by_key(|frame| frame.at);
    capture.frames = all;
    Ok(())
}

/// What a router changes: both MAC addresses, the TTL, the checksum.
fn route(frame: &mut [u8]) {
    let Some((macs, rest)) = frame.split_at_mut_checked(12) else { return };
    for mac in macs.chunks_mut(6) {
        if let [.., last] = mac {
            *last ^= 0x55;
        }
    }
    match rest {
        [8, 0, packet @ ..] => {
            if let Some(ttl) = packet.get_mut(8) {
                *ttl = ttl.saturating_sub(1);
            }
            seal_ipv4(packet);
        }
        [0x86, 0xdd, _, _, _, _, _, _, _, hops, ..] => *hops = hops.saturating_sub(1),
        _ => {}
    }
}

/// Frames change places, capture times stay where they are: nobody moves by more than the span. The
/// first frame of each flow stays: it is all that says when its stream begins.
pub(super) fn shuffle(capture: &mut Capture, value: Option<&str>) -> Result<(), String> {
    let (span, seed) =
        value.ok_or("want a span")?.split_once(',').unwrap_or((value.unwrap_or("0"), "1"));
    let (span, mut chance) = (number::<u64>(span)? * MS, Chance::new(number(seed)?, 0));
    let mut seen = BTreeSet::new();
    // Flows exchange places among themselves: a place tells when a stream's packet was sent.
    let mut flows: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (index, frame) in capture.frames.iter().enumerate() {
        let Some(flow) = datagram(&frame.bytes)? else { continue };
        let flow = (flow.source, flow.destination);
        if !seen.insert(flow) {
            flows.entry(flow).or_default().push(index);
        }
    }
    for places in flows.into_values() {
        // Each place takes part in one exchange, so that no frame moves twice.
        let mut moved = BTreeSet::new();
        for (n, place) in places.iter().enumerate() {
            let at = |place: usize| capture.frames.get(place).map_or(0, |frame| frame.at);
            let near: Vec<usize> = places
                .iter()
                .skip(n + 1)
                .copied()
                .take_while(|other| at(*other) - at(*place) <= span)
                .filter(|other| !moved.contains(other))
                .collect();
            let choice = usize::try_from(chance.below(u64::try_from(near.len()).unwrap_or(0) + 1));
            let other = choice.ok().and_then(|choice| near.get(choice)).copied();
            let (Some(other), false) = (other, moved.contains(place)) else { continue };
            moved.extend([*place, other]);
            let times = [at(*place), at(other)];
            capture.frames.swap(*place, other);
            for (place, at) in [*place, other].into_iter().zip(times) {
                if let Some(frame) = capture.frames.get_mut(place) {
                    frame.at = at;
                }
            }
        }
    }
    Ok(())
}

pub(super) fn cut(capture: &mut Capture, value: Option<&str>) -> Result<(), String> {
    let keep: usize = number(value.ok_or("want a length")?)?;
    for frame in &mut capture.frames {
        frame.bytes.truncate(keep);
    }
    Ok(())
}
