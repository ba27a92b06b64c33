//! Media that no call has announced, or not yet: watched, adopted by the call that announces it, or a call of
//! its own.
//!
//! Law: what was kept of a flow before its call was known is taken in as it came, in order of capture.

use super::{
    dialog::{Announced, Dialog},
    index::{EndpointOwner, FlowId},
    party::Role,
    switchboard::Switchboard,
};
use crate::{audio::kinds, rtp::packet::RtpPacket, signal::Format, time::Timestamp};
use std::net::SocketAddr;

impl Switchboard {
    /// Takes in a UDP payload that is neither of a known flow nor signalling.
    pub fn handle_stray(
        &mut self,
        at: Timestamp,
        source: SocketAddr,
        destination: SocketAddr,
        payload: &[u8],
    ) {
        let Ok(rtp) = RtpPacket::decode(payload) else {
            return self.not_rtp(at, FlowId::new(source, destination), payload);
        };
        if rtp.payload.is_empty() || !kinds::may_be_audio(rtp.payload_type) {
            self.counters.other_datagrams += 1;
            return;
        }
        let flow = FlowId::new(source, destination);
        if let Some((slot, role)) = self.owner_of(flow) {
            if self.tails.has(at, flow, rtp.ssrc, rtp.sequence) {
                self.counters.rtp_unwanted += 1;
                return;
            }
            self.bind(at, flow, slot, role, &rtp);
            return;
        }
        if self.is_known_endpoint(source) || self.is_known_endpoint(destination) {
            // Video, fax, or a call that is over: announced, and not to be recorded.
            self.counters.rtp_unwanted += 1;
            return;
        }
        self.counters.candidate_packets += 1;
        let count = self.candidates.watch(at, flow, &rtp, payload);
        self.counters.candidate_dropped = self.candidates.dropped;
        let after = self.settings.unannounced_after;
        // A dynamic payload type that nobody gave a meaning may be video.
        if after > 0 && count >= after && self.unannounced(rtp.payload_type).is_some() {
            self.begin_unannounced(at, flow);
        }
    }

    /// What a payload type means when nobody announced it.
    pub(super) fn unannounced(&self, payload_type: u8) -> Option<Format> {
        let stated =
            self.settings.payload_types.iter().find(|format| format.payload_type == payload_type);
        stated.cloned().or_else(|| kinds::static_format(payload_type))
    }

    fn is_known_endpoint(&self, address: SocketAddr) -> bool {
        !self.endpoints.owners(address).is_empty()
    }

    /// Endpoints were announced: flows that were only watched so far may be its media.
    pub(super) fn adopt_candidates(&mut self, addresses: &[SocketAddr]) {
        let mut kept = Vec::new();
        for address in addresses {
            for flow in self.candidates.touching(*address) {
                if self.owner_of(flow).is_some() {
                    let packets = self.candidates.take(self.now, flow).into_iter();
                    kept.extend(packets.map(|packet| (flow, packet)));
                }
            }
        }
        // As they came: the tape begins with the first.
        kept.sort_by_key(|(_, packet)| packet.at);
        for (flow, packet) in kept {
            self.replay(packet.at, flow, &packet.bytes);
        }
    }

    pub(super) fn replay(&mut self, at: Timestamp, flow: FlowId, bytes: &[u8]) {
        let now = self.now;
        let call = self.owner_of(flow).and_then(|(slot, _)| self.call_mut(slot));
        if let Some(recording) = call.and_then(|call| call.recording.as_mut())
            && at < recording.begin
            && !recording.may_begin_earlier(now)
        {
            self.counters.rtp_late += 1;
            return;
        }
        if let Some(owner) = self.flows.owner(flow) {
            self.known_flow(at, flow, owner, bytes);
        } else if let Ok(rtp) = RtpPacket::decode(bytes)
            && let Some((slot, role)) = self.owner_of(flow)
        {
            self.bind(at, flow, slot, role, &rtp);
        }
    }

    /// RTP that nobody announced has gone on long enough to be a call.
    fn begin_unannounced(&mut self, at: Timestamp, flow: FlowId) {
        let first = self.candidates.first(flow).unwrap_or(at);
        let dialog = Dialog::bare(first, flow.source(), flow.destination());
        let Some(slot) = self.admit(dialog) else { return };
        self.counters.calls_unannounced += 1;
        if let Some(call) = self.call_mut(slot) {
            call.tell(first, || "media without signalling".to_owned());
        }
        let ends = [(flow.source(), Role::Caller), (flow.destination(), Role::Callee)];
        for (address, role) in ends {
            let owner = EndpointOwner { call: slot, role, audio: true };
            self.endpoints.announce(address, owner);
            if let Some(call) = self.call_mut(slot) {
                let known = Announced { role, address, audio: true, since: first };
                call.dialog.announced.push(known);
            }
        }
        self.adopt_candidates(&[flow.source(), flow.destination()]);
    }
}
