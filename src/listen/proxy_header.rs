//! The PROXY header at the begin of a trusted proxy's connection, read before anything else and not a byte further.

use std::io::{self, ErrorKind};

use tokio::io::AsyncReadExt;

use crate::codec::proxy_header::{
    HEAD_V2_BYTES, InvalidProxyHeader, LINE_V1_BYTES_MAX, ProxyHeader, SIGNATURE_V2, START_V1, version_1, version_2,
    version_2_rest,
};
use crate::limits;

/// Reads the header; its deadline is the caller's.
pub(super) async fn read(socket: &mut (impl AsyncReadExt + Unpin)) -> io::Result<ProxyHeader> {
    let mut start = START_V1;
    socket.read_exact(&mut start).await?;
    let header = if start == START_V1 {
        version_1(&rest_of_line(socket).await?)
    } else if SIGNATURE_V2.starts_with(&start) {
        let mut head = [0; HEAD_V2_BYTES];
        head[..start.len()].copy_from_slice(&start);
        socket.read_exact(&mut head[start.len()..]).await?;
        let length = version_2_rest(&head);
        if !head.starts_with(&SIGNATURE_V2) || length > limits::PROXY_HEADER_BYTES_MAX {
            return Err(invalid());
        }
        let mut rest = vec![0; length];
        socket.read_exact(&mut rest).await?;
        version_2(&head, &rest)
    } else {
        Err(InvalidProxyHeader)
    };
    header.map_err(|_| invalid())
}

/// The line without its end. Byte by byte: what follows it is for whoever reads the connection next.
async fn rest_of_line(socket: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Vec<u8>> {
    let mut line = START_V1.to_vec();
    while line.len() < LINE_V1_BYTES_MAX {
        line.push(socket.read_u8().await?);
        if line.ends_with(b"\r\n") {
            line.truncate(line.len() - 2);
            return Ok(line);
        }
    }
    Err(invalid())
}

fn invalid() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, InvalidProxyHeader)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_of(bytes: &[u8]) -> (io::Result<ProxyHeader>, Vec<u8>) {
        let mut socket = bytes;
        let header = read(&mut socket).await;
        (header, socket.to_vec())
    }

    #[tokio::test]
    async fn a_header_is_read_and_what_follows_stays() {
        let (header, rest) = read_of(b"PROXY TCP4 192.0.2.7 203.0.113.1 1 2\r\nGET /").await;
        assert_eq!(header.unwrap(), ProxyHeader::From("192.0.2.7:1".parse().unwrap()));
        assert_eq!(rest, b"GET /");
        let two = [SIGNATURE_V2.as_slice(), &[0x20, 0, 0, 1, 9], b"GET /"].concat();
        let (header, rest) = read_of(&two).await;
        assert_eq!((header.unwrap(), rest), (ProxyHeader::Itself, b"GET /".to_vec()));
    }

    #[tokio::test]
    async fn what_is_no_header_or_too_long_is_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_V1_BYTES_MAX));
        let huge = [SIGNATURE_V2.as_slice(), &[0x21, 0x11, 0xff, 0xff], &[0; 70_000]].concat();
        let other = [&SIGNATURE_V2[..11], b"X", &[0x20, 0, 0, 0]].concat();
        for bytes in [b"GET / HTTP/1.1\r\n\r\n", long.as_bytes(), &huge, &other] {
            assert_eq!(read_of(bytes).await.0.unwrap_err().kind(), ErrorKind::InvalidData);
        }
        assert_eq!(read_of(b"PROXY TCP4").await.0.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }
}
