//! Every decoder of our own: any payload gives a bounded number of samples, and as many as was said.

use super::input::Input;
use orkbase::audio::codec::{Codec, DecodeError, decoder_for};

const CODECS: [(&str, u32, u8); 20] = [
    ("PCMU", 8_000, 1),
    ("PCMA", 8_000, 1),
    ("G722", 8_000, 1),
    ("G726-16", 8_000, 1),
    ("G726-24", 8_000, 1),
    ("G726-32", 8_000, 1),
    ("G726-40", 8_000, 1),
    ("AAL2-G726-24", 8_000, 1),
    ("GSM", 8_000, 1),
    ("DVI4", 8_000, 1),
    ("DVI4", 22_050, 1),
    ("L16", 44_100, 2),
    ("L16", 8_000, 8),
    ("CN", 8_000, 1),
    ("opus", 48_000, 2),
    ("G729", 8_000, 1),
    ("G723", 8_000, 1),
    ("iLBC", 8_000, 1),
    ("AMR-WB", 16_000, 1),
    ("speex", 32_000, 1),
];
/// Most samples of an Opus packet: 120 ms.
const OPUS_MOST: usize = 5_760;

/// Input: a codec, format parameters, then payloads; a byte before each says what is done.
pub(super) fn decode(data: &[u8]) {
    let mut input = Input::new(data);
    let Some((name, rate, channels)) = input.pick(&CODECS).copied() else { return };
    let parameters = String::from_utf8_lossy(input.chunk()).into_owned();
    let Some(codec) = Codec::named(name, rate, channels, Some(&parameters)) else { return };
    let mut decoder = decoder_for(name, rate, channels, Some(&parameters));
    let mut out = vec![7; 3];
    while !input.is_empty() {
        let what = input.byte();
        let payload = input.chunk();
        let ticks = usize::try_from(codec.ticks_in(payload)).unwrap_or(usize::MAX);
        // Two empty frames of Opus are one byte; of all others Speex says most in the fewest bits.
        let most = if codec == Codec::Opus {
            OPUS_MOST.min(payload.len() * OPUS_MOST)
        } else {
            payload.len().saturating_mul(1_100)
        };
        assert!(ticks <= most, "{ticks} ticks in {} bytes", payload.len());
        let Some(decoder) = decoder.as_mut() else { continue };
        assert_eq!(decoder.sample_rate(), codec.sample_rate());
        out.truncate(3);
        if what & 3 == 1 {
            let samples = usize::from(what >> 2) * 40;
            match what & 4 {
                0 => decoder.conceal(samples, &mut out),
                _ => decoder.conceal_with_next(payload, samples, &mut out),
            }
            assert_eq!(out.len(), 3 + samples, "{name} makes up what was asked for");
        } else {
            match decoder.decode(payload, &mut out) {
                Ok(samples) => {
                    assert_eq!(out.len(), 3 + samples, "{name} says what it gives");
                    let times = if codec == Codec::G722 { 2 } else { 1 };
                    assert_eq!(samples, ticks * times, "{name} lasts as long as was said");
                    let most = if codec == Codec::Opus {
                        OPUS_MOST
                    } else {
                        payload.len().saturating_mul(5)
                    };
                    assert!(samples <= most, "{samples} of {} bytes", payload.len());
                }
                Err(error) => {
                    assert_eq!(out.len(), 3, "{name} gives nothing with an error");
                    let (DecodeError::Short { .. } | DecodeError::Foreign { .. }) = error;
                }
            }
        }
        assert_eq!(out.get(..3), Some([7; 3].as_slice()));
    }
}
