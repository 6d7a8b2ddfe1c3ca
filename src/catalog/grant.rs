//! Grants: to which trails and streams a user or a token is narrowed, by patterns of their names, and what it may do with them.
//!
//! Owns their forms (JSON, and one line of text), their ranges, and what they allow by themselves. What somebody may who has
//! a role, grants and a credential with further ones is judged in `access::grants`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::table_pattern::{Glyph, wild_match};
use crate::codec::member::{ConfigError, Members};
use crate::limits;

/// What may be done with a trail or a stream. None of these includes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// See that it is there, how it is doing, and what is in it.
    Read,
    /// Put transactions into a trail.
    Write,
    /// Make, change and remove it.
    Manage,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Manage];

    /// As grants have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Manage => "manage",
        }
    }

    /// As sentences have it, before the name of what it is done with.
    pub fn gerund(self) -> &'static str {
        match self {
            Self::Read => "reading",
            Self::Write => "writing to",
            Self::Manage => "managing",
        }
    }
}

/// A pattern over names: `*` stands for any characters, `?` for one. Case counts, as in the names themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NamePattern(Box<str>);

impl NamePattern {
    fn parse(text: &str) -> Result<Self, String> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_#$.-*?".contains(&byte);
        if (1..=limits::GRANT_PATTERN_CHARS_MAX).contains(&text.len()) && text.bytes().all(legal) {
            return Ok(Self(text.into()));
        }
        Err(format!(
            "must be a pattern of 1 to {} characters of A-Z a-z 0-9 _ # $ . - with * for any characters and ? for one",
            limits::GRANT_PATTERN_CHARS_MAX
        ))
    }

    /// Whether it takes in that name.
    pub fn matches(&self, name: &str) -> bool {
        wild_match(self.0.chars().map(Glyph::from), name.chars())
    }
}

/// Trails and streams, and what may be done with them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grant {
    /// The trails.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trails: Vec<NamePattern>,
    /// The streams.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<NamePattern>,
    /// What may be done with both.
    pub may: Vec<Verb>,
}

impl Grant {
    fn from_value(path: &str, value: &Value) -> Result<Self, ConfigError> {
        let members = Members::of(path, value, &["trails", "streams", "may"])?;
        let patterns = |member: &str| {
            let given = members.list(member, 1, limits::GRANT_PATTERNS_MAX)?.unwrap_or_default();
            let pattern = |(at, value): (usize, &Value)| {
                let parsed = NamePattern::parse(value.as_str().unwrap_or_default());
                parsed.map_err(|message| members.error(&format!("{member}[{at}]"), message))
            };
            given.iter().enumerate().map(pattern).collect::<Result<Vec<_>, _>>()
        };
        let (trails, streams) = (patterns("trails")?, patterns("streams")?);
        let given = members.list("may", 1, Verb::ALL.len())?.ok_or_else(|| members.error("may", "is required"))?;
        let verb = |(at, value): (usize, &Value)| {
            let known = Verb::ALL.into_iter().find(|verb| value == verb.name());
            known.ok_or_else(|| members.error(&format!("may[{at}]"), "must be \"read\" or \"write\" or \"manage\""))
        };
        let may = given.iter().enumerate().map(verb).collect::<Result<_, _>>()?;
        if trails.is_empty() && streams.is_empty() {
            return Err(members.error("trails", "must be there, or streams must"));
        }
        Ok(Self { trails, streams, may })
    }

    fn allows(&self, verb: Verb, patterns: &[NamePattern], name: &str) -> bool {
        self.may.contains(&verb) && patterns.iter().any(|pattern| pattern.matches(name))
    }
}

/// The text is no grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}; a grant is written \"read,write trails=a*,b streams=*\"")]
pub struct InvalidGrant(String);

/// One line: what may be done, then the trails and the streams.
impl FromStr for Grant {
    type Err = InvalidGrant;

    fn from_str(text: &str) -> Result<Self, InvalidGrant> {
        let mut words = text.split_whitespace();
        let list = |text: &str| -> Value { text.split(',').collect() };
        let mut value = serde_json::json!({"may": list(words.next().unwrap_or_default())});
        for word in words {
            let (member, patterns) = word.split_once('=').unwrap_or((word, ""));
            let is_known = matches!(member, "trails" | "streams");
            if !is_known || value.get(member).is_some() {
                return Err(InvalidGrant(format!("{word} is neither trails= nor streams=, or stands there twice")));
            }
            value[member] = list(patterns);
        }
        Self::from_value("", &value).map_err(|error| InvalidGrant(error.to_string()))
    }
}

/// The same line.
impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.may.iter().map(|verb| verb.name()).collect::<Vec<_>>().join(","))?;
        for (member, patterns) in [("trails", &self.trails), ("streams", &self.streams)] {
            if !patterns.is_empty() {
                let patterns: Vec<&str> = patterns.iter().map(|pattern| &*pattern.0).collect();
                write!(f, " {member}={}", patterns.join(","))?;
            }
        }
        Ok(())
    }
}

/// What somebody is narrowed to: whatever one of the grants allows, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Grants(Vec<Grant>);

impl Grants {
    /// Of one grant or more.
    pub fn new(grants: Vec<Grant>) -> Result<Self, ConfigError> {
        if (1..=limits::GRANTS_MAX).contains(&grants.len()) {
            return Ok(Self(grants));
        }
        Err(ConfigError::new("grants", format!("must be a list of 1 to {} grants", limits::GRANTS_MAX)))
    }

