//! Users over REST.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::envelope::{Empty, Envelope};
use super::error_answer::ErrorAnswer;
use super::messages::{Fact, Message};
use super::schema_names::{self, UserCollection};
use super::{Answer, Call, grants};
use crate::access::{self, Role};
use crate::catalog::User;
use crate::catalog::grant::Grants;
use crate::catalog::user::{InvalidUserName, check_user_name};
use crate::face::operation::{NotThere, Stores, Taken};
use crate::face::{Content, FromPath, PathNames, Refusal};
use crate::service::refusal;

/// A user to be added.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    #[schema(value_type = RoleName)]
    role: String,
    /// 1 to 256 bytes; kept as a hash only.
    #[schema(min_length = 1, max_length = 256)]
    password: String,
    /// Narrows the user to trails and streams; without them only the role counts.
    #[schema(schema_with = grants::given_schema, required = false)]
    grants: Option<Value>,
}

/// What is to be another of a user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserChange {
    #[schema(value_type = Option<RoleName>)]
    role: Option<String>,
    /// 1 to 256 bytes; kept as a hash only.
    #[schema(min_length = 1, max_length = 256)]
    password: Option<String>,
    /// Other grants; null takes them away, so that only the role counts.
    #[serde(default, deserialize_with = "grants::given")]
    #[schema(schema_with = grants::given_schema, required = false)]
    grants: Option<Value>,
}

/// What a user may do.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = Role)]
pub(super) enum RoleName {
    User,
    Operator,
    Administrator,
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        match role {
            Role::User => Self::User,
            Role::Operator => Self::Operator,
            Role::Administrator => Self::Administrator,
        }
    }
}

/// A user, its role and what it is narrowed to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = User)]
pub(super) struct ShownUser {
    #[serde(rename = "$schema")]
    #[schema(inline)]
    schema: schema_names::User,
    name: String,
    role: RoleName,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = grants::shown_schema, required = false)]
    grants: Option<Arc<Grants>>,
}

/// Every user.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UserCollection)]
pub(super) struct ShownUsers {
    #[serde(rename = "$schema")]
    #[schema(inline)]
    schema: UserCollection,
    items: Vec<ShownUser>,
}

/// A user's name as a path may have it.
pub(super) struct UserName(String);

impl TryFrom<String> for UserName {
    type Error = InvalidUserName;

    fn try_from(name: String) -> Result<Self, InvalidUserName> {
        check_user_name(&name).map(|()| Self(name))
    }
}

impl FromPath for UserName {
    fn from_path(path: &PathNames) -> Result<Self, Refusal> {
        path.checked("name")
    }
}

fn role_of(text: &str) -> Result<Role, ErrorAnswer> {
    text.parse().map_err(|error| ErrorAnswer::new(refusal::Fact::OutOfRange, format!("role: {error}")))
}

fn shown(user: &User) -> ShownUser {
    let (name, grants) = (user.name.clone(), user.grants.clone());
    ShownUser { schema: schema_names::User, name, role: user.role.into(), grants }
}

/// Every user
///
/// Role: Administrator.
#[utoipa::path(get, path = "/services/v2/users", operation_id = "listUsers",
    responses((status = 200, description = "Done", body = Envelope<ShownUsers>)))]
pub(super) async fn list(call: Call) -> Answer<ShownUsers> {
    call.require(Role::Administrator)?;
    let users = call.service().users(call.principal())?.list().await?;
    Ok(Envelope::new(ShownUsers { schema: UserCollection, items: users.iter().map(shown).collect() }))
}

/// A user's role and grants
///
/// Role: Administrator.
#[utoipa::path(get, path = "/services/v2/users/{name}", operation_id = "describeUser",
    responses((status = 200, description = "Done", body = Envelope<ShownUser>), NotThere))]
pub(super) async fn describe(call: Call<UserName>) -> Answer<ShownUser> {
    call.require(Role::Administrator)?;
    Ok(Envelope::new(shown(&call.service().users(call.principal())?.get(&call.name.0).await?)))
}

/// Adds a user
///
/// Role: Administrator. 409: the name is taken.
#[utoipa::path(post, path = "/services/v2/users/{name}", operation_id = "addUser",
    request_body(content = NewUser, content_type = "application/json"),
    responses((status = 200, description = "Done", body = Envelope<ShownUser>), Taken, Stores))]
pub(super) async fn add(call: Call<UserName>, content: Content) -> Answer<ShownUser> {
    call.require(Role::Administrator)?;
    let given: NewUser = content.typed().await?;
    let (role, password) = (role_of(&given.role)?, given.password.as_str());
    let grants = grants::changed(given.grants.as_ref())?.flatten();
    let new = access::NewUser { name: &call.name.0, role, grants, password };
    call.service().users(call.principal())?.add(new).await?;
    Ok(Envelope::new(shown(&call.service().users(call.principal())?.get(&call.name.0).await?)))
}

/// Changes a user's password, role or grants
///
/// Role: Administrator. A new password, a lesser role or lesser grants end the user's tokens and open sessions (4001). 409:
/// the last Administrator without grants cannot become less.
#[utoipa::path(patch, path = "/services/v2/users/{name}", operation_id = "changeUser",
    request_body(content((UserChange = "application/json"), (UserChange = "application/merge-patch+json"))),
    responses((status = 200, description = "Done", body = Envelope<ShownUser>), NotThere, Taken, Stores))]
pub(super) async fn change(call: Call<UserName>, content: Content) -> Answer<ShownUser> {
    call.require(Role::Administrator)?;
    let given: UserChange = content.typed_patch().await?;
    let (role, grants) = (given.role.as_deref().map(role_of).transpose()?, grants::changed(given.grants.as_ref())?);
    let change = access::UserChange { role, grants, password: given.password.as_deref() };
    call.service().users(call.principal())?.change(&call.name.0, change).await?;
    Ok(Envelope::new(shown(&call.service().users(call.principal())?.get(&call.name.0).await?)))
}

/// Removes a user
///
/// Role: Administrator. Ends the user's tokens and open sessions (4001). 409: the last Administrator cannot be removed.
#[utoipa::path(delete, path = "/services/v2/users/{name}", operation_id = "deleteUser",
    responses((status = 200, description = "Done", body = Envelope<Empty>), NotThere, Taken, Stores))]
pub(super) async fn remove(call: Call<UserName>) -> Answer {
    call.require(Role::Administrator)?;
    call.service().users(call.principal())?.remove(&call.name.0).await?;
    let done = Message::new(Fact::Done, format!("The user {} was removed", call.name.0));
    Ok(Envelope::default().message(done))
}
