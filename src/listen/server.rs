//! Accepts connections and serves HTTP/1.1 on them, over TLS if it is set up: caps, header and body deadlines, drain.
//!
//! Owns who counts as the peer of a connection and of each request on it, as far as trusted proxies say; which proxies are
//! trusted, and how their headers are read, is `access`'s business.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Duration, timeout};

use super::answers::{AnswerRoom, NoRoom};
use super::client_messages::ClientMessages;
use super::proxy_header;
use super::request_body::{RequestBody, Unread};
use super::shutdown::stopped;
use super::timed_socket::TimedSocket;
use super::tls::{PeerCertificate, Tls, peer_certificate};
use crate::access::throttle::network;
use crate::access::{ClientAddr, Limit, LimitHits, Place, Places, TrustedProxies};
use crate::codec::proxy_header::ProxyHeader;
use crate::limits;
use crate::repeats::warn_rarely;
use crate::tasks::{self, Task};

/// What a connection beyond the cap hears; cheap on purpose.
const FULL_ANSWER: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 5\r\ncontent-length: 0\r\n\r\n";
/// What a connection beyond its address' cap hears.
const ADDRESS_FULL_ANSWER: &[u8] =
    b"HTTP/1.1 429 Too Many Requests\r\nconnection: close\r\nretry-after: 5\r\ncontent-length: 0\r\n\r\n";

/// The address of the client, as a request extension: the peer's, or whom a trusted proxy names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddr(pub ClientAddr);

/// The connection that a request came on, as a request extension; an upgraded socket holds on to it. Its place under the cap
/// is free again when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Connection {
    _place: Arc<Held>,
    /// Of the peer, or its network.
    address: IpAddr,
    answers: Arc<AnswerRoom>,
    /// Told when nobody should wait for this client any longer.
    give_up: Arc<Notify>,
    /// Of the client for whom a proxy passes the request on.
    _of_client: Option<Arc<Place<IpAddr>>>,
    hits: Arc<LimitHits>,
    messages: Arc<ClientMessages>,
    shutdown: watch::Receiver<bool>,
}

/// A place among the connections of the server, and among those of its listener where that has a cap of its own.
#[derive(Debug)]
struct ConnectionPlace {
    _of_server: OwnedSemaphorePermit,
    _of_listener: Option<OwnedSemaphorePermit>,
}

/// What a connection takes of the caps.
#[derive(Debug)]
struct Held {
    _place: ConnectionPlace,
    /// None of a trusted proxy's own address, which stands for many.
    _of_address: Option<Place<IpAddr>>,
}

/// How to tell whose request one is, and whether that client has a place.
#[derive(Debug, Clone)]
struct Clients {
    proxies: Arc<TrustedProxies>,
    places: Arc<Places<IpAddr>>,
}

impl Clients {
    /// A place of this address; a trusted proxy's takes none. `Err` when it has all of its own already.
    fn place(&self, address: IpAddr) -> Result<Option<Place<IpAddr>>, ()> {
        if self.proxies.trusts(address) {
            return Ok(None);
        }
        self.places.take(network(address)).map(Some).ok_or(())
    }

    /// Whose request this is, which came on a connection of `sender`.
    fn of(&self, sender: ClientAddr, headers: &HeaderMap) -> ClientAddr {
        let lines = |name: &'static str| headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
        let (client, unclear) = self.proxies.client(sender, lines("forwarded"), lines("x-forwarded-for"));
        if let Some(why) = unclear {
            let proxy = sender.ip.to_string();
            warn_rarely!(&proxy, proxy, %why, "a trusted proxy does not say for whom it asks; its own address counts");
        }
        client
    }
}

