//! The heartbeat: every recorder is asked how it is; who was silent for too long is lost, and the calls
//! it had are interrupted.

use super::{Fleet, FleetError, collect, command_address, send};
use crate::store::{
    Store,
    recorders::{self, Pulse, Recorder},
};
use orkbase::message::single_line;
use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};

/// Recorders asked at a time.
const AT_A_TIME: usize = 16;

/// Asks every recorder again and again, until it is dropped.
pub(crate) async fn watch(store: Store, fleet: Fleet, every: Duration, lost_after: Duration) {
    let mut clock = tokio::time::interval(every);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    loop {
        clock.tick().await;
        let known = match store.read(recorders::all).await {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!("no heartbeat: {error}");
                continue;
            }
        };
        let mut asked = JoinSet::new();
        for recorder in known {
            let (store, fleet, places) = (store.clone(), fleet.clone(), places.clone());
            asked.spawn(async move {
                let permit = places.acquire_owned().await;
                look(&store, &fleet, &recorder, lost_after).await;
                drop(permit);
            });
        }
        while asked.join_next().await.is_some() {}
    }
}

async fn look(store: &Store, fleet: &Fleet, recorder: &Recorder, lost_after: Duration) {
    let answer = timeout(fleet.patience, ask(recorder)).await.unwrap_or(Err(FleetError::Late));
    let (now, hostname) = (crate::http::unix_now(), recorder.hostname.clone());
    let noted = match answer {
        Ok(pulse) => {
            store.write(move |s| recorders::beat(s, &hostname, &pulse, now)).await.map(|()| 0)
        }
        Err(error) => {
            tracing::debug!(hostname, "no answer to the heartbeat: {error}");
            let lost_before = now.saturating_sub(lost_after.as_secs());
            store.write(move |s| recorders::missed(s, &hostname, lost_before, now)).await
        }
    };
    let hostname = &recorder.hostname;
    match noted {
        Ok(0) => {}
        Ok(calls) => {
            tracing::warn!(hostname, calls, "recorder lost; its live calls are interrupted");
        }
        Err(error) => tracing::warn!(hostname, "heartbeat not noted: {error}"),
    }
}

/// Ours has a status; every recorder has `orkaudioversion`.
async fn ask(recorder: &Recorder) -> Result<Pulse, FleetError> {
    let address = command_address(recorder)?;
    let (status, body) = collect(send(address, "/api/status").await?).await?;
    if status == 200
        && let Ok(status) = serde_json::from_slice::<serde_json::Value>(&body)
        && let Some(version) = status.get("version").and_then(serde_json::Value::as_str)
    {
        let disk_free = status.get("disk_free").and_then(serde_json::Value::as_i64);
        return Ok(Pulse { version: version.to_owned(), disk_free });
    }
    let (_, body) = collect(send(address, "/command?type=orkaudioversion").await?).await?;
    let pairs = single_line::decode(&body).unwrap_or_default();
    let version = pairs.first("version").unwrap_or_default().chars().take(64).collect();
    Ok(Pulse { version, disk_free: None })
}
