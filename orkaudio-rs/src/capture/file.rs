//! One capture file, read from end to end.
//!
//! Law: whole frames come out in file order and borrow the one buffer; a file that ends inside a
//! record gives every whole frame first and then says where it was cut.
//! Our own reader, because libpcap's offline one costs four times as much (measured: 100 against
//! 25 to 30 ns per packet) and reads no file it does not like to the last whole packet.

use super::CaptureError;
use super::pcap::{self, FILE_HEADER_BYTES, Pcap};
use super::pcapng::{self, Pcapng};
use super::window::{Order, Window};
use crate::keylog::Text;
use orkbase::packet::{Frame, LinkType};
use orkbase::time::Timestamp;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// A pcap or pcapng file, or one on standard input.
pub struct CaptureFile {
    window: Window,
    format: Format,
    name: String,
    frames: u64,
    total: Option<u64>,
}

impl CaptureFile {
    /// Opens a file and checks that it is a capture.
    ///
    /// # Errors
    /// Anything but a readable capture file, [`CaptureError::Truncated`] if it ends in its header.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CaptureError> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| cannot_open(&name, error))?;
        let metadata = file.metadata().map_err(|error| cannot_open(&name, error))?;
        if metadata.is_dir() {
            return Err(CaptureError::Directory { path: name });
        }
        // A pipe or a device has no length worth a progress bar.
        let total = metadata.is_file().then_some(metadata.len());
        Self::from_reader(Box::new(file), name, total)
    }

    /// Reads a capture from standard input; waits for its first bytes.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn stdin() -> Result<Self, CaptureError> {
        Self::from_reader(Box::new(io::stdin()), "standard input".to_owned(), None)
    }

    /// Reads a capture from anywhere; `name` is what errors call it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_reader(
        source: Box<dyn Read + Send>,
        name: String,
        total: Option<u64>,
    ) -> Result<Self, CaptureError> {
        let mut window = Window::new(source);
        match Format::detect(&mut window, &name) {
            Ok(Some(format)) => Ok(Self { window, format, name, frames: 0, total }),
            Ok(None) => Err(CaptureError::Truncated { path: name, offset: 0, frames_before: 0 }),
            Err(error) => Err(error),
        }
    }

    /// The next frame, or none at the end of the file.
    ///
    /// # Errors
    /// [`CaptureError::Truncated`] after the last whole frame of a cut file; `Damaged` or `Read`
    /// where the file cannot be followed further. After an error the file has no more to give.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        let record = self.next_record()?;
        Ok(record.map(|record| self.frame(&record)))
    }

    /// The same in two steps, for loops that decide what to do before they borrow.
    #[inline]
    pub(super) fn next_record(&mut self) -> Result<Option<Record>, CaptureError> {
        let next = match &mut self.format {
            Format::Pcap(pcap) => pcap.next(&mut self.window),
            Format::Pcapng(pcapng) => pcapng.next(&mut self.window),
            Format::Spent => return Ok(None),
        };
        match next {
            Ok(Some(record)) => {
                self.frames += 1;
                Ok(Some(record))
            }
            Ok(None) => Ok(None),
            Err(trouble) => Err(self.give_up(trouble)),
        }
    }

    /// The next record, if it can be had without touching what lies in the window, and nothing comes between.
    #[inline(always)]
    pub(super) fn at_hand(&mut self, place: &mut Record) -> bool {
        let there = match &mut self.format {
            Format::Pcap(pcap) => pcap.at_hand(&mut self.window, place),
            Format::Pcapng(pcapng) => pcapng.at_hand(&mut self.window, place),
            Format::Spent => false,
        };
        self.frames += u64::from(there);
        there
    }

    /// Whether there is something for [`take_keys`](Self::take_keys).
    #[inline]
    pub(super) fn has_keys(&self) -> bool {
        match &self.format {
            Format::Pcapng(pcapng) => pcapng.has_keys(),
            Format::Pcap(_) | Format::Spent => false,
        }
    }

    /// TLS keys passed since the last call.
    pub(super) fn take_keys(&mut self) -> Option<Text> {
        match &mut self.format {
            Format::Pcapng(pcapng) => pcapng.take_keys(),
            Format::Pcap(_) | Format::Spent => None,
        }
    }

    /// The frame of the last record.
    #[inline]
    pub(super) fn frame(&self, record: &Record) -> Frame<'_> {
        let Record { at, link, wire_len, start, length } = *record;
        Frame { at, link, wire_len, bytes: self.window.slice(start, length) }
    }

    #[cold]
    fn give_up(&mut self, trouble: Trouble) -> CaptureError {
        self.format = Format::Spent;
        let (path, offset, frames_before) = (self.name.clone(), self.window.offset(), self.frames);
        match trouble {
            Trouble::Cut => CaptureError::Truncated { path, offset, frames_before },
            Trouble::Damaged(why) => CaptureError::Damaged { path, offset, frames_before, why },
            Trouble::Io(source) => CaptureError::Read { path, offset, source },
        }
    }

    /// What errors call this file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Frames handed out so far.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Where the next record begins.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.window.offset()
    }

    /// Bytes read off the disk; up to the buffer's size ahead of [`position`](Self::position).
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.window.bytes_read()
    }

    /// Length when it was opened; unknown for pipes.
    #[must_use]
    pub fn total_bytes(&self) -> Option<u64> {
        self.total
    }
}

