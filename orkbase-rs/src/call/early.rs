//! SRTP that came before its key: an answer may be overtaken by what it announces.
//!
//! Law: as long as no key has fitted a stream, its packets wait, so many and so long; the first that
//! can be decrypted brings them back in the order in which they came. What waits in vain is counted as
//! unauthentic.

use super::{index::FlowOwner, session::Call, stream::Stream, switchboard::Switchboard};
use crate::{
    rtp::{packet::RtpPacket, sequence::Arrival},
    time::Timestamp,
};
use std::collections::VecDeque;

/// Packets that wait of one stream: five seconds of 20 ms.
const MOST_PACKETS: usize = 250;
/// Their bytes.
const MOST_BYTES: usize = 64 * 1024;
/// Bytes of all streams.
const ALL_BYTES: usize = 64 << 20;

/// Packets of a stream that no key has fitted.
#[derive(Debug, Default)]
pub struct Early {
    packets: VecDeque<Waiting>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    at: Timestamp,
    extended: u64,
    arrival: Arrival,
    bytes: Vec<u8>,
}

impl Early {
    /// How many wait.
    pub(super) fn len(&self) -> u64 {
        u64::try_from(self.packets.len()).unwrap_or(0)
    }
}

impl Switchboard {
    /// A packet that no key fits: it waits if none has ever fitted its stream, otherwise it is lost.
    #[cold]
    pub(super) fn not_authentic(
        &mut self,
        at: Timestamp,
        owner: FlowOwner,
        rtp: &RtpPacket<'_>,
        extended: u64,
        arrival: Arrival,
    ) {
        let Some(Some(call)) = self.calls.get_mut(owner.call as usize) else { return };
        let Some(stream) = call.streams.get_mut(usize::from(owner.stream)) else { return };
        stream.last_at = at;
        let hopeful = stream.srtp.as_ref().is_some_and(|srtp| srtp.fitting().is_none());
        let size = rtp.packet.len();
        if !hopeful || size > MOST_BYTES {
            self.counters.srtp_unauthentic += 1;
            return refuse(stream, 1);
        }
        let early = stream.early.get_or_insert_default();
        let mut given_up = 0;
        while early.packets.len() >= MOST_PACKETS
            || early.bytes + size > MOST_BYTES
            || self.early_bytes + size > ALL_BYTES
        {
            let Some(oldest) = early.packets.pop_front() else { break };
            early.bytes -= oldest.bytes.len();
            self.early_bytes -= oldest.bytes.len();
            given_up += 1;
        }
        if self.early_bytes + size > ALL_BYTES {
            given_up += 1;
        } else {
            early.bytes += size;
            self.early_bytes += size;
            let bytes = rtp.packet.to_vec();
            early.packets.push_back(Waiting { at, extended, arrival, bytes });
        }
        refuse(stream, given_up);
        self.counters.srtp_unauthentic += given_up;
        self.note_undecodable(owner);
    }

    /// A key fits: what has waited for it goes first.
    #[cold]
    pub(super) fn place_early(&mut self, owner: FlowOwner) {
        let early = self
            .call_mut(owner.call)
            .and_then(|call| call.streams.get_mut(usize::from(owner.stream)))
            .and_then(|stream| stream.early.take());
        let Some(early) = early else { return };
        self.early_bytes -= early.bytes;
        for Waiting { at, extended, arrival, bytes } in early.packets {
            let Ok(rtp) = RtpPacket::decode(&bytes) else { continue };
            if self.is_current(owner, rtp.payload_type) || self.prepare(at, owner, &rtp) {
                self.decrypt_and_place(at, owner, &rtp, extended, arrival);
            } else {
                self.handle_unkept(at, owner, &rtp);
            }
        }
    }

    /// Whether a packet of this payload type can be placed as it is.
    pub(super) fn is_current(&self, owner: FlowOwner, payload_type: u8) -> bool {
        let stream =
            self.call(owner.call).and_then(|call| call.streams.get(usize::from(owner.stream)));
        stream.is_some_and(|stream| stream.payload_type == payload_type)
    }

    /// The tape of a call ends: what waits has waited in vain.
    pub(super) fn give_up_early(&mut self, call: &mut Call) {
        for stream in &mut call.streams {
            let Some(early) = stream.early.take() else { continue };
            self.early_bytes -= early.bytes;
            self.counters.srtp_unauthentic += early.len();
            refuse(stream, early.len());
        }
    }
}

const fn refuse(stream: &mut Stream, packets: u64) {
    stream.unauthentic += packets;
    stream.undecoded += packets;
}
