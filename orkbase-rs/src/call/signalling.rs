//! What signals do to calls: they begin, are named, linked, answered, held, transferred, ended.
//!
//! Law: a signal of a call that is not known begins one only if it tells enough to record it.

use super::{
    dialog::{Announced, Dialog, Progress},
    index::{CallSlot, EndpointOwner, FlowOwner},
    output::{EndReason, MarkKind, Output},
    party::{Role, Side},
    policy::decide,
    story::describe,
    switchboard::Switchboard,
};
use crate::{
    message::tape::Stage,
    signal::{Fact, Media, Offer, Signal},
    time::Timestamp,
};

/// Unannounced media is adopted by signalling that names its address if it was heard this lately, in
/// milliseconds; otherwise the port is in use anew.
const ADOPT_MS: u64 = 2_000;

impl Switchboard {
    /// Takes in a fact that signalling stated.
    pub fn handle_signal(&mut self, at: Timestamp, signal: &Signal) {
        self.pass_time(at);
        let Some(slot) = self.call_for(at, signal) else { return };
        self.touched = Some(slot);
        self.look_at(slot);
        let Some(call) = self.calls.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        call.tell(at, || describe(signal));
        match &signal.fact {
            Fact::Offered(offer) => {
                if call.dialog.offered(at, signal, offer) {
                    self.named(at, slot, signal, offer);
                }
                if offer.initial {
                    self.links.remember(at, signal, offer, &self.settings.link_headers);
                }
                self.media_stated(at, slot, signal, offer.media.as_deref());
            }
            Fact::Accepted { code, media } => {
                if call.dialog.accepted(at, signal, *code) {
                    self.counters.calls_answered += 1;
                }
                self.media_stated(at, slot, signal, media.as_deref());
            }
            Fact::MediaStated(media) => self.media_stated(at, slot, signal, Some(media)),
            Fact::Refused { code: 401 | 407 } => call.dialog.last_signal = at,
            Fact::Refused { code } => {
                self.counters.calls_failed += u64::from(call.dialog.refused(at, signal, *code));
            }
            Fact::Cancelled => {
                self.counters.calls_failed += u64::from(call.dialog.cancelled(at, signal));
            }
            Fact::Ended => {
                call.dialog.ended(at, signal);
                for stream in &mut call.streams {
                    stream.payload_type = u8::MAX;
                }
            }
            Fact::Digit { digit, number } => self.handle_digit(at, slot, signal, digit, *number),
            Fact::Transferred { target, replaces } => {
                self.transferred(at, slot, target, replaces.as_deref());
            }
        }
    }

    /// The call a signal is about; begins one when the signal can begin one.
    fn call_for(&mut self, at: Timestamp, signal: &Signal) -> Option<CallSlot> {
        let begins = match &signal.fact {
            Fact::Offered(_) => true,
            // An answer seen without its proposal still tells of a call, if it carries media.
            Fact::Accepted { media, .. } => media.is_some(),
            Fact::MediaStated(_)
            | Fact::Refused { .. }
            | Fact::Cancelled
            | Fact::Ended
            | Fact::Digit { .. }
            | Fact::Transferred { .. } => false,
        };
        if let Some(slot) = self.by_id.get(&signal.call).copied() {
            let over = self
                .call(slot)
                .is_some_and(|call| matches!(call.dialog.progress, Progress::Ended { .. }));
            let again = matches!(&signal.fact, Fact::Offered(offer) if offer.initial);
            if !(over && again) {
                return Some(slot);
            }
            self.end_call(slot, EndReason::HungUp);
        }
        if !begins {
            return None;
        }
        let mut dialog = Dialog::begin(at, signal);
        dialog.last_signal = at;
        let slot = self.admit(dialog)?;
        self.by_id.insert(signal.call.clone(), slot);
        self.counters.calls_signalled += 1;
        if let Some(why) = self.settings.filters.signalling(signal.source, signal.destination) {
            self.ignore(slot, why);
        }
        Some(slot)
    }

