//! Tokens for one stream, for clients that cannot set headers.

use axum::http::HeaderName;
use axum::http::header::CACHE_CONTROL;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::envelope::Envelope;
use super::error_answer::ErrorAnswer;
use super::schema_names::Token;
use super::{Call, grants, streams};
use crate::access::Role;
use crate::face::Content;
use crate::face::operation::NotThere;
use crate::limits;
use crate::record::ResourceName;
use crate::service::refusal;

/// Which token is wanted.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewToken {
    /// The stream that it reads.
    #[schema(pattern = "^[A-Za-z][A-Za-z0-9_.-]{0,31}$")]
    stream: String,
    #[schema(minimum = 1, maximum = 86400, default = 3600)]
    ttl_seconds: Option<u64>,
    /// Narrows the token beside the user's own grants; at most 4096 bytes.
    #[schema(schema_with = grants::given_schema, required = false)]
    grants: Option<Value>,
}

/// A token that reads one stream.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
pub(super) struct MadeToken {
    #[serde(rename = "$schema")]
    #[schema(inline)]
    schema: Token,
    token: String,
    stream: String,
    #[schema(format = DateTime)]
    expires: String,
}

/// An answer that nobody on the way is to keep.
type Uncached = Result<([(HeaderName, &'static str); 1], Envelope<MadeToken>), ErrorAnswer>;

/// Makes a short-lived token that reads one stream
///
/// Role: Operator.
#[utoipa::path(post, path = "/services/v2/tokens", operation_id = "makeToken",
    request_body(content = NewToken, content_type = "application/json"),
    responses((status = 200, description = "Done", body = Envelope<MadeToken>), NotThere))]
pub(super) async fn make(call: Call, content: Content) -> Uncached {
    call.require(Role::Operator)?;
    let given: NewToken = content.typed().await?;
    let name = ResourceName::new(&given.stream)
        .map_err(|error| ErrorAnswer::new(refusal::Fact::InvalidName, format!("stream: {error}")))?;
    streams::find(&call, &name)?;
    let seconds = given.ttl_seconds.unwrap_or(limits::STREAM_TOKEN_SECONDS_DEFAULT);
    if !(1..=limits::STREAM_TOKEN_SECONDS_MAX).contains(&seconds) {
        let range = format!("ttlSeconds: 1 to {} seconds", limits::STREAM_TOKEN_SECONDS_MAX);
        return Err(ErrorAnswer::new(refusal::Fact::OutOfRange, range));
    }
    let (identity, grants) = (&call.caller.identity, grants::changed(given.grants.as_ref())?.flatten());
    let made = call.service().authenticator().stream_token(identity, name.as_str(), seconds, grants).await;
    let (token, expires) = made?;
    let made = MadeToken { schema: Token, token, stream: name.to_string(), expires: expires.to_rfc3339() };
    Ok(([(CACHE_CONTROL, "no-store")], Envelope::new(made)))
}
