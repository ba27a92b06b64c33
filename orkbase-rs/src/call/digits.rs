//! Digits: the keys that are pressed during a recording, each told once.
//!
//! Law: what is not on the tape is not told: nothing while it is paused, nothing of a side that is not
//! kept. A key that a phone sends both as telephone event and as SIP INFO is one key.

use super::{
    index::{CallSlot, FlowOwner},
    media::keeps,
    output::{AddTag, Digit, Output},
    party::{Role, Side},
    stream::Meaning,
    switchboard::Switchboard,
};
use crate::{
    audio::block::News,
    message::tag::{AddTagMessage, DTMF_DIGIT},
    rtp::{
        dtmf::Key,
        packet::RtpPacket,
        timeline::{millis_from_ticks, ticks_from_nanos},
    },
    signal::Signal,
    time::Timestamp,
};

/// The same key by the other means within this time is the same press, in milliseconds.
const SAME_PRESS_MS: u64 = 500;
/// Presses that still wait for their like by the other means; ten a second are as fast as they come.
const MAX_UNPAIRED: usize = 16;
/// Digits told of one tape; beyond it is no human, and no menu is that long.
const MAX_DIGITS: usize = 2_000;

/// How a key was sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Means {
    /// RFC 4733.
    Event,
    /// SIP INFO.
    Info,
}

#[derive(Clone, Copy, Debug)]
struct Press {
    at: Timestamp,
    role: Role,
    key: Key,
    means: Means,
}

/// The latest presses of a call.
#[derive(Debug, Default)]
pub struct Presses {
    /// Seen by one means so far.
    unpaired: Vec<Press>,
    /// Highest number of an INFO, by role: what comes again is a retransmission.
    info_numbers: [u32; 2],
}

impl Presses {
    /// An account without presses.
    #[must_use]
    pub const fn new() -> Self {
        Self { unpaired: Vec::new(), info_numbers: [0; 2] }
    }

    /// Forgets the presses that wait for their like.
    pub(super) fn forget(&mut self) {
        self.unpaired.clear();
    }

    /// Whether an INFO was not seen before. Number 0 says nothing.
    fn is_new_info(&mut self, role: Role, number: u32) -> bool {
        let Some(highest) = self.info_numbers.get_mut(role.index()) else { return true };
        let new = number == 0 || number > *highest;
        *highest = number.max(*highest);
        new
    }

    /// Whether a press is not the other half of one that was told already.
    fn is_new(&mut self, press: Press) -> bool {
        self.unpaired.retain(|old| press.at.millis_since(old.at) <= SAME_PRESS_MS);
        let same = |old: &Press| {
            old.role == press.role && old.key == press.key && old.means != press.means
        };
        if let Some(half) = self.unpaired.iter().position(same) {
            self.unpaired.remove(half);
            return false;
        }
        if self.unpaired.len() < MAX_UNPAIRED {
            self.unpaired.push(press);
        }
        true
    }
}

impl Switchboard {
    /// A digit in signalling; `number` grows with every request of the same party.
    pub(super) fn handle_digit(
        &mut self,
        at: Timestamp,
        slot: CallSlot,
        signal: &Signal,
        digit: &str,
        number: u32,
    ) {
        let Some(call) = self.call_mut(slot) else { return };
        call.dialog.last_signal = at;
        let role = call.dialog.role_of(signal);
        let Some(key) = Key::read(digit) else { return };
        if call.presses.is_new_info(role, number) {
            self.press(slot, Press { at, role, key, means: Means::Info }, None);
        }
    }

    /// A packet that the tape does not take: events are followed nevertheless, so that half of one
    /// that was paused over is not told as a new one, and those under an SSRC of their own are.
    #[cold]
    pub(super) fn handle_unkept(&mut self, at: Timestamp, owner: FlowOwner, rtp: &RtpPacket<'_>) {
        let Some(call) = self.call_mut(owner.call) else { return };
        let Some(stream) = call.streams.get_mut(usize::from(owner.stream)) else { return };
        if stream.meaning != Meaning::Event || stream.payload_type != rtp.payload_type {
            return;
        }
        let Some(srtp) = stream.srtp.as_mut() else {
            return self.handle_event(at, owner, rtp);
        };
        let mut plain = Vec::new();
        if srtp.unprotect(rtp.packet, &mut plain).is_ok() {
            self.handle_event(at, owner, &RtpPacket { payload: &plain, ..*rtp });
        }
    }

