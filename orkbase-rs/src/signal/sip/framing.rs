//! SIP messages out of a byte stream (RFC 3261 §18.3): TCP, and WebSocket over it (RFC 7118).
//!
//! Law: a message is delivered whole or not at all. After a hole or garbage the next line that
//! begins a message, or the next WebSocket frame that holds one, is where reading goes on.

use super::{
    header::{Block, list},
    message::{MAX_START_LINE, Message, Method, looks_like_sip},
    text,
    websocket::{self, Frame, Joiner, Sight},
};

/// Longest message delivered from a stream.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// An idle connection keeps no more than this; there may be thousands.
const IDLE_BYTES: usize = 8 * 1024;

/// One direction of one connection.
#[derive(Debug)]
pub struct Framer {
    max_message: usize,
    /// Read but not yet delivered.
    held: Vec<u8>,
    /// Bytes of `held` in which what is looked for is known not to begin.
    searched: usize,
    state: State,
    joiner: Joiner,
    discarded: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Behind a hole or before the first byte seen: a message may begin, or be cut.
    Unsure,
    /// Where a message may begin.
    Start,
    /// In a line that begins none.
    Garbage,
    /// Behind a start line, before the empty line.
    Head(Head),
    /// In a message of so many bytes.
    Body(usize),
    /// Where a WebSocket frame begins.
    Frame,
    /// In a WebSocket stream, at an unknown place.
    Lost,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Head {
    Sip,
    Http,
}

impl Framer {
    /// A framer for messages up to that length, at most [`MAX_MESSAGE`].
    #[must_use]
    pub fn new(max_message_bytes: usize) -> Self {
        Self {
            max_message: max_message_bytes.min(MAX_MESSAGE),
            held: Vec::new(),
            searched: 0,
            state: State::Unsure,
            joiner: Joiner::default(),
            discarded: 0,
        }
    }

    /// Takes the next bytes of the stream and hands every message they complete to `sink`; `gap`
    /// says that bytes were lost before them.
    pub fn push(&mut self, data: &[u8], gap: bool, sink: &mut dyn FnMut(&[u8])) {
        if gap {
            self.handle_gap();
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

    /// Bytes that belonged to no message: garbage, bodies without a length, messages too long.
    #[must_use]
    pub const fn discarded_bytes(&self) -> u64 {
        self.discarded
    }

    /// Bytes held of a message that is not yet whole.
    #[must_use]
    pub const fn held_bytes(&self) -> usize {
        self.held.len() + self.joiner.held_bytes()
    }

    fn handle_gap(&mut self) {
        self.discard(self.held_bytes());
        self.held = Vec::new();
        self.joiner = Joiner::default();
        self.go(match self.state {
            State::Frame | State::Lost => State::Lost,
            State::Unsure | State::Start | State::Garbage | State::Head(_) | State::Body(_) => {
                State::Unsure
            }
        });
    }

    /// Consumes what it can; the rest has to wait for more.
    fn walk(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8])) -> usize {
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            // A step that consumes nothing moves on to a state that will, or waits.
            match self.step(rest, sink) {
                Some(step) => used += step,
                None => break,
            }
        }
        used
    }

    /// How many bytes are done with; `None` when more are needed.
    fn step(&mut self, rest: &[u8], sink: &mut dyn FnMut(&[u8])) -> Option<usize> {
        match self.state {
            State::Unsure | State::Start => self.step_start(rest),
            State::Garbage => self.step_garbage(rest),
            State::Head(head) => self.step_head(rest, head),
            State::Body(length) => {
                sink(rest.get(..length)?);
                self.go(State::Start);
                Some(length)
            }
            State::Frame => self.step_frame(rest, sink),
            State::Lost => self.step_lost(rest),
        }
    }

    fn step_start(&mut self, rest: &[u8]) -> Option<usize> {
        let breaks = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if breaks > 0 {
            self.go(State::Start);
            return Some(breaks);
        }
        match rest.first()? {
            b'A'..=b'Z' => {}
            0x81 | 0x82 => {
                self.go(match websocket::sight(rest, self.max_message) {
                    Sight::Short => return None,
                    Sight::Message => State::Frame,
                    Sight::Nothing => State::Garbage,
                });
                return Some(0);
            }
            _ => {
                self.go(State::Garbage);
                return Some(0);
            }
        }
        let unsearched = rest.get(self.searched..).unwrap_or_default();
        let end = text::find(b'\n', unsearched).map(|at| self.searched + at);
        // The same whether its end has come or not: where segments end must not matter.
        if end.unwrap_or(rest.len().saturating_sub(1)) >= MAX_START_LINE {
            self.go(State::Garbage);
            return Some(0);
        }
        let Some(end) = end else {
            self.searched = rest.len();
            return None;
        };
        let line = rest.get(..=end).unwrap_or(rest);
        // What is left of a method that was cut, `NVITE`, is none we know.
        let whole = self.state == State::Start || begins_known(line);
        if whole && looks_like_sip(line) {
            self.go(State::Head(Head::Sip));
        } else if websocket::is_http(line) {
            self.go(State::Head(Head::Http));
        } else {
            self.go(State::Garbage);
        }
        // The line feed of the start line may be half of the empty line.
        self.searched = end;
        Some(0)
    }

