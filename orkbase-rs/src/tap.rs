//! The whole core behind one door: frames in, outputs out.
//!
//! Frame → decode → (known flow? media : signalling? facts : stray) → switchboard → outputs. TCP that is TLS
//! goes by way of [`crate::tls`], whose plain text is read as any other stream. Nothing here reads a clock or does I/O, so a capture replayed is a capture lived through.

use crate::{
    audio::codec::DecoderSource,
    call::{
        candidates::Stray,
        command::{Command, Reply},
        foresee::{Foreseen, Seen},
        keeping::{Form, Letter},
        output::{EndReason, Output, TapeId},
        settings::Settings,
        switchboard::{Counters, Switchboard},
    },
    packet::{
        Datagram, Frame,
        decoder::{self, Decoder, Limits, Sink, TcpStream},
        fast::FastUdp,
    },
    signal::{
        Fact, Signal,
        h323::{self, H323},
        iax2::{self, Iax2, Told},
        mgcp::{self, Mgcp},
        sip::{Message, Method, StartLine, facts, framing::Framer, looks_like_sip},
        skinny::{self, looks_like_skinny},
    },
    time::Timestamp,
    tls::{self, Tls, TlsCounters},
};
use foldhash::fast::RandomState;
use std::{collections::HashMap, net::SocketAddr, sync::Arc};

/// Longest SIP message taken from a TCP stream.
const MAX_SIP_BYTES: usize = 64 * 1024;
/// TCP bytes that wait behind a hole are looked for this often, in milliseconds.
const DUE_MS: u64 = 50;
/// TCP directions whose bytes are searched for signalling at once.
const MAX_STREAMS: usize = 16_384;

/// What signalling counted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SignalCounters {
    /// SIP messages read.
    pub sip_messages: u64,
    /// SIP messages that stated a fact about a call.
    pub sip_facts: u64,
    /// Bytes that looked like SIP and could not be read.
    pub sip_malformed: u64,
    /// Skinny messages framed.
    pub skinny_messages: u64,
    /// Skinny messages that stated a fact about a call.
    pub skinny_facts: u64,
    /// IAX2.
    pub iax2: iax2::Counters,
    /// MGCP.
    pub mgcp: mgcp::Counters,
    /// H.323.
    pub h323: h323::Counters,
}

/// Everything the core counts.
#[derive(Clone, Debug)]
pub struct TapCounters {
    /// Frames taken in.
    pub frames: u64,
    /// Of them, taken by the short path.
    pub frames_fast: u64,
    /// The packet layer.
    pub packets: crate::packet::counters::Counters,
    /// Signalling.
    pub signals: SignalCounters,
    /// Encrypted connections.
    pub tls: TlsCounters,
    /// Calls and media.
    pub calls: Counters,
}

/// Entries in the core's tables, each of which has a bound: for tests and fuzzers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Held {
    /// Calls.
    pub calls: usize,
    /// Media flows bound to calls.
    pub flows: usize,
    /// Addresses that calls announced.
    pub endpoints: usize,
    /// Flows watched that nobody announced.
    pub candidates: usize,
    /// TCP directions searched for signalling.
    pub tcp_readers: usize,
    /// Skinny phones.
    pub phones: usize,
    /// Bytes remembered of calls that nobody has asked for yet.
    pub recent_bytes: usize,
}

/// The core of the recorder.
#[derive(Debug)]
pub struct Tap {
    decoder: Decoder,
    core: Core,
    frames: u64,
    frames_fast: u64,
    /// When TCP bytes behind a hole are looked for next.
    next_due: Timestamp,
    foreseen: Foreseen,
}

/// Sender and receiver.
type Direction = (SocketAddr, SocketAddr);

/// What payloads are handed to.
#[derive(Debug)]
struct Core {
    board: Switchboard,
    signals: SignalCounters,
    headers: Vec<String>,
    streams: HashMap<Direction, Reader, RandomState>,
    tls: Tls,
    /// Readers of what TLS protected; the connections are counted there.
    opened: HashMap<Direction, Reader, RandomState>,
    phones: skinny::Phones,
    iax2: Iax2,
    mgcp: Mgcp,
    h323: H323,
    now: Timestamp,
    /// What is read was protected by TLS.
    opening: bool,
}

/// How a direction of a TCP connection is cut into messages.
#[derive(Debug)]
enum Reader {
    Sip(Box<Framer>),
    Skinny(skinny::Framer),
    CallSignalling(h323::Framer),
    Control(h323::Framer),
    /// By [`Tls`], first.
    Tls,
}

