//! What the configuration file wants to be there: `[[user]]`, `[[extract]]`, `[[trail]]`, `[[stream]]`.

use std::collections::HashSet;
use std::hash::Hash;
use std::io::Read as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::section::Section;
use crate::access::Role;
use crate::catalog::extract::ExtractConfig;
use crate::catalog::stream::StreamConfig;
use crate::catalog::trail::TrailSettings;
use crate::catalog::user::check_user_name;
use crate::codec::member::typed;
use crate::limits;
use crate::record::{ResourceName, TrailName};

/// Problems of one resource that are looked for; each costs a pass over its members.
const PROBLEMS_MAX: usize = 64;

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

/// The users of whom nothing is wrong, and where the password of each is to be found, by its number in the file.
pub(super) fn users(file: &Section<'_>) -> (Vec<FileUser>, Vec<(usize, PasswordSource)>) {
    let mut names = HashSet::new();
    let (mut users, mut passwords) = (Vec::new(), Vec::new());
    for (at, section) in file.list("user").into_iter().enumerate() {
        // Each member is looked at, whatever is wrong with another.
        let name = section.need("name").and_then(|name| {
            section.noted("name", check_user_name(name))?;
            unique(&section, &mut names, name.to_owned())?;
            Some(name.to_owned())
        });
        let role = section.need("role").and_then(|role| section.noted("role", role.parse()));
        let password = match (section.text("passwordFile"), section.text("passwordEnv")) {
            (Some(path), None) => Some(PasswordSource::File(path.into())),
            (None, Some(variable)) => Some(PasswordSource::Environment(variable.into())),
            _ => {
                section.problem("passwordFile", "a user has either passwordFile or passwordEnv");
                None
            }
        };
        passwords.extend(password.clone().map(|password| (at, password)));
        if let (Some(name), Some(role), Some(password)) = (name, role, password) {
            users.push(FileUser { name, role, password });
        }
    }
    (users, passwords)
}

/// A resource's name: valid, and no other's.
fn name<N, E>(section: &Section<'_>, names: &mut HashSet<N>, parse: impl Fn(&str) -> Result<N, E>) -> Option<N>
where
    N: Hash + Eq + Clone + std::fmt::Display,
    E: std::fmt::Display,
{
    let name = section.noted("name", parse(section.need("name")?))?;
    unique(section, names, name.clone())?;
    Some(name)
}

pub(super) fn trails(file: &Section<'_>) -> Vec<(TrailName, TrailSettings)> {
    let mut names = HashSet::new();
    let trail = |section: Section<'_>| {
        let name = name(&section, &mut names, TrailName::new);
        let settings = survey(&section, &json!({}), |value| {
            TrailSettings::from_value(value).map_err(|error| (error.member, error.message))
        });
        Some((name?, settings?))
    };
    file.list("trail").into_iter().filter_map(trail).collect()
}

pub(super) fn extracts(file: &Section<'_>) -> Vec<(ResourceName, ExtractConfig)> {
    let mut names = HashSet::new();
    let mut trails = HashSet::new();
    let source = json!({"type": "postgresql", "host": "h", "database": "d", "user": "u"});
    let instead = json!({"tables": ["public.*"], "trail": "t1", "source": source});
    let extract = |section: Section<'_>| {
        let name = name(&section, &mut names, ResourceName::new);
        let config = survey(&section, &instead, parse_extract)?;
        if !trails.insert(config.trail.clone()) {
            section.problem("trail", "another extract of this file writes it; a trail has one writer");
            return None;
        }
        Some((name?, config))
    };
    file.list("extract").into_iter().filter_map(extract).collect()
}

/// The configuration, or a member and what is wrong with it.
fn parse_extract(value: &Value) -> Result<ExtractConfig, (String, String)> {
    // serde's text about a wrong type shows the value, so what may hold a password is looked at first.
    if value.pointer("/source/password").is_some_and(|password| !password.is_string()) {
        return Err(("source.password".to_owned(), "must be a string".to_owned()));
    }
    // Of a list with a wrong value all is wrong: without that value it might be too short.
    let whole = |member: String| member.split('[').next().unwrap_or_default().to_owned();
    let config: ExtractConfig = typed(value).map_err(|error| (whole(error.member), error.message))?;
    config.validate().map_err(|error| (error.member, error.message))?;
    Ok(config)
}

pub(super) fn streams(file: &Section<'_>) -> Vec<(ResourceName, StreamConfig)> {
    let mut names = HashSet::new();
    let stream = |section: Section<'_>| {
        let name = name(&section, &mut names, ResourceName::new);
        let config = survey(&section, &json!({"source": {"trail": "t1"}}), |value| {
            StreamConfig::from_value(value.clone()).map_err(|error| (error.member, error.message))
        });
        Some((name?, config?))
    };
    file.list("stream").into_iter().filter_map(stream).collect()
}

/// What the members say, or a note of everything that is wrong: for a wrong member that must be there stands that of
/// `instead`, any other is left out, and the rest looked at again.
fn survey<T>(
    section: &Section<'_>,
    instead: &Value,
    parse: impl Fn(&Value) -> Result<T, (String, String)>,
) -> Option<T> {
    let mut value = members(section);
    // What nobody knows has been noted before. A wrong name has too, but is none of these members.
    let mut unknown = section.wrong_members();
    unknown.retain(|member| leave_out(&mut value, member));
    let mut wrong = HashSet::new();
    for _ in 0..PROBLEMS_MAX {
        let (member, message) = match parse(&value) {
            Ok(read) => return (!section.has_problems()).then_some(read),
            Err(error) => error,
        };
        // One that is missed because it was left out.
        if wrong.contains(&member) {
            break;
        }
        // What is missed may be there with a slip in its name.
        let is_missed = message.contains("is required") || message.starts_with("missing field");
        if !is_missed || unknown.is_empty() {
            section.problem(&member, message);
        }
        if !replace(&mut value, &member, instead) {
            break;
        }
        wrong.insert(member);
    }
    None
}

/// Puts what stands in `instead` for a member, or leaves it out; whether that changed anything.
fn replace(value: &mut Value, path: &str, instead: &Value) -> bool {
    let was_there = leave_out(value, path);
    let pointer = format!("/{}", path.replace('.', "/"));
    let (Some(sound), Some((parent, last))) = (instead.pointer(&pointer), pointer.rsplit_once('/')) else {
        return was_there;
    };
    match value.pointer_mut(parent) {
        Some(Value::Object(members)) => members.insert(last.to_owned(), sound.clone()).is_none(),
        _ => was_there,
    }
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
    Value::Object(members.map(|(name, value)| (name.clone(), to_json(value))).collect())
}

/// The same value in JSON; dates become their text, numbers without a JSON form null.
fn to_json(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => (*number).into(),
        toml::Value::Boolean(truth) => (*truth).into(),
        toml::Value::Datetime(moment) => moment.to_string().into(),
        toml::Value::Array(values) => values.iter().map(to_json).collect(),
        toml::Value::Table(members) => {
            Value::Object(members.iter().map(|(name, value)| (name.clone(), to_json(value))).collect())
        }
    }
}
