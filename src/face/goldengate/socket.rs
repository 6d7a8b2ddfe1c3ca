//! The stream's own URL: its configuration, or, when the request asks for an upgrade, the socket.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{self, RefOr};
use utoipa::{IntoParams, IntoResponses};

use super::envelope::Envelope;
use super::error_answer::ErrorAnswer;
use super::streams::{self, DataStream};
use super::{BEGIN, Call, GROUP, MEMBER, SKIP};
use crate::access::{Needed, Role};
use crate::catalog::stream::StreamConfig;
use crate::codec::close_code::CloseCode;
use crate::codec::session_start::{BEGIN_HEADER, PING_HEADER, ping_seconds};
use crate::codec::token;
use crate::delivery::end::End;
use crate::delivery::framing::Framing;
use crate::delivery::negotiated::{self, Negotiated};
use crate::delivery::notices::Notices;
use crate::delivery::progress::Progress;
use crate::delivery::session::Delivery;
use crate::face::operation::{NotThere, Taken, Upgrades};
use crate::face::{Refusal, auth_of, query};
use crate::limits;
use crate::listen::{ClientMessage, Fed, Feed, Inbox, PumpTimings, is_upgrade, upgrade};
use crate::record::{GroupName, MemberName, ResourceName};
use crate::service::audit::{self, Actor, SessionEnd};
use crate::service::sessions::member::{MemberProgress, MemberSession};
use crate::service::sessions::watched::WatchedSession;
use crate::service::sessions::{BeginRequest, JoinRequest, SessionRequest};

/// One CloudEvent a message (contract section 7, extensions).
const EVENT_SUBPROTOCOL: &str = "cloudevents.json";
/// Where a session begins that does not say it: who knows no position misses nothing.
pub(super) const BEGIN_DEFAULT: &str = "earliest";

/// The parameter that says where a session begins.
pub(super) struct Begin;

impl IntoParams for Begin {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new().schema_type(Type::String).default(Some(BEGIN_DEFAULT.into())).build();
        let parameter = ParameterBuilder::new().name(BEGIN).parameter_in(ParameterIn::Query).schema(Some(schema));
        let described = parameter.description(Some(
            "now, earliest, an ISO 8601 timestamp with zone and at most nine digits after the second (a point or a comma before \
             them), the op_ts of a record (UTC), or the pos of the last record processed. A parameter of nearly this name is \
             refused with 400",
        ));
        vec![described.build()]
    }
}

/// The parameters that make a session a member of a consumer group.
struct Membership;

impl IntoParams for Membership {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let text = |name: &str, description: &str| {
            let schema =
                ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[A-Za-z0-9_.-]{1,128}$")).build();
            let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query).schema(Some(schema));
            parameter.description(Some(description)).build()
        };
        let group = text(
            GROUP,
            "The consumer group that the session is a member of: the server keeps how far it is, and the client acknowledges \
             with text messages, each one object {\"ack\": \"<pos>\"}. begin counts for a group that is made only",
        );
        let member =
            text(MEMBER, "The member's name in the group; only beside group. Another one of that name is put out");
        let skip = ParameterBuilder::new().name(SKIP).parameter_in(ParameterIn::Query).description(Some(
            "The position that a close reason named, because something is missing there or a record is too large; only beside \
             group. Once the member has acknowledged all that comes before it, it goes on behind it",
        ));
        let skip = skip.schema(Some(ObjectBuilder::new().schema_type(Type::String).build())).build();
        vec![group, member, skip]
    }
}

/// The answer that a socket begins with.
struct Socket;

impl IntoResponses for Socket {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        let begin = HeaderBuilder::new().description(Some(
            "The begin with which to go on should the connection be lost before a record came; in place of now the position \
             of that moment",
        ));
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).build();
        let ping = HeaderBuilder::new()
            .schema(Some(seconds))
            .description(Some("Silence after which the server sends a ping, in seconds"));
        let response = ResponseBuilder::new()
            .description("The socket: text messages, each a JSON array of records")
            .header("Trailcast-Begin", begin.build())
            .header("Trailcast-Ping-Seconds", ping.build());
        BTreeMap::from([("101".to_owned(), RefOr::T(response.build()))])
    }
}

/// The stored configuration; with Upgrade: websocket the stream itself
///
/// Role: Operator.
#[utoipa::path(get, path = "/services/v2/stream/{name}", operation_id = "describeStream",
    params(Begin, Membership),
    responses(
        (status = 200, description = "Done", body = Envelope<DataStream>),
        Socket,
        NotThere, Taken, Upgrades))]
