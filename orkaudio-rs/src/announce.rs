//! Tells everybody what happens to recordings: the trackers, the event stream, the list of live calls.

use crate::{
    engine::Listener,
    http::EventHub,
    tape::{
        finish::{Finished, Outcome, Report},
        ledger,
    },
    track::ReporterHandle,
};
use dashmap::DashMap;
use orkbase::{
    call::{
        output::{AddTag, Opening, TapeId},
        party::Side,
    },
    message::{
        Message,
        tape::{Stage, TapeMessage},
        url,
    },
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Recordings being made, for the doors to read while the engine writes.
pub type LiveTable = DashMap<u64, Arc<Opening>>;

/// Hears the engine and passes on.
#[derive(Clone, Debug)]
pub struct Announcer {
    track: ReporterHandle,
    hub: EventHub,
    live: Arc<LiveTable>,
}

impl Announcer {
    /// An announcer to these.
    #[must_use]
    pub const fn new(track: ReporterHandle, hub: EventHub, live: Arc<LiveTable>) -> Self {
        Self { track, hub, live }
    }

    fn publish(&self, message: &TapeMessage) {
        self.hub.publish(&url::encode(&message.fields()));
    }

    /// A tape is finished, or thrown away, or damaged: called on the thread that finished it. Of a
    /// tape that was processed, true once that is stored.
    pub fn reported(&self, report: &Report) -> bool {
        let recid = match report {
            Report::Tagged(tag) => {
                self.tag(tag);
                return true;
            }
            Report::Finished(finished) => {
                self.finished(finished);
                return true;
            }
            Report::Processed(finished) => {
                self.finished(finished);
                match &finished.outcome {
                    Outcome::Ready(_) => &finished.closing.message.recid,
                    Outcome::TooShort
                    | Outcome::Discarded
                    | Outcome::Failed(_)
                    | Outcome::Unsure(_) => return true,
                }
            }
            Report::Recovered(recovered) => {
                let message = &recovered.message;
                // After a kill it may have been told already.
                if !self.is_stored(&message.recid) {
                    self.publish(message);
                    if let Err(error) = self.track.ready(message.clone(), recovered.path.as_str()) {
                        tracing::error!(orkuid = %message.recid, %error, "ready is told at the next start");
                    }
                }
                &message.recid
            }
        };
        self.is_stored(recid)
    }

    /// The same in a replay, whose tapes nobody waits for.
    pub fn replayed(&self, report: &Report) {
        match report {
            Report::Tagged(tag) => self.tag(tag),
            Report::Finished(finished) | Report::Processed(finished) => self.finished(finished),
            Report::Recovered(_) => {}
        }
    }

    fn tag(&self, tag: &AddTag) {
        self.hub.publish(&url::encode(&tag.message.fields()));
        self.track.tag(tag.message.clone());
    }

    /// Whether `ready` is in the journal: asked after telling it, the answer comes behind it.
    fn is_stored(&self, recid: &str) -> bool {
        self.track.is_ready(recid).unwrap_or(false)
    }

    /// A tape is finished, or thrown away, or damaged.
    pub fn finished(&self, finished: &Finished) {
        let recid = &finished.closing.message.recid;
        match &finished.outcome {
            Outcome::Ready(path) => {
                let message = ready(finished, path);
                self.publish(&message);
                if let Err(error) = self.track.ready(message, path.as_str()) {
                    tracing::error!(orkuid = %recid, %error, "ready is told at the next start");
                }
            }
            Outcome::TooShort | Outcome::Discarded | Outcome::Failed(_) => {
                self.track.discarded(recid);
            }
            // It stays open in the journal.
            Outcome::Unsure(_) => {}
        }
    }
}

/// The `ready` message of a finished tape: what `stop` said, the file's name, and what was lost.
#[must_use]
pub fn ready(finished: &Finished, path: &str) -> TapeMessage {
    let mut message = finished.closing.message.clone();
    message.stage = Stage::Ready;
    path.clone_into(&mut message.filename);
    let losses = [
        ("overrunms", finished.overrun_ms),
        ("unwrittenframes", finished.lost_frames),
        ("concealedms", finished.heard.concealed_ms),
        ("refused", finished.heard.refused),
        ("rawlost", finished.packets_lost),
    ];
    for (tag, value) in losses.into_iter().filter(|(_, value)| *value > 0) {
        message.tags.insert(tag.to_owned(), value.to_string());
    }
    if let Some(why) = &finished.damage {
        message.tags.insert("damaged".to_owned(), why.clone());
    }
    if let Some(file) = finished.stored.iter().find(|file| file.path == path) {
        message.tags.insert(ledger::TAG.to_owned(), file.digest.sha256.to_string());
    }
    if let Some(side) = silent(finished) {
        message.tags.insert("silent".to_owned(), side.to_owned());
    }
    message
}

/// The side that sent audio in which nothing can be heard: never louder than -60 dB of full scale.
fn silent(finished: &Finished) -> Option<&'static str> {
    const AUDIBLE: u16 = 33;
    let [local, remote] = finished.heard.peaks.map(|peak| peak < AUDIBLE);
    let sent = |side: Side| {
        finished.closing.legs.iter().any(|leg| leg.side == side && leg.packets > leg.undecoded)
    };
    match (local && sent(Side::Local), remote && sent(Side::Remote)) {
        (true, true) => Some("both"),
        (true, false) => Some("local"),
        (false, true) => Some("remote"),
        (false, false) => None,
    }
}

impl Listener for Announcer {
    fn opened(&mut self, opening: &Opening) {
        self.live.insert(opening.tape.0, Arc::new(opening.clone()));
        self.track.opened(opening);
    }

    fn told(&mut self, message: &TapeMessage) {
        self.publish(message);
        self.track.tell(message.clone());
    }

    fn tagged(&mut self, tag: &AddTag) {
        self.tag(tag);
    }

    fn closed(&mut self, tape: TapeId) {
        self.live.remove(&tape.0);
    }
}

/// The live calls, oldest first.
#[must_use]
pub fn live_calls(live: &LiveTable) -> Value {
    let mut calls: Vec<Arc<Opening>> = live.iter().map(|entry| Arc::clone(entry.value())).collect();
    calls.sort_by_key(|opening| opening.tape);
    let call = |opening: &Arc<Opening>| {
        let message = &opening.message;
        json!({
            "orkuid": message.recid, "start": opening.start.as_secs_f64(),
            "localparty": message.localparty, "remoteparty": message.remoteparty,
            "direction": message.direction.as_str(), "nativecallid": message.nativecallid,
            "localip": message.localip, "remoteip": message.remoteip,
        })
    };
    calls.iter().map(call).collect()
}
