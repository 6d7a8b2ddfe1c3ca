//! What the configuration file wants to be there: `[[user]]`, `[[extract]]`, `[[trail]]`, `[[stream]]`.

use std::collections::HashSet;
use std::hash::Hash;
use std::io::Read as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::section::Section;
use crate::access::Role;
use crate::catalog::extract::ExtractConfig;
use crate::catalog::extract::columns::missing_key;
use crate::catalog::grant::Grants;
use crate::catalog::stream::StreamConfig;
use crate::catalog::trail::TrailSettings;
use crate::catalog::user::check_user_name;
use crate::codec::member::typed;
use crate::delivery::rules::Rules;
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
    /// `grants`.
    pub grants: Option<Grants>,
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
    /// The member that names it.
    pub fn member(&self) -> &'static str {
        match self {
            Self::File(_) => "passwordFile",
            Self::Environment(_) => "passwordEnv",
        }
    }

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
        let grants = section.table().get("grants").map(|given| {
            let read = Grants::from_value("grants", &to_json(given));
            read.map_err(|error| section.problem(&error.member, error.message)).ok()
        });
        let password = match (section.text("passwordFile"), section.text("passwordEnv")) {
            (Some(path), None) => Some(PasswordSource::File(path.into())),
            (None, Some(variable)) => Some(PasswordSource::Environment(variable.into())),
            _ => {
                section.problem("passwordFile", "a user has either passwordFile or passwordEnv");
                None
            }
        };
        passwords.extend(password.clone().map(|password| (at, password)));
        // Whoever cannot be narrowed as the file says is not made at all.
        if let (Some(name), Some(role), Some(password), None | Some(Some(_))) = (name, role, password, &grants) {
            users.push(FileUser { name, role, grants: grants.flatten(), password });
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
        let settings = survey(
            &section,
            |_, _| None,
            |value| TrailSettings::from_value(value).map_err(|error| (error.member, error.message)),
        );
        Some((name?, settings?))
    };
    file.list("trail").into_iter().filter_map(trail).collect()
}

pub(super) fn extracts(file: &Section<'_>) -> Vec<(ResourceName, ExtractConfig)> {
    let mut names = HashSet::new();
    let mut trails = HashSet::new();
    let whole = ExtractConfig::sample();
    let instead = |path: &str, _: Option<&Value>| match path {
        "tables[]" => Some("public.*".into()),
        _ => whole.pointer(&format!("/{}", path.replace('.', "/"))).cloned(),
    };
    let extract = |section: Section<'_>| {
        let name = name(&section, &mut names, ResourceName::new);
        let config = survey(&section, instead, parse_extract)?;
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
    for (at, mask) in value.pointer("/columns").and_then(Value::as_array).into_iter().flatten().enumerate() {
        if mask.get("key").is_some_and(|key| !key.is_string()) {
            return Err((format!("columns[{at}].key"), "must be a string".to_owned()));
        }
    }
    let config: ExtractConfig = typed(value).map_err(|error| (error.member, error.message))?;
    config.validate().map_err(|error| (error.member, error.message))?;
    missing_key(&config.columns).map_or(Ok(config), |error| Err((error.member, error.message)))
}

pub(super) fn streams(file: &Section<'_>) -> Vec<(ResourceName, StreamConfig)> {
    let mut names = HashSet::new();
    let stream = |section: Section<'_>| {
        let name = name(&section, &mut names, ResourceName::new);
        let config = survey(&section, sound_in_stream, |value| {
            let config = StreamConfig::from_value(value.clone());
            // Patterns are compiled when the stream is made, and a start would end there.
            let compiled = config.and_then(|config| Rules::compile(&config).map(|_| config));
            compiled.map_err(|error| (error.member, error.message))
        });
        Some((name?, config?))
    };
    file.list("stream").into_iter().filter_map(stream).collect()
}

