//! What people's calls are doing: `livestatus`, `queryuser`, and what people ask of them: `keep`,
//! `discard`, `neither`.

use super::{Answer, Asked, missing, not_stored, refuse};
use crate::{
    fleet::wish,
    store::{
        live::{self, Live, Whose},
        session::{DbError, Session, SessionExt},
        users,
    },
};
use hyper::StatusCode;
use orkbase::message::{Fields, words::bool_str};

/// Most people asked about at once.
const MAX_ASKED: usize = 1000;
/// Elapsed time of somebody without a call so far: any number above a day says "longer".
const LONG_AGO: i64 = 86_401;

/// `livestatus`: of people (`users=12,34`) or of a local party.
pub(super) async fn live(asked: &Asked<'_>) -> Answer {
    let whose: Vec<Whose> = match (asked.text("users"), asked.text("localparty")) {
        (Some(users), _) => {
            let mut whose = Vec::new();
            for text in users.split(',').map(str::trim).filter(|text| !text.is_empty()) {
                match text.parse() {
                    Ok(user) => whose.push(Whose::User(user)),
                    Err(_) => return refuse(&format_args!("invalid value for users: {text}")),
                }
            }
            whose
        }
        (None, Some(parties)) => {
            parties.split(',').map(|party| Whose::Party(party.trim().to_owned())).collect()
        }
        (None, None) => return missing("users"),
    };
    if whose.len() > MAX_ASKED {
        return refuse(&"too many users at once");
    }
    let now = i64::try_from(asked.now).unwrap_or(i64::MAX);
    let port = asked.desk.config.stream_port;
    let statuses = asked
        .desk
        .store
        .read(move |session| {
            whose
                .iter()
                .map(|whose| status(session, whose, now, port))
                .collect::<Result<Vec<_>, _>>()
        })
        .await;
    match statuses {
        Ok(statuses) => {
            let fields = Fields::new()
                .with("success", bool_str(true))
                .with("returncode", "NO_ERROR")
                .with("comment", "")
                .with("userstatuses", statuses.join(","));
            Answer::new("livestatusresponse", fields)
        }
        Err(error) => not_stored(&error),
    }
}

fn status(
    session: &mut dyn Session,
    whose: &Whose,
    now: i64,
    port: u16,
) -> Result<String, DbError> {
    match live::find(session, whose)? {
        Some(call) => {
            let tags = live::tags(session, &call)?;
            let said: Option<String> = session.value(
                "SELECT streamingport FROM recorder WHERE hostname = ?1",
                &[call.hostname.as_str().into()],
            )?;
            let port = said.and_then(|port| port.parse().ok()).unwrap_or(port);
            Ok(active(&call, &tags, now, port))
        }
        None => {
            let elapsed = live::last_ended(session, whose)?.map_or(LONG_AGO, |end| now - end);
            Ok(format!("inactive--NEITHER--{}", elapsed.max(0)))
        }
    }
}

/// `hostname--tcpport!localparty--remoteparty--status--elapsed--orkuid--direction--side--paused`, then
/// `--tags` if there are any.
fn active(call: &Live, tags: &[(String, String)], now: i64, port: u16) -> String {
    let elapsed = now.saturating_sub(call.started).max(0);
    let side = if ["local", "remote"].contains(&call.side.as_str()) { &call.side } else { "both" };
    let mut text = format!(
        "{}--{port}!{}--{}--{}--{elapsed}--{}--{}--{side}--{}",
        plain(&call.hostname),
        plain(&call.localparty),
        plain(&call.remoteparty),
        call.keep,
        plain(&call.recid),
        call.direction.to_uppercase(),
        if call.paused { "PAUSED" } else { "REC" },
    );
    if !tags.is_empty() {
        let tags: Vec<String> =
            tags.iter().map(|(kind, value)| format!("{}-{}", plain(kind), plain(value))).collect();
        text.push_str("--");
        text.push_str(&tags.join(";"));
    }
    text
}

