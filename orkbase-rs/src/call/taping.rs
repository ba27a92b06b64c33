//! The life of a tape: begun with the first packet, handed over piece by piece, closed with an account.
//!
//! Law: outputs of one tape come in order: opened, audio, closed; nothing follows the last.

use super::{
    command::Retention,
    control::KEEP,
    course::CallFacts,
    dialog::Progress,
    index::CallSlot,
    keeping::{KeepPackets, Kept},
    output::{Closing, EndReason, Opening, Output, TapeId},
    party::Side,
    policy::{decide, decide_bare},
    recording::Recording,
    session::Call,
    stream::Meaning,
    switchboard::Switchboard,
};
use crate::{
    audio::{
        block::BLOCK_BYTES,
        kinds::{Kind, kind},
    },
    ids::OrkUid,
    message::tape::Stage,
    rtp::timeline::{TICKS_PER_SEC, millis_from_ticks, ticks_from_nanos},
    time::Timestamp,
};
use std::collections::BTreeMap;

impl Switchboard {
    /// Begins a tape; the stream `role` sent the packet that begins it at `tick`.
    pub(super) fn open_recording(&mut self, slot: CallSlot, at: Timestamp, tick: i64) {
        self.look_at(slot);
        let Some(call) = self.calls.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let people = &call.dialog.people;
        let parties = if call.dialog.is_signalled() {
            decide(&self.settings.parties, people)
        } else {
            decide_bare(&self.settings.parties, people.source, people.destination)
        };
        if let Some(why) = self.settings.filters.parties(&parties) {
            return self.ignore(slot, why);
        }
        let bytes = self.pool.pop().unwrap_or_else(|| Vec::with_capacity(BLOCK_BYTES));
        let tracking_id = self.ids.next_id();
        let tape = TapeId(self.next_tape);
        self.next_tape += 1;
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
        let course = &call.dialog.course;
        if let Some(conversation) = &course.conversation {
            tags.insert("conversation".to_owned(), conversation.clone());
        }
        if !course.diverted_by.is_empty() {
            tags.insert("diverted".to_owned(), course.diverted_by.clone());
        }
        if let Some(first) = &call.first_tape {
            tags.insert("part".to_owned(), (call.tapes + 1).to_string());
            tags.insert("firstpart".to_owned(), first.to_string());
        }
        if let Some(legs) = &course.legs {
            self.leg_tapes.entry(legs.clone()).or_insert(tape);
        }
        call.tapes += 1;
        call.first_tape.get_or_insert_with(|| orkuid.clone());
        if call.ondemand {
            tags.insert("ondemand".to_owned(), "true".to_owned());
        }
        if let Some(keep) = call.retention.tag() {
            tags.insert(KEEP.to_owned(), keep.to_owned());
        }
        tags.extend(call.tags.clone());
        let recording = Recording {
            tape,
            tracking_id,
            orkuid: orkuid.clone(),
            path: path.clone(),
            start: at,
            begin: at,
            set_by: 0,
            start_tick: tick,
            end_tick: tick,
            paused: false,
            odd: false,
            pauses: 0,
            paused_ms: 0,
            cut: 0,
            floor: i64::MIN,
            kept: Kept::default(),
            keep: call.keep,
            ondemand: call.ondemand,
            parties,
            tags,
            digits: Vec::new(),
            marks: Vec::new(),
            legs: 0,
            bytes,
            news: Vec::new(),
            block_since: tick,
            handed_over: false,
        };
        let message = recording.message(Stage::Start, &self.settings.host, &call.dialog.call_id);
        let parties = &recording.parties;
        let line = || {
            format!(
                "tape {} begins: local party {} ({}), remote party {}, direction {}",
                message.recid,
                parties.local,
                parties.because,
                parties.remote,
                parties.direction.as_str()
            )
        };
        if let Some(story) = call.story.as_mut() {
            story.tell(at, line());
        }
        call.recording = Some(recording);
        self.counters.tapes_opened += 1;
        let opening = Opening { tape, orkuid, start: at, path, rate, message: message.clone() };
        self.outputs.push_back(Output::Opened(Box::new(opening)));
        self.outputs.push_back(Output::Told(Box::new(message)));
        if self.settings.keep_packets == KeepPackets::Always {
            self.begin_keeping(slot);
        }
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
        let packets = recording.kept.take(recording.tape);
        self.outputs.push_back(Output::Audio(block));
        self.outputs.extend(packets.map(Output::Packets));
    }

