//! What is done around each route of a face, and in which order: a fault of the program is answered, a change is audited, an
//! answer counted, a page of another site turned away, an unread answer bounded, a slip in the query refused.

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};

use super::hall::{Face, Hall};
use super::refusal::Refusal;
use super::{audit, count, origin_guard, query, unread};
use crate::service::refusal::Fact;
use crate::tasks::{self, Task};

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
