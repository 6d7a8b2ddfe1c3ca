//! A running server: the service, its listener and its routes, put together and taken apart in order.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::furnish::{self, Furniture};
use crate::access::{AccessOptions, OriginRules, TrustedProxies};
use crate::catalog::{AuditFile, TlsFiles};
use crate::clock::SystemClock;
use crate::config::{AuditTarget, LimitMembers};
use crate::face::goldengate::{Face, router};
use crate::limits;
use crate::listen::{Server, Tls, file_limit};
use crate::service::audit::Writers;
use crate::service::{Service, ServiceOptions};

/// What a server is started with.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
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

/// A server that accepts connections.
#[derive(Debug)]
pub struct RunningServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// What it serves.
    pub service: Arc<Service>,
    generated_password: Option<String>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

/// Anything that keeps a server from starting; its text is for the operator.
pub type ServerError = Box<dyn Error + Send + Sync>;

impl RunningServer {
    /// Opens the data folder, makes what must exist, and listens.
    pub async fn start(options: ServerOptions) -> Result<Self, ServerError> {
        let listener = TcpListener::bind(options.listen)
            .await
            .map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
        let address = listener.local_addr()?;
        let origins = OriginRules::new(address, options.public_url.as_deref(), &options.allowed_origins)?;
        let data_dir = options.data_dir.clone();
        let (access, sessions) = (options.access, options.limits.sessions);
        let opened = ServiceOptions { access, sessions, delivery_bytes: options.limits.delivery_bytes };
        let open = move || Service::open(&data_dir, Arc::new(SystemClock), opened);
        let service = Arc::new(tokio::task::spawn_blocking(open).await??);
        let tls = match options.tls {
            Some(files) => {
                let (clock, expiries) = (service.clock().clone(), service.expiries().clone());
                Some(tokio::task::spawn_blocking(move || Tls::load(files, clock, expiries)).await??)
            }
            None => None,
        };
        if let Some(target) = options.audit {
            service.audit().write_to(audit_writers(target)?);
        }
        service.audit_offline_changes().await;
        let mut furniture = options.furniture;
        let users = std::mem::take(&mut furniture.users);
        let generated_password = furnish::users(&service, users, options.admin_password.as_deref()).await?;
        furnish::resources(&service, furniture).await?;
        service.start().await;
        let face = Face {
            service: service.clone(),
            requests: Arc::default(),
            origins: Arc::new(origins),
            public_url: options.public_url.map(Into::into),
            tls: tls.is_some(),
            sockets: options.limits.sockets,
        };
        let (stop, stopping) = watch::channel(false);
        let over_tls = tls.is_some();
        let limits = options.limits.server;
        let limits = limits.fitting(file_limit::make_room(limits.connections_max));
        let server =
            Server::new(router(face), limits, stopping).counting(service.limit_hits().clone()).behind(options.proxies);
        let server = match tls {
            Some(tls) => server.over_tls(tls),
            None => server,
        };
        let serving = tokio::spawn(async move { server.serve(listener).await });
        Ok(Self { address, tls: over_tls, service, generated_password, stop, serving })
    }

    /// The drawn password of `admin`, on the first start of a server without users and without a given password.
    pub fn generated_password(&self) -> Option<&str> {
        self.generated_password.as_deref()
    }

    /// No new connections, sessions closed with 1001, everything flushed.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // Half a second is left for the process itself to go.
        let all = async {
            let _ = self.serving.await;
            self.service.close().await;
        };
        if tokio::time::timeout(Duration::from_millis(limits::SHUTDOWN_SECONDS_MAX * 1_000 - 500), all).await.is_err() {
            tracing::warn!("not everything ended within the time for shutting down");
        }
    }
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
