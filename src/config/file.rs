//! The configuration file, in TOML.

use std::collections::HashSet;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::limit_members::LimitMembers;
use super::nearest::nearest;
use super::{ListenAddress, LogFormat, security};
use crate::access::JwtRules;
use crate::catalog::extract::ExtractConfig;
use crate::catalog::stream::StreamConfig;
use crate::limits;
use crate::record::ResourceName;

const MEMBERS: [&str; 13] = [
    "listen",
    "dataDir",
    "publicUrl",
    "allowedOrigins",
    "allowPlainText",
    "tls",
    "digest",
    "jwt",
    "limits",
    "log",
    "logFormat",
    "extract",
    "stream",
];

/// What a configuration file says; `None` and empty where it says nothing.
#[derive(Debug, Clone, Default)]
pub struct ConfigFile {
    /// `listen`.
    pub listen: Option<SocketAddr>,
    /// `dataDir`.
    pub data_dir: Option<PathBuf>,
    /// `publicUrl`.
    pub public_url: Option<String>,
    /// `allowedOrigins`.
    pub allowed_origins: Vec<String>,
    /// `allowPlainText`.
    pub allow_plain_text: Option<bool>,
    /// `[tls]`.
    pub tls: security::TlsMembers,
    /// `digest`.
    pub digest: Option<bool>,
    /// `[jwt]`.
    pub jwt: Option<JwtRules>,
    /// `[limits]`.
    pub limits: LimitMembers,
    /// `log`.
    pub log: Option<String>,
    /// `logFormat`.
    pub log_format: Option<LogFormat>,
    /// `[[extract]]`.
    pub extracts: Vec<(ResourceName, ExtractConfig)>,
    /// `[[stream]]`.
    pub streams: Vec<(ResourceName, StreamConfig)>,
}

/// A configuration file cannot be used. The text never shows values, which may be passwords.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigFileError(String);

impl ConfigFileError {
    pub(super) fn new(member: &str, what: impl std::fmt::Display) -> Self {
        Self(format!("{member}: {what}"))
    }
}

impl ConfigFile {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ConfigFileError> {
        let about = |what: &dyn std::fmt::Display| ConfigFileError(format!("{}: {what}", path.display()));
        let file = std::fs::File::open(path).map_err(|error| about(&error))?;
        let mut text = String::new();
        let limit = limits::CONFIG_FILE_BYTES_MAX;
        let read = file.take(limit + 1).read_to_string(&mut text).map_err(|error| about(&error))?;
        if read as u64 > limit {
            return Err(about(&format_args!("a configuration file has at most {limit} bytes")));
        }
        Self::parse(&text).map_err(|error| about(&error))
    }

    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Self, ConfigFileError> {
        let table: toml::Table = text.parse().map_err(|error| not_toml(text, &error))?;
        if let Some(unknown) = table.keys().find(|key| !MEMBERS.contains(&key.as_str())) {
            return Err(ConfigFileError(unknown_member(unknown)));
        }
        Ok(Self {
            listen: text_of(&table, "listen")?
                .map(|listen| {
                    let listen: Result<ListenAddress, _> = listen.parse();
                    listen.map(|listen| listen.0).map_err(|error| ConfigFileError::new("listen", error))
                })
                .transpose()?,
            data_dir: text_of(&table, "dataDir")?.map(PathBuf::from),
            public_url: text_of(&table, "publicUrl")?.map(str::to_owned),
            allowed_origins: texts_of(&table, "allowedOrigins")?,
            allow_plain_text: truth_of(&table, "allowPlainText")?,
            tls: security::TlsMembers::read(&table)?,
            digest: truth_of(&table, "digest")?,
            jwt: security::jwt(&table)?,
            limits: LimitMembers::read(&table)?,
            log: text_of(&table, "log")?.map(str::to_owned),
            log_format: text_of(&table, "logFormat")?
                .map(|format| format.parse().map_err(|error| ConfigFileError::new("logFormat", error)))
                .transpose()?,
            extracts: resources(&table, "extract", extract)?,
            streams: resources(&table, "stream", |value| StreamConfig::from_value(value).map_err(|e| e.to_string()))?,
        })
    }
}

