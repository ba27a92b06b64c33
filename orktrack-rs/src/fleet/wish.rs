//! What people want of a live recording, told to its recorder: `keep`, `discard`, `neither`; and of any recording
//! whether it may ever be deleted: `pin`, `unpin`.
//!
//! Law: a recorder is never told to discard what is under a legal hold.

use super::{Fleet, FleetError, Told};
use crate::store::{
    recorders::{self, Recorder},
    retention,
    session::{DbError, Session, SessionExt},
};
use orkbase::message::{Fields, url};

/// A recorder and what it is to be told.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    recorder: Option<Recorder>,
    recid: String,
    verb: &'static str,
}

/// What became of a wish.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Heard {
    /// The recorder does it.
    Told,
    /// The recorder does not know the recording, or no such command: an original one.
    Unknown,
    /// The recorder does not do it: it cannot write, or takes no commands from here.
    Refused,
    /// Nobody answered.
    Unreachable,
}

impl Heard {
    /// As answers and headers say it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Told => "told",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
        }
    }
}

/// What the recorder of a live recording should know; `None` if it is not live.
pub(crate) fn of(session: &mut dyn Session, tape: i64) -> Result<Option<Wish>, DbError> {
    let row = session.first(
        "SELECT hostname, recid, keep FROM tape
         WHERE id = ?1 AND state = 'live' AND interrupted IS NULL",
        &[tape.into()],
    )?;
    let Some(row) = row else { return Ok(None) };
    let (hostname, recid, keep): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let verb = match keep.as_str() {
        "KEEP" => "keep",
        "DROP" if !retention::is_held(session, tape)? => "discard",
        _ => "neither",
    };
    Ok(Some(Wish { recorder: recorders::one(session, &hostname)?, recid, verb }))
}

/// What the recorder of any recording should know of legal holds on it.
pub(crate) fn of_hold(session: &mut dyn Session, tape: i64) -> Result<Option<Wish>, DbError> {
    let row = session.first("SELECT hostname, recid FROM tape WHERE id = ?1", &[tape.into()])?;
    let Some(row) = row else { return Ok(None) };
    let (hostname, recid): (String, String) = (row.get(0)?, row.get(1)?);
    let verb = verb_of_hold(session, tape)?;
    Ok(Some(Wish { recorder: recorders::one(session, &hostname)?, recid, verb }))
}

fn verb_of_hold(session: &mut dyn Session, tape: i64) -> Result<&'static str, DbError> {
    Ok(if retention::is_held(session, tape)? { "pin" } else { "unpin" })
}

impl Wish {
    /// Whether it is still what its recorder should know of the holds on this recording.
    pub(super) fn is_current(&self, session: &mut dyn Session, tape: i64) -> Result<bool, DbError> {
        Ok(verb_of_hold(session, tape)? == self.verb)
    }

    /// Where it goes.
    pub(super) fn hostname(&self) -> Option<&str> {
        self.recorder.as_ref().map(|recorder| recorder.hostname.as_str())
    }

    /// What it is about.
    pub(super) fn recid(&self) -> &str {
        &self.recid
    }

    /// Tells the recorder; an original one does not know these commands and is told at the end of the call.
    pub(crate) async fn tell(&self, fleet: &Fleet) -> Heard {
        let Some(recorder) = &self.recorder else { return Heard::Unreachable };
        let fields = Fields::new().with("type", self.verb).with("orkuid", self.recid.as_str());
        match fleet.command(recorder, &url::encode(&fields)).await {
            Ok(Told { matched: Some(0), .. }) => Heard::Unknown,
            Ok(Told { success: false, .. }) => Heard::Refused,
            Ok(_) => Heard::Told,
            Err(FleetError::Status(401 | 403 | 429 | 500..)) => Heard::Refused,
            Err(FleetError::Status(_)) => Heard::Unknown,
            Err(error) => {
                let (recid, verb) = (&self.recid, self.verb);
                tracing::warn!(recid, verb, "recorder not told: {error}");
                Heard::Unreachable
            }
        }
    }
}