impl Reader {
    /// Decided once, by the first bytes.
    fn choose((source, destination): Direction, data: &[u8], h323: &H323) -> Self {
        let ports = [source.port(), destination.port()];
        if h323.awaits(source, destination) && h323::may_be_tpkt(data) {
            Self::Control(h323::Framer::default())
        } else if h323::looks_like_call_signalling(data, ports) {
            Self::CallSignalling(h323::Framer::default())
        } else if looks_like_skinny(data, ports) {
            Self::Skinny(skinny::Framer::default())
        } else {
            Self::Sip(Box::new(Framer::new(MAX_SIP_BYTES)))
        }
    }
}

impl Tap {
    /// A core that has seen nothing; `seed` says where tracking ids start.
    #[must_use]
    pub fn new(settings: Settings, limits: Limits, seed: u32) -> Self {
        let mut headers = settings.tag_headers.clone();
        headers.extend(settings.link_headers.iter().cloned());
        for header in
            [&settings.parties.dialed_number_header, &settings.parties.remote_party_header]
        {
            if !header.is_empty() && !headers.iter().any(|known| known.eq_ignore_ascii_case(header))
            {
                headers.push(header.clone());
            }
        }
        Self {
            decoder: Decoder::new(limits),
            core: Core {
                board: Switchboard::new(settings, seed),
                signals: SignalCounters::default(),
                headers,
                streams: HashMap::default(),
                tls: Tls::new(tls::Settings::default()),
                opened: HashMap::default(),
                phones: skinny::Phones::default(),
                iax2: Iax2::default(),
                mgcp: Mgcp::default(),
                h323: H323::default(),
                now: Timestamp::default(),
                opening: false,
            },
            frames: 0,
            frames_fast: 0,
            next_due: Timestamp::default(),
            foreseen: Foreseen::default(),
        }
    }

    /// Lets `decoders` say what can be decoded, instead of our own alone.
    pub fn set_decoders(&mut self, decoders: Arc<dyn DecoderSource>) {
        self.core.board.set_decoders(decoders);
    }

    /// Says which TLS is signalling, and whether keys will come. To be called before the first frame.
    pub fn set_tls(&mut self, settings: tls::Settings) {
        self.core.tls = Tls::new(settings);
    }

    /// Takes in whole lines of a TLS key log (as `SSLKEYLOGFILE` names it); what waited for them is read now.
    pub fn handle_keys(&mut self, text: &str) {
        self.core.tls.handle_keys(self.core.now, text);
        self.core.drain_tls();
    }

    /// Takes in a frame.
    #[inline]
    pub fn handle_frame(&mut self, frame: &Frame<'_>) {
        self.frames += 1;
        if frame.at >= self.next_due {
            self.deliver_due(frame.at);
        }
        if let Some(udp) = self.decoder.fast_udp(frame) {
            self.frames_fast += 1;
            if !self.core.board.handle_flow(frame.at, udp.key, udp.payload) {
                self.handle_unknown(frame.at, &udp);
            }
            return;
        }
        self.handle_odd(frame);
    }

    /// The same for a frame of which [`foresee`](Self::foresee) said this. Of another frame it would be wrong.
    #[inline]
    pub fn handle_seen(&mut self, frame: &Frame<'_>, seen: &Seen) {
        let Some((key, place, payload)) = seen.find(frame) else { return self.handle_frame(frame) };
        self.frames += 1;
        if frame.at >= self.next_due {
            self.deliver_due(frame.at);
        }
        self.frames_fast += 1;
        if !self.core.board.handle_flow_from(frame.at, key, place, payload) {
            self.handle_unknown(frame.at, &FastUdp { key, payload });
        }
    }

    #[cold]
    fn handle_unknown(&mut self, at: Timestamp, udp: &FastUdp<'_>) {
        self.core.now = at;
        self.core.unknown(udp.key.source(), udp.key.destination(), udp.payload);
    }

    /// This frame comes some twenty frames after the one that comes next: asks for the memory that it will need,
    /// in three steps, so that packets do not wait for it one after the other. Changes nothing but what is in
    /// caches. Says what it saw, for [`handle_seen`](Self::handle_seen).
    #[inline]
    pub fn foresee(&mut self, frame: &Frame<'_>) -> Seen {
        let udp = self.decoder.fast_udp(frame);
        self.foreseen.foresee(&self.core.board, frame, udp)
    }