/// The parser's own text would show the line, which may hold a password.
fn not_toml(text: &str, error: &toml::de::Error) -> ConfigFileError {
    let start = error.span().map_or(0, |span| span.start);
    let line = 1 + text.bytes().take(start).filter(|byte| *byte == b'\n').count();
    let first_line = error.message().lines().next().unwrap_or("not TOML");
    ConfigFileError(format!("line {line}: {first_line}"))
}

fn unknown_member(unknown: &str) -> String {
    let unknown_shown: String = unknown.chars().take(64).collect();
    match nearest(unknown, &MEMBERS) {
        Some(name) => format!("unknown member {unknown_shown:?}; did you mean {name:?}?"),
        None => format!("unknown member {unknown_shown:?}; the members are {}", MEMBERS.join(", ")),
    }
}

fn truth_of(table: &toml::Table, member: &str) -> Result<Option<bool>, ConfigFileError> {
    match table.get(member) {
        None => Ok(None),
        Some(toml::Value::Boolean(truth)) => Ok(Some(*truth)),
        Some(_) => Err(ConfigFileError::new(member, "must be true or false")),
    }
}

pub(super) fn text_of<'t>(table: &'t toml::Table, member: &str) -> Result<Option<&'t str>, ConfigFileError> {
    match table.get(member) {
        None => Ok(None),
        Some(toml::Value::String(text)) if !text.is_empty() => Ok(Some(text)),
        Some(_) => Err(ConfigFileError::new(member, "must be a string that is not empty")),
    }
}

