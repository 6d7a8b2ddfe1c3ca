//! The TCP connection to a source, and its rest: a walsender sends every row by itself, and a reader that is woken for each
//! spends more on waking than on the rows.
//!
//! Owns whether the runtime watches the socket. Leaves when to rest to `stream`: whoever reads or writes ends the rest.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A TCP connection.
#[derive(Debug)]
pub(super) struct Socket(State);

#[derive(Debug)]
enum State {
    Watched(TcpStream),
    /// Not registered with the runtime: what comes in gathers in the system's buffer and wakes nobody.
    Resting(std::net::TcpStream),
    /// The runtime gave it up, or did not take it back.
    Lost,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(State::Watched(stream))
    }

    /// Stops watching until the next read or write.
    pub(super) fn rest(&mut self) -> io::Result<()> {
        self.0 = match std::mem::replace(&mut self.0, State::Lost) {
            State::Watched(stream) => State::Resting(stream.into_std()?),
            other => other,
        };
        Ok(())
    }

    fn watched(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        if let State::Resting(_) = &self.0
            && let State::Resting(stream) = std::mem::replace(&mut self.0, State::Lost)
        {
            self.0 = State::Watched(TcpStream::from_std(stream)?);
        }
        match &mut self.0 {
            State::Watched(stream) => Ok(Pin::new(stream)),
            State::Resting(_) | State::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().watched()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().watched()?.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().watched()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().watched()?.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_comes_in_during_a_rest_is_read_after_it_and_writing_ends_a_rest_too() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut near = Socket::new(TcpStream::connect(address).await.unwrap());
        let (mut far, _) = listener.accept().await.unwrap();
        for round in 0..3_u8 {
            near.rest().unwrap();
            near.rest().unwrap();
            far.write_all(&[round, 7]).await.unwrap();
            assert!(matches!(near.0, State::Resting(_)));
            let mut read = [0; 2];
            near.read_exact(&mut read).await.unwrap();
            assert_eq!(read, [round, 7]);
            near.rest().unwrap();
            near.write_all(&[round]).await.unwrap();
            assert_eq!(far.read_u8().await.unwrap(), round);
        }
        near.rest().unwrap();
        drop(far);
        assert_eq!(near.read(&mut [0; 2]).await.unwrap(), 0);
    }
}
