//! Legal holds that their recorder does not know of yet: told again and again until it does.
//!
//! Law: a hold that was put on or ended, by whatever door, is told to the recorder of its recording while there
//! is one that answers; what stands in the database when the answer comes decides whether that is done.

use super::{
    Fleet,
    wish::{self, Heard, Wish},
};
use crate::store::{NotStored, Store, untold};
use std::{collections::BTreeSet, time::Duration};

/// Time between two rounds.
const EVERY: Duration = Duration::from_secs(5);
/// Most that are looked at in one round.
const AT_ONCE: i64 = 1000;

/// Tells what is untold, until it is dropped.
pub(crate) async fn watch(store: Store, fleet: Fleet, heartbeat: Duration) {
    let mut clock = tokio::time::interval(EVERY.min(heartbeat));
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        if let Err(error) = round(&store, &fleet).await {
            tracing::warn!("recorders are not told of legal holds: {error}");
        }
    }
}

async fn round(store: &Store, fleet: &Fleet) -> Result<(), NotStored> {
    let read = |session: &mut dyn crate::store::session::Session| {
        let mut wishes = Vec::new();
        for tape in untold::oldest(session, AT_ONCE)? {
            wishes.extend(wish::of_hold(session, tape)?.map(|wish| (tape, wish)));
        }
        Ok(wishes)
    };
    // One recorder that does not answer, or cannot write, costs one time-out a round.
    let mut deaf = BTreeSet::new();
    for (tape, wish) in store.read(read).await? {
        if wish.hostname().is_none_or(|hostname| deaf.contains(hostname)) {
            continue;
        }
        match tell(store, fleet, tape, &wish).await? {
            Heard::Told => tracing::info!(recid = wish.recid(), "the recorder knows of the hold"),
            Heard::Unknown => {
                tracing::warn!(recid = wish.recid(), "the recorder cannot pin this recording");
            }
            Heard::Refused | Heard::Unreachable => {
                deaf.extend(wish.hostname().map(str::to_owned));
            }
        }
    }
    Ok(())
}

/// Tells a recorder of the holds on one of its recordings, and notes whether it knows now.
pub(crate) async fn tell(
    store: &Store,
    fleet: &Fleet,
    tape: i64,
    wish: &Wish,
) -> Result<Heard, NotStored> {
    let heard = wish.tell(fleet).await;
    match heard {
        Heard::Told | Heard::Unknown => {
            let told = wish.clone();
            let note = move |session: &mut dyn crate::store::session::Session| {
                // A hold that was put on or ended meanwhile is told in the next round.
                if told.is_current(session, tape)? {
                    untold::done(session, tape)
                } else {
                    untold::note(session, tape, crate::http::unix_now())
                }
            };
            store.write(note).await?;
        }
        Heard::Refused | Heard::Unreachable => {}
    }
    Ok(heard)
}
