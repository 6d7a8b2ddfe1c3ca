//! The hall that every face stands in: what each request has at hand, and what is done around each route.
//!
//! Owns the order of these: a fault of the program is answered, a change is audited, an answer counted, a page of another
//! site turned away, an unread answer bounded, a slip in the query refused. Which routes there are and what they answer is
//! for each face.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};

use super::refusal::Refusal;
use super::requests::Requests;
use super::{audit, count, origin_guard, query, unread};
use crate::access::OriginRules;
use crate::listen::PumpTimings;
use crate::service::Service;
use crate::service::refusal::Fact;
use crate::tasks::{self, Task};

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
    fn query_parameters(_route: &str, method: &axum::http::Method) -> &'static [&'static str] {
        if method == axum::http::Method::GET { &[query::ACCESS_TOKEN] } else { &[] }
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

/// Everything that a face serves, on a listener of its own or as the one that answers for paths of no face.
pub fn whole<F: Face>(hall: Hall) -> Router {
    let nothing_here = |request: Request| async move { origin_guard::nothing_here::<F>(&request) };
    around::<F>(F::routes().fallback(nothing_here), hall)
}

/// The routes of a face, on a listener where another one answers for every other path.
pub fn beside<F: Face>(hall: Hall) -> Router {
    around::<F>(F::routes(), hall)
}

fn around<F: Face>(routes: Router<Hall>, hall: Hall) -> Router {
    routes
        .layer(from_fn(query::check::<F>))
        .layer(from_fn(answered::<F>))
        .layer(from_fn(unread::held::<F>))
        .layer(from_fn_with_state(hall.clone(), origin_guard::admit::<F>))
        .layer(from_fn_with_state(hall.clone(), count::counted::<F>))
        .layer(from_fn_with_state(hall.clone(), audit::audited::<F>))
        .layer(from_fn(answered::<F>))
        .with_state(hall)
}

/// An answer also where the program itself is at fault: innermost, so that it is counted and audited, and around that.
async fn answered<F: Face>(request: Request, next: Next) -> Response {
    let answer = tasks::caught(Task::Request, next.run(request)).await;
    answer.unwrap_or_else(|panicked| F::Refusal::from(Refusal::new(Fact::Internal, panicked)).into_response())
}