    /// Ends the tape of a call, if it has one; the streams begin anew with the next.
    pub(super) fn close_recording(&mut self, slot: CallSlot, why: EndReason) {
        if self.call(slot).is_none_or(|call| call.recording.is_none()) {
            return;
        }
        self.hand_over(slot);
        if let Some(mut call) = self.calls.get_mut(slot as usize).and_then(Option::take) {
            self.give_up_early(&mut call);
            if let Some(place) = self.calls.get_mut(slot as usize) {
                *place = Some(call);
            }
        }
        let Some(call) = self.calls.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let Some(mut recording) = call.recording.take() else { return };
        if let Some(since) = call.paused {
            recording.paused_ms += self.now.millis_since(since.max(recording.start));
        }
        let local_role = recording.parties.local_role;
        let side = |role| if role == local_role { Side::Local } else { Side::Remote };
        let legs: Vec<_> = call
            .streams
            .iter()
            .filter(|stream| stream.introduced == recording.tape)
            .map(|stream| stream.report(side(stream.role)))
            .collect();
        let people = &call.dialog.people;
        let facts = CallFacts::new(
            &call.dialog.course,
            local_role,
            [people.source, people.destination],
            recording.parties.because,
        );
        super::report::add_quality(&mut recording.tags, &legs);
        super::report::add_packets(&mut recording.tags, &recording.kept);
        super::report::add_facts(&mut recording.tags, &facts, &recording.marks);
        super::report::add_pauses(&mut recording.tags, recording.pauses, recording.paused_ms);
        let ticks = recording.end_tick - recording.start_tick;
        let mut message = recording.message(Stage::Stop, &self.settings.host, &call.dialog.call_id);
        // That of the call, as ever, whatever was cut out of it.
        message.duration = u64::try_from((ticks + recording.cut) / TICKS_PER_SEC).unwrap_or(0);
        self.outputs.push_back(Output::Told(Box::new(message.clone())));
        self.outputs.push_back(Output::Closed(Box::new(Closing {
            tape: recording.tape,
            why,
            start: recording.told(recording.begin),
            duration_ms: millis_from_ticks(ticks),
            legs,
            digits: recording.digits,
            facts,
            marks: recording.marks,
            discard: call.retention == Retention::Discard,
            message,
        })));
        self.counters.tapes_closed += 1;
        if let Some(story) = call.story.as_mut() {
            story.tell(
                self.now,
                format!(
                    "tape {} ends ({}) after {} ms",
                    recording.orkuid,
                    why.as_str(),
                    millis_from_ticks(ticks)
                ),
            );
        }
        if let Some(legs) = &call.dialog.course.legs
            && self.leg_tapes.get(legs) == Some(&recording.tape)
        {
            self.leg_tapes.remove(legs);
        }
        self.recycle(recording.bytes);
        self.unbind_flows(slot);
        if let Some(call) = self.call_mut(slot) {
            call_over(call);
        }
        self.line_up(slot);
    }

    /// Lets go of the flows of a call; what still comes over them after a hang-up is remembered.
    pub(super) fn unbind_flows(&mut self, slot: CallSlot) {
        let Some(call) = self.calls.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let flows = std::mem::take(&mut call.flows);
        for flow in flows {
            let owner = self.flows.owner(flow).filter(|owner| owner.call == slot);
            let stream = owner.and_then(|owner| call.streams.get(usize::from(owner.stream)));
            if let (Progress::Ended { at }, Some(stream)) = (call.dialog.progress, stream) {
                self.tails.leave(flow, stream.ssrc, stream.sequence.newest(), at);
            }
            self.flows.unbind(flow, slot);
        }
    }

    /// Forgets a call with all that points to it.
    pub(super) fn end_call(&mut self, slot: CallSlot, why: EndReason) {
        self.close_recording(slot, why);
        self.unbind_flows(slot);
        let Some(mut call) = self.calls.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        self.leave_queue(slot, &call);
        self.forget_letters(&mut call);
        self.forget_recent(&mut call);
        if call.story.is_some() || call.ignored.is_some() {
            self.outputs.push_back(Output::Over(Box::new(call.account(why))));
        }
        for announced in &call.dialog.announced {
            self.endpoints.forget(announced.address, slot);
        }
        if self.by_id.get(&call.dialog.call_id) == Some(&slot) {
            self.by_id.remove(&call.dialog.call_id);
        }
        self.vacate(slot);
        self.live -= 1;
    }
}

/// Samples a second that keep the widest voice of a call: of the streams heard so far, and of what
/// the callee chose.
fn native_rate(call: &Call) -> u32 {
    let heard = call.streams.iter().filter_map(|stream| match stream.meaning {
        Meaning::Audio { format, .. } => Some(format.sample_rate()),
        Meaning::Unknown
        | Meaning::Undecodable
        | Meaning::Event
        | Meaning::Foreign
        | Meaning::Redundant => None,
    });
    let audio = |format| match kind(Some(format)) {
        Kind::Audio(codec) => Some(codec.sample_rate()),
        Kind::Event | Kind::Redundant | Kind::Unknown => None,
    };
    let chosen = call.dialog.chosen().iter().find_map(audio);
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
