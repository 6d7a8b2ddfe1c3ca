//! A value that is not in the form of its type.

/// The text is not what the type's output function writes; the server's settings are not the session's, then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a value's text is not in the form of its type")]
pub(super) struct UnexpectedText;
