//! Who calls: authentication and roles, before anything else is looked at.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::messages::{ErrorAnswer, Fact};
use super::routes::Face;
use crate::access::{Identity, Role};
use crate::listen::PeerAddr;

/// An authenticated caller.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) identity: Identity,
    pub(super) peer: PeerAddr,
}

impl Caller {
    /// Refuses a caller without that role.
    pub(super) fn require(&self, role: Role) -> Result<(), ErrorAnswer> {
        Ok(self.identity.require(role)?)
    }
}

impl FromRequestParts<Face> for Caller {
    type Rejection = ErrorAnswer;

    async fn from_request_parts(parts: &mut Parts, face: &Face) -> Result<Self, ErrorAnswer> {
        let Some(peer) = parts.extensions.get::<PeerAddr>().copied() else {
            return Err(ErrorAnswer::new(Fact::Internal, "the caller's address is unknown"));
        };
        let header = parts.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or("malformed"));
        let identity = face.service.authenticator().authenticate(header, peer.0.ip()).await?;
        Ok(Self { identity, peer })
    }
}

/// A name in the path, percent-decoded and checked.
#[derive(Debug, Clone)]
pub(super) struct Named<N>(pub(super) N);

impl<N> FromRequestParts<Face> for Named<N>
where
    N: TryFrom<String> + Send,
    N::Error: std::fmt::Display,
{
    type Rejection = ErrorAnswer;

    async fn from_request_parts(parts: &mut Parts, face: &Face) -> Result<Self, ErrorAnswer> {
        let axum::extract::Path(name) = axum::extract::Path::<String>::from_request_parts(parts, face)
            .await
            .map_err(|_| ErrorAnswer::new(Fact::InvalidName, "it is not UTF-8"))?;
        N::try_from(name).map(Self).map_err(|error| ErrorAnswer::new(Fact::InvalidName, error))
    }
}
