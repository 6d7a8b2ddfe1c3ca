//! `trailcast user`: makes, changes, removes and lists users and their grants, over REST or in the data folder of a stopped
//! server.

mod new_password;
mod offline;
mod online;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::client_arguments::ClientArguments;
use super::failure::Failure;
use super::output::{print, shown};
use crate::access::{NewUser, Role, UserChange};
use crate::catalog::{Grant, Grants};
use crate::client::ServerAddress;
use crate::config::DATA_DIR_DEFAULT;
use new_password::NewPassword;
use offline::Offline;

#[derive(Debug, Args)]
#[command(after_help = WHERE)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const WHERE: &str = "\
Where users are changed:
  --url given        at that server, as the Administrator that --user and TRAILCAST_PASSWORD name
  --data-dir given   in that data folder, which no server may be using: so a lost password is set anew
  neither            in ./trailcast-data if it is there and no server uses it, else at http://127.0.0.1:9002

Roles: User sees what there is; Operator reads streams and puts transactions; Administrator changes things.
Grants narrow a user to trails and streams, and to read, write or manage: \"read,write trails=a*,b? streams=*\"; * is any
characters and ? one. A stream needs both its name and its trail. Without grants only the role counts.
A new password, a lesser role, lesser grants and a removal end the user's tokens and open sessions (close code 4001).
Exit codes: 0 done, 1 failed, 2 wrong usage.";