impl Connection {
    /// Holds the bytes of an answer until the client has read them, if there is room for them among those that clients have
    /// not read. What `must` be said, because it tells of something done, is never refused. An answer of at most
    /// [`limits::ANSWER_BYTES_FREE`] bytes needs no room.
    pub fn hold_answer(&self, bytes: Bytes, must: bool) -> Result<Bytes, NoRoom> {
        if bytes.len() <= limits::ANSWER_BYTES_FREE {
            return Ok(bytes);
        }
        self.answers.hold(bytes, self.address, &self.give_up, must)
    }

    /// Turns true when the server stops.
    pub(super) fn shutdown(&self) -> watch::Receiver<bool> {
        self.shutdown.clone()
    }

    /// The memory for what clients have begun to say.
    pub(super) fn messages(&self) -> Arc<ClientMessages> {
        self.messages.clone()
    }

    /// Where hits of limits are counted.
    pub(super) fn hits(&self) -> &Arc<LimitHits> {
        &self.hits
    }
}

/// The caps and deadlines of a server.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// Connections at once, over all listeners, upgraded ones included.
    pub connections_max: usize,
    /// Connections at once of one address, or of one /64 network of IPv6.
    pub connections_per_address_max: usize,
    /// Time for a TLS handshake.
    pub handshake: Duration,
    /// Time for a request's header to arrive; also how long an idle connection is kept.
    pub header: Duration,
    /// Time for a request's body to arrive.
    pub body: Duration,
    /// Time in which a client must take [`limits::SLOW_CLIENT_BYTES_MIN`] of an answer that waits for it.
    pub answer: Duration,
    /// Bytes of answers that all clients together may leave unread. One address may leave the share of them unread that it
    /// has of the connections.
    pub answer_bytes: usize,
    /// Time for requests and sockets to end after shutdown has begun.
    pub drain: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections_max: limits::CONNECTIONS_MAX,
            connections_per_address_max: limits::CONNECTIONS_PER_ADDRESS_MAX,
            handshake: Duration::from_secs(limits::HANDSHAKE_SECONDS_MAX),
            header: Duration::from_secs(limits::HEADER_SECONDS_MAX),
            body: Duration::from_secs(limits::BODY_SECONDS_MAX),
            answer: Duration::from_secs(limits::ANSWER_SECONDS_MAX),
            answer_bytes: limits::ANSWER_BYTES_DEFAULT,
            drain: Duration::from_secs(limits::DRAIN_SECONDS_MAX),
        }
    }
}

impl ServerLimits {
    /// The same where only `room` connections fit. The cap of one address shrinks as far as it must to leave others their share:
    /// to half of the room, or to the part that it was of the whole if that was more.
    #[must_use]
    pub fn fitting(self, room: usize) -> Self {
        let connections_max = self.connections_max.min(room);
        let part = share(connections_max, self.connections_per_address_max, self.connections_max);
        let most = part.max(connections_max / 2).max(1);
        Self { connections_max, connections_per_address_max: self.connections_per_address_max.min(most), ..self }
    }

    /// Bytes of answers that one address may leave unread.
    fn answer_bytes_per_address(&self) -> usize {
        share(self.answer_bytes, self.connections_per_address_max, self.connections_max).clamp(1, self.answer_bytes)
    }
}

/// `whole * part / of`.
fn share(whole: usize, part: usize, of: usize) -> usize {
    let share = whole as u128 * part as u128 / of.max(1) as u128;
    usize::try_from(share).unwrap_or(usize::MAX)
}

/// Serves a router on any number of listeners.
#[derive(Debug, Clone)]
pub struct Server {
    router: Router,
    limits: ServerLimits,
    shutdown: watch::Receiver<bool>,
    places: Arc<Semaphore>,
    /// The places of this listener alone, where it has a cap of its own.
    own_places: Option<Arc<Semaphore>>,
    answers: Arc<AnswerRoom>,
    clients: Clients,
    hits: Arc<LimitHits>,
    messages: Arc<ClientMessages>,
    tls: Option<Arc<Tls>>,
}

