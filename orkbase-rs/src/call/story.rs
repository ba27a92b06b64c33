//! Why a call was recorded as it was, or not at all: the decisions taken, in words for the operator.
//!
//! Law: a story is told only when the settings ask for it; nothing is decided by it.

use super::{
    dialog::Progress,
    filter::Ignored,
    output::EndReason,
    session::{Call, Wanted},
};
use crate::{
    signal::{Fact, Flow, Media, Name, Security, Signal},
    time::Timestamp,
};
use std::{fmt::Write, net::SocketAddr};

/// Lines kept of one call; the rest is counted.
const MAX_LINES: usize = 400;
/// Longest line, in bytes.
const MAX_LINE_BYTES: usize = 500;

/// What happened to one call, line by line.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Story {
    /// When, and what.
    pub lines: Vec<(Timestamp, String)>,
    /// Lines that had no room.
    pub untold: u32,
}

impl Story {
    /// Adds a line.
    pub fn tell(&mut self, at: Timestamp, line: String) {
        if self.lines.len() >= MAX_LINES {
            self.untold += 1;
            return;
        }
        let mut line = line;
        if line.len() > MAX_LINE_BYTES {
            let end = (0..=MAX_LINE_BYTES).rev().find(|at| line.is_char_boundary(*at));
            line.truncate(end.unwrap_or(0));
            line.push_str("...");
        }
        self.lines.push((at, line));
    }
}

/// A call is over: what became of it.
#[derive(Clone, Debug)]
pub struct Account {
    /// Signalling's name; empty for media that nobody announced.
    pub call_id: String,
    /// Who called.
    pub from: String,
    /// Who was called.
    pub to: String,
    /// Sender and receiver of its first message, or of its first packet.
    pub between: [SocketAddr; 2],
    /// First message or packet.
    pub began: Timestamp,
    /// Tapes made of it.
    pub tapes: u32,
    /// The filter that left it out, if one did.
    pub ignored: Option<Ignored>,
    /// In one line: recorded, or why not.
    pub verdict: String,
    /// The decisions.
    pub story: Story,
}

impl Call {
    /// Adds a line to the call's story, if one is told.
    pub fn tell(&mut self, at: Timestamp, line: impl FnOnce() -> String) {
        if let Some(story) = self.story.as_mut() {
            story.tell(at, line());
        }
    }

    /// What became of the call.
    #[must_use]
    pub fn account(&mut self, why: EndReason) -> Account {
        let people = &self.dialog.people;
        let verdict = self.verdict(why);
        Account {
            call_id: self.dialog.call_id.clone(),
            from: word(&people.from),
            to: word(&people.to),
            between: [people.source, people.destination],
            began: self.dialog.course.began,
            tapes: self.tapes,
            ignored: self.ignored.clone(),
            verdict,
            story: self.story.take().map(|story| *story).unwrap_or_default(),
        }
    }

    fn verdict(&self, why: EndReason) -> String {
        match (self.tapes, &self.ignored) {
            (0, Some(ignored)) => return format!("not recorded: {ignored}"),
            (0, None) => {}
            (1, None) => return "recorded on 1 tape".to_owned(),
            (n, None) => return format!("recorded on {n} tapes"),
            (n, Some(ignored)) => {
                return format!("recorded on {n} tape(s), then no more: {ignored}");
            }
        }
        let heard: u64 = self.streams.iter().map(|s| s.sequence.received()).sum();
        let why = match (self.dialog.progress, self.wanted) {
            (_, Wanted::WhenAsked) if heard > 0 => {
                "nobody asked for it (calls.record_all = false)".to_owned()
            }
            (_, Wanted::Stopped) => "a stop command came before its first audio".to_owned(),
            _ if self.other_leg_taped => {
                "its other leg was being recorded (calls.other_leg = \"skip\")".to_owned()
            }
            _ if heard > 0 => format!("none of its {heard} packets was audio to be kept"),
            (Progress::Failing { code, .. }, _) => format!("not answered ({code})"),
            (Progress::Offered, _) => match why {
                EndReason::Broken => "given up: a fault of the recorder".to_owned(),
                EndReason::Evicted => "given up, too many calls (calls.max_calls)".to_owned(),
                EndReason::HungUp
                | EndReason::Silent
                | EndReason::Stopped
                | EndReason::Shutdown
                | EndReason::Segment
                | EndReason::TooLong => "no answer was seen".to_owned(),
            },
            (Progress::Answered { .. } | Progress::Ended { .. }, _) => {
                let places: Vec<String> = self
                    .dialog
                    .announced
                    .iter()
                    .filter(|known| known.audio)
                    .map(|known| known.address.to_string())
                    .collect();
                if places.is_empty() {
                    "no audio was announced".to_owned()
                } else {
                    format!(
                        "no audio came: announced at {}; does the mirror carry it?",
                        places.join(", ")
                    )
                }
            }
        };
        format!("not recorded: {why}")
    }
}

