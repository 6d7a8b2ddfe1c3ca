//! The table `[limits]` of the configuration file: caps and deadlines of connections and sessions.

use tokio::time::Duration;

use super::file::ConfigFileError;
use super::nearest::nearest;
use crate::limits;
use crate::listen::{PumpTimings, ServerLimits};
use crate::service::session_places::SessionCaps;

/// Every member.
const MEMBERS: [&str; 11] = [
    "connections",
    "connectionsPerAddress",
    "sessions",
    "sessionsPerUser",
    "sessionsPerStream",
    "handshakeSeconds",
    "headerSeconds",
    "bodySeconds",
    "answerSeconds",
    "pingSeconds",
    "slowClientSeconds",
];

/// What `[limits]` says, the defaults where it says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct LimitMembers {
    /// Caps and deadlines of connections.
    pub server: ServerLimits,
    /// Pings, and the time for slow clients.
    pub sockets: PumpTimings,
    /// Caps of sessions.
    pub sessions: SessionCaps,
}

impl LimitMembers {
    pub(super) fn read(file: &toml::Table) -> Result<Self, ConfigFileError> {
        let mut read = Self::default();
        let Some(table) = file.get("limits") else { return Ok(read) };
        let Some(table) = table.as_table() else {
            return Err(ConfigFileError::new("limits", "is written as a table [limits]"));
        };
        for (member, value) in table {
            read.set(member, value)?;
        }
        // Caps that follow another one unless they are given.
        if !table.contains_key("connectionsPerAddress") {
            read.server.connections_per_address_max = (read.server.connections_max / 2).max(1);
        }
        for (member, cap) in
            [("sessionsPerUser", &mut read.sessions.per_user), ("sessionsPerStream", &mut read.sessions.per_stream)]
        {
            if !table.contains_key(member) {
                *cap = read.sessions.all;
            }
        }
        Ok(read)
    }

    fn set(&mut self, member: &str, value: &toml::Value) -> Result<(), ConfigFileError> {
        let count = || number(member, value, limits::CONNECTIONS_CONFIGURED_MAX as u64).map(|count| count as usize);
        let seconds = || number(member, value, limits::DEADLINE_SECONDS_CONFIGURED_MAX).map(Duration::from_secs);
        match member {
            "connections" => self.server.connections_max = count()?,
            "connectionsPerAddress" => self.server.connections_per_address_max = count()?,
            "sessions" => self.sessions.all = count()?,
            "sessionsPerUser" => self.sessions.per_user = count()?,
            "sessionsPerStream" => self.sessions.per_stream = count()?,
            "handshakeSeconds" => self.server.handshake = seconds()?,
            "headerSeconds" => self.server.header = seconds()?,
            "bodySeconds" => self.server.body = seconds()?,
            "answerSeconds" => self.server.answer = seconds()?,
            "pingSeconds" => self.sockets.ping = seconds()?,
            "slowClientSeconds" => self.sockets.slow = seconds()?,
            unknown => {
                let shown: String = unknown.chars().take(64).collect();
                let what = match nearest(unknown, &MEMBERS) {
                    Some(name) => format!("unknown member {shown:?}; did you mean {name:?}?"),
                    None => format!("unknown member {shown:?}; the members are {}", MEMBERS.join(", ")),
                };
                return Err(ConfigFileError::new("limits", what));
            }
        }
        Ok(())
    }
}

fn number(member: &str, value: &toml::Value, most: u64) -> Result<u64, ConfigFileError> {
    let given = value.as_integer().and_then(|number| u64::try_from(number).ok());
    given.filter(|number| (1..=most).contains(number)).ok_or_else(|| {
        ConfigFileError::new(&format!("limits.{member}"), format!("must be a whole number from 1 to {most}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<LimitMembers, String> {
        LimitMembers::read(&text.parse().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_limit_is_read_and_what_is_not_said_is_the_default() {
        let lines: Vec<_> = MEMBERS.iter().enumerate().map(|(at, member)| format!("{member} = {}", at + 1)).collect();
        let all = read(&format!("[limits]\n{}", lines.join("\n"))).unwrap();
        let counts = [all.server.connections_max, all.server.connections_per_address_max];
        let sessions = [all.sessions.all, all.sessions.per_user, all.sessions.per_stream];
        let seconds = [all.server.handshake, all.server.header, all.server.body, all.server.answer];
        let sockets = [all.sockets.ping, all.sockets.slow];
        assert_eq!((counts, sessions), ([1, 2], [3, 4, 5]));
        assert_eq!((seconds.map(|time| time.as_secs()), sockets.map(|time| time.as_secs())), ([6, 7, 8, 9], [10, 11]));
        let none = read("").unwrap();
        assert_eq!(none.server.connections_per_address_max, limits::CONNECTIONS_PER_ADDRESS_MAX);
        assert_eq!(none.sessions, SessionCaps::default());
    }

    #[test]
    fn the_page_about_limits_names_every_member_once() {
        let page = include_str!("../../docs/limits.md");
        let rows: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        assert_eq!(rows, MEMBERS);
    }

    #[test]
    fn a_cap_that_is_not_given_follows_the_whole() {
        let read = read("[limits]\nconnections = 10\nsessions = 6").unwrap();
        assert_eq!(read.server.connections_per_address_max, 5);
        assert_eq!((read.sessions.per_user, read.sessions.per_stream), (6, 6));
    }

    #[test]
    fn a_limit_out_of_range_is_refused_by_name_and_range() {
        for wrong in ["0", "-1", "1.5", "\"10\"", "3601"] {
            let error = read(&format!("[limits]\nheaderSeconds = {wrong}")).unwrap_err();
            assert_eq!(error, "limits.headerSeconds: must be a whole number from 1 to 3600");
        }
        assert!(read("[limits]\nheaderSecond = 1").unwrap_err().contains("did you mean \"headerSeconds\""));
        assert!(read("limits = 1").unwrap_err().contains("[limits]"));
    }
}
