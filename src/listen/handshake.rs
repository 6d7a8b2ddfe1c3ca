//! The opening handshake of RFC 6455: checks the request, builds the 101, starts the pump on the upgraded socket.

use axum::body::Body;
use axum::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tungstenite::handshake::derive_accept_key;

use super::feed::Feed;
use super::pump::{self, EndReason, PumpEnd, PumpTimings};
use super::server::Connection;
use super::timed_socket::TimedSocket;
use crate::access::Limit;
use crate::tasks::{self, Task};

/// The request is no WebSocket handshake that we can answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Another method or version of HTTP.
    #[error("a WebSocket handshake is a GET in HTTP/1.1")]
    NotGet,
    /// The headers that ask for it are missing.
    #[error("a WebSocket handshake has the headers Connection: Upgrade and Upgrade: websocket")]
    NotAsked,
    /// Another version; answer 426 with `Sec-WebSocket-Version: 13`.
    #[error("Sec-WebSocket-Version must be 13")]
    Version,
    /// The key is missing or malformed.
    #[error("Sec-WebSocket-Key must be given once, as 16 bytes in base64")]
    Key,
    /// This connection cannot change its protocol.
    #[error("this connection cannot be upgraded")]
    NotUpgradable,
}

/// Whether a request asks for a WebSocket, well or not: then it gets an upgrade or an error, never the plain answer.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, &UPGRADE, "websocket")
}

/// Checks a handshake and builds its answer. The first of `subprotocols` (in our order of preference) that the client
/// offers is echoed. Nothing happens on the socket before the response has been returned to the server and
/// [`PendingUpgrade::start`] was called.
pub fn upgrade<B>(
    request: &mut Request<B>,
    subprotocols: &[&'static str],
) -> Result<(Response<Body>, PendingUpgrade), HandshakeError> {
    let accept = accept_key(request.method(), request.version(), request.headers())?;
    let subprotocol =
        subprotocols.iter().copied().find(|name| has_exact_token(request.headers(), &SEC_WEBSOCKET_PROTOCOL, name));
    let connection = request.extensions().get::<Connection>().cloned().ok_or(HandshakeError::NotUpgradable)?;
    let on_upgrade = request.extensions_mut().remove::<OnUpgrade>().ok_or(HandshakeError::NotUpgradable)?;

    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(name) = subprotocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
    }
    Ok((response, PendingUpgrade { on_upgrade, connection, subprotocol }))
}

fn accept_key(method: &Method, version: Version, headers: &HeaderMap) -> Result<HeaderValue, HandshakeError> {
    if method != Method::GET || version < Version::HTTP_11 {
        return Err(HandshakeError::NotGet);
    }
    if !is_upgrade(headers) || !has_token(headers, &CONNECTION, "upgrade") {
        return Err(HandshakeError::NotAsked);
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(HandshakeError::Version);
    }
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else { return Err(HandshakeError::Key) };
    if STANDARD.decode(key).map_or(true, |bytes| bytes.len() != 16) {
        return Err(HandshakeError::Key);
    }
    HeaderValue::try_from(derive_accept_key(key.as_bytes())).map_err(|_| HandshakeError::Key)
}

fn tokens<'a>(headers: &'a HeaderMap, name: &'a HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).map(str::trim)
}

fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

fn has_exact_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token == wanted)
}

/// A handshake that was answered with 101 and waits for its socket.
#[derive(Debug)]
pub struct PendingUpgrade {
    on_upgrade: OnUpgrade,
    connection: Connection,
    subprotocol: Option<&'static str>,
}

impl PendingUpgrade {
    /// The subprotocol agreed upon, if any.
    pub fn subprotocol(&self) -> Option<&'static str> {
        self.subprotocol
    }

    /// Starts a task that runs the socket to its end and then calls `on_end`, in every case. The connection keeps its
    /// place under the server's cap until then, and the server's shutdown closes it.
    pub fn start<F>(self, feed: F, timings: PumpTimings, on_end: impl FnOnce(PumpEnd) + Send + 'static)
    where
        F: Feed + 'static,
    {
        let Self { on_upgrade, connection, .. } = self;
        tokio::spawn(async move {
            match on_upgrade.await {
                Ok(upgraded) => run_upgraded(upgraded, feed, connection, timings, on_end),
                Err(_) => on_end(PumpEnd { reason: EndReason::Disconnected, bytes_sent: 0 }),
            }
        });
    }
}

