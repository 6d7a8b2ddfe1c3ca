//! Polls of a stream over plain HTTP, for scripts: records from a position on, and in a header where to go on.
//!
//! Each poll is a session of the stream that ends with its answer: the same records in the same order, under the same grants, caps
//! and audit.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use utoipa::openapi::RefOr;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa::{IntoParams, IntoResponses, openapi};

use super::error_answer::ErrorAnswer;
use super::messages::Fact;
use super::socket::{BEGIN_DEFAULT, Begin};
use super::{BEGIN, Call, LIMIT, WAIT, streams};
use crate::access::{Needed, Role};
use crate::codec::close_code::CloseCode;
use crate::codec::session_start::{CAUGHT_UP_HEADER, NEXT_HEADER};
use crate::delivery::framing::Framing;
use crate::delivery::negotiated::{Envelope, Negotiated};
use crate::delivery::notices::Notices;
use crate::face::operation::{NotThere, Taken};
use crate::face::{Accepted, Hall, auth_of, query};
use crate::limits::{POLL_RECORDS_DEFAULT, POLL_RECORDS_MAX, RECORDS_WAIT_SECONDS_MAX};
use crate::record::ResourceName;
use crate::service::audit::{Actor, AuditedSession, SessionEnd};
use crate::service::sessions::poll::{PollBounds, Polled};
use crate::service::sessions::watched::WatchedSession;
use crate::service::sessions::{BeginRequest, SessionRequest};

/// The media type of newline-delimited JSON.
const NDJSON: &str = "application/x-ndjson";

/// The parameters that say how much a poll takes, and how long it waits.
struct Takes;

impl IntoParams for Takes {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let number = |least: usize, most: u64, default: usize| -> Object {
            let number = ObjectBuilder::new().schema_type(Type::Integer).default(Some(default.into()));
            number.minimum(Some(least)).maximum(Some(most as f64)).build()
        };
        let parameter = |name: &str, schema: Object, description: &str| {
            let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query);
            parameter.schema(Some(schema)).description(Some(description)).build()
        };
        vec![
            parameter(LIMIT, number(1, POLL_RECORDS_MAX as u64, POLL_RECORDS_DEFAULT), "The most records to give"),
            parameter(WAIT, number(0, RECORDS_WAIT_SECONDS_MAX, 0), "Seconds to wait for the first record"),
        ]
    }
}

/// The records, and how to go on.
struct PolledRecords;

impl IntoResponses for PolledRecords {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        use openapi::schema::ArrayBuilder;
        use openapi::{content::ContentBuilder, header::HeaderBuilder, response::ResponseBuilder};
        let record = ObjectBuilder::new().schema_type(Type::Object).build();
        let records = ArrayBuilder::new().items(record).build();
        let lines = ObjectBuilder::new().schema_type(Type::String).build();
        let header = |description: &str, schema: Object| {
            HeaderBuilder::new().description(Some(description)).schema(Some(schema)).build()
        };
        let text = ObjectBuilder::new().schema_type(Type::String).build();
        let flag = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["true", "false"])).build();
        let response = ResponseBuilder::new()
            .description("Records, as a session of the stream sends them; an array, or one a line")
            .content("application/json", ContentBuilder::new().schema(Some(records)).build())
            .content(NDJSON, ContentBuilder::new().schema(Some(lines)).build())
            .header(
                "Trailcast-Next",
                header("The begin of the next poll: save it once these records are processed", text),
            )
            .header("Trailcast-Caught-Up", header("Whether these are all that there was", flag));
        BTreeMap::from([("200".to_owned(), RefOr::T(response.build()))])
    }
}

/// Records of a stream from a position on; waits for the first one if asked
///
/// Role: Operator.
#[utoipa::path(get, path = "/services/v2/stream/{name}/records", operation_id = "pollStream",
    params(Begin, Takes),
    responses(
        PolledRecords,
        (status = 406, description = "Neither JSON nor newline-delimited JSON is wanted",
            body = ref("#/components/schemas/Refusal"), content_type = "application/json"),
        NotThere, Taken))]
