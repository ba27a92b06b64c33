//! Many people at once: `addusers` from a file on the server, `extdbsync` for a task of the
//! configuration.

use super::{Answer, Asked, not_stored, people, refuse};
use crate::{import, store::NotStored};
use hyper::StatusCode;
use orkbase::message::words::read_bool;

/// `addusers`: the file lies below the folder `import.root` of the configuration.
pub(super) async fn add_users(asked: &Asked<'_>) -> Answer {
    let file = ["file", "filename", "path"].into_iter().find_map(|key| asked.text(key));
    let Some(file) = file else { return super::missing("file") };
    let keep = asked.text("keeppls").is_none_or(|text| read_bool(&text).unwrap_or(true));
    // The published key is cut off after `recordal`.
    let recordable = ["recordall", "recordable"].into_iter().find_map(|key| asked.text(key));
    let recordable = recordable.and_then(|text| read_bool(&text));
    run(asked, &file, keep, recordable).await
}

/// `extdbsync`: imports the file of a task again.
pub(super) async fn sync(asked: &Asked<'_>) -> Answer {
    let Some(name) = asked.text("name") else { return super::missing("name") };
    let task = asked.desk.config.tasks.iter().find(|(task, _)| *task == name);
    let Some((_, file)) = task else {
        return Answer::failed(StatusCode::NOT_FOUND, "Error: ERROR_TASK_NOT_FOUND");
    };
    run(asked, file, false, None).await
}

async fn run(asked: &Asked<'_>, file: &str, keep: bool, recordable: Option<bool>) -> Answer {
    let Some(root) = asked.desk.config.import_root.clone() else {
        return refuse(&"no import.root is configured");
    };
    let file = file.to_owned();
    let read = tokio::task::spawn_blocking(move || import::read(&root, &file)).await;
    let people = match read {
        Ok(Ok(people)) => people,
        Ok(Err(error)) => return refuse(&error),
        Err(error) => return not_stored(&NotStored::Failed(error.to_string().into())),
    };
    let now = asked.now;
    let done = asked
        .desk
        .store
        .write(move |session| import::store(session, &people, keep, recordable, now))
        .await;
    match done {
        Ok(done) => Answer::done(done.to_string()),
        Err(error) => people::unsaved("userresponse", "ERROR_SAVING_USER", &error),
    }
}
