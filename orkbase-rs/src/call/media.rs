//! The media path of the switchboard: from a UDP payload to a record in its call's block.
//!
//! Law: a packet of a known stream costs one map look-up and one copy; it never allocates, and
//! whatever is unusual about it leaves the fast path by a cold function.

use super::{
    dialog::Progress,
    flow_table::Place,
    index::{CallSlot, EndpointOwner, FlowId, FlowOwner},
    meaning::{introduce, learn},
    party::Role,
    recording::Fit,
    session::{Call, MAX_FLOWS, MAX_STREAMS, Wanted},
    stream::{Meaning, Stream},
    switchboard::Switchboard,
};
use crate::{
    audio::{
        block::Record,
        kinds::{self, Kind},
    },
    message::tape::KeepSide,
    packet::fast::FlowKey,
    rtp::{
        packet::{RtpPacket, is_rtcp},
        sequence::Arrival,
        timeline::{TICKS_PER_MILLI, TICKS_PER_SEC, ticks_from_nanos},
        zrtp,
    },
    time::Timestamp,
};
use std::net::SocketAddr;

/// The ticks of a call count from so long before its first packet, in ms: none is negative.
const EPOCH_MS: u64 = 10_000;
/// Another stream of the same party may be heard once the one before was silent this long, in ms.
const YIELD_MS: u64 = 200;

impl Switchboard {
    /// Takes in the payload of a plain IPv4 UDP packet; false when it is nothing that a known call
    /// sends, and the caller may look whether it is signalling.
    #[inline]
    pub fn handle_flow(&mut self, at: Timestamp, key: FlowKey, payload: &[u8]) -> bool {
        self.pass_time(at);
        let Some(owner) = self.flows.v4(key) else { return false };
        self.known_flow(at, FlowId::V4(key), owner, payload);
        true
    }

    /// The same for a flow that was asked for, and should be at this place.
    #[inline]
    pub(crate) fn handle_flow_from(
        &mut self,
        at: Timestamp,
        key: FlowKey,
        place: Place,
        payload: &[u8],
    ) -> bool {
        self.pass_time(at);
        let found = self.flows.v4_from(place, key).or_else(|| self.flows.v4(key));
        let Some(owner) = found else { return false };
        self.known_flow(at, FlowId::V4(key), owner, payload);
        true
    }

    /// Takes in any other UDP payload; false as above.
    pub fn handle_datagram(
        &mut self,
        at: Timestamp,
        source: SocketAddr,
        destination: SocketAddr,
        payload: &[u8],
    ) -> bool {
        self.pass_time(at);
        let flow = FlowId::new(source, destination);
        let Some(owner) = self.flows.owner(flow) else { return false };
        self.known_flow(at, flow, owner, payload);
        true
    }

    #[inline]
    pub(super) fn known_flow(
        &mut self,
        at: Timestamp,
        flow: FlowId,
        owner: FlowOwner,
        payload: &[u8],
    ) {
        self.touched = Some(owner.call);
        match RtpPacket::decode(payload) {
            Ok(rtp) if rtp.ssrc == owner.ssrc => self.heard(at, flow, owner, &rtp),
            Ok(rtp) => self.other_ssrc(at, flow, &rtp),
            Err(_) => self.not_rtp(at, flow, payload),
        }
    }

    #[cold]
    pub(super) fn not_rtp(&mut self, at: Timestamp, flow: FlowId, payload: &[u8]) {
        if zrtp::looks_like_zrtp(payload) {
            self.handle_zrtp(at, flow, payload);
        }
        self.keep_companion(at, flow, payload);
        if is_rtcp(payload) {
            self.counters.rtcp_packets += 1;
        } else {
            self.counters.other_datagrams += 1;
        }
    }

