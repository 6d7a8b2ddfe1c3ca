//! Database passwords: written, never read back. Their names can be listed, the passwords cannot.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::envelope::{Empty, Envelope, Items, Link, NamedItem, Relation};
use super::error_answer::ErrorAnswer;
use super::messages::{Fact, Message};
use super::schema_names::Credentials;
use super::{Answer, Call};
use crate::access::Role;
use crate::face::operation::{NotThere, Stores};
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

/// A password to be stored.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Password {
    /// 1 to 1,024 bytes, stored sealed and never shown.
    #[schema(min_length = 1, max_length = 1024)]
    password: String,
    /// Taken with a warning: an extract names its user itself, where GoldenGate keeps the user with the password.
    userid: Option<String>,
}

/// Credentials that are there; never their password.
#[derive(Serialize, ToSchema)]
#[schema(as = Credentials)]
pub(super) struct KnownCredentials {
    #[serde(rename = "$schema")]
    #[schema(inline)]
    schema: Credentials,
    domain: String,
    alias: String,
}

fn item(name: &str, at: &Address) -> NamedItem {
    let (here, canonical) = (at.here(), format!("{}/{name}", at.here()));
    NamedItem::new(name, vec![Link::json(Relation::Parent, here), Link::json(Relation::Canonical, canonical)])
}

/// The domains of the stored credentials
///
/// Role: User.
#[utoipa::path(get, path = "/services/v2/credentials", operation_id = "listDomains",
    responses((status = 200, description = "Done", body = Envelope<Items<NamedItem>>)))]
pub(super) async fn domains(call: Call) -> Answer<Items<NamedItem>> {
    call.require(Role::User)?;
    let mut domains: Vec<_> =
        call.service().credentials().names(call.principal()).await?.into_iter().map(|(domain, _)| domain).collect();
    domains.dedup();
    let items = domains.iter().map(|domain| item(domain, &call.at)).collect();
    Ok(Envelope::collection(&call.at, items))
}

/// The aliases of a domain; never their passwords
///
/// Role: User.
#[utoipa::path(get, path = "/services/v2/credentials/{domain}", operation_id = "listAliases",
    responses((status = 200, description = "Done", body = Envelope<Items<NamedItem>>), NotThere))]
pub(super) async fn aliases(call: Call<Domain>) -> Answer<Items<NamedItem>> {
    call.require(Role::User)?;
    let Domain(domain) = &call.name;
    let names = call.service().credentials().names(call.principal()).await?;
    let aliases = names.iter().filter(|(of, _)| of == domain.as_str()).map(|(_, alias)| alias);
    let items: Vec<_> = aliases.map(|alias| item(alias, &call.at)).collect();
    if items.is_empty() {
        return Err(ErrorAnswer::new(refusal::Fact::NotFound, format!("the domain {domain} does not exist")));
    }
    Ok(Envelope::collection(&call.at, items))
}

/// Whether there are credentials of that name; never the password
///
/// Role: User.
#[utoipa::path(get, path = "/services/v2/credentials/{domain}/{alias}", operation_id = "describeCredentials",
    responses((status = 200, description = "Done", body = Envelope<KnownCredentials>), NotThere))]
pub(super) async fn describe(call: Call<CredentialName>) -> Answer<KnownCredentials> {
    call.require(Role::User)?;
    let CredentialName { domain, alias } = &call.name;
    let names = call.service().credentials().names(call.principal()).await?;
    if !names.iter().any(|(of, name)| of == domain.as_str() && name == alias.as_str()) {
        return Err(ErrorAnswer::new(refusal::Fact::NotFound, format!("credentials {domain}/{alias} do not exist")));
    }
    let known = KnownCredentials { schema: Credentials, domain: domain.to_string(), alias: alias.to_string() };
    Ok(Envelope::at(&call.at, known))
}

/// Stores a database's password, sealed; it is never shown again
///
/// Role: Administrator. A userid is taken with a warning: an extract names its user itself.
#[utoipa::path(post, path = "/services/v2/credentials/{domain}/{alias}", operation_id = "addCredentials",
    request_body(content = Password, content_type = "application/json"),
    responses((status = 200, description = "Done", body = Envelope<Empty>), Stores))]
pub(super) async fn add(call: Call<CredentialName>, content: Content) -> Answer {
    store(call, content).await
}

/// The same
///
/// Role: Administrator. A userid is taken with a warning: an extract names its user itself.
#[utoipa::path(put, path = "/services/v2/credentials/{domain}/{alias}", operation_id = "putCredentials",
    request_body(content = Password, content_type = "application/json"),
    responses((status = 200, description = "Done", body = Envelope<Empty>), Stores))]
pub(super) async fn put(call: Call<CredentialName>, content: Content) -> Answer {
    store(call, content).await
}

async fn store(call: Call<CredentialName>, content: Content) -> Answer {
    call.require(Role::Administrator)?;
    let CredentialName { domain, alias } = &call.name;
    let Password { password, userid } = content.typed().await?;
    if !(1..=limits::SOURCE_PASSWORD_BYTES_MAX).contains(&password.len()) {
        let range = format!("password: 1 to {} bytes", limits::SOURCE_PASSWORD_BYTES_MAX);
        return Err(ErrorAnswer::new(refusal::Fact::OutOfRange, range));
    }
    call.service().credentials().put(call.principal(), domain, alias, &password).await?;
    let done = Message::new(Fact::Done, format!("The credentials {domain}/{alias} were stored"));
    let mut envelope = Envelope::default().message(done);
    if userid.is_some() {
        envelope = envelope.message(Message::new(Fact::UserNotStored, format!("{domain}/{alias}")));
    }
    Ok(envelope)
}

/// Forgets it
///
/// Role: Administrator.
#[utoipa::path(delete, path = "/services/v2/credentials/{domain}/{alias}", operation_id = "deleteCredentials",
    responses((status = 200, description = "Done", body = Envelope<Empty>), NotThere, Stores))]
pub(super) async fn remove(call: Call<CredentialName>) -> Answer {
    call.require(Role::Administrator)?;
    let CredentialName { domain, alias } = &call.name;
    call.service().credentials().remove(call.principal(), domain, alias).await?;
    let done = Message::new(Fact::Done, format!("The credentials {domain}/{alias} were removed"));
    Ok(Envelope::default().message(done))
}
