//! One document from another server over HTTPS: bounded in size and time, no redirects, nothing sent of ours.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::header::{ACCEPT, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use tokio::time::timeout;

use super::address::ServerAddress;
use super::connection;
use super::error::ClientError;

/// What may be fetched.
#[derive(Debug, Clone, Copy)]
pub struct FetchLimits {
    /// Time for everything, from the connection to the last byte.
    pub time: Duration,
    /// Longest document, in bytes.
    pub bytes: usize,
}

/// Fetches the document at `target`, a path and perhaps a query. Errors name neither.
pub async fn fetch(
    address: &ServerAddress,
    target: &str,
    accept: &str,
    limits: FetchLimits,
) -> Result<Bytes, ClientError> {
    let FetchLimits { time, bytes } = limits;
    let late = || ClientError::Unreachable(format!("no whole answer from {address} within {time:?}"));
    timeout(time, document(address, target, accept, bytes)).await.map_err(|_| late())?
}

async fn document(address: &ServerAddress, target: &str, accept: &str, bytes_max: usize) -> Result<Bytes, ClientError> {
    let request = Request::get(target)
        .header(HOST, address.authority())
        .header(USER_AGENT, concat!("trailcast/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, accept)
        .body(Empty::<Bytes>::new())
        .map_err(|error| ClientError::Garbled(error.to_string()))?;
    let mut sender = connection::connect(address).await?;
    let answer = sender.send_request(request).await;
    let answer = answer.map_err(|error| ClientError::Unreachable(format!("no answer from {address}: {error}")))?;
    match answer.status() {
        StatusCode::OK => {}
        status if status.is_redirection() => {
            let what = format!("{address} answers {status}, and redirects are not followed: give the last address");
            return Err(ClientError::Garbled(what));
        }
        status => return Err(ClientError::Garbled(format!("{address} answers {status}"))),
    }
    match Limited::new(answer.into_body(), bytes_max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(ClientError::Garbled(format!("the document at {address} has more than {bytes_max} bytes")))
        }
        Err(error) => Err(ClientError::Unreachable(format!("the answer of {address} broke off: {error}"))),
    }
}