/// What would part a status in the wrong place is percent-encoded. So is the word by which real clients
/// tell that nobody talks.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ',' | '!' | ';' | '%' => out.push_str(&format!("%{:02X}", u32::from(c))),
            other => out.push(other),
        }
    }
    out.replace("--", "%2D%2D").replace("inactive", "inactiv%65")
}

/// `queryuser`: whether a local party may be recorded, and whether it is being.
pub(super) async fn query_user(asked: &Asked<'_>) -> Answer {
    let Some(party) = asked.text("localparty") else { return missing("localparty") };
    let found = asked
        .desk
        .store
        .read(move |session| {
            let user = match users::find(session, &party)? {
                Some(user) => users::one(session, user)?,
                None => None,
            };
            let call = live::find(session, &Whose::Party(party))?;
            Ok((user.is_none_or(|user| user.recordable), call.is_some()))
        })
        .await;
    match found {
        Ok((wanted, active)) => {
            let fields = Fields::new()
                .with("success", bool_str(true))
                .with("comment", "")
                .with("returncode", "NO_ERROR")
                .with("wanted", bool_str(wanted))
                .with("active", bool_str(active));
            Answer::new("queryuserresponse", fields)
        }
        Err(error) => not_stored(&error),
    }
}

/// `keep`, `discard`, `neither`: of the newest live call of a person; the tracker decides by it at the end
/// of the call, whether or not the recorder knows. `elapsedtime` is how long the
/// call had lasted when the button was pressed, so a call that began since is another one.
pub(super) async fn keep(asked: &Asked<'_>, word: &'static str) -> Answer {
    let Some(user) = asked.text("userid") else { return missing("userid") };
    let Ok(user) = user.parse() else {
        return refuse(&format_args!("invalid value for userid: {user}"));
    };
    let elapsed = match asked.text("elapsedtime").map(|text| text.parse::<i64>()) {
        None => 0,
        Some(Ok(elapsed)) => elapsed,
        Some(Err(_)) => return refuse(&"invalid value for elapsedtime"),
    };
    let now = i64::try_from(asked.now).unwrap_or(i64::MAX);
    let done = asked
        .desk
        .store
        .write(move |session| {
            let Some(call) = live::find(session, &Whose::User(user))? else { return Ok(None) };
            // Clocks of recorder and tracker may differ by a few seconds.
            if now.saturating_sub(call.started).saturating_add(5) < elapsed {
                return Ok(None);
            }
            live::set_keep(session, &call, word)?;
            wish::of(session, call.id)
        })
        .await;
    match done {
        Ok(Some(wish)) => Answer::done("").recorder(wish.tell(&asked.desk.fleet).await.as_str()),
        Ok(None) => Answer::failed(StatusCode::NOT_FOUND, "ERROR_NO_RECORDING_FOUND"),
        Err(error) => not_stored(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Live {
        Live {
            id: 1,
            hostname: "localhost".to_owned(),
            recid: "20091026_000347_HRT".to_owned(),
            localparty: "5001".to_owned(),
            remoteparty: "5145551234".to_owned(),
            started: 100,
            direction: "in".to_owned(),
            side: "both".to_owned(),
            keep: "NEITHER".to_owned(),
            paused: false,
        }
    }

    #[test]
    fn the_published_status() {
        let tags = [("ClientID", "12345"), ("Comment", "rude to caller")];
        let tags = tags.map(|(kind, text)| (kind.to_owned(), text.to_owned()));
        assert_eq!(
            active(&call(), &tags, 114, 59120),
            "localhost--59120!5001--5145551234--NEITHER--14--20091026_000347_HRT--IN--both--REC\
             --ClientID-12345;Comment-rude to caller"
        );
        assert!(active(&call(), &[], 114, 59120).ends_with("--IN--both--REC"));
    }

    #[test]
    fn no_value_breaks_a_status() {
        let call = Live {
            localparty: "a--b,c!d".to_owned(),
            remoteparty: "inactive;%".to_owned(),
            ..call()
        };
        let text = active(&call, &[], 100, 59120);
        assert!(
            text.starts_with("localhost--59120!a%2D%2Db%2Cc%21d--inactiv%65%3B%25--NEITHER--0")
        );
    }
}
