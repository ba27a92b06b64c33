//! What people want of a live recording, told to its recorder: `keep`, `discard`, `neither`; and of any recording
//! whether it may ever be deleted: `pin`, `unpin`.
//!
//! Law: a recorder is never told to discard what is under a legal hold.

use crate::{
    fleet::{Fleet, FleetError, Told},
    store::{
        recorders::{self, Recorder},
        retention,
        session::{DbError, Session, SessionExt},
    },
};
use orkbase::message::{Fields, url};

/// A recorder and what it is to be told.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    recorder: Option<Recorder>,
    recid: String,
    verb: &'static str,
}

/// What the recorder of a live recording should know; `None` if it is not live.
pub(super) fn of(session: &mut dyn Session, tape: i64) -> Result<Option<Wish>, DbError> {
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
pub(super) fn of_hold(session: &mut dyn Session, tape: i64) -> Result<Option<Wish>, DbError> {
    let row = session.first("SELECT hostname, recid FROM tape WHERE id = ?1", &[tape.into()])?;
    let Some(row) = row else { return Ok(None) };
    let (hostname, recid): (String, String) = (row.get(0)?, row.get(1)?);
    let verb = if retention::is_held(session, tape)? { "pin" } else { "unpin" };
    Ok(Some(Wish { recorder: recorders::one(session, &hostname)?, recid, verb }))
}

/// Tells the recorder; an original one does not know these commands and is told at the end of the call.
pub(super) async fn tell(fleet: &Fleet, wish: &Wish) -> &'static str {
    let Some(recorder) = &wish.recorder else { return "unreachable" };
    let fields = Fields::new().with("type", wish.verb).with("orkuid", wish.recid.as_str());
    match fleet.command(recorder, &url::encode(&fields)).await {
        Ok(Told { matched: Some(0), .. }) => "unknown",
        Ok(Told { success: false, .. }) => "refused",
        Ok(_) => "told",
        Err(FleetError::Status(_)) => "unknown",
        Err(error) => {
            tracing::warn!(recid = wish.recid, verb = wish.verb, "recorder not told: {error}");
            "unreachable"
        }
    }
}
