//! Every member of the configuration file, level by level: what a name is checked against and what the documentation lists.
//!
//! Which values a member takes is checked where it is read. What a stream is made of is the catalog's business.

use super::problem::Problems;
use crate::codec::nearest::nearest;

/// What a member holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A text, a number, a truth, or a list of them.
    Value,
    /// A table.
    Table(&'static [Member]),
    /// A list of tables.
    Tables(&'static [Member]),
    /// Tables by names that are not checked here; the documentation calls them NAME.
    Named(&'static [Member]),
    /// Anything: whoever reads it knows its members.
    Open,
}

/// A member's name and what it holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member(pub(super) &'static str, pub(super) Kind);

use Kind::{Named, Open, Table, Tables, Value};

/// Those of the file itself.
pub(super) const FILE: &[Member] = &[
    Member("listen", Value),
    Member("dataDir", Value),
    Member("publicUrl", Value),
    Member("allowedOrigins", Value),
    Member("allowPlainText", Value),
    Member("trustedProxies", Value),
    Member("proxyProtocol", Value),
    Member("tls", Table(TLS)),
    Member("digest", Value),
    Member("jwt", Table(JWT)),
    Member("log", Value),
    Member("logFormat", Value),
    Member("audit", Table(AUDIT)),
    Member("limits", Table(LIMITS)),
    Member("face", Named(FACE)),
    Member("user", Tables(USER)),
    Member("extract", Tables(EXTRACT)),
    Member("trail", Tables(TRAIL)),
    Member("stream", Tables(STREAM)),
];

const TLS: &[Member] =
    &[Member("certificate", Value), Member("key", Value), Member("clientCa", Value), Member("users", Open)];

const FACE: &[Member] = &[
    Member("listen", Value),
    Member("publicUrl", Value),
    Member("connections", Value),
    Member("tls", Table(&[Member("certificate", Value), Member("key", Value), Member("clientCa", Value)])),
];

const JWT: &[Member] = &[
    Member("issuer", Value),
    Member("audience", Value),
    Member("algorithms", Value),
    Member("keys", Value),
    Member("jwks", Value),
    Member("roleClaim", Value),
    Member("grantsClaim", Value),
];

const AUDIT: &[Member] = &[Member("file", Value), Member("maxBytes", Value), Member("keep", Value)];

pub(super) const LIMITS: &[Member] = &[
    Member("connections", Value),
    Member("connectionsPerAddress", Value),
    Member("sessions", Value),
    Member("sessionsPerUser", Value),
    Member("sessionsPerStream", Value),
    Member("handshakeSeconds", Value),
    Member("headerSeconds", Value),
    Member("bodySeconds", Value),
    Member("answerSeconds", Value),
    Member("answerBytes", Value),
    Member("pingSeconds", Value),
    Member("slowClientSeconds", Value),
    Member("deliveryBytes", Value),
];

const USER: &[Member] = &[
    Member("name", Value),
    Member("role", Value),
    Member("grants", Open),
    Member("passwordFile", Value),
    Member("passwordEnv", Value),
];

const EXTRACT: &[Member] = &[
    Member("name", Value),
    Member("source", Table(SOURCE)),
    Member("tables", Value),
    Member("trail", Value),
    Member("begin", Value),
    Member("snapshot", Value),
    Member("loadRate", Value),
    Member("withoutIdentity", Value),
    Member(
        "postgresql",
        Table(&[
            Member("slot", Value),
            Member("publication", Value),
            Member("messages", Value),
            Member("spillBytes", Value),
            Member("heartbeatSeconds", Value),
        ]),
    ),
    Member("mysql", Table(&[Member("serverId", Value)])),
    Member(
        "columns",
        Tables(&[
            Member("table", Value),
            Member("column", Value),
            Member("mask", Value),
            Member("text", Value),
            Member("key", Value),
            Member("optional", Value),
        ]),
    ),
    Member("where", Tables(&[Member("table", Value), Member("filter", Value)])),
    Member("jsonNull", Value),
    Member("onCoverageLost", Value),
    Member("newTables", Value),
    Member("status", Value),
];

const SOURCE: &[Member] = &[
    Member("type", Value),
    Member("host", Value),
    Member("port", Value),
    Member("database", Value),
    Member("user", Value),
    Member("password", Value),
    Member("credentials", Table(&[Member("domain", Value), Member("alias", Value)])),
    Member("tls", Value),
];

const TRAIL: &[Member] = &[
    Member("name", Value),
    Member("retention", Table(&[Member("ageSeconds", Value), Member("bytes", Value)])),
    Member("partitions", Value),
    Member("segmentBytes", Value),
];

const STREAM: &[Member] = &[
    Member("name", Value),
    Member("$schema", Value),
    Member("source", Open),
    Member("description", Value),
    Member("rules", Open),
    Member("encoding", Open),
    Member("bufferSize", Value),
    Member("qualityOfService", Value),
    Member("cloudEventsFormat", Value),
    Member("tcpKeepAliveTimeout", Value),
    Member("trailcast", Open),
];

/// Finds every name in `table` that is not among `members`, at every level, and every table written as something else.
pub(super) fn check(path: &str, table: &toml::Table, members: &[Member], problems: &Problems) {
    for (name, value) in table {
        let here = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let Some(Member(_, kind)) = members.iter().find(|Member(known, _)| known == name) else {
            problems.add(&here, unknown(name, members));
            continue;
        };
        match (kind, value) {
            (Value | Open, _) => {}
            (Table(inner), toml::Value::Table(table)) => check(&here, table, inner, problems),
            (Named(inner), toml::Value::Table(tables)) => {
                for (name, element) in tables {
                    let here = format!("{here}.{name}");
                    match element {
                        toml::Value::Table(table) => check(&here, table, inner, problems),
                        _ => problems.add(&here, format!("is written as a table [{here}]")),
                    }
                }
            }
            (Named(..), _) => problems.add(&here, format!("is written as tables [{here}.NAME]")),
            (Table(_), _) => problems.add(&here, format!("is written as a table [{}]", without_numbers(&here))),
            (Tables(inner), toml::Value::Array(tables)) => {
                for (at, element) in tables.iter().enumerate() {
                    match element {
                        toml::Value::Table(table) => check(&format!("{here}[{at}]"), table, inner, problems),
                        _ => problems.add(&here, format!("is written as [[{name}]]")),
                    }
                }
            }
            (Tables(_), _) => problems.add(&here, format!("is written as [[{name}]]")),
        }
    }
}

fn without_numbers(path: &str) -> String {
    let mut in_number = false;
    let kept = |character: &char| {
        in_number = *character == '[' || (in_number && *character != ']');
        !in_number && *character != ']'
    };
    path.chars().filter(kept).collect()
}

fn unknown(name: &str, members: &[Member]) -> String {
    let known: Vec<&str> = members.iter().map(|Member(name, _)| *name).collect();
    match nearest(name, &known) {
        Some(near) => format!("unknown member; did you mean {near:?}?"),
        None => format!("unknown member; the members here are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Every member's path, tables of a list without their number.
    fn paths(prefix: &str, members: &[Member], found: &mut BTreeSet<String>) {
        for Member(name, kind) in members {
            let path = if prefix.is_empty() { (*name).to_owned() } else { format!("{prefix}.{name}") };
            match kind {
                Table(inner) | Tables(inner) => paths(&path, inner, found),
                Named(inner) => paths(&format!("{path}.NAME"), inner, found),
                Value | Open => drop(found.insert(path)),
            }
        }
    }

    #[test]
    fn the_documentation_lists_every_member_and_no_other() {
        let mut known = BTreeSet::new();
        paths("", FILE, &mut known);
        let text = include_str!("../../docs/configuration-file.md");
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let documented: BTreeSet<String> = rows.map(|(path, _)| path.to_owned()).collect();
        assert_eq!(documented, known);
    }

    #[test]
    fn a_slip_at_every_level_is_found_and_the_nearest_name_said() {
        let mut known = BTreeSet::new();
        paths("", FILE, &mut known);
        for path in &known {
            let mut parts: Vec<String> = path.split('.').map(str::to_owned).collect();
            let last = parts.pop().unwrap();
            let slip = format!("{last}x");
            let mut value = toml::Value::Table(toml::Table::from_iter([(slip, toml::Value::Boolean(true))]));
            while let Some(part) = parts.pop() {
                let listed = matches!(kind_of(&parts, &part), Some(Tables(_)));
                let inner = if listed { toml::Value::Array(vec![value]) } else { value };
                value = toml::Value::Table(toml::Table::from_iter([(part, inner)]));
            }
            let toml::Value::Table(table) = value else { unreachable!() };
            let problems = Problems::default();
            check("", &table, FILE, &problems);
            let found = problems.take();
            assert_eq!(found.len(), 1, "{path}: {found:?}");
            assert!(found[0].message.contains(&format!("did you mean {last:?}?")), "{path}: {found:?}");
        }
    }

    /// The kind of a member behind others; none of a name that somebody chooses.
    fn kind_of(before: &[String], name: &str) -> Option<Kind> {
        let mut members = FILE;
        for part in before.iter().filter(|part| *part != "NAME") {
            let Member(_, kind) = members.iter().find(|Member(known, _)| known == part)?;
            members = match kind {
                Table(inner) | Tables(inner) | Named(inner) => inner,
                Value | Open => return None,
            };
        }
        members.iter().find(|Member(known, _)| *known == name).map(|Member(_, kind)| *kind)
    }

    #[test]
    fn the_members_of_a_stream_are_those_of_the_catalog() {
        let given = serde_json::json!({"nothing": 1});
        let error = crate::catalog::stream::StreamConfig::from_value(given).unwrap_err();
        for Member(name, _) in STREAM.iter().filter(|Member(name, _)| *name != "name") {
            assert!(error.message.contains(name), "{name}: {error}");
        }
        assert_eq!(error.message.matches(", ").count() + 2, STREAM.len(), "{error}");
    }
}
