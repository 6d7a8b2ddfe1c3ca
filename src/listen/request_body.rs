//! A request's body with a deadline for the whole of it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Duration, Instant, Sleep};

use crate::access::{Limit, LimitHits};

/// A request's body that cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It did not arrive in time.
    #[error("the request's body took longer than {} seconds", .0.as_secs())]
    TooLate(Duration),
    /// It ended before its length, or its chunks are not as they should be.
    #[error("the request's body broke off, or its chunked coding is malformed")]
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
    unread: Arc<Unread>,
    ended: bool,
}

/// Whether a connection has a request whose body was not read to its end.
#[derive(Debug, Default)]
pub(super) struct Unread(AtomicBool);

impl Unread {
    pub(super) fn is_left(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, allowed: Duration, hits: Arc<LimitHits>, unread: Arc<Unread>) -> Self {
        let ended = incoming.is_end_stream();
        Self { incoming, allowed, until: Instant::now() + allowed, timer: None, hits, unread, ended }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.ended {
            self.unread.0.store(true, Ordering::Relaxed);
        }
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
            self.ended |= frame.is_none();
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