    #[cold]
    fn handle_odd(&mut self, frame: &Frame<'_>) {
        self.core.now = frame.at;
        // The capture clock may have been set back.
        self.next_due = self.next_due.min(frame.at.plus_millis(DUE_MS));
        self.decoder.handle_frame(frame, &mut self.core);
        self.core.board.handle_timeout(frame.at);
    }

    /// TCP bytes behind a hole do not wait for another odd frame: media takes the short path.
    #[cold]
    fn deliver_due(&mut self, now: Timestamp) {
        self.next_due = now.plus_millis(DUE_MS);
        self.core.now = now;
        self.decoder.deliver_due(now, &mut self.core);
        self.core.tls.handle_timeout(now);
        self.core.drain_tls();
    }

    /// Somebody begins to listen to a tape that is being made, or nobody does any more: its audio is
    /// handed over as it comes by [`handle_timeout`](Self::handle_timeout).
    pub fn set_prompt(&mut self, tape: TapeId, prompt: bool) {
        self.core.board.set_prompt(tape, prompt);
    }

    /// Applies an operator's request.
    #[must_use]
    pub fn handle_command(&mut self, now: Timestamp, command: &Command) -> Reply {
        self.core.board.handle_command(now, command)
    }

    /// Lets time pass when no frame comes.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.deliver_due(now);
        self.core.board.handle_timeout(now);
    }

    /// The host's clock was set by `by` nanoseconds and is at `now`: calls go on as if it had not been.
    pub fn handle_clock_set(&mut self, now: Timestamp, by: i64) {
        self.core.now = now;
        self.next_due = now;
        self.core.board.handle_clock_set(now, by);
    }

    /// After a panic in any `handle_*`: gives up the call that was being looked at, so that the others go on. Tells
    /// whether there was one.
    pub fn give_up(&mut self) -> bool {
        self.core.board.give_up()
    }

    /// Ends every recording.
    pub fn finish(&mut self, now: Timestamp, why: EndReason) {
        self.core.now = now;
        self.decoder.finish(&mut self.core);
        self.core.tls.finish();
        self.core.drain_tls();
        self.core.board.finish(now, why);
    }

    /// When [`Self::handle_timeout`] should be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.core.board.poll_timeout()
    }

    /// The next thing to do; drain to `None` after every `handle_*`.
    #[inline]
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.core.board.poll_output()
    }

    /// Gives an emptied block back for reuse.
    pub fn recycle(&mut self, bytes: Vec<u8>) {
        self.core.board.recycle(bytes);
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> TapCounters {
        TapCounters {
            frames: self.frames,
            frames_fast: self.frames_fast,
            packets: self.decoder.counters().clone(),
            signals: SignalCounters {
                iax2: self.core.iax2.counters().clone(),
                mgcp: self.core.mgcp.counters().clone(),
                h323: self.core.h323.counters().clone(),
                ..self.core.signals.clone()
            },
            tls: self.core.tls.counters().clone(),
            calls: self.core.board.counters().clone(),
        }
    }

    /// Flows that look like RTP and belong to no call, oldest first.
    #[must_use]
    pub fn strays(&self) -> Vec<Stray> {
        self.core.board.strays()
    }

    /// Calls in the table, flows bound to them.
    #[must_use]
    pub fn live(&self) -> (usize, usize) {
        (self.core.board.calls_live(), self.core.board.flows_live())
    }

    /// How full every table is.
    #[must_use]
    pub fn held(&self) -> Held {
        let board = &self.core.board;
        Held {
            calls: board.calls_live(),
            flows: board.flows_live(),
            endpoints: board.endpoints_live(),
            candidates: board.candidates_live(),
            tcp_readers: self.core.streams.len(),
            phones: self.core.phones.len(),
            recent_bytes: board.recent_bytes(),
        }
    }
}

impl Core {
    /// A UDP payload of no known flow.
    fn unknown(&mut self, source: SocketAddr, destination: SocketAddr, payload: &[u8]) {
        if looks_like_sip(payload) {
            self.sip(source, destination, payload);
        } else if !self.iax2(source, destination, payload)
            && !self.mgcp(source, destination, payload)
        {
            self.board.handle_stray(self.now, source, destination, payload);
        }
    }

