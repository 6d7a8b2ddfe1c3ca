//! One request as a handler sees it: who calls and from where, the names in its path, the address that it came by.
//!
//! Who calls is checked first, so that a stranger learns nothing of what there is.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::Method;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::address::Address;
use super::audit::Known;
use super::hall::{ACCESS_TOKEN, Face, Hall};
use super::path::{FromPath, PathNames};
use super::query;
use super::refusal::Refusal;
use crate::access::{AccessError, Identity, Presented, Role};
use crate::listen::{PeerAddr, PeerCertificate};
use crate::record::ResourceName;
use crate::service::Service;
use crate::service::principal::Principal;
use crate::service::refusal::Fact;

/// A request of somebody who is known, to the face `F`. `name`: what the path names, if it names something.
#[derive(Debug)]
pub struct Call<F, N = ()> {
    /// What every handler has at hand.
    pub hall: Hall,
    /// Who calls.
    pub caller: Caller,
    /// What the path names.
    pub name: N,
    /// The address that the request came by.
    pub at: Address,
    face: PhantomData<fn() -> F>,
}

impl<F, N> Call<F, N> {
    /// The service behind the face.
    pub fn service(&self) -> &Arc<Service> {
        &self.hall.service
    }

    /// As whom the service knows the caller.
    pub fn principal(&self) -> Principal<'_> {
        Principal::Caller(&self.caller.identity)
    }

    /// Refuses a caller without that role.
    pub fn require(&self, role: Role) -> Result<(), Refusal> {
        Ok(self.caller.identity.require(role)?)
    }
}

impl<F> Call<F, ResourceName> {
    /// Refuses a caller who may not read the stream that the path names with that role; tokens bound to a stream count
    /// here only.
    pub fn require_on_stream(&self, role: Role) -> Result<(), Refusal> {
        Ok(self.caller.identity.require_on(role, self.name.as_str())?)
    }
}

impl<F: Face, N: FromPath + Send> FromRequestParts<Hall> for Call<F, N> {
    type Rejection = F::Refusal;

    async fn from_request_parts(parts: &mut Parts, hall: &Hall) -> Result<Self, F::Refusal> {
        let caller = Caller::of(parts, hall).await?;
        let name = N::from_path(&PathNames::of(parts, hall).await)?;
        let Ok(at) = Address::from_request_parts(parts, hall).await;
        Ok(Self { hall: hall.clone(), caller, name, at, face: PhantomData })
    }
}

impl<F: Face> OptionalFromRequestParts<Hall> for Call<F> {
    type Rejection = F::Refusal;

    /// Whoever presents a credential is checked as everywhere; a certificate that stands for no user is none.
    async fn from_request_parts(parts: &mut Parts, hall: &Hall) -> Result<Option<Self>, F::Refusal> {
        let presents = parts.headers.contains_key(AUTHORIZATION) || access_token(parts.uri.query())?.is_some();
        match <Self as FromRequestParts<Hall>>::from_request_parts(parts, hall).await {
            Ok(call) => Ok(Some(call)),
            Err(refused) if presents => Err(refused),
            Err(_) => Ok(None),
        }
    }
}

/// An authenticated caller.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The user, and what the credential allows.
    pub identity: Identity,
    /// Where the user is.
    pub peer: PeerAddr,
}

impl Caller {
    async fn of(parts: &Parts, hall: &Hall) -> Result<Self, Refusal> {
        let Some(peer) = parts.extensions.get::<PeerAddr>().copied() else {
            return Err(Refusal::new(Fact::Internal, "the caller's address is unknown"));
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
        let authenticator = hall.service.authenticator();
        match authenticator.identify(presented, peer.0.ip).await {
            Ok(identity) => {
                if let Some(known) = parts.extensions.get::<Known>() {
                    known.note(&identity.name);
                }
                Ok(Self { identity, peer })
            }
            Err(error) => {
                let challenges = authenticator.challenges(matches!(error, AccessError::Stale));
                Err(Refusal::Service { refusal: error.into(), challenges })
            }
        }
    }
}

/// `access_token` in the query of a GET: for clients that cannot set headers.
fn access_token(query: Option<&str>) -> Result<Option<String>, Refusal> {
    Ok(query::only(query, ACCESS_TOKEN)?.filter(|token| !token.is_empty()))
}
