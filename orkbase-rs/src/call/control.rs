//! Operators' commands: which call is meant, and what is done to it.
//!
//! Law: a command changes what is kept from now on; what was kept or left out before stays so. The only
//! exception is asked for in the settings: what was said just before `record`.

use super::{
    command::{Command, Quality, Reply, Retention, Target},
    dialog::Progress,
    index::CallSlot,
    output::{AddTag, EndReason, MarkKind, Output},
    party::Side,
    session::{Call, Wanted},
    switchboard::Switchboard,
};
use crate::{
    message::{
        tag::AddTagMessage,
        tape::{KeepSide, Stage},
    },
    time::Timestamp,
};

/// Tag that says whether a recording is to be kept.
pub(super) const KEEP: &str = "Keep";
/// Tags that operators put on a call.
pub const MAX_TAGS: usize = 64;
/// Longest type, and longest text, of such a tag, in bytes.
pub const MAX_TAG_BYTES: usize = 512;

impl Switchboard {
    /// Applies an operator's request.
    #[must_use]
    pub fn handle_command(&mut self, now: Timestamp, command: &Command) -> Reply {
        self.pass_time(now);
        let Some(slot) = self.find(command.target()) else { return Reply::default() };
        self.touched = Some(slot);
        self.look_at(slot);
        let mut reply = Reply { matched: 1, ..self.reply(slot) };
        match command {
            Command::Record(_, keep) => {
                self.record(slot, now, *keep);
                // It may have begun just now, with what was said before.
                reply.orkuid = self.reply(slot).orkuid;
            }
            Command::Pause(_) => self.pause(slot, now),
            Command::Stop(_) => self.stop(slot),
            Command::Split(_) => self.close_recording(slot, EndReason::Segment),
            Command::Flag(_, retention) => self.flag(slot, *retention),
            Command::Tag(_, tags) if self.tag(slot, now, tags) == 0 => return Reply::default(),
            Command::Tag(..) | Command::Look(_) => {}
        }
        reply
    }

    /// What is told of a call's recording.
    fn reply(&self, slot: CallSlot) -> Reply {
        let Some(call) = self.call(slot) else { return Reply::default() };
        let orkuid = call.recording.as_ref().map(|recording| recording.orkuid.clone());
        Reply { orkuid, quality: quality(call), ..Reply::default() }
    }

    fn record(&mut self, slot: CallSlot, now: Timestamp, keep: KeepSide) {
        self.resume(slot, now, MarkKind::Record);
        let Some(call) = self.call_mut(slot) else { return };
        let waited = call.wanted == Wanted::WhenAsked;
        let marked = call.kept_from == now;
        call.wanted = Wanted::Yes;
        call.ondemand = true;
        call.keep = keep;
        let Some(recording) = call.recording.as_mut() else {
            if waited {
                self.relive(slot, now);
            }
            let recording = self.call_mut(slot).and_then(|call| call.recording.as_mut());
            recording.into_iter().for_each(|recording| recording.mark(now, MarkKind::Record));
            return;
        };
        if !marked {
            recording.mark(now, MarkKind::Record);
        }
        recording.ondemand = true;
        recording.keep = keep;
        recording.tags.insert("ondemand".to_owned(), "true".to_owned());
        self.update(slot);
    }

    fn stop(&mut self, slot: CallSlot) {
        self.close_recording(slot, EndReason::Stopped);
        let Some(Some(call)) = self.calls.get_mut(slot as usize) else { return };
        call.wanted = Wanted::Stopped;
        call.paused = None;
        self.recent_bytes -= call.recent.take().map_or(0, |recent| recent.cost());
    }

    fn flag(&mut self, slot: CallSlot, retention: Retention) {
        let Some(call) = self.call_mut(slot) else { return };
        call.retention = retention;
        if let Some(recording) = call.recording.as_mut() {
            match retention.tag() {
                Some(value) => recording.tags.insert(KEEP.to_owned(), value.to_owned()),
                None => recording.tags.remove(KEEP),
            };
            self.update(slot);
        }
    }

