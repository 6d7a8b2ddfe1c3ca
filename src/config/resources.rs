//! What the configuration file wants to be there: `[[user]]`, `[[extract]]`, `[[trail]]`, `[[stream]]`.

use std::collections::HashSet;
use std::hash::Hash;
use std::io::Read as _;
use std::path::PathBuf;

use serde_json::Value;

use super::section::Section;
use crate::access::Role;
use crate::catalog::extract::ExtractConfig;
use crate::catalog::stream::StreamConfig;
use crate::catalog::trail::TrailSettings;
use crate::catalog::user::check_user_name;
use crate::limits;
use crate::record::{ResourceName, TrailName};

/// Problems of one stream that are looked for; each costs a pass over its members.
const STREAM_PROBLEMS_MAX: usize = 64;

/// A `[[user]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileUser {
    /// `name`.
    pub name: String,
    /// `role`.
    pub role: Role,
    /// `passwordFile` or `passwordEnv`.
    pub password: PasswordSource,
}

/// Where the first password of a user stands; never in the configuration file itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordSource {
    /// The first line of a file.
    File(PathBuf),
    /// A variable of the environment.
    Environment(String),
}

impl PasswordSource {
    /// The password. Blocks; the error names the place and not what stands there.
    pub fn read(&self) -> Result<String, String> {
        let range = format!("the password has 1 to {} bytes", limits::CREDENTIAL_BYTES_MAX);
        let (place, password) = match self {
            Self::File(path) => {
                let place = path.display().to_string();
                let mut text = String::new();
                let file = std::fs::File::open(path).map_err(|error| format!("{place}: {error}"))?;
                let mut limited = file.take(limits::CREDENTIAL_BYTES_MAX as u64 * 2);
                limited.read_to_string(&mut text).map_err(|error| format!("{place}: {error}"))?;
                (place, text.lines().next().unwrap_or_default().to_owned())
            }
            Self::Environment(name) => {
                (format!("the variable {name}"), std::env::var(name).map_err(|_| format!("{name} is not set"))?)
            }
        };
        if (1..=limits::CREDENTIAL_BYTES_MAX).contains(&password.len()) {
            Ok(password)
        } else {
            Err(format!("{place}: {range}"))
        }
    }
}

pub(super) fn users(file: &Section<'_>) -> Vec<FileUser> {
    let mut names = HashSet::new();
    let user = |section: Section<'_>| {
        let name = section.need("name")?;
        section.noted("name", check_user_name(name))?;
        unique(&section, &mut names, name.to_owned())?;
        section.need("role");
        let role = section.parsed("role");
        let password = match (section.text("passwordFile"), section.text("passwordEnv")) {
            (Some(path), None) => PasswordSource::File(path.into()),
            (None, Some(variable)) => PasswordSource::Environment(variable.into()),
            _ => {
                section.problem("passwordFile", "a user has either passwordFile or passwordEnv");
                return None;
            }
        };
        Some(FileUser { name: name.into(), role: role?, password })
    };
    file.list("user").into_iter().filter_map(user).collect()
}

pub(super) fn trails(file: &Section<'_>) -> Vec<(TrailName, TrailSettings)> {
    let mut names = HashSet::new();
    let trail = |section: Section<'_>| {
        let name = section.noted("name", TrailName::new(section.need("name")?))?;
        unique(&section, &mut names, name.clone())?;
        if section.has_problems() {
            return None;
        }
        let settings = TrailSettings::from_value(&members(&section));
        let settings = settings.map_err(|error| section.problem(&error.member, error.message)).ok()?;
        Some((name, settings))
    };
    file.list("trail").into_iter().filter_map(trail).collect()
}

pub(super) fn extracts(file: &Section<'_>) -> Vec<(ResourceName, ExtractConfig)> {
    let mut names = HashSet::new();
    let mut trails = HashSet::new();
    let extract = |section: Section<'_>| {
        let name = section.noted("name", ResourceName::new(section.need("name")?))?;
        unique(&section, &mut names, name.clone())?;
        if section.has_problems() {
            return None;
        }
        let config = parse_extract(&section)?;
        if !trails.insert(config.trail.clone()) {
            section.problem("trail", "another extract of this file writes it; a trail has one writer");
            return None;
        }
        Some((name, config))
    };
    file.list("extract").into_iter().filter_map(extract).collect()
}

