//! Skinny messages out of a byte stream: `length`, `version`, `type`, each a little-endian `u32`;
//! the length counts from the type on.
//!
//! Law: after a hole or garbage a message is believed when what follows it may begin another. No
//! more than one message is ever held.

/// Longest value of the length field; real messages end at some 1,300 bytes.
const MAX_LENGTH: u32 = 2_048;
/// Highest message type known to be in use.
const MAX_TYPE: u32 = 0x200;
/// Length, version and type.
const HEADER_BYTES: usize = 12;
/// Length and version, which the length does not count.
const UNCOUNTED_BYTES: usize = 8;
/// The port that call managers listen on without TLS.
const PORT: u16 = 2_000;
/// An idle connection keeps no more than this; there may be thousands.
const IDLE_BYTES: usize = 512;

/// One direction of one connection.
#[derive(Debug, Default)]
pub struct Framer {
    /// Read but not yet delivered.
    held: Vec<u8>,
    /// A message ended where the held bytes begin.
    sure: bool,
}

impl Framer {
    /// Takes the next bytes of the stream and hands every message they complete to `sink`; `gap`
    /// says that bytes were lost before them.
    pub fn push(&mut self, data: &[u8], gap: bool, sink: &mut dyn FnMut(&[u8])) {
        if gap {
            self.held.clear();
            self.sure = false;
        }
        if self.held.is_empty() {
            // Nearly always: whole messages in a segment, and nothing to copy.
            let used = self.walk(data, sink);
            self.held.extend_from_slice(data.get(used..).unwrap_or_default());
        } else {
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(data);
            let used = self.walk(&held, sink);
            held.drain(..used.min(held.len()));
            if held.is_empty() && held.capacity() > IDLE_BYTES {
                held = Vec::new();
            }
            self.held = held;
        }
    }

    /// Bytes held of a message that is not yet whole.
    #[must_use]
    pub const fn held_bytes(&self) -> usize {
        self.held.len()
    }

    /// Consumes what it can; the rest has to wait for more.
    fn walk(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8])) -> usize {
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| rest.len() >= HEADER_BYTES) {
            let Some(total) = total_bytes(rest) else {
                self.sure = false;
                used += 1;
                continue;
            };
            let Some((message, next)) = rest.split_at_checked(total) else { break };
            if !self.sure && !may_begin(next) {
                used += 1;
                continue;
            }
            sink(message);
            self.sure = true;
            used += total;
        }
        used
    }
}

/// Whether a stream that begins with `data` is Skinny: by its first header, else by the port unless
/// the first bytes are text.
#[must_use]
pub fn looks_like_skinny(data: &[u8], ports: [u16; 2]) -> bool {
    if data.len() >= HEADER_BYTES && total_bytes(data).is_some() {
        return true;
    }
    let text = data.iter().take(4).all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace());
    ports.contains(&PORT) && !text
}

/// Length of the message that begins here, header included; `None` when none can.
fn total_bytes(bytes: &[u8]) -> Option<usize> {
    let length = word(bytes, 0).filter(|_| may_begin(bytes))?;
    Some(usize::try_from(length).ok()? + UNCOUNTED_BYTES)
}

/// Whether these bytes, as far as they go, may begin a message.
fn may_begin(bytes: &[u8]) -> bool {
    word(bytes, 0).is_none_or(|length| (4..=MAX_LENGTH).contains(&length))
        && word(bytes, 4).is_none_or(|version| matches!(version, 0 | 0x0A..=0x16))
        && word(bytes, 8).is_none_or(|kind| kind <= MAX_TYPE)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(kind: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        let mut bytes = Vec::new();
        for word in [length, 0x14, kind] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(body);
        bytes
    }

    fn read(framer: &mut Framer, data: &[u8], gap: bool) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        framer.push(data, gap, &mut |bytes: &[u8]| found.push(bytes.to_vec()));
        found
    }

    fn three() -> Vec<Vec<u8>> {
        vec![message(0x111, &[5; 24]), message(0, &[]), message(0x8F, &[b'7'; 140])]
    }

    #[test]
    fn messages_come_whole_however_they_are_cut() {
        let (messages, stream) = (three(), three().concat());
        for cut in 0..=stream.len() {
            let mut framer = Framer::default();
            let mut found = read(&mut framer, &stream[..cut], false);
            found.extend(read(&mut framer, &stream[cut..], false));
            assert_eq!(found, messages, "cut at {cut}");
            assert_eq!(framer.held_bytes(), 0);
        }
    }

    #[test]
    fn a_hole_costs_the_message_it_cuts_and_no_other() {
        let mut framer = Framer::default();
        let [first, _, last] = <[Vec<u8>; 3]>::try_from(three()).unwrap();
        assert!(read(&mut framer, &last[..40], false).is_empty());
        let rest = [&last[90..], &first, &last].concat();
        assert_eq!(read(&mut framer, &rest, true), [first, last]);
    }

    #[test]
    fn a_stream_is_known_by_its_first_header_or_by_its_port() {
        let whole = message(0x111, &[0; 24]);
        assert!(looks_like_skinny(&whole, [40_000, 40_001]));
        assert!(looks_like_skinny(&whole[..6], [2_000, 40_001]));
        assert!(!looks_like_skinny(&whole[..6], [40_000, 40_001]));
        assert!(!looks_like_skinny(b"INVITE sip:1@b SIP/2.0\r\n", [2_000, 40_001]));
        assert!(!looks_like_skinny(b"\r\n\r\n", [2_000, 40_001]));
    }

    proptest! {
        #[test]
        fn any_bytes_keep_the_bound(
            pushes in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..400), any::<bool>()), 0..20),
        ) {
            let mut framer = Framer::default();
            for (data, gap) in pushes {
                framer.push(&data, gap, &mut |bytes: &[u8]| assert!(bytes.len() >= HEADER_BYTES));
                prop_assert!(framer.held_bytes() < 2_056);
            }
        }
    }
}