    /// The first proposal has named the people: which conversation the call is part of, and what
    /// becomes of a tape that is running already.
    fn named(&mut self, at: Timestamp, slot: CallSlot, signal: &Signal, offer: &Offer) {
        let headers = &self.settings.link_headers;
        let earlier = self.links.earlier_leg(at, signal, offer, headers).map(str::to_owned);
        let earlier = earlier.and_then(|id| self.by_id.get(&id).copied()).filter(|earlier| {
            let over = |progress| matches!(progress, Progress::Ended { .. });
            *earlier != slot && self.call(*earlier).is_some_and(|call| !over(call.dialog.progress))
        });
        if let Some(earlier) = earlier {
            self.pair(at, earlier, slot);
        }
        let replaced = offer.replaces.as_ref().and_then(|id| self.by_id.get(id).copied());
        let conversation = match replaced.filter(|replaced| *replaced != slot) {
            Some(replaced) => Some(self.conversation(at, replaced)),
            None => self.links.transferred(at, signal, offer).map(str::to_owned),
        };
        if let Some(conversation) = conversation {
            self.join(at, slot, &conversation);
        }
        if self.call(slot).is_some_and(|call| call.recording.is_some()) {
            self.rename(slot);
        }
    }

    /// Two calls are the legs of one through a back-to-back user agent.
    fn pair(&mut self, at: Timestamp, earlier: CallSlot, later: CallSlot) {
        let conversation = self.conversation(at, earlier);
        let Some(first) = self.call_mut(earlier) else { return };
        let id = first.dialog.call_id.clone();
        let legs = first.dialog.course.legs.get_or_insert(id).clone();
        let tape = first.recording.as_ref().map(|recording| recording.tape);
        if let Some(tape) = tape {
            self.leg_tapes.entry(legs.clone()).or_insert(tape);
        }
        if let Some(call) = self.call_mut(later) {
            call.dialog.course.legs = Some(legs);
        }
        self.join(at, later, &conversation);
    }

    /// The conversation that a call is part of; it begins one if it was alone.
    fn conversation(&mut self, at: Timestamp, slot: CallSlot) -> String {
        let known = self.call(slot).and_then(|call| call.dialog.course.conversation.clone());
        if let Some(known) = known {
            return known;
        }
        let id = self.call(slot).map(|call| call.dialog.call_id.clone()).unwrap_or_default();
        self.join(at, slot, &id);
        id
    }

    /// A call is part of a conversation from now on.
    fn join(&mut self, at: Timestamp, slot: CallSlot, conversation: &str) {
        let Some(Some(call)) = self.calls.get_mut(slot as usize) else { return };
        if call.dialog.course.conversation.as_deref() == Some(conversation) {
            return;
        }
        call.dialog.course.conversation = Some(conversation.to_owned());
        call.tell(at, || format!("part of the conversation that began with call {conversation}"));
        self.counters.calls_linked += 1;
        if let Some(recording) = call.recording.as_mut() {
            recording.tags.insert("conversation".to_owned(), conversation.to_owned());
            let message =
                recording.message(Stage::Update, &self.settings.host, &call.dialog.call_id);
            self.outputs.push_back(Output::Told(Box::new(message)));
        }
    }

    /// A party was told to call somebody else: what comes of it is the same conversation.
    fn transferred(&mut self, at: Timestamp, slot: CallSlot, target: &str, replaces: Option<&str>) {
        let conversation = self.conversation(at, slot);
        let consulted = replaces.and_then(|id| self.by_id.get(id).copied());
        if let Some(consulted) = consulted.filter(|consulted| *consulted != slot) {
            self.join(at, consulted, &conversation);
        }
        let Some(Some(call)) = self.calls.get_mut(slot as usize) else { return };
        call.dialog.last_signal = at;
        let people = [call.dialog.people.from.user.clone(), call.dialog.people.to.user.clone()];
        if let Some(recording) = call.recording.as_mut() {
            recording.tags.insert("transfer".to_owned(), target.to_owned());
            recording.mark(at, MarkKind::Transfer(target.to_owned()));
            let message =
                recording.message(Stage::Update, &self.settings.host, &call.dialog.call_id);
            self.outputs.push_back(Output::Told(Box::new(message)));
        }
        self.links.expect(at, conversation, target.to_owned(), people);
    }

    fn media_stated(
        &mut self,
        at: Timestamp,
        slot: CallSlot,
        signal: &Signal,
        media: Option<&[Media]>,
    ) {
        let Some(media) = media else { return };
        let Some(Some(call)) = self.calls.get_mut(slot as usize) else { return };
        let role = call.dialog.role_of(signal);
        let changed = call.dialog.hold(role, media);
        let announced = call.dialog.announce(at, role, media);
        for stream in &mut call.streams {
            // Payload types may mean something else from here on.
            stream.payload_type = u8::MAX;
        }
        if changed {
            self.held_or_resumed(at, slot);
        }
        self.counters.endpoints_refused += announced.refused;
        for old in announced.dropped {
            self.endpoints.forget(old, slot);
        }
        for new in announced.fresh {
            self.take_over(at, new, slot);
            let owner = EndpointOwner { call: slot, role: new.role, audio: new.audio };
            self.endpoints.announce(new.address, owner);
            self.adopt_candidates(&[new.address]);
        }
    }

