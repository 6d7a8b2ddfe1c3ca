//! The one table of messages: each fact, the service's and this face's own, has one code, severity, status and title.
//!
//! Codes that were published never change their meaning; a new fact takes a new code.

use std::fmt::Display;

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::schema_names::MessageName;
use crate::clock::{Clock, SystemClock};
use crate::record::Timestamp;
use crate::service::refusal;

/// How bad a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Done, but not as expected.
    Warning,
    /// Not done.
    Error,
}

/// Code, severity, status and title of a message.
type Row = (&'static str, Severity, u16, &'static str);

macro_rules! messages {
    (
        refused { $($refused:ident: $refused_code:literal, $refused_status:literal, $refused_title:literal;)* }
        own { $($(#[$doc:meta])* $own:ident: $name:literal, $code:literal, $severity:ident, $status:literal, $title:literal;)* }
    ) => {
        /// Everything that an answer may have to say.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Fact {
            /// What the service refuses.
            Refused(refusal::Fact),
            $($(#[$doc])* $own,)*
        }

        impl Fact {
            /// Every fact, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::Refused(refusal::Fact::$refused),)* $(Self::$own),*];

            fn row(self) -> Row {
                match self {
                    $(Self::Refused(refusal::Fact::$refused) => {
                        ($refused_code, Severity::Error, $refused_status, $refused_title)
                    })*
                    $(Self::$own => ($code, Severity::$severity, $status, $title),)*
                }
            }

            /// Its short name, such as `position-purged`.
            pub fn name(self) -> &'static str {
                match self {
                    Self::Refused(fact) => fact.name(),
                    $(Self::$own => $name,)*
                }
            }
        }
    };
}

messages! {
    // The detail of each of them is a sentence. `{Sentence}` begins as one: elsewhere a detail may begin with a name.
    refused {
        OutOfRange: "OGG-27003", 400, "{}.";
        InvalidName: "OGG-27004", 400, "The name is not allowed: {}.";
        Exists: "OGG-27020", 409, "{}.";
        NotFound: "OGG-27021", 404, "{}.";
        Conflict: "OGG-27022", 409, "{}.";
        Unauthenticated: "OGG-27030", 401, "Not authenticated: {}.";
        Forbidden: "OGG-27031", 403, "Not allowed: {}.";
        Throttled: "OGG-27032", 429, "Too many requests: {}.";
        PositionMalformed: "OGG-27060", 400, "The position is malformed or was altered: {}.";
        PositionOtherTrail: "OGG-27061", 409, "{Sentence}.";
        PositionOtherRules: "OGG-27062", 409, "{Sentence}.";
        PositionOtherEpoch: "OGG-27063", 409, "{Sentence}.";
        PositionBeyondEnd: "OGG-27064", 409, "{Sentence}.";
        PositionPurged: "OGG-27065", 409, "{Sentence}.";
        Gap: "OGG-27066", 409, "{Sentence}.";
        RecordTooLarge: "OGG-27067", 409, "{Sentence}.";
        TrailBusy: "OGG-27102", 409, "The trail has another writer: {}.";
        TrailStopped: "OGG-27103", 503, "The trail is stopped: {}.";
        DiskFull: "OGG-27106", 507, "Nothing was appended: {}.";
        NoRoom: "OGG-27107", 507, "Nothing was changed: {}.";
        Unavailable: "OGG-27190", 503, "The server cannot serve this now: {}.";
        Internal: "OGG-27199", 500, "The server failed: {}.";
    }
    own {
        /// The body is not JSON. Detail: what and where.
        MalformedJson: "malformed-json", "OGG-27001", Error, 400, "The body is not valid JSON: {}.";
        /// A member that the document does not have. Detail: its path.
        UnknownMember: "unknown-member", "OGG-27002", Error, 400, "The member {} is unknown.";
        /// Something asked for is not supported. Detail: the member.
        NotSupported: "not-supported", "OGG-27005", Error, 400, "{} is not supported.";
        /// The query is malformed. Detail: the parameter and what is wrong with it.
        MalformedQuery: "malformed-query", "OGG-27006", Error, 400, "The query is malformed: {}.";
        /// A new AsyncAPI document is none. Detail: what is wrong.
        InvalidDocument: "invalid-document", "OGG-27007", Error, 400, "The document is not AsyncAPI 3: {}.";
        /// The upgrade request is malformed. Detail: what is wrong.
        UpgradeMalformed: "upgrade-malformed", "OGG-27008", Error, 400, "The WebSocket handshake is malformed: {}.";
        /// The upgrade asks for another version of the protocol.
        UpgradeVersion: "upgrade-version", "OGG-27009", Error, 426, "{}.";
        /// The request is no HTTP as it should be. Detail: what is wrong.
        MalformedRequest: "malformed-request", "OGG-27010", Error, 400, "The request is malformed: {}.";

        /// A page of another site. Detail: the rule.
        OriginRefused: "origin-refused", "OGG-27033", Error, 403, "The request is refused: {}.";
        /// A name that is not ours. Detail: the rule.
        HostRefused: "host-refused", "OGG-27034", Error, 403, "The request is refused: {}.";

        /// The route does not have the method. Detail: the methods it has.
        MethodNotAllowed: "method-not-allowed", "OGG-27040", Error, 405, "The method is not allowed here; allowed are {}.";
        /// None of the media types asked for. Detail: those there are.
        NotAcceptable: "not-acceptable", "OGG-27041", Error, 406, "No acceptable media type; there are {}.";
        /// The body is too large. Detail: the limit.
        TooLarge: "too-large", "OGG-27042", Error, 413, "The body is too large; the limit is {}.";
        /// A media type that is not read here. Detail: those that are.
        UnsupportedMediaType: "unsupported-media-type", "OGG-27043", Error, 415, "The media type is not supported; supported are {}.";
        /// The body is packed in some way. Detail: the header and what is taken.
        UnsupportedEncoding: "unsupported-encoding", "OGG-27045", Error, 415, "The content encoding is not supported: {}.";
        /// The body did not arrive in time. Detail: the limit.
        BodyTooLate: "body-too-late", "OGG-27044", Error, 408, "The body did not arrive in time: {}.";

        /// The stream's trail does not exist yet. Detail: the trail.
        TrailMissing: "trail-missing", "OGG-27101", Warning, 200, "The trail {} does not exist yet; the stream waits for it.";
        /// The stored document was dropped because the configuration changed.
        DocumentDropped: "document-dropped", "OGG-27104", Warning, 200, "The AsyncAPI document set for {} was dropped, because its configuration changed.";
        /// A userid came with a password. Detail: the credentials' name.
        UserNotStored: "user-not-stored", "OGG-27108", Warning, 200, "The userid of {} is not stored: an extract names its user itself (source.user).";
        /// A rule matches no table. Detail: which, and of which trail.
        RuleUnmatched: "rule-unmatched", "OGG-27109", Warning, 200, "{}.";
        /// Done. Detail: what.
        Done: "done", "OGG-27105", Info, 200, "{}.";
    }
}

impl From<refusal::Fact> for Fact {
    fn from(fact: refusal::Fact) -> Self {
        Self::Refused(fact)
    }
}

impl Fact {
    /// The code, `OGG-NNNNN`.
    pub fn code(self) -> &'static str {
        self.row().0
    }

    /// How bad it is.
    pub fn severity(self) -> Severity {
        self.row().1
    }

    /// The status of an answer whose main message this is.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().2).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn title(self, detail: impl Display) -> String {
        let (detail, title) = (detail.to_string(), self.row().3);
        let detail = detail.trim_end_matches('.');
        match title.strip_prefix("{Sentence}") {
            Some(end) => {
                let mut letters = detail.chars();
                let first = letters.next().map(|letter| letter.to_uppercase());
                first.into_iter().flatten().chain(letters).chain(end.chars()).collect()
            }
            None => title.replacen("{}", detail, 1),
        }
    }
}

/// One message of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Message {
    #[serde(rename = "$schema")]
    #[schema(inline)]
    schema: MessageName,
    #[schema(pattern = "^OGG-[0-9]{5}$")]
    code: &'static str,
    #[schema(inline)]
    severity: Severity,
    pub(super) title: String,
    #[schema(format = DateTime)]
    issued: String,
    #[serde(rename = "type")]
    #[schema(format = "uri")]
    kind: String,
}

