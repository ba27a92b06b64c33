//! What a packet of a stream means: its payload type looked up, its keys tried, the tape told of it.
//!
//! Law: what the receiver announced outweighs what the sender did; what nobody announced in a
//! signalled call is foreign.

use super::{
    output::TapeId,
    party::Side,
    recording::Recording,
    session::Call,
    stream::{Codec, MAX_SLOTS, Meaning, Stream},
};
use crate::{
    audio::{
        block::News,
        codec::DecoderSource,
        kinds::{self, Kind},
    },
    signal::{Format, SdesKey},
};

/// Looks up what a payload type means on a stream and makes it the current one.
pub(super) fn learn(
    call: &mut Call,
    index: usize,
    payload_type: u8,
    fallback: Option<&Format>,
    aal2_agents: &[String],
    source: &dyn DecoderSource,
) {
    let Some(stream) = call.streams.get_mut(index) else { return };
    let format = call.dialog.format(stream.role, payload_type);
    let name = |format: Option<&Format>| {
        format.map_or_else(|| payload_type.to_string(), |f| f.name.clone())
    };
    let announced = call.dialog.is_signalled();
    let agent = call.dialog.course.agents.get(stream.role.index());
    let agent = agent.map_or("", String::as_str);
    let repacked = format.and_then(|format| aal2_packed(agent, format, aal2_agents));
    let format = repacked.as_ref().or(format).or(fallback);
    let keys = call.dialog.keys(stream.role);
    if let Some(keys) = &keys {
        offer_keys(stream, keys);
    }
    // Encrypted and no key was ever on the wire (DTLS-SRTP), or none that we can use.
    let sealed = call.dialog.encryption(stream.role).filter(|_| stream.srtp.is_none());
    let locked = sealed.is_some();
    let known = stream.codec(payload_type).filter(|codec| {
        format.is_none_or(|f| codec.name == f.name && codec.clock_rate == f.clock_rate)
            && (codec.sealed.is_some() == locked
                || !matches!(codec.meaning, Meaning::Audio { .. } | Meaning::Undecodable))
    });
    let (meaning, clock_rate) = if let Some(known) = known {
        (known.meaning, known.clock_rate)
    } else {
        let slots =
            stream.codecs.iter().filter(|c| matches!(c.meaning, Meaning::Audio { .. })).count();
        let meaning = match (format, kinds::kind(format)) {
            (None, _) if announced => Meaning::Foreign,
            (_, Kind::Event) => Meaning::Event,
            (_, Kind::Redundant) => Meaning::Redundant,
            (Some(f), Kind::Audio(codec))
                if !locked
                    && slots < MAX_SLOTS
                    && source.decoder(codec, f.parameters.as_deref()).is_some() =>
            {
                Meaning::Audio { slot: u8::try_from(slots).unwrap_or(0), format: codec }
            }
            (_, Kind::Audio(_) | Kind::Unknown) => Meaning::Undecodable,
        };
        let codec = Codec {
            payload_type,
            name: name(format),
            clock_rate: format.map_or(8000, |f| f.clock_rate),
            channels: format.map_or(1, |f| f.channels),
            parameters: format.and_then(|f| f.parameters.clone()),
            meaning,
            sealed: sealed.filter(|_| meaning == Meaning::Undecodable),
        };
        let clock_rate = codec.clock_rate;
        if stream.codecs.len() < 64 {
            stream.codecs.retain(|old| {
                old.payload_type != payload_type || matches!(old.meaning, Meaning::Audio { .. })
            });
            stream.codecs.insert(0, codec);
        }
        stream.tape = TapeId(0);
        (meaning, clock_rate)
    };
    stream.payload_type = payload_type;
    stream.meaning = meaning;
    if matches!(meaning, Meaning::Audio { .. } | Meaning::Undecodable) {
        stream.timeline.set_clock_rate(clock_rate);
        stream.jitter.set_clock_rate(clock_rate);
    }
}

/// The format by its true name, when the sender is known to pack G.726 as AAL2 does and to announce
/// it as RFC 3551 packs it.
fn aal2_packed(agent: &str, format: &Format, agents: &[String]) -> Option<Format> {
    let plain = format.name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("G726-"));
    let known = plain && agents.iter().any(|part| agent.contains(part.as_str()));
    known.then(|| Format { name: format!("AAL2-{}", format.name), ..format.clone() })
}

/// Lets a stream try the keys that signalling showed; keys it has already are not tried twice.
fn offer_keys(stream: &mut Stream, keys: &[&SdesKey]) {
    let candidates = stream.srtp.get_or_insert_default();
    for key in keys {
        // A suite we do not know may stand beside one we do.
        let usable = candidates.offer(&key.suite, &key.inline).is_ok();
        stream.keys_refused += u32::from(!usable);
    }
    if candidates.is_empty() {
        stream.srtp = None;
    }
}

/// Tells the tape of a stream and of its codecs.
pub(super) fn introduce(stream: &mut Stream, recording: &mut Recording) {
    if stream.tape == recording.tape {
        return;
    }
    if stream.introduced != recording.tape {
        stream.leg = recording.legs;
        recording.legs = recording.legs.saturating_add(1);
        stream.introduced = recording.tape;
    }
    stream.tape = recording.tape;
    stream.anew = true;
    let side = if stream.role == recording.parties.local_role { Side::Local } else { Side::Remote };
    recording.news.push(News::Leg { leg: stream.leg, side });
    for codec in &stream.codecs {
        if let Meaning::Audio { slot, .. } = codec.meaning {
            recording.news.push(News::Codec {
                leg: stream.leg,
                slot,
                name: codec.name.clone(),
                clock_rate: codec.clock_rate,
                channels: codec.channels,
                parameters: codec.parameters.clone(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_that_pack_g726_their_own_way() {
        let format = |name: &str| Format {
            payload_type: 96,
            name: name.to_owned(),
            clock_rate: 8_000,
            channels: 1,
            parameters: None,
        };
        let agents = ["Gate".to_owned()];
        let read = |agent, name| aal2_packed(agent, &format(name), &agents).map(|f| f.name);
        assert_eq!(read("The Gate 7", "G726-32").as_deref(), Some("AAL2-G726-32"));
        assert_eq!(read("The Gate 7", "g726-16").as_deref(), Some("AAL2-g726-16"));
        assert_eq!((read("Phone", "G726-32"), read("", "G726-32")), (None, None));
        assert_eq!((read("Gate", "AAL2-G726-32"), read("Gate", "PCMU")), (None, None));
    }
}
