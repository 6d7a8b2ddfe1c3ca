//! The routes of a face, each with what its OpenAPI document says of it: one table for both.
//!
//! What is the same for every operation is read off what its handler takes: a [`Call`] needs somebody who is known, a
//! [`Content`] is a body that may be too large, of another type or late. A handler's `#[utoipa::path]` says the rest.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::http::HeaderMap;
use axum::routing::{MethodFilter, MethodRouter, any, on};
use utoipa::__dev::SchemaReferences;
use utoipa::IntoResponses;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{HttpMethod, Operation, PathItem};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{Object, ObjectBuilder, Schema, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Paths, Ref, RefOr};

use super::address::Address;
use super::call::Call;
use super::content::Content;
use super::hall::{Face, Hall};
use super::origin_guard::other_method;

/// Every way in which a request may be refused whatever it is for: its status, and the name of the answer in the document.
const ALWAYS: [(&str, &str); 4] =
    [("400", "BadRequest"), ("403", "Forbidden"), ("500", "Failed"), ("503", "Unavailable")];
const OF_CALLERS: [(&str, &str); 2] = [("401", "Unauthorized"), ("429", "TooManyRequests")];
const OF_BODIES: [(&str, &str); 3] = [("408", "BodyTooLate"), ("413", "TooLarge"), ("415", "UnsupportedMediaType")];

/// Responses of which only some operations have one.
macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $status:literal, $response:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                BTreeMap::from([($status.to_owned(), RefOr::Ref(Ref::from_response_name($response)))])
            }
        }
    )*};
}

refusals! {
    /// What the path names may not be there.
    NotThere = "404", "NotFound";
    /// The name may be taken, or the state of something may not allow it.
    Taken = "409", "Conflict";
    /// A socket may be asked for in another version of its protocol.
    Upgrades = "426", "UpgradeRequired";
    /// It is written to the disk, which may be full.
    Stores = "507", "NoRoom";
}

/// The responses that the names above stand for; `refusal` is how the face refuses.
pub fn refusals(refusal: &Ref) -> impl Iterator<Item = (&'static str, Response)> {
    let text = || Object::with_type(Type::String);
    let only = |value: &str| ObjectBuilder::new().schema_type(Type::String).enum_values(Some([value])).build();
    let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).build();
    let header = |name, description: &str, schema: Object| {
        let header = HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build();
        Some((name, header))
    };
    let retry = header("Retry-After", "Seconds after which to try again", seconds);
    let challenge = header("WWW-Authenticate", "How to log in: one line for each way", text());
    let identity = header("Accept-Encoding", "identity, where the body was packed", only("identity"));
    let version = header("Sec-WebSocket-Version", "The version that is spoken here", only("13"));
    let responses = [
        ("BadRequest", "Something in the request is wrong, out of its range or unknown; the message names it", None),
        ("Unauthorized", "No credentials, or wrong ones", challenge),
        ("Forbidden", "The role is not enough, or the Origin or the Host is none that is served", None),
        ("NotFound", "There is nothing of that name", None),
        ("BodyTooLate", "The body did not arrive in time", None),
        ("Conflict", "The name is taken, or the state of something does not allow it", None),
        ("TooLarge", "The body is too large; the message says the limit", None),
        (
            "UnsupportedMediaType",
            "The media type is not read here, or the body is packed (Content-Encoding other than identity)",
            identity,
        ),
        ("UpgradeRequired", "The WebSocket handshake asks for another version", version),
        ("TooManyRequests", "Too many failed log-ins, or too many sessions", retry.clone()),
        ("Failed", "The server failed; its log says more", None),
        ("Unavailable", "The server or a part of it cannot serve this now", retry.clone()),
        ("NoRoom", "The disk is full", retry),
    ];
    let content = ContentBuilder::new().schema(Some(refusal.clone())).build();
    responses.into_iter().map(move |(name, description, header)| {
        let response = ResponseBuilder::new().description(description).content("application/json", content.clone());
        let response = header.into_iter().fold(response, |response, (name, header)| response.header(name, header));
        (name, response.build())
    })
}

/// Whether a handler wants to know who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Callers {
    /// It is open to all.
    Unasked,
    /// Whoever logs in hears more.
    Optional,
    /// Only who is known gets in.
    Known,
}

/// What the arguments of a handler say of its operation. Told by their types alone.
pub trait Arguments {
    #[doc(hidden)]
    fn traits() -> Traits;
}

/// What is read off a handler's arguments.
#[derive(Debug, Clone, Copy)]
pub struct Traits {
    callers: Callers,
    has_body: bool,
}

const fn traits(callers: Callers, has_body: bool) -> Traits {
    Traits { callers, has_body }
}

impl Arguments for ((),) {
    fn traits() -> Traits {
        traits(Callers::Unasked, false)
    }
}

impl<M> Arguments for (M, Address, HeaderMap) {
    fn traits() -> Traits {
        traits(Callers::Unasked, false)
    }
}

impl<M, F> Arguments for (M, State<Hall>, Option<Call<F>>) {
    fn traits() -> Traits {
        traits(Callers::Optional, false)
    }
}

impl<M, F, N> Arguments for (M, Call<F, N>) {
    fn traits() -> Traits {
        traits(Callers::Known, false)
    }
}

impl<M, F, N> Arguments for (M, Call<F, N>, HeaderMap) {
    fn traits() -> Traits {
        traits(Callers::Known, false)
    }
}

