//! The life of a tape: begun with the first packet, handed over piece by piece, closed with an account.
//!
//! Law: outputs of one tape come in order: opened, audio, closed; nothing follows the last.

use super::{
    index::CallSlot,
    output::{Closing, EndReason, Opening, Output, TapeId},
    party::Side,
    policy::{decide, decide_bare},
    recording::Recording,
    session::Call,
    stream::Meaning,
    switchboard::Switchboard,
};
use crate::{
    audio::kinds::{Kind, kind},
    ids::OrkUid,
    message::tape::{KeepSide, Stage},
    rtp::timeline::{TICKS_PER_SEC, millis_from_ticks, ticks_from_nanos},
    time::Timestamp,
};
use std::collections::BTreeMap;

impl Switchboard {
    /// Begins a tape; the stream `role` sent the packet that begins it at `tick`.
    pub(super) fn open_recording(&mut self, slot: CallSlot, at: Timestamp, tick: i64) {
        let bytes = self.empty_block();
        let tracking_id = self.ids.next_id();
        let tape = TapeId(self.next_tape);
        self.next_tape += 1;
        let Some(call) = self.calls.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let people = &call.dialog.people;
        let parties = if call.dialog.is_signalled() {
            decide(&self.settings.parties, people)
        } else {
            decide_bare(&self.settings.parties, people.source, people.destination)
        };
        let rate = self.settings.tape_rate.unwrap_or_else(|| native_rate(call));
        let orkuid = OrkUid::new(at, &self.settings.zone, tracking_id);
        let facts = super::naming::NameFacts {
            orkuid: &orkuid,
            tracking_id: tracking_id.as_str(),
            native_call_id: &call.dialog.call_id,
            parties: &parties,
            hostname: &self.settings.host.hostname,
            start: at,
        };
        let path = self.settings.naming.path(&facts, &self.settings.zone);
        let mut tags: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in &people.headers {
            if self.settings.tag_headers.iter().any(|tag| tag.eq_ignore_ascii_case(name)) {
                tags.insert(name.clone(), value.clone());
            }
        }
        if call.ondemand {
            tags.insert("ondemand".to_owned(), "true".to_owned());
        }
        let recording = Recording {
            tape,
            tracking_id,
            orkuid: orkuid.clone(),
            path: path.clone(),
            start: at,
            start_tick: tick,
            end_tick: tick,
            paused: false,
            keep: KeepSide::Both,
            ondemand: call.ondemand,
            parties,
            tags,
            digits: Vec::new(),
            legs: 0,
            bytes,
            news: Vec::new(),
            block_since: tick,
        };
        let message = recording.message(Stage::Start, &self.settings.host, &call.dialog.call_id);
        call.recording = Some(recording);
        self.counters.tapes_opened += 1;
        let opening = Opening { tape, orkuid, start: at, path, rate, message: message.clone() };
        self.outputs.push_back(Output::Opened(Box::new(opening)));
        self.outputs.push_back(Output::Told(Box::new(message)));
    }

    /// Hands the gathered audio of a call over.
    pub(super) fn hand_over(&mut self, slot: CallSlot) {
        let empty = self.empty_block();
        let now = self.now;
        let Some(call) = self.call_mut(slot) else { return };
        let tick = ticks_from_nanos(now.nanos_since(call.epoch.unwrap_or(now)));
        let Some(recording) = call.recording.as_mut() else { return };
        let block = recording.take_block(tick, empty);
        recording.block_since = tick;
        self.outputs.push_back(Output::Audio(block));
    }

    /// Ends the tape of a call, if it has one; the streams begin anew with the next.
    pub(super) fn close_recording(&mut self, slot: CallSlot, why: EndReason) {
        if self.call(slot).is_none_or(|call| call.recording.is_none()) {
            return;
        }
        self.hand_over(slot);
        let Some(call) = self.calls.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let Some(mut recording) = call.recording.take() else { return };
        let local_role = recording.parties.local_role;
        let side = |role| if role == local_role { Side::Local } else { Side::Remote };
        let legs: Vec<_> = call
            .streams
            .iter()
            .filter(|stream| stream.introduced == recording.tape)
            .map(|stream| stream.report(side(stream.role)))
            .collect();
        super::report::add_quality(&mut recording.tags, &legs);
        let ticks = recording.end_tick - recording.start_tick;
        let mut message = recording.message(Stage::Stop, &self.settings.host, &call.dialog.call_id);
        message.duration = u64::try_from(ticks / TICKS_PER_SEC).unwrap_or(0);
        self.outputs.push_back(Output::Told(Box::new(message.clone())));
        self.outputs.push_back(Output::Closed(Box::new(Closing {
            tape: recording.tape,
            why,
            start: recording.start,
            duration_ms: millis_from_ticks(ticks),
            legs,
            digits: recording.digits,
            message,
        })));
        self.counters.tapes_closed += 1;
        call_over(call);
        let flows = std::mem::take(&mut call.flows);
        self.recycle(recording.bytes);
        for flow in flows {
            self.flows.unbind(flow, slot);
        }
    }

    /// Forgets a call with all that points to it.
    pub(super) fn end_call(&mut self, slot: CallSlot, why: EndReason) {
        self.close_recording(slot, why);
        let Some(call) = self.calls.get_mut(slot as usize).and_then(Option::take) else { return };
        for flow in &call.flows {
            self.flows.unbind(*flow, slot);
        }
        for announced in &call.dialog.announced {
            self.endpoints.forget(announced.address, slot);
        }
        if self.by_id.get(&call.dialog.call_id) == Some(&slot) {
            self.by_id.remove(&call.dialog.call_id);
        }
        self.free.push(slot);
        self.live -= 1;
    }

    /// The people were named after the tape began: say so, and let the tape have the names.
    pub(super) fn rename(&mut self, slot: CallSlot) {
        let Some(call) = self.calls.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let parties = decide(&self.settings.parties, &call.dialog.people);
        let Some(recording) = call.recording.as_mut() else { return };
        // Channels are laid out already: the local role stays.
        if parties.local_role == recording.parties.local_role {
            recording.parties = parties;
            let message =
                recording.message(Stage::Update, &self.settings.host, &call.dialog.call_id);
            self.outputs.push_back(Output::Told(Box::new(message)));
        }
    }
}

/// Samples a second that keep the widest voice of a call: of the streams heard so far, and of what
/// the callee chose.
fn native_rate(call: &Call) -> u32 {
    let heard = call.streams.iter().filter_map(|stream| match stream.meaning {
        Meaning::Audio { format, .. } => Some(format.sample_rate()),
        Meaning::Unknown | Meaning::Undecodable | Meaning::Event | Meaning::Foreign => None,
    });
    let chosen = match kind(call.dialog.chosen()) {
        Kind::Audio(codec) => Some(codec.sample_rate()),
        Kind::Event | Kind::Unknown => None,
    };
    let widest = heard.chain(chosen).max().unwrap_or(8_000);
    // Odd rates (11,025 and the like) are converted up to the next common one.
    [8_000, 16_000, 24_000, 32_000, 48_000]
        .into_iter()
        .find(|rate| *rate >= widest)
        .unwrap_or(48_000)
}

/// The streams of a tape that is over are of no further use.
fn call_over(call: &mut Call) {
    call.streams.clear();
    call.active = [None, None];
}
