//! Packets that come soon: their memory is asked for, in three steps, each when what the one before asked for
//! is at hand.
//!
//! Law: nothing is changed by it but what is in caches.

use super::{
    flow_table::Place, index::FlowOwner, recording::Recording, session::Call, stream::Stream,
    switchboard::Switchboard,
};
use crate::{
    ahead::{self, LINE},
    packet::{
        Frame,
        fast::{FastUdp, FlowKey},
    },
};
use std::mem::offset_of;

/// So many frames lie between one step and the next.
const STEP: usize = 6;
/// Cache lines of a record of 20 ms of G.711.
const RECORD_LINES: usize = 4;
/// Cache lines of a call that a packet of a known stream touches.
const CALL_LINES: usize =
    (offset_of!(Call, recording) + offset_of!(Recording, odd) + 1).div_ceil(LINE);
/// Cache lines of a stream that a packet touches.
const STREAM_LINES: usize = Stream::HOT_BYTES.div_ceil(LINE);

const _: () = assert!(CALL_LINES <= 2 && STREAM_LINES <= 3, "a packet touches little");
const _: () = assert!(Stream::HOT_FROM.is_multiple_of(LINE), "and all of it in these lines");

/// A flow and where it should be in the table.
type Flow = (FlowKey, Place);

/// Flows of frames that come soon, and owners of those that come sooner.
#[derive(Debug)]
pub(crate) struct Foreseen {
    steps: [(Option<Flow>, Option<FlowOwner>); STEP],
    step: usize,
}

impl Default for Foreseen {
    fn default() -> Self {
        Self { steps: [(None, None); STEP], step: 0 }
    }
}

impl Foreseen {
    /// This frame, if it is plain UDP, comes after those foreseen before.
    #[inline]
    pub(crate) fn foresee(
        &mut self,
        board: &Switchboard,
        frame: &Frame<'_>,
        udp: Option<FastUdp<'_>>,
    ) -> Seen {
        self.step = if self.step + 1 < STEP { self.step + 1 } else { 0 };
        let asked = udp.as_ref().map(|udp| (udp.key, board.ask_flow(udp.key)));
        let seen = match (asked, udp) {
            (Some((key, place)), Some(udp)) => Seen::new(key, place, frame, udp.payload),
            _ => Seen::NOTHING,
        };
        let Some((flows, owners)) = self.steps.get_mut(self.step) else { return seen };
        let flow = std::mem::replace(flows, asked);
        let owner = flow.and_then(|(key, place)| board.ask_call(key, place));
        if let Some(owner) = std::mem::replace(owners, owner) {
            board.ask_stream(owner);
        }
        seen
    }
}

/// What was seen of a frame when it was foreseen.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    key: FlowKey,
    place: Place,
    /// Where its payload lies; nowhere if it is no plain UDP.
    start: u16,
    length: u16,
}

impl Seen {
    /// Nothing of use.
    pub const NOTHING: Self = Self { key: FlowKey(0), place: Place::NONE, start: 0, length: 0 };

    #[inline]
    fn new(key: FlowKey, place: Place, frame: &Frame<'_>, payload: &[u8]) -> Self {
        let start = payload.as_ptr().addr().wrapping_sub(frame.bytes.as_ptr().addr());
        match (u16::try_from(start), u16::try_from(payload.len())) {
            (Ok(start), Ok(length)) => Self { key, place, start, length },
            _ => Self::NOTHING,
        }
    }

    /// Of no use any more.
    #[inline]
    pub const fn forget(&mut self) {
        self.start = 0;
    }

    /// The payload of the frame, if it was seen to be plain UDP.
    #[must_use]
    pub fn payload<'a>(&self, frame: &Frame<'a>) -> Option<&'a [u8]> {
        self.find(frame).map(|(_, _, payload)| payload)
    }

    /// The flow of the frame, where it should be in the table, and its payload, if that was seen.
    #[inline]
    pub(crate) fn find<'a>(&self, frame: &Frame<'a>) -> Option<(FlowKey, Place, &'a [u8])> {
        let (start, length) = (usize::from(self.start), usize::from(self.length));
        let payload = frame.bytes.get(start..start + length)?;
        (start > 0).then_some((self.key, self.place, payload))
    }
}

impl Switchboard {
    /// Asks for the entry of a flow.
    #[inline]
    fn ask_flow(&self, key: FlowKey) -> Place {
        self.flows.ask(key)
    }

    /// The entry is at hand: asks for the call.
    #[inline]
    fn ask_call(&self, key: FlowKey, place: Place) -> Option<FlowOwner> {
        let owner = self.flows.v4_from(place, key)?;
        if let Some(call) = self.calls.get(owner.call as usize) {
            ahead::ask(call, CALL_LINES);
        }
        Some(owner)
    }

    /// The call is at hand: asks for what it points to.
    #[inline]
    fn ask_stream(&self, owner: FlowOwner) {
        let Some(call) = self.call(owner.call) else { return };
        if let Some(stream) = call.streams.get(usize::from(owner.stream)) {
            let hot = std::ptr::from_ref(stream).cast::<u8>().wrapping_add(Stream::HOT_FROM);
            ahead::ask(hot, STREAM_LINES);
        }
        if let Some(recording) = &call.recording {
            let end = recording.bytes.as_ptr().wrapping_add(recording.bytes.len());
            ahead::ask_to_write(end, RECORD_LINES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{LinkType, decoder::Decoder, decoder::Limits};
    use crate::time::Timestamp;

    fn frame(bytes: &[u8]) -> Frame<'_> {
        Frame { at: Timestamp(1), link: LinkType::Ethernet, wire_len: 0, bytes }
    }

    /// An Ethernet frame of UDP over IPv4 with so long a payload.
    fn udp(payload: u8) -> Vec<u8> {
        let mut bytes = vec![0; 12];
        bytes.extend([8, 0, 0x45, 0, 0, 28 + payload, 0, 0, 0, 0, 64, 17, 0, 0]);
        bytes.extend([10, 0, 0, 1, 10, 0, 0, 2, 0x40, 0, 0x50, 0, 0, 8 + payload, 0, 0]);
        bytes.extend((0..payload).map(|n| n ^ 0x80));
        // The link pads it.
        bytes.extend([0xee; 4]);
        bytes
    }

    #[test]
    fn what_is_seen_is_what_is_decoded() {
        let board = Switchboard::new(crate::call::settings::Settings::default(), 1);
        let decoder = Decoder::new(Limits::default());
        let mut foreseen = Foreseen::default();
        for payload in [0, 1, 12, 172] {
            let bytes = udp(payload);
            let frame = frame(&bytes);
            let fast = decoder.fast_udp(&frame);
            let mut seen = foreseen.foresee(&board, &frame, fast);
            let found = seen.find(&frame).map(|(key, _, payload)| FastUdp { key, payload });
            assert_eq!(found, fast);
            assert_eq!(found.map(|udp| udp.payload.len()), Some(usize::from(payload)));
            let short = Frame { bytes: &bytes[..41], ..frame };
            assert!(seen.find(&short).is_none(), "more than there is");
            seen.forget();
            assert!(seen.find(&frame).is_none());
        }
        let odd = frame(&[0; 60]);
        assert!(foreseen.foresee(&board, &odd, decoder.fast_udp(&odd)).find(&odd).is_none());
    }
}
