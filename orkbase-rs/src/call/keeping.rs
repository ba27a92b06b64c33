//! Packets kept beside the audio: which calls', how many, and what of their signalling.
//!
//! Law: what is not on the tape is not in the packets: nothing while it is paused, nothing of a side
//! that is not kept, no key pressed before somebody asked for the recording. Keys of SRTP are blanked
//! before anything is remembered. A call that keeps none costs its media nothing.

use super::{
    index::{CallSlot, FlowId, FlowOwner},
    media::keeps,
    output::{Output, PacketBlock},
    party::Role,
    recording::Recording,
    session::Call,
    stream::{Meaning, Stream},
    switchboard::Switchboard,
};
use crate::{
    message::tape::KeepSide,
    packet::pcapng::{self, Carrier},
    rtp::packet::{RtpPacket, is_rtcp},
    signal::redact::redact,
    time::Timestamp,
};
use std::net::SocketAddr;

/// Whose packets are kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum KeepPackets {
    /// Nobody's.
    Never,
    /// Those of calls of which something cannot be decoded, from then on.
    #[default]
    Undecodable,
    /// Every call's.
    Always,
}

impl KeepPackets {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Never, Self::Undecodable, Self::Always];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Undecodable => "undecodable",
            Self::Always => "always",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|keep| keep.as_str() == text)
    }
}

/// Signalling remembered of a call, in bytes of the file it may become part of.
const CALL_LETTERS: usize = 24 * 1024;
/// The same of all calls.
const ALL_LETTERS: usize = 64 << 20;
/// Packets are handed over when they have grown to this.
const BLOCK_BYTES: usize = 64 * 1024;
/// Directions of signalling connections told apart in a call.
const MAX_STREAMS: usize = 16;
/// So many packets that no key has fitted, and the call counts as undecodable: two seconds.
const UNAUTHENTIC: u64 = 100;

/// A message of signalling, as it was read: whole, and decrypted.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'a> {
    /// Sender.
    pub source: SocketAddr,
    /// Receiver.
    pub destination: SocketAddr,
    /// It is text, written as a datagram; otherwise a piece of a stream.
    pub form: Form,
    /// It may tell what was pressed.
    pub private: bool,
    /// The message.
    pub bytes: &'a [u8],
}

/// What a message looks like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// SIP or MGCP: written as a datagram, however it came. `opaque`: its body is encoded.
    Text {
        /// See above.
        opaque: bool,
    },
    /// Other datagrams.
    Datagram,
    /// A message of a stream.
    Stream,
}

/// Signalling of a call so far.
#[derive(Debug, Default)]
pub struct Letters {
    bytes: Vec<u8>,
    packets: u64,
    omitted: u64,
    /// Bytes written of each direction of a connection.
    streams: Vec<(SocketAddr, SocketAddr, u32)>,
}

impl Letters {
    /// Memory it takes.
    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    fn carrier(&mut self, letter: &Letter<'_>) -> Carrier {
        if letter.form != Form::Stream {
            return Carrier::Udp;
        }
        let (from, to) = (letter.source, letter.destination);
        let sent = |all: &[(SocketAddr, SocketAddr, u32)], from, to| {
            all.iter().find(|known| known.0 == from && known.1 == to).map_or(0, |known| known.2)
        };
        let sequence = sent(&self.streams, from, to);
        let acknowledged = sent(&self.streams, to, from);
        let next = sequence.wrapping_add(u32::try_from(letter.bytes.len()).unwrap_or(0));
        let known = self.streams.iter_mut().find(|known| known.0 == from && known.1 == to);
        if let Some(known) = known {
            known.2 = next;
        } else if self.streams.len() < MAX_STREAMS {
            self.streams.push((from, to, next));
        }
        Carrier::Tcp { sequence, acknowledged }
    }
}

/// What a tape keeps of packets.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// It does.
    pub on: bool,
    waiting: Vec<u8>,
    waiting_packets: u64,
    /// Bytes so far, as they stand in the file.
    pub bytes: u64,
    /// Packets so far.
    pub packets: u64,
    /// Packets beyond the bound.
    pub omitted: u64,
}

