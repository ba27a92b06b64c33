//! `orktrack programs`.

use super::{Common, rows};
use crate::Failure;
use clap::{Args, Subcommand};
use orktrack::store::{
    SessionExt, groups,
    programs::{self, Program},
};
use serde_json::json;

#[derive(Debug, Args)]
pub(crate) struct Programs {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Make a program, or write one anew: calls that fit all that it asks are kept
    Put(Box<Put>),
    /// Remove a program by number
    Remove {
        /// The number in the first column of the list
        id: i64,
    },
}

#[derive(Debug, Args)]
struct Put {
    name: String,
    /// in, out or unkn
    #[arg(long, default_value = "")]
    direction: String,
    /// Shortest call, seconds
    #[arg(long)]
    min_seconds: Option<i64>,
    /// Longest call, seconds
    #[arg(long)]
    max_seconds: Option<i64>,
    /// So many of a hundred calls
    #[arg(long, default_value_t = 100)]
    percent: i64,
    /// Local parties, comma separated; a final * stands for any ending
    #[arg(long, default_value = "")]
    localparty: String,
    /// Remote parties, the same way
    #[arg(long, default_value = "")]
    remoteparty: String,
    /// Calls of this group's people
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Calls of this person: a number of `orktrack users`
    #[arg(long)]
    user: Option<i64>,
    /// Days of the week: digits 1 (Monday) to 7
    #[arg(long, default_value = "")]
    weekdays: String,
    /// From this time of the day, HH:MM
    #[arg(long, value_parser = minute, default_value = "00:00")]
    from: i64,
    /// Until this time, HH:MM; before --from: over midnight
    #[arg(long, value_parser = minute, default_value = "24:00")]
    to: i64,
    /// Retention class
    #[arg(long, value_name = "NAME")]
    retention: Option<String>,
    /// It does not count for now
    #[arg(long)]
    inactive: bool,
}

/// Minute of the day.
fn minute(text: &str) -> Result<i64, String> {
    let read = || {
        let (hour, minute) = text.split_once(':')?;
        let (hour, minute) = (hour.parse::<i64>().ok()?, minute.parse::<i64>().ok()?);
        let good = (0..=24).contains(&hour) && (0..60).contains(&minute);
        Some(hour * 60 + minute).filter(|at| good && *at <= 1440)
    };
    read().ok_or_else(|| "give a time of the day such as 08:30".to_owned())
}

impl Programs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let shop = self.common.open()?;
        match self.act {
            None => {
                let all = shop.read(programs::all)?;
                let columns = [
                    "id",
                    "name",
                    "active",
                    "direction",
                    "min_seconds",
                    "max_seconds",
                    "percent",
                    "localparty",
                    "remoteparty",
                    "orkgroup",
                    "orkuser",
                    "weekdays",
                    "from_minute",
                    "to_minute",
                    "retention",
                ];
                shop.show("programs", &rows(&all), &columns)
            }
            Some(Act::Put(put)) => {
                let (group, class) = (put.group.clone(), put.retention.clone());
                let (orkgroup, retention) = shop.read(|session| {
                    let group = match &group {
                        Some(name) => groups::find(session, name)?,
                        None => None,
                    };
                    let class = match &class {
                        Some(name) => session.value(
                            "SELECT id FROM retention WHERE name = ?1",
                            &[name.as_str().into()],
                        )?,
                        None => None,
                    };
                    Ok((group, class))
                })?;
                for (wanted, found) in [(put.group, orkgroup), (put.retention, retention)] {
                    if let (Some(wanted), None) = (wanted, found) {
                        return Err(Failure(format!("there is no {wanted}"), 1));
                    }
                }
                let program = Program {
                    id: 0,
                    name: put.name,
                    active: !put.inactive,
                    direction: put.direction,
                    min_seconds: put.min_seconds,
                    max_seconds: put.max_seconds,
                    percent: put.percent,
                    localparty: put.localparty,
                    remoteparty: put.remoteparty,
                    orkgroup,
                    orkuser: put.user,
                    weekdays: put.weekdays,
                    from_minute: put.from,
                    to_minute: put.to,
                    retention,
                };
                if !program.is_sound() {
                    return Err(Failure("the program has a value out of its bounds".to_owned(), 1));
                }
                let id =
                    shop.change("write program", &program.name, |s| programs::put(s, &program))?;
                shop.say(&format!("program {id}"), &json!({ "id": id }))
            }
            Some(Act::Remove { id }) => {
                let gone =
                    shop.change("remove program", &id.to_string(), |s| programs::remove(s, id))?;
                if !gone {
                    return Err(Failure(format!("there is no program {id}"), 1));
                }
                shop.say("removed", &json!({}))
            }
        }
    }
}
