//! What a check of a source says of one thing that capture needs there.
//!
//! Owns the form of it, which is the same for every product; what is looked at, and in which words it is said, is a product's
//! own.

use serde::Serialize;

/// Whether something is as capture needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FindingState {
    /// It is.
    Ok,
    /// Capture works, and something about it is worth knowing or changing.
    Warning,
    /// Capture does not work so.
    Error,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was looked at: one word of a fixed list.
    pub what: &'static str,
    /// Whether it is as capture needs it.
    pub state: FindingState,
    /// What was found, and what to do about it.
    pub message: String,
    /// The statement that mends it, to be run at the source as it stands here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// Whether the source has to be restarted after the statement.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub needs_restart: bool,
}

impl Finding {
    fn new(what: &'static str, state: FindingState, message: impl Into<String>) -> Self {
        Self { what, state, message: message.into(), statement: None, needs_restart: false }
    }

    /// It is as it has to be.
    pub fn ok(what: &'static str, message: impl Into<String>) -> Self {
        Self::new(what, FindingState::Ok, message)
    }

    /// Capture works all the same.
    pub fn warning(what: &'static str, message: impl Into<String>) -> Self {
        Self::new(what, FindingState::Warning, message)
    }

    /// Capture does not work so.
    pub fn error(what: &'static str, message: impl Into<String>) -> Self {
        Self::new(what, FindingState::Error, message)
    }

    /// Says which statement mends it.
    #[must_use]
    pub fn mended_by(self, statement: impl Into<String>) -> Self {
        Self { statement: Some(statement.into()), ..self }
    }

    /// Says that the source has to be restarted after it.
    #[must_use]
    pub fn after_restart(self) -> Self {
        Self { needs_restart: true, ..self }
    }
}
