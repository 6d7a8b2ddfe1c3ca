//! The native face: GoldenGate Data Streams over REST and WebSocket (contract goldengate-data-streams).
//!
//! Owns paths, envelopes, message codes and the translation of the service's errors. Holds no state of its own.

mod commands;
mod credentials;
mod document;
pub mod envelope;
pub mod error_answer;
mod extract_check;
mod extracts;
mod front_page;
mod grants;
mod groups;
mod health;
mod lag;
mod loads;
pub mod messages;
mod metadata_catalog;
mod openapi;
mod partitions;
mod proxied;
mod put_body;
mod records;
mod refusal;
mod retention;
mod routes;
mod schema_names;
mod socket;
mod streams;
mod tokens;
mod trails;
mod users;

use axum::Router;
use axum::http::Method;

pub use envelope::{Envelope, Link};
pub use error_answer::ErrorAnswer;
pub use messages::{Fact, Message, Severity};

use super::hall::{ACCESS_TOKEN, Face, Hall};

/// GoldenGate Data Streams.
#[derive(Debug, Clone, Copy)]
pub struct GoldenGate;

/// A request to this face.
type Call<N = ()> = super::Call<GoldenGate, N>;
/// What it is answered with.
type Answer<T = envelope::Empty> = Result<Envelope<T>, ErrorAnswer>;

/// Where a session begins: a parameter of the stream's socket, and of polls.
const BEGIN: &str = "begin";
/// The consumer group that a session is a member of: another parameter of the socket.
const GROUP: &str = "group";
/// The member's name in it.
const MEMBER: &str = "member";
/// Where a member goes on although something is missing or too large there.
const SKIP: &str = "skip";
/// How many records a poll takes.
const LIMIT: &str = "limit";
/// How long a poll waits for the first record, in seconds.
const WAIT: &str = "wait";
/// Whether an extract is deleted with what it made at its source.
const DROP_SLOT: &str = "dropSlot";

impl Face for GoldenGate {
    const NAME: &'static str = "goldengate";
    const IS_ON_MAIN_LISTENER: bool = true;

    type Refusal = ErrorAnswer;

    fn routes() -> Router<Hall> {
        routes::routes()
    }

    fn route_name(template: &str) -> String {
        proxied::native(template)
    }

    fn query_parameters(route: &str, method: &Method) -> &'static [&'static str] {
        let is_stream = route.trim_end_matches('/').ends_with("/stream/{name}");
        match *method {
            Method::GET if is_stream => &[BEGIN, GROUP, MEMBER, SKIP, ACCESS_TOKEN],
            Method::GET if route.ends_with("/stream/{name}/records") => &[BEGIN, LIMIT, WAIT, ACCESS_TOKEN],
            Method::GET => &[ACCESS_TOKEN],
            Method::DELETE if route.ends_with("/extracts/{name}") => &[DROP_SLOT],
            _ => &[],
        }
    }

    /// Puts of rows, and commands to an extract, which only ask how it is doing.
    fn is_data_route(route: &str) -> bool {
        ["/services/v2/trails/{name}/transactions", "/services/v2/extracts/{name}/command"].contains(&route)
    }
}