    fn sip(&mut self, source: SocketAddr, destination: SocketAddr, bytes: &[u8]) {
        let Ok(message) = Message::parse(bytes) else {
            self.signals.sip_malformed += 1;
            return;
        };
        self.signals.sip_messages += 1;
        if let Some(signal) = facts::read(&message, source, destination, &self.headers) {
            self.signals.sip_facts += 1;
            self.board.handle_signal(self.now, &signal);
        }
        if self.board.may_keep_packets()
            && let Some(call) = facts::call_name(&message)
        {
            let info = matches!(message.start, StartLine::Request { method: Method::Info, .. });
            let opaque = message.header("Content-Encoding").is_some();
            let form = Form::Text { opaque };
            let letter = Letter { source, destination, form, private: info, bytes };
            self.board.keep_letter(self.now, &call, &letter);
        }
    }

    /// Other protocols: the message stated these facts, of one call as a rule.
    fn keep(&mut self, told: &[(String, bool)], ends: Direction, form: Form, bytes: &[u8]) {
        let (source, destination) = ends;
        for (index, (call, private)) in told.iter().enumerate() {
            let before = told.get(..index).unwrap_or_default();
            if before.iter().all(|(known, _)| known != call) {
                let letter = Letter { source, destination, form, private: *private, bytes };
                self.board.keep_letter(self.now, call, &letter);
            }
        }
    }

