//! Requests over HTTP and their answers.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::http::request;
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

use super::address::ServerAddress;
use super::connection;
use super::error::{ClientError, Refusal};
use crate::limits;

/// What a put is answered with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PutAnswer {
    /// Transactions that the trail holds durably now.
    pub acked: u64,
    /// Trail position of the last one.
    pub pos: String,
}

#[derive(Deserialize)]
struct PutEnvelope {
    response: PutAnswer,
}

/// Appends transactions, one JSON object a line, to a trail.
pub async fn put(address: &ServerAddress, trail: &str, lines: Vec<u8>) -> Result<PutAnswer, ClientError> {
    put_as(address, trail, LINES, lines).await
}

/// Appends the transactions that are the data of CloudEvents, a JSON array of at least one, to a trail.
pub async fn put_events(address: &ServerAddress, trail: &str, batch: Vec<u8>) -> Result<PutAnswer, ClientError> {
    put_as(address, trail, "application/cloudevents-batch+json", batch).await
}

/// The media type of transactions, one JSON object a line.
const LINES: &str = "application/x-ndjson";

async fn put_as(
    address: &ServerAddress,
    trail: &str,
    media_type: &str,
    body: Vec<u8>,
) -> Result<PutAnswer, ClientError> {
    let path = address.path(&["services", "v2", "trails", trail, "transactions"]);
    let request = put_request(address, &path, media_type, Bytes::from(body))?;
    read_put_answer(send(address, request).await?).await
}

fn put_request(
    address: &ServerAddress,
    path: &str,
    media_type: &str,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, ClientError> {
    start(address, Method::POST, path)
        .header(CONTENT_TYPE, media_type)
        .body(Full::new(body))
        .map_err(|error| ClientError::Garbled(error.to_string()))
}

async fn read_put_answer(answer: Response<Incoming>) -> Result<PutAnswer, ClientError> {
    let status = answer.status();
    let body = body(answer).await?;
    if status != StatusCode::OK {
        return Err(ClientError::Refused(Refusal::from_answer(status.as_u16(), &body)));
    }
    let envelope: PutEnvelope = serde_json::from_slice(&body)
        .map_err(|error| ClientError::Garbled(format!("the answer to a put is not understood: {error}")))?;
    Ok(envelope.response)
}

/// One control request: a JSON body, if any, and the envelope of the answer.
pub async fn call(
    address: &ServerAddress,
    method: &str,
    parts: &[&str],
    body: Option<&Value>,
) -> Result<Value, ClientError> {
    let method = Method::from_bytes(method.as_bytes()).map_err(|error| ClientError::Garbled(error.to_string()))?;
    call_at(address, method, &address.path(parts), body).await
}

/// The same at a target that may have a query.
pub async fn call_at(
    address: &ServerAddress,
    method: Method,
    target: &str,
    body: Option<&Value>,
) -> Result<Value, ClientError> {
    let garbled = |error: &dyn std::fmt::Display| ClientError::Garbled(error.to_string());
    let mut request = start(address, method, target);
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let bytes = body.map(Value::to_string).unwrap_or_default();
    let request = request.body(Full::new(Bytes::from(bytes))).map_err(|error| garbled(&error))?;
    let answer = send(address, request).await?;
    let status = answer.status();
    let bytes = self::body(answer).await?;
    if !status.is_success() {
        return Err(ClientError::Refused(Refusal::from_answer(status.as_u16(), &bytes)));
    }
    serde_json::from_slice(&bytes).map_err(|error| garbled(&format_args!("the answer is not JSON: {error}")))
}

/// The same, and gives the `response` of the envelope.
pub async fn ask(
    address: &ServerAddress,
    method: Method,
    path: &[&str],
    body: Option<&Value>,
) -> Result<Value, ClientError> {
    Ok(call(address, method.as_str(), path, body).await?["response"].take())
}

/// Puts on one connection, one after the other.
#[derive(Debug)]
pub struct Putter {
    address: ServerAddress,
    path: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Putter {
    /// Connects.
    pub async fn connect(address: &ServerAddress, trail: &str) -> Result<Self, ClientError> {
        let path = address.path(&["services", "v2", "trails", trail, "transactions"]);
        Ok(Self { sender: connection::connect(address).await?, address: address.clone(), path })
    }

    /// Appends transactions, one JSON object a line, and waits for the answer.
    pub async fn put(&mut self, lines: Bytes) -> Result<PutAnswer, ClientError> {
        let request = put_request(&self.address, &self.path, LINES, lines)?;
        read_put_answer(send_on(&mut self.sender, &self.address, request).await?).await
    }
}

/// A request with what each of ours has.
pub(super) fn start(address: &ServerAddress, method: Method, target: &str) -> request::Builder {
    let builder = Request::builder()
        .method(method)
        .uri(target)
        .header(HOST, address.authority())
        .header(USER_AGENT, concat!("trailcast/", env!("CARGO_PKG_VERSION")));
    match &address.credentials {
        Some(credentials) => builder.header(AUTHORIZATION, credentials.basic()),
        None => builder,
    }
}

/// Sends a request on a connection of its own and waits for the head of the answer.
pub(super) async fn send(
    address: &ServerAddress,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, ClientError> {
    send_on(&mut connection::connect(address).await?, address, request).await
}

async fn send_on(
    sender: &mut SendRequest<Full<Bytes>>,
    address: &ServerAddress,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, ClientError> {
    let patience = Duration::from_secs(limits::CLIENT_ANSWER_SECONDS_MAX);
    match timeout(patience, sender.send_request(request)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(ClientError::Unreachable(format!("no answer from {address}: {error}"))),
        Err(_) => Err(ClientError::Unreachable(format!("no answer from {address} within {patience:?}"))),
    }
}

/// The whole body of an answer.
pub(super) async fn body(answer: Response<Incoming>) -> Result<Bytes, ClientError> {
    let patience = Duration::from_secs(limits::CLIENT_ANSWER_SECONDS_MAX);
    let whole = Limited::new(answer.into_body(), limits::CLIENT_ANSWER_BYTES_MAX).collect();
    match timeout(patience, whole).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(ClientError::Unreachable(format!("the answer broke off: {error}"))),
        Err(_) => Err(ClientError::Unreachable(format!("the answer did not end within {patience:?}"))),
    }
}
