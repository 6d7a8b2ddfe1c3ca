//! The configuration of an extract as flags and a file say it, and the password of its source, which no flag takes: it would
//! show in the list of processes.
//!
//! Owns how flags become members; what members may be is the server's to say.

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};

use crate::catalog::extract::SourceKind;
use crate::cli::failure::Failure;
use crate::cli::hidden_line::{of_file, of_standard_input, prompt};
use crate::limits;

/// The environment's name of the password of the source.
const SOURCE_PASSWORD: &str = "TRAILCAST_SOURCE_PASSWORD";

/// Where a source's password comes from, for the help of commands.
pub(super) const PASSWORDS: &str = "\
The password of the database comes from --source-password-file (- for standard input), else from
TRAILCAST_SOURCE_PASSWORD, else it is asked for in a terminal without showing it. With --credentials, or where the
file of --config has one, none is asked for.";

#[derive(Debug, Args)]
pub(super) struct Configuration {
    /// Host name or address of the database
    #[arg(long, env = "TRAILCAST_SOURCE_HOST", value_name = "HOST")]
    host: Option<String>,
    /// Its port [default: the product's own]
    #[arg(long, env = "TRAILCAST_SOURCE_PORT", value_name = "PORT")]
    port: Option<u16>,
    /// The database
    #[arg(long, env = "TRAILCAST_SOURCE_DATABASE", value_name = "NAME")]
    database: Option<String>,
    /// The role to log in to it as (--user is who asks the server)
    #[arg(long, env = "TRAILCAST_SOURCE_USER", value_name = "ROLE")]
    source_user: Option<String>,
    /// File whose first line is the role's password; - for standard input
    #[arg(long, env = "TRAILCAST_SOURCE_PASSWORD_FILE", value_name = "FILE")]
    source_password_file: Option<PathBuf>,
    /// Credentials that the server keeps, in place of a password: DOMAIN/ALIAS
    #[arg(
        long,
        env = "TRAILCAST_SOURCE_CREDENTIALS",
        value_name = "DOMAIN/ALIAS",
        conflicts_with = "source_password_file"
    )]
    credentials: Option<String>,
    /// How the connection is protected: disable, prefer, require or verify-full
    #[arg(long, env = "TRAILCAST_SOURCE_TLS", value_name = "MODE")]
    tls: Option<String>,
    /// Tables to capture, such as public.orders or "public.*"; more may follow after a semicolon, or each in a flag
    /// of its own
    #[arg(long = "table", env = "TRAILCAST_TABLES", value_name = "PATTERN", value_delimiter = ';')]
    tables: Vec<String>,
    /// The trail that the extract writes [default: one of the extract's name]
    #[arg(long, env = "TRAILCAST_TRAIL", value_name = "TRAIL")]
    trail: Option<String>,
    /// Whether the rows that are there are read first: initial or none
    #[arg(long, env = "TRAILCAST_SNAPSHOT", value_name = "WHICH")]
    snapshot: Option<String>,
    /// Rows a second that loads are held to
    #[arg(long, env = "TRAILCAST_LOAD_RATE", value_name = "ROWS")]
    load_rate: Option<u64>,
    /// File with the configuration as JSON, as the server takes it; flags outrank it
    #[arg(long, env = "TRAILCAST_EXTRACT_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Configuration {
    /// Whether a configuration was given at all.
    pub(super) fn is_given(&self) -> bool {
        self.host.is_some() || self.config.is_some()
    }

    /// The configuration of the extract `name`.
    pub(super) async fn read(&self, name: &str) -> Result<Value, Failure> {
        let mut config = match &self.config {
            Some(file) => of_json(file)?,
            None => Map::new(),
        };
        let source = config.entry("source").or_insert_with(|| json!({}));
        let Some(source) = source.as_object_mut() else {
            return Err(Failure::failed("source: an object is expected in the file of --config"));
        };
        source.entry("type").or_insert_with(|| json!(SourceKind::default()));
        self.set_source(source)?;
        if self.needs_password(source)
            && let Some(password) = self.password().await?
        {
            source.insert("password".into(), password.into());
        }
        if !self.tables.is_empty() {
            config.insert("tables".into(), json!(self.tables));
        }
        config.entry("trail").or_insert_with(|| name.into());
        let flags = [("trail", &self.trail), ("snapshot", &self.snapshot)];
        set(&mut config, flags);
        if let Some(rate) = self.load_rate {
            config.insert("loadRate".into(), rate.into());
        }
        self.check_complete(&config)?;
        Ok(Value::Object(config))
    }

    fn set_source(&self, source: &mut Map<String, Value>) -> Result<(), Failure> {
        let flags =
            [("host", &self.host), ("database", &self.database), ("user", &self.source_user), ("tls", &self.tls)];
        set(source, flags);
        if let Some(port) = self.port {
            source.insert("port".into(), port.into());
        }
        if let Some(credentials) = &self.credentials {
            let Some((domain, alias)) = credentials.split_once('/') else {
                return Err(Failure::usage("--credentials: DOMAIN/ALIAS is expected, such as databases/shop"));
            };
            source.remove("password");
            source.insert("credentials".into(), json!({"domain": domain, "alias": alias}));
        }
        Ok(())
    }

    fn needs_password(&self, source: &Map<String, Value>) -> bool {
        self.source_password_file.is_some()
            || !["password", "credentials"].iter().any(|member| source.contains_key(*member))
    }

    /// None where nobody says one: a server may let the role in without.
    async fn password(&self) -> Result<Option<String>, Failure> {
        match &self.source_password_file {
            Some(path) if path.as_os_str() != "-" => return of_file(path).map(Some),
            Some(_) => return of_standard_input().await.map(Some),
            None => {}
        }
        match std::env::var(SOURCE_PASSWORD) {
            Ok(password) if !password.is_empty() => Ok(Some(password)),
            _ if std::io::stdin().is_terminal() => {
                let [password] = prompt(["password of the database: "]).await?;
                Ok(Some(password))
            }
            _ => Ok(None),
        }
    }

    /// What is missing is told in the words of flags, where there is no file.
    fn check_complete(&self, config: &Map<String, Value>) -> Result<(), Failure> {
        let flags = [
            ("--host", self.host.is_some()),
            ("--database", self.database.is_some()),
            ("--source-user", self.source_user.is_some()),
            ("--table", config.contains_key("tables")),
        ];
        let missing: Vec<&str> = flags.into_iter().filter(|(_, given)| !given).map(|(flag, _)| flag).collect();
        if self.config.is_some() || missing.is_empty() {
            return Ok(());
        }
        Err(Failure::usage(format!("{} is missing; or give the configuration as --config FILE", missing.join(", "))))
    }
}

fn set<'a>(members: &mut Map<String, Value>, flags: impl IntoIterator<Item = (&'a str, &'a Option<String>)>) {
    for (member, value) in flags {
        if let Some(value) = value {
            members.insert(member.into(), value.as_str().into());
        }
    }
}

fn of_json(path: &Path) -> Result<Map<String, Value>, Failure> {
    let about = |what: &dyn std::fmt::Display| Failure::failed(format!("--config: {}: {what}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| about(&error))?;
    let mut text = Vec::new();
    let read = file.take(limits::CONFIG_FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(|error| about(&error))?;
    if read as u64 > limits::CONFIG_FILE_BYTES_MAX {
        return Err(about(&format_args!("it has more than {} bytes", limits::CONFIG_FILE_BYTES_MAX)));
    }
    match serde_json::from_slice(&text) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(about(&"an object is expected, as the server takes it")),
        Err(error) => Err(about(&error)),
    }
}
