//! What each request has at hand in the hall, and what a face is.
//!
//! What is done around each route is in [`layers`](super::layers); which routes there are and what they answer is for each
//! face.

use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use axum::response::IntoResponse;

use super::refusal::Refusal;
use super::requests::Requests;
use crate::access::OriginRules;
use crate::listen::PumpTimings;
use crate::service::Service;

/// A token, for clients that cannot set headers: a parameter of every GET.
pub const ACCESS_TOKEN: &str = "access_token";

/// What every handler has at hand, whichever face it is of: the service, and the listener's side of things.
#[derive(Debug, Clone)]
pub struct Hall {
    /// The service behind all faces.
    pub service: Arc<Service>,
    /// How requests were answered, whatever listener they came by.
    pub requests: Arc<Requests>,
    /// Which origins and hosts are served.
    pub origins: Arc<OriginRules>,
    /// The configured public address, such as `https://streams.example.com`.
    pub public_url: Option<Arc<str>>,
    /// Whether the listener speaks TLS.
    pub tls: bool,
    /// Pings of streams' sockets, and the time for slow clients.
    pub sockets: PumpTimings,
}

/// One protocol: its routes, and the words in which it refuses.
pub trait Face: Sized + Send + Sync + 'static {
    /// Its name, as the configuration has it.
    const NAME: &'static str;
    /// Whether it is served on the main listener: its paths can be told from those of the others there. Otherwise it is
    /// served on a listener of its own only.
    const IS_ON_MAIN_LISTENER: bool;

    /// A refusal in this protocol's words. Its answer carries a [`Refused`], by which it is counted and audited.
    type Refusal: IntoResponse + From<Refusal> + Send;

    /// Its routes, without what stands around each of them.
    fn routes() -> Router<Hall>;

    /// A route's template as figures and audit name it: the same for each of the ways in which a path may be reached.
    fn route_name(template: &str) -> String {
        template.to_owned()
    }

    /// The parameters that a route reads in the query; `route` is its template.
    fn query_parameters(_route: &str, method: &Method) -> &'static [&'static str] {
        if method == Method::GET { &[ACCESS_TOKEN] } else { &[] }
    }

    /// Whether a request that is not safe changes nothing of what the server is, as a put of rows. Such a request is audited
    /// when it is refused only; `route` is its [`Face::route_name`].
    fn is_data_route(_route: &str) -> bool {
        false
    }
}

/// What an answer refuses, as an extension of the response: for whoever counts and writes down refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// The reason, of a fixed list.
    pub reason: &'static str,
    /// The code that the face gives it.
    pub code: &'static str,
}
