//! Users over REST.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::body;
use super::caller::{Caller, Named};
use super::envelope::Envelope;
use super::messages::{ErrorAnswer, Fact, Message};
use super::routes::Face;
use super::streams::Answer;
use crate::access::{self, Role};
use crate::catalog::User;
use crate::catalog::grant::Grants;
use crate::catalog::user::{InvalidUserName, check_user_name};
use crate::service::refusal;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUser {
    role: String,
    password: String,
    grants: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserChange {
    role: Option<String>,
    password: Option<String>,
    /// `null` takes the user's grants away, so that only the role limits him.
    #[serde(default, deserialize_with = "given")]
    grants: Option<Value>,
}

/// A member that is there, be it `null`.
fn given<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
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

/// Grants as a body has them; `null` is none.
pub(super) fn grants_of(value: &Value) -> Result<Option<Grants>, ErrorAnswer> {
    if value.is_null() { Ok(None) } else { Ok(Some(Grants::from_value("grants", value)?)) }
}

fn described(user: &User) -> Value {
    let mut described = json!({"$schema": "trailcast:user", "name": user.name, "role": user.role});
    if let Some(grants) = &user.grants {
        described["grants"] = json!(grants);
    }
    described
}

pub(super) async fn list(State(face): State<Face>, caller: Caller) -> Answer {
    caller.require(Role::Administrator)?;
    let users = face.service.users(caller.principal())?.list().await?;
    let items: Vec<Value> = users.iter().map(described).collect();
    Ok(Envelope::new(json!({"$schema": "trailcast:userCollection", "items": items})).into_response())
}

pub(super) async fn describe(
    State(face): State<Face>,
    caller: Caller,
    Named(UserName(name)): Named<UserName>,
) -> Answer {
    caller.require(Role::Administrator)?;
    Ok(Envelope::new(described(&face.service.users(caller.principal())?.get(&name).await?)).into_response())
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
    let (role, password) = (role_of(&given.role)?, given.password.as_str());
    let grants = given.grants.as_ref().map_or(Ok(None), grants_of)?;
    face.service.users(caller.principal())?.add(access::NewUser { name: &name, role, grants, password }).await?;
    Ok(Envelope::new(described(&face.service.users(caller.principal())?.get(&name).await?)).into_response())
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
    let grants = given.grants.as_ref().map(grants_of).transpose()?;
    let change = access::UserChange { role, grants, password: given.password.as_deref() };
    face.service.users(caller.principal())?.change(&name, change).await?;
    Ok(Envelope::new(described(&face.service.users(caller.principal())?.get(&name).await?)).into_response())
}

pub(super) async fn remove(State(face): State<Face>, caller: Caller, Named(UserName(name)): Named<UserName>) -> Answer {
    caller.require(Role::Administrator)?;
    face.service.users(caller.principal())?.remove(&name).await?;
    Ok(Envelope::default().message(Message::new(Fact::Done, format!("The user {name} was removed"))).into_response())
}
