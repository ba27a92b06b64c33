//! What a finished tape says of itself in its tags.

use super::{output::LegReport, stream::NO_CODEC};
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