pub(super) async fn get_or_upgrade(call: Call<ResourceName>, mut request: Request) -> Result<Response, ErrorAnswer> {
    call.require_on_stream(Role::Operator)?;
    if !is_upgrade(request.headers()) {
        return streams::describe(&call).map(IntoResponse::into_response);
    }
    let stream = streams::find(&call, &call.name)?;
    let auth = auth_of(&request);
    let given = query::only(request.uri().query(), BEGIN)?;
    let begin_text = given.unwrap_or_else(|| BEGIN_DEFAULT.to_owned());
    let begin = BeginRequest::parse(&begin_text)?;
    let membership = membership_in(request.uri().query())?;
    let begin_kind = if membership.is_some() { GROUP } else { begin.kind() };
    let (mut response, pending) = upgrade(&mut request, &[EVENT_SUBPROTOCOL])?;
    let envelope = match pending.subprotocol() {
        Some(_) => negotiated::Envelope::CloudEvent,
        None => negotiated::Envelope::configured(&stream.config),
    };
    let request_for = SessionRequest {
        user: call.caller.identity.name.clone(),
        peer: call.caller.peer.0.to_string(),
        begin_text,
        begin,
        negotiated: Negotiated::new(Framing::WebSocket, envelope),
        notices: Notices::configured(&stream.config),
    };
    let trail = stream.config.source.trail.clone();
    let needed = Needed { role: Role::Operator, stream: Some(call.name.to_string()), trail };
    let rights = call.service().authenticator().rights(&call.caller.identity, needed);
    let (feed, number, goes_on_from) = match membership {
        Some(joining) => {
            let joined = call.service().sessions().join(call.principal(), &stream, request_for, joining).await?;
            let number = joined.number();
            (SocketFeed::Member(Box::new(joined.watched(rights))), number, None)
        }
        None => {
            let session = call.service().sessions().open(call.principal(), &stream, request_for).await?;
            let (number, goes_on_from) = (session.number(), session.goes_on_from().to_owned());
            (SocketFeed::Session(Box::new(WatchedSession::new(session, rights))), number, Some(goes_on_from))
        }
    };
    let Call { hall, caller, name, .. } = call;
    let audited = audit::AuditedSession {
        actor: Actor { user: Some(caller.identity.name), claimed: None, auth, peer: Some(caller.peer.0) },
        number,
        stream: name.to_string(),
        begin: begin_kind,
    };
    let (audit, opened) = (hall.service.audit().clone(), Instant::now());
    audit.session_started(&audited);
    let keep_alive = std::time::Duration::from_secs(stream.config.tcp_keep_alive_seconds);
    let timings = PumpTimings { tcp_keep_alive: keep_alive, ..hall.sockets };
    tell_start(response.headers_mut(), goes_on_from.as_deref(), &timings);
    let (activity, sent) = (stream.activity.clone(), feed.sent());
    pending.start(feed, timings, move |end| {
        activity.closed(end.reason.close_code());
        if end.reason.says_message_too_big() {
            let error = too_big_for_client(&sent.last_session(), &stream.config);
            tracing::warn!(stream = %stream.name, "{error}");
            stream.note_error(error);
        }
        let (records, bytes, open) = (sent.records(), end.bytes_sent, opened.elapsed());
        audit.session_ended(&audited, SessionEnd { code: end.reason.close_code(), records, bytes, open });
    });
    Ok(response.into_response())
}

/// The group and the member that a request names.
fn membership_in(query: Option<&str>) -> Result<Option<JoinRequest>, ErrorAnswer> {
    let (member, skip) = (query::only(query, MEMBER)?, query::only(query, SKIP)?);
    let Some(group) = query::only(query, GROUP)? else {
        let alone = match (&member, &skip) {
            (None, None) => return Ok(None),
            (Some(_), _) => format!("{MEMBER} names a member of a consumer group, and {GROUP} names none"),
            (None, Some(_)) => format!("{SKIP} is for a member of a consumer group, and {GROUP} names none"),
        };
        return Err(Refusal::Query(alone).into());
    };
    let invalid =
        |name: &str, error: &dyn std::fmt::Display| ErrorAnswer::from(Refusal::Query(format!("{name}: {error}")));
    if let Some(skip) = &skip {
        token::decode(skip).map_err(|_| invalid(SKIP, &"it must be the position that a close reason named"))?;
    }
    let group = GroupName::new(&group).map_err(|error| invalid(GROUP, &error))?;
    let member = member.map(|member| MemberName::new(&member)).transpose().map_err(|error| invalid(MEMBER, &error))?;
    Ok(Some(JoinRequest { group, member, skip }))
}

