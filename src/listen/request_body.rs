//! A request's body with a deadline for the whole of it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Duration, Instant, Sleep};

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
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, allowed: Duration) -> Self {
        Self { incoming, allowed, until: Instant::now() + allowed, timer: None }
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
        timer.as_mut().poll(context).map(|()| Some(Err(BodyError::TooLate(allowed))))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
