//! The one table of messages: each fact has one code, severity, status and title.
//!
//! Codes that were published never change their meaning; a new fact takes a new code.

use std::fmt::Display;

use axum::http::header::{ACCEPT_ENCODING, ALLOW, RETRY_AFTER, SEC_WEBSOCKET_VERSION, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::envelope::Envelope;
use crate::access::{AccessError, OriginError};
use crate::clock::{Clock, SystemClock};
use crate::limits;
use crate::listen::{HandshakeError, NoRoom};
use crate::record::Timestamp;
use crate::repeats::error_rarely;

/// How bad a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Done, but not as expected.
    Warning,
    /// Not done.
    Error,
}

macro_rules! facts {
    ($($(#[$doc:meta])* $fact:ident: $code:literal, $severity:ident, $status:literal, $slug:literal, $title:literal;)*) => {
        /// Everything that an answer may have to say.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Fact {
            $($(#[$doc])* $fact,)*
        }

        impl Fact {
            /// Every fact, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$fact),*];

            fn row(self) -> (&'static str, Severity, u16, &'static str, &'static str) {
                match self {
                    $(Self::$fact => ($code, Severity::$severity, $status, concat!("urn:trailcast:message:", $slug), $title),)*
                }
            }
        }
    };
}

facts! {
    /// The body is not JSON. Detail: what and where.
    MalformedJson: "OGG-27001", Error, 400, "malformed-json", "The body is not valid JSON: {}.";
    /// A member that the document does not have. Detail: its path.
    UnknownMember: "OGG-27002", Error, 400, "unknown-member", "The member {} is unknown.";
    /// A value out of its range. Detail: the member and the allowed range.
    OutOfRange: "OGG-27003", Error, 400, "out-of-range", "{}.";
    /// A name out of its range. Detail: the range.
    InvalidName: "OGG-27004", Error, 400, "invalid-name", "The name is not allowed: {}.";
    /// Something asked for is not supported. Detail: the member.
    NotSupported: "OGG-27005", Error, 400, "not-supported", "{} is not supported.";
    /// The query is malformed. Detail: the parameter and what is wrong with it.
    MalformedQuery: "OGG-27006", Error, 400, "malformed-query", "The query is malformed: {}.";
    /// A new AsyncAPI document is none. Detail: what is wrong.
    InvalidDocument: "OGG-27007", Error, 400, "invalid-document", "The document is not AsyncAPI 3: {}.";
    /// The upgrade request is malformed. Detail: what is wrong.
    UpgradeMalformed: "OGG-27008", Error, 400, "upgrade-malformed", "The WebSocket handshake is malformed: {}.";
    /// The upgrade asks for another version of the protocol.
    UpgradeVersion: "OGG-27009", Error, 426, "upgrade-version", "{}.";
    /// The request is no HTTP as it should be. Detail: what is wrong.
    MalformedRequest: "OGG-27010", Error, 400, "malformed-request", "The request is malformed: {}.";

    /// The name is taken. Detail: what exists.
    Exists: "OGG-27020", Error, 409, "exists", "{} already exists.";
    /// Nothing there. Detail: what was looked for.
    NotFound: "OGG-27021", Error, 404, "not-found", "{} does not exist.";
    /// The state does not allow it. Detail: why.
    Conflict: "OGG-27022", Error, 409, "conflict", "{}.";

    /// No, malformed or wrong credentials. Detail: which of them.
    Unauthorized: "OGG-27030", Error, 401, "unauthorized", "Not authenticated: {}.";
    /// The role is not enough. Detail: the role needed.
    Forbidden: "OGG-27031", Error, 403, "forbidden", "Not allowed: {}.";
    /// Too many failed log-ins or connections. Detail: when to try again.
    Throttled: "OGG-27032", Error, 429, "throttled", "Too many requests: {}.";
    /// A page of another site. Detail: the rule.
    OriginRefused: "OGG-27033", Error, 403, "origin-refused", "The request is refused: {}.";
    /// A name that is not ours. Detail: the rule.
    HostRefused: "OGG-27034", Error, 403, "host-refused", "The request is refused: {}.";

    /// The route does not have the method. Detail: the methods it has.
    MethodNotAllowed: "OGG-27040", Error, 405, "method-not-allowed", "The method is not allowed here; allowed are {}.";
    /// None of the media types asked for. Detail: those there are.
    NotAcceptable: "OGG-27041", Error, 406, "not-acceptable", "No acceptable media type; there are {}.";
    /// The body is too large. Detail: the limit.
    TooLarge: "OGG-27042", Error, 413, "too-large", "The body is too large; the limit is {}.";
    /// A media type that is not read here. Detail: those that are.
    UnsupportedMediaType: "OGG-27043", Error, 415, "unsupported-media-type", "The media type is not supported; supported are {}.";
    /// The body is packed in some way. Detail: the header and what is taken.
    UnsupportedEncoding: "OGG-27045", Error, 415, "unsupported-encoding", "The content encoding is not supported: {}.";
    /// The body did not arrive in time. Detail: the limit.
    BodyTooLate: "OGG-27044", Error, 408, "body-too-late", "The body did not arrive in time: {}.";

    /// A position that was altered or is none. Detail: what is wrong.
    PositionMalformed: "OGG-27060", Error, 400, "position-malformed", "The position is malformed or was altered: {}.";
    /// A position of another trail. Detail: where the trail starts.
    PositionOtherTrail: "OGG-27061", Error, 409, "position-other-trail", "The position belongs to another trail; {}.";
    /// A position taken under other rules. Detail: what to do.
    PositionOtherRules: "OGG-27062", Error, 409, "position-other-rules", "The position was taken under other rules; {}.";
    /// A position of another life of the trail. Detail: where the trail starts.
    PositionOtherEpoch: "OGG-27063", Error, 409, "position-other-epoch", "The position belongs to an earlier life of the trail; {}.";
    /// A position that the trail has not reached. Detail: where it ends.
    PositionBeyondEnd: "OGG-27064", Error, 409, "position-beyond-end", "The position is beyond the end of the trail; {}.";
    /// A position whose successor is gone. Detail: where the trail starts.
    PositionPurged: "OGG-27065", Error, 409, "position-purged", "Records after the position are no longer kept; {}.";

    /// The stream's trail does not exist yet. Detail: the trail.
    TrailMissing: "OGG-27101", Warning, 200, "trail-missing", "The trail {} does not exist yet; the stream waits for it.";
    /// The trail has another writer. Detail: the trail and its writer.
    TrailBusy: "OGG-27102", Error, 409, "trail-busy", "The trail has another writer: {}.";
    /// The trail stopped over damage. Detail: the trail and why.
    TrailStopped: "OGG-27103", Error, 503, "trail-stopped", "The trail is stopped: {}.";
    /// No room for what was put. Detail: which.
    DiskFull: "OGG-27106", Error, 507, "disk-full", "Nothing was appended: {}.";
    /// No room for what was to be made or changed. Detail: which.
    NoRoom: "OGG-27107", Error, 507, "no-room", "Nothing was changed: {}.";
    /// The stored document was dropped because the configuration changed.
    DocumentDropped: "OGG-27104", Warning, 200, "document-dropped", "The AsyncAPI document set for {} was dropped, because its configuration changed.";
    /// A userid came with a password. Detail: the credentials' name.
    UserNotStored: "OGG-27108", Warning, 200, "user-not-stored", "The userid of {} is not stored: an extract names its user itself (source.user).";
    /// A rule matches no table. Detail: which, and of which trail.
    RuleUnmatched: "OGG-27109", Warning, 200, "rule-unmatched", "{}.";
    /// Done. Detail: what.
    Done: "OGG-27105", Info, 200, "done", "{}.";

    /// The server is going down or has no room. Detail: which.
    Unavailable: "OGG-27190", Error, 503, "unavailable", "The server cannot serve this now: {}.";
    /// Something of ours failed; the log knows more. Detail: what failed.
    Internal: "OGG-27199", Error, 500, "internal", "The server failed: {}.";
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

    /// Its short name, such as `position-purged`.
    pub fn slug(self) -> &'static str {
        let kind = self.row().3;
        kind.rsplit(':').next().unwrap_or(kind)
    }

    fn title(self, detail: impl Display) -> String {
        let detail = detail.to_string();
        self.row().4.replacen("{}", detail.trim_end_matches('.'), 1)
    }
}

/// One message of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    #[serde(rename = "$schema")]
    schema: &'static str,
    code: &'static str,
    severity: Severity,
    title: String,
    issued: String,
    #[serde(rename = "type")]
    kind: &'static str,
}

impl Message {
    /// A fact with its detail, issued now.
    pub fn new(fact: Fact, detail: impl Display) -> Self {
        Self::at(fact, detail, SystemClock.now())
    }

    #[cfg(test)]
    pub(super) fn title(&self) -> &str {
        &self.title
    }

    /// A fact with its detail, issued at a moment.
    pub fn at(fact: Fact, detail: impl Display, issued: Timestamp) -> Self {
        let (code, severity, _, kind, _) = fact.row();
        Self { schema: "ogg:message", code, severity, title: fact.title(detail), issued: issued.to_rfc3339(), kind }
    }
}

/// An answer that refuses: one fact and its detail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorAnswer {
    /// What is the matter.
    pub fact: Fact,
    /// What the title's gap is filled with; see the fact.
    pub detail: String,
    /// For 429 and 503: when to try again, in seconds.
    pub retry_after_seconds: Option<u64>,
    allow: Option<&'static str>,
    challenges: Vec<String>,
}