    /// Puts tags on a call: told at once if it has a tape, or when it has one. Of a key that is there
    /// already the new text counts. 0 when there are too many, or one is too long: none is put on then.
    fn tag(&mut self, slot: CallSlot, now: Timestamp, tags: &[(String, String)]) -> u32 {
        let Some(Some(call)) = self.calls.get_mut(slot as usize) else { return 0 };
        let fits = |text: &String| text.len() <= MAX_TAG_BYTES;
        let new = tags.iter().filter(|(key, _)| !call.tags.contains_key(key)).count();
        let good = tags.iter().all(|(key, text)| !key.is_empty() && fits(key) && fits(text));
        if !good || call.tags.len() + new > MAX_TAGS {
            self.counters.tags_refused += 1;
            return 0;
        }
        call.tags.extend(tags.iter().cloned());
        let Some(recording) = call.recording.as_mut() else { return 1 };
        for (key, text) in tags {
            recording.tags.insert(key.clone(), text.clone());
            let message = AddTagMessage {
                localparty: recording.parties.local.clone(),
                orkuid: recording.orkuid.to_string(),
                tagtype: key.clone(),
                tagtext: text.clone(),
                offsetmsec: recording.offset_ms(now),
            };
            let tag = AddTag { tape: recording.tape, side: Side::Local, message };
            self.outputs.push_back(Output::Tagged(Box::new(tag)));
        }
        1
    }

    /// Tells that what is said of a recording has changed.
    fn update(&mut self, slot: CallSlot) {
        let Some(call) = self.calls.get(slot as usize).and_then(Option::as_ref) else { return };
        let Some(recording) = call.recording.as_ref() else { return };
        let message = recording.message(Stage::Update, &self.settings.host, &call.dialog.call_id);
        self.outputs.push_back(Output::Told(Box::new(message)));
    }

    /// The newest call that matches.
    fn find(&self, target: &Target) -> Option<CallSlot> {
        let newest = |fits: &dyn Fn(&Call) -> bool| {
            let fit = |(index, call): (usize, &Option<Call>)| {
                // What a filter left out cannot be asked for.
                let call = call.as_ref().filter(|call| call.ignored.is_none() && fits(call))?;
                let begun = call.recording.as_ref().map(|r| r.start);
                Some(((begun, call.dialog.last_signal, index), CallSlot::try_from(index).ok()?))
            };
            self.calls.iter().enumerate().filter_map(fit).max().map(|(_, slot)| slot)
        };
        match target {
            Target::NativeCallId(id) => {
                let wanted = |slot: &CallSlot| {
                    self.call(*slot).is_some_and(|call| call.ignored.is_none() && !is_over(call))
                };
                self.by_id.get(id).copied().filter(wanted)
            }
            Target::OrkUid(uid) => {
                newest(&|call| call.recording.as_ref().is_some_and(|r| r.orkuid == *uid))
            }
            Target::Party(party) => newest(&|call| {
                let people = &call.dialog.people;
                match &call.recording {
                    Some(r) => [&r.parties.local, &r.parties.remote].contains(&party),
                    None => !is_over(call) && [&people.from.user, &people.to.user].contains(&party),
                }
            }),
        }
    }
}

/// Whether nothing of a call can be recorded any more.
const fn is_over(call: &Call) -> bool {
    let hung_up = matches!(call.dialog.progress, Progress::Ended { .. } | Progress::Failing { .. });
    call.recording.is_none() && hung_up
}

fn quality(call: &Call) -> Quality {
    let mut quality = Quality::default();
    for stream in &call.streams {
        quality.packets += stream.sequence.received();
        quality.missing += stream.sequence.lost();
        quality.gaps += stream.gaps;
        quality.longest_gap = quality.longest_gap.max(stream.longest_gap);
    }
    quality
}