    /// An event packet, decrypted.
    #[cold]
    pub(super) fn handle_event(&mut self, at: Timestamp, owner: FlowOwner, rtp: &RtpPacket<'_>) {
        let Some(call) = self.call_mut(owner.call) else { return };
        let Some(stream) = call.streams.get_mut(usize::from(owner.stream)) else { return };
        let role = stream.role;
        let is_key = |name: &str| name.eq_ignore_ascii_case("telephone-event");
        let codec = stream.codec(rtp.payload_type);
        let named = codec.is_some_and(|codec| is_key(&codec.name));
        let one_clock = codec.is_some_and(|c| c.clock_rate == stream.timeline.clock_rate());
        // Without its keys an encrypted event reads as any other.
        let locked = call.dialog.is_encrypted(role) && stream.srtp.is_none();
        if !named || locked {
            return;
        }
        let detector = stream.dtmf.get_or_insert_default();
        if let Some(key) = detector.handle_packet(rtp.payload, rtp.timestamp, rtp.marker) {
            // It was pressed when its timestamp says, whichever of its packets came first.
            let now = ticks_from_nanos(at.nanos_since(call.epoch.unwrap_or(at)));
            let tick = stream.timeline.peek(rtp.timestamp, now).filter(|_| one_clock);
            self.press(owner.call, Press { at, role, key, means: Means::Event }, tick);
        }
    }

    /// `tick`: when, on the call's timeline, where that is known better than by the packet's arrival.
    fn press(&mut self, slot: CallSlot, press: Press, tick: Option<i64>) {
        self.look_at(slot);
        let Some(Some(call)) = self.calls.get_mut(slot as usize) else { return };
        if !call.presses.is_new(press) {
            return;
        }
        let Some(recording) = call.recording.as_mut() else { return };
        let local = press.role == recording.parties.local_role;
        let kept = call.paused.is_none() && press.at >= call.kept_from.max(call.asked);
        if !kept || !keeps(recording.keep, local) {
            return;
        }
        if recording.digits.len() >= MAX_DIGITS {
            self.counters.digits_refused += 1;
            return;
        }
        let side = if local { Side::Local } else { Side::Remote };
        // A burst of INFO comes within a millisecond: offsets tell the order, and tags of the same
        // offset and text are one to a tracker.
        let earliest = recording.digits.last().map_or(0, |last| last.offset_ms + 1);
        let arrived = recording.offset_ms(press.at);
        let offset_ms = tick.map_or(arrived, |tick| millis_from_ticks(tick - recording.start_tick));
        let offset_ms = offset_ms.max(earliest);
        let digit = Digit { side, key: press.key, offset_ms };
        recording.digits.push(digit);
        recording.news.push(News::Digit(digit));
        self.counters.digits += 1;
        let message = AddTagMessage {
            localparty: recording.parties.local.clone(),
            orkuid: recording.orkuid.to_string(),
            tagtype: DTMF_DIGIT.to_owned(),
            tagtext: press.key.as_str().to_owned(),
            offsetmsec: offset_ms,
        };
        let tag = AddTag { tape: recording.tape, side, message };
        self.outputs.push_back(Output::Tagged(Box::new(tag)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_press_has_one_other_half() {
        use Means::{Event, Info};
        let mut presses = Presses::new();
        let mut new = |ms: u64, role, digit, means| {
            let key = Key::read(digit).unwrap();
            presses.is_new(Press { at: Timestamp(ms * 1_000_000), role, key, means })
        };
        let (a, b) = (Role::Caller, Role::Callee);
        assert!(new(1000, a, "5", Event) && !new(1010, a, "5", Info));
        assert!(new(1300, a, "5", Event) && !new(1310, a, "5", Info), "pressed again");
        assert!(new(1320, a, "6", Info) && new(1330, b, "6", Event), "another party");
        assert!(!new(1820, a, "6", Event), "INFO came first");
        assert!(new(3000, a, "7", Event) && new(3501, a, "7", Info), "too late to be the same");
        assert!(new(5000, a, "1", Info) && new(5100, a, "1", Info));
        for n in 0..100 {
            assert!(new(6000 + n, a, "2", Event));
        }
        assert!(presses.unpaired.len() <= MAX_UNPAIRED);
    }

    #[test]
    fn a_request_that_comes_again_is_no_press() {
        let mut presses = Presses::new();
        let (a, b) = (Role::Caller, Role::Callee);
        assert!(presses.is_new_info(a, 7) && !presses.is_new_info(a, 7));
        assert!(presses.is_new_info(b, 7) && presses.is_new_info(a, 8));
        assert!(presses.is_new_info(a, 0) && presses.is_new_info(a, 0));
    }
}
