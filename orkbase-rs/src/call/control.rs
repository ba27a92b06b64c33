//! Operators' commands: which call is meant, and what is done to it.
//!
//! Law: a command changes what is kept from now on; what was kept or left out before stays so.

use super::{
    command::{Command, Quality, Reply, Target},
    dialog::Progress,
    index::CallSlot,
    output::{EndReason, MarkKind, Output},
    session::{Call, Wanted},
    switchboard::Switchboard,
};
use crate::{message::tape::Stage, time::Timestamp};

impl Switchboard {
    /// Applies an operator's request.
    #[must_use]
    pub fn handle_command(&mut self, now: Timestamp, command: &Command) -> Reply {
        self.pass_time(now);
        let (Command::Record(target, _) | Command::Pause(target) | Command::Stop(target)) = command;
        let Some(slot) = self.find(target) else { return Reply::default() };
        let Some(call) = self.calls.get_mut(slot as usize).and_then(Option::as_mut) else {
            return Reply::default();
        };
        let reply = Reply {
            matched: 1,
            orkuid: call.recording.as_ref().map(|recording| recording.orkuid.clone()),
            quality: quality(call),
        };
        match command {
            Command::Record(_, keep) => {
                call.wanted = Wanted::Yes;
                call.ondemand = true;
                for stream in &mut call.streams {
                    stream.anew = true;
                }
                if let Some(recording) = call.recording.as_mut() {
                    if recording.paused {
                        recording.mark(now, MarkKind::Record);
                    }
                    recording.go_on();
                    recording.ondemand = true;
                    recording.keep = *keep;
                    recording.tags.insert("ondemand".to_owned(), "true".to_owned());
                    let message =
                        recording.message(Stage::Update, &self.settings.host, &call.dialog.call_id);
                    self.outputs.push_back(Output::Told(Box::new(message)));
                }
            }
            Command::Pause(_) => {
                if let Some(recording) = call.recording.as_mut() {
                    if !recording.paused {
                        recording.mark(now, MarkKind::Pause);
                    }
                    recording.pause();
                }
            }
            Command::Stop(_) => {
                call.wanted = Wanted::Stopped;
                self.close_recording(slot, EndReason::Stopped);
            }
        }
        reply
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
                let wanted =
                    |slot: &CallSlot| self.call(*slot).is_some_and(|call| call.ignored.is_none());
                self.by_id.get(id).copied().filter(wanted)
            }
            Target::OrkUid(uid) => {
                newest(&|call| call.recording.as_ref().is_some_and(|r| r.orkuid == *uid))
            }
            Target::Party(party) => newest(&|call| {
                let over = matches!(
                    call.dialog.progress,
                    Progress::Ended { .. } | Progress::Failing { .. }
                );
                let people = &call.dialog.people;
                match &call.recording {
                    Some(r) => [&r.parties.local, &r.parties.remote].contains(&party),
                    None => !over && [&people.from.user, &people.to.user].contains(&party),
                }
            }),
        }
    }
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