    /// The call was put on hold or taken off hold: marked on the tape, and told.
    fn held_or_resumed(&mut self, at: Timestamp, slot: CallSlot) {
        let Some(Some(call)) = self.calls.get_mut(slot as usize) else { return };
        let Some(recording) = call.recording.as_mut() else { return };
        let local = recording.parties.local_role;
        let side = |role| if role == local { Side::Local } else { Side::Remote };
        let (stage, mark) = match call.dialog.held_by {
            Some(role) => (Stage::Hold, MarkKind::Hold(side(role))),
            None => (Stage::Resume, MarkKind::Resume),
        };
        recording.mark(at, mark);
        call.holds += u32::from(stage == Stage::Hold);
        if self.settings.hold_messages {
            let mut message = recording.message(stage, &self.settings.host, &call.dialog.call_id);
            // Two holds of one call must not look like one message sent twice.
            message.tags.insert("holdnumber".to_owned(), call.holds.to_string());
            self.outputs.push_back(Output::Told(Box::new(message)));
        }
    }

    /// An address that an ended call used belongs to the new call at once; so does the media that
    /// was recorded there before anybody announced it.
    fn take_over(&mut self, at: Timestamp, new: Announced, slot: CallSlot) {
        let owners: Vec<EndpointOwner> = self.endpoints.owners(new.address).to_vec();
        for owner in owners.into_iter().filter(|owner| owner.call != slot) {
            let Some(old) = self.call(owner.call) else { continue };
            let lately = at.millis_since(old.last_media) <= ADOPT_MS;
            let over = match old.dialog.progress {
                Progress::Ended { .. } | Progress::Failing { .. } => true,
                Progress::Offered | Progress::Answered { .. } => !old.dialog.is_signalled(),
            };
            if !old.dialog.is_signalled() && lately && new.audio {
                self.adopt(at, slot, owner.call, owner.role == new.role);
            } else if over {
                self.end_call(owner.call, EndReason::HungUp);
            }
        }
    }

    /// Gives a call the media that was recorded before it was announced; `same` if the roles of both
    /// are the same.
    fn adopt(&mut self, at: Timestamp, slot: CallSlot, bare: CallSlot, same: bool) {
        if self.call(slot).is_none_or(|call| !call.streams.is_empty() || call.recording.is_some()) {
            return self.end_call(bare, EndReason::HungUp);
        }
        let Some(mut old) = self.calls.get_mut(bare as usize).and_then(Option::take) else {
            return;
        };
        self.leave_queue(bare, &old);
        self.forget_recent(&mut old);
        for announced in &old.dialog.announced {
            self.endpoints.forget(announced.address, bare);
        }
        for flow in &old.flows {
            if let Some(owner) = self.flows.owner(*flow).filter(|owner| owner.call == bare) {
                self.flows.bind(*flow, FlowOwner { call: slot, ..owner });
            }
        }
        self.vacate(bare);
        self.live -= 1;
        self.counters.calls_adopted += 1;
        let turned = |role: Role| if same { role } else { role.other() };
        for stream in &mut old.streams {
            stream.role = turned(stream.role);
            stream.payload_type = u8::MAX;
        }
        if !same {
            old.active.swap(0, 1);
        }
        let Some(call) = self.call_mut(slot) else { return };
        call.streams = std::mem::take(&mut old.streams);
        call.active = old.active;
        call.flows = std::mem::take(&mut old.flows);
        call.epoch = old.epoch;
        call.last_media = old.last_media;
        call.presses = std::mem::take(&mut old.presses);
        call.tapes = old.tapes;
        call.first_tape = old.first_tape.take();
        call.recording = old.recording.take();
        call.inherit(&mut old);
        if let Some(recording) = call.recording.as_mut() {
            recording.parties.local_role = turned(recording.parties.local_role);
        }
        call.tell(at, || "its media was being recorded already, unannounced".to_owned());
        self.rename(slot);
    }

    /// The people were named after the tape began: say so, and let the tape have the names.
    fn rename(&mut self, slot: CallSlot) {
        let Some(call) = self.calls.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let Some(recording) = call.recording.as_mut() else { return };
        // Channels are laid out already: who is on the left stays local.
        let parties = decide(&self.settings.parties, &call.dialog.people);
        recording.parties = parties.seen_by(recording.parties.local_role);
        let message = recording.message(Stage::Update, &self.settings.host, &call.dialog.call_id);
        self.outputs.push_back(Output::Told(Box::new(message)));
    }
}
