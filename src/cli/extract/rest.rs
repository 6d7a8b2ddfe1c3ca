//! Extracts of a running server, over REST.

use http::Method;
use serde_json::Value;

use crate::cli::failure::Failure;
use crate::client::{self, ServerAddress};

const EXTRACTS: [&str; 3] = ["services", "v2", "extracts"];

/// Every extract and how it is doing.
pub(super) async fn list(address: &ServerAddress) -> Result<Vec<Value>, Failure> {
    let mut answer = client::ask(address, Method::GET, &EXTRACTS, None).await?;
    match answer["items"].take() {
        Value::Array(extracts) => Ok(extracts),
        _ => Err(Failure::failed("the answer is no list of extracts")),
    }
}

/// What is answered about an extract, or about something of it (`below`).
pub(super) async fn ask(
    address: &ServerAddress,
    method: Method,
    name: &str,
    below: Option<&str>,
    body: Option<&Value>,
) -> Result<Value, Failure> {
    let path: Vec<&str> = EXTRACTS.into_iter().chain([name]).chain(below).collect();
    Ok(client::ask(address, method, &path, body).await?)
}

/// Deletes one, and gives what the server says of it.
pub(super) async fn remove(address: &ServerAddress, name: &str, drop_slot: bool) -> Result<String, Failure> {
    let path: Vec<&str> = EXTRACTS.into_iter().chain([name]).collect();
    let query = if drop_slot { "?dropSlot=true" } else { "" };
    let answer = client::call_at(address, Method::DELETE, &(address.path(&path) + query), None).await?;
    Ok(answer["messages"][0]["title"].as_str().unwrap_or_default().to_owned())
}
