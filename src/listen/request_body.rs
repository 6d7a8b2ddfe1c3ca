//! A request's body with a deadline for the whole of it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Duration, Instant, Sleep};

use crate::access::{Limit, LimitHits};

/// The body did not arrive in time, or broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the request's body took longer than {} seconds", .0.as_secs())]
    TooLate(Duration),
    #[error("the request's body broke off")]
    Broken(#[source] hyper::Error),
}

/// An incoming body; the time counts from the end of the header, and no timer is made for a body that is
/// already there.
pub(super) struct RequestBody {
    incoming: Incoming,
    allowed: Duration,
    until: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    hits: Arc<LimitHits>,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, allowed: Duration, hits: Arc<LimitHits>) -> Self {
        Self { incoming, allowed, until: Instant::now() + allowed, timer: None, hits }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(context) {
            return Poll::Ready(frame.map(|result| result.map_err(BodyError::Broken)));
        }
        let (until, allowed) = (self.until, self.allowed);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if timer.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.hits.count(Limit::BodyTime);
        Poll::Ready(Some(Err(BodyError::TooLate(allowed))))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
