//! One audit line for each change, done or refused, and for each refused log-in.
//!
//! Stands around every route, so that a new one is audited without a thought. What a line says is `service::audit`'s
//! business.

use std::sync::{Arc, OnceLock};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;

use super::hall::{Face, Hall, Refused};
use crate::access::{basic, stream_token};
use crate::listen::{PeerAddr, PeerCertificate};
use crate::service::audit::{Action, Actor, Change, Outcome, Told};

/// What an answer has the audit say beside what was asked and answered.
#[derive(Debug, Clone)]
pub(super) struct AuditDetail(pub(super) String);

/// Where the check of the credential leaves the user's name.
#[derive(Debug, Clone, Default)]
pub(super) struct Known(Arc<OnceLock<String>>);

impl Known {
    /// Notes who asks.
    pub(super) fn note(&self, user: &str) {
        let _ = self.0.set(user.to_owned());
    }
}

pub(super) async fn audited<F: Face>(State(hall): State<Hall>, mut request: Request, next: Next) -> Response {
    let known = Known::default();
    request.extensions_mut().insert(known.clone());
    let route = request.extensions().get::<MatchedPath>().map(|route| F::route_name(route.as_str()));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let peer = request.extensions().get::<PeerAddr>().map(|peer| peer.0);
    let auth = auth_of(&request);
    let header = request.headers().get(AUTHORIZATION).cloned();
    let response = next.run(request).await;
    let status = response.status().as_u16();
    let is_data = route.as_deref().is_some_and(F::is_data_route);
    if !is_noteworthy(&method, auth, status, is_data) || status == 405 {
        return response;
    }
    let code = response.extensions().get::<Refused>().map(|refused| refused.code);
    let told = Told { method: method.as_str(), status, code };
    let mut actor = Actor { user: known.0.get().cloned(), claimed: None, auth, peer };
    if let (None, Some(name)) = (&actor.user, header.as_ref().and_then(claimed_name))
        // A name that nobody has may be a password in the wrong field.
        && hall.service.accounts().get(&name).await.is_ok()
    {
        actor.claimed = Some(name);
    }
    let path = route.is_some().then_some(path.as_str());
    let detail = response.extensions().get::<AuditDetail>().map(|detail| detail.0.clone());
    let (action, outcome) = (action_of(&method), outcome_of(status));
    let change = Change { action, path, outcome, told, detail: detail.as_deref() };
    hall.service.audit().change(&actor, &change).await;
    response
}

fn action_of(method: &Method) -> Action {
    match *method {
        Method::POST => Action::Make,
        Method::PUT => Action::Set,
        Method::PATCH => Action::Change,
        Method::DELETE => Action::Delete,
        _ => Action::Read,
    }
}

/// A failed log-in, a caller who may not, and one who asks too often are refused; all else that is not done has failed.
fn outcome_of(status: u16) -> Outcome {
    match status {
        ..=399 => Outcome::Done,
        401 | 403 | 429 => Outcome::Refused,
        _ => Outcome::Failed,
    }
}

/// A reader without any credential is only asked for one, which clients of Digest go through each time.
fn is_noteworthy(method: &Method, auth: &str, status: u16, is_data: bool) -> bool {
    match status {
        403 => true,
        401 => !method.is_safe() || auth != "none",
        _ => !method.is_safe() && !is_data,
    }
}

/// The kind of the credential that a request presents.
pub fn auth_of(request: &Request) -> &'static str {
    let header = request.headers().get(AUTHORIZATION).map(|value| value.to_str().unwrap_or_default().trim());
    match header.map(|header| header.split_once(' ').unwrap_or((header, ""))) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("Bearer") => {
            if stream_token::is_ours(token.trim()) {
                "token"
            } else {
                "jwt"
            }
        }
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("Digest") => "digest",
        Some(_) => "basic",
        None => match access_token(request) {
            Some(token) if stream_token::is_ours(&token) => "token",
            Some(_) => "jwt",
            None => match request.extensions().get::<PeerCertificate>() {
                Some(PeerCertificate(Some(_))) => "certificate",
                _ => "none",
            },
        },
    }
}

fn access_token(request: &Request) -> Option<String> {
    let pairs = form_urlencoded::parse(request.uri().query()?.as_bytes());
    pairs.filter(|(name, _)| name == "access_token").map(|(_, value)| value.into_owned()).next()
}

fn claimed_name(header: &HeaderValue) -> Option<String> {
    Some(basic::parse(header.to_str().ok()?).ok()?.name)
}