    /// The call that a flow belongs to, and who sends it: both ends announced by one call is best,
    /// then the receiving end, then the sending end (RFC 4961 symmetric RTP behind NAT).
    pub(super) fn owner_of(&self, flow: FlowId) -> Option<(CallSlot, Role)> {
        let (from, to) =
            (self.endpoints.owners(flow.source()), self.endpoints.owners(flow.destination()));
        let live = |owner: &&EndpointOwner| {
            owner.audio
                && self.call(owner.call).is_some_and(|call| match call.dialog.progress {
                    Progress::Ended { .. } => false,
                    Progress::Offered | Progress::Answered { .. } | Progress::Failing { .. } => {
                        true
                    }
                })
        };
        // Two calls may announce the same pair (a back-to-back user agent that lets media go
        // direct): the older one has it, in both directions.
        let both = to
            .iter()
            .filter(live)
            .filter(|t| from.iter().any(|f| f.call == t.call && f.role != t.role))
            .min_by_key(|owner| {
                self.call(owner.call).map(|call| (call.recording.is_none(), owner.call))
            });
        let one = || {
            let receiver = to.iter().find(live).map(|owner| (owner.call, owner.role.other()));
            receiver.or_else(|| from.iter().find(live).map(|owner| (owner.call, owner.role)))
        };
        both.map(|owner| (owner.call, owner.role.other())).or_else(one)
    }

    /// Binds a flow to a call and takes in its first packet.
    pub(super) fn bind(
        &mut self,
        at: Timestamp,
        flow: FlowId,
        slot: CallSlot,
        role: Role,
        rtp: &RtpPacket<'_>,
    ) {
        self.touched = Some(slot);
        if self.flows.len() >= self.settings.max_flows && self.flows.owner(flow).is_none() {
            self.counters.rtp_refused += 1;
            return;
        }
        if let Some(why) = self.settings.filters.media(flow.source(), flow.destination()) {
            self.counters.rtp_filtered += 1;
            if self.call(slot).is_some_and(|call| call.recording.is_none()) {
                self.ignore(slot, why);
            }
            return;
        }
        let Some(stream) = self.stream_for(at, slot, flow, role, rtp) else {
            self.counters.rtp_refused += 1;
            return;
        };
        let owner = FlowOwner { call: slot, ssrc: rtp.ssrc, stream };
        let before = self.flows.bind(flow, owner);
        if before.is_none_or(|before| before.call != slot)
            && let Some(call) = self.call_mut(slot)
            && !call.flows.contains(&flow)
        {
            call.flows.push(flow);
            call.tell(at, || {
                format!(
                    "media of the {} from {} to {}: SSRC 0x{:08x}, payload type {}",
                    role.as_str(),
                    flow.source(),
                    flow.destination(),
                    rtp.ssrc,
                    rtp.payload_type
                )
            });
            // One call must not fill the table: its oldest flow gives way, and may come again.
            if call.flows.len() > MAX_FLOWS {
                let oldest = call.flows.remove(0);
                self.flows.unbind(oldest, slot);
            }
        }
        self.heard(at, flow, owner, rtp);
    }

    /// A flow shows another SSRC than before: the sender began anew, or the port is used by the
    /// next call.
    #[cold]
    fn other_ssrc(&mut self, at: Timestamp, flow: FlowId, rtp: &RtpPacket<'_>) {
        let Some(owner) = self.flows.owner(flow) else { return };
        if self.tails.has(at, flow, rtp.ssrc, rtp.sequence) {
            self.counters.rtp_unwanted += 1;
            return;
        }
        let known_role = self
            .call(owner.call)
            .and_then(|call| call.streams.get(usize::from(owner.stream)))
            .map(|stream| stream.role);
        let found = self.owner_of(flow).or(known_role.map(|role| (owner.call, role)));
        let Some((slot, role)) = found else { return };
        if slot != owner.call {
            self.flows.unbind(flow, owner.call);
        }
        self.bind(at, flow, slot, role, rtp);
    }

