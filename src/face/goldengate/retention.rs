//! Retention over REST, as far as it is the whole server's: whether segments are removed for their age.

use serde::Serialize;
use utoipa::ToSchema;

use super::envelope::Envelope;
use super::schema_names::Retention;
use super::{Answer, Call};
use crate::access::Role;
use crate::codec::member::Members;
use crate::face::operation::Stores;
use crate::face::{Content, Hall};

/// Whether segments are removed for their age.
#[derive(Serialize, ToSchema)]
#[schema(as = Retention)]
pub(super) struct ServerRetention {
    #[serde(rename = "$schema")]
    #[schema(inline)]
    schema: Retention,
    age: RetentionByAge,
}

/// Running, or suspended after the clock was set by more than an hour; then the other members say more.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RetentionByAge {
    #[schema(inline)]
    status: AgeStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    clock_set_by_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    noticed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resumes_in_seconds: Option<u64>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum AgeStatus {
    Running,
    Suspended,
}

fn described(hall: &Hall) -> ServerRetention {
    let age = match hall.service.retention().age_suspension() {
        None => RetentionByAge {
            status: AgeStatus::Running,
            clock_set_by_seconds: None,
            noticed: None,
            resumes_in_seconds: None,
        },
        Some((suspension, resumes_in)) => RetentionByAge {
            status: AgeStatus::Suspended,
            clock_set_by_seconds: Some(suspension.step_seconds),
            noticed: Some(suspension.noticed),
            resumes_in_seconds: Some(resumes_in),
        },
    };
    ServerRetention { schema: Retention, age }
}

/// Whether segments are removed for their age
///
/// Role: User. age.status is running, or suspended after the clock was set by more than an hour; then clockSetBySeconds,
/// noticed and resumesInSeconds say more.
#[utoipa::path(get, path = "/services/v2/retention", operation_id = "describeRetention",
    responses((status = 200, description = "Done", body = Envelope<ServerRetention>)))]
pub(super) async fn describe(call: Call) -> Answer<ServerRetention> {
    call.require(Role::User)?;
    Ok(Envelope::at(&call.at, described(&call.hall)))
}

/// Says that the clock is right, so that segments are removed for their age again
///
/// Role: Administrator.
#[utoipa::path(patch, path = "/services/v2/retention", operation_id = "confirmClock",
    request_body(content((ref("#/components/schemas/RetentionPatch") = "application/json"),
        (ref("#/components/schemas/RetentionPatch") = "application/merge-patch+json"))),
    responses((status = 200, description = "Done", body = Envelope<ServerRetention>), Stores))]
pub(super) async fn patch(call: Call, content: Content) -> Answer<ServerRetention> {
    call.require(Role::Administrator)?;
    let given = content.merge_patch().await?;
    let members = Members::of("", &given, &["$schema", "age"])?;
    if let Some(age) = members.get("age")
        && Members::of("age", age, &["status"])?.choice("status", &[("running", ())])?.is_some()
    {
        call.service().retention().confirm_clock(call.principal()).await?;
    }
    Ok(Envelope::at(&call.at, described(&call.hall)))
}