impl Server {
    /// A server that stops when `shutdown` turns true or its sender goes away.
    pub fn new(router: Router, limits: ServerLimits, shutdown: watch::Receiver<bool>) -> Self {
        let hits = Arc::<LimitHits>::default();
        Self {
            router,
            limits,
            shutdown,
            places: Arc::new(Semaphore::new(limits.connections_max)),
            own_places: None,
            clients: Clients {
                proxies: Arc::default(),
                places: Arc::new(Places::new(limits.connections_per_address_max)),
            },
            answers: answer_room(&limits, &hits),
            hits,
            messages: Arc::default(),
            tls: None,
        }
    }

    /// The same server, counting hits of its limits here.
    #[must_use]
    pub fn counting(mut self, hits: Arc<LimitHits>) -> Self {
        self.messages = Arc::new(ClientMessages::new(limits::UNFINISHED_MESSAGES_BYTES_MAX, hits.clone()));
        self.answers = answer_room(&self.limits, &hits);
        self.hits = hits;
        self
    }

    /// The same server, behind these proxies.
    #[must_use]
    pub fn behind(mut self, proxies: TrustedProxies) -> Self {
        self.clients.proxies = Arc::new(proxies);
        self
    }

    /// The same server, over TLS.
    #[must_use]
    pub fn over_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(Arc::new(tls));
        self
    }

    /// The same server for other listeners, where it serves this router, in plain text until it is told otherwise. Caps, what
    /// clients leave unread and the shutdown are those of the whole; of the connections these listeners take
    /// `connections_max` at most, if that is said.
    #[must_use]
    pub fn beside(&self, router: Router, connections_max: Option<usize>) -> Self {
        let own_places = connections_max.map(|places| Arc::new(Semaphore::new(places)));
        Self { router, own_places, tls: None, ..self.clone() }
    }

    /// Connections open now, upgraded ones included.
    pub fn connections(&self) -> usize {
        self.limits.connections_max - self.places.available_permits()
    }

    /// Serves a listener until shutdown, then drains: requests finish, upgraded sockets are closed, and
    /// whatever is left at the deadline is cut.
    pub async fn serve(&self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        if let Some(tls) = self.tls.clone() {
            let shutdown = self.shutdown.clone();
            let keep_fresh = move || tls.clone().keep_fresh(shutdown.clone());
            connections.spawn(tasks::keep(Task::Certificates, keep_fresh));
        }
        let mut wait = tasks::Wait::new(Task::Listener);
        // The listener and its connections outlive a fault in accepting.
        while tasks::caught(Task::Listener, self.accept(&listener, &mut connections)).await.is_err() {
            tokio::time::sleep(wait.begin()).await;
            wait.over();
        }
        drop(listener);
        if timeout(self.limits.drain, self.drained(&mut connections)).await.is_err() {
            tracing::warn!(connections = self.connections(), "connections cut at the shutdown deadline");
            connections.shutdown().await;
        }
    }

    /// Accepts connections until shutdown.
    async fn accept(&self, listener: &TcpListener, connections: &mut JoinSet<()>) {
        let mut shutdown = self.shutdown.clone();
        loop {
            tokio::select! {
                () = stopped(&mut shutdown) => return,
                accepted = listener.accept() => match accepted {
                    Ok((socket, peer)) => self.admit(socket, peer, connections),
                    Err(error) => {
                        warn_rarely!(&error.to_string(), error = %error, "accepting a connection failed");
                        tokio::time::sleep(Duration::from_millis(limits::ACCEPT_RETRY_MILLIS)).await;
                    }
                },
                Some(ended) = connections.join_next() => {
                    if ended.is_err_and(|error| error.is_panic()) {
                        Task::Connection.note_panic();
                    }
                }
            }
        }
    }

    /// Waits for the HTTP connections of this listener, then for the upgraded sockets, which live in tasks of their own.
    async fn drained(&self, connections: &mut JoinSet<()>) {
        while connections.join_next().await.is_some() {}
        let all = u32::try_from(self.limits.connections_max).unwrap_or(u32::MAX);
        let _ = self.places.acquire_many(all).await;
    }

    fn admit(&self, socket: TcpStream, peer: SocketAddr, connections: &mut JoinSet<()>) {
        tasks::may_panic(Task::Listener);
        let Some(place) = self.place() else {
            return self.refuse(&socket, Limit::Connections, FULL_ANSWER);
        };
        let _ = socket.set_nodelay(true);
        // What a client has not taken of an answer when we are done with it does not stay in the kernel.
        let untaken = self.limits.answer + self.limits.header;
        let _ = SockRef::from(&socket).set_tcp_user_timeout(Some(untaken));
        let peer = ClientAddr::from(peer);
        if self.clients.proxies.speaks_proxy_protocol() && self.clients.proxies.trusts(peer.ip) {
            connections.spawn(self.clone().serve_proxied(socket, peer, place));
            return;
        }
        match self.clients.place(peer.ip) {
            Ok(of_address) => drop(connections.spawn(self.clone().serve_socket(socket, peer, (place, of_address)))),
            Err(()) => self.refuse(&socket, Limit::ConnectionsPerAddress, ADDRESS_FULL_ANSWER),
        }
    }

    fn place(&self) -> Option<ConnectionPlace> {
        let take = |places: &Arc<Semaphore>| places.clone().try_acquire_owned().ok();
        let of_listener = match &self.own_places {
            Some(places) => Some(take(places)?),
            None => None,
        };
        Some(ConnectionPlace { _of_server: take(&self.places)?, _of_listener: of_listener })
    }

    /// A trusted proxy's connection begins with a header that says whose it is. One that does not is closed: whether it is
    /// the proxy's own or a client's that came past it cannot be said.
    async fn serve_proxied(self, mut socket: TcpStream, peer: ClientAddr, place: ConnectionPlace) {
        let mut shutdown = self.shutdown.clone();
        let header = tokio::select! {
            header = timeout(self.limits.header, proxy_header::read(&mut socket)) => header,
            () = stopped(&mut shutdown) => return,
        };
        let client = match header {
            Ok(Ok(ProxyHeader::Itself)) => peer,
            Ok(Ok(ProxyHeader::From(source))) => {
                let via = peer.port.map(|port| SocketAddr::new(peer.ip, port));
                ClientAddr { ip: source.ip().to_canonical(), port: Some(source.port()), via }
            }
            Ok(Err(error)) => {
                // Whoever only looks whether the port is open sends nothing.
                if error.kind() != std::io::ErrorKind::UnexpectedEof {
                    let proxy = peer.ip.to_string();
                    warn_rarely!(&proxy, proxy, %error, "a trusted proxy's connection was closed");
                }
                return;
            }
            Err(_) => return self.hits.count(Limit::HeaderTime),
        };
        match self.clients.place(client.ip) {
            Ok(of_address) => self.serve_socket(socket, client, (place, of_address)).await,
            Err(()) => self.refuse(&socket, Limit::ConnectionsPerAddress, ADDRESS_FULL_ANSWER),
        }
    }

    async fn serve_socket(
        self,
        socket: TcpStream,
        peer: ClientAddr,
        (place, of_address): (ConnectionPlace, Option<Place<IpAddr>>),
    ) {
        let held = Arc::new(Held { _place: place, _of_address: of_address });
        let Self { router, limits, shutdown, clients, hits, tls, answers, messages, .. } = self;
        let address = network(peer.ip);
        let give_up = Arc::default();
        let connection =
            Connection { _place: held, address, answers, give_up, _of_client: None, hits, messages, shutdown };
        match tls {
            None => {
                serve_connection(router, limits, socket, (peer, PeerCertificate(None)), (connection, clients)).await
            }
            Some(tls) => serve_tls(tls, router, limits, socket, peer, (connection, clients)).await,
        }
    }

    /// Best effort: whoever is refused under load is worth neither a wait nor a handshake.
    fn refuse(&self, socket: &TcpStream, limit: Limit, answer: &[u8]) {
        self.hits.count(limit);
        if self.tls.is_none() {
            let _ = socket.try_write(answer);
        }
    }
}

