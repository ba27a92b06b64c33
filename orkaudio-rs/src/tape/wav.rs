//! The header of a WAV file (RIFF WAVE) with what the recording is in `LIST INFO`.
//!
//! Room for the 64-bit sizes of RF64 (EBU Tech 3306) is kept in front: a file that grows past 4 GiB
//! changes its first 48 bytes and is RF64 from then on. Own writer: `hound` keeps a header that is
//! right only after closing, and knows neither. It reads files back in the tests.

use std::io;

/// Up to this size, in bytes after the first eight, a file is RIFF: 4 GiB less 64 KiB.
pub const RIFF_LIMIT: u64 = u32::MAX as u64 - 0xffff;
/// Most bytes of the header that are read.
pub const MAX_HEADER: usize = 64 * 1024;
/// `RIFF`, its size, `WAVE`, and the chunk that is `JUNK` or `ds64`.
const PREFIX: usize = 48;
/// Bytes of `ds64` without a table.
const DS64: u32 = 28;
/// In the 32-bit field: look into `ds64`.
const IN_DS64: [u8; 4] = [0xff; 4];
/// Samples and bytes of a block of GSM, of two frames (WAV49).
pub const GSM_BLOCK: (u64, u64) = (320, 65);

/// How samples are coded.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Coding {
    /// 16-bit PCM.
    #[default]
    Pcm,
    /// G.711 A-law.
    ALaw,
    /// G.711 mu-law.
    MuLaw,
    /// GSM 06.10 in the packing of WAV49.
    Gsm,
}

impl Coding {
    const fn tag(self) -> u16 {
        match self {
            Self::Pcm => 1,
            Self::ALaw => 6,
            Self::MuLaw => 7,
            Self::Gsm => 0x31,
        }
    }
}

/// How a tape's samples lie in its file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Layout {
    /// Samples a second and channel.
    pub rate: u32,
    /// 1 (mixed) or 2 (left local, right remote).
    pub channels: u16,
}

impl Layout {
    /// Bytes of one moment, in PCM.
    #[must_use]
    pub fn frame_bytes(self) -> u64 {
        u64::from(self.channels) * 2
    }

    /// The `fmt ` chunk and, where samples are not PCM, `fact` with their number.
    fn format_chunks(self, coding: Coding, frames: u64) -> Vec<u8> {
        let (samples, bytes) = GSM_BLOCK;
        let (byte_rate, align, bits) = match coding {
            Coding::Pcm => (self.rate * u32::from(self.channels) * 2, self.channels * 2, 16u16),
            Coding::ALaw | Coding::MuLaw => {
                (self.rate * u32::from(self.channels), self.channels, 8)
            }
            Coding::Gsm => {
                let byte_rate = u64::from(self.rate) * bytes / samples;
                (u32::try_from(byte_rate).unwrap_or(0), u16::try_from(bytes).unwrap_or(0), 0)
            }
        };
        let mut fmt = Vec::with_capacity(40);
        fmt.extend_from_slice(&coding.tag().to_le_bytes());
        fmt.extend_from_slice(&self.channels.to_le_bytes());
        fmt.extend_from_slice(&self.rate.to_le_bytes());
        fmt.extend_from_slice(&byte_rate.to_le_bytes());
        fmt.extend_from_slice(&align.to_le_bytes());
        fmt.extend_from_slice(&bits.to_le_bytes());
        match coding {
            Coding::Pcm => return chunk(*b"fmt ", &fmt),
            Coding::ALaw | Coding::MuLaw => fmt.extend_from_slice(&[0, 0]),
            Coding::Gsm => {
                let samples = u16::try_from(samples).unwrap_or(0).to_le_bytes();
                fmt.extend_from_slice(&[2, 0]);
                fmt.extend_from_slice(&samples);
            }
        }
        let frames = u32::try_from(frames).unwrap_or(u32::MAX).to_le_bytes();
        [chunk(*b"fmt ", &fmt), chunk(*b"fact", &frames)].concat()
    }
}

/// A chunk with its pad byte.
#[must_use]
pub fn chunk(id: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = id.to_vec();
    bytes.extend_from_slice(&u32::try_from(body.len()).unwrap_or(0).to_le_bytes());
    bytes.extend_from_slice(body);
    if body.len() % 2 == 1 {
        bytes.push(0);
    }
    bytes
}