    /// False when it is none.
    fn iax2(&mut self, source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> bool {
        let (board, now) = (&mut self.board, self.now);
        let mut facts = Vec::new();
        let known = self.iax2.handle(now, source, destination, payload, &mut |told| match told {
            Told::Fact(signal) => {
                board.handle_signal(now, signal);
                note(board, &mut facts, signal);
            }
            Told::Voice { source, destination, rtp } => {
                if !board.handle_datagram(now, source, destination, rtp) {
                    board.handle_stray(now, source, destination, rtp);
                }
            }
        });
        // Several calls are in a trunk frame; none of them tells a fact.
        self.keep(&facts, (source, destination), Form::Datagram, payload);
        known
    }

    /// False when it is none.
    fn mgcp(&mut self, source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> bool {
        let (board, now) = (&mut self.board, self.now);
        let mut facts = Vec::new();
        let known = self.mgcp.handle(now, source, destination, payload, &mut |signal| {
            board.handle_signal(now, signal);
            note(board, &mut facts, signal);
        });
        self.keep(&facts, (source, destination), Form::Text { opaque: false }, payload);
        known
    }

    fn skinny(&mut self, source: SocketAddr, destination: SocketAddr, bytes: &[u8]) {
        self.signals.skinny_messages += 1;
        let Some(message) = skinny::Message::read(bytes) else { return };
        if let Some(signal) = self.phones.read(&message, source, destination) {
            self.signals.skinny_facts += 1;
            self.board.handle_signal(self.now, &signal);
            let keys =
                matches!(message, skinny::Message::StartMediaTransmission { encrypted: true, .. });
            let mut facts = Vec::new();
            note(&self.board, &mut facts, &signal);
            if !keys {
                self.keep(&facts, (source, destination), Form::Stream, bytes);
            }
        }
    }
}

impl Core {
    fn read(&mut self, reader: &mut Reader, key: Direction, stream: TcpStream<'_>) {
        let (source, destination) = key;
        match reader {
            Reader::Sip(framer) => framer.push(stream.data, stream.gap, &mut |message: &[u8]| {
                self.sip(source, destination, message);
            }),
            Reader::Skinny(framer) => {
                framer.push(stream.data, stream.gap, &mut |message: &[u8]| {
                    self.skinny(source, destination, message);
                });
                if stream.closed {
                    self.phones.forget(source, destination);
                }
            }
            Reader::CallSignalling(framer) => {
                framer.push(stream.data, stream.gap, &mut |message| {
                    let mut facts = Vec::new();
                    let (board, now) = (&mut self.board, self.now);
                    self.h323.signalling(source, destination, message, &mut |signal| {
                        board.handle_signal(now, signal);
                        note(board, &mut facts, signal);
                    });
                    self.keep_tpkt(&facts, key, message);
                });
                if stream.closed {
                    self.h323.forget(source, destination);
                }
            }
            Reader::Control(framer) => {
                framer.push(stream.data, stream.gap, &mut |message| {
                    let mut facts = Vec::new();
                    let (board, now) = (&mut self.board, self.now);
                    self.h323.control(source, destination, message, &mut |signal| {
                        board.handle_signal(now, signal);
                        note(board, &mut facts, signal);
                    });
                    self.keep_tpkt(&facts, key, message);
                });
            }
            Reader::Tls => {
                self.tls.handle_stream(self.now, &stream);
                self.drain_tls();
            }
        }
    }

    /// H.323 messages lose their frame on the way. Under TLS they may carry keys of H.235, and stay out.
    fn keep_tpkt(&mut self, told: &[(String, bool)], ends: Direction, message: &[u8]) {
        if self.opening || told.is_empty() {
            return;
        }
        let [high, low] = u16::try_from(message.len() + 4).unwrap_or(0).to_be_bytes();
        let framed = [&[3, 0, high, low], message].concat();
        self.keep(told, ends, Form::Stream, &framed);
    }

    /// Reads what TLS protected.
    fn drain_tls(&mut self) {
        while let Some(event) = self.tls.poll_event() {
            let (source, destination, data, gap, closed) = match event {
                tls::Event::Plain { source, destination, data, gap } => {
                    (source, destination, data, gap, false)
                }
                tls::Event::Closed { source, destination } => {
                    (source, destination, Vec::new(), false, true)
                }
                tls::Event::Noticed(notice) => {
                    self.board.notice(notice);
                    continue;
                }
            };
            let key = (source, destination);
            let reader = self.opened.remove(&key);
            if reader.is_none() && closed {
                continue;
            }
            let mut reader = reader.unwrap_or_else(|| Reader::choose(key, &data, &self.h323));
            let stream = TcpStream { source, destination, data: &data, gap, closed };
            self.opening = true;
            self.read(&mut reader, key, stream);
            self.opening = false;
            if !closed {
                self.opened.insert(key, reader);
            }
        }
    }
}

/// Takes note of the call that a fact is about, and whether it tells what was pressed.
fn note(board: &Switchboard, told: &mut Vec<(String, bool)>, signal: &Signal) {
    if board.may_keep_packets() {
        told.push((signal.call.clone(), matches!(signal.fact, Fact::Digit { .. })));
    }
}

impl Sink for Core {
    fn udp(&mut self, datagram: Datagram<'_>) {
        let Datagram { source, destination, payload } = datagram;
        if !self.board.handle_datagram(self.now, source, destination, payload) {
            self.unknown(source, destination, payload);
        }
    }

    fn tcp(&mut self, stream: TcpStream<'_>) {
        let key = (stream.source, stream.destination);
        let known = self.streams.contains_key(&key);
        if !known && (stream.data.is_empty() || self.streams.len() >= MAX_STREAMS) {
            return;
        }
        let choose = |core: &Self| {
            if core.tls.claims(&stream) {
                Reader::Tls
            } else {
                Reader::choose(key, stream.data, &core.h323)
            }
        };
        let mut reader = self.streams.remove(&key).unwrap_or_else(|| choose(self));
        self.read(&mut reader, key, stream);
        if !stream.closed {
            self.streams.insert(key, reader);
        }
    }
}

/// Limits of the packet layer, for whoever builds a [`Tap`].
pub use decoder::Limits as PacketLimits;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::LinkType;

    /// One segment from 10.0.0.1:2000 to 10.0.0.5.
    fn segment(port: u16, data: &[u8]) -> Vec<u8> {
        let total = u16::try_from(40 + data.len()).unwrap().to_be_bytes();
        let mut bytes = vec![0x45, 0, total[0], total[1], 0, 1, 0x40, 0, 64, 6, 0, 0];
        bytes.extend_from_slice(&[10, 0, 0, 1, 10, 0, 0, 5, 0x07, 0xD0]);
        bytes.extend_from_slice(&port.to_be_bytes());
        bytes.extend_from_slice(&[0, 0, 0, 9, 0, 0, 0, 9, 0x50, 0x18, 16, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(data);
        bytes
    }

    #[test]
    fn a_tcp_stream_is_read_as_what_its_first_bytes_are() {
        let options = b"OPTIONS sip:a@b SIP/2.0\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\
            From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nContent-Length: 0\r\n\r\n";
        let hung_up = [16u32, 0x14, 0x111, 2, 1, 7].map(u32::to_le_bytes).concat();
        let mut tap = Tap::new(Settings::default(), Limits::default(), 0);
        for (port, data) in [(50_000, options.as_slice()), (50_001, hung_up.as_slice())] {
            let bytes = segment(port, data);
            let wire_len = u32::try_from(bytes.len()).unwrap();
            let at = Timestamp(1_000_000_000);
            tap.handle_frame(&Frame { at, link: LinkType::RawIp, wire_len, bytes: &bytes });
        }
        tap.finish(Timestamp(2_000_000_000), EndReason::Shutdown);
        let signals = tap.counters().signals;
        assert_eq!((signals.sip_messages, signals.skinny_messages), (1, 1));
    }
}
