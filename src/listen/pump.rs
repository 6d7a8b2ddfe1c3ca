//! Runs one upgraded socket: messages out, control frames both ways, liveness, slowness, close.
//!
//! Generic over the byte stream, so that TLS fits below it. What the messages are is the [`Feed`]'s to know.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Duration, Instant};

use super::client_messages::ClientMessages;
use super::feed::{Fed, Feed};
use super::inbound::{Inbound, Verdict};
use super::outbox::Outbox;
use super::send_queue::SendQueue;
use super::shutdown::stopped;
use super::slowness::Slowness;
use crate::codec::close_code::CloseCode;
use crate::codec::ws_frame::{close_frame, ping_frame};
use crate::limits;

/// The times of one pump.
#[derive(Debug, Clone, Copy)]
pub struct PumpTimings {
    /// Silence after which a ping is sent.
    pub ping: Duration,
    /// Unanswered pings after which the socket is closed as [silent](CloseCode::SILENT).
    pub pings_missed_max: u32,
    /// Time with output pending in which [`PumpTimings::slow_bytes_min`] must be taken, or else the socket is closed as
    /// [slow](CloseCode::SLOW).
    pub slow: Duration,
    /// The same while memory for messages is short; everything that was given must then be taken in
    /// [`limits::CROWDED_HANDOVER_FACTOR`] times this time, from when it became short or was given.
    pub slow_crowded: Duration,
    /// See [`PumpTimings::slow`].
    pub slow_bytes_min: u64,
    /// Time for a closing handshake.
    pub close: Duration,
    /// Idle time after which the kernel probes the peer.
    pub tcp_keep_alive: Duration,
}

impl Default for PumpTimings {
    fn default() -> Self {
        Self {
            ping: Duration::from_secs(limits::PING_SECONDS),
            pings_missed_max: limits::PINGS_MISSED_MAX,
            slow: Duration::from_secs(limits::SLOW_CLIENT_SECONDS),
            slow_crowded: Duration::from_secs(limits::SLOW_CLIENT_CROWDED_SECONDS),
            slow_bytes_min: limits::SLOW_CLIENT_BYTES_MIN,
            close: Duration::from_secs(limits::CLOSE_SECONDS_MAX),
            tcp_keep_alive: Duration::from_secs(limits::TCP_KEEP_ALIVE_SECONDS_DEFAULT),
        }
    }
}

/// Why a pump ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The client closed.
    ClientClosed {
        /// The code that it gave; [`CloseCode::NO_CODE`] if it gave none.
        code: CloseCode,
    },
    /// The connection broke without a close.
    Disconnected,
    /// The feed ended, with this close code.
    FeedEnded {
        /// The close code.
        code: CloseCode,
    },
    /// The client answered no ping.
    Silent,
    /// The client took too little for too long.
    Slow,
    /// The server is going away.
    ShuttingDown,
    /// The client broke the protocol, with this close code.
    Protocol {
        /// Which breach it was.
        code: CloseCode,
    },
}

impl EndReason {
    /// The close code that the client got, or would have: [`CloseCode::BROKEN`] stands for a connection that broke,
    /// [`CloseCode::NORMAL`] for any close of its own, whatever its code.
    pub fn close_code(self) -> CloseCode {
        match self {
            Self::ClientClosed { .. } => CloseCode::NORMAL,
            Self::Disconnected => CloseCode::BROKEN,
            Self::FeedEnded { code } | Self::Protocol { code } => code,
            Self::Silent => CloseCode::SILENT,
            Self::Slow => CloseCode::SLOW,
            Self::ShuttingDown => CloseCode::GOING_AWAY,
        }
    }

    /// Whether the client left because a message was larger than it takes.
    pub fn says_message_too_big(self) -> bool {
        self == Self::ClientClosed { code: CloseCode::MESSAGE_TOO_BIG }
    }
}

/// What a pump did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PumpEnd {
    /// Why it ended.
    pub reason: EndReason,
    /// Bytes of messages that the socket took, frame headers included.
    pub bytes_sent: u64,
}

