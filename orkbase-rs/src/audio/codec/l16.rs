//! L16: linear samples, big-endian, channels interleaved (RFC 3551 section 4.5.11), mixed to one.

use super::conceal::Core;
use super::{DecodeError, clip};

/// Any rate, any small number of channels.
pub(super) struct L16 {
    rate: u32,
    channels: u8,
}

impl L16 {
    pub(super) const fn new(rate: u32, channels: u8) -> Self {
        Self { rate, channels: if channels == 0 { 1 } else { channels } }
    }
}

impl Core for L16 {
    fn sample_rate(&self) -> u32 {
        self.rate
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<usize, DecodeError> {
        let frame = usize::from(self.channels) * 2;
        if payload.len() < frame {
            return Err(DecodeError::Short { got: payload.len(), need: frame });
        }
        let before = out.len();
        if self.channels == 1 {
            out.extend(samples(payload));
        } else {
            let channels = i32::from(self.channels);
            // The mean cannot clip, and a party on one channel alone stays audible.
            out.extend(
                payload
                    .chunks_exact(frame)
                    .map(|frame| clip(samples(frame).map(i32::from).sum::<i32>() / channels)),
            );
        }
        Ok(out.len() - before)
    }
}

fn samples(bytes: &[u8]) -> impl Iterator<Item = i16> {
    bytes.as_chunks::<2>().0.iter().map(|&pair| i16::from_be_bytes(pair))
}

#[cfg(test)]
mod tests {
    use super::super::{Codec, tests::decoded};

    fn check(channels: u8, payload: &[u8], samples: &[i16]) {
        assert_eq!(decoded(Codec::L16 { rate: 16_000, channels }, payload), samples);
    }

    #[test]
    fn samples_are_big_endian() {
        check(1, &[0x12, 0x34, 0xff, 0xfe], &[0x1234, -2]);
        check(1, &[0x80, 0x00, 0x7f], &[i16::MIN]);
    }

    #[test]
    fn channels_are_averaged() {
        check(2, &[0, 100, 0, 50, 0x80, 0, 0x80, 0, 9, 9], &[75, i16::MIN]);
        check(3, &[0, 3, 0, 4, 0, 5], &[4]);
    }
}
