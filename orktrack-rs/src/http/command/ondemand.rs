//! `ondemand`: commands for a live recording, carried to the recorder that makes it.

use super::{Answer, Asked, missing, not_stored, refuse};
use crate::{
    fleet::{FleetError, Told},
    http::Reply,
    store::{
        live::{self, Live, Whose},
        recorders::{self, Recorder},
        session::SessionExt,
    },
};
use hyper::{
    StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use orkbase::message::{Fields, url};

/// `ondemand&type=record|pause|resume|stop`. A recorder always says success, so what it found is told
/// by what the tracker knows, and by the header of recorders that have one.
pub(super) async fn command(asked: &Asked<'_>) -> Answer {
    let Some(kind) = asked.text("type") else { return missing("type") };
    // A recorder has no `resume`: recording on is recording.
    let (verb, paused) = match kind.to_ascii_lowercase().as_str() {
        "record" | "resume" => ("record", Some(false)),
        "pause" => ("pause", Some(true)),
        "stop" => ("stop", None),
        _ => return refuse(&format_args!("invalid value for type: {kind}")),
    };
    let side = asked.text("side").map(|side| side.to_ascii_lowercase());
    let side = side.filter(|side| ["local", "remote"].contains(&side.as_str()));
    let side = side.unwrap_or_else(|| "both".to_owned());
    let (call, recorder) = match find(asked).await {
        Ok(Some(found)) => found,
        Ok(None) if kind.eq_ignore_ascii_case("record") => return begin(asked, &side).await,
        Ok(None) => return nothing_found(),
        Err(answer) => return answer,
    };
    let fields =
        Fields::new().with("type", verb).with("orkuid", call.recid.as_str()).with("side", side);
    match asked.desk.fleet.command(&recorder, &url::encode(&fields)).await {
        Ok(Told { matched: Some(0), .. }) => nothing_found(),
        Ok(Told { success: true, comment, .. }) => {
            if let Some(paused) = paused {
                let noted = asked
                    .desk
                    .store
                    .write(move |session| live::set_paused(session, call.id, paused));
                if let Err(error) = noted.await {
                    tracing::error!("the recorder did it, but it is not noted: {error}");
                }
            }
            Answer::done(comment)
        }
        Ok(Told { comment, .. }) => Answer::failed(StatusCode::BAD_GATEWAY, comment),
        Err(error) => unreachable_recorder(&error),
    }
}

/// `record` of a party whose call has no recording: a recorder that records when asked only, or was told
/// to stop, has told nothing of it. So the recorders are asked, the one that had the party last first.
async fn begin(asked: &Asked<'_>, side: &str) -> Answer {
    let Some(party) = asked.text("localparty").filter(|_| asked.text("orkuid").is_none()) else {
        return nothing_found();
    };
    let wanted = party.clone();
    let known = asked.desk.store.read(move |session| {
        let last: Option<String> = session.value(
            "SELECT hostname FROM tape WHERE localparty = ?1 ORDER BY started DESC LIMIT 1",
            &[wanted.as_str().into()],
        )?;
        let mut known = recorders::all(session)?;
        known.retain(|recorder| recorder.health == "up" && !recorder.address.is_empty());
        known.sort_by_key(|recorder| last.as_ref() != Some(&recorder.hostname));
        Ok(known)
    });
    let known = match known.await {
        Ok(known) => known,
        Err(error) => return not_stored(&error),
    };
    let fields = Fields::new().with("type", "record").with("party", party).with("side", side);
    let query = url::encode(&fields);
    for recorder in known {
        match asked.desk.fleet.command(&recorder, &query).await {
            // An original one says success whatever it found, but has told of every call it has.
            Ok(Told { success: true, comment, matched: Some(1..) }) => {
                return Answer::done(comment);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(hostname = recorder.hostname, "cannot be asked: {error}");
            }
        }
    }
    nothing_found()
}

/// `ondemand&type=streamaudio`: what is being said, as the recorder sends it.
pub(super) async fn stream(asked: &Asked<'_>) -> Result<Reply, Answer> {
    let (call, recorder) = find(asked).await?.ok_or_else(nothing_found)?;
    let mut fields = Fields::new().with("type", "stream").with("recid", call.recid.as_str());
    if asked.text("stereo").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
        fields = fields.with("stereo", "true");
    }
    let opened = asked.desk.fleet.stream(&recorder, &url::encode(&fields)).await;
    super::note(asked, "ondemand", &Answer::done("")).await;
    let mut reply = opened.map_err(|error| unreachable_recorder(&error))?;
    let kind = HeaderValue::from_static("application/octet-stream");
    reply.headers_mut().entry(CONTENT_TYPE).or_insert(kind);
    Ok(reply)
}

/// The live recording that is meant, and who makes it.
async fn find(asked: &Asked<'_>) -> Result<Option<(Live, Recorder)>, Answer> {
    let whose = match (asked.text("orkuid"), asked.text("localparty")) {
        (Some(orkuid), _) => Whose::OrkUid(orkuid),
        (None, Some(party)) => Whose::Party(party),
        (None, None) => return Err(missing("localparty")),
    };
    let found = asked
        .desk
        .store
        .read(move |session| {
            let Some(call) = live::find(session, &whose)? else { return Ok(None) };
            let recorder = recorders::one(session, &call.hostname)?;
            Ok(recorder.map(|recorder| (call, recorder)))
        })
        .await;
    found.map_err(|error| not_stored(&error))
}

fn nothing_found() -> Answer {
    Answer::failed(StatusCode::NOT_FOUND, "ERROR_NO_RECORDING_FOUND")
}

fn unreachable_recorder(error: &FleetError) -> Answer {
    let status = match error {
        FleetError::Late => StatusCode::GATEWAY_TIMEOUT,
        FleetError::NoAddress | FleetError::Status(_) | FleetError::Failed(_) => {
            StatusCode::BAD_GATEWAY
        }
    };
    Answer::failed(status, format!("ERROR_RECORDER_UNREACHABLE: {error}"))
}
