//! What a finished tape says of itself in its tags.

use super::{
    course::CallFacts,
    output::{LegReport, Mark, MarkKind},
    stream::NO_CODEC,
};
use std::collections::BTreeMap;

/// Adds the account of all legs: `codec`, `packets` and `lost` always, the rest when not zero.
pub fn add_quality(tags: &mut BTreeMap<String, String>, legs: &[LegReport]) {
    let mut codecs: Vec<&str> = Vec::new();
    for name in legs.iter().flat_map(|leg| leg.codec.split(',')) {
        if !codecs.contains(&name) {
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
    let odd: [(&str, u64); 4] = [
        ("late", sum(|leg| leg.late)),
        ("duplicates", sum(|leg| leg.duplicates)),
        ("gapms", sum(|leg| leg.gap_ms)),
        ("undecoded", sum(|leg| leg.undecoded)),
    ];
    for (name, value) in odd.into_iter().filter(|(_, value)| *value > 0) {
        tags.insert(name.to_owned(), value.to_string());
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
            MarkKind::Pause | MarkKind::Record | MarkKind::Transfer(_) => {}
        }
    }
    add("holds", (holds > 0).then(|| holds.to_string()));
    // A hold that was not taken off has no length of its own.
    add("holdms", (held_ms > 0).then(|| held_ms.to_string()));
}
