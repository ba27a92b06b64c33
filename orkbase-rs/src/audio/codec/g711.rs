//! G.711 (one byte a sample); the tables are the audio-codec-algorithms crate's.

use super::DecodeError;
use super::conceal::Core;
use audio_codec_algorithms::{decode_alaw, decode_ulaw};

/// Mu-law.
pub(super) struct Pcmu;

/// A-law.
pub(super) struct Pcma;

impl Core for Pcmu {
    fn sample_rate(&self) -> u32 {
        8_000
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<usize, DecodeError> {
        expand(payload, out, decode_ulaw)
    }
}

impl Core for Pcma {
    fn sample_rate(&self) -> u32 {
        8_000
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<usize, DecodeError> {
        expand(payload, out, decode_alaw)
    }
}

fn expand(
    payload: &[u8],
    out: &mut Vec<i16>,
    law: impl Fn(u8) -> i16,
) -> Result<usize, DecodeError> {
    if payload.is_empty() {
        return Err(DecodeError::Short { got: 0, need: 1 });
    }
    out.extend(payload.iter().map(|&byte| law(byte)));
    Ok(payload.len())
}

#[cfg(test)]
mod tests {
    use super::super::{Codec, tests::decoded};
    use audio_codec_algorithms::{encode_alaw, encode_ulaw};

    #[test]
    fn ends_and_middle_of_both_laws() {
        assert_eq!(decoded(Codec::Pcmu, &[0x00, 0x7f, 0x80, 0xff]), [-32_124, 0, 32_124, 0]);
        assert_eq!(decoded(Codec::Pcma, &[0x2a, 0x55, 0xaa, 0xd5]), [-32_256, -8, 32_256, 8]);
    }

    #[test]
    fn every_byte_comes_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        let a_law: Vec<_> = decoded(Codec::Pcma, &bytes).into_iter().map(encode_alaw).collect();
        assert_eq!(a_law, bytes);
        let mu_law: Vec<_> = decoded(Codec::Pcmu, &bytes).into_iter().map(encode_ulaw).collect();
        // Mu-law has two zeros; which of them comes back is open.
        let differing = mu_law.iter().zip(&bytes).filter(|(a, b)| a != b).count();
        assert!(differing <= 1);
    }
}
