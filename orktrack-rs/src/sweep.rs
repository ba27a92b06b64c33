//! The end of a recording's time: its file goes, and its rows. A hold stops it.

use crate::{
    end::{Stays, end},
    files::{self, Folders},
    store::{
        Store,
        audit::Deed,
        retention::{self, FileOf},
    },
};
use std::{sync::Arc, time::Duration};

/// Time between two sweeps.
const EVERY: Duration = Duration::from_secs(600);
/// Recordings looked at in one sweep.
const AT_ONCE: i64 = 1000;

/// Sweeps again and again, until it is dropped.
pub(crate) async fn watch(store: Store, folders: Folders) {
    let roots = Arc::new(folders);
    let mut clock = tokio::time::interval(EVERY);
    loop {
        clock.tick().await;
        match sweep(&store, &roots, crate::http::unix_now()).await {
            Ok((0, 0)) => {}
            Ok((gone, left)) => tracing::info!(gone, left, "recordings whose time is over"),
            Err(error) => tracing::warn!("cannot delete recordings whose time is over: {error}"),
        }
    }
}

/// Deletes what is due; returns how many recordings are gone, and how many could not be deleted.
pub(crate) async fn sweep(
    store: &Store,
    roots: &Arc<Folders>,
    now: u64,
) -> Result<(usize, usize), crate::store::NotStored> {
    let due = store.read(move |session| retention::due(session, now, AT_ONCE)).await?;
    store.write(move |session| retention::forget(session, now)).await?;
    let (mut gone, mut left) = (0, 0);
    for file in due {
        // Files of recorders whose disks are not seen from here wait for whoever sees them.
        if files::is_here(&roots.roots, &file).is_err() {
            left += 1;
            continue;
        }
        let (recid, deed) = (file.recid.clone(), deed(&file, now));
        match end(store, Arc::clone(roots), file, now, Some(deed)).await {
            Ok(_) => {
                gone += 1;
                continue;
            }
            Err(Stays::Law(_)) => {}
            Err(Stays::File(error)) => tracing::debug!(recid, "cannot delete: {error}"),
            Err(Stays::Store(error)) => return Err(error),
        }
        left += 1;
    }
    Ok((gone, left))
}

fn deed(file: &FileOf, now: u64) -> Deed {
    Deed {
        at: i64::try_from(now).unwrap_or(i64::MAX),
        who: "system".to_owned(),
        address: String::new(),
        action: "delete".to_owned(),
        target: format!("{} {}", file.hostname, file.recid),
        result: "its time is over".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::AudioRoot,
        counters::Counters,
        sample,
        store::{Introduction, Query, Reader, audit, tapes},
    };
    use orkbase::message::{init::InitMessage, tape::Stage};

    #[test]
    fn files_go_with_their_rows_and_what_is_held_stays() {
        let home = tempfile::tempdir().unwrap();
        let (audio, database) = (home.path().join("audio"), home.path().join("t.db"));
        std::fs::create_dir_all(audio.join("2026/11/21/02")).unwrap();
        let file = |recid: &str| audio.join(format!("2026/11/21/02/{recid}.wav"));
        for recid in ["A", "B", "C"] {
            std::fs::write(file(recid), "sound").unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (store, thread) = Store::open(&database, Arc::new(Counters::default())).unwrap();
        let roots = vec![AudioRoot { hostname: None, folder: audio.clone() }];
        let roots = Arc::new(Folders { roots, ..Folders::default() });
        let init = InitMessage::new("s", "vm", 1, &audio.display().to_string());
        runtime.block_on(async {
            let known = Introduction { init, received: 5, address: String::new() };
            store.introduce(known).await.unwrap();
            let prepare = store.write(|session| {
                retention::put(session, "day", Some(1), true)?;
                for recid in ["A", "B", "C"] {
                    tapes::put(session, &sample::tape(recid, Stage::Ready), 10, "")?;
                }
                retention::hold(session, 2, "court", "admin", 11)
            });
            prepare.await.unwrap();
            let later = 1_795_227_424 + 2 * 86_400;
            assert_eq!(sweep(&store, &roots, later - 86_400 - 1).await, Ok((0, 0)));
            // Nothing is forgotten whose file this host does not see.
            assert_eq!(sweep(&store, &Arc::default(), later).await, Ok((0, 2)));
            assert_eq!(sweep(&store, &roots, later).await, Ok((2, 0)));
        });
        assert!(!file("A").exists() && file("B").exists() && !file("C").exists());
        let mut reader = Reader::open(&database).unwrap();
        assert_eq!(reader.recordings(&Query::default()).unwrap().recordings[0].recid, "B");
        assert_eq!(reader.read(audit::broken).unwrap(), None);
        drop((reader, store));
        thread.join().unwrap();
    }
}
