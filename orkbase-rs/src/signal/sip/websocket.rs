//! WebSocket frames (RFC 6455 §5) as far as SIP needs them (RFC 7118): no extensions.

use super::message::Method;

/// The bytes are no frame that could carry SIP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NoFrame;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PONG: u8 = 10;

/// RFC 6455 §5.5.
const MAX_CONTROL_PAYLOAD: usize = 125;

/// Enough to tell a message: the longest method and its space.
const SIGHT_BYTES: usize = b"SUBSCRIBE ".len();

/// What stands before a payload.
#[derive(Clone, Copy, Debug)]
struct Header {
    last: bool,
    opcode: u8,
    mask: Option<[u8; 4]>,
    /// Bytes of the header.
    size: usize,
    /// Bytes of the payload.
    length: usize,
}

impl Header {
    /// `None` when there are too few bytes to tell.
    fn read(bytes: &[u8], max_payload: usize) -> Result<Option<Self>, NoFrame> {
        let [first, second, after @ ..] = bytes else { return Ok(None) };
        let (last, opcode) = (first & 0x80 != 0, first & 0x0f);
        // Reserved bits belong to extensions such as compression, which RFC 7118 does not use.
        if first & 0x70 != 0 || !matches!(opcode, CONTINUATION..=BINARY | CLOSE..=PONG) {
            return Err(NoFrame);
        }
        let (length, width) = match second & 0x7f {
            126 => {
                let Some(length) = after.first_chunk() else { return Ok(None) };
                (u64::from(u16::from_be_bytes(*length)), 2)
            }
            127 => {
                let Some(length) = after.first_chunk() else { return Ok(None) };
                (u64::from_be_bytes(*length), 8)
            }
            length => (u64::from(length), 0),
        };
        let length = usize::try_from(length).map_err(|_| NoFrame)?;
        let control = opcode >= CLOSE;
        if length > max_payload || control && (!last || length > MAX_CONTROL_PAYLOAD) {
            return Err(NoFrame);
        }
        let mut size = 2 + width;
        let mut mask = None;
        if second & 0x80 != 0 {
            let Some(key) = bytes.get(size..).and_then(|after| after.first_chunk()) else {
                return Ok(None);
            };
            mask = Some(*key);
            size += key.len();
        }
        Ok(Some(Self { last, opcode, mask, size, length }))
    }

    fn unmasked(&self, payload: &[u8]) -> Vec<u8> {
        let key = self.mask.unwrap_or_default();
        payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
    }
}

/// One frame, whole.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    header: Header,
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame at the start; `None` when it is not all there yet.
    pub(super) fn read(bytes: &'a [u8], max_payload: usize) -> Result<Option<Self>, NoFrame> {
        Ok(Header::read(bytes, max_payload)?.and_then(|header| {
            let payload = bytes.get(header.size..)?.get(..header.length)?;
            Some(Self { header, payload })
        }))
    }
}

/// What a few bytes look like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sight {
    /// A frame that begins a SIP message.
    Message,
    /// None.
    Nothing,
    /// Too few bytes to tell.
    Short,
}

/// Where a frame with a whole message may begin.
pub(super) fn candidates(bytes: &[u8]) -> impl Iterator<Item = usize> {
    bytes.iter().enumerate().filter(|(_, byte)| matches!(byte, 0x81 | 0x82)).map(|(at, _)| at)
}

/// Whether a frame with a SIP message begins here, in a stream whose beginning was not seen.
pub(super) fn sight(bytes: &[u8], max_payload: usize) -> Sight {
    let header = match Header::read(bytes, max_payload) {
        Ok(Some(header)) => header,
        Ok(None) => return Sight::Short,
        Err(NoFrame) => return Sight::Nothing,
    };
    if !header.last || !matches!(header.opcode, TEXT | BINARY) || header.length < SIGHT_BYTES {
        return Sight::Nothing;
    }
    let payload = bytes.get(header.size..).unwrap_or_default();
    let Some(payload) = payload.get(..SIGHT_BYTES) else { return Sight::Short };
    let text = header.unmasked(payload);
    let word = text.split(|byte| *byte == b' ').next().unwrap_or_default();
    let known = word == b"SIP/2.0" || Method::parse(word) != Method::Other;
    if known && word.len() < text.len() { Sight::Message } else { Sight::Nothing }
}

/// Whether a line begins an HTTP request that may ask for a WebSocket, or the answer that grants it.
pub(super) fn is_http(line: &[u8]) -> bool {
    line.starts_with(b"GET ") && line.trim_ascii_end().ends_with(b" HTTP/1.1")
        || line.starts_with(b"HTTP/1.1 101")
}

/// Joins the frames of a message.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    /// The frames so far, of a message that has not ended.
    message: Option<Vec<u8>>,
}

impl Joiner {
    /// Bytes of an unfinished message.
    pub(super) const fn held_bytes(&self) -> usize {
        match &self.message {
            Some(message) => message.len(),
            None => 0,
        }
    }

    /// Delivers what the frame completes. Returns the bytes that are lost to any message, and the
    /// length of the frame.
    pub(super) fn handle_frame(
        &mut self,
        frame: &Frame<'_>,
        max_message: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> (usize, usize) {
        let header = &frame.header;
        let size = header.size + header.length;
        let mut lost = 0;
        match header.opcode {
            TEXT | BINARY => {
                lost = self.held_bytes();
                self.message = None;
                if !header.last {
                    self.message = Some(header.unmasked(frame.payload));
                } else if header.mask.is_none() {
                    deliver(frame.payload, sink);
                } else {
                    deliver(&header.unmasked(frame.payload), sink);
                }
            }
            CONTINUATION => match self.message.take() {
                Some(message) if message.len() + header.length > max_message => {
                    lost = message.len() + header.length;
                }
                Some(mut message) => {
                    message.extend(header.unmasked(frame.payload));
                    if header.last {
                        deliver(&message, sink);
                    } else {
                        self.message = Some(message);
                    }
                }
                None => lost = header.length,
            },
            // Ping, pong and close say nothing of a call.
            _ => {}
        }
        (lost, size)
    }
}

/// Keep-alives are line ends alone (RFC 7118 §6).
fn deliver(message: &[u8], sink: &mut dyn FnMut(&[u8])) {
    if !message.trim_ascii().is_empty() {
        sink(message);
    }
}