/// What a stream may have in a member that must be there, or in an element of a list; `around` is what the member stands in.
fn sound_in_stream(path: &str, around: Option<&Value>) -> Option<Value> {
    let condition = |subject: &str| json!({subject: "x", "operator": "ISNULL"});
    let list_of = |name: &str| path.rsplit('.').next() == Some(name);
    match path {
        "source" => return Some(json!({"trail": "t1"})),
        "source.trail" => return Some("t1".into()),
        "rules[]" => return Some(json!({"action": "include", "filter": {}})),
        "rules[].action" => return Some("include".into()),
        "rules[].filter" => return Some(json!({})),
        _ if !path.starts_with("rules[].filter.") => return None,
        _ => {}
    }
    let operator = around.and_then(|around| around["operator"].as_str());
    let has_value = around.is_some_and(|around| !around["value"].is_null());
    match path {
        _ if list_of("objectTypes[]") => Some("DML".into()),
        _ if list_of("operationTypes[]") => Some("INSERT".into()),
        _ if list_of("columnValues[]") => Some(condition("column")),
        _ if list_of("userTokens[]") || list_of("tags[]") => Some(condition("name")),
        _ if list_of("objectNames[]") || list_of("partitionNames[]") || list_of("column") || list_of("name") => {
            Some("x".into())
        }
        _ if list_of("operator") => Some(if has_value { "EQ" } else { "ISNULL" }.into()),
        // Without a meaning it is left out.
        _ if list_of("value") && !matches!(operator, Some("ISNULL" | "NOTNULL")) => Some("x".into()),
        _ => None,
    }
}

/// What the members say, or a note of everything that is wrong: for a wrong member stands what `instead` has for it, any
/// other is left out, and the rest looked at again. `instead` gets the member's path, numbers of lists left out, and what
/// the member stands in.
fn survey<T>(
    section: &Section<'_>,
    instead: impl Fn(&str, Option<&Value>) -> Option<Value>,
    parse: impl Fn(&Value) -> Result<T, (String, String)>,
) -> Option<T> {
    let mut value = members(section);
    // What nobody knows has been noted before. A wrong name has too, but is none of these members.
    let mut unknown = section.wrong_members();
    unknown.retain(|member| replace(&mut value, member, &|_, _| None));
    let around = |member: &str| member.rsplit_once('.').map_or("", |(around, _)| around).to_owned();
    let mut wrong = HashSet::new();
    for _ in 0..PROBLEMS_MAX {
        let (member, message) = match parse(&value) {
            Ok(read) => return (!section.has_problems()).then_some(read),
            Err(error) => error,
        };
        let is_unknown = message.starts_with("unknown member") || message.starts_with("unknown field");
        let is_missed = message.contains("is required") || message.starts_with("missing field");
        // What is missed may be there with a slip in its name.
        let is_slip = is_missed && unknown.iter().any(|other| around(other) == around(&member));
        if wrong.insert(member.clone()) && !is_slip {
            section.problem(&member, message);
        } else if !is_slip {
            // Twice in a row: what stands there instead is no better, so what it stands in goes.
            if outer(&member).is_empty() || !replace(&mut value, outer(&member), &instead) {
                break;
            }
            continue;
        }
        if is_unknown {
            unknown.push(member.clone());
        }
        let mut place = member;
        while !replace(&mut value, &place, &instead) {
            // A name with a dot in it, perhaps. Without the table around it the rest can be looked at.
            place = outer(&place).to_owned();
            if place.is_empty() {
                return None;
            }
        }
    }
    None
}

/// Puts what `instead` has for a member in its place, or leaves it out; whether that changed anything.
fn replace(value: &mut Value, path: &str, instead: &dyn Fn(&str, Option<&Value>) -> Option<Value>) -> bool {
    let pointer: String = path.split(['.', '[']).map(|part| format!("/{}", part.trim_end_matches(']'))).collect();
    let Some((parent, last)) = pointer.rsplit_once('/') else { return false };
    let Some(around) = value.pointer_mut(parent) else { return false };
    let sound = instead(&without_numbers(path), Some(&*around));
    match (around, sound) {
        (Value::Object(members), Some(sound)) => members.insert(last.to_owned(), sound.clone()) != Some(sound),
        (Value::Object(members), None) => members.remove(last).is_some(),
        // The others keep their numbers.
        (Value::Array(values), Some(sound)) => match last.parse().ok().and_then(|at: usize| values.get_mut(at)) {
            Some(element) if *element != sound => {
                *element = sound;
                true
            }
            _ => false,
        },
        _ => false,
    }
}

/// The path of what a member or an element of a list stands in; empty for a member of the table itself.
fn outer(path: &str) -> &str {
    let end = if path.ends_with(']') { path.rfind('[') } else { path.rfind('.') };
    end.map_or("", |end| &path[..end])
}

/// A member's path with `[]` for each number in brackets.
fn without_numbers(path: &str) -> String {
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = path.split('[');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(']') {
            Some((number, rest)) if is_number(number) => text += &format!("[]{rest}"),
            _ => text += &format!("[{part}"),
        }
    }
    text
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