/// What a file holds, for its size fields.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Bytes before the first sample.
    pub header: usize,
    /// Bytes of samples.
    pub data: u64,
    /// Bytes behind them.
    pub tail: u64,
    /// Samples of one channel.
    pub frames: u64,
    /// Beyond this the file is RF64: [`RIFF_LIMIT`].
    pub limit: u64,
}

impl Extent {
    /// The size fields: the first bytes of the file, and the last four bytes of the header.
    #[must_use]
    pub fn fields(self) -> ([u8; PREFIX], [u8; 4]) {
        let header = u64::try_from(self.header).unwrap_or(0).saturating_sub(8);
        let riff = header + self.data + self.tail;
        let mut bytes = Vec::with_capacity(PREFIX);
        let small = (u32::try_from(riff), u32::try_from(self.data));
        let data = match small {
            (Ok(riff), Ok(data)) if u64::from(riff) <= self.limit => {
                bytes.extend_from_slice(b"RIFF");
                bytes.extend_from_slice(&riff.to_le_bytes());
                bytes.extend_from_slice(b"WAVEJUNK");
                bytes.extend_from_slice(&DS64.to_le_bytes());
                data.to_le_bytes()
            }
            _ => {
                bytes.extend_from_slice(b"RF64");
                bytes.extend_from_slice(&IN_DS64);
                bytes.extend_from_slice(b"WAVEds64");
                bytes.extend_from_slice(&DS64.to_le_bytes());
                for size in [riff, self.data, self.frames] {
                    bytes.extend_from_slice(&size.to_le_bytes());
                }
                IN_DS64
            }
        };
        bytes.resize(PREFIX, 0);
        let mut prefix = [0; PREFIX];
        prefix.copy_from_slice(&bytes);
        (prefix, data)
    }
}

/// The texts of `LIST INFO`.
pub type Info<'a> = [(&'a [u8; 4], &'a str)];

/// The bytes before the first sample of a tape that is empty yet.
#[must_use]
pub fn header(layout: Layout, info: &Info<'_>) -> Vec<u8> {
    header_of(Coding::Pcm, layout, info, 0, 0)
}

/// The bytes before the first sample of a file with so much behind them.
#[must_use]
pub fn header_of(
    coding: Coding,
    layout: Layout,
    info: &Info<'_>,
    frames: u64,
    data: u64,
) -> Vec<u8> {
    let mut bytes = vec![0; PREFIX];
    bytes.extend(layout.format_chunks(coding, frames));
    bytes.extend(info_chunk(info));
    bytes.extend_from_slice(b"data\0\0\0\0");
    let header = bytes.len();
    let extent = Extent { header, data, tail: data % 2, frames, limit: RIFF_LIMIT };
    let (prefix, size) = extent.fields();
    for (place, value) in [(0, prefix.as_slice()), (header - 4, size.as_slice())] {
        if let Some(there) = bytes.get_mut(place..place + value.len()) {
            there.copy_from_slice(value);
        }
    }
    bytes
}

fn info_chunk(info: &Info<'_>) -> Vec<u8> {
    let mut body = b"INFO".to_vec();
    for (id, text) in info.iter().filter(|(_, text)| !text.is_empty()) {
        let mut text = text.as_bytes().to_vec();
        text.push(0);
        body.extend(chunk(**id, &text));
    }
    chunk(*b"LIST", &body)
}

/// What the header of a tape says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// How the samples are coded.
    pub coding: Coding,
    /// How they lie.
    pub layout: Layout,
    /// Where they begin.
    pub header_bytes: usize,
    /// How many bytes of them the header tells of.
    pub data_bytes: u64,
    /// Bytes of the file behind the first eight that the header tells of.
    pub riff_bytes: u64,
    /// The texts of `LIST INFO`.
    pub info: Vec<([u8; 4], String)>,
}

impl Found {
    /// Milliseconds of so many samples of each channel.
    #[must_use]
    pub fn milliseconds(&self, frames: u64) -> u64 {
        frames.saturating_mul(1_000) / u64::from(self.layout.rate)
    }

