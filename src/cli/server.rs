//! A running server: the service, its listener and its routes, put together and taken apart in order.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::access::{AccessOptions, OriginRules};
use crate::catalog::TlsFiles;
use crate::catalog::extract::ExtractConfig;
use crate::catalog::stream::StreamConfig;
use crate::clock::SystemClock;
use crate::config::LimitMembers;
use crate::face::goldengate::{Face, router};
use crate::limits;
use crate::listen::{Server, ServerLimits, Tls, file_limit};
use crate::record::ResourceName;
use crate::service::Service;
use crate::service::extracts::ExtractError;
use crate::service::streams::StreamError;

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
    /// The files of the TLS listener; plain text without.
    pub tls: Option<TlsFiles>,
    /// Ways to log in beside passwords and tokens of our own.
    pub access: AccessOptions,
    /// Caps and deadlines of connections and sessions.
    pub limits: LimitMembers,
    /// Password of the first user, on a server without users.
    pub admin_password: Option<String>,
    /// Extracts that must exist.
    pub extracts: Vec<(ResourceName, ExtractConfig)>,
    /// Streams that must exist.
    pub streams: Vec<(ResourceName, StreamConfig)>,
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
        let tls = match options.tls {
            Some(files) => Some(tokio::task::spawn_blocking(move || Tls::load(files)).await??),
            None => None,
        };
        let data_dir = options.data_dir.clone();
        let access = options.access;
        let opened =
            tokio::task::spawn_blocking(move || Service::open(&data_dir, Arc::new(SystemClock), access)).await?;
        let service = Arc::new(opened?.with_session_caps(options.limits.sessions));
        let generated_password = service.accounts().first_start(options.admin_password.as_deref()).await?;
        make_missing(&service, options.extracts, options.streams).await?;
        service.start().await;
        let face = Face {
            service: service.clone(),
            origins: Arc::new(origins),
            public_url: options.public_url.map(Into::into),
            tls: tls.is_some(),
            sockets: options.limits.sockets,
        };
        let (stop, stopping) = watch::channel(false);
        let over_tls = tls.is_some();
        let connections_max = file_limit::make_room(options.limits.server.connections_max);
        let limits = ServerLimits { connections_max, ..options.limits.server };
        let server = Server::new(router(face), limits, stopping).counting(service.limit_hits().clone());
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
        let all = async {
            let _ = self.serving.await;
            self.service.close().await;
        };
        if tokio::time::timeout(Duration::from_secs(limits::SHUTDOWN_SECONDS_MAX), all).await.is_err() {
            tracing::warn!("not everything ended within the time for shutting down");
        }
    }
}

/// Makes the extracts and streams of the configuration file that do not exist. Those that do are left as they are: over
/// REST they may have been changed on purpose.
async fn make_missing(
    service: &Arc<Service>,
    extracts: Vec<(ResourceName, ExtractConfig)>,
    streams: Vec<(ResourceName, StreamConfig)>,
) -> Result<(), ServerError> {
    for (name, config) in extracts {
        let given = config.redacted();
        match service.make_extract(&name, config).await {
            Ok(()) => {}
            Err(ExtractError::Exists(_)) => {
                let stored = service.extracts().get(&name).map(|stored| stored.config.redacted());
                if stored.is_some_and(|stored| stored != given) {
                    tracing::warn!(extract = %name, "exists with other members; the file's are not applied, PATCH it");
                }
            }
            Err(error) => return Err(format!("extract {name}: {error}").into()),
        }
    }
    for (name, config) in streams {
        let given = config.as_given().clone();
        match service.make_stream(&name, config).await {
            Ok(_) => {}
            Err(StreamError::Exists(_)) => {
                if service.streams().get(&name).is_some_and(|stored| *stored.config.as_given() != given) {
                    tracing::warn!(stream = %name, "exists with other members; the file's are not applied, PATCH it");
                }
            }
            Err(error) => return Err(format!("stream {name}: {error}").into()),
        }
    }
    Ok(())
}