    /// Up to the next line, or to a WebSocket frame on the way.
    fn step_garbage(&mut self, rest: &[u8]) -> Option<usize> {
        let line_end = text::find(b'\n', rest);
        let end = line_end.map_or(rest.len(), |at| at + 1);
        let line = rest.get(..end).unwrap_or(rest);
        let found = websocket::candidates(line).find_map(|at| {
            match websocket::sight(rest.get(at..)?, self.max_message) {
                Sight::Nothing => None,
                sight @ (Sight::Short | Sight::Message) => Some((at, sight)),
            }
        });
        let used = found.map_or(end, |(at, _)| at);
        self.discard(used);
        match found {
            Some((_, Sight::Message)) => self.go(State::Frame),
            // Perhaps a frame: more is needed to tell.
            Some(_) => return (used > 0).then_some(used),
            None if line_end.is_some() => self.go(State::Start),
            None => {}
        }
        Some(used)
    }

    fn step_head(&mut self, rest: &[u8], head: Head) -> Option<usize> {
        let end = self.head_end(rest);
        if end.unwrap_or(rest.len()) > self.max_message {
            self.go(State::Garbage);
            return Some(0);
        }
        let end = end?;
        let lines = rest.get(..end).unwrap_or(rest);
        match head {
            Head::Http => {
                let upgraded = is_sip_upgrade(lines);
                self.go(if upgraded { State::Frame } else { State::Start });
                if !upgraded {
                    self.discard(end);
                }
                Some(end)
            }
            Head::Sip => {
                let length =
                    Message::parse(lines).ok().and_then(|message| message.content_length());
                let length = end.saturating_add(length.unwrap_or(0));
                if length > self.max_message {
                    self.discard(end);
                    self.go(State::Start);
                    return Some(end);
                }
                self.go(State::Body(length));
                Some(0)
            }
        }
    }

    /// Where the empty line ends.
    fn head_end(&mut self, rest: &[u8]) -> Option<usize> {
        while let Some(at) = text::find(b'\n', rest.get(self.searched..)?) {
            let line_feed = self.searched + at;
            let next = line_feed + 1;
            match rest.get(next..)? {
                [b'\n', ..] => return Some(next + 1),
                [b'\r', b'\n', ..] => return Some(next + 2),
                [] | [b'\r'] => {
                    self.searched = line_feed;
                    return None;
                }
                _ => self.searched = next,
            }
        }
        self.searched = rest.len();
        None
    }

    fn step_frame(&mut self, rest: &[u8], sink: &mut dyn FnMut(&[u8])) -> Option<usize> {
        match Frame::read(rest, self.max_message) {
            Ok(frame) => {
                let frame = frame?;
                let (lost, used) = self.joiner.handle_frame(&frame, self.max_message, sink);
                self.discard(lost);
                Some(used)
            }
            Err(websocket::NoFrame) => {
                self.go(State::Lost);
                Some(0)
            }
        }
    }

    fn step_lost(&mut self, rest: &[u8]) -> Option<usize> {
        let found = websocket::candidates(rest).find_map(|at| {
            match websocket::sight(rest.get(at..)?, self.max_message) {
                Sight::Nothing => None,
                sight @ (Sight::Short | Sight::Message) => Some((at, sight)),
            }
        });
        let (used, sight) = found.unwrap_or((rest.len(), Sight::Nothing));
        self.discard(used);
        if sight == Sight::Message {
            self.go(State::Frame);
            return Some(used);
        }
        (used > 0).then_some(used)
    }

    const fn go(&mut self, state: State) {
        self.state = state;
        self.searched = 0;
    }

    fn discard(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.discarded = self.discarded.saturating_add(bytes);
    }
}

/// Whether a line begins as no part of another line would.
fn begins_known(line: &[u8]) -> bool {
    let (word, _) = text::word(line);
    word == b"SIP/2.0" || Method::parse(word) != Method::Other
}

