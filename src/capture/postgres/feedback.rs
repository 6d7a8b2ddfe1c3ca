//! What the server hears from us: how far it may forget, and that we live.
//!
//! Owns the status update; how far that is, is `capture::confirmation`'s rule.

use tokio::sync::watch;
use tokio::time::{Duration, Instant};

use super::connection::Connection;
use super::lsn::Lsn;
use crate::capture::confirmation::Confirmation;
use crate::capture::error::Fault;
use crate::limits;
use crate::record::Timestamp;
use crate::trail::DurableMark;

/// Microseconds between 1970-01-01 and PostgreSQL's own epoch, 2000-01-01.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// What was heard, and what is confirmed.
#[derive(Debug)]
pub(super) struct Feedback {
    pub(super) confirmation: Confirmation<Lsn>,
    /// The end of what the server has sent.
    received: Lsn,
    /// The server's clock when it last sent something.
    server_time: Timestamp,
    last_heard: Instant,
}

impl Feedback {
    /// Of a session with a slot that was confirmed up to `confirmed`.
    pub(super) fn new(durable: watch::Receiver<DurableMark>, confirmed: Lsn) -> Self {
        Self {
            confirmation: Confirmation::new(durable, confirmed),
            received: confirmed,
            server_time: Timestamp::from_micros(POSTGRES_EPOCH_MICROS),
            last_heard: Instant::now(),
        }
    }

    /// Something came.
    pub(super) fn heard(&mut self) {
        self.last_heard = Instant::now();
    }

    /// The server has sent everything before `lsn`, and its clock said `sent`.
    pub(super) fn received(&mut self, lsn: Lsn, sent: Timestamp) {
        self.received = self.received.max(lsn);
        self.server_time = sent;
    }

    /// The end of what the server has sent, its clock, and what it was told.
    pub(super) fn heard_so_far(&self) -> (Lsn, Timestamp, Lsn) {
        (self.received, self.server_time, *self.confirmation.confirmed())
    }

    /// When the server was last heard.
    pub(super) fn last_heard(&self) -> Instant {
        self.last_heard
    }

    /// Whether the server has been silent for longer than a live one is.
    pub(super) fn is_dead(&self) -> bool {
        self.last_heard.elapsed() > Duration::from_secs(limits::SOURCE_SILENCE_SECONDS_MAX)
    }

    /// Sends a status update. A server that has been silent for a while is asked for a sign of life.
    pub(super) async fn send(&mut self, connection: &mut Connection) -> Result<(), Fault> {
        let confirmed = self.confirmation.confirm();
        let ask = self.last_heard.elapsed() > Duration::from_secs(limits::SOURCE_SILENCE_SECONDS_MAX / 2);
        let clock = self.server_time.micros().saturating_sub(POSTGRES_EPOCH_MICROS);
        connection.send_copy_data(&status_update(self.received.max(confirmed), confirmed, clock, ask)).await
    }
}

/// A standby status update: written, flushed, applied, clock, whether to answer.
fn status_update(received: Lsn, confirmed: Lsn, clock_micros: i64, ask: bool) -> [u8; 34] {
    let mut body = [0; 34];
    body[0] = b'r';
    body[1..9].copy_from_slice(&received.0.to_be_bytes());
    body[9..17].copy_from_slice(&confirmed.0.to_be_bytes());
    body[17..25].copy_from_slice(&confirmed.0.to_be_bytes());
    body[25..33].copy_from_slice(&clock_micros.to_be_bytes());
    body[33] = u8::from(ask);
    body
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::capture::coordinate::Coordinate;
    use crate::capture::postgres::socket::Socket;
    use crate::capture::postgres::wire::{Transport, Wire};
    use crate::codec::byte_text::Charset;

    #[tokio::test]
    async fn nothing_is_confirmed_beyond_what_this_session_has_received() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut connection =
            Connection { wire: Wire::new(Transport::Plain(Socket::new(near))), charset: Charset::default() };
        let mut far = listener.accept().await.unwrap().0;
        let mark = DurableMark { source: Some(Lsn(100).to_position()), ..DurableMark::default() };
        let (durable, watched) = watch::channel(mark);
        let mut feedback = Feedback::new(watched, Lsn(50));
        for (complete, expected) in [(0, 50), (80, 80), (70, 80), (200, 100)] {
            feedback.confirmation.complete(&Lsn(complete));
            feedback.send(&mut connection).await.unwrap();
            let mut update = [0; 39];
            far.read_exact(&mut update).await.unwrap();
            let confirmed = u64::from_be_bytes(update[14..22].try_into().unwrap());
            assert_eq!((confirmed, feedback.heard_so_far().2), (expected, Lsn(expected)), "{complete}");
        }
        drop(durable);
    }

    #[test]
    fn a_status_update_confirms_only_what_it_is_given() {
        let body = status_update(Lsn(9), Lsn(7), 5, true);
        let number = |at: usize| u64::from_be_bytes(body[at..at + 8].try_into().unwrap());
        assert_eq!((body[0], number(1), number(9), number(17), number(25), body[33]), (b'r', 9, 7, 7, 5, 1));
    }
}