    /// The stream that an SSRC of a role stands for; made when it is new. The same SSRC over another
    /// flow is the same stream (a relay, or a new address): what comes twice is dropped by its
    /// sequence number.
    fn stream_for(
        &mut self,
        at: Timestamp,
        slot: CallSlot,
        flow: FlowId,
        role: Role,
        rtp: &RtpPacket<'_>,
    ) -> Option<u8> {
        let call = self.call_mut(slot)?;
        let known = call.streams.iter().position(|s| s.role == role && s.ssrc == rtp.ssrc);
        if let Some(index) = known {
            return u8::try_from(index).ok();
        }
        if call.streams.len() >= MAX_STREAMS {
            return None;
        }
        let index = u8::try_from(call.streams.len()).ok()?;
        // Telephone events may come under an SSRC of their own: they silence nobody.
        let events = kinds::kind(call.dialog.format(role, rtp.payload_type)) == Kind::Event;
        let may_be_heard = !events && newcomer_is_heard(call, at, flow, role);
        if call.streams.is_empty() {
            // One of each party is all there is, as a rule.
            call.streams.reserve_exact(2);
        }
        call.streams.push(Stream::new(role, rtp.ssrc, flow.source(), flow.destination()));
        if may_be_heard {
            call.activate(index);
        }
        Some(index)
    }

    /// One packet of a known stream.
    #[inline]
    fn heard(&mut self, at: Timestamp, flow: FlowId, owner: FlowOwner, rtp: &RtpPacket<'_>) {
        self.counters.rtp_packets += 1;
        let Some(Some(call)) = self.calls.get_mut(owner.call as usize) else { return };
        let Some(stream) = call.streams.get_mut(usize::from(owner.stream)) else { return };
        call.last_media = at;
        let (extended, arrival) = stream.sequence.accept(rtp.sequence);
        if arrival == Arrival::Duplicate {
            return;
        }
        let ready = rtp.payload_type == stream.payload_type
            && stream.active
            && call.recording.as_ref().is_some_and(|r| r.tape == stream.tape && !r.odd);
        let mut encrypted = stream.srtp.is_some();
        if !ready {
            if !self.usher(at, flow, owner, rtp) {
                return self.handle_unkept(at, owner, rtp);
            }
            encrypted = self.is_encrypted(owner);
        }
        if encrypted {
            self.decrypt_and_place(at, owner, rtp, extended, arrival);
        } else {
            self.place(at, owner, rtp, extended, arrival);
        }
    }

    fn is_encrypted(&self, owner: FlowOwner) -> bool {
        let stream =
            self.call(owner.call).and_then(|call| call.streams.get(usize::from(owner.stream)));
        stream.is_some_and(|stream| stream.srtp.is_some())
    }

    /// The same for SRTP: what cannot be authenticated is counted and kept from the tape.
    #[cold]
    pub(super) fn decrypt_and_place(
        &mut self,
        at: Timestamp,
        owner: FlowOwner,
        rtp: &RtpPacket<'_>,
        extended: u64,
        arrival: Arrival,
    ) {
        let Some(Some(call)) = self.calls.get_mut(owner.call as usize) else { return };
        let Some(stream) = call.streams.get_mut(usize::from(owner.stream)) else { return };
        let Some(srtp) = stream.srtp.as_mut() else { return };
        let mut plain = std::mem::take(&mut self.plain);
        if srtp.unprotect(rtp.packet, &mut plain).is_ok() {
            let rtp = RtpPacket { payload: &plain, ..*rtp };
            let late = stream.early.is_some();
            if late {
                self.place_early(owner);
            }
            // One of those may have been of another payload type.
            if !late || self.is_current(owner, rtp.payload_type) || self.prepare(at, owner, &rtp) {
                self.place(at, owner, &rtp, extended, arrival);
            }
        } else {
            self.not_authentic(at, owner, rtp, extended, arrival);
        }
        self.plain = plain;
    }