const PASSWORDS: &str = "\
The new password comes from --password-file (- for standard input), else from TRAILCAST_NEW_PASSWORD, else it is asked
for without showing it; where there is no terminal, the first line of standard input is taken.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a user
    #[command(after_help = PASSWORDS)]
    Add {
        /// The user's name
        name: String,
        /// User, Operator or Administrator
        #[arg(long, env = "TRAILCAST_ROLE", default_value = "User")]
        role: Role,
        /// Narrow the user to this, such as "read trails=a* streams=*"; more may follow after a semicolon, or
        /// each in a flag of its own
        #[arg(long = "grant", env = "TRAILCAST_GRANTS", value_name = "GRANT", value_delimiter = ';')]
        grants: Vec<Grant>,
        #[command(flatten)]
        password: NewPassword,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Give a user another password
    #[command(after_help = PASSWORDS)]
    Passwd {
        /// The user's name
        name: String,
        #[command(flatten)]
        password: NewPassword,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Give a user another role
    Role {
        /// The user's name
        name: String,
        /// User, Operator or Administrator
        role: Role,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Narrow a user to these grants, in place of those that the user had
    Grant {
        /// The user's name
        name: String,
        /// Such as "read trails=a* streams=*"
        #[arg(required = true, value_name = "GRANT")]
        grants: Vec<Grant>,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Take a user's grants away: only the role counts
    Ungrant {
        /// The user's name
        name: String,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Remove a user
    Rm {
        /// The user's name
        name: String,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// List the users, their roles and grants
    Ls {
        /// Print JSON, one object a line
        #[arg(long, env = "TRAILCAST_JSON", value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
        json: bool,
        #[command(flatten)]
        place: PlaceArguments,
    },
}

#[derive(Debug, Args)]
struct PlaceArguments {
    #[command(flatten)]
    client: ClientArguments,
    /// The data folder of a server that is stopped
    #[arg(long, env = "TRAILCAST_DATA_DIR", value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
}

/// Where users are changed.
enum Place {
    Server(ServerAddress),
    /// At the usual address, because a server uses the default folder.
    Usual(ServerAddress),
    Folder(Box<Offline>),
}

impl PlaceArguments {
    /// See [`WHERE`].
    async fn find(&self) -> Result<Place, Failure> {
        if self.client.names_a_server() {
            return Ok(Place::Server(self.client.address()?));
        }
        if let Some(folder) = &self.data_dir {
            return Ok(Place::Folder(Box::new(Offline::open(folder).await?)));
        }
        match Offline::open_if_free(Path::new(DATA_DIR_DEFAULT)).await? {
            Some(folder) => Ok(Place::Folder(Box::new(folder))),
            None if Path::new(DATA_DIR_DEFAULT).is_dir() => Ok(Place::Usual(self.client.address()?)),
            None => Ok(Place::Server(self.client.address()?)),
        }
    }
}

/// Runs a subcommand.
pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Add { name, role, grants, password, place } => {
            let grants = if grants.is_empty() { None } else { Some(checked(grants)?) };
            let place = place.find().await?;
            let password = password.read().await?;
            let new = NewUser { name: &name, role, grants, password: &password };
            let added = match &place {
                Place::Server(address) | Place::Usual(address) => online::add(address, new).await,
                Place::Folder(folder) => folder.add(new).await,
            };
            place.worded(added)?;
            done(&format!("user {name} added as {role}"))
        }
        Command::Passwd { name, password, place } => {
            let place = place.find().await?;
            let password = password.read().await?;
            change(&place, &name, UserChange { password: Some(&password), ..UserChange::default() }).await?;
            done(&format!("user {name} has a new password"))
        }
        Command::Role { name, role, place } => {
            let place = place.find().await?;
            change(&place, &name, UserChange { role: Some(role), ..UserChange::default() }).await?;
            done(&format!("user {name} has the role {role}"))
        }
        Command::Grant { name, grants, place } => {
            let (grants, place) = (checked(grants)?, place.find().await?);
            let may = shown_grants(Some(&grants));
            change(&place, &name, UserChange { grants: Some(Some(grants)), ..UserChange::default() }).await?;
            done(&format!("user {name} may {may}"))
        }
        Command::Ungrant { name, place } => {
            let place = place.find().await?;
            change(&place, &name, UserChange { grants: Some(None), ..UserChange::default() }).await?;
            done(&format!("user {name} has no grants: only the role counts"))
        }
        Command::Rm { name, place } => {
            let place = place.find().await?;
            let removed = match &place {
                Place::Server(address) | Place::Usual(address) => online::remove(address, &name).await,
                Place::Folder(folder) => folder.remove(&name).await,
            };
            place.worded(removed)?;
            done(&format!("user {name} removed"))
        }
        Command::Ls { json, place } => {
            let place = place.find().await?;
            place.worded(list(&place, json).await)
        }
    }
}

impl Place {
    /// A failure at an address that was only guessed says so.
    fn worded<T>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        result.map_err(|failure| match (self, failure) {
            (Self::Usual(_), Failure::Failed(what)) if what.starts_with("no connection") => Failure::failed(format!(
                "{what}; a server uses the data folder {DATA_DIR_DEFAULT}: say with --url where it listens, or stop it"
            )),
            (_, failure) => failure,
        })
    }
}

async fn change(place: &Place, name: &str, change: UserChange<'_>) -> Result<(), Failure> {
    place.worded(match place {
        Place::Server(address) | Place::Usual(address) => online::change(address, name, change).await,
        Place::Folder(folder) => folder.change(name, change).await,
    })
}

fn checked(grants: Vec<Grant>) -> Result<Grants, Failure> {
    Grants::new(grants).map_err(Failure::failed)
}

/// The grants in one line.
fn shown_grants(grants: Option<&Grants>) -> String {
    grants.map(|grants| grants.iter().map(Grant::to_string).collect::<Vec<_>>().join("; ")).unwrap_or_default()
}

/// A user as it is listed.
struct Listed {
    name: String,
    role: Role,
    grants: Option<Grants>,
}

async fn list(place: &Place, as_json: bool) -> Result<(), Failure> {
    let users = match place {
        Place::Server(address) | Place::Usual(address) => online::list(address).await?,
        Place::Folder(folder) => folder.list().await?,
    };
    let mut text = String::new();
    for Listed { name, role, grants } in users {
        if as_json {
            let mut user = json!({"name": name, "role": role});
            if let Some(grants) = grants {
                user["grants"] = json!(grants);
            }
            text += &format!("{user}\n");
        } else {
            let line = format!("{:<24} {:<13} {}", shown(&name), role.to_string(), shown_grants(grants.as_ref()));
            text += &format!("{}\n", line.trim_end());
        }
    }
    Ok(print(text.as_bytes())?)
}

fn done(what: &str) -> Result<(), Failure> {
    Ok(print(format!("{}\n", shown(what)).as_bytes())?)
}
