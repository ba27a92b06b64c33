//! `orktrack show`, `users`, `groups`, `tags`.

use super::{Common, now, rows};
use crate::Failure;
use clap::{Args, Subcommand};
use orktrack::{
    import,
    store::{
        Scope, SessionExt, groups, search,
        users::{self, Change},
    },
};
use serde_json::json;
use std::path::PathBuf;

/// Most people in one list.
const MAX_ROWS: i64 = 100_000;

#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    common: Common,
    /// Its name (orkuid), or its number as the API has it
    recording: String,
}

impl Show {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let shop = self.common.open()?;
        let name = self.recording;
        let found = shop.read(|session| {
            let id = match search::by_name(session, &name)? {
                Some(id) => Some(id),
                None => name.parse().ok(),
            };
            id.map_or(Ok(None), |id| search::one(session, id, &Scope::All))
        })?;
        let Some(recording) = found else {
            return Err(Failure(format!("there is no recording {name}"), 1));
        };
        let value = rows(&recording);
        let mut words = String::new();
        for (key, value) in value.as_object().into_iter().flatten() {
            words.push_str(&format!("{key:<16}{}\n", super::cell(Some(value))));
        }
        shop.say(words.trim_end(), &value)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Users {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    act: Option<UsersAct>,
}

#[derive(Debug, Subcommand)]
enum UsersAct {
    /// Add a person, or change what is given: orktrack users add 5001 --firstname Ann
    Add {
        /// Extension, number or URI by which the person is known
        loginstring: String,
        #[arg(long)]
        firstname: Option<String>,
        #[arg(long)]
        lastname: Option<String>,
        #[arg(long)]
        email: Option<String>,
        /// Regular group; made if it is not there
        #[arg(long)]
        group: Option<String>,
        /// Security group; must be there
        #[arg(long)]
        security: Option<String>,
        /// Whether calls are kept
        #[arg(long, value_name = "true|false")]
        recordable: Option<bool>,
    },
    /// Remove a person by number; recordings stay
    Remove {
        /// The number in the first column of the list
        id: i64,
    },
    /// Import people from a CSV file, all or none; its first line names the columns: loginstring (several
    /// parted by ;), firstname, lastname, email, recordable, external, groupname, securitygroupname
    Import {
        file: PathBuf,
        /// Keep login strings that the file does not have
        #[arg(long)]
        keep: bool,
    },
}

impl Users {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let shop = self.common.open()?;
        match self.act {
            None => {
                let all = shop.read(|session| users::after(session, 0, MAX_ROWS))?;
                let columns = [
                    "id",
                    "firstname",
                    "lastname",
                    "loginstrings",
                    "groups",
                    "security",
                    "recordable",
                ];
                shop.show("users", &rows(&all), &columns)
            }
            Some(UsersAct::Add {
                loginstring,
                firstname,
                lastname,
                email,
                group,
                security,
                recordable,
            }) => {
                let target = loginstring.clone();
                let change = Change {
                    loginstring,
                    firstname,
                    lastname,
                    email,
                    recordable,
                    external: None,
                    group,
                    security,
                };
                let id = shop.change("write user", &target, |s| users::put(s, &change, now()))?;
                shop.say(&format!("user {id}"), &json!({ "id": id }))
            }
            Some(UsersAct::Remove { id }) => {
                let gone = shop
                    .change("remove user", &id.to_string(), |session| users::remove(session, id))?;
                if !gone {
                    return Err(Failure(format!("there is no user {id}"), 1));
                }
                shop.say("removed", &json!({}))
            }
            Some(UsersAct::Import { file, keep }) => {
                let people = import::read_file(&file).map_err(|e| Failure(e.to_string(), 1))?;
                let target = file.display().to_string();
                let done = shop.change("import users", &target, |session| {
                    import::store(session, &people, keep, None, now())
                })?;
                let value = json!({
                    "added": done.added, "updated": done.updated, "refused": done.refused
                });
                shop.say(&done.to_string(), &value)
            }
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Groups {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    act: Option<GroupsAct>,
}

#[derive(Debug, Subcommand)]
enum GroupsAct {
    /// Make a group
    Add {
        name: String,
        /// It says whose calls an account sees
        #[arg(long)]
        security: bool,
    },
    /// Delete a regular group; its people stay
    Remove { name: String },
}

impl Groups {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let shop = self.common.open()?;
        match self.act {
            None => {
                let all = shop.read(groups::all)?;
                shop.show("groups", &rows(&all), &["id", "name", "kind", "members"])
            }
            Some(GroupsAct::Add { name, security }) => {
                let kind = if security { "security" } else { "regular" };
                let id =
                    shop.change("write group", &name, |s| groups::put(s, &name, kind, now()))?;
                shop.say(&format!("group {id}"), &json!({ "id": id }))
            }
            Some(GroupsAct::Remove { name }) => {
                let gone = shop.change("remove group", &name, |s| groups::delete(s, &name))?;
                if !gone {
                    return Err(Failure(format!("there is no one regular group {name}"), 1));
                }
                shop.say("removed", &json!({}))
            }
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Tags {
    #[command(flatten)]
    common: Common,
}

impl Tags {
    /// The kinds of tags there are, by name.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let shop = self.common.open()?;
        let all = shop.read(|session| {
            let sql = "SELECT name, source FROM tag_type ORDER BY name";
            let mut all = Vec::new();
            for row in session.rows(sql, &[])? {
                let (name, source): (String, String) = (row.get(0)?, row.get(1)?);
                all.push(json!({ "name": name, "source": source }));
            }
            let waiting: Option<i64> = session.value("SELECT count(*) FROM pending_tag", &[])?;
            if let Some(waiting) = waiting.filter(|waiting| *waiting > 0) {
                tracing::info!(waiting, "tags that wait for recordings");
            }
            Ok(all)
        })?;
        shop.show("tags", &json!(all), &["name", "source"])
    }
}