    /// Reads the member of that name: a list of objects, or of their lines.
    pub fn from_value(member: &str, value: &Value) -> Result<Self, ConfigError> {
        let wrong = |message: String| ConfigError::new(member, message);
        let range = || wrong(format!("must be a list of 1 to {} grants", limits::GRANTS_MAX));
        let given = value.as_array().filter(|list| (1..=limits::GRANTS_MAX).contains(&list.len())).ok_or_else(range)?;
        let grant = |(at, value): (usize, &Value)| {
            let path = format!("{member}[{at}]");
            match value {
                Value::String(text) => text.parse().map_err(|error: InvalidGrant| ConfigError::new(path, error.0)),
                value => Grant::from_value(&path, value),
            }
        };
        given.iter().enumerate().map(grant).collect::<Result<_, _>>().map(Self)
    }

    /// Whether this may be done with a trail of that name.
    pub fn allow_trail(&self, verb: Verb, name: &str) -> bool {
        self.0.iter().any(|grant| grant.allows(verb, &grant.trails, name))
    }

    /// Whether this may be done with a stream of that name, its trail aside.
    pub fn allow_stream(&self, verb: Verb, name: &str) -> bool {
        self.0.iter().any(|grant| grant.allows(verb, &grant.streams, name))
    }

    /// Each grant.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wrong(value: &Value) -> String {
        Grants::from_value("grants", value).unwrap_err().to_string()
    }

    #[test]
    fn a_grant_allows_what_it_names_and_nothing_else() {
        let value = json!([
            {"trails": ["a*", "b?"], "streams": ["orders"], "may": ["read"]},
            {"trails": ["b1"], "may": ["write", "manage"]},
        ]);
        let grants = Grants::from_value("grants", &value).unwrap();
        assert_eq!(serde_json::to_value(&grants).unwrap(), value);
        for (verb, trail, allowed) in [
            (Verb::Read, "a", true),
            (Verb::Read, "a1", true),
            (Verb::Read, "A1", false),
            (Verb::Read, "b", false),
            (Verb::Read, "b12", false),
            (Verb::Write, "b1", true),
            (Verb::Write, "a1", false),
            (Verb::Manage, "b1", true),
            (Verb::Manage, "b2", false),
        ] {
            assert_eq!(grants.allow_trail(verb, trail), allowed, "{verb:?} {trail}");
        }
        assert!(grants.allow_stream(Verb::Read, "orders") && !grants.allow_stream(Verb::Read, "a1"));
        assert!(!grants.allow_stream(Verb::Manage, "orders"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place_and_range() {
        let many: Vec<_> = (0..=limits::GRANTS_MAX).map(|_| json!({"trails": ["a"], "may": ["read"]})).collect();
        for (value, says) in [
            (json!({}), "grants: must be a list of 1 to 32 grants"),
            (json!([]), "grants: must be a list of 1 to 32 grants"),
            (json!(many), "grants: must be a list of 1 to 32 grants"),
            (json!([7]), "grants[0]: must be an object"),
            (
                json!([{"trails": ["a"], "may": ["read"]}, {"trail": []}]),
                "grants[1].trail: unknown member; did you mean \"trails\"?",
            ),
            (json!([{"trails": ["a"]}]), "grants[0].may: is required"),
            (json!([{"trails": ["a"], "may": []}]), "grants[0].may: must be a list of 1 to 3 values"),
            (json!([{"trails": ["a"], "may": ["read", "Read"]}]), "grants[0].may[1]: must be \"read\" or \"write\" or"),
            (json!([{"trails": [], "may": ["read"]}]), "grants[0].trails: must be a list of 1 to 32 values"),
            (json!([{"trails": ["a", "b c"], "may": ["read"]}]), "grants[0].trails[1]: must be a pattern of 1 to 64"),
            (
                json!([{"streams": ["x".repeat(65)], "may": ["read"]}]),
                "grants[0].streams[0]: must be a pattern of 1 to",
            ),
            (json!([{"streams": [7], "may": ["read"]}]), "grants[0].streams[0]: must be a pattern"),
            (json!([{"may": ["read"]}]), "grants[0].trails: must be there, or streams must"),
            (json!(["read"]), "grants[0]: trails: must be there"),
        ] {
            let said = wrong(&value);
            assert!(said.starts_with(says), "{value}: {said}");
        }
    }

    #[test]
    fn a_grant_is_one_line_and_reads_back_as_printed() {
        for line in ["read trails=a*,b? streams=*", "read,write,manage trails=a1", "manage streams=orders,s-1.x"] {
            let grant: Grant = line.parse().unwrap();
            assert_eq!(grant.to_string(), line);
            assert_eq!(Grants::from_value("g", &json!([line])).unwrap(), Grants::new(vec![grant]).unwrap());
        }
        assert_eq!("read streams=s trails=t".parse::<Grant>().unwrap().to_string(), "read trails=t streams=s");
        for bad in
            ["", "trails=a", "read", "read trails", "read trails=", "read trails=a trails=b", "read a*", "see trails=a"]
        {
            let said = bad.parse::<Grant>().unwrap_err().to_string();
            assert!(said.contains("a grant is written"), "{bad}: {said}");
        }
    }
}
