//! Users of a running server, over REST.

use serde_json::{Value, json};

use super::Listed;
use crate::access::{NewUser, UserChange};
use crate::catalog::Grants;
use crate::cli::failure::Failure;
use crate::client::{self, ServerAddress};

const USERS: [&str; 3] = ["services", "v2", "users"];

fn path_of(name: &str) -> [&str; 4] {
    let [services, version, users] = USERS;
    [services, version, users, name]
}

pub(super) async fn add(address: &ServerAddress, new: NewUser<'_>) -> Result<(), Failure> {
    let mut body = json!({"role": new.role, "password": new.password});
    if let Some(grants) = new.grants {
        body["grants"] = json!(grants);
    }
    client::call(address, "POST", &path_of(new.name), Some(&body)).await?;
    Ok(())
}

pub(super) async fn change(address: &ServerAddress, name: &str, change: UserChange<'_>) -> Result<(), Failure> {
    let mut body = json!({});
    if let Some(role) = change.role {
        body["role"] = json!(role);
    }
    if let Some(grants) = change.grants {
        body["grants"] = json!(grants);
    }
    if let Some(password) = change.password {
        body["password"] = password.into();
    }
    client::call(address, "PATCH", &path_of(name), Some(&body)).await?;
    Ok(())
}

pub(super) async fn remove(address: &ServerAddress, name: &str) -> Result<(), Failure> {
    client::call(address, "DELETE", &path_of(name), None).await?;
    Ok(())
}

pub(super) async fn list(address: &ServerAddress) -> Result<Vec<Listed>, Failure> {
    let answer = client::call(address, "GET", &USERS, None).await?;
    let user = |item: &Value| {
        let grants = match item.get("grants") {
            None => None,
            Some(given) => Some(Grants::from_value("grants", given).ok()?),
        };
        Some(Listed { name: item["name"].as_str()?.to_owned(), role: item["role"].as_str()?.parse().ok()?, grants })
    };
    let users = answer["response"]["items"].as_array().and_then(|items| items.iter().map(user).collect());
    users.ok_or_else(|| Failure::failed("the answer is no list of users"))
}
