//! What a finished tape says of itself in its tags.

use super::{
    course::CallFacts,
    keeping::Kept,
    output::{LegReport, Mark, MarkKind},
    party::Side,
    stream::NO_CODEC,
};
use std::collections::BTreeMap;

/// Fewer packets than this say nothing about quality: half a second of 20 ms packets.
const RATED_PACKETS: u64 = 25;

/// Adds the account of all legs: `codec`, `packets` and `lost` always; `mos`, of the worse side, where
/// it can be told; `oneway`, the side that was heard, where the other was not; `undecodable`, the codecs
/// or the encryption that kept audio from the tape; the rest when not zero.
pub fn add_quality(tags: &mut BTreeMap<String, String>, legs: &[LegReport]) {
    let mut codecs: Vec<&str> = Vec::new();
    for name in legs.iter().flat_map(|leg| leg.codec.split(',')) {
        if !codecs.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            codecs.push(name);
        }
    }
    // A stream of telephone events alone has no codec; it is worth a word only if nothing else was.
    if codecs.len() > 1 {
        codecs.retain(|name| *name != NO_CODEC);
    }
    tags.insert("codec".to_owned(), codecs.join("+"));
    let sum = |field: fn(&LegReport) -> u64| legs.iter().map(field).sum::<u64>();
    tags.insert("packets".to_owned(), sum(|leg| leg.packets).to_string());
    tags.insert("lost".to_owned(), sum(|leg| leg.lost).to_string());
    let most = |field: fn(&LegReport) -> u64| legs.iter().map(field).max().unwrap_or(0);
    let mut undecodable: Vec<&str> = Vec::new();
    for name in legs.iter().flat_map(|leg| leg.undecodable.iter()) {
        if !undecodable.contains(&name.as_str()) {
            undecodable.push(name);
        }
    }
    if !undecodable.is_empty() {
        tags.insert("undecodable".to_owned(), undecodable.join("+"));
    }
    let odd: [(&str, u64); 8] = [
        ("late", sum(|leg| leg.late)),
        ("duplicates", sum(|leg| leg.duplicates)),
        ("gapms", sum(|leg| leg.gap_ms)),
        ("recovered", sum(|leg| leg.recovered)),
        ("undecoded", sum(|leg| leg.undecoded)),
        ("bursts", sum(|leg| leg.losses.bursts)),
        ("longestloss", most(|leg| leg.losses.longest_run)),
        ("jitterms", most(|leg| leg.max_jitter_us / 1_000)),
    ];
    // The worse of the two sides; a stream of a few packets has no quality to speak of.
    let rated = legs.iter().filter(|leg| leg.packets >= RATED_PACKETS);
    if let Some(worst) = rated.filter_map(|leg| leg.opinion).map(|o| o.mos_centi).min() {
        tags.insert("mos".to_owned(), format!("{}.{:02}", worst / 100, worst % 100));
    }
    let heard = |side: Side| legs.iter().any(|leg| leg.side == side && leg.codec != NO_CODEC);
    match (heard(Side::Local), heard(Side::Remote)) {
        (true, false) => tags.insert("oneway".to_owned(), Side::Local.as_str().to_owned()),
        (false, true) => tags.insert("oneway".to_owned(), Side::Remote.as_str().to_owned()),
        (true, true) | (false, false) => None,
    };
    for (name, value) in odd.into_iter().filter(|(_, value)| *value > 0) {
        tags.insert(name.to_owned(), value.to_string());
    }
}

/// Adds what was kept of packets: `rawpackets`, and `rawomitted` for those beyond the bound.
pub fn add_packets(tags: &mut BTreeMap<String, String>, kept: &Kept) {
    let rows = [("rawpackets", kept.packets), ("rawomitted", kept.omitted)];
    for (name, value) in rows.into_iter().filter(|(_, value)| kept.on && *value > 0) {
        tags.insert(name.to_owned(), value.to_string());
    }
}

/// Adds how often the recording was paused, and for how long altogether: `pauses`, `pausedms`.
pub fn add_pauses(tags: &mut BTreeMap<String, String>, pauses: u64, paused_ms: u64) {
    if pauses > 0 {
        tags.insert("pauses".to_owned(), pauses.to_string());
        tags.insert("pausedms".to_owned(), paused_ms.to_string());
    }
}

/// Adds what signalling told of the call, as far as it told it: `answered` (Unix seconds),
/// `releasedby`, `releasecode`, `releasecause`, `localagent`, `remoteagent`, `holds`, `holdms`.
pub fn add_facts(tags: &mut BTreeMap<String, String>, facts: &CallFacts, marks: &[Mark]) {
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            tags.insert(name.to_owned(), value);
        }
    };
    let [local, remote] = &facts.agents;
    add("answered", facts.answered.map(|at| at.secs().to_string()));
    add("releasedby", facts.released.map(|(_, side)| side.as_str().to_owned()));
    add("releasecode", facts.code.map(|code| code.to_string()));
    add("releasecause", facts.cause.clone());
    add("localagent", Some(local.clone()));
    add("remoteagent", Some(remote.clone()));
    let (mut holds, mut held_ms, mut since) = (0u64, 0u64, None);
    for mark in marks {
        match mark.what {
            MarkKind::Hold(_) => {
                holds += 1;
                since = Some(mark.offset_ms);
            }
            MarkKind::Resume => {
                held_ms += since.take().map_or(0, |since| mark.offset_ms.saturating_sub(since));
            }
            MarkKind::Pause | MarkKind::Record | MarkKind::PauseOver | MarkKind::Transfer(_) => {}
        }
    }
    add("holds", (holds > 0).then(|| holds.to_string()));
    // A hold that was not taken off has no length of its own.
    add("holdms", (held_ms > 0).then(|| held_ms.to_string()));
}
