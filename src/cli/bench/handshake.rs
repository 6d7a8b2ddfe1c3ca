//! The opening of a WebSocket on a bare channel: what follows is read by hand.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

use crate::client::connection::{Channel, open};
use crate::client::{ClientError, Refusal, ServerAddress};
use crate::limits;

/// An upgraded connection, and what came behind the answer.
pub(super) struct Upgraded {
    pub(super) channel: Box<dyn Channel>,
    pub(super) first: Vec<u8>,
}

/// Connects and upgrades. `target` is the path with its query, percent-encoded.
pub(super) async fn upgrade(address: &ServerAddress, target: &str) -> Result<Upgraded, ClientError> {
    let patience = Duration::from_secs(limits::CLIENT_CONNECT_SECONDS_MAX + limits::CLIENT_ANSWER_SECONDS_MAX);
    timeout(patience, upgrade_unlimited(address, target))
        .await
        .map_err(|_| ClientError::Unreachable(format!("no answer from {address} within {patience:?}")))?
}

async fn upgrade_unlimited(address: &ServerAddress, target: &str) -> Result<Upgraded, ClientError> {
    let broken = |error: std::io::Error| ClientError::Unreachable(format!("connection to {address} lost: {error}"));
    let mut channel = open(address).await?;
    let key = generate_key();
    let authorization = address.credentials.as_ref().map(|who| format!("Authorization: {}\r\n", who.basic()));
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{}\r\n",
        address.authority(),
        authorization.unwrap_or_default(),
    );
    channel.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut answer = Vec::with_capacity(1_024);
    let head_bytes = loop {
        if let Some(at) = memchr::memmem::find(&answer, b"\r\n\r\n") {
            break at + 4;
        }
        read_some(&mut channel, &mut answer).await.map_err(broken)?;
    };
    let head = String::from_utf8_lossy(&answer[..head_bytes]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok()).unwrap_or_default();
    if status == 101 {
        if header(&head, "sec-websocket-accept") != Some(&derive_accept_key(key.as_bytes())) {
            return Err(ClientError::Garbled(format!("{address} answered another handshake than ours")));
        }
        return Ok(Upgraded { channel, first: answer.split_off(head_bytes) });
    }
    let body_bytes = header(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0_usize);
    while answer.len() - head_bytes < body_bytes {
        read_some(&mut channel, &mut answer).await.map_err(broken)?;
    }
    Err(ClientError::Refused(Refusal::from_answer(status, &answer[head_bytes..])))
}

async fn read_some(channel: &mut Box<dyn Channel>, answer: &mut Vec<u8>) -> std::io::Result<()> {
    if answer.len() > limits::BENCH_HANDSHAKE_BYTES_MAX {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "its answer does not end"));
    }
    match channel.read_buf(answer).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}