impl<M, F, N> Arguments for (M, Call<F, N>, Request) {
    fn traits() -> Traits {
        traits(Callers::Known, false)
    }
}

impl<M, F, N> Arguments for (M, Call<F, N>, Content) {
    fn traits() -> Traits {
        traits(Callers::Known, true)
    }
}

/// A path: its handlers, by their methods.
#[derive(Default)]
struct Route {
    handlers: MethodRouter<Hall>,
    methods: Vec<&'static str>,
    described: PathItem,
}

/// The operations of a face.
pub struct Operations {
    routes: BTreeMap<String, Route>,
    schemas: Vec<(String, RefOr<Schema>)>,
}

impl std::fmt::Debug for Operations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.routes.iter().map(|(path, route)| (path, &route.methods))).finish()
    }
}

impl Operations {
    /// None yet.
    pub fn none() -> Self {
        Self { routes: BTreeMap::new(), schemas: Vec::new() }
    }

    /// Adds the operation that a handler's `#[utoipa::path]` describes (`__path_HANDLER`).
    #[must_use]
    pub fn add<O, H, T>(self, operation: O, handler: H) -> Self
    where
        O: utoipa::Path + SchemaReferences,
        H: Handler<T, Hall>,
        T: Arguments + 'static,
    {
        self.add_at("", "", operation, handler)
    }

    /// Adds it below its path followed by `more`, as an operation of its own that has `suffix` at the end of its name.
    #[must_use]
    pub fn add_at<O, H, T>(mut self, more: &str, suffix: &str, _: O, handler: H) -> Self
    where
        O: utoipa::Path + SchemaReferences,
        H: Handler<T, Hall>,
        T: Arguments + 'static,
    {
        let route = self.routes.entry(O::path() + more).or_default();
        for method in O::methods() {
            let mut operation = described(O::operation(), T::traits(), &method);
            operation.operation_id = operation.operation_id.map(|id| id + suffix);
            let (filter, name) = filter(&method);
            route.methods.push(name);
            let handlers = std::mem::take(&mut route.handlers);
            route.handlers = handlers.merge(on(filter, handler.clone()));
            route.described.merge_operations(PathItem::new(method, operation));
        }
        O::schemas(&mut self.schemas);
        self
    }

    /// The routes; `ways` gives every path by which the one of an operation may be reached.
    pub fn router<F: Face>(self, ways: impl Fn(&str) -> Vec<String>) -> Router<Hall> {
        self.routes.into_iter().fold(Router::new(), |router, (path, route)| {
            let methods: std::sync::Arc<str> = route.methods.join(", ").into();
            let other = move |request: Request| async move { other_method::<F>(&request, &methods) };
            let handlers = route.handlers.fallback_service(any(other));
            ways(&path).iter().fold(router, |router, way| router.route(way, handlers.clone()))
        })
    }

    /// What the document says of the paths, and the schemas that it needs for that. `parameters` gives the names of the
    /// document's parameters that stand in a path.
    pub fn described(self, parameters: impl Fn(&str) -> Vec<String>) -> (Paths, Vec<(String, RefOr<Schema>)>) {
        let mut paths = Paths::new();
        for (path, mut route) in self.routes {
            let names = parameters(&path);
            if !names.is_empty() {
                route.described.parameters = Some(names.iter().map(|name| RefOr::Ref(parameter(name))).collect());
            }
            paths.paths.insert(path, route.described);
        }
        (paths, self.schemas)
    }
}

fn parameter(name: &str) -> Ref {
    Ref::new(format!("#/components/parameters/{name}"))
}

fn filter(method: &HttpMethod) -> (MethodFilter, &'static str) {
    match method {
        HttpMethod::Post => (MethodFilter::POST, "POST"),
        HttpMethod::Put => (MethodFilter::PUT, "PUT"),
        HttpMethod::Patch => (MethodFilter::PATCH, "PATCH"),
        HttpMethod::Delete => (MethodFilter::DELETE, "DELETE"),
        _ => (MethodFilter::GET, "GET"),
    }
}

/// The operation with what its handler's arguments say of it.
fn described(mut operation: Operation, Traits { callers, has_body }: Traits, method: &HttpMethod) -> Operation {
    let bodies = if has_body { &OF_BODIES[..] } else { &[] };
    let callers_refused = if callers == Callers::Unasked { &[][..] } else { &OF_CALLERS };
    for (status, name) in ALWAYS.iter().chain(callers_refused).chain(bodies) {
        let refused = RefOr::Ref(Ref::from_response_name(*name));
        operation.responses.responses.entry((*status).to_owned()).or_insert(refused);
    }
    // A token in the query stands for a header that the client cannot set.
    if callers != Callers::Unasked && matches!(method, HttpMethod::Get) {
        operation.parameters.get_or_insert_default().push(RefOr::Ref(parameter("accessToken")));
    }
    let known = || ["basicAuth", "bearerAuth"].map(|name| SecurityRequirement::new(name, [""; 0]));
    operation.security = match callers {
        Callers::Unasked => Some(Vec::new()),
        Callers::Optional => Some(std::iter::once(SecurityRequirement::default()).chain(known()).collect()),
        // As the document says of all.
        Callers::Known => None,
    };
    // Who wrote a handler is no way to group them.
    operation.tags = None;
    operation
}
