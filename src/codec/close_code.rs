//! The close codes of a stream's WebSocket (RFC 6455, section 7.4): each number, what it tells the client to do next, and
//! the words that go with it where the end has none of its own.
//!
//! The only place with the numbers: everybody else names a code. Why a session or a socket ends is `delivery`'s and
//! `listen`'s to know.

use std::fmt;

/// A close code. A peer may send any number; those that we know are constants here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(u16);

/// What a client does after a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAction {
    /// It connects again and goes on after the last position that it has.
    Resume,
    /// It goes on only after the position that the reason names: after its own, it would come to the same end again.
    ResumeAfterNamed,
    /// It stops: connecting again does not help before a person has done something.
    Stop,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
struct Row {
    code: CloseCode,
    action: ClientAction,
    words: &'static str,
}

macro_rules! close_codes {
    ($($(#[doc = $doc:literal])* $name:ident = $number:literal, $action:ident, $words:literal;)*) => {
        impl CloseCode {
            $($(#[doc = $doc])* pub const $name: Self = Self($number);)*
        }

        /// Every code that we know, in the order of their numbers.
        const TABLE: &[Row] =
            &[$(Row { code: CloseCode::$name, action: ClientAction::$action, words: $words }),*];
    };
}

close_codes! {
    /// The client closed of its own accord.
    NORMAL = 1000, Resume, "";
    /// The server stops.
    GOING_AWAY = 1001, Resume, "server going away";
    /// The client does not keep to the WebSocket protocol.
    PROTOCOL = 1002, Resume, "not the WebSocket protocol";
    /// Never sent: the close frame held no code.
    NO_CODE = 1005, Resume, "";
    /// Never sent: the connection ended without a close frame.
    BROKEN = 1006, Resume, "";
    /// A text message of the client is not UTF-8.
    NOT_UTF8 = 1007, Resume, "a text message is not UTF-8";
    /// The client makes the server keep too much for it.
    POLICY = 1008, Resume, "too many control frames";
    /// A message is larger than its receiver takes.
    MESSAGE_TOO_BIG = 1009, Resume, "a message is too big";
    /// The server cannot go on, through no fault of the client.
    SERVER_FAULT = 1011, Resume, "the trail cannot be read";
    /// The credential's time is over; with a new one the client may resume.
    EXPIRED = 4000, Resume, "credential expired";
    /// The user is gone, or may no longer read the stream.
    WITHDRAWN = 4001, Stop, "rights withdrawn";
    /// The client answered no ping.
    SILENT = 4004, Resume, "no answer to pings";
    /// The client took too little for too long, or retention removed what it had not got yet.
    SLOW = 4011, Resume, "too slow: resume from the last position";
    /// The stream's configuration changed.
    RECONFIGURED = 4012, Resume, "stream reconfigured";
    /// The next record is larger than the stream allows.
    RECORD_TOO_LARGE = 4013, ResumeAfterNamed, "record too large";
    /// Records are missing at this place of the trail.
    GAP = 4014, ResumeAfterNamed, "records may be missing";
    /// What a member of a consumer group said is no acknowledgement of what it was sent.
    NOT_ACKNOWLEDGED = 4015, Stop, "not an acknowledgement of what was sent";
    /// A member of a consumer group did not acknowledge what it was sent before partitions changed hands.
    ACKNOWLEDGED_LATE = 4016, Resume, "not acknowledged in time for others to take over";
    /// Another member of the same name joined the consumer group.
    REPLACED = 4017, Stop, "another member of this name joined the group";
    /// The stream or its trail does not exist any more.
    GONE = 4020, Stop, "stream or trail gone";
}

impl CloseCode {
    /// Its number.
    pub fn number(self) -> u16 {
        self.0
    }

    /// What a client does after it. A code that we do not know says nothing, so that the client tries again.
    pub fn client_action(self) -> ClientAction {
        self.row().map_or(ClientAction::Resume, |row| row.action)
    }

    /// The close reason where the end itself has nothing more to say.
    pub fn words(self) -> &'static str {
        self.row().map_or("", |row| row.words)
    }

    fn row(self) -> Option<&'static Row> {
        TABLE.iter().find(|row| row.code == self)
    }
}

/// What stands between the words of a reason and the position that it names.
const GO_ON_AFTER: &str = "go on after ";

/// A close reason that names the position after which the client goes on. The position is at its end.
pub fn reason_naming(words: &str, position: &str) -> String {
    format!("{words}; {GO_ON_AFTER}{position}")
}

/// The position that a close reason names, if it is one of [`reason_naming`].
pub fn position_named(reason: &str) -> Option<&str> {
    reason.rsplit_once(GO_ON_AFTER).map(|(_, position)| position)
}

impl From<u16> for CloseCode {
    fn from(number: u16) -> Self {
        Self(number)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ws_frame::CLOSE_REASON_BYTES_MAX;

    #[test]
    fn numbers_grow_and_words_fit_a_close_frame() {
        assert!(TABLE.is_sorted_by(|before, after| before.code < after.code));
        assert!(TABLE.iter().all(|row| row.words.len() <= CLOSE_REASON_BYTES_MAX));
    }

    #[test]
    fn an_unknown_code_is_worth_another_try() {
        let unknown = CloseCode::from(4_999);
        assert_eq!((unknown.client_action(), unknown.words()), (ClientAction::Resume, ""));
        assert_eq!(unknown.to_string(), "4999");
    }

    #[test]
    fn a_position_in_a_reason_reads_back() {
        assert_eq!(position_named(&reason_naming("rows of \"go on after x\" may be missing", "AQ9")), Some("AQ9"));
        assert_eq!(position_named("stream or trail gone"), None);
    }

    #[test]
    fn the_page_for_clients_explains_every_code_that_is_sent() {
        let page = include_str!("../../docs/clients.md");
        let explained = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
        let explained: Vec<&str> = explained.flat_map(|codes| codes.split(", ")).collect();
        let sent = TABLE.iter().filter(|row| ![CloseCode::NO_CODE, CloseCode::BROKEN].contains(&row.code));
        for row in sent {
            assert!(
                explained.contains(&row.code.to_string().as_str()),
                "docs/clients.md does not explain {}",
                row.code
            );
        }
    }
}
