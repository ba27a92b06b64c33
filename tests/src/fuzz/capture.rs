//! Capture files, pcap and pcapng, whole and broken.

use orkaudio::capture::{CaptureError, MAX_FRAME_BYTES, file::CaptureFile};
use orkbase::{packet::LinkType, time::Timestamp};
use std::io::{self, Cursor, Read};

/// Frames looked at; an input of a few kilobytes has fewer.
const MAX_FRAMES: usize = 10_000;

type Frames = (Vec<(Timestamp, LinkType, u32, Vec<u8>)>, Option<String>);

/// Input: a file. However its bytes arrive, the same frames come out, and the same end.
pub(super) fn file(data: &[u8]) {
    let whole = read(Box::new(Cursor::new(data.to_vec())), data.len());
    let drops = read(Box::new(Drops(Cursor::new(data.to_vec()))), data.len());
    assert_eq!(whole, drops);
}

fn read(source: Box<dyn Read + Send>, length: usize) -> Frames {
    let total = u64::try_from(length).ok();
    let mut frames = Vec::new();
    let mut file = match CaptureFile::from_reader(source, "fuzz.pcap".to_owned(), total) {
        Ok(file) => file,
        Err(error) => return (frames, Some(told(&error))),
    };
    let mut bytes = 0;
    while frames.len() < MAX_FRAMES {
        match file.next_frame() {
            Ok(Some(frame)) => {
                bytes += frame.bytes.len();
                assert!(u32::try_from(frame.bytes.len()).is_ok_and(|n| n <= MAX_FRAME_BYTES));
                frames.push((frame.at, frame.link, frame.wire_len, frame.bytes.to_vec()));
            }
            Ok(None) => break,
            Err(error) => {
                assert!(matches!(file.next_frame(), Ok(None)), "more after an error");
                return (frames, Some(told(&error)));
            }
        }
    }
    assert!(bytes <= length, "{bytes} bytes of frames in a file of {length}");
    assert_eq!(u64::try_from(frames.len()).ok(), Some(file.frames()));
    (frames, None)
}

fn told(error: &CaptureError) -> String {
    let text = error.to_string();
    assert!(text.contains("fuzz.pcap"), "{text}");
    text
}

/// A pipe that gives a few bytes at a time.
struct Drops(Cursor<Vec<u8>>);

impl Read for Drops {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let few = out.len().min(7);
        self.0.read(out.get_mut(..few).unwrap_or_default())
    }
}
