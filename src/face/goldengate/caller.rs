//! Who calls: authentication and roles, before anything else is looked at.

use axum::extract::{FromRequestParts, OptionalFromRequestParts, RawPathParams};
use axum::http::Method;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::audit::Known;
use super::messages::ErrorAnswer;
use super::query;
use super::routes::Face;
use crate::access::{AccessError, Identity, Presented, Role};
use crate::listen::{PeerAddr, PeerCertificate};
use crate::record::ResourceName;
use crate::service::principal::Principal;
use crate::service::refusal;

/// An authenticated caller.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) identity: Identity,
    pub(super) peer: PeerAddr,
}

impl Caller {
    /// As whom the service knows the caller.
    pub(super) fn principal(&self) -> Principal<'_> {
        Principal::Caller(&self.identity)
    }

    /// Refuses a caller without that role.
    pub(super) fn require(&self, role: Role) -> Result<(), ErrorAnswer> {
        Ok(self.identity.require(role)?)
    }

    /// Refuses a caller who may not read this stream with that role; tokens bound to a stream count here only.
    pub(super) fn require_on(&self, role: Role, stream: &ResourceName) -> Result<(), ErrorAnswer> {
        Ok(self.identity.require_on(role, stream.as_str())?)
    }
}

impl FromRequestParts<Face> for Caller {
    type Rejection = ErrorAnswer;

    async fn from_request_parts(parts: &mut Parts, face: &Face) -> Result<Self, ErrorAnswer> {
        let Some(peer) = parts.extensions.get::<PeerAddr>().copied() else {
            return Err(ErrorAnswer::new(refusal::Fact::Internal, "the caller's address is unknown"));
        };
        let header = parts.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or("malformed"));
        let certificate = parts.extensions.get::<PeerCertificate>().and_then(|certificate| certificate.0.clone());
        let token = if parts.method == Method::GET { access_token(parts.uri.query())? } else { None };
        let presented = Presented {
            header,
            access_token: token.as_deref(),
            certificate: certificate.as_deref(),
            method: parts.method.as_str(),
            path: parts.uri.path(),
        };
        let authenticator = face.service.authenticator();
        match authenticator.identify(presented, peer.0.ip).await {
            Ok(identity) => {
                if let Some(known) = parts.extensions.get::<Known>() {
                    known.note(&identity.name);
                }
                Ok(Self { identity, peer })
            }
            Err(error) => {
                let stale = matches!(error, AccessError::Stale);
                Err(ErrorAnswer::from(error).challenges(authenticator.challenges(stale)))
            }
        }
    }
}

/// Whoever presents a credential is checked as everywhere; a certificate that stands for no user is none.
impl OptionalFromRequestParts<Face> for Caller {
    type Rejection = ErrorAnswer;

    async fn from_request_parts(parts: &mut Parts, face: &Face) -> Result<Option<Self>, ErrorAnswer> {
        let presents = parts.headers.contains_key(AUTHORIZATION) || access_token(parts.uri.query())?.is_some();
        match <Self as FromRequestParts<Face>>::from_request_parts(parts, face).await {
            Ok(caller) => Ok(Some(caller)),
            Err(refused) if presents => Err(refused),
            Err(_) => Ok(None),
        }
    }
}

/// `access_token` in the query of a GET: for clients that cannot set headers.
fn access_token(query: Option<&str>) -> Result<Option<String>, ErrorAnswer> {
    Ok(query::only(query, query::ACCESS_TOKEN)?.filter(|token| !token.is_empty()))
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
        let name = part_of_path(parts, face, "name").await?;
        N::try_from(name).map(Self).map_err(|error| ErrorAnswer::new(refusal::Fact::InvalidName, error))
    }
}

/// The name of a report in the path.
#[derive(Debug, Clone)]
pub(super) struct Report(pub(super) String);

impl FromRequestParts<Face> for Report {
    type Rejection = ErrorAnswer;

    async fn from_request_parts(parts: &mut Parts, face: &Face) -> Result<Self, ErrorAnswer> {
        part_of_path(parts, face, "report").await.map(Self)
    }
}

/// The domain of credentials in the path, checked.
#[derive(Debug, Clone)]
pub(super) struct Domain(pub(super) ResourceName);

impl FromRequestParts<Face> for Domain {
    type Rejection = ErrorAnswer;

    async fn from_request_parts(parts: &mut Parts, face: &Face) -> Result<Self, ErrorAnswer> {
        let name = part_of_path(parts, face, "domain").await?;
        ResourceName::new(&name).map(Self).map_err(|error| ErrorAnswer::new(refusal::Fact::InvalidName, error))
    }
}

/// The alias of credentials in the path, checked.
#[derive(Debug, Clone)]
pub(super) struct Alias(pub(super) ResourceName);

impl FromRequestParts<Face> for Alias {
    type Rejection = ErrorAnswer;

    async fn from_request_parts(parts: &mut Parts, face: &Face) -> Result<Self, ErrorAnswer> {
        let name = part_of_path(parts, face, "alias").await?;
        ResourceName::new(&name).map(Self).map_err(|error| ErrorAnswer::new(refusal::Fact::InvalidName, error))
    }
}

/// The part of the path that the route calls by that name, percent-decoded. Others may stand before it: a reverse proxy
/// puts the deployment's name there.
async fn part_of_path(parts: &mut Parts, face: &Face, name: &str) -> Result<String, ErrorAnswer> {
    let path = RawPathParams::from_request_parts(parts, face).await;
    let path = path.map_err(|_| ErrorAnswer::new(refusal::Fact::InvalidName, "it is not UTF-8"))?;
    let part = path.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_owned());
    part.ok_or_else(|| ErrorAnswer::new(refusal::Fact::NotFound, "what this path names does not exist"))
}
