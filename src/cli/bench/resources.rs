//! Trails and streams that a run needs: made when they are not there, and gone again when they were only for it.

use http::Method;
use serde_json::{Value, json};

use crate::cli::failure::Failure;
use crate::client::{ClientError, ServerAddress, ask};

const V2: [&str; 2] = ["services", "v2"];

fn path(parts: [&str; 2]) -> [&str; 4] {
    [V2[0], V2[1], parts[0], parts[1]]
}

async fn make(address: &ServerAddress, place: [&str; 2], body: &Value) -> Result<(), Failure> {
    match ask(address, Method::POST, &path(place), Some(body)).await {
        // There already: it is used as it is.
        Err(ClientError::Refused(refusal)) if refusal.status == 409 => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

/// Makes a trail for puts unless there is one of that name.
pub(super) async fn make_trail(address: &ServerAddress, trail: &str) -> Result<(), Failure> {
    make(address, ["trails", trail], &json!({})).await
}

/// Makes a stream of all that a trail holds unless there is one of that name.
pub(super) async fn make_stream(address: &ServerAddress, stream: &str, trail: &str) -> Result<(), Failure> {
    make(address, ["stream", stream], &json!({"source": {"trail": trail}})).await
}

/// Makes an extract.
pub(super) async fn make_extract(address: &ServerAddress, extract: &str, body: &Value) -> Result<(), Failure> {
    ask(address, Method::POST, &path(["extracts", extract]), Some(body)).await?;
    Ok(())
}

/// Starts or stops an extract.
pub(super) async fn set_status(address: &ServerAddress, extract: &str, status: &str) -> Result<(), Failure> {
    ask(address, Method::PATCH, &path(["extracts", extract]), Some(&json!({"status": status}))).await?;
    Ok(())
}

/// What an extract says of itself.
pub(super) async fn extract_info(address: &ServerAddress, extract: &str) -> Result<Value, Failure> {
    Ok(ask(address, Method::GET, &[V2[0], V2[1], "extracts", extract, "info"], None).await?)
}

/// What a trail says of itself.
pub(super) async fn trail_info(address: &ServerAddress, trail: &str) -> Result<Value, Failure> {
    Ok(ask(address, Method::GET, &path(["trails", trail]), None).await?)
}

/// Removes what a run had made; what cannot be removed is named.
pub(super) async fn remove(address: &ServerAddress, kind: &str, name: &str) -> Result<(), Failure> {
    ask(address, Method::DELETE, &path([kind, name]), None).await?;
    Ok(())
}
