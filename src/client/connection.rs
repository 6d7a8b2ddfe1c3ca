//! A connection to a server: TCP, with TLS around it for `https`.

use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::address::ServerAddress;
use super::error::ClientError;
use crate::limits;

/// What HTTP runs on: a socket, or TLS over one.
pub trait Channel: AsyncRead + AsyncWrite + Unpin + Send {}

impl<C: AsyncRead + AsyncWrite + Unpin + Send> Channel for C {}

/// Connects and is ready to send requests with a body of `B`; an upgrade is possible.
pub(super) async fn connect<B>(address: &ServerAddress) -> Result<SendRequest<B>, ClientError>
where
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let patience = Duration::from_secs(limits::CLIENT_CONNECT_SECONDS_MAX);
    let connecting = async {
        let channel = open(address).await?;
        http1::handshake(TokioIo::new(channel)).await.map_err(|error| unreachable(address, &error))
    };
    let (sender, connection) = timeout(patience, connecting).await.map_err(|_| {
        let seconds = limits::CLIENT_CONNECT_SECONDS_MAX;
        ClientError::Unreachable(format!("no connection to {address}: no answer within {seconds} seconds"))
    })??;
    // Ends with the connection; what it would say is said to whoever waits for an answer.
    tokio::spawn(async move {
        let _ = connection.with_upgrades().await;
    });
    Ok(sender)
}

/// Opens the socket, and TLS over it for `https`; nothing has been said on it yet.
pub async fn open(address: &ServerAddress) -> Result<Box<dyn Channel>, ClientError> {
    let stream = TcpStream::connect((address.host.as_str(), address.port))
        .await
        .map_err(|error| unreachable(address, &error))?;
    stream.set_nodelay(true).map_err(|error| unreachable(address, &error))?;
    if !address.tls {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(address.host.clone()).map_err(|error| unreachable(address, &error))?;
    let config = address.trust.config().map_err(|error| unreachable(address, &error))?;
    let connecting = TlsConnector::from(config).connect(name, stream).await;
    Ok(Box::new(connecting.map_err(|error| unreachable(address, &address.trust.failed(&error)))?))
}

fn unreachable(address: &ServerAddress, error: &dyn std::fmt::Display) -> ClientError {
    ClientError::Unreachable(format!("no connection to {address}: {error}"))
}
