//! A long body in pieces: whoever serves it gives others their turn between two of them, however fast its reader is, and holds
//! no more than one of them beside the bytes that all who are answered share.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::limits;

/// What is left of a body.
#[derive(Debug)]
pub struct Pieces {
    rest: Bytes,
    /// Whether others are to have their turn first.
    after_piece: bool,
}

impl From<Bytes> for Pieces {
    fn from(bytes: Bytes) -> Self {
        Self { rest: bytes, after_piece: false }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        if std::mem::replace(&mut self.after_piece, false) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.after_piece = true;
        let length = self.rest.len().min(limits::ANSWER_PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_body_comes_whole_in_shared_pieces_with_a_pause_after_each() {
        let bytes = Bytes::from(vec![7; 2 * limits::ANSWER_PIECE_BYTES + 1]);
        let mut pieces = Pieces::from(bytes.clone());
        assert_eq!(pieces.size_hint().exact(), Some(bytes.len() as u64));
        let mut context = Context::from_waker(Waker::noop());
        let (mut at, mut pauses) = (0, 0);
        loop {
            match Pin::new(&mut pieces).poll_frame(&mut context) {
                Poll::Pending => pauses += 1,
                Poll::Ready(None) => break,
                Poll::Ready(Some(Ok(frame))) => {
                    let piece = frame.into_data().unwrap();
                    assert_eq!(piece.as_ptr(), bytes[at..].as_ptr(), "not copied");
                    at += piece.len();
                }
            }
        }
        assert_eq!((at, pauses, pieces.is_end_stream()), (bytes.len(), 2, true));
    }
}
