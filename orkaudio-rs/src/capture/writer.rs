//! Writes frames as a nanosecond pcap file.
//!
//! Law: what is written reads back as the same frames, to the nanosecond.

use super::MAX_FRAME_BYTES;
use super::pcap::MAGIC_NANO;
use orkbase::packet::{Frame, LinkType};
use std::io::{self, ErrorKind, Write};

/// A capture file being written; wrap slow outputs in a `BufWriter`.
#[derive(Debug)]
pub struct PcapWriter<W> {
    out: W,
}

impl<W: Write> PcapWriter<W> {
    /// Begins a file. The format has one link type per file.
    ///
    /// # Errors
    /// What the output says.
    pub fn new(mut out: W, link: LinkType) -> io::Result<Self> {
        let mut header = [0; 24];
        let fields = [
            MAGIC_NANO,
            u32::from_le_bytes([2, 0, 4, 0]),
            0,
            0,
            MAX_FRAME_BYTES,
            u32::from(link_number(link)),
        ];
        for (room, field) in header.as_chunks_mut::<4>().0.iter_mut().zip(fields) {
            *room = field.to_le_bytes();
        }
        out.write_all(&header)?;
        Ok(Self { out })
    }

    /// Appends a frame, which must be of the file's link type.
    ///
    /// # Errors
    /// What the output says; `InvalidInput` for a frame no pcap file can hold (longer than
    /// [`MAX_FRAME_BYTES`] or after the year 2106).
    pub fn write(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        let secs = u32::try_from(frame.at.secs());
        let nanos = u32::try_from(frame.at.0 % orkbase::time::NANOS_PER_SEC);
        let length = u32::try_from(frame.bytes.len());
        let (Ok(secs), Ok(nanos), Ok(length @ ..=MAX_FRAME_BYTES)) = (secs, nanos, length) else {
            return Err(io::Error::new(ErrorKind::InvalidInput, "frame beyond the pcap format"));
        };
        let mut header = [0; 16];
        let fields = [secs, nanos, length, frame.wire_len.max(length)];
        for (room, field) in header.as_chunks_mut::<4>().0.iter_mut().zip(fields) {
            *room = field.to_le_bytes();
        }
        self.out.write_all(&header)?;
        self.out.write_all(frame.bytes)
    }

    /// Flushes and gives the output back.
    ///
    /// # Errors
    /// What the output says.
    pub fn close(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// The number files use; the reverse of `LinkType::from_number`.
pub(super) fn link_number(link: LinkType) -> u16 {
    match link {
        LinkType::Null => 0,
        LinkType::Ethernet => 1,
        LinkType::RawIp => 101,
        LinkType::Loop => 108,
        LinkType::LinuxSll => 113,
        LinkType::LinuxSll2 => 276,
        // It has none: the first of those left to users.
        LinkType::Hep => 147,
        LinkType::Other(number) => number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::file::CaptureFile;
    use orkbase::time::Timestamp;

    #[test]
    fn reads_back_as_written() {
        for number in [0, 1, 101, 108, 113, 276, 147] {
            let link = LinkType::from_number(number);
            assert_eq!(link_number(link), number);
            let at = Timestamp(1_700_000_000_123_456_789);
            let mut writer = PcapWriter::new(Vec::new(), link).unwrap();
            writer.write(&Frame { at, link, wire_len: 99, bytes: b"cut short" }).unwrap();
            let file = writer.close().unwrap();
            let source = Box::new(io::Cursor::new(file));
            let mut file = CaptureFile::from_reader(source, "memory".to_owned(), None).unwrap();
            let frame = file.next_frame().unwrap().unwrap();
            assert_eq!((frame.at, frame.link, frame.wire_len), (at, link, 99));
            assert_eq!(frame.bytes, b"cut short");
            assert!(file.next_frame().unwrap().is_none());
        }
    }

    #[test]
    fn refuses_what_the_format_cannot_hold() {
        let link = LinkType::Ethernet;
        let mut writer = PcapWriter::new(Vec::new(), link).unwrap();
        let late = Frame { at: Timestamp(u64::MAX), link, wire_len: 0, bytes: &[] };
        assert_eq!(writer.write(&late).unwrap_err().kind(), ErrorKind::InvalidInput);
        let bytes = vec![0; MAX_FRAME_BYTES as usize + 1];
        let long = Frame { at: Timestamp(0), link, wire_len: 0, bytes: &bytes };
        assert_eq!(writer.write(&long).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(writer.close().unwrap().len(), 24);
    }
}
