//! Users of a running server, over REST.

use serde_json::{Value, json};

use crate::access::Role;
use crate::cli::failure::Failure;
use crate::client::{self, ServerAddress};

const USERS: [&str; 3] = ["services", "v2", "users"];

fn path_of(name: &str) -> [&str; 4] {
    let [services, version, users] = USERS;
    [services, version, users, name]
}

pub(super) async fn add(address: &ServerAddress, name: &str, role: Role, password: &str) -> Result<(), Failure> {
    let body = json!({"role": role, "password": password});
    client::call(address, "POST", &path_of(name), Some(&body)).await?;
    Ok(())
}

pub(super) async fn change(
    address: &ServerAddress,
    name: &str,
    role: Option<Role>,
    password: Option<&str>,
) -> Result<(), Failure> {
    let mut body = json!({});
    if let Some(role) = role {
        body["role"] = json!(role);
    }
    if let Some(password) = password {
        body["password"] = password.into();
    }
    client::call(address, "PATCH", &path_of(name), Some(&body)).await?;
    Ok(())
}

pub(super) async fn remove(address: &ServerAddress, name: &str) -> Result<(), Failure> {
    client::call(address, "DELETE", &path_of(name), None).await?;
    Ok(())
}

pub(super) async fn list(address: &ServerAddress) -> Result<Vec<(String, Role)>, Failure> {
    let answer = client::call(address, "GET", &USERS, None).await?;
    let user = |item: &Value| {
        let role = item["role"].as_str()?.parse().ok()?;
        Some((item["name"].as_str()?.to_owned(), role))
    };
    let users = answer["response"]["items"].as_array().and_then(|items| items.iter().map(user).collect());
    users.ok_or_else(|| Failure::failed("the answer is no list of users"))
}
