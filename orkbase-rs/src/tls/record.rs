//! TLS records out of a byte stream (RFC 5246 6.2, RFC 8446 5): `type`, `version`, `length`, body.
//!
//! Law: after a hole a record is looked for byte by byte; whether it is one, its authentication tells.

/// Type, version, length.
pub(super) const HEADER: usize = 5;
/// Longest protected body: 2^14 and what protection up to TLS 1.2 may add.
const MAX_BODY: usize = (1 << 14) + 2_048;
/// A connection without unread bytes keeps no more than this; there may be thousands.
const IDLE_BYTES: usize = 4_096;

/// Types of content.
pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;
const HEARTBEAT: u8 = 24;

/// One record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Record<'a> {
    pub(super) header: [u8; HEADER],
    pub(super) body: &'a [u8],
}

impl Record<'_> {
    pub(super) const fn kind(&self) -> u8 {
        self.header[0]
    }
}

/// What stands next in a stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next<'a> {
    /// A record, whole.
    Record(Record<'a>),
    /// Too few bytes.
    More,
    /// No record.
    Nothing,
}

/// Bytes of one direction that have not been used up.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    used: usize,
}

impl Held {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.used.min(self.bytes.len()));
        self.used = 0;
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.used..).unwrap_or_default()
    }

    pub(super) fn pass(&mut self, bytes: usize) {
        self.used = self.used.saturating_add(bytes).min(self.bytes.len());
        if self.used == self.bytes.len() {
            self.clear();
        }
    }

    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.bytes.clear();
        if self.bytes.capacity() > IDLE_BYTES {
            self.bytes = Vec::new();
        }
    }

    /// The record at the start.
    pub(super) fn next(&self) -> Next<'_> {
        let rest = self.rest();
        if !may_begin(rest) {
            return Next::Nothing;
        }
        let Some((header, after)) = rest.split_first_chunk::<HEADER>() else { return Next::More };
        match after.get(..body_length(header)) {
            Some(body) => Next::Record(Record { header: *header, body }),
            None => Next::More,
        }
    }

    /// Passes over bytes until a record may begin; gives their number.
    pub(super) fn seek(&mut self) -> usize {
        let rest = self.rest();
        let at = (0..rest.len()).find(|at| may_begin(rest.get(*at..).unwrap_or_default()));
        let skipped = at.unwrap_or(rest.len());
        self.pass(skipped);
        skipped
    }
}

const fn body_length(header: &[u8; HEADER]) -> usize {
    let [_, _, _, high, low] = *header;
    u16::from_be_bytes([high, low]) as usize
}

/// Whether these bytes, as many as there are, may begin a record of SSL 3.0 or later.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    match bytes {
        [] => true,
        [kind, ..] if !(CHANGE_CIPHER_SPEC..=HEARTBEAT).contains(kind) => false,
        [_, major, ..] if *major != 3 => false,
        [_, _, minor, ..] if *minor > 4 => false,
        bytes => bytes.first_chunk().is_none_or(|header| body_length(header) <= MAX_BODY),
    }
}

/// Whether these bytes, as many as there are, may begin a connection: a record with a `ClientHello`
/// or a `ServerHello`.
pub(super) fn may_open(bytes: &[u8]) -> bool {
    bytes.first() == Some(&HANDSHAKE)
        && may_begin(bytes)
        && bytes.get(HEADER).is_none_or(|kind| matches!(kind, 1 | 2))
        && bytes.get(HEADER + 1).is_none_or(|high| *high == 0)
        && bytes.first_chunk().is_none_or(|header| body_length(header) > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_wherever_the_bytes_end() {
        let stream =
            [&[22, 3, 1, 0, 2, 1, 0][..], &[23, 3, 3, 0, 1, 7], &[20, 3, 3, 0, 0]].concat();
        for size in 1..stream.len() {
            let mut held = Held::default();
            let mut seen = Vec::new();
            for piece in stream.chunks(size) {
                held.push(piece);
                while let Next::Record(record) = held.next() {
                    seen.push((record.kind(), record.body.to_vec()));
                    let length = HEADER + record.body.len();
                    held.pass(length);
                }
            }
            assert_eq!(seen, [(22, vec![1, 0]), (23, vec![7]), (20, vec![])]);
        }
    }

    #[test]
    fn a_record_is_looked_for() {
        let mut held = Held::default();
        held.push(b"\x17\x16\x03junk\x17\x03\x03\x00\x01\x05\x17\x03");
        assert_eq!(held.next(), Next::Nothing);
        assert_eq!(held.seek(), 7);
        let Next::Record(record) = held.next() else { panic!("a record") };
        assert_eq!(record.body, [5]);
        held.pass(6);
        assert_eq!(held.next(), Next::More);
        assert_eq!(held.seek(), 0);
        assert!(!may_begin(&[23, 3, 3, 0x48, 1]) && may_begin(&[23, 3, 3, 0x48, 0]));
    }

    #[test]
    fn a_hello_is_told_from_other_bytes() {
        let hello = [22, 3, 1, 1, 0, 1, 0, 0, 0xfc, 3, 3];
        for end in 1..hello.len() {
            assert!(may_open(&hello[..end]), "{end}");
        }
        for other in [&b"INVITE"[..], &[22, 0, 0, 0], &[23, 3, 3], &[22, 3, 1, 1, 0, 11], &[]] {
            assert!(!may_open(other), "{other:?}");
        }
    }
}
