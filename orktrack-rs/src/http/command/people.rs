//! People, groups and agents: `adduser`, `addloginstring`, `deletegroup`, `agentstate`, `userstate`.

use super::{Answer, Asked, missing, not_stored, refuse};
use crate::store::{
    agents::{self, Logged, Login},
    groups,
    users::{self, Change, Given},
};
use hyper::StatusCode;
use orkbase::message::words::read_bool;

/// Longest name, login string or address, in bytes.
pub(super) const MAX_NAME: usize = 200;

/// A boolean, if it is there.
fn flag(asked: &Asked<'_>, key: &str) -> Result<Option<bool>, Answer> {
    match asked.text(key) {
        None => Ok(None),
        Some(text) => read_bool(&text)
            .map(Some)
            .ok_or_else(|| refuse(&format_args!("invalid value for {key}: {text}"))),
    }
}

/// `adduser`: adds the person of a login string, or changes what is given.
pub(super) async fn add_user(asked: &Asked<'_>) -> Answer {
    let failed =
        || Answer::coded("userresponse", Some(("ERROR_SAVING_USER", StatusCode::BAD_REQUEST)));
    let flags = (flag(asked, "recordable"), flag(asked, "external"));
    let (Ok(recordable), Ok(external)) = flags else { return failed() };
    let change = Change {
        loginstring: asked.text("loginstring").unwrap_or_default(),
        firstname: asked.text("firstname"),
        lastname: asked.text("lastname"),
        email: asked.text("email"),
        recordable,
        external,
        group: asked.text("groupname"),
        security: asked.text("securitygroupname"),
    };
    if !is_whole(&change) {
        return failed();
    }
    let now = asked.now;
    match asked.desk.store.write(move |session| users::put(session, &change, now)).await {
        Ok(_) => Answer::coded("userresponse", None),
        Err(error) => unsaved("userresponse", "ERROR_SAVING_USER", &error),
    }
}

/// A login string, and both names or a group.
pub(super) fn is_whole(change: &Change) -> bool {
    let named = change.firstname.is_some() && change.lastname.is_some();
    let texts =
        [&change.firstname, &change.lastname, &change.email, &change.group, &change.security];
    !change.loginstring.is_empty()
        && change.loginstring.len() <= MAX_NAME
        && texts.into_iter().flatten().all(|text| text.len() <= MAX_NAME)
        && (named || change.group.is_some() || change.security.is_some())
}

/// The published failure, with the status that makes a sender try again.
pub(super) fn unsaved(class: &'static str, code: &str, error: &crate::store::NotStored) -> Answer {
    tracing::warn!("{code}: {error}");
    Answer::coded(class, Some((code, StatusCode::SERVICE_UNAVAILABLE))).not_stored()
}

/// `addloginstring`: one more login string for the person of another one.
pub(super) async fn add_login_string(asked: &Asked<'_>) -> Answer {
    let Some(find) = asked.text("findloginstring") else { return missing("findloginstring") };
    let Some(new) = asked.text("newloginstring").filter(|new| new.len() <= MAX_NAME) else {
        return missing("newloginstring");
    };
    let now = asked.now;
    let given = asked
        .desk
        .store
        .write(move |session| users::add_login_string(session, &find, &new, now))
        .await;
    let failed = |code, status| Answer::coded("userresponse", Some((code, status)));
    match given {
        Ok(Given::Done) => Answer::coded("userresponse", None),
        Ok(Given::NobodyFound) => {
            failed("ERROR_NO_USER_FOUND_FOR_LOGINSTRING", StatusCode::NOT_FOUND)
        }
        Ok(Given::InUse) => failed("ERROR_LOGINSTRING_IN_USE", StatusCode::CONFLICT),
        Err(error) => unsaved("userresponse", "ERROR_SAVING_USER", &error),
    }
}

/// `deletegroup`: a regular group without duplicates. The published failure has the code of another
/// command; with `commands.strict` it is repeated.
pub(super) async fn delete_group(asked: &Asked<'_>) -> Answer {
    let Some(name) = asked.text("groupname") else { return missing("groupname") };
    let strict = asked.desk.config.strict;
    let code = if strict { "ERROR_NO_USER_FOUND_FOR_LOGINSTRING" } else { "ERROR_NO_GROUP_FOUND" };
    match asked.desk.store.write(move |session| groups::delete(session, &name)).await {
        Ok(true) => Answer::coded("groupresponse", None),
        Ok(false) => Answer::coded("groupresponse", Some((code, StatusCode::NOT_FOUND))),
        Err(error) => unsaved("groupresponse", "ERROR_SAVING_GROUP", &error),
    }
}

/// `agentstate`: login or logout at a device, a workstation, or both.
pub(super) async fn agent_state(asked: &Asked<'_>) -> Answer {
    let Some(state) = asked.text("state") else { return missing("state") };
    let login = Login {
        agent: asked.text("agent").unwrap_or_default(),
        device: asked.text("device"),
        workstation: asked.text("workstation"),
        rfbport: asked.text("rfbport").unwrap_or_default(),
        agentgroup: asked.text("agentgroup").unwrap_or_default(),
    };
    if login.device.is_none() && login.workstation.is_none() {
        return missing("device");
    }
    log_in_or_out(asked, &state, login).await
}

/// `userstate`: the older form, a login string at a port.
pub(super) async fn user_state(asked: &Asked<'_>) -> Answer {
    let Some(state) = asked.text("userstate") else { return missing("userstate") };
    let Some(agent) = asked.text("loginstring") else { return missing("loginstring") };
    let Some(port) = asked.text("recport") else { return missing("recport") };
    let login = Login { agent, device: Some(port), ..Login::default() };
    log_in_or_out(asked, &state, login).await
}

async fn log_in_or_out(asked: &Asked<'_>, state: &str, login: Login) -> Answer {
    let logs_in = match state.to_ascii_lowercase().as_str() {
        "login" => true,
        "logout" => false,
        _ => return refuse(&format_args!("invalid value for state: {state}")),
    };
    if logs_in && login.agent.is_empty() {
        return missing("agent");
    }
    let texts = [Some(&login.agent), login.device.as_ref(), login.workstation.as_ref()];
    if texts.into_iter().flatten().any(|text| text.len() > MAX_NAME) {
        return refuse(&"a name is too long");
    }
    let (now, wanted) = (asked.now, login.clone());
    let logged = asked
        .desk
        .store
        .write(move |session| match logs_in {
            true => agents::login(session, &login, now),
            false => agents::logout(session, &login, now),
        })
        .await;
    let unknown = |what: String| Answer::failed(StatusCode::NOT_FOUND, what);
    match logged {
        Ok(Logged::Done) => Answer::done(""),
        Ok(Logged::NoUser) => {
            unknown(format!("Could not find user for login string:{}", wanted.agent))
        }
        Ok(Logged::NoWorkstation) => unknown(format!(
            "Could not find workstation:{}",
            wanted.workstation.unwrap_or_default()
        )),
        Ok(Logged::NobodyThere) => unknown("nobody is logged in there".to_owned()),
        Err(error) => not_stored(&error),
    }
}