/// A party in words.
fn word(name: &Name) -> String {
    if name.user.is_empty() { name.host.clone() } else { name.user.clone() }
}

/// A signal in words.
#[must_use]
pub fn describe(signal: &Signal) -> String {
    let mut line = match &signal.fact {
        Fact::Offered(offer) => {
            let kind = if offer.initial { "call offered" } else { "change offered" };
            let mut line = format!("{kind} by {} to {}", word(&signal.from), word(&signal.to));
            if offer.request.user != signal.to.user && !offer.request.user.is_empty() {
                push(&mut line, format_args!(" (sent to {})", offer.request.user));
            }
            if let Some(asserted) = &offer.asserted {
                push(&mut line, format_args!(", caller asserted as {}", word(asserted)));
            }
            if !offer.diverted_by.is_empty() {
                push(&mut line, format_args!(", diverted by {}", offer.diverted_by));
            }
            if let Some(replaces) = &offer.replaces {
                push(&mut line, format_args!(", replaces {replaces}"));
            }
            announce(&mut line, offer.media.as_deref());
            line
        }
        Fact::Accepted { code, media } => {
            let mut line = match code {
                200..=299 => format!("accepted ({code})"),
                _ => format!("goes ahead ({code})"),
            };
            announce(&mut line, media.as_deref());
            line
        }
        Fact::MediaStated(media) => {
            let mut line = "media stated".to_owned();
            announce(&mut line, Some(media));
            line
        }
        Fact::Refused { code } => format!("refused ({code})"),
        Fact::Cancelled => "given up by the caller".to_owned(),
        Fact::Ended => "hung up".to_owned(),
        Fact::Digit { digit, .. } => format!("digit {digit} in signalling"),
        Fact::Transferred { target, replaces } => match replaces {
            Some(call) => format!("told to call {target}, replacing {call}"),
            None => format!("told to call {target}"),
        },
    };
    if let Some(cause) = &signal.remarks.cause {
        push(&mut line, format_args!(", cause {cause}"));
    }
    format!("{} > {}: {line}", signal.source, signal.destination)
}

/// Writing to a string cannot fail.
fn push(line: &mut String, what: std::fmt::Arguments<'_>) {
    let written = line.write_fmt(what);
    debug_assert!(written.is_ok(), "memory");
}

fn announce(line: &mut String, media: Option<&[Media]>) {
    for stream in media.unwrap_or_default() {
        let kind = if stream.audio { "audio" } else { "other media" };
        let place =
            stream.address.map_or_else(|| "an unknown address".to_owned(), |a| a.to_string());
        push(line, format_args!("; {kind} at {place}:{}", stream.port));
        if stream.audio {
            let names: Vec<&str> = stream.formats.iter().map(|f| f.name.as_str()).collect();
            push(line, format_args!(" ({})", names.join(" ")));
        }
        line.push_str(match stream.flow {
            Flow::SendReceive => "",
            Flow::SendOnly => " sends only",
            Flow::ReceiveOnly => " receives only",
            Flow::Inactive => " inactive",
        });
        line.push_str(match &stream.security {
            Security::Clear => "",
            Security::Sdes(_) => ", SRTP with keys",
            Security::Sealed(_) => ", ",
        });
        if let Security::Sealed(name) = stream.security {
            push(line, format_args!("{name}: cannot be decrypted"));
        }
    }
}