fn run_upgraded<F: Feed + 'static>(
    upgraded: Upgraded,
    feed: F,
    connection: Connection,
    timings: PumpTimings,
    on_end: impl FnOnce(PumpEnd) + Send + 'static,
) {
    let (shutdown, messages) = (connection.shutdown(), connection.messages());
    // The raw socket: large writes go straight to the kernel, or to its TLS.
    let upgraded = match upgraded.downcast::<TokioIo<TimedSocket<TcpStream>>>() {
        Ok(parts) => {
            let socket = parts.io.into_inner().into_inner();
            keep_alive(&socket, &timings);
            return spawn_pump(
                pump::run(socket, parts.read_buf, feed, shutdown, messages, timings),
                connection,
                on_end,
            );
        }
        Err(upgraded) => upgraded,
    };
    match upgraded.downcast::<TokioIo<TimedSocket<TlsStream<TcpStream>>>>() {
        Ok(parts) => {
            let socket = parts.io.into_inner().into_inner();
            keep_alive(socket.get_ref().0, &timings);
            spawn_pump(pump::run(socket, parts.read_buf, feed, shutdown, messages, timings), connection, on_end);
        }
        Err(upgraded) => {
            let pump = pump::run(TokioIo::new(upgraded), bytes::Bytes::new(), feed, shutdown, messages, timings);
            spawn_pump(pump, connection, on_end);
        }
    }
}

/// A task of its own for each kind of socket: one for all would have the size of the largest, TLS.
fn spawn_pump(
    pump: impl Future<Output = PumpEnd> + Send + 'static,
    connection: Connection,
    on_end: impl FnOnce(PumpEnd) + Send + 'static,
) {
    // Boxed: awaited in place it would be stored twice, as what the task was given and as what it waits for.
    let pump = Box::pin(pump);
    tokio::spawn(async move {
        // What stands for the session elsewhere must end too.
        let broken = PumpEnd { reason: EndReason::Disconnected, bytes_sent: 0 };
        let end = tasks::caught(Task::Session, pump).await.unwrap_or(broken);
        match end.reason {
            EndReason::Slow => connection.hits().count(Limit::SlowClient),
            EndReason::Silent => connection.hits().count(Limit::SilentClient),
            _ => {}
        }
        on_end(end);
        drop(connection);
    });
}

/// Lets the kernel look after a peer that went away without a word, too; our own pings do in any case. What a slow
/// client has not taken when we are done with it does not stay in the kernel for much longer.
fn keep_alive(socket: &TcpStream, timings: &PumpTimings) {
    let socket = SockRef::from(socket);
    let idle = TcpKeepalive::new().with_time(timings.tcp_keep_alive);
    let untaken = timings.slow + timings.close + timings.ping;
    if let Err(error) = socket.set_tcp_keepalive(&idle).and(socket.set_tcp_user_timeout(Some(untaken))) {
        tracing::debug!(%error, "TCP keep-alive not set");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake() -> Request<()> {
        Request::get("/")
            .header("Connection", "keep-alive, Upgrade")
            .header("Upgrade", "WebSocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(())
            .unwrap()
    }

    fn checked(request: &Request<()>) -> Result<HeaderValue, HandshakeError> {
        accept_key(request.method(), request.version(), request.headers())
    }

    #[test]
    fn the_accept_key_is_the_one_of_the_rfc() {
        assert_eq!(checked(&handshake()).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn each_malformed_handshake_is_told_apart() {
        type Change = fn(&mut Request<()>);
        let cases: [(Change, HandshakeError); 7] = [
            (|request| *request.method_mut() = Method::POST, HandshakeError::NotGet),
            (|request| *request.version_mut() = Version::HTTP_10, HandshakeError::NotGet),
            (|request| drop(request.headers_mut().remove("connection")), HandshakeError::NotAsked),
            (|request| drop(request.headers_mut().remove("upgrade")), HandshakeError::NotAsked),
            (|request| drop(request.headers_mut().remove("sec-websocket-version")), HandshakeError::Version),
            (
                |request| drop(request.headers_mut().insert("sec-websocket-key", HeaderValue::from_static("c2hvcnQ="))),
                HandshakeError::Key,
            ),
            (
                |request| {
                    let again = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
                    request.headers_mut().append("sec-websocket-key", again);
                },
                HandshakeError::Key,
            ),
        ];
        for (change, expected) in cases {
            let mut request = handshake();
            change(&mut request);
            assert_eq!(checked(&request).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_request_outside_a_server_cannot_be_upgraded() {
        assert_eq!(upgrade(&mut handshake(), &[]).unwrap_err(), HandshakeError::NotUpgradable);
        assert!(is_upgrade(handshake().headers()));
    }
}
