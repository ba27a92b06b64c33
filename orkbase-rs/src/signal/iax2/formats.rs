//! What a format bit means (RFC 5456 §8.7), as RTP would announce it.
//!
//! Three bits mean on the wire what Asterisk has always sent, not what the RFC says:
//! 0x10 is G.726 in AAL2 order and 0x800 in RFC 3551 order (the RFC has them the other way round),
//! and 0x40 is in network byte order (the RFC: little-endian). 16 kHz linear (0x8000) is
//! little-endian in both.

use crate::{audio::codec::Codec, signal::Format};

/// A way to write sound.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Sound {
    bit: u8,
    /// In the RTP packets made here; RFC 3551's where it has one.
    pub(super) payload_type: u8,
    name: &'static str,
    /// RTP clock in Hz, always whole kHz.
    pub(super) rate: u32,
    parameters: Option<&'static str>,
    /// Samples come with the low octet first.
    pub(super) swapped: bool,
}

const fn sound(bit: u8, payload_type: u8, name: &'static str, rate: u32) -> Sound {
    Sound { bit, payload_type, name, rate, parameters: None, swapped: false }
}

const ILBC_20: Sound = Sound { parameters: Some("mode=20"), ..sound(10, 102, "iLBC", 8_000) };
const ILBC_30: Sound = Sound { parameters: Some("mode=30"), ..sound(10, 103, "iLBC", 8_000) };
/// A codec that nobody here has a name for.
const OTHER: Sound = sound(63, 127, "unknown", 8_000);

const SOUNDS: [Sound; 18] = [
    sound(0, 4, "G723", 8_000),
    sound(1, 3, "GSM", 8_000),
    sound(2, 0, "PCMU", 8_000),
    sound(3, 8, "PCMA", 8_000),
    sound(4, 97, "AAL2-G726-32", 8_000),
    // Without the header that DVI4 has in each packet: a lost packet breaks it, nobody decodes it.
    sound(5, 98, "IAX2-ADPCM", 8_000),
    sound(6, 99, "L16", 8_000),
    sound(7, 7, "LPC", 8_000),
    sound(8, 18, "G729", 8_000),
    sound(9, 100, "speex", 8_000),
    ILBC_20,
    ILBC_30,
    sound(11, 2, "G726-32", 8_000),
    sound(12, 9, "G722", 8_000),
    Sound { swapped: true, ..sound(15, 104, "L16", 16_000) },
    sound(33, 101, "speex", 16_000),
    sound(34, 105, "opus", 48_000),
    OTHER,
];

/// Bits of video, still images and text.
const NOT_SOUND: u64 = 0x0FFF_0000;

/// The sound behind a format of one bit, as this payload shows it; `None` for what is no sound.
pub(super) fn sound_of(format: u64, payload: &[u8]) -> Option<&'static Sound> {
    if !format.is_power_of_two() || format & NOT_SOUND != 0 {
        return None;
    }
    let bit = u8::try_from(format.trailing_zeros()).ok()?;
    if bit == ILBC_20.bit {
        // 38 octets are 20 ms, 50 are 30 (RFC 3951).
        let short = payload.len().is_multiple_of(38) && !payload.len().is_multiple_of(50);
        return SOUNDS.iter().find(|s| **s == if short { ILBC_20 } else { ILBC_30 });
    }
    SOUNDS.iter().find(|s| s.bit == bit).or(SOUNDS.last())
}

/// Every sound, the agreed one first.
pub(super) fn formats(agreed: Option<u64>) -> Vec<Format> {
    let first = agreed.and_then(|format| sound_of(format, &[]));
    let others = SOUNDS.iter().filter(|s| Some(*s) != first);
    first.into_iter().chain(others).map(Sound::format).collect()
}

impl Sound {
    fn format(&self) -> Format {
        Format {
            payload_type: self.payload_type,
            name: self.name.to_owned(),
            clock_rate: self.rate,
            channels: 1,
            parameters: self.parameters.map(str::to_owned),
        }
    }

    /// Milliseconds in a payload; 0 when nobody can tell.
    pub(super) fn millis(&self, payload: &[u8]) -> u32 {
        let codec = Codec::named(self.name, self.rate, 1, self.parameters);
        codec.map_or(0, |codec| codec.ticks_in(payload) / (self.rate / 1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn formats_are_what_asterisk_sends() {
        let check = |format: u64, len: usize, payload_type: u8, name: &str, rate: u32, ms: u32| {
            let payload = vec![0xD5; len];
            let sound = sound_of(format, &payload).unwrap();
            assert_eq!((sound.payload_type, sound.name, sound.rate), (payload_type, name, rate));
            assert_eq!(sound.millis(&payload), ms, "{name}");
        };
        check(0x1, 0, 4, "G723", 8_000, 0);
        check(0x2, 33, 3, "GSM", 8_000, 20);
        check(0x4, 160, 0, "PCMU", 8_000, 20);
        check(0x8, 240, 8, "PCMA", 8_000, 30);
        check(0x10, 80, 97, "AAL2-G726-32", 8_000, 20);
        check(0x20, 80, 98, "IAX2-ADPCM", 8_000, 0);
        check(0x40, 320, 99, "L16", 8_000, 20);
        check(0x100, 20, 18, "G729", 8_000, 20);
        check(0x400, 50, 103, "iLBC", 8_000, 30);
        check(0x400, 38, 102, "iLBC", 8_000, 20);
        check(0x800, 80, 2, "G726-32", 8_000, 20);
        check(0x1000, 160, 9, "G722", 8_000, 20);
        check(0x8000, 640, 104, "L16", 16_000, 20);
        check(1 << 47, 160, 127, "unknown", 8_000, 0);
        for video in [0, 3, 0x10_0000, 0x20_0000] {
            assert_eq!(sound_of(video, &[]), None);
        }
    }

    #[test]
    fn every_sound_has_its_own_payload_type() {
        let all = formats(Some(8));
        assert_eq!((all[0].name.as_str(), all.len()), ("PCMA", SOUNDS.len()));
        let types: HashSet<u8> = all.iter().map(|format| format.payload_type).collect();
        assert_eq!(types.len(), SOUNDS.len());
    }
}