impl fmt::Debug for CaptureFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureFile")
            .field("name", &self.name)
            .field("frames", &self.frames)
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}

/// A frame before it is borrowed: where in the window it lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) at: Timestamp,
    pub(super) link: LinkType,
    pub(super) wire_len: u32,
    pub(super) start: usize,
    pub(super) length: usize,
}

impl Record {
    /// No record.
    pub(super) const NONE: Self =
        Self { at: Timestamp(0), link: LinkType::Ethernet, wire_len: 0, start: 0, length: 0 };
}

/// Why a format reader stopped; [`CaptureFile`] adds file and place.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Input ended inside a record.
    Cut,
    /// The broken law.
    Damaged(String),
    /// read(2) failed.
    Io(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

enum Format {
    Pcap(Pcap),
    Pcapng(Pcapng),
    /// Gave an error; nothing behind it can be trusted.
    Spent,
}

impl Format {
    /// None when the file ends before that can be told.
    fn detect(window: &mut Window, name: &str) -> Result<Option<Self>, CaptureError> {
        let path = || name.to_owned();
        let read = |source| CaptureError::Read { path: path(), offset: 0, source };
        let whole_header = window.has(FILE_HEADER_BYTES).map_err(read)?;
        let Some(magic) = window.ahead().first_chunk::<4>() else {
            return match window.ahead() {
                [] => Err(CaptureError::Empty { path: path() }),
                start if begins_a_magic(start) => Ok(None),
                start => Err(CaptureError::NotCapture { path: path(), looks: looks_like(start) }),
            };
        };
        if Order::Little.u32(*magic) == pcapng::SECTION {
            return Ok(Some(Self::Pcapng(Pcapng::new())));
        }
        if pcap::shape(*magic).is_none() {
            return Err(refuse(window.ahead(), path()));
        }
        if !whole_header {
            return Ok(None);
        }
        let pcap = Pcap::from_header(window.ahead());
        window.pass(FILE_HEADER_BYTES);
        Ok(pcap.map(Self::Pcap))
    }
}

fn begins_a_magic(start: &[u8]) -> bool {
    [pcap::MAGIC_MICRO, pcap::MAGIC_NANO, pcap::MAGIC_KUZNETZOV, pcapng::SECTION]
        .into_iter()
        .flat_map(|magic| [magic.to_le_bytes(), magic.to_be_bytes()])
        .any(|magic| magic.starts_with(start))
}

/// First bytes of what people mistake for captures.
const COMPRESSED: [(&[u8], &str, &str); 5] = [
    (b"\x1f\x8b", "gzip", "zcat"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstdcat"),
    (b"\xfd7zXZ\0", "xz", "xzcat"),
    (b"BZh", "bzip2", "bzcat"),
    (b"\x04\x22\x4d\x18", "lz4", "lz4cat"),
];
const KNOWN: [(&[u8], &str); 9] = [
    (b"snoop\0\0\0", "a Solaris snoop capture"),
    (b"GMBU", "a Microsoft Network Monitor capture"),
    (b"RTSS", "a Microsoft Network Monitor capture"),
    (b"\x1c\x00\x01\xac", "an Ixia capture"),
    (b"\xac\x01\x00\x1c", "an Ixia capture"),
    (b"RIFF", "a WAV or other RIFF file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3\0", "an SQLite database"),
];

fn refuse(start: &[u8], path: String) -> CaptureError {
    match COMPRESSED.into_iter().find(|(magic, ..)| start.starts_with(magic)) {
        Some((_, format, command)) => CaptureError::Compressed { path, format, command },
        None => CaptureError::NotCapture { path, looks: looks_like(start) },
    }
}

fn looks_like(start: &[u8]) -> String {
    if let Some((_, what)) = KNOWN.into_iter().find(|(magic, _)| start.starts_with(magic)) {
        return what.to_owned();
    }
    let head = start.get(..FILE_HEADER_BYTES).unwrap_or(start);
    if head.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
        return "text".to_owned();
    }
    let hex: Vec<String> = head.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("no kind we know, beginning {}", hex.join(" "))
}

pub(super) fn cannot_open(name: &str, source: io::Error) -> CaptureError {
    let path = name.to_owned();
    if source.kind() == ErrorKind::NotFound {
        CaptureError::Missing { path }
    } else if source.kind() == ErrorKind::PermissionDenied {
        CaptureError::NoPermission { path }
    } else {
        CaptureError::Open { path, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    const MICRO_AT: u64 = 1_700_000_000_123_456_000;

    /// Writes numbers in either byte order.
    struct Pen(Order, Vec<u8>);

    impl Pen {
        fn u16(mut self, number: u16) -> Self {
            self.1.extend(match self.0 {
                Order::Little => number.to_le_bytes(),
                Order::Big => number.to_be_bytes(),
            });
            self
        }

        fn u32(mut self, number: u32) -> Self {
            self.1.extend(match self.0 {
                Order::Little => number.to_le_bytes(),
                Order::Big => number.to_be_bytes(),
            });
            self
        }

        fn bytes(mut self, bytes: &[u8]) -> Self {
            self.1.extend(bytes);
            self
        }

        fn pad(mut self) -> Self {
            self.1.resize(self.1.len().next_multiple_of(4), 0);
            self
        }

        /// A pcapng block around `body`.
        fn block(self, kind: u32, body: impl FnOnce(Self) -> Self) -> Self {
            let body = body(Self(self.0, Vec::new())).pad().1;
            let length = u32::try_from(body.len() + 12).unwrap();
            self.u32(kind).u32(length).bytes(&body).u32(length)
        }

        fn section(self) -> Self {
            self.block(pcapng::SECTION, |body| {
                body.u32(0x1a2b_3c4d).u16(1).u16(0).u32(u32::MAX).u32(u32::MAX)
            })
        }

        fn interface(self, link: u16, snaplen: u32, options: &[(u16, &[u8])]) -> Self {
            self.block(1, |mut body| {
                body = body.u16(link).u16(0).u32(snaplen);
                for (code, value) in options {
                    let length = u16::try_from(value.len()).unwrap();
                    body = body.u16(*code).u16(length).bytes(value).pad();
                }
                body.u32(0)
            })
        }

        fn packet(self, interface: u32, ticks: u64, payload: &[u8]) -> Self {
            let length = u32::try_from(payload.len()).unwrap();
            let high = u32::try_from(ticks >> 32).unwrap();
            let low = u32::try_from(ticks & 0xffff_ffff).unwrap();
            self.block(6, |body| {
                body.u32(interface).u32(high).u32(low).u32(length).u32(length).bytes(payload)
            })
        }
    }

    fn classic(order: Order, magic: u32, ticks: u32) -> Vec<u8> {
        let mut pen = Pen(order, Vec::new());
        // A snapshot length of nonsense, and the FCS bits above the link type.
        pen = pen.u32(magic).u16(2).u16(4).u32(0).u32(0).u32(7).u32(0x2400_0001);
        for payload in [&b"first frame"[..], b"", b"third"] {
            let length = u32::try_from(payload.len()).unwrap();
            pen = pen.u32(1_700_000_000).u32(ticks).u32(length).u32(1500);
            if magic == pcap::MAGIC_KUZNETZOV {
                pen = pen.bytes(b"ifixprty");
            }
            pen = pen.bytes(payload);
        }
        pen.1
    }

    /// Two sections; packets of every kind; blocks to pass over.
    fn modern(order: Order) -> Vec<u8> {
        let offset = match order {
            Order::Little => 3600_i64.to_le_bytes(),
            Order::Big => 3600_i64.to_be_bytes(),
        };
        Pen(order, Vec::new())
            .section()
            .interface(1, 0, &[(2, b"eth0"), (9, &[9])])
            .interface(101, 4, &[(9, &[0x80 | 10]), (14, &offset)])
            .block(4, |body| body.bytes(b"names are not read"))
            .packet(0, 5_000_000_007, b"nano")
            .packet(1, 3 * 1024 + 512, b"binary")
            .block(2, |body| body.u16(0).u16(9).u32(1).u32(5).u32(3).u32(60).bytes(b"old"))
            .block(5, |body| body.bytes(b"interface statistics"))
            .block(3, |body| body.u32(1500).bytes(b"simple!!"))
            .section()
            .interface(113, 5, &[])
            .block(3, |body| body.u32(1500).bytes(b"snapped"))
            .packet(0, 1_000_000, b"micro")
            .1
    }

    fn open(bytes: &[u8]) -> Result<CaptureFile, CaptureError> {
        let total = Some(bytes.len() as u64);
        CaptureFile::from_reader(Box::new(Cursor::new(bytes.to_vec())), "t.pcap".to_owned(), total)
    }

    /// All frames as text, and how the file ended.
    fn story(bytes: &[u8]) -> (Vec<String>, Option<CaptureError>) {
        let mut frames = Vec::new();
        let mut file = match open(bytes) {
            Ok(file) => file,
            Err(error) => return (frames, Some(error)),
        };
        loop {
            match file.next_frame() {
                Ok(Some(Frame { at, link, wire_len, bytes })) => {
                    let text = String::from_utf8_lossy(bytes);
                    frames.push(format!("{} {link:?} {wire_len} {text}", at.0));
                }
                Ok(None) => {
                    assert_eq!(file.position(), bytes.len() as u64);
                    return (frames, None);
                }
                Err(error) => {
                    assert!(file.next_frame().unwrap().is_none(), "spent after an error");
                    return (frames, Some(error));
                }
            }
        }
    }

    #[test]
    fn classic_files_of_every_kind() {
        for order in [Order::Little, Order::Big] {
            for (magic, ticks, at) in [
                (pcap::MAGIC_MICRO, 123_456, MICRO_AT),
                (pcap::MAGIC_NANO, 123_456_789, MICRO_AT + 789),
                (pcap::MAGIC_KUZNETZOV, 123_456, MICRO_AT),
            ] {
                let (frames, end) = story(&classic(order, magic, ticks));
                let expected =
                    ["first frame", "", "third"].map(|text| format!("{at} Ethernet 1500 {text}"));
                assert_eq!(frames, expected, "{order:?} {magic:x}");
                assert!(end.is_none(), "{end:?}");
            }
        }
    }

    #[test]
    fn modern_files_of_both_orders() {
        for order in [Order::Little, Order::Big] {
            let (frames, end) = story(&modern(order));
            assert!(end.is_none(), "{end:?}");
            assert_eq!(
                frames,
                [
                    "5000000007 Ethernet 4 nano",
                    "3603500000000 RawIp 6 binary",
                    "4294967301 Ethernet 60 old",
                    "4294967301 Ethernet 1500 simple!!",
                    "4294967301 LinuxSll 1500 snapp",
                    "1000000000 LinuxSll 5 micro",
                ]
            );
        }
    }

    #[test]
    fn sections_of_different_order_follow_each_other() {
        let both = [modern(Order::Big), modern(Order::Little), modern(Order::Big)].concat();
        let (frames, end) = story(&both);
        assert!(end.is_none(), "{end:?}");
        assert_eq!(frames.len(), 18);
    }

    #[test]
    fn a_file_cut_anywhere_gives_its_whole_frames() {
        for (whole, records) in [
            (classic(Order::Little, pcap::MAGIC_MICRO, 0), 4),
            (classic(Order::Big, pcap::MAGIC_NANO, 0), 4),
            (classic(Order::Big, pcap::MAGIC_KUZNETZOV, 0), 4),
            (modern(Order::Little), 13),
            (modern(Order::Big), 13),
        ] {
            let (all, _) = story(&whole);
            let mut clean_ends = 0;
            for cut in 1..whole.len() {
                let (frames, end) = story(&whole[..cut]);
                assert_eq!(frames, all[..frames.len()]);
                match end {
                    None => clean_ends += 1,
                    Some(CaptureError::Truncated { offset, frames_before, .. }) => {
                        assert!(offset < cut as u64);
                        assert_eq!(frames_before, frames.len() as u64);
                    }
                    Some(other) => panic!("cut at {cut}: {other}"),
                }
            }
            // Between records a cut cannot be told from an end.
            assert_eq!(clean_ends, records - 1);
        }
    }

    #[test]
    fn damage_never_panics_and_never_runs_on() {
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 11) as usize % below
        };
        let files = [
            classic(Order::Little, pcap::MAGIC_MICRO, 0),
            classic(Order::Big, pcap::MAGIC_KUZNETZOV, 0),
            modern(Order::Little),
            modern(Order::Big),
        ];
        for round in 0..4000 {
            let mut bytes = files[round % files.len()].clone();
            for _ in 0..=random(4) {
                let place = random(bytes.len());
                bytes[place] = [0, 1, 0x7f, 0x80, 0xff, bytes[place] ^ 1][random(6)];
            }
            bytes.truncate(bytes.len() - random(bytes.len() / 4));
            let Ok(mut file) = open(&bytes) else { continue };
            let mut frames = 0;
            while let Ok(Some(frame)) = file.next_frame() {
                frames += 1;
                assert!(frame.bytes.len() <= bytes.len());
                assert!(frame.wire_len as usize >= frame.bytes.len() || frame.wire_len == 0);
            }
            assert!(frames <= bytes.len() / 12);
        }
    }

    #[test]
    fn a_record_too_long_names_file_and_place() {
        let mut bytes = classic(Order::Little, pcap::MAGIC_MICRO, 0);
        bytes[24 + 16 + 11 + 8..][..4].copy_from_slice(&0x4_0001_u32.to_le_bytes());
        let (frames, end) = story(&bytes);
        assert_eq!(frames.len(), 1);
        let text = end.unwrap().to_string();
        assert!(text.starts_with("t.pcap is damaged at byte 51, after 1 frames: "), "{text}");
        assert!(text.contains("262145 bytes"), "{text}");
    }

    #[test]
    fn frames_cross_the_refills_of_the_buffer() {
        let link = LinkType::Ethernet;
        let mut writer = crate::capture::writer::PcapWriter::new(Vec::new(), link).unwrap();
        let payload: Vec<u8> = (0..=255).cycle().take(200_000).collect();
        for number in 0..40_usize {
            let bytes = &payload[..number * 5000];
            writer.write(&Frame { at: Timestamp(1), link, wire_len: 0, bytes }).unwrap();
        }
        let mut file = open(&writer.close().unwrap()).unwrap();
        for number in 0..40 {
            let frame = file.next_frame().unwrap().unwrap();
            assert!(frame.bytes == &payload[..number * 5000], "frame {number}");
        }
        assert!(file.next_frame().unwrap().is_none());
        assert_eq!(Some(file.position()), file.total_bytes());
    }

    #[test]
    fn a_block_to_pass_over_may_be_longer_than_the_buffer() {
        let bytes = Pen(Order::Big, Vec::new())
            .section()
            .block(0x0bad, |body| body.bytes(&vec![1; 3 << 20]))
            .interface(1, 0, &[])
            .packet(0, 7, b"behind")
            .1;
        assert_eq!(story(&bytes).0, ["7000 Ethernet 6 behind"]);
    }

    #[test]
    fn what_is_not_a_capture_is_told() {
        let check = |bytes: &[u8], expected: &str| {
            let text = open(bytes).unwrap_err().to_string();
            assert!(text.contains(expected), "{text}");
        };
        check(b"", "is empty");
        check(b"\x1f\x8b\x08\0", "zcat t.pcap | orkaudio replay -");
        check(b"\x28\xb5\x2f\xfd", "zstdcat");
        check(b"RIFF....WAVE", "looks like a WAV");
        check(b"INVITE sip:1@2 SIP/2.0\r\n", "looks like text");
        check(b"ok", "looks like text");
        check(b"\x00\x01\x02\x03\x04", "beginning 00 01 02 03 04");
        let text = CaptureFile::open("/nowhere/x.pcap").unwrap_err().to_string();
        assert!(text.contains("no file or directory /nowhere/x.pcap"), "{text}");
        let text = CaptureFile::open("/").unwrap_err().to_string();
        assert!(text.contains("/ is a directory"), "{text}");
    }
}
