//! Users over REST.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body;
use super::caller::{Caller, Named};
use super::envelope::Envelope;
use super::messages::{ErrorAnswer, Fact, Message};
use super::routes::Face;
use super::streams::Answer;
use crate::access::Role;
use crate::catalog::User;
use crate::catalog::user::{InvalidUserName, check_user_name};
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

fn role_of(text: &str) -> Result<Role, ErrorAnswer> {
    text.parse().map_err(|error| ErrorAnswer::new(refusal::Fact::OutOfRange, format!("role: {error}")))
}

fn described(user: &User) -> Value {
    json!({"$schema": "trailcast:user", "name": user.name, "role": user.role})
}

pub(super) async fn list(State(face): State<Face>, caller: Caller) -> Answer {
    caller.require(Role::Administrator)?;
    let users = face.service.accounts().list().await?;
    let items: Vec<Value> = users.iter().map(described).collect();
    Ok(Envelope::new(json!({"$schema": "trailcast:userCollection", "items": items})).into_response())
}

pub(super) async fn describe(
    State(face): State<Face>,
    caller: Caller,
    Named(UserName(name)): Named<UserName>,
) -> Answer {
    caller.require(Role::Administrator)?;
    Ok(Envelope::new(described(&face.service.accounts().get(&name).await?)).into_response())
}

pub(super) async fn add(
    State(face): State<Face>,
    caller: Caller,
    Named(UserName(name)): Named<UserName>,
    headers: HeaderMap,
    content: Body,
) -> Answer {
    caller.require(Role::Administrator)?;
    let given: NewUser = body::typed(&headers, content).await?;
    face.service.accounts().add(&name, role_of(&given.role)?, &given.password).await?;
    Ok(Envelope::new(described(&face.service.accounts().get(&name).await?)).into_response())
}

pub(super) async fn change(
    State(face): State<Face>,
    caller: Caller,
    Named(UserName(name)): Named<UserName>,
    headers: HeaderMap,
    content: Body,
) -> Answer {
    caller.require(Role::Administrator)?;
    let given: UserChange = body::typed_patch(&headers, content).await?;
    let role = given.role.as_deref().map(role_of).transpose()?;
    face.service.accounts().change(&name, role, given.password.as_deref()).await?;
    Ok(Envelope::new(described(&face.service.accounts().get(&name).await?)).into_response())
}

pub(super) async fn remove(State(face): State<Face>, caller: Caller, Named(UserName(name)): Named<UserName>) -> Answer {
    caller.require(Role::Administrator)?;
    face.service.accounts().remove(&name).await?;
    Ok(Envelope::default().message(Message::new(Fact::Done, format!("The user {name} was removed"))).into_response())
}
