//! What the server is told: how far it may forget.
//!
//! Owns the first rule of capture: **the confirmed position is read off the trail's durable mark and nowhere else, and is
//! never beyond what this session has received**: a server that went back must not be told to forget what it wrote since.

use std::future::Future;

use tokio::sync::watch;
use tokio::time::{Duration, Instant};

use super::connection::Connection;
use super::lsn::Lsn;
use crate::capture::source::{CaptureError, Fault};
use crate::limits;
use crate::record::Timestamp;
use crate::trail::{Appender, DurableMark};

/// Microseconds between 1970-01-01 and PostgreSQL's own epoch, 2000-01-01.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// What was heard and what is durable.
#[derive(Debug)]
pub(super) struct Feedback {
    durable: watch::Receiver<DurableMark>,
    /// The end of what the server has sent.
    received: Lsn,
    /// Everything before it has come in this session or was confirmed before it, in whole transactions.
    complete: Lsn,
    /// The server's clock when it last sent something.
    server_time: Timestamp,
    last_heard: Instant,
    /// What was last confirmed.
    confirmed: Lsn,
    /// Confirmed without being durable: tests only, see `confirm_early`.
    early: Lsn,
    /// Until it is known what a warning means, nothing more is confirmed.
    held: bool,
}

impl Feedback {
    /// Of a session with a slot that was confirmed up to `confirmed`.
    pub(super) fn new(durable: watch::Receiver<DurableMark>, confirmed: Lsn) -> Self {
        Self {
            durable,
            received: confirmed,
            complete: if super::trusts_source() { Lsn(u64::MAX) } else { confirmed },
            server_time: Timestamp::from_micros(POSTGRES_EPOCH_MICROS),
            last_heard: Instant::now(),
            confirmed: Lsn(0),
            early: Lsn(0),
            held: false,
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

    /// Every transaction that ends before `lsn` has come.
    pub(super) fn complete(&mut self, lsn: Lsn) {
        self.complete = self.complete.max(lsn);
    }

    /// Confirms nothing more, or goes on confirming.
    pub(super) fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Breaks the first rule, for tests that must see it lose.
    pub(super) fn confirm_without_durability(&mut self, lsn: Lsn) {
        self.early = self.early.max(lsn);
    }

    /// The end of what the server has sent, its clock, and what it was told.
    pub(super) fn heard_so_far(&self) -> (Lsn, Timestamp, Lsn) {
        (self.received, self.server_time, self.confirmed)
    }

    /// When the server was last heard.
    pub(super) fn last_heard(&self) -> Instant {
        self.last_heard
    }

    /// What the trail holds durably; nothing confirms anything beyond it.
    pub(super) fn durable(&self) -> Lsn {
        lsn_of(&self.durable.borrow())
    }

    /// Waits until the durable mark moves.
    pub(super) async fn durable_moved(&mut self) -> Result<(), Fault> {
        self.durable.changed().await.map_err(|_| CaptureError::TrailStopped.into())
    }

    /// Whether the server has been silent for longer than a live one is.
    pub(super) fn is_dead(&self) -> bool {
        self.last_heard.elapsed() > Duration::from_secs(limits::SOURCE_SILENCE_SECONDS_MAX)
    }

    /// Sends a status update. A server that has been silent for a while is asked for a sign of life.
    pub(super) async fn send(&mut self, connection: &mut Connection) -> Result<(), Fault> {
        let reached = self.durable().min(self.complete).max(self.early);
        let confirmed = if self.held { self.confirmed } else { reached };
        let ask = self.last_heard.elapsed() > Duration::from_secs(limits::SOURCE_SILENCE_SECONDS_MAX / 2);
        let clock = self.server_time.micros().saturating_sub(POSTGRES_EPOCH_MICROS);
        connection.send_copy_data(&status_update(self.received.max(confirmed), confirmed, clock, ask)).await?;
        self.confirmed = confirmed;
        Ok(())
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

fn lsn_of(mark: &DurableMark) -> Lsn {
    mark.source.as_ref().and_then(Lsn::of_position).unwrap_or_default()
}

/// Waits until the trail holds `position` durably.
pub(super) async fn wait_durable(appender: &Appender, position: Lsn) -> Result<(), Fault> {
    let mut durable = appender.durable();
    tokio::select! {
        fault = trail_stopped(appender) => Err(fault),
        reached = durable.wait_for(|mark| lsn_of(mark) >= position) => {
            reached.map(drop).map_err(|_| CaptureError::TrailStopped.into())
        }
    }
}

/// Returns when the trail takes nothing more, and why.
pub(super) fn trail_stopped(appender: &Appender) -> impl Future<Output = Fault> + use<> {
    let durability = appender.durability();
    async move {
        // A commit number that no trail reaches: only the writer's end ends the wait.
        match durability.wait(u64::MAX).await {
            Ok(()) => CaptureError::TrailStopped.into(),
            Err(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
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
            feedback.complete(Lsn(complete));
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
