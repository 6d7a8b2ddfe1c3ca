//! Under which address clients reach us: the configured one, else what the request says.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::header::HOST;
use axum::http::request::Parts;

use super::hall::Hall;

/// The server's address as this client sees it, and the path that it asked for.
#[derive(Debug, Clone)]
pub struct Address {
    /// Whether it is reached over TLS.
    pub secure: bool,
    /// Host, with the port where it is not the protocol's own.
    pub host: String,
    /// Path of the request, without a trailing slash.
    pub path: String,
}

impl Address {
    /// The absolute URL of a path.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.host)
    }

    /// The URL of the request itself.
    pub fn here(&self) -> String {
        self.url(&self.path)
    }
}

impl FromRequestParts<Hall> for Address {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, hall: &Hall) -> Result<Self, Infallible> {
        let path = parts.uri.path().trim_end_matches('/').to_owned();
        if let Some((scheme, host)) = hall.public_url.as_deref().and_then(|url| url.split_once("://")) {
            return Ok(Self { secure: scheme == "https", host: host.trim_end_matches('/').to_owned(), path });
        }
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        Ok(Self { secure: hall.tls, host: host.to_owned(), path })
    }
}
