//! An answer that refuses, with the headers that clients act on.

use std::fmt::Display;

use axum::http::header::{ACCEPT_ENCODING, ALLOW, RETRY_AFTER, SEC_WEBSOCKET_VERSION, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};

use super::envelope::Envelope;
use super::messages::{Fact, Message};
use crate::face::Refused;
use crate::service::refusal::{self, Refusal};

/// An answer that refuses: one fact and its detail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorAnswer {
    /// What is the matter.
    pub fact: Fact,
    /// What the title's gap is filled with; see the fact.
    pub detail: String,
    /// For 429 and 503: when to try again, in seconds.
    pub retry_after_seconds: Option<u64>,
    allow: Option<String>,
    challenges: Vec<String>,
}

impl ErrorAnswer {
    /// A refusal.
    pub fn new(fact: impl Into<Fact>, detail: impl Display) -> Self {
        Self {
            fact: fact.into(),
            detail: detail.to_string(),
            retry_after_seconds: None,
            allow: None,
            challenges: Vec::new(),
        }
    }

    /// The refusal of a method, with the header that names those allowed (`GET, POST`).
    pub fn method_not_allowed(allowed: String) -> Self {
        Self { allow: Some(allowed.clone()), ..Self::new(Fact::MethodNotAllowed, allowed) }
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Something of ours failed. `what` goes to the client; the cause goes to the log only.
    pub fn internal(what: &str, cause: &(dyn std::error::Error + 'static)) -> Self {
        Refusal::internal(what, cause).into()
    }

    /// For 401: how to log in, one header line each.
    #[must_use]
    pub fn challenges(mut self, challenges: Vec<String>) -> Self {
        self.challenges = challenges;
        self
    }
}

impl IntoResponse for ErrorAnswer {
    fn into_response(self) -> Response {
        let envelope = Envelope::default().message(Message::new(self.fact, &self.detail)).status(self.fact.status());
        let mut response = envelope.into_response();
        // For whoever counts and writes down refusals.
        response.extensions_mut().insert(Refused { reason: self.fact.name(), code: self.fact.code() });
        if self.fact == Fact::Refused(refusal::Fact::Unauthenticated) {
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
        if let Some(allowed) = self.allow.and_then(|allowed| HeaderValue::try_from(allowed).ok()) {
            set(ALLOW, allowed);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{AccessError, OriginError};
    use crate::listen::HandshakeError;

    #[test]
    fn refusals_carry_the_headers_that_clients_act_on() {
        let unauthorized = ErrorAnswer::from(AccessError::Wrong).into_response();
        assert_eq!(unauthorized.status(), 401);
        let challenge = unauthorized.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("Basic realm=\"trailcast\""));
        let throttled = ErrorAnswer::new(refusal::Fact::Throttled, "later").retry_after(7).into_response();
        assert_eq!((throttled.status().as_u16(), &throttled.headers()["retry-after"]), (429, &HeaderValue::from(7)));
        assert_eq!(ErrorAnswer::method_not_allowed("GET, POST".into()).into_response().headers()["allow"], "GET, POST");
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
        assert_eq!(ErrorAnswer::from(crate::face::Refusal::from(OriginError::Host)).fact, Fact::HostRefused);
        assert_eq!(ErrorAnswer::from(HandshakeError::Key).fact.status(), 400);
        let title = Message::new(refusal::Fact::Unauthenticated, AccessError::Wrong).title().to_owned();
        assert_eq!(title, "Not authenticated: the user name or the password is wrong.");
    }
}
