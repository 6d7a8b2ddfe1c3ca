//! Frames of PostgreSQL's protocol over a socket, plain or TLS.
//!
//! Owns the two buffers and their caps. Leaves what the frames mean to `connection`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::socket::Socket;
use crate::capture::source::{CaptureError, Fault};
use crate::limits;

/// One message of the server: its kind and what follows the length.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) tag: u8,
    pub(super) body: Bytes,
}

/// The socket.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

/// A socket with its buffers.
#[derive(Debug)]
pub(super) struct Wire {
    transport: Transport,
    input: BytesMut,
    /// What waits to be written; whoever adds to it calls [`Wire::flush`].
    pub(super) output: BytesMut,
}

impl Wire {
    pub(super) fn new(transport: Transport) -> Self {
        Self { transport, input: BytesMut::new(), output: BytesMut::new() }
    }

    /// The next frame that is wholly there; no IO.
    pub(super) fn buffered(&mut self) -> Result<Option<Frame>, Fault> {
        let Some((header, _)) = self.input.split_first_chunk::<5>() else { return Ok(None) };
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        if !(4..=limits::SOURCE_MESSAGE_BYTES_MAX).contains(&length) {
            return Err(CaptureError::Malformed(format!("a message of {length} bytes")).into());
        }
        if self.input.len() < length + 1 {
            return Ok(None);
        }
        let tag = header[0];
        let mut frame = self.input.split_to(length + 1);
        frame.advance(5);
        Ok(Some(Frame { tag, body: frame.freeze() }))
    }

    /// Lets bytes gather: nothing wakes for them until the next [`Wire::fill`].
    pub(super) fn rest(&mut self) -> Result<(), Fault> {
        let socket = match &mut self.transport {
            Transport::Plain(socket) => socket,
            Transport::Tls(stream) => stream.get_mut().0,
        };
        Ok(socket.rest()?)
    }

    /// Waits for more bytes and says how many came. Dropping the future loses nothing.
    pub(super) async fn fill(&mut self) -> Result<usize, Fault> {
        if self.input.is_empty() && self.input.capacity() > 4 * limits::SOURCE_READ_BYTES {
            // A huge row is over; its buffer need not stay.
            self.input = BytesMut::new();
        }
        // Doubles while a large message comes in, whatever length it claims.
        self.input.reserve(limits::SOURCE_READ_BYTES.max(self.input.len()));
        match self.transport.read_buf(&mut self.input).await? {
            0 => Err(Fault::Passing("the source closed the connection".into())),
            bytes => Ok(bytes),
        }
    }

    /// Writes what waits.
    pub(super) async fn flush(&mut self) -> Result<(), Fault> {
        self.transport.write_all_buf(&mut self.output).await?;
        self.transport.flush().await?;
        Ok(())
    }

    /// The next frame, waited for.
    pub(super) async fn frame(&mut self) -> Result<Frame, Fault> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
