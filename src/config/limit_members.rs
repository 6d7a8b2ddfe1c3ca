//! The table `[limits]` of the configuration file: caps and deadlines of connections and sessions.

use tokio::time::Duration;

use super::section::Section;
use crate::limits;
use crate::listen::{PumpTimings, ServerLimits};
use crate::service::sessions::places::SessionCaps;

/// What `[limits]` says, the defaults where it says nothing.
#[derive(Debug, Clone, Copy)]
pub struct LimitMembers {
    /// Caps and deadlines of connections.
    pub server: ServerLimits,
    /// Pings, and the time for slow clients.
    pub sockets: PumpTimings,
    /// Caps of sessions.
    pub sessions: SessionCaps,
    /// Memory for encoded messages, over all streams, in bytes.
    pub delivery_bytes: usize,
}

impl Default for LimitMembers {
    fn default() -> Self {
        let (server, sockets, sessions) = Default::default();
        Self { server, sockets, sessions, delivery_bytes: limits::DELIVERY_BYTES_DEFAULT }
    }
}

impl LimitMembers {
    pub(super) fn read(file: &Section<'_>) -> Self {
        let mut read = Self::default();
        let Some(given) = file.inner("limits") else { return read };
        let count = |member: &str, cap: &mut usize| {
            let number = given.number(member, 1, limits::CONNECTIONS_CONFIGURED_MAX as u64);
            *cap = number.map_or(*cap, |number| number as usize);
        };
        let seconds = |member: &str, time: &mut Duration| {
            let number = given.number(member, 1, limits::DEADLINE_SECONDS_CONFIGURED_MAX);
            *time = number.map_or(*time, Duration::from_secs);
        };
        let Self { server, sockets, sessions, delivery_bytes } = &mut read;
        count("connections", &mut server.connections_max);
        // Caps that follow another one unless they are given.
        server.connections_per_address_max = (server.connections_max / 2).max(1);
        count("connectionsPerAddress", &mut server.connections_per_address_max);
        count("sessions", &mut sessions.all);
        (sessions.per_user, sessions.per_stream) = (sessions.all, sessions.all);
        count("sessionsPerUser", &mut sessions.per_user);
        count("sessionsPerStream", &mut sessions.per_stream);
        seconds("handshakeSeconds", &mut server.handshake);
        seconds("headerSeconds", &mut server.header);
        seconds("bodySeconds", &mut server.body);
        seconds("answerSeconds", &mut server.answer);
        seconds("pingSeconds", &mut sockets.ping);
        seconds("slowClientSeconds", &mut sockets.slow);
        let bytes = |member: &str, least: u64, most: u64, bytes: &mut usize| {
            let number = given.number(member, least, most).and_then(|number| usize::try_from(number).ok());
            *bytes = number.unwrap_or(*bytes);
        };
        bytes("answerBytes", limits::ANSWER_BYTES_MIN, limits::ANSWER_BYTES_MAX, &mut server.answer_bytes);
        bytes("deliveryBytes", limits::DELIVERY_BYTES_MIN, limits::DELIVERY_BYTES_MAX, delivery_bytes);
        read
    }

    /// Every member of the file's table and what holds, in the order of the documentation.
    pub fn all(&self) -> [(&'static str, u64); 13] {
        let Self { server, sockets, sessions, delivery_bytes } = self;
        [
            ("connections", server.connections_max as u64),
            ("connectionsPerAddress", server.connections_per_address_max as u64),
            ("sessions", sessions.all as u64),
            ("sessionsPerUser", sessions.per_user as u64),
            ("sessionsPerStream", sessions.per_stream as u64),
            ("handshakeSeconds", server.handshake.as_secs()),
            ("headerSeconds", server.header.as_secs()),
            ("bodySeconds", server.body.as_secs()),
            ("answerSeconds", server.answer.as_secs()),
            ("answerBytes", server.answer_bytes as u64),
            ("pingSeconds", sockets.ping.as_secs()),
            ("slowClientSeconds", sockets.slow.as_secs()),
            ("deliveryBytes", *delivery_bytes as u64),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::members::{LIMITS, Member};
    use super::*;
    use crate::config::ConfigFile;

    fn read(text: &str) -> Result<LimitMembers, String> {
        ConfigFile::parse(text).map(|file| file.limits).map_err(|error| error.to_string())
    }

    fn names() -> Vec<&'static str> {
        LIMITS.iter().map(|Member(name, _)| *name).collect()
    }

    #[test]
    fn every_limit_is_read_and_what_is_not_said_is_the_default() {
        let (bytes, small): (Vec<_>, Vec<_>) = names().into_iter().partition(|name| name.ends_with("Bytes"));
        assert_eq!(bytes, ["answerBytes", "deliveryBytes"]);
        let lines: Vec<_> = small.iter().enumerate().map(|(at, member)| format!("{member} = {}", at + 1)).collect();
        let sizes = "answerBytes = 1048576\ndeliveryBytes = 1048577";
        let all = read(&format!("[limits]\n{}\n{sizes}", lines.join("\n"))).unwrap();
        assert_eq!((all.server.answer_bytes, all.delivery_bytes), (1_048_576, 1_048_577));
        let counts = [all.server.connections_max, all.server.connections_per_address_max];
        let sessions = [all.sessions.all, all.sessions.per_user, all.sessions.per_stream];
        let seconds = [all.server.handshake, all.server.header, all.server.body, all.server.answer];
        let sockets = [all.sockets.ping, all.sockets.slow];
        assert_eq!((counts, sessions), ([1, 2], [3, 4, 5]));
        assert_eq!((seconds.map(|time| time.as_secs()), sockets.map(|time| time.as_secs())), ([6, 7, 8, 9], [10, 11]));
        let none = read("").unwrap();
        assert_eq!(none.server.connections_per_address_max, limits::CONNECTIONS_PER_ADDRESS_MAX);
        assert_eq!(none.sessions, SessionCaps::default());
        assert_eq!(none.delivery_bytes, limits::DELIVERY_BYTES_DEFAULT);
        assert_eq!(none.server.answer_bytes, limits::ANSWER_BYTES_DEFAULT);
    }

    #[test]
    fn the_page_about_limits_names_every_member_once() {
        let page = include_str!("../../docs/limits.md");
        let rows: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        assert_eq!(rows, names());
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
            assert!(error.contains("limits.headerSeconds: must be a whole number from 1 to 3600"), "{error}");
        }
        for member in ["answerBytes", "deliveryBytes"] {
            for wrong in ["1048575", "1099511627777", "\"1 GiB\""] {
                let error = read(&format!("[limits]\n{member} = {wrong}")).unwrap_err();
                let range = format!("limits.{member}: must be a whole number from 1048576 to 1099511627776");
                assert!(error.contains(&range), "{error}");
            }
        }
        assert!(read("[limits]\nheaderSecond = 1").unwrap_err().contains("did you mean \"headerSeconds\""));
        assert!(read("limits = 1").unwrap_err().contains("limits"));
    }
}
