//! A socket whose peer must take what is written to it: the deadline of plain HTTP answers, and the end of a connection.
//!
//! Reading has deadlines of its own in the HTTP library and in [`super::request_body`].

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Duration, Sleep, sleep, sleep_until};

use super::request_body::Unread;
use super::slowness::Slowness;
use crate::access::{Limit, LimitHits};
use crate::limits;

/// While output waits, [`limits::SLOW_CLIENT_BYTES_MIN`] must be taken in each `allowed`; writing fails otherwise.
#[derive(Debug)]
pub(super) struct TimedSocket<S> {
    socket: S,
    allowed: Duration,
    slowness: Slowness,
    timer: Option<Pin<Box<Sleep>>>,
    hits: Arc<LimitHits>,
    unread: Arc<Unread>,
    /// Until when, and how many bytes, are read and thrown away before the connection is closed.
    linger: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S> TimedSocket<S> {
    pub(super) fn new(socket: S, allowed: Duration, hits: Arc<LimitHits>, unread: Arc<Unread>) -> Self {
        Self { socket, allowed, slowness: Slowness::default(), timer: None, hits, unread, linger: None }
    }

    pub(super) fn into_inner(self) -> S {
        self.socket
    }

    /// Passes on how a write went, unless it has waited too long.
    fn judge<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        bytes: impl Fn(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        match &written {
            Poll::Ready(Ok(done)) => {
                self.slowness.took(bytes(done) as u64, false, limits::SLOW_CLIENT_BYTES_MIN);
                self.timer = None;
                return written;
            }
            Poll::Ready(Err(_)) => return written,
            Poll::Pending => self.slowness.pending(),
        }
        let Some(until) = self.slowness.deadline(self.allowed) else { return written };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.hits.count(Limit::AnswerTime);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not take the answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TimedSocket<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.judge(context, written, |count| *count)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.judge(context, written, |count| *count)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(context);
        self.judge(context, flushed, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            let shut = Pin::new(&mut self.socket).poll_shutdown(context);
            let shut = self.judge(context, shut, |()| 0);
            if !matches!(shut, Poll::Ready(Ok(()))) || !self.unread.is_left() {
                return shut;
            }
            let seconds = Duration::from_secs(limits::LINGER_SECONDS_MAX);
            self.linger = Some((Box::pin(sleep(seconds)), limits::LINGER_BYTES_MAX));
        }
        self.poll_linger(context)
    }
}

impl<S: AsyncRead + Unpin> TimedSocket<S> {
    /// Reads what still comes until the peer ends too. Closing a socket with bytes unread resets the connection, and the peer
    /// then loses the answer that says why its body was not read.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, linger: Some((timer, left)), .. } = self else { return Poll::Ready(Ok(())) };
        let mut bytes = [0; limits::LINGER_READ_BYTES];
        while *left > 0 && timer.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut *socket).poll_read(context, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    *left = left.saturating_sub(buffer.filled().len());
                }
                Poll::Ready(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