    /// Puts a packet on its call's timeline and into the block.
    #[inline]
    pub(super) fn place(
        &mut self,
        at: Timestamp,
        owner: FlowOwner,
        rtp: &RtpPacket<'_>,
        extended: u64,
        arrival: Arrival,
    ) {
        let Some(Some(call)) = self.calls.get_mut(owner.call as usize) else { return };
        let Some(stream) = call.streams.get_mut(usize::from(owner.stream)) else { return };
        let Some(recording) = call.recording.as_mut() else { return };
        let now = ticks_from_nanos(at.nanos_since(call.epoch.unwrap_or(at)));
        stream.last_at = at;
        let slot = match stream.meaning {
            Meaning::Audio { slot, .. } => Some(slot),
            Meaning::Undecodable => {
                stream.undecoded += 1;
                self.counters.rtp_undecoded += 1;
                None
            }
            Meaning::Redundant => {
                return self.place_redundant(at, owner, rtp, extended, arrival);
            }
            Meaning::Event => {
                self.void(owner, extended, arrival, now);
                return self.handle_event(at, owner, rtp);
            }
            Meaning::Foreign | Meaning::Unknown => return self.void(owner, extended, arrival, now),
        };
        if arrival == Arrival::Restart {
            stream.jitter.restart();
        }
        stream.jitter.note(at.0, rtp.timestamp);
        let tick = match arrival {
            Arrival::Next | Arrival::Ahead => {
                stream.timeline.place(rtp.timestamp, now, || stream.sequence.is_settled())
            }
            Arrival::Restart => {
                stream.timeline.unanchor();
                stream.anew = true;
                let tick = stream.timeline.place(rtp.timestamp, now, || true);
                if tick < recording.floor {
                    self.counters.rtp_paused += 1;
                    return;
                }
                if tick < recording.start_tick && !recording.begin_at(tick, self.now) {
                    stream.late += 1;
                    self.counters.rtp_late += 1;
                    return;
                }
                tick
            }
            Arrival::Behind => {
                let tick = if stream.timeline.is_anchored() {
                    stream.timeline.place_behind(rtp.timestamp)
                } else {
                    // The newer ones came while nobody wanted them.
                    stream.timeline.place(rtp.timestamp, now, || false)
                };
                if tick < recording.floor {
                    // Sent during a pause.
                    self.counters.rtp_paused += 1;
                    return;
                }
                let late = i64::try_from(self.settings.late_ms).unwrap_or(0);
                if tick < now - late.saturating_mul(TICKS_PER_MILLI)
                    || tick < recording.start_tick && !recording.begin_at(tick, self.now)
                {
                    stream.late += 1;
                    self.counters.rtp_late += 1;
                    return;
                }
                tick
            }
            Arrival::Ancient | Arrival::Duplicate => {
                stream.late += 1;
                self.counters.rtp_late += 1;
                return;
            }
        };
        let length = stream.length(rtp.payload);
        let first = stream.end == i64::MIN;
        match arrival {
            Arrival::Next | Arrival::Ahead if first => {}
            Arrival::Next if slot.is_some() => stream.set_frame(length),
            Arrival::Next => {
                let frame = tick - (stream.end - stream.frame());
                if frame > 0 && frame <= TICKS_PER_SEC / 4 {
                    stream.set_frame(frame);
                }
            }
            Arrival::Ahead => {
                stream.gaps += 1;
                let missing = extended.saturating_sub(stream.highest + 1);
                stream.longest_gap = stream.longest_gap.max(missing);
                // A pause is not missing, even if a packet behind it came early.
                let packets = i64::try_from(missing).unwrap_or(0).saturating_mul(stream.frame());
                stream.gap += packets.min(tick - stream.end).max(0);
            }
            Arrival::Behind => stream.gap = (stream.gap - length).max(0),
            Arrival::Restart => stream.set_frame(length),
            Arrival::Ancient | Arrival::Duplicate => {}
        }
        stream.end = stream.end.max(tick + length);
        stream.highest = stream.highest.max(extended);
        recording.end_tick = recording.end_tick.max(stream.end);
        let Some(slot) = slot else { return };
        if recording.keep != KeepSide::Both
            && !keeps(recording.keep, stream.role == recording.parties.local_role)
        {
            stream.anew = true;
            return;
        }
        let record = Record {
            leg: stream.leg,
            slot,
            anew: stream.anew,
            void: false,
            order: low(extended),
            tick: tick - recording.start_tick,
            payload: rtp.payload,
        };
        stream.anew = false;
        match recording.append(&record, now) {
            Fit::Fits => {}
            Fit::First => self.look_at(owner.call),
            Fit::Full => self.append_to_next(owner.call, &record, now),
        }
    }

