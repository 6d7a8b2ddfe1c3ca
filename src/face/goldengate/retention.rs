//! Retention over REST, as far as it is the whole server's: whether segments are removed for their age.

use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::envelope::{Envelope, Link};
use super::{Answer, Call};
use crate::access::Role;
use crate::codec::member::Members;
use crate::face::{Content, Hall};

fn described(hall: &Hall) -> Value {
    let mut described = json!({"$schema": "trailcast:retention", "age": {"status": "running"}});
    if let Some((suspension, resumes_in)) = hall.service.age_suspension() {
        described["age"] = json!({
            "status": "suspended",
            "clockSetBySeconds": suspension.step_seconds,
            "noticed": suspension.noticed,
            "resumesInSeconds": resumes_in,
        });
    }
    described
}

pub(super) async fn describe(call: Call) -> Answer {
    call.require(Role::User)?;
    Ok(Envelope::new(described(&call.hall)).link(Link::json("self", call.at.here())).into_response())
}

/// `{"age": {"status": "running"}}` says that the clock is right.
pub(super) async fn patch(call: Call, content: Content) -> Answer {
    call.require(Role::Administrator)?;
    let given = content.merge_patch().await?;
    let members = Members::of("", &given, &["$schema", "age"])?;
    if let Some(age) = members.get("age")
        && Members::of("age", age, &["status"])?.choice("status", &[("running", ())])?.is_some()
    {
        call.service().confirm_clock().await?;
    }
    Ok(Envelope::new(described(&call.hall)).link(Link::json("self", call.at.here())).into_response())
}
