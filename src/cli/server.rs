//! The server with everything it is made of, started and stopped.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::access::accounts::Accounts;
use crate::catalog::extract::ExtractConfig;
use crate::catalog::stream::StreamConfig;
use crate::codec::token::TokenText;
use crate::record::{ResourceName, TrailName};

/// What a server is started with.
#[allow(missing_docs, missing_debug_implementations)]
pub struct ServerOptions {
    pub listen: SocketAddr,
    pub data_dir: PathBuf,
    pub public_url: Option<String>,
    pub allowed_origins: Vec<String>,
    pub admin_password: Option<String>,
    pub extracts: Vec<(ResourceName, ExtractConfig)>,
    pub streams: Vec<(ResourceName, StreamConfig)>,
}
/// A running server.
#[allow(missing_docs, missing_debug_implementations)]
pub struct RunningServer {
    pub address: SocketAddr,
    pub service: Arc<Service>,
}
/// Stands in for the service.
#[allow(missing_debug_implementations)]
pub struct Service;
#[allow(missing_docs, missing_debug_implementations)]
pub struct PutAnswer {
    pub acked: usize,
    pub pos: TokenText,
}
#[allow(missing_docs)]
impl RunningServer {
    pub async fn start(options: ServerOptions) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("no server yet at {}", options.listen).into())
    }
    pub fn generated_password(&self) -> Option<&str> {
        None
    }
    pub async fn stop(self) {}
}
#[allow(missing_docs)]
impl Service {
    pub async fn put(&self, _trail: &TrailName, _body: &[u8]) -> Result<PutAnswer, String> {
        Err("stub".into())
    }
    pub async fn make_trail(&self, _name: &TrailName) -> Result<(), String> {
        Err("stub".into())
    }
    pub async fn make_stream(&self, _name: &ResourceName, _config: StreamConfig) -> Result<(), String> {
        Err("stub".into())
    }
    pub fn accounts(&self) -> &Accounts {
        loop {}
    }
}
