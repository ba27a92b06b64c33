//! The header of a WAV file (RIFF WAVE, PCM 16 bit) with what the recording is in `LIST INFO`.
//!
//! Own writer: `hound` keeps a header that is right only after closing, and knows no LIST chunk. It
//! reads every file back in the tests.

use std::io;

/// The largest value of a RIFF size; a file that grows past it keeps this size in its header.
const MAX_RIFF: u64 = u32::MAX as u64;
/// Most bytes of the text chunk that recovery reads.
pub const MAX_HEADER: usize = 64 * 1024;

/// How a tape's samples lie in its file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Layout {
    /// Samples a second and channel.
    pub rate: u32,
    /// 1 (mixed) or 2 (left local, right remote).
    pub channels: u16,
}

impl Layout {
    /// Bytes of one moment.
    #[must_use]
    pub fn frame_bytes(self) -> u64 {
        u64::from(self.channels) * 2
    }
}

/// The bytes before the first sample; `data_bytes` says how many follow.
#[must_use]
pub fn header(layout: Layout, info: &[(&[u8; 4], &str)], data_bytes: u64) -> Vec<u8> {
    let list = info_chunk(info);
    let byte_rate = layout.rate * u32::from(layout.channels) * 2;
    let mut bytes = Vec::with_capacity(64 + list.len());
    bytes.extend_from_slice(b"RIFF\0\0\0\0WAVEfmt ");
    bytes.extend_from_slice(&16u32.to_le_bytes());
    bytes.extend_from_slice(&1u16.to_le_bytes());
    bytes.extend_from_slice(&layout.channels.to_le_bytes());
    bytes.extend_from_slice(&layout.rate.to_le_bytes());
    bytes.extend_from_slice(&byte_rate.to_le_bytes());
    bytes.extend_from_slice(&(layout.channels * 2).to_le_bytes());
    bytes.extend_from_slice(&16u16.to_le_bytes());
    bytes.extend_from_slice(&list);
    bytes.extend_from_slice(b"data\0\0\0\0");
    let [riff, data] = sizes(bytes.len(), data_bytes);
    if let Some(place) = bytes.get_mut(4..8) {
        place.copy_from_slice(&riff);
    }
    let end = bytes.len();
    if let Some(place) = bytes.get_mut(end - 4..) {
        place.copy_from_slice(&data);
    }
    bytes
}

/// The two size fields, for offset 4 and for the last four bytes of the header.
#[must_use]
pub fn sizes(header_bytes: usize, data_bytes: u64) -> [[u8; 4]; 2] {
    let field = |n: u64| u32::try_from(n.min(MAX_RIFF)).unwrap_or(u32::MAX).to_le_bytes();
    let header = u64::try_from(header_bytes).unwrap_or(0);
    [field(header.saturating_sub(8) + data_bytes), field(data_bytes)]
}

fn info_chunk(info: &[(&[u8; 4], &str)]) -> Vec<u8> {
    let mut body = b"INFO".to_vec();
    for (id, text) in info.iter().filter(|(_, text)| !text.is_empty()) {
        let bytes = text.as_bytes();
        let length = u32::try_from(bytes.len() + 1).unwrap_or(1);
        body.extend_from_slice(*id);
        body.extend_from_slice(&length.to_le_bytes());
        body.extend_from_slice(bytes);
        body.push(0);
        if body.len() % 2 == 1 {
            body.push(0);
        }
    }
    let mut chunk = b"LIST".to_vec();
    chunk.extend_from_slice(&u32::try_from(body.len()).unwrap_or(0).to_le_bytes());
    chunk.extend_from_slice(&body);
    chunk
}

/// What the header of a tape says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// How the samples lie.
    pub layout: Layout,
    /// Where they begin.
    pub header_bytes: usize,
    /// The texts of `LIST INFO`.
    pub info: Vec<([u8; 4], String)>,
}

/// Reads the header of a tape of ours.
///
/// # Errors
/// When `bytes` do not begin with a whole header of a PCM WAV file.
pub fn read_header(bytes: &[u8]) -> io::Result<Found> {
    let bad = |why: &str| {
        io::Error::new(io::ErrorKind::InvalidData, format!("not one of our WAV headers: {why}"))
    };
    let rest =
        bytes.strip_prefix(b"RIFF").and_then(|rest| rest.get(4..)).ok_or_else(|| bad("no RIFF"))?;
    let mut rest = rest.strip_prefix(b"WAVE").ok_or_else(|| bad("no WAVE"))?;
    let mut layout = None;
    let mut info = Vec::new();
    loop {
        let Some((&[a, b, c, d, s0, s1, s2, s3], after)) = rest.split_first_chunk::<8>() else {
            return Err(bad("no data chunk"));
        };
        let size = usize::try_from(u32::from_le_bytes([s0, s1, s2, s3])).unwrap_or(usize::MAX);
        match &[a, b, c, d] {
            b"data" => {
                let layout = layout.ok_or_else(|| bad("no fmt chunk"))?;
                return Ok(Found { layout, header_bytes: bytes.len() - after.len(), info });
            }
            b"fmt " => {
                let Some(&[1, 0, channels, 0, r0, r1, r2, r3]) = after.first_chunk::<8>() else {
                    return Err(bad("not PCM"));
                };
                let rate = u32::from_le_bytes([r0, r1, r2, r3]);
                if !(1..=2).contains(&channels) || rate == 0 {
                    return Err(bad("unusual layout"));
                }
                layout = Some(Layout { rate, channels: u16::from(channels) });
            }
            b"LIST" => info = after.get(4..size).map(read_info).unwrap_or_default(),
            _ => {}
        }
        rest = after.get(size + size % 2..).ok_or_else(|| bad("cut short"))?;
    }
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
        let mut bytes = header(layout, &info, 8);
        let found = read_header(&bytes).unwrap();
        assert_eq!((found.layout, found.header_bytes), (layout, bytes.len()));
        assert_eq!(found.info.len(), 2);
        assert_eq!(found.info[1], (*b"ICMT", "a=b&".to_owned()));
        bytes.extend_from_slice(&[1, 0, 2, 0, 3, 0, 4, 0]);
        let mut wav = hound::WavReader::new(bytes.as_slice()).unwrap();
        assert_eq!((wav.spec().channels, wav.spec().sample_rate), (2, 8000));
        assert_eq!(wav.samples::<i16>().map(Result::unwrap).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn every_cut_of_a_header_is_refused() {
        let bytes = header(Layout { rate: 8000, channels: 1 }, &[(b"INAM", "x")], 0);
        for cut in 0..bytes.len() {
            assert!(read_header(&bytes[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn sizes_stop_at_four_gigabytes() {
        assert_eq!(sizes(44, 1 << 40), [[0xff; 4]; 2]);
    }
}