fn parse_extract(section: &Section<'_>) -> Option<ExtractConfig> {
    let value = members(section);
    // serde's text about a wrong type shows the value, so what may hold a password is looked at first.
    if value.pointer("/source/password").is_some_and(|password| !password.is_string()) {
        section.problem("source.password", "must be a string");
        return None;
    }
    let config: ExtractConfig = match serde_json::from_value(value.clone()) {
        Ok(config) => config,
        Err(error) => {
            let error = error.to_string();
            section.problem(&culprit(&value, &error), error);
            return None;
        }
    };
    config.validate().map_err(|error| section.problem(&error.member, error.message)).ok()?;
    Some(config)
}

/// The path of the member that serde's error is about, which the error does not tell: the one without which it is another.
fn culprit(value: &Value, error: &str) -> String {
    if let Some(missing) = error.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
        let in_source = value.get("source").is_some() && !matches!(missing, "tables" | "trail" | "source");
        return if in_source { format!("source.{missing}") } else { missing.to_owned() };
    }
    let mut paths = Vec::new();
    members_below("", value, &mut paths);
    let is_about = |path: &String| {
        let mut without = value.clone();
        leave_out(&mut without, path);
        serde_json::from_value::<ExtractConfig>(without).err().is_none_or(|other| other.to_string() != error)
    };
    // The innermost one: without a table around it the error goes too.
    paths.into_iter().rev().find(is_about).unwrap_or_default()
}

/// The paths of all members, each table before its own.
fn members_below(path: &str, value: &Value, found: &mut Vec<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let here = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        found.push(here.clone());
        members_below(&here, value, found);
    }
}

pub(super) fn streams(file: &Section<'_>) -> Vec<(ResourceName, StreamConfig)> {
    let mut names = HashSet::new();
    let stream = |section: Section<'_>| {
        let name = section.noted("name", ResourceName::new(section.need("name")?))?;
        unique(&section, &mut names, name.clone())?;
        Some((name, parse_stream(&section)?))
    };
    file.list("stream").into_iter().filter_map(stream).collect()
}

/// The configuration, or a note of everything that is wrong: a wrong member is left out, and the rest looked at again.
fn parse_stream(section: &Section<'_>) -> Option<StreamConfig> {
    let mut value = members(section);
    let mut left_out = HashSet::new();
    if section.has_problems() {
        return None;
    }
    for _ in 0..STREAM_PROBLEMS_MAX {
        let error = match StreamConfig::from_value(value.clone()) {
            Ok(config) => return (!section.has_problems()).then_some(config),
            Err(error) => error,
        };
        // One that is missed only because it was left out.
        if left_out.contains(&error.member) {
            break;
        }
        section.problem(&error.member, &error.message);
        if !leave_out(&mut value, &error.member) {
            break;
        }
        left_out.insert(error.member);
    }
    None
}

/// Removes a member by its path; whether it was there.
fn leave_out(value: &mut Value, path: &str) -> bool {
    let pointer: String = path.split(['.', '[']).map(|part| format!("/{}", part.trim_end_matches(']'))).collect();
    let Some((parent, last)) = pointer.rsplit_once('/') else { return false };
    match value.pointer_mut(parent) {
        Some(Value::Object(members)) => members.remove(last).is_some(),
        Some(Value::Array(values)) => match last.parse() {
            Ok(at) if at < values.len() => {
                values.remove(at);
                true
            }
            _ => false,
        },
        _ => false,
    }
}

fn unique<N: Hash + Eq + std::fmt::Display>(section: &Section<'_>, names: &mut HashSet<N>, name: N) -> Option<()> {
    let shown = name.to_string();
    if !names.insert(name) {
        section.problem("name", format!("{shown} is named twice"));
        return None;
    }
    Some(())
}

/// The members beside the name, in JSON.
fn members(section: &Section<'_>) -> Value {
    let members = section.table().iter().filter(|(name, _)| *name != "name");
    Value::Object(members.map(|(name, value)| (name.clone(), json(value))).collect())
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