/// Runs a socket to its end. `early` holds bytes that arrived behind the upgrade request; `shutdown` turns true (or its
/// sender goes away) when the server stops; `messages` is what all clients of the server share.
pub(super) fn run<S, F>(
    socket: S,
    early: Bytes,
    mut feed: F,
    mut shutdown: watch::Receiver<bool>,
    messages: Arc<ClientMessages>,
    timings: PumpTimings,
) -> impl Future<Output = PumpEnd> + Send
where
    S: AsyncRead + AsyncWrite + SendQueue + Unpin + Send,
    F: Feed,
{
    let mut pump = Pump::new(socket, Inbound::new(feed.inbox(), messages), timings);
    let mut memory_short = feed.memory_short();
    pump.received(&early);
    // Even empty it keeps the HTTP layer's buffer of 8 KiB, for as long as the session lives.
    drop(early);
    // Not an `async fn`, which would keep its arguments beside what it makes of them: an idle socket is little else.
    async move {
        loop {
            if let Some(reason) = pump.over {
                return PumpEnd { reason, bytes_sent: pump.bytes_sent };
            }
            let holds = pump.closing.is_none() && pump.outbox.has_data();
            pump.crowd(holds && memory_short.as_ref().is_some_and(|short| *short.borrow()));
            // A client that takes what it is given comes to the next look at its rights in no time.
            let blocked = pump.is_blocked();
            let deadline = pump.deadline();
            let (open, wants_more) = (pump.closing.is_none(), pump.wants_more());
            let fed = async { if wants_more { feed.next().await } else { feed.cut_short().await } };
            tokio::select! {
                event = pump.socket_event() => pump.happened(event),
                fed = fed, if open && (wants_more || blocked) => pump.fed(fed),
                () = tokio::time::sleep_until(deadline) => pump.time_passed(),
                () = changed(&mut memory_short), if holds => {}
                () = stopped(&mut shutdown), if open => pump.shut_down(feed.farewell()),
            }
        }
    }
}

/// Waits until memory has become short, or is not so any more.
async fn changed(memory_short: &mut Option<watch::Receiver<bool>>) {
    let Some(receiver) = memory_short else { return std::future::pending().await };
    if receiver.changed().await.is_err() {
        *memory_short = None;
    }
}

/// What the socket did.
enum Event {
    /// Bytes came and have been dealt with; they live on the stack only, so that an idle socket holds no buffer.
    Received,
    Wrote(usize),
    WriteSideShut,
    Gone,
}

/// The way to the end, once it has begun.
#[derive(Debug)]
struct Closing {
    reason: EndReason,
    until: Instant,
    /// Both close frames have passed, or the client cannot be understood any more: nothing is read but the end.
    done_reading: bool,
    /// Our side of the stream is shut; what is left is to wait for the client's end, so that it never sees a reset.
    write_side_shut: bool,
}

