//! `ondemand`: commands for a live recording, carried to the recorder that makes it.

use super::{Answer, Asked, missing, not_stored, refuse};
use crate::{
    fleet::{FleetError, Told},
    http::Reply,
    store::{
        live::{self, Live, Whose},
        recorders::{self, Recorder},
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
    let (call, recorder) = match find(asked).await {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    let side = asked.text("side").map(|side| side.to_ascii_lowercase());
    let side = side.filter(|side| ["local", "remote"].contains(&side.as_str()));
    let fields = Fields::new()
        .with("type", verb)
        .with("orkuid", call.recid.as_str())
        .with("side", side.unwrap_or_else(|| "both".to_owned()));
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

/// `ondemand&type=streamaudio`: what is being said, as the recorder sends it.
pub(super) async fn stream(asked: &Asked<'_>) -> Result<Reply, Answer> {
    let (call, recorder) = find(asked).await?;
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
async fn find(asked: &Asked<'_>) -> Result<(Live, Recorder), Answer> {
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
    found.map_err(|error| not_stored(&error))?.ok_or_else(nothing_found)
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
