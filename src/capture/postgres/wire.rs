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
use crate::capture::error::{CaptureError, Fault};
use crate::limits;

/// Tag and length.
const HEADER_BYTES: usize = 1 + LENGTH_BYTES;
const LENGTH_BYTES: usize = 4;

/// One message of the server: its kind and what follows the length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) tag: u8,
    pub(super) body: &'a [u8],
}

/// Messages that are wholly there, one after the other. Taken out of the buffer together: counting who holds which bytes of
/// it would cost more for each than reading it.
#[derive(Debug)]
pub(super) struct Frames {
    bytes: Bytes,
    /// Where the next one starts.
    at: usize,
}

/// A frame of which only the start is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unfinished<'a> {
    pub(super) tag: u8,
    /// What is there of its body.
    pub(super) there: &'a [u8],
    /// Bytes of its body in all.
    pub(super) whole: usize,
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
    /// Bytes of a frame that nobody wants which are still to come.
    unwanted: usize,
    /// What waits to be written; whoever adds to it calls [`Wire::flush`].
    pub(super) output: BytesMut,
}

impl Wire {
    pub(super) fn new(transport: Transport) -> Self {
        Self { transport, input: BytesMut::new(), unwanted: 0, output: BytesMut::new() }
    }

    /// The frames that are wholly there; no IO.
    pub(super) fn take_whole(&mut self) -> Result<Frames, Fault> {
        // What is wrong behind the first is told when the others are done.
        let Some(mut end) = frame_length(&self.input)? else { return Ok(Frames { bytes: Bytes::new(), at: 0 }) };
        while let Ok(Some(length)) = frame_length(&self.input[end..]) {
            end += length;
        }
        Ok(Frames { bytes: self.input.split_to(end).freeze(), at: 0 })
    }

    /// The frame that is coming in, when its header is there and more of it is missing.
    pub(super) fn unfinished(&self) -> Option<Unfinished<'_>> {
        let (header, there) = self.input.split_first_chunk::<HEADER_BYTES>()?;
        let whole = claimed_length(header).ok()? - LENGTH_BYTES;
        (there.len() < whole).then_some(Unfinished { tag: header[0], there, whole })
    }

    /// Drops the frame that is coming in, what is there of it and, as [`Wire::take_unwanted`], what is not yet.
    pub(super) fn pass_over(&mut self) {
        let Some(Unfinished { there, whole, .. }) = self.unfinished() else { return };
        self.unwanted = whole - there.len();
        self.input.clear();
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
        // Doubles while a large message comes in, whatever length it claims, up to that length.
        let missing = self.unfinished().map_or(0, |frame| frame.whole - frame.there.len());
        self.input.reserve(limits::SOURCE_READ_BYTES.max(self.input.len().min(missing)));
        let bytes = self.transport.read_buf(&mut self.input).await?;
        if bytes == 0 {
            return Err(Fault::Passing("the source closed the connection".into()));
        }
        Ok(bytes)
    }

    /// Takes out what is there of a frame that nobody wants. After [`Wire::pass_over`] nothing else may be taken before it.
    pub(super) fn take_unwanted(&mut self) -> BytesMut {
        let there = self.unwanted.min(self.input.len());
        self.unwanted -= there;
        self.input.split_to(there)
    }

    /// Writes what waits.
    pub(super) async fn flush(&mut self) -> Result<(), Fault> {
        self.transport.write_all_buf(&mut self.output).await?;
        self.transport.flush().await?;
        Ok(())
    }

    /// The next frame, waited for: its kind and body.
    pub(super) async fn frame(&mut self) -> Result<(u8, Bytes), Fault> {
        loop {
            if let Some(length) = frame_length(&self.input)? {
                let mut frame = self.input.split_to(length).freeze();
                let tag = frame.get_u8();
                return Ok((tag, frame.split_off(4)));
            }
            self.fill().await?;
        }
    }
}

impl Frames {
    /// The next one.
    pub(super) fn next(&mut self) -> Option<Frame<'_>> {
        let rest = self.bytes.get(self.at..)?;
        let length = frame_length(rest).ok()??;
        self.at += length;
        Some(Frame { tag: rest[0], body: &rest[5..length] })
    }
}

