//! What a payload format is to the recorder: audio it can decode, an event, or neither.

use super::codec::Codec;
use crate::signal::Format;

/// How a format is treated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Audio of a codec we know.
    Audio(Codec),
    /// Several payloads in one (RFC 2198).
    Redundant,
    /// Telephone events and the like: known, never heard.
    Event,
    /// A format we do not know.
    Unknown,
}

/// The kind of a format.
#[must_use]
pub fn kind(format: Option<&Format>) -> Kind {
    let Some(format) = format else { return Kind::Unknown };
    let is = |name: &str| format.name.eq_ignore_ascii_case(name);
    if is("telephone-event") || is("tone") || is("cisco-cpc") {
        return Kind::Event;
    }
    if is("red") {
        return Kind::Redundant;
    }
    let fmtp = format.parameters.as_deref();
    Codec::named(&format.name, format.clock_rate, format.channels, fmtp)
        .map_or(Kind::Unknown, Kind::Audio)
}

/// Payload types that audio uses: RFC 3551 static audio and the dynamic range.
#[must_use]
pub const fn may_be_audio(payload_type: u8) -> bool {
    matches!(payload_type, 0..=19 | 96..=127)
}

/// What a static payload type means when nobody says (RFC 3551 table 4).
#[must_use]
pub fn static_format(payload_type: u8) -> Option<Format> {
    let (name, clock_rate) = match payload_type {
        0 => ("PCMU", 8000),
        2 => ("G726-32", 8000),
        3 => ("GSM", 8000),
        4 => ("G723", 8000),
        5 => ("DVI4", 8000),
        6 => ("DVI4", 16_000),
        7 => ("LPC", 8000),
        8 => ("PCMA", 8000),
        9 => ("G722", 8000),
        10 | 11 => ("L16", 44_100),
        12 => ("QCELP", 8000),
        13 | 19 => ("CN", 8000),
        14 => ("MPA", 90_000),
        15 => ("G728", 8000),
        16 => ("DVI4", 11_025),
        17 => ("DVI4", 22_050),
        18 => ("G729", 8000),
        _ => return None,
    };
    let channels = if payload_type == 10 { 2 } else { 1 };
    Some(Format { payload_type, name: name.to_owned(), clock_rate, channels, parameters: None })
}
