//! What was said lately on calls that nobody has asked for yet, so that `record` keeps it.
//!
//! Law: packets wait as they came, so many seconds of each call and so many bytes of all; asked for,
//! they go the way of any packet, at their own times. Nothing waits of a call that is paused or was
//! stopped, and keys pressed before somebody asked are not told.

use super::{
    dialog::Progress,
    index::{CallSlot, FlowId, FlowOwner},
    session::{Call, Wanted},
    switchboard::Switchboard,
};
use crate::time::Timestamp;
use std::collections::VecDeque;

/// Memory of a packet besides its bytes.
const OVERHEAD: usize = 96;
/// Memory for a call, in bytes a millisecond: both ways of uncompressed 16 kHz audio, so that a flood on
/// one call takes nothing from the others.
const CALL_BYTES_A_MS: usize = 128;

#[derive(Debug)]
struct Packet {
    at: Timestamp,
    flow: FlowId,
    bytes: Box<[u8]>,
}

impl Packet {
    const fn cost(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }
}

/// The latest packets of a call, oldest first.
#[derive(Debug, Default)]
pub struct Recent {
    packets: VecDeque<Packet>,
    cost: usize,
}

impl Recent {
    /// Memory it takes.
    pub(super) const fn cost(&self) -> usize {
        self.cost
    }

    /// Forgets the oldest; gives the memory it took.
    fn forget_first(&mut self) -> Option<usize> {
        let cost = self.packets.pop_front()?.cost();
        self.cost -= cost;
        Some(cost)
    }

    /// Forgets what is older than `from`; gives the memory it took.
    fn forget_before(&mut self, from: Timestamp) -> usize {
        let mut freed = 0;
        while self.packets.front().is_some_and(|packet| packet.at < from) {
            freed += self.forget_first().unwrap_or(0);
        }
        freed
    }
}

impl Switchboard {
    /// Takes note of a packet that is not kept, in case that somebody asks for its call soon.
    #[cold]
    pub(super) fn remember(
        &mut self,
        at: Timestamp,
        flow: FlowId,
        owner: FlowOwner,
        packet: &[u8],
    ) {
        let (span_ms, most) = (self.settings.prerecord_ms, self.settings.prerecord_max_bytes);
        if span_ms == 0 {
            return;
        }
        let Some(Some(call)) = self.calls.get_mut(owner.call as usize) else { return };
        let over = matches!(call.dialog.progress, Progress::Ended { .. });
        let waits = call.wanted == Wanted::WhenAsked && call.ignored.is_none() && !over;
        if !waits || call.is_paused_at(at) {
            return;
        }
        let own = usize::try_from(span_ms).unwrap_or(usize::MAX).saturating_mul(CALL_BYTES_A_MS);
        let recent = call.recent.get_or_insert_default();
        self.recent_bytes -= recent.forget_before(at.minus_millis(span_ms));
        let packet = Packet { at, flow, bytes: packet.into() };
        while self.recent_bytes + packet.cost() > most || recent.cost + packet.cost() > own {
            self.counters.prerecord_omitted += 1;
            let Some(freed) = recent.forget_first() else { return };
            self.recent_bytes -= freed;
        }
        self.recent_bytes += packet.cost();
        recent.cost += packet.cost();
        recent.packets.push_back(packet);
    }

    /// Forgets what was remembered of a call.
    pub(super) fn forget_recent(&mut self, call: &mut Call) {
        self.recent_bytes -= call.recent.take().map_or(0, |recent| recent.cost());
    }

    /// A call was asked for: what was said lately comes again, to be kept.
    pub(super) fn relive(&mut self, slot: CallSlot, now: Timestamp) {
        let from = now.minus_millis(self.settings.prerecord_ms);
        let Some(Some(call)) = self.calls.get_mut(slot as usize) else { return };
        let Some(mut recent) = call.recent.take() else { return };
        self.recent_bytes -= recent.cost;
        recent.forget_before(from);
        if recent.packets.is_empty() {
            return;
        }
        call.asked = now;
        // As if none of them had come before.
        call.streams.clear();
        call.active = [None, None];
        self.unbind_flows(slot);
        for Packet { at, flow, bytes } in recent.packets {
            // Each is counted once.
            self.counters.rtp_packets = self.counters.rtp_packets.saturating_sub(1);
            self.counters.rtp_unwanted = self.counters.rtp_unwanted.saturating_sub(1);
            self.replay(at, flow, &bytes);
        }
    }

    /// Memory taken by what was said lately on all calls.
    #[must_use]
    pub const fn recent_bytes(&self) -> usize {
        self.recent_bytes
    }
}
