//! Database passwords: written, never read back. Their names can be listed, the passwords cannot.

use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};

use super::envelope::{Envelope, Link};
use super::messages::{ErrorAnswer, Fact, Message};
use super::{Answer, Call};
use crate::access::Role;
use crate::face::{Address, Content, FromPath, PathNames, Refusal};
use crate::limits;
use crate::record::ResourceName;
use crate::service::refusal;

/// The domain of credentials in a path.
pub(super) struct Domain(ResourceName);

impl FromPath for Domain {
    fn from_path(path: &PathNames) -> Result<Self, Refusal> {
        path.checked("domain").map(Self)
    }
}

/// The domain and the alias of credentials in a path.
pub(super) struct CredentialName {
    domain: ResourceName,
    alias: ResourceName,
}

impl FromPath for CredentialName {
    fn from_path(path: &PathNames) -> Result<Self, Refusal> {
        Ok(Self { domain: path.checked("domain")?, alias: path.checked("alias")? })
    }
}

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
pub(super) async fn domains(call: Call) -> Answer {
    call.require(Role::User)?;
    let mut domains: Vec<_> = call.service().credential_names().await?.into_iter().map(|(domain, _)| domain).collect();
    domains.dedup();
    let items = domains.iter().map(|domain| item(domain, &call.at)).collect();
    Ok(Envelope::collection(items, &call.at.here()).into_response())
}

/// The aliases of a domain.
pub(super) async fn aliases(call: Call<Domain>) -> Answer {
    call.require(Role::User)?;
    let Domain(domain) = &call.name;
    let names = call.service().credential_names().await?;
    let aliases = names.iter().filter(|(of, _)| of == domain.as_str()).map(|(_, alias)| alias);
    let items: Vec<_> = aliases.map(|alias| item(alias, &call.at)).collect();
    if items.is_empty() {
        return Err(ErrorAnswer::new(refusal::Fact::NotFound, format!("the domain {domain} does not exist")));
    }
    Ok(Envelope::collection(items, &call.at.here()).into_response())
}

/// Whether there are credentials of that name.
pub(super) async fn describe(call: Call<CredentialName>) -> Answer {
    call.require(Role::User)?;
    let CredentialName { domain, alias } = &call.name;
    let names = call.service().credential_names().await?;
    if !names.iter().any(|(of, name)| of == domain.as_str() && name == alias.as_str()) {
        return Err(ErrorAnswer::new(refusal::Fact::NotFound, format!("credentials {domain}/{alias} do not exist")));
    }
    let response = json!({"$schema": "ogg:credentials", "domain": domain.as_str(), "alias": alias.as_str()});
    Ok(Envelope::new(response).link(Link::json("self", call.at.here())).into_response())
}

pub(super) async fn put(call: Call<CredentialName>, content: Content) -> Answer {
    call.require(Role::Administrator)?;
    let CredentialName { domain, alias } = &call.name;
    let Password { password, userid } = content.typed().await?;
    if !(1..=limits::SOURCE_PASSWORD_BYTES_MAX).contains(&password.len()) {
        let range = format!("password: 1 to {} bytes", limits::SOURCE_PASSWORD_BYTES_MAX);
        return Err(ErrorAnswer::new(refusal::Fact::OutOfRange, range));
    }
    call.service().put_credential(domain, alias, &password).await?;
    let done = Message::new(Fact::Done, format!("The credentials {domain}/{alias} were stored"));
    let mut envelope = Envelope::default().message(done);
    if userid.is_some() {
        envelope = envelope.message(Message::new(Fact::UserNotStored, format!("{domain}/{alias}")));
    }
    Ok(envelope.into_response())
}

pub(super) async fn remove(call: Call<CredentialName>) -> Answer {
    call.require(Role::Administrator)?;
    let CredentialName { domain, alias } = &call.name;
    if !call.service().delete_credential(domain, alias).await? {
        return Err(ErrorAnswer::new(refusal::Fact::NotFound, format!("credentials {domain}/{alias} do not exist")));
    }
    let done = Message::new(Fact::Done, format!("The credentials {domain}/{alias} were removed"));
    Ok(Envelope::default().message(done).into_response())
}