struct Pump<S> {
    socket: S,
    inbound: Inbound,
    outbox: Outbox,
    timings: PumpTimings,
    closing: Option<Closing>,
    over: Option<EndReason>,
    bytes_sent: u64,
    needs_flush: bool,
    last_life: Instant,
    last_ping: Instant,
    pings_unanswered: u32,
    slowness: Slowness,
    /// Since when messages have been waiting here without a moment in which none did.
    given_since: Option<Instant>,
    /// Since when the client holds memory for messages and that is short.
    crowded_since: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite + SendQueue + Unpin> Pump<S> {
    fn new(socket: S, inbound: Inbound, timings: PumpTimings) -> Self {
        let now = Instant::now();
        Self {
            socket,
            inbound,
            outbox: Outbox::default(),
            timings,
            closing: None,
            over: None,
            bytes_sent: 0,
            needs_flush: false,
            last_life: now,
            last_ping: now,
            pings_unanswered: 0,
            slowness: Slowness::default(),
            given_since: None,
            crowded_since: None,
        }
    }

    fn wants_more(&self) -> bool {
        self.closing.is_none() && !self.outbox.has_data()
    }

    async fn socket_event(&mut self) -> Event {
        poll_fn(|context| self.poll_socket(context)).await
    }

    /// Reads first: a socket that always takes more must not keep us from hearing pings. A client that floods us
    /// hinders only itself.
    fn poll_socket(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        let mut bytes = [0; limits::CLIENT_READ_BYTES];
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(&mut self.socket).poll_read(context, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Poll::Ready(Event::Gone),
            Poll::Ready(Ok(())) => {
                self.received(buffer.filled());
                return Poll::Ready(Event::Received);
            }
            Poll::Ready(Err(_)) => return Poll::Ready(Event::Gone),
            Poll::Pending => {}
        }
        self.poll_output(context).map(|result| result.unwrap_or(Event::Gone))
    }

    fn poll_output(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Event>> {
        let mut socket = Pin::new(&mut self.socket);
        if !self.outbox.is_empty() {
            let (slices, count) = self.outbox.slices();
            let written = ready!(socket.poll_write_vectored(context, &slices[..count]))?;
            return Poll::Ready(if written == 0 {
                Err(io::ErrorKind::WriteZero.into())
            } else {
                Ok(Event::Wrote(written))
            });
        }
        if self.needs_flush {
            ready!(socket.as_mut().poll_flush(context))?;
            self.needs_flush = false;
        }
        match &self.closing {
            Some(closing) if closing.done_reading && !closing.write_side_shut => {
                ready!(socket.poll_shutdown(context))?;
                Poll::Ready(Ok(Event::WriteSideShut))
            }
            _ => Poll::Pending,
        }
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::Received => {}
            Event::Wrote(count) => self.wrote(count),
            Event::WriteSideShut => {
                if let Some(closing) = &mut self.closing {
                    closing.write_side_shut = true;
                }
            }
            Event::Gone => self.end(),
        }
    }

    fn end(&mut self) {
        self.over = Some(self.closing.as_ref().map_or(EndReason::Disconnected, |closing| closing.reason));
    }

    fn received(&mut self, bytes: &[u8]) {
        if bytes.is_empty() || self.closing.as_ref().is_some_and(|closing| closing.done_reading) {
            return;
        }
        self.lives();
        let mut replies = Vec::new();
        let verdict = self.inbound.take(bytes, &mut replies);
        if self.outbox.push_control(replies.into()).is_err() {
            let reason = EndReason::Protocol { code: CloseCode::POLICY };
            return self.give_up(reason, CloseCode::POLICY.words());
        }
        match verdict {
            Verdict::Open => {}
            Verdict::Closed { code } => self.client_closed(code),
            Verdict::Broken { code } => self.give_up(EndReason::Protocol { code }, code.words()),
            Verdict::NoMemory => {
                let text = "unfinished messages of clients take too much memory: send yours at once, or none";
                self.give_up(EndReason::Protocol { code: CloseCode::POLICY }, text);
            }
        }
    }

    fn client_closed(&mut self, code: CloseCode) {
        let until = Instant::now() + self.timings.close;
        self.outbox.drop_unstarted_data();
        let closing = self.closing.get_or_insert(Closing {
            reason: EndReason::ClientClosed { code },
            until,
            done_reading: true,
            write_side_shut: false,
        });
        closing.done_reading = true;
    }

    /// Begins our side of a closing handshake; a second call changes nothing.
    fn close(&mut self, reason: EndReason, text: &str) {
        if self.closing.is_some() {
            return;
        }
        self.outbox.drop_unstarted_data();
        self.outbox.push_close(close_frame(reason.close_code(), text));
        self.begin_closing(reason);
    }

    fn begin_closing(&mut self, reason: EndReason) {
        self.inbound.we_close();
        let until = Instant::now() + self.timings.close;
        self.closing = Some(Closing { reason, until, done_reading: false, write_side_shut: false });
    }

    /// Closes because the server stops, with a last message if there is one.
    fn shut_down(&mut self, farewell: Option<Bytes>) {
        let (reason, text) = (EndReason::ShuttingDown, CloseCode::GOING_AWAY.words());
        let Some(farewell) = farewell else { return self.close(reason, text) };
        self.outbox.drop_unstarted_data();
        self.outbox.push_last(farewell, close_frame(reason.close_code(), text));
        self.begin_closing(reason);
    }

    /// Closes on a client that is not listened to any more.
    fn give_up(&mut self, reason: EndReason, text: &str) {
        self.close(reason, text);
        if let Some(closing) = &mut self.closing {
            closing.done_reading = true;
        }
    }

    fn wrote(&mut self, count: usize) {
        self.needs_flush = true;
        let data = self.outbox.wrote(count) as u64;
        if data == 0 {
            // The kernel takes our pings for a peer that is long gone: only messages taken are a sign of life.
            return;
        }
        self.bytes_sent += data;
        self.lives();
        let pending = self.outbox.has_data();
        self.slowness.took(data, pending, self.timings.slow_bytes_min);
        if !pending {
            self.given_since = None;
        }
    }

    fn fed(&mut self, fed: Fed) {
        match fed {
            Fed::Messages(messages) => {
                for message in messages {
                    self.outbox.push_data(message);
                }
                if self.outbox.has_data() {
                    self.slowness.pending();
                    self.given_since.get_or_insert_with(Instant::now);
                }
            }
            Fed::End { code, reason } => self.close(EndReason::FeedEnded { code }, &reason),
        }
    }

    fn lives(&mut self) {
        self.last_life = Instant::now();
        self.pings_unanswered = 0;
        if !self.outbox.has_data() {
            self.slowness.took(0, false, self.timings.slow_bytes_min);
        }
    }

    fn deadline(&self) -> Instant {
        let ping = self.last_life.max(self.last_ping) + self.timings.ping;
        match (&self.closing, self.slow_at()) {
            (Some(closing), _) => closing.until,
            (None, Some(slow)) if self.outbox.has_data() => match self.blocked_at() {
                Some(blocked) if !self.is_blocked() => slow.min(blocked),
                _ => slow,
            },
            // What waits is in the kernel's hands: only looking again tells when it is taken.
            (None, Some(slow)) => slow.min(ping),
            (None, None) => ping,
        }
    }

    /// Whether the client holds memory for messages while that is short.
    fn crowd(&mut self, crowded: bool) {
        self.crowded_since = crowded.then(|| self.crowded_since.unwrap_or_else(Instant::now));
    }

    /// Time in which a client must take enough of what waits for it.
    fn patience(&self) -> Duration {
        if self.crowded_since.is_some() { self.timings.slow.min(self.timings.slow_crowded) } else { self.timings.slow }
    }

    /// When a client that has something to take counts as blocked.
    fn blocked_at(&self) -> Option<Instant> {
        self.given_since.map(|since| since + Duration::from_secs(limits::BLOCKED_SECONDS))
    }

    fn is_blocked(&self) -> bool {
        self.blocked_at().is_some_and(|at| at <= Instant::now())
    }

    /// When the client has been too slow, unless it takes some before.
    fn slow_at(&self) -> Option<Instant> {
        let slow = self.slowness.deadline(self.patience());
        // What was fine until memory became short has its time from then on.
        let handover = self.given_since.zip(self.crowded_since).map(|(given, crowded)| given.max(crowded));
        let handover = handover.map(|since| since + self.patience() * limits::CROWDED_HANDOVER_FACTOR);
        slow.into_iter().chain(handover).min()
    }

    fn time_passed(&mut self) {
        if self.closing.is_some() {
            return self.end();
        }
        let pending = self.outbox.has_data() || self.kernel_holds_output();
        let slow = self.slow_at().is_some_and(|deadline| deadline <= Instant::now());
        if pending && slow {
            tracing::info!("a client takes too little: closing with {}", CloseCode::SLOW);
            self.close(EndReason::Slow, CloseCode::SLOW.words());
        } else if pending {
            self.last_ping = Instant::now();
        } else if self.pings_unanswered >= self.timings.pings_missed_max {
            self.close(EndReason::Silent, CloseCode::SILENT.words());
        } else {
            self.last_ping = Instant::now();
            self.pings_unanswered += 1;
            // A full outbox of control frames means that the client takes nothing: the pings then count as missed.
            let _ = self.outbox.push_control(ping_frame());
        }
    }

    /// Whether messages that the kernel has taken from us still wait for the client, once it has missed a ping. They
    /// are pending output, so the rule for slow clients holds, and not the one for silent ones.
    fn kernel_holds_output(&mut self) -> bool {
        if self.pings_unanswered == 0 {
            return false;
        }
        let holds = self.bytes_sent > 0 && self.socket.holds_unsent();
        if holds {
            self.slowness.pending();
        } else {
            self.slowness.took(0, false, self.timings.slow_bytes_min);
        }
        holds
    }
}

#[cfg(test)]
mod tests;
