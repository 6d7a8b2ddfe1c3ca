//! Database passwords: written, never read back. Their names can be listed, the passwords cannot.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};

use super::address::Address;
use super::body;
use super::caller::{Alias, Caller, Domain};
use super::envelope::{Envelope, Link};
use super::messages::{ErrorAnswer, Fact, Message};
use super::routes::Face;
use super::streams::Answer;
use crate::access::Role;
use crate::limits;
use crate::service::refusal;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Password {
    password: String,
    /// GoldenGate keeps the user with the password; here an extract names its user itself.
    userid: Option<String>,
}

fn item(name: &str, at: &Address) -> Value {
    let (here, canonical) = (at.here(), format!("{}/{name}", at.here()));
    let links = [Link::json("parent", here), Link::json("canonical", canonical)];
    json!({"$schema": "ogg:collectionItem", "name": name, "links": links})
}

/// The domains of the credentials that are stored.
pub(super) async fn domains(State(face): State<Face>, caller: Caller, at: Address) -> Answer {
    caller.require(Role::User)?;
    let mut domains: Vec<_> =
        face.service.credentials().names(caller.principal()).await?.into_iter().map(|(domain, _)| domain).collect();
    domains.dedup();
    let items = domains.iter().map(|domain| item(domain, &at)).collect();
    Ok(Envelope::collection(items, &at.here()).into_response())
}

/// The aliases of a domain.
pub(super) async fn aliases(State(face): State<Face>, caller: Caller, Domain(domain): Domain, at: Address) -> Answer {
    caller.require(Role::User)?;
    let names = face.service.credentials().names(caller.principal()).await?;
    let aliases = names.iter().filter(|(of, _)| of == domain.as_str()).map(|(_, alias)| alias);
    let items: Vec<_> = aliases.map(|alias| item(alias, &at)).collect();
    if items.is_empty() {
        return Err(ErrorAnswer::new(refusal::Fact::NotFound, format!("the domain {domain} does not exist")));
    }
    Ok(Envelope::collection(items, &at.here()).into_response())
}

/// Whether there are credentials of that name.
pub(super) async fn describe(
    State(face): State<Face>,
    caller: Caller,
    (Domain(domain), Alias(alias)): (Domain, Alias),
    at: Address,
) -> Answer {
    caller.require(Role::User)?;
    let names = face.service.credentials().names(caller.principal()).await?;
    if !names.iter().any(|(of, name)| of == domain.as_str() && name == alias.as_str()) {
        return Err(ErrorAnswer::new(refusal::Fact::NotFound, format!("credentials {domain}/{alias} do not exist")));
    }
    let response = json!({"$schema": "ogg:credentials", "domain": domain.as_str(), "alias": alias.as_str()});
    Ok(Envelope::new(response).link(Link::json("self", at.here())).into_response())
}

pub(super) async fn put(
    State(face): State<Face>,
    caller: Caller,
    (Domain(domain), Alias(alias)): (Domain, Alias),
    headers: HeaderMap,
    content: Body,
) -> Answer {
    caller.require(Role::Administrator)?;
    let Password { password, userid } = body::typed(&headers, content).await?;
    if !(1..=limits::SOURCE_PASSWORD_BYTES_MAX).contains(&password.len()) {
        let range = format!("password: 1 to {} bytes", limits::SOURCE_PASSWORD_BYTES_MAX);
        return Err(ErrorAnswer::new(refusal::Fact::OutOfRange, range));
    }
    face.service.credentials().put(caller.principal(), &domain, &alias, &password).await?;
    let done = Message::new(Fact::Done, format!("The credentials {domain}/{alias} were stored"));
    let mut envelope = Envelope::default().message(done);
    if userid.is_some() {
        envelope = envelope.message(Message::new(Fact::UserNotStored, format!("{domain}/{alias}")));
    }
    Ok(envelope.into_response())
}

pub(super) async fn remove(
    State(face): State<Face>,
    caller: Caller,
    (Domain(domain), Alias(alias)): (Domain, Alias),
) -> Answer {
    caller.require(Role::Administrator)?;
    face.service.credentials().remove(caller.principal(), &domain, &alias).await?;
    let done = Message::new(Fact::Done, format!("The credentials {domain}/{alias} were removed"));
    Ok(Envelope::default().message(done).into_response())
}