    /// Samples of each channel in so many bytes.
    #[must_use]
    pub fn frames(&self, bytes: u64) -> u64 {
        match self.coding {
            Coding::Pcm => bytes / self.layout.frame_bytes(),
            Coding::ALaw | Coding::MuLaw => bytes / u64::from(self.layout.channels),
            Coding::Gsm => bytes / GSM_BLOCK.1 * GSM_BLOCK.0,
        }
    }

    /// Where the bytes behind the samples begin, if the header tells of some.
    #[must_use]
    pub fn tail(&self) -> Option<u64> {
        let header = u64::try_from(self.header_bytes).unwrap_or(0);
        let end = header.checked_add(self.data_bytes)?;
        let padded = end.checked_add(self.data_bytes % 2)?;
        (self.riff_bytes.checked_add(8)? > padded).then_some(end)
    }
}

/// Reads the header of a tape of ours.
///
/// # Errors
/// When `bytes` do not begin with a whole header of a WAV file that we can read.
pub fn read_header(bytes: &[u8]) -> io::Result<Found> {
    let bad = |why: &str| {
        io::Error::new(io::ErrorKind::InvalidData, format!("not one of our WAV headers: {why}"))
    };
    let (id, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| bad("empty"))?;
    if id != b"RIFF" && id != b"RF64" {
        return Err(bad("no RIFF"));
    }
    let (riff, rest) = rest.split_first_chunk::<4>().ok_or_else(|| bad("cut short"))?;
    let mut riff_bytes = u64::from(u32::from_le_bytes(*riff));
    let mut rest = rest.strip_prefix(b"WAVE").ok_or_else(|| bad("no WAVE"))?;
    let mut format = None;
    let mut large = None;
    let mut info = Vec::new();
    loop {
        let Some((&[a, b, c, d, s0, s1, s2, s3], after)) = rest.split_first_chunk::<8>() else {
            return Err(bad("no data chunk"));
        };
        let told = u32::from_le_bytes([s0, s1, s2, s3]);
        let size = usize::try_from(told).unwrap_or(usize::MAX);
        match &[a, b, c, d] {
            b"data" => {
                let (coding, layout) = format.ok_or_else(|| bad("no fmt chunk"))?;
                let header_bytes = bytes.len() - after.len();
                let mut data_bytes = u64::from(told);
                if let Some((riff, data)) = large.filter(|_| id == b"RF64") {
                    (riff_bytes, data_bytes) = (riff, data);
                }
                return Ok(Found { coding, layout, header_bytes, data_bytes, riff_bytes, info });
            }
            b"ds64" => {
                let sizes = after.first_chunk::<16>().ok_or_else(|| bad("cut short"))?;
                let [riff, data] = halves(sizes);
                large = Some((riff, data));
            }
            b"fmt " => format = Some(read_format(after).map_err(bad)?),
            b"LIST" => info = after.get(4..size).map(read_info).unwrap_or_default(),
            _ => {}
        }
        rest = after.get(size.saturating_add(size % 2)..).ok_or_else(|| bad("cut short"))?;
    }
}

/// Whether the sizes of a file that begins so can be changed to those of any length.
#[must_use]
pub fn has_room(bytes: &[u8]) -> bool {
    let kind = bytes.get(12..16).is_some_and(|id| id == b"JUNK" || id == b"ds64");
    kind && bytes.get(16..20).is_some_and(|size| size == DS64.to_le_bytes())
}

fn halves(bytes: &[u8; 16]) -> [u64; 2] {
    let number = u128::from_le_bytes(*bytes);
    let half = |number: u128| u64::try_from(number & u128::from(u64::MAX)).unwrap_or(0);
    [half(number), half(number >> 64)]
}

fn read_format(body: &[u8]) -> Result<(Coding, Layout), &'static str> {
    let Some(&[t0, t1, channels, 0, r0, r1, r2, r3, .., b0, b1]) = body.first_chunk::<16>() else {
        return Err("unusual layout");
    };
    let rate = u32::from_le_bytes([r0, r1, r2, r3]);
    let bits = u16::from_le_bytes([b0, b1]);
    let tag = u16::from_le_bytes([t0, t1]);
    let all = [Coding::Pcm, Coding::ALaw, Coding::MuLaw, Coding::Gsm];
    let coding = all.into_iter().find(|coding| coding.tag() == tag).ok_or("an unknown coding")?;
    let good = match coding {
        Coding::Pcm => bits == 16,
        Coding::ALaw | Coding::MuLaw => bits == 8,
        Coding::Gsm => channels == 1,
    };
    if !good || !(1..=2).contains(&channels) || !(1_000..=192_000).contains(&rate) {
        return Err("unusual layout");
    }
    Ok((coding, Layout { rate, channels: u16::from(channels) }))
}