/// Tells the client what it must know before the first message: how to go on without a position, and when to worry.
fn tell_start(headers: &mut HeaderMap, goes_on_from: Option<&str>, timings: &PumpTimings) {
    headers.insert(PING_HEADER, HeaderValue::from(ping_seconds(timings.ping)));
    // A member of a consumer group goes on where the server knows it to be.
    if let Some(Ok(begin)) = goes_on_from.map(HeaderValue::try_from) {
        headers.insert(BEGIN_HEADER, begin);
    }
}

/// What to do about a client that left because a message was larger than it takes. The first large message of the session
/// is named: a client that took it and fails at a later one loses nothing by going on behind it.
fn too_big_for_client(progress: &Progress, config: &StreamConfig) -> String {
    let said =
        format!("a client closed with {}, because a message was larger than it takes", CloseCode::MESSAGE_TOO_BIG);
    let position = |position| token::encode(&position, config.contract_hash()).as_str().to_owned();
    if let Some((record, bytes)) = progress.first_large() {
        let after = position(record);
        return format!(
            "{said}: the record at {after} makes a message of {bytes} bytes. Raise the client's limit (max_size=None for \
             Python's websockets, which takes 1048576 bytes unless told otherwise), or let the stream cut long values \
             (encoding.json.maxRecordSize 1000000, or maxLobSize); to skip the record, go on after {after}"
        );
    }
    let last = progress.last().map_or_else(|| "begin".to_owned(), position);
    format!(
        "{said}: messages of this stream have up to {} bytes. Raise the client's limit, or lower bufferSize ({} at least); what \
         was sent ends with {last}, so go on after the last record that the client has processed",
        config.buffer_bytes.min(limits::MESSAGE_BYTES_MAX as u64),
        limits::BUFFER_BYTES_MIN,
    )
}

/// What a socket is fed with.
enum SocketFeed {
    /// A session, whose client keeps its position.
    Session(Box<WatchedSession>),
    /// A member of a consumer group, for which the server does.
    Member(Box<MemberSession>),
}

/// What was sent, readable after the end.
enum Sent {
    BySession(Arc<Progress>),
    ToMember(Arc<MemberProgress>),
}

impl Sent {
    fn records(&self) -> u64 {
        match self {
            Self::BySession(progress) => progress.records(),
            Self::ToMember(progress) => progress.records(),
        }
    }

    fn last_session(&self) -> Arc<Progress> {
        match self {
            Self::BySession(progress) => progress.clone(),
            Self::ToMember(progress) => progress.current(),
        }
    }
}

impl SocketFeed {
    fn sent(&self) -> Sent {
        match self {
            Self::Session(session) => Sent::BySession(session.shared_progress()),
            Self::Member(member) => Sent::ToMember(member.shared_progress()),
        }
    }
}

fn end_of(end: &End) -> Fed {
    Fed::End { code: end.close_code(), reason: end.close_reason() }
}

impl Feed for SocketFeed {
    async fn next(&mut self) -> Fed {
        let delivery = match self {
            Self::Session(session) => session.next().await,
            Self::Member(member) => member.next().await,
        };
        match delivery {
            Delivery::Messages(messages) => Fed::Messages(messages),
            Delivery::End(end) => end_of(&end),
        }
    }

    async fn cut_short(&mut self) -> Fed {
        end_of(&match self {
            Self::Session(session) => session.cut_short().await,
            Self::Member(member) => member.cut_short().await,
        })
    }

    fn inbox(&mut self) -> Option<Inbox> {
        let Self::Member(member) = self else { return None };
        let mut take = member.inbox();
        let take = Box::new(move |message: ClientMessage| match message {
            ClientMessage::Text(text) => take(Some(&text)),
            ClientMessage::Binary(_) => take(None),
        });
        Some(Inbox { message_bytes_max: limits::GROUP_MESSAGE_BYTES_MAX, take })
    }

    fn farewell(&mut self) -> Option<Bytes> {
        match self {
            Self::Session(session) => session.farewell(),
            Self::Member(member) => member.farewell(),
        }
    }

    fn memory_short(&mut self) -> Option<tokio::sync::watch::Receiver<bool>> {
        Some(match self {
            Self::Session(session) => session.memory_short(),
            Self::Member(member) => member.memory_short(),
        })
    }
}