fn answer_room(limits: &ServerLimits, hits: &Arc<LimitHits>) -> Arc<AnswerRoom> {
    Arc::new(AnswerRoom::new(limits.answer_bytes, limits.answer_bytes_per_address(), hits.clone()))
}

async fn serve_tls(
    tls: Arc<Tls>,
    router: Router,
    limits: ServerLimits,
    socket: TcpStream,
    peer: ClientAddr,
    (connection, clients): (Connection, Clients),
) {
    let mut shutdown = connection.shutdown();
    let accepted = tokio::select! {
        accepted = timeout(limits.handshake, tls.accept(socket)) => accepted,
        () = stopped(&mut shutdown) => return,
    };
    let Ok(accepted) = accepted else {
        connection.hits.count(Limit::HandshakeTime);
        return tracing::debug!(%peer, "no TLS handshake in time");
    };
    match accepted {
        Ok(stream) => {
            let certificate = peer_certificate(&stream);
            serve_connection(router, limits, stream, (peer, certificate), (connection, clients)).await;
        }
        Err(error) => tracing::debug!(error = %error, %peer, "TLS handshake failed"),
    }
}

async fn serve_connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    router: Router,
    limits: ServerLimits,
    socket: S,
    (peer, certificate): (ClientAddr, PeerCertificate),
    (connection, clients): (Connection, Clients),
) {
    let mut shutdown = connection.shutdown();
    let (hits, give_up, unread) = (connection.hits.clone(), connection.give_up.clone(), Arc::<Unread>::default());
    let socket = TimedSocket::new(socket, limits.answer, hits.clone(), unread.clone());
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let body = |incoming| RequestBody::new(incoming, limits.body, connection.hits.clone(), unread.clone());
        let mut request = request.map(|incoming| Body::new(body(incoming)));
        tasks::may_panic(Task::Connection);
        let client = clients.of(peer, request.headers());
        let mut connection = connection.clone();
        let mut has_a_place = true;
        if client.ip != peer.ip {
            match clients.place(client.ip) {
                Ok(of_client) => connection._of_client = of_client.map(Arc::new),
                Err(()) => has_a_place = false,
            }
        }
        request.extensions_mut().insert(PeerAddr(client));
        request.extensions_mut().insert(certificate.clone());
        request.extensions_mut().insert(connection.clone());
        let safe = request.method().is_safe();
        let answer = has_a_place.then(|| router.call(request));
        async move {
            let Some(answer) = answer else {
                connection.hits.count(Limit::ConnectionsPerAddress);
                return Ok(client_full_answer());
            };
            if safe {
                return answer.await.map_err(std::io::Error::other);
            }
            // A change runs to its end although its caller hangs up: what is stored and what is in memory stay one.
            let whole = async move {
                let answer = answer.await;
                drop(connection);
                answer
            };
            tokio::spawn(whole).await?.map_err(std::io::Error::other)
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .keep_alive(true)
        .max_buf_size(limits::HTTP_BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let mut serving = pin!(serving);
    let to_its_end = async {
        tokio::select! {
            result = serving.as_mut() => result,
            () = stopped(&mut shutdown) => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        }
    };
    let result = tokio::select! {
        result = to_its_end => result,
        () = give_up.notified() => {
            hits.count(Limit::AnswerTime);
            return tracing::debug!(%peer, "an answer was given up, because there is no room for others");
        }
    };
    if let Err(error) = result {
        if error.is_timeout() {
            hits.count(Limit::HeaderTime);
        }
        tracing::debug!(error = %error, %peer, "connection ended early");
    }
}

/// What a request hears whose client, behind a proxy, has too many of them under way.
fn client_full_answer() -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    answer
}

#[cfg(test)]
mod tests;