fn read_info(mut body: &[u8]) -> Vec<([u8; 4], String)> {
    let mut info = Vec::new();
    while let Some((&[a, b, c, d, s0, s1, s2, s3], after)) = body.split_first_chunk::<8>() {
        let size = usize::try_from(u32::from_le_bytes([s0, s1, s2, s3])).unwrap_or(usize::MAX);
        let Some(text) = after.get(..size) else { break };
        let text = String::from_utf8_lossy(text).trim_end_matches('\0').to_owned();
        info.push(([a, b, c, d], text));
        body = after.get(size + size % 2..).unwrap_or_default();
    }
    info
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_back_by_us_and_by_hound() {
        let layout = Layout { rate: 8000, channels: 2 };
        let info: [(&[u8; 4], &str); 3] =
            [(b"INAM", "20140127_114145_AAAB"), (b"IART", ""), (b"ICMT", "a=b&")];
        let mut bytes = header_of(Coding::Pcm, layout, &info, 2, 8);
        let found = read_header(&bytes).unwrap();
        assert_eq!((found.layout, found.header_bytes), (layout, bytes.len()));
        assert_eq!((found.coding, found.data_bytes, found.tail()), (Coding::Pcm, 8, None));
        assert_eq!(found.info.len(), 2);
        assert_eq!(found.info[1], (*b"ICMT", "a=b&".to_owned()));
        bytes.extend_from_slice(&[1, 0, 2, 0, 3, 0, 4, 0]);
        let mut wav = hound::WavReader::new(bytes.as_slice()).unwrap();
        assert_eq!((wav.spec().channels, wav.spec().sample_rate), (2, 8000));
        assert_eq!(wav.samples::<i16>().map(Result::unwrap).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn every_cut_of_a_header_is_refused() {
        for coding in [Coding::Pcm, Coding::Gsm] {
            let layout = Layout { rate: 8000, channels: 1 };
            let bytes = header_of(coding, layout, &[(b"INAM", "x")], 0, 0);
            for cut in 0..bytes.len() {
                assert!(read_header(&bytes[..cut]).is_err(), "{cut}");
            }
        }
    }

    #[test]
    fn sizes_that_no_file_has_are_no_overflow() {
        let layout = Layout { rate: 8_000, channels: 1 };
        let mut bytes = header_of(Coding::Pcm, layout, &[], 0, 1 << 40);
        let header = u64::try_from(bytes.len()).unwrap();
        for (riff, data) in [(u64::MAX, u64::MAX - header), (u64::MAX, u64::MAX), (0, u64::MAX)] {
            bytes[20..28].copy_from_slice(&riff.to_le_bytes());
            bytes[28..36].copy_from_slice(&data.to_le_bytes());
            let found = read_header(&bytes).unwrap();
            assert_eq!((found.riff_bytes, found.data_bytes), (riff, data));
            assert_eq!(found.tail(), None);
            assert!(found.milliseconds(found.frames(data)) > 1 << 50);
        }
    }

    #[test]
    fn sizes_beyond_four_gigabytes_are_rf64() {
        let layout = Layout { rate: 48_000, channels: 2 };
        for data in [RIFF_LIMIT - 1_000, RIFF_LIMIT, 1 << 40] {
            let bytes = header_of(Coding::Pcm, layout, &[(b"INAM", "x")], data / 4, data);
            let found = read_header(&bytes).unwrap();
            assert_eq!(bytes.starts_with(b"RF64"), data >= RIFF_LIMIT);
            assert_eq!(found.data_bytes, data);
            let header = u64::try_from(bytes.len()).unwrap();
            assert_eq!(found.riff_bytes, header - 8 + data + data % 2);
        }
    }
}
