//! The settings of our sessions with a server, whatever its role, database or configuration file say.
//!
//! Owns two kinds: limits of time, which would end a session that does what it should (all off), and whatever changes what a
//! session is told (how values and names are printed, which warnings are sent). What a start-up message asks for outranks
//! `ALTER ROLE … SET` and `ALTER DATABASE … SET`. Settings that only a superuser may change cannot be asked for.

/// What the start-up message asks for. Every server that we know has these; one that it does not know ends the log-in.
pub(super) const AT_START: [(&str, &str); 18] = [
    ("application_name", "trailcast"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    // A quiet server says every half of it that it lives, which `limits::SOURCE_STALL_SECONDS` builds upon.
    ("wal_sender_timeout", "60s"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
    // The server says by a warning that it leaves something out.
    ("client_min_messages", "warning"),
    // The server's own default: a type or a function of another schema is printed with its schema's name.
    ("search_path", "\"$user\", public"),
    ("quote_all_identifiers", "off"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    // A backslash in the texts of our own statements is one.
    ("standard_conforming_strings", "on"),
];

/// Settings that came with a later major version.
const LATER: [(u32, &str); 2] = [(14, "idle_session_timeout"), (17, "transaction_timeout")];

/// The major version in `server_version`: `18.6`, `15.18 (Debian 15.18-1)`, `19beta1`.
pub(super) fn major(server_version: &str) -> Option<u32> {
    let digits = server_version.len() - server_version.trim_start_matches(|char: char| char.is_ascii_digit()).len();
    server_version[..digits].parse().ok()
}

/// The statement for settings that a server of that major version has besides [`AT_START`].
pub(super) fn later(major: u32) -> Option<String> {
    let known = LATER.iter().filter(|(since, _)| major >= *since);
    let statements: Vec<_> = known.map(|(_, name)| format!("SET {name} = 0")).collect();
    (!statements.is_empty()).then(|| statements.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_for_what_its_version_has() {
        for (version, expected) in [
            ("13.23", None),
            ("15.18 (Debian 15.18-1.pgdg12+1)", Some("SET idle_session_timeout = 0")),
            ("18beta1", Some("SET idle_session_timeout = 0; SET transaction_timeout = 0")),
        ] {
            assert_eq!(later(major(version).unwrap()).as_deref(), expected, "{version}");
        }
        assert_eq!(major("unknown"), None);
    }
}