    /// The block is full: hands it over and begins the next with this record.
    #[cold]
    fn append_to_next(&mut self, slot: CallSlot, record: &Record<'_>, now: i64) {
        self.hand_over(slot);
        if let Some(recording) = self.call_mut(slot).and_then(|call| call.recording.as_mut()) {
            let _fit = recording.append(record, now);
        }
        self.look_at(slot);
    }

    /// A packet that is not audio: the order advances, nothing is heard.
    #[cold]
    fn void(&mut self, owner: FlowOwner, extended: u64, arrival: Arrival, now: i64) {
        let Some(Some(call)) = self.calls.get_mut(owner.call as usize) else { return };
        let Some(stream) = call.streams.get_mut(usize::from(owner.stream)) else { return };
        match arrival {
            Arrival::Ahead => {
                let missing = extended.saturating_sub(stream.highest + 1);
                stream.gap += i64::try_from(missing).unwrap_or(0).saturating_mul(stream.frame());
            }
            Arrival::Behind => stream.gap = (stream.gap - stream.frame()).max(0),
            Arrival::Next | Arrival::Restart | Arrival::Ancient | Arrival::Duplicate => {}
        }
        stream.highest = stream.highest.max(extended);
        let Some(recording) = call.recording.as_mut() else { return };
        let record = Record {
            leg: stream.leg,
            slot: 0,
            anew: stream.anew,
            void: true,
            order: low(extended),
            tick: now - recording.start_tick,
            payload: &[],
        };
        stream.anew = false;
        match recording.append(&record, now) {
            Fit::Fits => {}
            Fit::First => self.look_at(owner.call),
            Fit::Full => self.append_to_next(owner.call, &record, now),
        }
    }

