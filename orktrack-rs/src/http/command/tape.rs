//! What recorders and telephone systems tell: `tape`, `addtag`, `init`, `metadata`.

use super::{Answer, Asked, missing, not_stored, refuse};
use crate::store::{
    Introduction, NotStored, Outcome,
    audit::{self, Deed},
    live,
    metadata::{self, Metadata},
    tags::{self, ByTag},
    tapes,
};
use hyper::StatusCode;
use orkbase::message::{
    response::TapeResponse,
    tag::AddTagMessage,
    tape::{Direction, MAX_SECONDS, TapeMessage},
};

/// Most tags in one request.
const MAX_ENTRIES: usize = 100;

pub(super) async fn tape(asked: &Asked<'_>) -> Answer {
    let message = match TapeMessage::from_pairs(&asked.pairs) {
        Ok(message) => message,
        Err(error) => return refuse(&error),
    };
    tracing::debug!(
        hostname = message.hostname,
        recid = message.recid,
        stage = message.stage.as_str(),
        "tape"
    );
    let (now, address) = (asked.now, asked.caller.address.to_string());
    let work = move |session: &mut dyn crate::store::session::Session| {
        let taken = tapes::put(session, &message, now, &address)?;
        // Told again it is the same decision, and what was gone before was noted when it went.
        if taken.deletetape && taken.outcome == Outcome::Added {
            audit::note(session, &told_to_delete(&message, now, address))?;
        }
        Ok(taken)
    };
    let (success, counters) = (true, &asked.desk.counters);
    match asked.desk.store.write(work).await {
        Ok(tapes::Taken { outcome, deletetape }) => {
            let taken = TapeResponse { success, deletetape, ..TapeResponse::default() };
            match outcome {
                Outcome::Added => {
                    counters.store_added.tick();
                    Answer::of(&taken).stored("yes")
                }
                Outcome::Repeated => {
                    counters.store_repeated.tick();
                    Answer::of(&taken).stored("repeated")
                }
                Outcome::Gone => {
                    counters.store_repeated.tick();
                    Answer::of(&taken).stored("gone")
                }
                Outcome::Full => refuse(&"too many messages about this recording"),
            }
        }
        Err(error) => {
            let comment = format!("not stored: {error}");
            let failed = TapeResponse { success: false, comment, deletetape: false };
            Answer::of(&failed).not_stored()
        }
    }
}

/// Nothing keeps a recording, and its recorder is told to delete it.
fn told_to_delete(message: &TapeMessage, now: u64, address: String) -> Deed {
    Deed {
        at: i64::try_from(now).unwrap_or(i64::MAX),
        who: "system".to_owned(),
        address,
        action: "delete".to_owned(),
        target: format!("{} {}", message.hostname, message.recid),
        result: "nothing keeps it: the recorder was told to delete it".to_owned(),
    }
}

/// A recorder sends nothing before its `init` succeeded, and `init` only once: it succeeds even when
/// the database cannot be written, unless the tracker could not even remember it.
pub(super) async fn init(asked: &Asked<'_>) -> Answer {
    let init = match orkbase::message::init::InitMessage::from_pairs(&asked.pairs) {
        Ok(init) => init,
        Err(error) => return refuse(&error),
    };
    tracing::info!(hostname = init.hostname, name = init.name, "recorder introduced itself");
    let address = asked.caller.address.to_string();
    let introduction = Introduction { init, received: asked.now, address };
    match asked.desk.store.introduce(introduction).await {
        Ok(_) => Answer::done("").stored("yes"),
        Err(NotStored::Failed(_)) => Answer::done("").stored("pending"),
        Err(error @ (NotStored::Busy | NotStored::Closed)) => not_stored(&error),
    }
}