impl Kept {
    fn push(&mut self, blocks: &[u8], packets: u64, most: u64) -> bool {
        let length = u64::try_from(blocks.len()).unwrap_or(u64::MAX);
        if self.bytes.saturating_add(length) > most {
            self.omitted += packets;
            return false;
        }
        self.bytes += length;
        self.packets += packets;
        self.waiting_packets += packets;
        self.waiting.extend_from_slice(blocks);
        true
    }

    /// What is to be written, if there is anything.
    pub(super) fn take(&mut self, tape: super::output::TapeId) -> Option<PacketBlock> {
        if self.waiting.is_empty() {
            return None;
        }
        let packets = std::mem::take(&mut self.waiting_packets);
        Some(PacketBlock { tape, packets, bytes: std::mem::take(&mut self.waiting) })
    }
}

impl Switchboard {
    /// Whether anybody's packets may be kept.
    pub(crate) fn may_keep_packets(&self) -> bool {
        self.settings.keep_packets != KeepPackets::Never
    }

    /// Takes note of a message about the call of this name.
    pub(crate) fn keep_letter(&mut self, at: Timestamp, call: &str, letter: &Letter<'_>) {
        let Some(slot) = self.by_id.get(call).copied().filter(|_| self.may_keep_packets()) else {
            return;
        };
        let Some(Some(call)) = self.calls.get_mut(slot as usize) else { return };
        let silent = match &call.recording {
            Some(recording) => letter.private && recording.keep != KeepSide::Both,
            None => letter.private,
        };
        if call.ignored.is_some() || silent || call.is_paused_at(at) {
            return;
        }
        let letters = call.letters.get_or_insert_default();
        let carrier = letters.carrier(letter);
        let mut block = Vec::new();
        let (from, to) = (letter.source, letter.destination);
        match letter.form {
            Form::Text { opaque } => {
                let bytes = redact(letter.bytes, opaque);
                pcapng::packet(&mut block, at, from, to, carrier, &bytes);
            }
            Form::Datagram | Form::Stream => {
                pcapng::packet(&mut block, at, from, to, carrier, letter.bytes);
            }
        }
        // What was pressed belongs to the tape it was pressed on.
        if !letter.private {
            let room = CALL_LETTERS.saturating_sub(letters.bytes.len());
            if block.len() <= room && self.letter_bytes + block.len() <= ALL_LETTERS {
                self.letter_bytes += block.len();
                letters.bytes.extend_from_slice(&block);
                letters.packets += 1;
            } else {
                letters.omitted += 1;
                self.counters.letters_omitted += 1;
            }
        }
        self.keep(slot, &block);
    }

    /// Forgets the signalling of a call that is over.
    pub(super) fn forget_letters(&mut self, call: &mut Call) {
        if let Some(letters) = call.letters.take() {
            self.letter_bytes = self.letter_bytes.saturating_sub(letters.len());
        }
    }

    /// From here on the packets of this call's tape are kept; its signalling so far comes first.
    pub(super) fn begin_keeping(&mut self, slot: CallSlot) {
        let most = self.settings.packets_max_bytes;
        let Some(Some(call)) = self.calls.get_mut(slot as usize) else { return };
        let Some(recording) = call.recording.as_mut().filter(|r| !r.kept.on) else { return };
        recording.kept.on = true;
        recording.odd = true;
        if let Some(letters) = &call.letters {
            recording.kept.omitted += letters.omitted;
            if recording.kept.push(&letters.bytes, letters.packets, most) {
                self.counters.packets_kept += letters.packets;
            } else {
                self.counters.packets_omitted += letters.packets;
            }
        }
    }

    fn keep(&mut self, slot: CallSlot, block: &[u8]) {
        let most = self.settings.packets_max_bytes;
        let Some(Some(call)) = self.calls.get_mut(slot as usize) else { return };
        let Some(recording) = call.recording.as_mut().filter(|r| r.kept.on) else { return };
        if recording.kept.push(block, 1, most) {
            self.counters.packets_kept += 1;
        } else {
            self.counters.packets_omitted += 1;
        }
        if recording.kept.waiting.len() >= BLOCK_BYTES {
            let block = recording.kept.take(recording.tape);
            self.outputs.extend(block.map(Output::Packets));
        }
    }