    /// Whatever a packet needs before it can be placed: the meaning of its payload type, a tape, its
    /// stream known to the tape. False when it is not to be kept.
    #[cold]
    pub(super) fn prepare(&mut self, at: Timestamp, owner: FlowOwner, rtp: &RtpPacket<'_>) -> bool {
        let slot = owner.call;
        self.look_at(slot);
        let Some(Some(call)) = self.calls.get_mut(slot as usize) else { return false };
        let index = usize::from(owner.stream);
        if let Progress::Ended { at: over } = call.dialog.progress
            && (call.recording.is_none() || at.millis_since(over) > self.settings.bye_grace_ms)
        {
            self.counters.rtp_unwanted += 1;
            return false;
        }
        let announced = call.dialog.is_signalled();
        let fallback = if announced {
            kinds::static_format(rtp.payload_type)
        } else {
            self.unannounced(rtp.payload_type)
        };
        let Some(Some(call)) = self.calls.get_mut(slot as usize) else { return false };
        let agents = &self.settings.g726_aal2_agents;
        learn(call, index, rtp.payload_type, fallback.as_ref(), agents, &*self.decoders);
        let Some(stream) = call.streams.get_mut(index) else { return false };
        if stream.meaning == Meaning::Foreign {
            self.counters.rtp_foreign += 1;
            return false;
        }
        if !stream.active && stream.meaning == Meaning::Event {
            // Events under an SSRC of their own are no voice, even while nothing else is heard.
            return false;
        }
        if !stream.active {
            let role = stream.role;
            let silent =
                call.active_stream(role).is_none_or(|s| at.millis_since(s.last_at) >= YIELD_MS);
            if !silent {
                if let Some(stream) = call.streams.get_mut(index) {
                    stream.unheard += 1;
                }
                self.counters.rtp_unheard += 1;
                return false;
            }
            call.activate(owner.stream);
        }
        if call.ignored.is_some() {
            self.counters.rtp_filtered += 1;
            return false;
        }
        if call.wanted != Wanted::Yes {
            self.counters.rtp_unwanted += 1;
            return false;
        }
        // What was captured during a pause may come when it is over: out of another queue, or out of
        // what was kept until its flow was known.
        if at < call.kept_from || call.paused.is_some() && call.recording.is_none() {
            if let Some(stream) = call.streams.get_mut(index) {
                stream.anew = true;
                stream.last_at = at;
            }
            self.counters.rtp_paused += 1;
            return false;
        }
        if !self.settings.both_legs
            && call.recording.is_none()
            && call
                .dialog
                .course
                .legs
                .as_ref()
                .is_some_and(|legs| self.leg_tapes.contains_key(legs))
        {
            call.other_leg_taped = true;
            self.counters.rtp_unwanted += 1;
            return false;
        }
        // Packets that were kept until their call was known may be older than this one.
        let epoch = *call.epoch.get_or_insert(at.minus_millis(EPOCH_MS));
        if call.recording.is_none() {
            let is_event =
                call.streams.get(index).is_some_and(|stream| stream.meaning == Meaning::Event);
            if is_event {
                return false;
            }
            let tick = ticks_from_nanos(at.nanos_since(epoch));
            self.open_recording(slot, at, tick - tick.rem_euclid(6));
        }
        let Some(Some(call)) = self.calls.get_mut(slot as usize) else { return false };
        let Some(recording) = call.recording.as_mut() else {
            // A filter has just refused its parties.
            self.counters.rtp_filtered += 1;
            return false;
        };
        let Some(stream) = call.streams.get_mut(index) else { return false };
        if recording.paused {
            stream.anew = true;
            stream.last_at = at;
            self.counters.rtp_paused += 1;
            return false;
        }
        introduce(stream, recording);
        if matches!(call.dialog.progress, Progress::Ended { .. }) {
            // Each packet is asked anew whether it is still in time.
            stream.payload_type = u8::MAX;
        }
        true
    }
}

/// Whether a new stream is heard at once: when nothing else is, when it comes the same way as the
/// one before (an SSRC change), or over an address announced after that one began.
fn newcomer_is_heard(call: &Call, at: Timestamp, flow: FlowId, role: Role) -> bool {
    let Some(current) = call.active_stream(role) else { return true };
    let (source, destination) = (flow.source(), flow.destination());
    let same_way = current.source == source && current.destination == destination;
    let newer = |address| {
        let since =
            |wanted| call.dialog.announced.iter().find(|a| a.address == wanted).map(|a| a.since);
        match (since(address), since(current.destination).max(since(current.source))) {
            (Some(new), Some(old)) => new > old,
            (Some(_), None) => true,
            (None, _) => false,
        }
    };
    same_way || at.millis_since(current.last_at) >= YIELD_MS || newer(source) || newer(destination)
}

/// The half of an extended sequence number that records carry: enough to order them by.
#[expect(clippy::cast_possible_truncation, reason = "the low half orders well enough")]
const fn low(extended: u64) -> u32 {
    extended as u32
}

/// Whether the operator keeps this side.
pub(super) const fn keeps(keep: KeepSide, local: bool) -> bool {
    match keep {
        KeepSide::Both | KeepSide::Invalid => true,
        KeepSide::Local => local,
        KeepSide::Remote => !local,
        KeepSide::None => false,
    }
}