/// A tag for a recording by its name, for the newest live one of a party, or for all that have
/// another tag.
pub(super) async fn tag(asked: &Asked<'_>) -> Answer {
    let entries = match entries(asked) {
        Ok(entries) => entries,
        Err(answer) => return answer,
    };
    if let Some(findtype) = asked.text("findtagtype") {
        let Some(findtext) = asked.text("findtagtext") else { return missing("findtagtext") };
        return by_tag(asked, (findtype, findtext), entries).await;
    }
    let (orkuid, party) = (asked.text("orkuid"), asked.text("localparty"));
    let offsetmsec = match AddTagMessage::from_pairs(&asked.pairs) {
        Ok(message) => message.offsetmsec,
        // With `tagentry` and without an orkuid it is no such message; its offset is 0.
        Err(_) if asked.text("offsetmsec").is_none() => 0,
        Err(error) if orkuid.is_some() => return refuse(&error),
        Err(_) => 0,
    };
    let source = if asked.pairs.first("offsetmsec").is_some() { "system" } else { "user" };
    if orkuid.is_none() && party.is_none() {
        return missing("orkuid");
    }
    let now = asked.now;
    let stored = asked
        .desk
        .store
        .write(move |session| {
            let orkuid = match orkuid {
                Some(orkuid) => orkuid,
                None => {
                    let whose = live::Whose::Party(party.clone().unwrap_or_default());
                    match live::find(session, &whose)? {
                        Some(call) => call.recid,
                        None => return Ok(None),
                    }
                }
            };
            let mut outcome = Outcome::Repeated;
            for (tagtype, tagtext) in entries {
                let tag = AddTagMessage {
                    localparty: party.clone().unwrap_or_default(),
                    orkuid: orkuid.clone(),
                    tagtype,
                    tagtext,
                    offsetmsec,
                };
                match tags::put(session, &tag, source, now)? {
                    Outcome::Added => outcome = Outcome::Added,
                    Outcome::Repeated => {}
                    other @ (Outcome::Full | Outcome::Gone) => return Ok(Some(other)),
                }
            }
            Ok(Some(outcome))
        })
        .await;
    let counters = &asked.desk.counters;
    match stored {
        Ok(Some(Outcome::Added)) => {
            counters.store_added.tick();
            Answer::done("").stored("yes")
        }
        Ok(Some(Outcome::Repeated)) => {
            counters.store_repeated.tick();
            Answer::done("").stored("repeated")
        }
        Ok(Some(Outcome::Gone)) => {
            counters.store_repeated.tick();
            Answer::done("").stored("gone")
        }
        Ok(Some(Outcome::Full)) => refuse(&"too many tags of this recording, or too long"),
        Ok(None) => Answer::failed(StatusCode::NOT_FOUND, "ERROR_NO_RECORDING_FOUND"),
        Err(error) => not_stored(&error),
    }
}

/// The tags of a request: `tagtype` with `tagtext`, and every `tagentry=Type:Text`, cut at the first
/// colon.
fn entries(asked: &Asked<'_>) -> Result<Vec<(String, String)>, Answer> {
    let mut entries = Vec::new();
    if let Some(tagtype) = asked.text("tagtype") {
        let Some(tagtext) = asked.pairs.first("tagtext") else { return Err(missing("tagtext")) };
        entries.push((tagtype, tagtext.to_owned()));
    }
    for entry in asked.pairs.all("tagentry") {
        match entry.split_once(':') {
            Some((tagtype, tagtext)) if !tagtype.trim().is_empty() => {
                entries.push((tagtype.trim().to_owned(), tagtext.to_owned()));
            }
            _ => return Err(refuse(&format_args!("invalid value for tagentry: {entry}"))),
        }
    }
    let long = |(kind, text): &(String, String)| {
        kind.len() > tags::MAX_TEXT || text.len() > tags::MAX_TEXT
    };
    if entries.is_empty() {
        return Err(missing("tagtype"));
    }
    if entries.len() > MAX_ENTRIES || entries.iter().any(long) {
        return Err(refuse(&"too many tags of this recording, or too long"));
    }
    Ok(entries)
}