impl ErrorAnswer {
    /// A refusal.
    pub fn new(fact: Fact, detail: impl Display) -> Self {
        Self { fact, detail: detail.to_string(), retry_after_seconds: None, allow: None, challenges: Vec::new() }
    }

    /// The refusal of a method, with the header that names those allowed (`GET, POST`).
    pub fn method_not_allowed(allowed: &'static str) -> Self {
        Self { allow: Some(allowed), ..Self::new(Fact::MethodNotAllowed, allowed) }
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// For 401: how to log in, one header line each.
    #[must_use]
    pub fn challenges(mut self, challenges: Vec<String>) -> Self {
        self.challenges = challenges;
        self
    }

    /// Something of ours failed. `what` goes to the client; the cause goes to the log only.
    pub fn internal(what: &str, cause: &(dyn std::error::Error + 'static)) -> Self {
        let of_kind = format!("{what}: {cause}");
        error_rarely!(&of_kind, error = cause, "{what}");
        Self::new(Fact::Internal, what)
    }
}

impl IntoResponse for ErrorAnswer {
    fn into_response(self) -> Response {
        let envelope = Envelope::default().message(Message::new(self.fact, &self.detail)).status(self.fact.status());
        let mut response = envelope.into_response();
        // For whoever counts and writes down refusals.
        response.extensions_mut().insert(self.fact);
        if self.fact == Fact::Unauthorized {
            for challenge in self.challenges.into_iter().filter_map(|text| HeaderValue::try_from(text).ok()) {
                response.headers_mut().append(WWW_AUTHENTICATE, challenge);
            }
            response
                .headers_mut()
                .entry(WWW_AUTHENTICATE)
                .or_insert(HeaderValue::from_static("Basic realm=\"trailcast\""));
        }
        let mut set = |name: HeaderName, value: HeaderValue| drop(response.headers_mut().insert(name, value));
        if self.fact == Fact::UnsupportedEncoding {
            set(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if self.fact == Fact::UpgradeVersion {
            set(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        if let Some(seconds) = self.retry_after_seconds {
            set(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allowed) = self.allow {
            set(ALLOW, HeaderValue::from_static(allowed));
        }
        response
    }
}

impl From<AccessError> for ErrorAnswer {
    fn from(error: AccessError) -> Self {
        match &error {
            AccessError::Missing
            | AccessError::Malformed(_)
            | AccessError::Digest(_)
            | AccessError::Stale
            | AccessError::Token
            | AccessError::Expired
            | AccessError::Wrong => Self::new(Fact::Unauthorized, error),
            AccessError::Throttled(throttled) => {
                Self::new(Fact::Throttled, throttled).retry_after(throttled.retry_after_seconds)
            }
            AccessError::Forbidden { .. }
            | AccessError::OutOfReach
            | AccessError::NotStored
            | AccessError::NotGranted(_)
            | AccessError::NoGrants => Self::new(Fact::Forbidden, error),
            AccessError::TokenGrants => Self::new(Fact::OutOfRange, format!("grants: {error}")),
            AccessError::Busy => Self::new(Fact::Throttled, error).retry_after(5),
            AccessError::Internal(_) => Self::internal("the log-in could not be checked", &error),
        }
    }
}

impl From<OriginError> for ErrorAnswer {
    fn from(error: OriginError) -> Self {
        let fact = match error {
            OriginError::Host => Fact::HostRefused,
            OriginError::MalformedHost => Fact::MalformedRequest,
            OriginError::Origin | OriginError::Malformed => Fact::OriginRefused,
        };
        Self::new(fact, error)
    }
}

impl From<NoRoom> for ErrorAnswer {
    fn from(no_room: NoRoom) -> Self {
        Self::new(Fact::Unavailable, no_room).retry_after(limits::ANSWER_RETRY_SECONDS)
    }
}

impl From<HandshakeError> for ErrorAnswer {
    fn from(error: HandshakeError) -> Self {
        let fact = if error == HandshakeError::Version { Fact::UpgradeVersion } else { Fact::UpgradeMalformed };
        Self::new(fact, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_fact_has_a_code_and_a_type_of_its_own() {
        let codes: HashSet<_> = Fact::ALL.iter().map(|fact| fact.code()).collect();
        let types: HashSet<_> = Fact::ALL.iter().map(|fact| fact.row().3).collect();
        assert_eq!((codes.len(), types.len()), (Fact::ALL.len(), Fact::ALL.len()));
        for fact in Fact::ALL {
            let digits = fact.code().strip_prefix("OGG-").unwrap();
            assert!(digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit()), "{fact:?}");
            assert_eq!(fact.severity() == Severity::Error, fact.status().as_u16() >= 400, "{fact:?}");
            assert!(fact.title("DETAIL").contains("DETAIL") && !fact.title("DETAIL").contains("{}"), "{fact:?}");
        }
    }

    #[test]
    fn the_metrics_know_refusals_by_the_names_of_this_table() {
        use crate::service::metrics::{LIMIT_REASONS, POSITION_REASONS};
        let slugs: Vec<_> = Fact::ALL.iter().map(|fact| fact.slug()).collect();
        let positions: Vec<_> = slugs.iter().filter_map(|slug| slug.strip_prefix("position-")).collect();
        assert_eq!(positions, POSITION_REASONS);
        assert!(LIMIT_REASONS.iter().all(|(_, reason)| slugs.contains(reason)));
    }

    #[test]
    fn refusals_carry_the_headers_that_clients_act_on() {
        let unauthorized = ErrorAnswer::from(AccessError::Wrong).into_response();
        assert_eq!(unauthorized.status(), 401);
        let challenge = unauthorized.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("Basic realm=\"trailcast\""));
        let throttled = ErrorAnswer::new(Fact::Throttled, "later").retry_after(7).into_response();
        assert_eq!((throttled.status().as_u16(), &throttled.headers()["retry-after"]), (429, &HeaderValue::from(7)));
        assert_eq!(ErrorAnswer::method_not_allowed("GET, POST").into_response().headers()["allow"], "GET, POST");
        let version = ErrorAnswer::from(HandshakeError::Version).into_response();
        assert_eq!(
            (version.status().as_u16(), &version.headers()["sec-websocket-version"]),
            (426, &HeaderValue::from(13))
        );
    }

    #[test]
    fn access_errors_have_their_statuses() {
        let needed = crate::access::Role::Administrator;
        assert_eq!(ErrorAnswer::from(AccessError::Forbidden { needed }).fact.status(), 403);
        assert_eq!(ErrorAnswer::from(AccessError::Busy).fact.status(), 429);
        assert_eq!(ErrorAnswer::from(OriginError::Host).fact, Fact::HostRefused);
        assert_eq!(ErrorAnswer::from(HandshakeError::Key).fact.status(), 400);
        let title = Message::new(Fact::Unauthorized, AccessError::Wrong).title;
        assert_eq!(title, "Not authenticated: the user name or the password is wrong.");
    }
}