pub(super) async fn poll(call: Call<ResourceName>, request: Request) -> Result<Response, ErrorAnswer> {
    call.require_on_stream(Role::Operator)?;
    let stream = streams::find(&call, &call.name)?;
    let form = Form::preferred(request.headers())?;
    let given = request.uri().query();
    let begin_text = query::only(given, BEGIN)?.unwrap_or_else(|| BEGIN_DEFAULT.to_owned());
    let begin = BeginRequest::parse(&begin_text)?;
    let records_max = number(given, LIMIT, 1, POLL_RECORDS_MAX as u64, POLL_RECORDS_DEFAULT as u64)?;
    let wait = number(given, WAIT, 0, RECORDS_WAIT_SECONDS_MAX, 0)?;
    let bounds = PollBounds { records_max: usize::try_from(records_max).unwrap_or(1), wait: Duration::from_secs(wait) };
    let begin_kind = begin.kind();
    let session = SessionRequest {
        user: call.caller.identity.name.clone(),
        peer: call.caller.peer.0.to_string(),
        begin_text,
        begin,
        negotiated: Negotiated::new(Framing::Line, Envelope::configured(&stream.config).single()),
        notices: Notices::default(),
    };
    let session = call.service().sessions().open(call.principal(), &stream, session).await?;
    let trail = stream.config.source.trail.clone();
    let needed = Needed { role: Role::Operator, stream: Some(call.name.to_string()), trail };
    let rights = call.service().authenticator().rights(&call.caller.identity, needed);
    let (user, peer) = (call.caller.identity.name.clone(), call.caller.peer.0);
    let audited = AuditedSession {
        actor: Actor { user: Some(user), claimed: None, auth: auth_of(&request), peer: Some(peer) },
        number: session.number(),
        stream: call.name.to_string(),
        begin: begin_kind,
    };
    call.service().audit().session_started(&audited);
    let mut open = OpenPoll {
        hall: call.hall.clone(),
        audited,
        end: SessionEnd { code: CloseCode::BROKEN, records: 0, bytes: 0, open: Duration::ZERO },
        opened: Instant::now(),
        stream: stream.clone(),
    };
    let polled = WatchedSession::new(session, rights).poll(bounds, call.service().records().stopping()).await;
    match polled {
        Ok(polled) => {
            let (records, bytes) = (polled.records.len() as u64, polled.bytes as u64);
            open.end = SessionEnd { code: CloseCode::NORMAL, records, bytes, open: Duration::ZERO };
            Ok(answer(&polled, form))
        }
        Err(end) => {
            open.end.code = end.close_code();
            Err(end.into())
        }
    }
}

/// A poll under way: that it ended is written down also where its client went away meanwhile.
struct OpenPoll {
    hall: Hall,
    audited: AuditedSession,
    end: SessionEnd,
    opened: Instant,
    stream: std::sync::Arc<crate::service::streams::Stream>,
}

impl Drop for OpenPoll {
    fn drop(&mut self) {
        self.stream.activity.closed(self.end.code);
        let end = SessionEnd { open: self.opened.elapsed(), ..self.end };
        self.hall.service.audit().session_ended(&self.audited, end);
    }
}

/// A whole number in the query, or its default.
fn number(given: Option<&str>, parameter: &str, least: u64, most: u64, default: u64) -> Result<u64, ErrorAnswer> {
    let Some(text) = query::only(given, parameter)? else { return Ok(default) };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && (least..=most).contains(number));
    let refused =
        || ErrorAnswer::new(Fact::MalformedQuery, format!("{parameter} must be a whole number from {least} to {most}"));
    number.ok_or_else(refused)
}

/// How the records stand in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Array,
    Lines,
}

impl Form {
    /// What the client likes best: an array where it likes both as much.
    fn preferred(headers: &HeaderMap) -> Result<Self, ErrorAnswer> {
        let accepted = Accepted::of(headers);
        match (accepted.quality("application/json"), accepted.quality(NDJSON)) {
            (0, 0) => Err(ErrorAnswer::new(Fact::NotAcceptable, format!("application/json and {NDJSON}"))),
            (array, lines) if lines > array => Ok(Self::Lines),
            _ => Ok(Self::Array),
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Array => "application/json",
            Self::Lines => NDJSON,
        }
    }

    fn body(self, polled: &Polled) -> Vec<u8> {
        let mut body = Vec::with_capacity(polled.bytes + polled.records.len() + 2);
        match self {
            Self::Lines => polled.records.iter().for_each(|record| {
                body.extend_from_slice(record);
                body.push(b'\n');
            }),
            Self::Array => {
                body.push(b'[');
                for (number, record) in polled.records.iter().enumerate() {
                    if number > 0 {
                        body.push(b',');
                    }
                    body.extend_from_slice(record);
                }
                body.push(b']');
            }
        }
        body
    }
}

fn answer(polled: &Polled, form: Form) -> Response {
    let mut response = Body::from(form.body(polled)).into_response();
    let mut set = |name: HeaderName, value: HeaderValue| drop(response.headers_mut().insert(name, value));
    set(CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
    set(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    set(VARY, HeaderValue::from_static("accept"));
    if let Ok(next) = HeaderValue::try_from(&polled.next) {
        set(HeaderName::from_static(NEXT_HEADER), next);
    }
    let caught_up = if polled.caught_up { "true" } else { "false" };
    set(HeaderName::from_static(CAUGHT_UP_HEADER), HeaderValue::from_static(caught_up));
    response
}