async fn by_tag(
    asked: &Asked<'_>,
    find: (String, String),
    entries: Vec<(String, String)>,
) -> Answer {
    let now = asked.now;
    let stored = asked
        .desk
        .store
        .write(move |session| {
            for add in entries {
                let rule = ByTag { find: find.clone(), add };
                if tags::by_tag(session, &rule, now)?.is_none() {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await;
    match stored {
        Ok(true) => Answer::done("").stored("yes"),
        Ok(false) => refuse(&"too many tags wait for recordings"),
        Err(error) => not_stored(&error),
    }
}

/// `metadata`: as `tape`, told by a telephone system about a recorder's port.
pub(super) async fn metadata(asked: &Asked<'_>) -> Answer {
    let seconds = |key: &str| match asked.text(key) {
        None => Ok(0),
        Some(text) => text
            .parse::<u64>()
            .ok()
            .filter(|seconds| *seconds <= MAX_SECONDS)
            .ok_or_else(|| refuse(&format_args!("invalid value for {key}: {text}"))),
    };
    let (timestamp, duration) = match (seconds("timestamp"), seconds("duration")) {
        (Ok(timestamp), Ok(duration)) => (timestamp, duration),
        (Err(answer), _) | (_, Err(answer)) => return answer,
    };
    let Some(stage) = asked.text("stage") else { return missing("stage") };
    let stopped = match stage.to_ascii_lowercase().as_str() {
        "start" => false,
        "stop" | "complete" | "ready" => true,
        _ => return refuse(&format_args!("invalid value for stage: {stage}")),
    };
    let Some(captureport) = asked.text("captureport") else { return missing("captureport") };
    if timestamp == 0 {
        return missing("timestamp");
    }
    let text = |key: &str| asked.text(key).unwrap_or_default();
    let told = Metadata {
        stopped,
        captureport,
        timestamp,
        duration,
        service: text("service"),
        localparty: text("localparty"),
        localentrypoint: text("localentrypoint"),
        remoteparty: text("remoteparty"),
        direction: Direction::read(&text("direction")),
        loginstring: text("loginstring"),
    };
    match asked.desk.store.write(move |session| metadata::put(session, &told)).await {
        Ok(_) => Answer::done("").stored("yes"),
        Err(error) => not_stored(&error),
    }
}

/// `evalmetadata`: matches accounts to recordings anew, by their numbers or all since a moment.
pub(super) async fn evaluate(asked: &Asked<'_>) -> Answer {
    let listed = asked.text("ids").unwrap_or_default();
    let mut ids = Vec::new();
    for text in listed.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        match text.parse::<i64>() {
            Ok(id) => ids.push(id),
            Err(_) => return refuse(&format_args!("invalid value for ids: {text}")),
        }
    }
    // The published key is cut off after `starti`.
    let start = ["startid", "startindex"].into_iter().find_map(|key| asked.text(key));
    if let Some(start) = start {
        let Ok(start) = start.parse::<i64>() else {
            return refuse(&format_args!("invalid value for startid: {start}"));
        };
        ids.retain(|id| *id >= start);
    }
    let since = asked.text("starttime").map(|text| text.parse::<u64>());
    if matches!(since, Some(Err(_))) || (ids.is_empty() && since.is_none()) {
        return missing("ids");
    }
    let bound = usize::try_from(metadata::MAX_EVALUATED).unwrap_or(usize::MAX);
    ids.truncate(bound);
    let matched = asked
        .desk
        .store
        .write(move |session| {
            if let Some(Ok(since)) = since {
                ids.extend(metadata::since(session, since)?);
                ids.truncate(bound);
            }
            metadata::evaluate(session, &ids)
        })
        .await;
    match matched {
        Ok(_) => Answer::done(""),
        Err(error) => not_stored(&error),
    }
}