impl Message {
    /// A fact with its detail, issued now.
    pub fn new(fact: impl Into<Fact>, detail: impl Display) -> Self {
        Self::at(fact, detail, SystemClock.now())
    }

    #[cfg(test)]
    pub(super) fn title(&self) -> &str {
        &self.title
    }

    /// A fact with its detail, issued at a moment.
    pub fn at(fact: impl Into<Fact>, detail: impl Display, issued: Timestamp) -> Self {
        let fact = fact.into();
        let (code, severity, ..) = fact.row();
        let kind = format!("urn:trailcast:message:{}", fact.name());
        Self { schema: MessageName, code, severity, title: fact.title(detail), issued: issued.to_rfc3339(), kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_fact_has_a_code_and_a_type_of_its_own() {
        let codes: HashSet<_> = Fact::ALL.iter().map(|fact| fact.code()).collect();
        let types: HashSet<_> = Fact::ALL.iter().map(|fact| fact.name()).collect();
        assert_eq!((codes.len(), types.len()), (Fact::ALL.len(), Fact::ALL.len()));
        for fact in Fact::ALL {
            let digits = fact.code().strip_prefix("OGG-").unwrap();
            assert!(digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit()), "{fact:?}");
            assert_eq!(fact.severity() == Severity::Error, fact.status().as_u16() >= 400, "{fact:?}");
            assert!(fact.title("DETAIL").contains("DETAIL") && !fact.title("DETAIL").contains('{'), "{fact:?}");
        }
    }

    #[test]
    fn a_title_that_is_a_sentence_of_the_service_begins_as_one() {
        let title = |fact: refusal::Fact, detail| Message::new(fact, detail).title;
        let purged = "records after the position are no longer kept; trail a1 starts at commit number 5";
        assert_eq!(title(refusal::Fact::PositionPurged, purged), format!("R{}.", &purged[1..]));
        assert_eq!(title(refusal::Fact::NotFound, "stream s1 does not exist"), "stream s1 does not exist.");
    }
}