/// How long the frame at the start of `bytes` is, when it is wholly there.
fn frame_length(bytes: &[u8]) -> Result<Option<usize>, Fault> {
    let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let length = claimed_length(header)?;
    Ok((bytes.len() > length).then_some(length + 1))
}

/// What a header says of its frame's length, which counts itself and not the tag.
fn claimed_length(header: &[u8; HEADER_BYTES]) -> Result<usize, Fault> {
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    if !(LENGTH_BYTES..=limits::SOURCE_MESSAGE_BYTES_MAX).contains(&length) {
        return Err(CaptureError::Malformed(format!("a message of {length} bytes")).into());
    }
    Ok(length)
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

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> (Wire, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Wire::new(Transport::Plain(Socket::new(near))), listener.accept().await.unwrap().0)
    }

    fn bodies(mut frames: Frames) -> Vec<(u8, Vec<u8>)> {
        std::iter::from_fn(|| frames.next().map(|frame| (frame.tag, frame.body.to_vec()))).collect()
    }

    #[tokio::test]
    async fn frames_come_out_whole_wherever_the_bytes_are_cut() {
        let bytes = b"a\0\0\0\x04b\0\0\0\x07xyzc\0\0\0\x05w";
        let expected = [(b'a', b"".to_vec()), (b'b', b"xyz".to_vec()), (b'c', b"w".to_vec())];
        let (mut wire, mut far) = pair().await;
        for cut in 0..=bytes.len() {
            let mut found = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]].into_iter().filter(|part| !part.is_empty()) {
                far.write_all(part).await.unwrap();
                let mut read = 0;
                while read < part.len() {
                    read += wire.fill().await.unwrap();
                }
                found.extend(bodies(wire.take_whole().unwrap()));
            }
            assert_eq!(found, expected, "{cut}");
            far.write_all(bytes).await.unwrap();
            for (tag, body) in &expected {
                assert_eq!(wire.frame().await.unwrap(), (*tag, Bytes::copy_from_slice(body)));
            }
        }
    }

    #[tokio::test]
    async fn a_frame_that_nobody_wants_is_passed_over_without_being_held() {
        const LENGTH: usize = 3 << 20;
        let (mut wire, mut far) = pair().await;
        let sender = tokio::spawn(async move {
            far.write_all(b"a\0\0\0\x05wb").await.unwrap();
            far.write_all(&(LENGTH as u32 + 4).to_be_bytes()).await.unwrap();
            far.write_all(&vec![b'x'; LENGTH]).await.unwrap();
            far.write_all(b"c\0\0\0\x05z").await.unwrap();
            far
        });
        let (mut found, mut unwanted) = (Vec::new(), 0);
        while found.len() < 2 {
            wire.fill().await.unwrap();
            unwanted += wire.take_unwanted().len();
            found.extend(bodies(wire.take_whole().unwrap()));
            if let Some(Unfinished { tag: b'b', there, whole }) = wire.unfinished() {
                assert_eq!((whole, there.len() < whole), (LENGTH, true));
                unwanted += there.len();
                wire.pass_over();
            }
            assert!(wire.input.capacity() <= 4 * limits::SOURCE_READ_BYTES, "{}", wire.input.capacity());
        }
        assert_eq!((found, unwanted), (vec![(b'a', b"w".to_vec()), (b'c', b"z".to_vec())], LENGTH));
        drop(sender.await.unwrap());
    }

    #[tokio::test]
    async fn a_length_that_no_frame_has_is_told_when_the_frames_before_it_are_taken() {
        let (mut wire, mut far) = pair().await;
        let bytes = b"a\0\0\0\x05wb\0\0\0\x03";
        far.write_all(bytes).await.unwrap();
        let mut read = 0;
        while read < bytes.len() {
            read += wire.fill().await.unwrap();
        }
        assert_eq!(bodies(wire.take_whole().unwrap()), [(b'a', b"w".to_vec())]);
        let error = wire.take_whole().unwrap_err().to_string();
        assert!(error.contains("3 bytes"), "{error}");
    }
}
