//! Why a request is not let in.

use super::basic::BasicError;
use super::digest::DigestError;
use super::grants::NotGranted;
use super::password::PasswordError;
use super::throttle::Throttled;
use crate::catalog::{CatalogError, Role};
use crate::limits;

/// A request is not let in.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// No `Authorization` header.
    #[error("this needs a user name and a password")]
    Missing,
    /// The header cannot be read.
    #[error(transparent)]
    Malformed(#[from] BasicError),
    /// The Digest header cannot be taken.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// The Digest's nonce is too old, or of another life of the server.
    #[error("the nonce is no longer valid; answer the new challenge")]
    Stale,
    /// A token that is not ours, was altered, or whose user is gone or has a new password.
    #[error("the token is not valid here")]
    Token,
    /// A token whose time is over.
    #[error("the token has expired")]
    Expired,
    /// A credential for a stream, used elsewhere.
    #[error("this credential counts for reading its stream only")]
    OutOfReach,
    /// Unknown user or wrong password; which of them is not said.
    #[error("the user name or the password is wrong")]
    Wrong,
    /// Too many failures.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// The role is not enough.
    #[error("this needs the role {needed}")]
    Forbidden {
        /// The least role that may.
        needed: Role,
    },
    /// Grants do not cover it.
    #[error(transparent)]
    NotGranted(#[from] NotGranted),
    /// The token of another issuer has no grants where they are to come from tokens.
    #[error("the token has no grants that can be read, and here they come with the tokens of its issuer")]
    NoGrants,
    /// The grants would make a token that is too long to be sent.
    #[error("the grants of a token have at most {} bytes", limits::TOKEN_GRANTS_BYTES_MAX)]
    TokenGrants,
    /// Too many log-ins wait.
    #[error("too many log-ins wait to be checked; try again in a few seconds")]
    Busy,
    /// Our tokens stand for users of this server.
    #[error("tokens are given to users of this server, and this one is known from another issuer's token only")]
    NotStored,
    /// Something of ours failed.
    #[error("the log-in could not be checked")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<PasswordError> for AccessError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::Busy,
            PasswordError::Failed => Self::Internal(error.into()),
        }
    }
}

impl From<CatalogError> for AccessError {
    fn from(error: CatalogError) -> Self {
        Self::Internal(error.into())
    }
}