/// Whether an HTTP head asks for SIP over WebSocket, or grants it.
fn is_sip_upgrade(head: &[u8]) -> bool {
    let (_, headers) = text::cut(b'\n', head);
    let block = Block::read(headers.unwrap_or_default());
    let names = |header: &[u8], wanted: &[u8]| {
        let header = block.first(header);
        header.is_some_and(|header| list(header.raw).any(|item| item.eq_ignore_ascii_case(wanted)))
    };
    names(b"Upgrade", b"websocket") && names(b"Sec-WebSocket-Protocol", b"sip")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INVITE: &[u8] = b"INVITE sip:a@b SIP/2.0\r\nl: 5\r\n\r\nv=0\r\n";
    const RINGING: &[u8] = b"SIP/2.0 180 Ringing\nCall-ID: x\n\n";
    const BYE: &[u8] = b"BYE sip:a@b SIP/2.0\r\nContent-Length: 0\r\n\r\n";
    const UPGRADE: &[u8] = b"GET /ws HTTP/1.1\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Protocol: sip, msrp\r\n\r\n";
    const GRANTED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Protocol: sip\r\n\r\n";

    fn frames(pieces: &[(&[u8], bool)]) -> Vec<Vec<u8>> {
        let mut framer = Framer::new(MAX_MESSAGE);
        let mut messages = Vec::new();
        for (piece, gap) in pieces {
            framer.push(piece, *gap, &mut |message| messages.push(message.to_vec()));
            assert!(framer.held_bytes() <= MAX_MESSAGE + 16);
        }
        messages
    }

    /// The same messages come out wherever the stream is cut, and however small the pieces.
    fn check(stream: &[u8], messages: &[&[u8]]) {
        for split in 0..=stream.len() {
            let (head, tail) = stream.split_at(split);
            assert_eq!(frames(&[(head, false), (tail, false)]), messages, "split at {split}");
        }
        for size in 1..9 {
            let pieces: Vec<_> = stream.chunks(size).map(|piece| (piece, false)).collect();
            assert_eq!(frames(&pieces), messages, "pieces of {size}");
        }
    }

    fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        let flag = if mask.is_some() { 0x80 } else { 0 };
        match payload.len() {
            length @ 0..126 => frame.push(flag | u8::try_from(length).unwrap()),
            length => {
                frame.push(flag | 126);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
        }
        frame.extend(mask.iter().flatten());
        let key = mask.unwrap_or_default();
        frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    }

    #[test]
    fn messages_follow_each_other() {
        let stream = [b"\r\n\r\n", INVITE, RINGING, b"\r\n\r\n\r\n", BYE, INVITE].concat();
        check(&stream, &[INVITE, RINGING, BYE, INVITE]);
    }

    #[test]
    fn garbage_is_skipped() {
        let unstated = b"INFO sip:a@b SIP/2.0\r\n\r\nSignal=1\r\nNOTIFY\r\n";
        let info = &unstated[..24];
        let stream =
            [b"\x16\x03\x01\x81\x82junk\nHello\nGET / HTTP/1.1\r\n\r\n", BYE, unstated, INVITE];
        check(&stream.concat(), &[BYE, info, INVITE]);
    }

    #[test]
    fn a_hole_costs_only_the_messages_it_touches() {
        for hole in 1..INVITE.len() {
            let rest = [&INVITE[hole..], BYE].concat();
            let messages =
                frames(&[(RINGING, false), (&INVITE[..hole], false), (b"", true), (&rest, false)]);
            assert_eq!(messages, [RINGING, BYE], "hole at {hole}");
        }
    }

    #[test]
    fn too_long_is_not_delivered() {
        let long = b"INVITE sip:a@b SIP/2.0\r\nContent-Length: 70000\r\n\r\n";
        check(&[long, &b"x\r\n"[..], BYE].concat(), &[BYE]);
        // A head beyond the bound is garbage, whether its end comes with it or later.
        let head = [b"BYE sip:a@b SIP/2.0\r\nX: ", &b"y".repeat(300)[..], b"\r\n", BYE].concat();
        for split in [0, 100, 320, 340, head.len()] {
            let mut framer = Framer::new(128);
            let mut messages = Vec::new();
            for piece in [&head[..split], &head[split..]] {
                framer.push(piece, false, &mut |message| messages.push(message.to_vec()));
            }
            assert_eq!(messages, [BYE], "split at {split}");
        }
        let endless = b"INVITE sip:a@b SIP/2.0\r\n".iter().copied();
        let endless: Vec<u8> = endless.chain(b"X: y\r\n".repeat(20_000)).collect();
        assert_eq!(frames(&[(&endless, false), (BYE, false)]), [BYE]);
        let line = [&b"A".repeat(MAX_START_LINE + 2)[..], b"\n", BYE].concat();
        assert_eq!(
            frames(&[(&line[..MAX_START_LINE + 1], false), (&line[MAX_START_LINE + 1..], false)]),
            [BYE]
        );
        let absurd = b"BYE sip:a@b SIP/2.0\r\nl: 18446744073709551615\r\n\r\n";
        assert_eq!(frames(&[(absurd, false), (BYE, false)]), [BYE]);
    }

    #[test]
    fn a_websocket_client_masks() {
        let key = Some([1, 2, 3, 250]);
        let stream = [
            UPGRADE.to_vec(),
            frame(0x81, key, INVITE),
            frame(0x89, key, b"ping"),
            frame(0x81, key, b"\r\n\r\n"),
            frame(0x02, key, &BYE[..7]),
            frame(0x8a, None, b""),
            frame(0x00, key, &BYE[7..9]),
            frame(0x80, key, &BYE[9..]),
            frame(0x88, key, b"\x03\xe8"),
        ];
        check(&stream.concat(), &[INVITE, BYE]);
    }

    #[test]
    fn a_websocket_server_does_not() {
        let long = [INVITE, &b"x".repeat(200)].concat();
        let stream = [GRANTED.to_vec(), frame(0x81, None, &long), frame(0x82, None, RINGING)];
        check(&stream.concat(), &[&long, RINGING]);
    }

    #[test]
    fn a_websocket_is_recognised_on_the_way() {
        let key = Some([7, 0, 99, 200]);
        let stream = [frame(0x81, key, INVITE), frame(0x82, key, BYE)].concat();
        check(&stream, &[INVITE, BYE]);
        let late = [b"tail of something", &stream[..]].concat();
        check(&late, &[INVITE, BYE]);
        let other = frame(0x81, None, b"{\"json\": \"over a websocket\"}");
        assert!(frames(&[(&other, false)]).is_empty());
    }

    #[test]
    fn a_websocket_recovers_from_a_hole() {
        let first = frame(0x81, Some([9; 4]), INVITE);
        let second = frame(0x81, Some([5; 4]), BYE);
        for hole in 1..first.len() {
            let rest = [&first[hole..], &second].concat();
            let messages = frames(&[(UPGRADE, false), (&rest, true)]);
            assert_eq!(messages, [BYE], "hole at {hole}");
        }
        let desynced = [UPGRADE, b"\xff\xff\x81\x82\x81", &second].concat();
        check(&desynced, &[BYE]);
    }

    #[test]
    fn joined_frames_are_bounded() {
        let mut stream = [UPGRADE, &frame(0x01, None, INVITE)].concat();
        for _ in 0..3 {
            stream.extend(frame(0x00, None, &[b'x'; 30_000]));
        }
        stream.extend(frame(0x80, None, b"end"));
        stream.extend(frame(0x81, None, BYE));
        assert_eq!(frames(&[(&stream, false)]), [BYE]);
    }

    proptest! {
        #[test]
        fn anything_is_survived(
            pieces in prop::collection::vec(
                (prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..200),
                    Just(INVITE.to_vec()), Just(BYE.to_vec()), Just(UPGRADE.to_vec()),
                    (0..INVITE.len()).prop_map(|at| INVITE[at..].to_vec()),
                    (any::<u8>(), any::<Option<[u8; 4]>>()).prop_map(|(first, key)| frame(first, key, BYE)),
                    "(INVITE|GET|HTTP/1.1 101|l: [0-9]{0,6}|\r\n|\n| SIP/2.0|\u{81}){0,9}"
                        .prop_map(String::into_bytes),
                ], prop::bool::weighted(0.1)),
                0..30,
            ),
            max in 0usize..2000,
        ) {
            let mut framer = Framer::new(max);
            let mut delivered = 0;
            let mut pushed = 0;
            for (piece, gap) in &pieces {
                pushed += piece.len();
                framer.push(piece, *gap, &mut |message| {
                    delivered += message.len();
                    assert!(message.len() <= max);
                });
                prop_assert!(framer.held_bytes() <= max * 2 + MAX_START_LINE);
            }
            let known = u64::try_from(delivered + framer.held_bytes()).unwrap();
            prop_assert!(known + framer.discarded_bytes() <= u64::try_from(pushed).unwrap());
        }
    }
}
