//! Under which address clients reach us: the configured one, else what the request says.

use axum::extract::FromRequestParts;
use axum::http::header::HOST;
use axum::http::request::Parts;

use super::messages::ErrorAnswer;
use super::routes::Face;

/// The server's address as this client sees it, and the path that it asked for.
#[derive(Debug, Clone)]
pub(super) struct Address {
    /// Whether it is reached over TLS.
    pub(super) secure: bool,
    /// Host, with the port where it is not the protocol's own.
    pub(super) host: String,
    /// Path of the request, without a trailing slash.
    pub(super) path: String,
}

impl Address {
    /// The absolute URL of a path.
    pub(super) fn url(&self, path: &str) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.host)
    }

    /// The prefix of the native routes that the request came by: up to the version, where a reverse proxy has the names of a
    /// service and perhaps of a deployment before it.
    pub(super) fn prefix(&self) -> &str {
        for service in ["/distsrvr/v2", "/adminsrvr/v2"] {
            // Nothing or one name stands between `/services` and the service.
            let Some(at) = self.path.find(service) else { continue };
            let end = at + service.len();
            if self.path[..at].matches('/').count() <= 2 && matches!(self.path.as_bytes().get(end), None | Some(b'/')) {
                return &self.path[..end];
            }
        }
        "/services/v2"
    }

    /// The URL of the request itself.
    pub(super) fn here(&self) -> String {
        self.url(&self.path)
    }
}

impl FromRequestParts<Face> for Address {
    type Rejection = ErrorAnswer;

    async fn from_request_parts(parts: &mut Parts, face: &Face) -> Result<Self, ErrorAnswer> {
        let path = parts.uri.path().trim_end_matches('/').to_owned();
        if let Some((scheme, host)) = face.public_url.as_deref().and_then(|url| url.split_once("://")) {
            return Ok(Self { secure: scheme == "https", host: host.trim_end_matches('/').to_owned(), path });
        }
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        Ok(Self { secure: face.tls, host: host.to_owned(), path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_what_a_reverse_proxy_shows_and_else_our_own() {
        for (path, prefix) in [
            ("/services/v2/stream/s1", "/services/v2"),
            ("/services/distsrvr/v2/stream", "/services/distsrvr/v2"),
            ("/services/north/distsrvr/v2/stream/s1/info", "/services/north/distsrvr/v2"),
            ("/services/v2/distsrvr/v2/stream/s1", "/services/v2/distsrvr/v2"),
            ("/services/adminsrvr/v2/trails", "/services/adminsrvr/v2"),
            ("/services/v2/stream/distsrvr/v2", "/services/v2"),
            ("/healthz", "/services/v2"),
        ] {
            let address = Address { secure: false, host: "h".into(), path: path.into() };
            assert_eq!(address.prefix(), prefix, "{path}");
        }
    }
}
