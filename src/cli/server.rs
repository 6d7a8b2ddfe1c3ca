//! A running server: the service, its listener and its routes, put together and taken apart in order.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::furnish::{self, Furniture};
use crate::access::{AccessOptions, OriginRules, TrustedProxies};
use crate::catalog::{AuditFile, TlsFiles};
use crate::clock::SystemClock;
use crate::config::{AuditTarget, FaceListener, LimitMembers};
use crate::face::requests::Requests;
use crate::face::{self, FaceName, Hall};
use crate::limits;
use crate::listen::{Server, Tls, file_limit};
use crate::service::audit::Writers;
use crate::service::{Service, ServiceOptions};

/// What a server is started with.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Listeners that serve one face each.
    pub faces: Vec<FaceListener>,
    /// The data folder; made if it is not there.
    pub data_dir: PathBuf,
    /// Under which address clients reach the server, such as `https://streams.example.com`.
    pub public_url: Option<String>,
    /// Origins of web pages that may talk to the server beside its own.
    pub allowed_origins: Vec<String>,
    /// The proxies whose word on a client's address counts.
    pub proxies: TrustedProxies,
    /// The files of the TLS listener; plain text without.
    pub tls: Option<TlsFiles>,
    /// Ways to log in beside passwords and tokens of our own.
    pub access: AccessOptions,
    /// Caps and deadlines of connections and sessions.
    pub limits: LimitMembers,
    /// Password of the first user, on a server without users.
    pub admin_password: Option<String>,
    /// Where audit lines go; to the log without.
    pub audit: Option<AuditTarget>,
    /// What must exist.
    pub furniture: Furniture,
}

/// A listener that serves one face.
#[derive(Debug, Clone, Copy)]
pub struct OwnListener {
    /// Which.
    pub face: FaceName,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it speaks TLS.
    pub tls: bool,
}

/// A server that accepts connections.
#[derive(Debug)]
pub struct RunningServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Where faces have listeners of their own.
    pub own_listeners: Vec<OwnListener>,
    /// What it serves.
    pub service: Arc<Service>,
    generated_password: Option<String>,
    stop: watch::Sender<bool>,
    serving: JoinSet<()>,
}

/// Anything that keeps a server from starting; its text is for the operator.
pub type ServerError = Box<dyn Error + Send + Sync>;

impl RunningServer {
    /// Opens the data folder, makes what must exist, and listens.
    pub async fn start(options: ServerOptions) -> Result<Self, ServerError> {
        let main = Bound::bind(options.listen, options.public_url, &options.allowed_origins).await?;
        let mut own = Vec::new();
        for face in &options.faces {
            own.push(Bound::bind(face.listen, face.public_url.clone(), &options.allowed_origins).await?);
        }
        let data_dir = options.data_dir.clone();
        let (access, sessions) = (options.access, options.limits.sessions);
        let opened = ServiceOptions { access, sessions, delivery_bytes: options.limits.delivery_bytes };
        let open = move || Service::open(&data_dir, Arc::new(SystemClock), opened);
        let service = Arc::new(tokio::task::spawn_blocking(open).await??);
        let main_tls = tls(options.tls, "", &service).await?;
        let mut own_tls = Vec::new();
        for face in &options.faces {
            own_tls.push(tls(face.tls.clone(), face.face.name(), &service).await?);
        }
        if let Some(target) = options.audit {
            service.audit().write_to(audit_writers(target)?);
        }
        service.audit_offline_changes().await;
        let mut furniture = options.furniture;
        let users = std::mem::take(&mut furniture.users);
        let generated_password = furnish::users(&service, users, options.admin_password.as_deref()).await?;
        furnish::resources(&service, furniture).await?;
        service.start().await;
        let (stop, stopping) = watch::channel(false);
        let limits = options.limits.server;
        let limits = limits.fitting(file_limit::make_room(limits.connections_max));
        let requests = Arc::<Requests>::default();
        let hall = |bound: &Bound, tls: bool| Hall {
            service: service.clone(),
            requests: requests.clone(),
            origins: bound.origins.clone(),
            public_url: bound.public_url.clone(),
            tls,
            sockets: options.limits.sockets,
        };
        let router = face::on_main_listener(&hall(&main, main_tls.is_some()));
        let server =
            Server::new(router, limits, stopping).counting(service.limit_hits().clone()).behind(options.proxies);
        let (address, over_tls) = (main.address, main_tls.is_some());
        let (mut own_listeners, mut serving) = (Vec::new(), JoinSet::new());
        for ((given, bound), tls) in options.faces.iter().zip(own).zip(own_tls) {
            let router = given.face.alone(hall(&bound, tls.is_some()));
            own_listeners.push(OwnListener { face: given.face, address: bound.address, tls: tls.is_some() });
            serve(&mut serving, server.beside(router, given.connections_max), tls, bound.listener);
        }
        serve(&mut serving, server, main_tls, main.listener);
        Ok(Self { address, tls: over_tls, own_listeners, service, generated_password, stop, serving })
    }

    /// The drawn password of `admin`, on the first start of a server without users and without a given password.
    pub fn generated_password(&self) -> Option<&str> {
        self.generated_password.as_deref()
    }

    /// No new connections, sessions closed with 1001, everything flushed.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.service.records().stop_waiting();
        // Half a second is left for the process itself to go.
        let all = async {
            self.serving.join_all().await;
            self.service.close().await;
        };
        if tokio::time::timeout(Duration::from_millis(limits::SHUTDOWN_SECONDS_MAX * 1_000 - 500), all).await.is_err() {
            tracing::warn!("not everything ended within the time for shutting down");
        }
    }
}

/// A listener before it is served: nobody else can take its address any more.
struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    origins: Arc<OriginRules>,
    public_url: Option<Arc<str>>,
}

impl Bound {
    async fn bind(listen: SocketAddr, public_url: Option<String>, allowed: &[String]) -> Result<Self, ServerError> {
        let bound = TcpListener::bind(listen).await;
        let listener = bound.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
        let address = listener.local_addr()?;
        let origins = OriginRules::new(address, public_url.as_deref(), allowed)?;
        Ok(Self { listener, address, origins: Arc::new(origins), public_url: public_url.map(Into::into) })
    }
}

async fn tls(
    files: Option<TlsFiles>,
    listener: &'static str,
    service: &Arc<Service>,
) -> Result<Option<Tls>, ServerError> {
    let Some(files) = files else { return Ok(None) };
    let (clock, expiries) = (service.clock().clone(), service.expiries().clone());
    Ok(Some(tokio::task::spawn_blocking(move || Tls::load(files, listener, clock, expiries)).await??))
}

fn serve(serving: &mut JoinSet<()>, server: Server, tls: Option<Tls>, listener: TcpListener) {
    let server = match tls {
        Some(tls) => server.over_tls(tls),
        None => server,
    };
    serving.spawn(async move { server.serve(listener).await });
}

fn audit_writers(target: AuditTarget) -> Result<Writers, ServerError> {
    match target {
        AuditTarget::StandardOutput => {
            let writer = || Box::new(std::io::stdout());
            Ok(Writers { changes: writer(), sessions: writer(), refusals: writer() })
        }
        AuditTarget::File(options) => {
            let [changes, sessions, refusals] = options.of_each_kind().map(|options| {
                let path = options.path.clone();
                AuditFile::open(options)
                    .map_err(|error| format!("the audit file {} cannot be used: {error}", path.display()))
            });
            Ok(Writers { changes: Box::new(changes?), sessions: Box::new(sessions?), refusals: Box::new(refusals?) })
        }
    }
}
