//! What a killed process left: finished, and told of exactly once.

use super::RunError;
use crate::{
    report,
    tape::{
        ledger::{self, Ledger},
        packets,
        recover::{self, Recovered},
        sidecar::Sidecars,
    },
    track::ReporterHandle,
};
use orkbase::message::tape::{Stage, TapeMessage};
use orkvault::{keys::KeyRing, ledger::Event, sealed};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Finishes the tapes of a killed process and reports each exactly once; gives those that are to be
/// processed before.
pub(super) fn save(
    folder: &Path,
    track: &ReporterHandle,
    plan: bool,
    sidecars: Option<Sidecars>,
    ledger: Option<&Ledger>,
    keys: Option<&KeyRing>,
) -> Result<Vec<PathBuf>, RunError> {
    let tell = |mut tape: Recovered| -> Result<(), RunError> {
        if !track.is_ready(&tape.message.recid)? {
            if let Some(ledger) = ledger {
                let names = std::slice::from_ref(&tape.path);
                let stored = ledger::stored(folder, names, &tape.message);
                ledger::tag(&mut tape.message, &stored);
                ledger.recovered(&tape.message, tape.duration_ms, &stored);
            }
            if let Some(sidecars) = sidecars {
                sidecars.write(&folder.join(&tape.path), &report::recovered(&tape));
            }
        }
        tell_once(track, tape.message, &tape.path)
    };
    let (mut left, mut recids) = (Vec::new(), BTreeSet::new());
    let unreadable = |error| RunError::Io { what: "cannot look for unfinished tapes", error };
    for part in recover::packet_parts(folder).map_err(unreadable)? {
        match packets::recover(&part, keys) {
            Ok(Some(path)) => {
                tracing::warn!(path = %path.display(), "recovered the packets of an interrupted tape");
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(part = %part.display(), %error, "cannot recover packets; they are left as they are");
            }
        }
    }
    let parts = recover::parts(folder).map_err(unreadable)?;
    for part in &parts {
        if plan {
            match recover::mend(part, keys) {
                Ok(Some(tape)) => {
                    tracing::warn!(orkuid = %tape.message.recid, ms = tape.duration_ms, "an earlier process left a tape to be processed");
                    recids.insert(tape.message.recid);
                    left.push(part.clone());
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(part = %part.display(), %error, "cannot recover a tape; it is left as it is");
                }
            }
            continue;
        }
        match recover::recover(folder, part, keys) {
            Ok(Some(tape)) => {
                tracing::warn!(orkuid = %tape.message.recid, file = tape.path, ms = tape.duration_ms, "recovered an interrupted tape");
                tell(tape)?;
            }
            Ok(None) => {
                tracing::info!(part = %part.display(), "removed an unfinished tape without audio");
            }
            Err(error) => {
                tracing::error!(part = %part.display(), %error, "cannot recover a tape; it is left as it is");
            }
        }
    }
    // A process killed between giving a file its name and telling of it left a finished file.
    for open in track.open_tapes()? {
        if recids.contains(&open.recid) {
            continue;
        }
        let Some(message) = open.message else { continue };
        let plain = format!("{}.wav", open.path);
        let both = [format!("{plain}.{}", sealed::EXTENSION), plain];
        let found = both.iter().find_map(|path| recover::finished(folder, path, &message, keys));
        match found {
            Some(tape) => tell(tape)?,
            None => {
                // Nobody else ends what was begun: a tracker would take the call for live for ever.
                if message.stage != Stage::Stop {
                    track.tell(TapeMessage { stage: Stage::Stop, ..message });
                }
                track.discarded(&open.recid);
                let why =
                    "the recorder was killed before anything of it was on the disk".to_owned();
                let event = Event::NotKept { recid: open.recid, why };
                ledger.into_iter().for_each(|ledger| ledger.enter([event.clone()]));
            }
        }
    }
    Ok(left)
}

fn tell_once(track: &ReporterHandle, message: TapeMessage, path: &str) -> Result<(), RunError> {
    if !track.is_ready(&message.recid)? {
        track.ready(message, path)?;
    }
    Ok(())
}