    /// A media packet that needs a closer look: whether it is placed, and whether it is kept.
    #[cold]
    pub(super) fn usher(
        &mut self,
        at: Timestamp,
        flow: FlowId,
        owner: FlowOwner,
        rtp: &RtpPacket<'_>,
    ) -> bool {
        let settled = self.call(owner.call).is_some_and(|call| {
            let stream = call.streams.get(usize::from(owner.stream));
            stream.is_some_and(|stream| {
                let on = |r: &Recording| r.tape == stream.tape;
                !call.is_paused_at(at)
                    && rtp.payload_type == stream.payload_type
                    && stream.active
                    && call.recording.as_ref().is_some_and(on)
            })
        });
        let placed = settled || self.prepare(at, owner, rtp);
        if placed {
            self.leave_pause_behind(at, owner.call);
        } else {
            self.remember(at, flow, owner, rtp.packet);
        }
        if self.may_keep_packets() {
            self.note_undecodable(owner);
            self.keep_media(at, flow, owner, rtp.packet);
        }
        placed
    }

    /// Begins to keep the packets of a call of which something cannot be decoded.
    pub(super) fn note_undecodable(&mut self, owner: FlowOwner) {
        if self.settings.keep_packets != KeepPackets::Undecodable {
            return;
        }
        let hopeless = self.call(owner.call).is_some_and(|call| {
            let stream = call.streams.get(usize::from(owner.stream));
            stream.is_some_and(|stream| {
                let fits = stream.srtp.as_ref().is_some_and(|srtp| srtp.fitting().is_some());
                let waiting = stream.early.as_ref().map_or(0, |early| early.len());
                // A first one may have come before its key.
                stream.meaning == Meaning::Undecodable
                    || stream.unauthentic + waiting >= UNAUTHENTIC && !fits
            })
        });
        if hopeless {
            self.begin_keeping(owner.call);
        }
    }

    fn keep_media(&mut self, at: Timestamp, flow: FlowId, owner: FlowOwner, payload: &[u8]) {
        let Some(call) = self.call(owner.call) else { return };
        let stream = call.streams.get(usize::from(owner.stream));
        // Keys pressed before somebody asked.
        let private = |stream: &&Stream| {
            at < call.asked && matches!(stream.meaning, Meaning::Event | Meaning::Redundant)
        };
        if let Some(role) = stream.filter(|s| !private(s)).map(|stream| stream.role) {
            self.keep_of(at, flow, owner.call, role, payload);
        }
    }

    fn keep_of(&mut self, at: Timestamp, flow: FlowId, slot: CallSlot, role: Role, payload: &[u8]) {
        let wanted = self.call(slot).is_some_and(|call| {
            let on = |r: &Recording| r.kept.on && keeps(r.keep, role == r.parties.local_role);
            call.ignored.is_none()
                && !call.is_paused_at(at)
                && call.recording.as_ref().is_some_and(on)
        });
        if wanted {
            let mut block = Vec::new();
            let (from, to) = (flow.source(), flow.destination());
            pcapng::packet(&mut block, at, from, to, Carrier::Udp, payload);
            self.keep(slot, &block);
        }
    }

    /// What comes over a call's ports and is no RTP: RTCP, STUN, DTLS, ZRTP.
    #[cold]
    pub(super) fn keep_companion(&mut self, at: Timestamp, flow: FlowId, payload: &[u8]) {
        if !self.may_keep_packets() {
            return;
        }
        let owner = self.flows.owner(flow);
        if let Some(owner) = owner {
            return self.keep_media(at, flow, owner, payload);
        }
        let lower =
            |address: SocketAddr| SocketAddr::new(address.ip(), address.port().saturating_sub(1));
        // RTCP of its own goes from and to the next ports (RFC 3550 §11).
        let media = if is_rtcp(payload) {
            FlowId::new(lower(flow.source()), lower(flow.destination()))
        } else {
            flow
        };
        if let Some((slot, role)) = self.owner_of(media) {
            self.keep_of(at, flow, slot, role, payload);
        }
    }
}
