//! Retention over REST, as far as it is the whole server's: whether segments are removed for their age.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::address::Address;
use super::body;
use super::caller::Caller;
use super::envelope::{Envelope, Link};
use super::routes::Face;
use super::streams::Answer;
use crate::access::Role;
use crate::codec::member::Members;

fn described(face: &Face) -> Value {
    let mut described = json!({"$schema": "trailcast:retention", "age": {"status": "running"}});
    if let Some((suspension, resumes_in)) = face.service.retention().age_suspension() {
        described["age"] = json!({
            "status": "suspended",
            "clockSetBySeconds": suspension.step_seconds,
            "noticed": suspension.noticed,
            "resumesInSeconds": resumes_in,
        });
    }
    described
}

pub(super) async fn describe(State(face): State<Face>, caller: Caller, at: Address) -> Answer {
    caller.require(Role::User)?;
    Ok(Envelope::new(described(&face)).link(Link::json("self", at.here())).into_response())
}

/// `{"age": {"status": "running"}}` says that the clock is right.
pub(super) async fn patch(
    State(face): State<Face>,
    caller: Caller,
    at: Address,
    headers: HeaderMap,
    content: Body,
) -> Answer {
    caller.require(Role::Administrator)?;
    let given = body::merge_patch(&headers, content).await?;
    let members = Members::of("", &given, &["$schema", "age"])?;
    if let Some(age) = members.get("age")
        && Members::of("age", age, &["status"])?.choice("status", &[("running", ())])?.is_some()
    {
        face.service.retention().confirm_clock(caller.principal()).await?;
    }
    Ok(Envelope::new(described(&face)).link(Link::json("self", at.here())).into_response())
}
