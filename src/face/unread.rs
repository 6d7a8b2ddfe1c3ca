//! Answers that clients have not read yet: no more of them are kept than the listener has room for.

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;

use super::hall::Face;
use super::refusal::Refusal;
use crate::limits;
use crate::listen::Connection;

/// Answers only as much as clients may leave unread. That something was done is said in any case.
pub(super) async fn held<F: Face>(request: Request, next: Next) -> Response {
    let (connection, must) = (request.extensions().get::<Connection>().cloned(), !request.method().is_safe());
    let response = next.run(request).await;
    let Some(connection) = connection else { return response };
    // Of a known length is what is in memory already; anything else is made while it is read.
    match response.body().size_hint().exact() {
        Some(bytes) if bytes > limits::ANSWER_BYTES_FREE as u64 => {}
        _ => return response,
    }
    let (parts, body) = response.into_parts();
    let refuse = |refusal: Refusal| F::Refusal::from(refusal).into_response();
    let bytes = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => return refuse(Refusal::failed("the answer broke off", &error)),
    };
    match connection.hold_answer(bytes, must) {
        Ok(bytes) => Response::from_parts(parts, Body::from(bytes)),
        Err(no_room) => refuse(no_room.into()),
    }
}
