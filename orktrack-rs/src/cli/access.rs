//! `orktrack accounts`, `tokens`.

use super::{Common, now, rows};
use crate::Failure;
use clap::{Args, Subcommand};
use orktrack::{
    secret,
    store::accounts::{self, Issue, Role, Written},
};
use serde_json::json;
use std::io::{self, BufRead, IsTerminal};

#[derive(Debug, Args)]
pub(crate) struct Accounts {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    act: Option<AccountsAct>,
}

#[derive(Debug, Subcommand)]
enum AccountsAct {
    /// Add an account, or change it; the password is read from standard input
    Add {
        name: String,
        /// admin: everything. supervisor: the calls of its groups. agent: own calls. auditor: all calls
        /// and the audit log, no change. api: a program
        #[arg(long, value_parser = role)]
        role: Role,
        /// Whose own calls it sees: a number of `orktrack users`
        #[arg(long)]
        user: Option<i64>,
        /// The groups whose people's calls it sees: numbers of `orktrack groups`
        #[arg(long = "group")]
        groups: Vec<i64>,
        /// No password: tokens only, or the password as it was
        #[arg(long)]
        no_password: bool,
        /// It cannot be used
        #[arg(long)]
        disabled: bool,
    },
}

fn role(text: &str) -> Result<Role, String> {
    Role::read(text).ok_or_else(|| "give admin, supervisor, agent, auditor or api".to_owned())
}

impl Accounts {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let shop = self.common.open()?;
        match self.act {
            None => {
                let all = shop.read(accounts::all)?;
                let columns = ["id", "name", "role", "userid", "groups", "disabled"];
                shop.show("accounts", &rows(&all), &columns)
            }
            Some(AccountsAct::Add { name, role, user, groups, no_password, disabled }) => {
                let password = if no_password {
                    None
                } else {
                    let hash = secret::hash_password(&read_password()?);
                    Some(hash.map_err(|why| Failure(why, 1))?)
                };
                let name = name.trim().to_lowercase();
                let target = format!("{name} {}", role.as_str());
                let written = Written { name, role, password, userid: user, disabled, groups };
                let id = shop.change("write account", &target, |session| {
                    accounts::put(session, &written, now())
                })?;
                shop.say(&format!("account {id}"), &json!({ "id": id }))
            }
        }
    }
}

/// Typed twice where nobody sees it, or one line of standard input if that is no terminal.
fn read_password() -> Result<String, Failure> {
    let input = io::stdin();
    if input.is_terminal() {
        let typed = |asked: &str| {
            rpassword::prompt_password(asked)
                .map_err(|error| Failure(format!("cannot read the password: {error}"), 1))
        };
        let (password, again) = (typed("password: ")?, typed("once more: ")?);
        if password != again {
            return Err(Failure("the two are not the same".to_owned(), 1));
        }
        return Ok(password);
    }
    let mut line = String::new();
    let read = input.lock().read_line(&mut line);
    read.map_err(|error| Failure(format!("cannot read the password: {error}"), 1))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct Tokens {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    act: Option<TokensAct>,
}

#[derive(Debug, Subcommand)]
enum TokensAct {
    /// Issue a token for an account; it is shown once, here
    Add {
        /// Name of the account
        account: String,
        /// What it is for
        #[arg(long, default_value = "")]
        name: String,
        /// How long it counts
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=3650))]
        days: u64,
    },
    /// Take a token back
    Revoke {
        /// The number in the first column of the list
        id: i64,
    },
}

impl Tokens {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let shop = self.common.open()?;
        match self.act {
            None => {
                let all = shop.read(accounts::tokens)?;
                shop.show("tokens", &rows(&all), &["id", "account", "name", "created", "expires"])
            }
            Some(TokensAct::Add { account, name, days }) => {
                let secret = secret::token().map_err(|why| Failure(why, 1))?;
                let expires = now().saturating_add(days * 86_400);
                let hash = secret::sha256(&secret);
                let target = account.to_lowercase();
                let issued = shop.change("issue token", &target, |session| {
                    let known = accounts::all(session)?;
                    let Some(owner) = known.into_iter().find(|owner| owner.name == target) else {
                        return Ok(None);
                    };
                    let issue = Issue { account: owner.id, kind: "token", hash, name, expires };
                    accounts::issue(session, &issue, now())
                })?;
                let Some(id) = issued else {
                    let why = format!("there is no account {target}, or it has too many tokens");
                    return Err(Failure(why, 1));
                };
                let value = json!({ "id": id, "token": secret, "expires": expires });
                shop.say(&secret, &value)
            }
            Some(TokensAct::Revoke { id }) => {
                let gone = shop
                    .change("revoke token", &id.to_string(), |s| accounts::revoke_token(s, id))?;
                if !gone {
                    return Err(Failure(format!("there is no token {id}"), 1));
                }
                shop.say("revoked", &json!({}))
            }
        }
    }
}
