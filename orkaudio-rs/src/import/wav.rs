//! WAV files of other makers, block by block: PCM of 8 to 32 bits, floating point, A-law, mu-law.
//!
//! Law: whatever a file says of itself, no more is read or held than a block, and no more is believed than
//! is there.

use orkbase::audio::g711::{self, Law};
use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// Chunks looked at before the samples.
const MAX_CHUNKS: usize = 256;
/// Bytes read at once, about.
const BLOCK: u64 = 48_000;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Coding {
    /// Bytes of a sample: 1 (unsigned) to 4.
    Pcm(usize),
    Float,
    Law(Law),
}

impl Coding {
    const fn bytes(self) -> usize {
        match self {
            Self::Pcm(bytes) => bytes,
            Self::Float => 4,
            Self::Law(_) => 1,
        }
    }
}

/// A file being read.
#[derive(Debug)]
pub(super) struct Wav<R> {
    from: BufReader<R>,
    coding: Coding,
    /// 1 or 2.
    pub(super) channels: u16,
    /// Samples a second.
    pub(super) rate: u32,
    left: u64,
    bytes: Vec<u8>,
}

fn bad(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

impl<R: Read + Seek> Wav<R> {
    /// Reads as far as the samples.
    pub(super) fn open(from: R, length: u64) -> io::Result<Self> {
        let mut from = BufReader::new(from);
        let mut head = [0; 12];
        from.read_exact(&mut head).map_err(|_| bad("no WAV file"))?;
        let [r, i, f, o, _, _, _, _, w, a, v, e] = head;
        if ![*b"RIFF", *b"RF64"].contains(&[r, i, f, o]) || [w, a, v, e] != *b"WAVE" {
            return Err(bad("no WAV file"));
        }
        let mut found = None;
        for _ in 0..MAX_CHUNKS {
            let mut head = [0; 8];
            from.read_exact(&mut head).map_err(|_| bad("a WAV file without samples"))?;
            let [a, b, c, d, size @ ..] = head;
            let size = u64::from(u32::from_le_bytes(size));
            if [a, b, c, d] == *b"data" {
                let at = from.stream_position()?;
                let (coding, channels, rate) = found.ok_or_else(|| bad("samples of no format"))?;
                let there = length.saturating_sub(at);
                // Written by somebody who did not know how long it would be, or RF64.
                let left = if size == 0 || size == u64::from(u32::MAX) { there } else { size };
                let left = left.min(there);
                return Ok(Self { from, coding, channels, rate, left, bytes: Vec::new() });
            }
            let mut read = 0;
            if [a, b, c, d] == *b"fmt " {
                let mut format = [0; 40];
                let wanted = usize::try_from(size).unwrap_or(usize::MAX).min(format.len());
                let room = format.get_mut(..wanted).unwrap_or_default();
                from.read_exact(room).map_err(|_| bad("a WAV file that is cut short"))?;
                read = u64::try_from(wanted).unwrap_or(0);
                found = Some(format_of(&format)?);
            }
            let skip = i64::try_from(size + size % 2 - read).map_err(|_| bad("chunk too large"))?;
            from.seek(SeekFrom::Current(skip))?;
        }
        Err(bad("a WAV file without samples"))
    }

    /// The next samples of all channels in turn, in place of what `samples` holds; none at the end.
    pub(super) fn read(&mut self, samples: &mut Vec<i16>) -> io::Result<()> {
        samples.clear();
        let frame = u64::try_from(self.coding.bytes()).unwrap_or(1) * u64::from(self.channels);
        let want = self.left.min(BLOCK / frame * frame);
        let want = want - want % frame;
        self.bytes.resize(usize::try_from(want).unwrap_or(0), 0);
        self.from.read_exact(&mut self.bytes)?;
        self.left = if want == 0 { 0 } else { self.left - want };
        match self.coding {
            Coding::Law(law) => g711::decode(law, &self.bytes, samples),
            Coding::Pcm(1) => {
                samples.extend(self.bytes.iter().map(|b| (i16::from(*b) - 128) * 256));
            }
            // The upper two bytes count.
            Coding::Pcm(bytes) => {
                samples.extend(self.bytes.chunks_exact(bytes).map(|sample| match sample {
                    [.., low, high] => i16::from_le_bytes([*low, *high]),
                    _ => 0,
                }));
            }
            Coding::Float => {
                let whole = self.bytes.as_chunks::<4>().0;
                samples.extend(whole.iter().map(|b| from_float(f32::from_le_bytes(*b))));
            }
        }
        Ok(())
    }
}

/// Full scale is 1; what is no number is silence.
#[expect(clippy::cast_possible_truncation, reason = "clamped before; NaN becomes 0")]
fn from_float(sample: f32) -> i16 {
    (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16
}

fn format_of(format: &[u8; 40]) -> io::Result<(Coding, u16, u32)> {
    let [t0, t1, c0, c1, r0, r1, r2, r3, _, _, _, _, a0, a1, b0, b1, rest @ ..] = *format;
    let [_, _, _, _, _, _, _, _, s0, s1, ..] = rest;
    let (mut tag, channels) = (u16::from_le_bytes([t0, t1]), u16::from_le_bytes([c0, c1]));
    let (rate, bits) = (u32::from_le_bytes([r0, r1, r2, r3]), u16::from_le_bytes([b0, b1]));
    if tag == 0xfffe {
        // The true one is the beginning of the subformat.
        tag = u16::from_le_bytes([s0, s1]);
    }
    let coding = match (tag, bits) {
        (1, 8 | 16 | 24 | 32) => Coding::Pcm(usize::from(bits / 8)),
        (3, 32) => Coding::Float,
        (6, 8) => Coding::Law(Law::A),
        (7, 8) => Coding::Law(Law::Mu),
        _ => return Err(bad(format!("WAV format {tag} with {bits} bits is not read"))),
    };
    if !(1..=2).contains(&channels) {
        return Err(bad(format!("{channels} channels; 1 or 2 are read")));
    }
    if !(8_000..=48_000).contains(&rate) {
        return Err(bad(format!("{rate} samples a second; 8000 to 48000 are read")));
    }
    let align = usize::from(u16::from_le_bytes([a0, a1]));
    if align != coding.bytes() * usize::from(channels) {
        return Err(bad("samples that do not lie side by side"));
    }
    Ok((coding, channels, rate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn file(tag: u16, channels: u16, bits: u16, data: &[u8]) -> Vec<u8> {
        let mut out = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0".to_vec();
        out.extend(tag.to_le_bytes());
        out.extend(channels.to_le_bytes());
        out.extend(8_000_u32.to_le_bytes());
        out.extend([0; 4]);
        out.extend((channels * bits / 8).to_le_bytes());
        out.extend(bits.to_le_bytes());
        out.extend(b"data");
        out.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        out.extend(data);
        out
    }

    fn read(bytes: Vec<u8>) -> io::Result<Vec<i16>> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let mut wav = Wav::open(Cursor::new(bytes), length)?;
        let (mut all, mut block) = (Vec::new(), Vec::new());
        loop {
            wav.read(&mut block)?;
            if block.is_empty() {
                return Ok(all);
            }
            all.append(&mut block);
        }
    }

    #[test]
    fn every_coding_gives_its_samples() {
        assert_eq!(read(file(1, 1, 8, &[128, 255, 0])).unwrap(), [0, 32_512, -32_768]);
        assert_eq!(read(file(1, 2, 16, &[1, 0, 255, 255])).unwrap(), [1, -1]);
        assert_eq!(read(file(1, 1, 24, &[9, 1, 0, 9, 255, 255])).unwrap(), [1, -1]);
        assert_eq!(read(file(1, 1, 32, &[9, 9, 1, 0])).unwrap(), [1]);
        let floats: Vec<u8> =
            [0.5_f32, -2.0, f32::NAN].iter().flat_map(|f| f.to_le_bytes()).collect();
        assert_eq!(read(file(3, 1, 32, &floats)).unwrap(), [16_384, -32_768, 0]);
        assert_eq!(read(file(7, 1, 8, &[0xff, 0x80])).unwrap(), [0, 32_124]);
        assert_eq!(read(file(6, 1, 8, &[0xd5])).unwrap(), [8]);
        let long = vec![1; 400_001];
        assert_eq!(read(file(1, 2, 16, &long)).unwrap().len(), 200_000, "whole frames only");
    }

    #[test]
    fn what_is_cut_short_or_strange_is_refused_or_what_is_there() {
        let whole = file(1, 1, 16, &[1, 0, 2, 0, 3, 0]);
        for end in 0..whole.len() {
            if let Ok(samples) = read(whole[..end].to_vec()) {
                assert!(samples.len() < 3);
            }
        }
        for (tag, channels, bits) in [(1, 0, 16), (1, 3, 16), (1, 1, 12), (0x55, 1, 16), (6, 1, 16)]
        {
            assert!(read(file(tag, channels, bits, &[0; 12])).is_err(), "{tag} {channels} {bits}");
        }
        let mut endless = whole;
        let at = endless.windows(4).position(|four| four == b"data").unwrap() + 4;
        endless[at..at + 4].copy_from_slice(&[255; 4]);
        assert_eq!(read(endless).unwrap(), [1, 2, 3]);
    }
}