pub(super) fn texts_of(table: &toml::Table, member: &str) -> Result<Vec<String>, ConfigFileError> {
    let wrong = || ConfigFileError::new(member, "must be a list of strings");
    match table.get(member) {
        None => Ok(Vec::new()),
        Some(toml::Value::Array(texts)) => {
            texts.iter().map(|text| text.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}

/// The tables `[[kind]]`: each has a `name` and the members of its kind.
fn resources<T>(
    table: &toml::Table,
    kind: &str,
    parse: impl Fn(Value) -> Result<T, String>,
) -> Result<Vec<(ResourceName, T)>, ConfigFileError> {
    let tables = match table.get(kind) {
        None => return Ok(Vec::new()),
        Some(toml::Value::Array(tables)) => tables,
        Some(_) => return Err(ConfigFileError::new(kind, format!("is written as [[{kind}]]"))),
    };
    let mut names = HashSet::new();
    let mut found = Vec::new();
    for (at, table) in tables.iter().enumerate() {
        let place = format!("{kind}[{at}]");
        let Value::Object(mut members) = json(table) else {
            return Err(ConfigFileError::new(&place, format!("is written as [[{kind}]]")));
        };
        let Some(Value::String(name)) = members.remove("name") else {
            return Err(ConfigFileError::new(&format!("{place}.name"), "must be a string"));
        };
        let name = ResourceName::new(&name).map_err(|error| ConfigFileError::new(&format!("{place}.name"), error))?;
        if !names.insert(name.clone()) {
            return Err(ConfigFileError::new(&format!("{place}.name"), format!("{name} is named twice")));
        }
        let config = parse(Value::Object(members));
        found.push((name.clone(), config.map_err(|error| ConfigFileError::new(&format!("{kind} {name}"), error))?));
    }
    Ok(found)
}

fn extract(value: Value) -> Result<ExtractConfig, String> {
    // serde's text about a wrong type shows the value, so what may hold a password is looked at first.
    if value.get("source").is_some_and(|source| !source.is_object()) {
        return Err("source: is written as a table [extract.source]".into());
    }
    if value.pointer("/source/password").is_some_and(|password| !password.is_string()) {
        return Err("source.password: must be a string".into());
    }
    let config: ExtractConfig = serde_json::from_value(value).map_err(|error| error.to_string())?;
    config.validate().map_err(|error| error.to_string())?;
    Ok(config)
}

/// The same value in JSON; dates become their text, numbers without a JSON form null.
fn json(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => (*number).into(),
        toml::Value::Boolean(truth) => (*truth).into(),
        toml::Value::Datetime(moment) => moment.to_string().into(),
        toml::Value::Array(values) => values.iter().map(json).collect(),
        toml::Value::Table(members) => {
            Value::Object(members.iter().map(|(name, value)| (name.clone(), json(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        ConfigFile::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn every_member_is_read() {
        let file = ConfigFile::parse(
            r#"
            listen = "127.0.0.1:9100"
            dataDir = "/var/lib/trailcast"
            publicUrl = "https://streams.example.com"
            allowedOrigins = ["https://app.example.com"]
            allowPlainText = false
            log = "info,trailcast::capture=debug"
            logFormat = "json"

            [limits]
            connections = 7

            [[extract]]
            name = "orders"
            tables = ["public.*"]
            trail = "a1"
            [extract.source]
            type = "postgresql"
            host = "db"
            database = "shop"
            user = "trailcast"
            password = "secret"

            [[stream]]
            name = "s1"
            source.trail = "a1"
            encoding.json.model = "row"
            [[stream.rules]]
            action = "include"
            filter.objectNames = ["public.orders"]
            "#,
        )
        .unwrap();
        assert_eq!(file.listen.unwrap().port(), 9100);
        assert_eq!(file.public_url.as_deref(), Some("https://streams.example.com"));
        assert_eq!(file.allowed_origins, ["https://app.example.com"]);
        assert_eq!((file.allow_plain_text, file.log_format), (Some(false), Some(LogFormat::Json)));
        assert_eq!(file.limits.server.connections_max, 7);
        assert_eq!(file.extracts[0].0.as_str(), "orders");
        assert_eq!(file.extracts[0].1.source.host, "db");
        assert_eq!(file.streams[0].1.as_given()["encoding"]["json"]["model"], "row");
    }

    #[test]
    fn an_unknown_member_is_refused_and_the_nearest_named() {
        assert_eq!(
            error("dataDirectory = \"x\""),
            "unknown member \"dataDirectory\"; the members are listen, dataDir, \
            publicUrl, allowedOrigins, allowPlainText, tls, digest, jwt, limits, log, logFormat, extract, stream"
        );
        assert_eq!(error("data_dir = \"x\""), "unknown member \"data_dir\"; did you mean \"dataDir\"?");
        assert!(error("[[extracts]]").contains("did you mean \"extract\"?"));
        let nested = error("[[stream]]\nname = \"s1\"\nsource.trail = \"a1\"\nbufersize = 1");
        assert!(nested.starts_with("stream s1: bufersize: unknown member"), "{nested}");
    }

    #[test]
    fn an_error_names_the_member_or_the_line() {
        assert!(error("listen = 9002").starts_with("listen: must be"));
        assert!(error("listen = \"9002\"").starts_with("listen: must be an address and a port"));
        assert!(error("logFormat = \"xml\"").starts_with("logFormat: must be"));
        assert!(error("allowPlainText = \"yes\"").starts_with("allowPlainText: must be true or false"));
        assert!(error("[[stream]]\nsource.trail = \"a1\"").starts_with("stream[0].name"));
        let twice = "[[stream]]\nname = \"s\"\nsource.trail = \"a1\"\n";
        assert!(error(&format!("{twice}{twice}")).contains("stream[1].name: s is named twice"));
        assert!(error("\n\nlog = = 1").starts_with("line 3: "));
    }

    #[test]
    fn an_error_does_not_show_a_password() {
        for text in [
            "password = \"hunter2",
            "[[extract]]\nname = \"e\"\n[extract.source]\npassword = \"hunter2\"\nhost = 3",
            "[[extract]]\nname = \"e\"\nsource.password = [\"hunter2\"]",
            "[[extract]]\nname = \"e\"\nsource = \"postgres://u:hunter2@h/d\"",
        ] {
            assert!(!error(text).contains("hunter2"), "{}", error(text));
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let path = Path::new("/nowhere/trailcast.toml");
        assert!(ConfigFile::read(path).unwrap_err().to_string().starts_with("/nowhere/trailcast.toml: "));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}") {
            let _ = ConfigFile::parse(&text);
        }
    }
}
