//! Users over REST.

use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};

use super::envelope::Envelope;
use super::messages::{ErrorAnswer, Fact, Message};
use super::{Answer, Call};
use crate::access::Role;
use crate::catalog::User;
use crate::catalog::user::{InvalidUserName, check_user_name};
use crate::face::{Content, FromPath, PathNames, Refusal};
use crate::service::refusal;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUser {
    role: String,
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserChange {
    role: Option<String>,
    password: Option<String>,
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

fn described(user: &User) -> Value {
    json!({"$schema": "trailcast:user", "name": user.name, "role": user.role})
}

pub(super) async fn list(call: Call) -> Answer {
    call.require(Role::Administrator)?;
    let users = call.service().accounts().list().await?;
    let items: Vec<Value> = users.iter().map(described).collect();
    Ok(Envelope::new(json!({"$schema": "trailcast:userCollection", "items": items})).into_response())
}

pub(super) async fn describe(call: Call<UserName>) -> Answer {
    call.require(Role::Administrator)?;
    Ok(Envelope::new(described(&call.service().accounts().get(&call.name.0).await?)).into_response())
}

pub(super) async fn add(call: Call<UserName>, content: Content) -> Answer {
    call.require(Role::Administrator)?;
    let given: NewUser = content.typed().await?;
    call.service().accounts().add(&call.name.0, role_of(&given.role)?, &given.password).await?;
    Ok(Envelope::new(described(&call.service().accounts().get(&call.name.0).await?)).into_response())
}

pub(super) async fn change(call: Call<UserName>, content: Content) -> Answer {
    call.require(Role::Administrator)?;
    let given: UserChange = content.typed_patch().await?;
    let role = given.role.as_deref().map(role_of).transpose()?;
    call.service().accounts().change(&call.name.0, role, given.password.as_deref()).await?;
    Ok(Envelope::new(described(&call.service().accounts().get(&call.name.0).await?)).into_response())
}

pub(super) async fn remove(call: Call<UserName>) -> Answer {
    call.require(Role::Administrator)?;
    call.service().accounts().remove(&call.name.0).await?;
    Ok(Envelope::default()
        .message(Message::new(Fact::Done, format!("The user {} was removed", call.name.0)))
        .into_response())
}
