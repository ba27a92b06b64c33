//! The shape of a recording for people: how loud it is from moment to moment. WAV only: 16-bit PCM,
//! A-law, mu-law.

use orkbase::audio::g711::{self, Law};
use serde::Serialize;
use std::io::{self, Read, Seek, SeekFrom};

/// Most moments asked for at once.
pub const MAX_BUCKETS: usize = 4000;
/// Most channels.
const MAX_CHANNELS: usize = 8;
/// Bytes read at a time.
const BLOCK: usize = 64 << 10;
/// Most chunks looked through before the sound.
const MAX_CHUNKS: usize = 64;

/// How loud.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Peaks {
    /// Samples of a channel in a second.
    pub rate: u32,
    /// Length in milliseconds.
    pub duration_ms: u64,
    /// For each channel, the greatest magnitude (0 to 32768) in each equal part of the time.
    pub channels: Vec<Vec<u16>>,
}

/// Why there is no shape.
#[derive(Debug, thiserror::Error)]
pub enum PeaksError {
    /// It is no WAV, or of another encoding.
    #[error("{0}")]
    Unknown(&'static str),
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
}

#[derive(Clone, Copy)]
enum Coding {
    Pcm,
    Law(Law),
}

struct Sound {
    coding: Coding,
    channels: usize,
    rate: u32,
    bytes: u64,
}

/// Reads the shape of a WAV file in so many parts.
///
/// # Errors
/// See [`PeaksError`].
pub fn read(file: &mut (impl Read + Seek), buckets: usize) -> Result<Peaks, PeaksError> {
    let buckets = buckets.clamp(1, MAX_BUCKETS);
    let sound = find_sound(file)?;
    let width = match sound.coding {
        Coding::Pcm => 2,
        Coding::Law(_) => 1,
    };
    let frame = width * sound.channels;
    let frames = sound.bytes / u64::try_from(frame).unwrap_or(u64::MAX);
    let mut channels = vec![vec![0_u16; buckets]; sound.channels];
    let mut sound_bytes = file.take(frames.saturating_mul(u64::try_from(frame).unwrap_or(1)));
    let mut block = vec![0; BLOCK / frame * frame];
    let mut at: u64 = 0;
    loop {
        let filled = fill(&mut sound_bytes, &mut block)?;
        for frame in block.get(..filled).unwrap_or_default().chunks_exact(frame) {
            let place =
                u128::from(at) * u128::try_from(buckets).unwrap_or(1) / u128::from(frames.max(1));
            let place = usize::try_from(place).unwrap_or(usize::MAX);
            for (sample, channel) in frame.chunks_exact(width).zip(&mut channels) {
                let sample = match (sound.coding, sample) {
                    (Coding::Pcm, [low, high]) => i16::from_le_bytes([*low, *high]),
                    (Coding::Law(law), [code]) => g711::sample(law, *code),
                    _ => 0,
                };
                if let Some(peak) = channel.get_mut(place) {
                    *peak = (*peak).max(sample.unsigned_abs());
                }
            }
            at += 1;
        }
        if filled < block.len() {
            break;
        }
    }
    let duration_ms = frames.saturating_mul(1000) / u64::from(sound.rate.max(1));
    Ok(Peaks { rate: sound.rate, duration_ms, channels })
}

fn fill(from: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// Leaves the file where the sound begins. A length of zero or all ones means: to the end.
fn find_sound(file: &mut (impl Read + Seek)) -> Result<Sound, PeaksError> {
    const NO_WAV: PeaksError = PeaksError::Unknown("the recording is no WAV file");
    let mut head = [0; 12];
    file.read_exact(&mut head).map_err(|_| NO_WAV)?;
    let [a, b, c, d, _, _, _, _, w, x, y, z] = head;
    if ![*b"RIFF", *b"RF64"].contains(&[a, b, c, d]) || [w, x, y, z] != *b"WAVE" {
        return Err(NO_WAV);
    }
    let mut format = None;
    for _ in 0..MAX_CHUNKS {
        let mut head = [0; 8];
        file.read_exact(&mut head).map_err(|_| NO_WAV)?;
        let [a, b, c, d, rest @ ..] = head;
        let length = u64::from(u32::from_le_bytes(rest));
        match &[a, b, c, d] {
            b"fmt " => {
                let mut text = vec![0; usize::try_from(length.min(64)).unwrap_or(0)];
                file.read_exact(&mut text)?;
                format = Some(read_format(&text)?);
                skip(file, length.saturating_sub(64) + (length & 1))?;
            }
            b"data" => {
                let (coding, channels, rate) = format.ok_or(NO_WAV)?;
                let here = file.stream_position()?;
                let end = file.seek(SeekFrom::End(0))?;
                file.seek(SeekFrom::Start(here))?;
                let left = end.saturating_sub(here);
                let open = length == 0 || length == u64::from(u32::MAX);
                let bytes = if open { left } else { length.min(left) };
                return Ok(Sound { coding, channels, rate, bytes });
            }
            _ => skip(file, length + (length & 1))?,
        }
    }
    Err(NO_WAV)
}

fn skip(file: &mut impl Seek, bytes: u64) -> io::Result<()> {
    file.seek(SeekFrom::Current(i64::try_from(bytes).unwrap_or(i64::MAX))).map(|_| ())
}

fn read_format(text: &[u8]) -> Result<(Coding, usize, u32), PeaksError> {
    const OTHER: PeaksError =
        PeaksError::Unknown("shapes are made of 16-bit PCM, A-law and mu-law WAV only");
    let two = |at: usize| match text.get(at..at + 2) {
        Some([low, high]) => u16::from_le_bytes([*low, *high]),
        _ => 0,
    };
    let tag = if two(0) == 0xfffe { two(24) } else { two(0) };
    let coding = match (tag, two(14)) {
        (1, 16) => Coding::Pcm,
        (6, 8) => Coding::Law(Law::A),
        (7, 8) => Coding::Law(Law::Mu),
        _ => return Err(OTHER),
    };
    let channels = usize::from(two(2));
    if !(1..=MAX_CHANNELS).contains(&channels) {
        return Err(OTHER);
    }
    let rate = u32::from(two(4)) | u32::from(two(6)) << 16;
    Ok((coding, channels, rate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn wav(tag: u16, bits: u16, channels: u16, data: &[u8], length: u32) -> Cursor<Vec<u8>> {
        let mut file = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0".to_vec();
        file.extend(tag.to_le_bytes());
        file.extend(channels.to_le_bytes());
        file.extend(8000_u32.to_le_bytes());
        file.extend([0; 6]);
        file.extend(bits.to_le_bytes());
        file.extend(b"data");
        file.extend(length.to_le_bytes());
        file.extend(data);
        Cursor::new(file)
    }

    #[test]
    fn loud_where_it_is_loud() {
        let mut data = Vec::new();
        for n in 0..8000_i16 {
            let left: i16 = if (4000..4100).contains(&n) { -30_000 } else { 5 };
            data.extend(left.to_le_bytes());
            data.extend(7_i16.to_le_bytes());
        }
        let length = u32::try_from(data.len()).unwrap();
        for length in [length, 0, u32::MAX] {
            let peaks = read(&mut wav(1, 16, 2, &data, length), 4).unwrap();
            assert_eq!((peaks.rate, peaks.duration_ms), (8000, 1000));
            assert_eq!(peaks.channels, [[5, 5, 30_000, 5], [7, 7, 7, 7]]);
        }
        let law = read(&mut wav(7, 8, 1, &[0xff, 0x00, 0xff], 3), 3).unwrap();
        assert_eq!(law.channels, [[0, 32_124, 0]]);
    }

    #[test]
    fn what_is_no_wav_is_refused_and_what_is_cut_is_read() {
        for text in [&b""[..], b"fLaC", b"RIFF\0\0\0\0WAVEdata\0\0\0\0", &[0x52; 1000]] {
            assert!(read(&mut Cursor::new(text.to_vec()), 10).is_err());
        }
        assert!(read(&mut wav(85, 0, 2, &[], 0), 10).is_err());
        assert!(read(&mut wav(1, 16, 0, &[], 0), 10).is_err());
        let cut = read(&mut wav(1, 16, 1, &[1, 0, 2, 0, 3], 100), 2).unwrap();
        assert_eq!(cut.channels, [[1, 2]]);
        assert_eq!(read(&mut wav(1, 16, 1, &[], 0), 2).unwrap().channels, [[0, 0]]);
    }
}
