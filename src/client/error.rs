//! Why a server could not be asked, or said no.

use std::fmt;

use serde_json::Value;

/// What went wrong between us and the server.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection, or it broke, or no answer in time. Another try may help.
    #[error("{0}")]
    Unreachable(String),
    /// The server answered, and not with what was asked for.
    #[error("{0}")]
    Refused(Refusal),
    /// The answer is none that a server of ours gives.
    #[error("{0}")]
    Garbled(String),
}

/// A server's no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status code.
    pub status: u16,
    /// The titles of its messages; empty when it sent none.
    pub titles: Vec<String>,
}

impl Refusal {
    /// From an answer's status and body: the titles of the envelope's messages, else nothing.
    pub(crate) fn from_answer(status: u16, body: &[u8]) -> Self {
        let envelope: Value = serde_json::from_slice(body).unwrap_or_default();
        let messages = envelope["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        let titles = messages.iter().filter_map(|message| message["title"].as_str()).map(str::to_owned).collect();
        Self { status, titles }
    }

    /// Whether the very same request may be taken later: the server is busy, starting or failing.
    pub fn may_pass(&self) -> bool {
        matches!(self.status, 408 | 429) || self.status >= 500
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused with {}", self.status)?;
        let mut separator = ": ";
        for title in &self.titles {
            let title = title.escape_debug().to_string();
            write!(f, "{separator}{}", title.replace("\\'", "'").replace("\\\"", "\""))?;
            separator = "; ";
        }
        if self.status == 401 {
            f.write_str(" (give user and password in the address, or in TRAILCAST_USER and TRAILCAST_PASSWORD)")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_shows_the_titles_of_its_messages() {
        let body = br#"{"$schema":"api:standardResponse","messages":[{"title":"No stream s1."},{"title":"Sorry."}]}"#;
        assert_eq!(Refusal::from_answer(404, body).to_string(), "refused with 404: No stream s1.; Sorry.");
        assert_eq!(Refusal::from_answer(502, b"<html>").to_string(), "refused with 502");
        let control = Refusal { status: 400, titles: vec!["\u{1b}[2Jgone".into()] };
        assert!(!control.to_string().contains('\u{1b}'), "a title cannot steer the terminal");
    }

    #[test]
    fn only_what_another_try_may_cure_may_pass() {
        let may_pass = |status| Refusal { status, titles: vec![] }.may_pass();
        assert!(may_pass(503) && may_pass(500) && may_pass(429));
        assert!(!may_pass(400) && !may_pass(401) && !may_pass(404) && !may_pass(409));
    }
}
