//! A blocking subscriber of a data stream: connects, reads messages, hands out records.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::Value;
use serde_json::value::RawValue;
use tungstenite::client::ClientRequestBuilder;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, HandshakeError, Message, WebSocket};

use super::http::{self, Answer, Basic};

/// One record as it came.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its exact text: numbers with every digit.
    pub text: String,
    /// The same, parsed; numbers beyond 64 bits or a double are rounded here.
    pub json: Value,
}

impl Record {
    fn text_of(&self, member: &str) -> Option<&str> {
        self.json.get(member)?.as_str()
    }

    /// `INSERT`, `DDL`, `STREAM_METADATA` …; `None` for a schema record.
    pub fn op_type(&self) -> Option<&str> {
        self.text_of("op_type")
    }

    /// The position; `None` for metadata and schema records.
    pub fn pos(&self) -> Option<&str> {
        self.text_of("pos")
    }

    /// The table.
    pub fn table(&self) -> Option<&str> {
        self.text_of("qual_table")
    }

    /// Whether it is an insert, update, delete, upsert or truncate.
    pub fn is_dml(&self) -> bool {
        matches!(self.op_type(), Some("INSERT" | "UPDATE" | "DELETE" | "UPSERT" | "TRUNCATE"))
    }
}

/// Why the server did not make a subscriber of us.
pub enum Refused {
    /// It answered something else than 101.
    Answer(Answer),
    /// There was no answer.
    Broken(String),
}

impl std::fmt::Debug for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answer(answer) => write!(f, "{answer}"),
            Self::Broken(error) => write!(f, "{error}"),
        }
    }
}

/// Why a subscription ended.
pub enum Ended {
    /// The server closed it, with code and reason.
    Closed(u16, String),
    /// The connection broke.
    Broken(String),
}

impl std::fmt::Debug for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed(code, reason) => write!(f, "closed with {code} {reason}"),
            Self::Broken(error) => write!(f, "{error}"),
        }
    }
}

/// What the next wait brought.
#[derive(Debug)]
pub enum Next {
    /// A record.
    Record(Record),
    /// Nothing within the time given.
    Quiet,
    /// The end.
    Ended(Ended),
}

/// A live subscription.
#[derive(Debug)]
pub struct Subscriber {
    socket: WebSocket<http::Connection>,
    pending: VecDeque<Record>,
    headers: Vec<(String, String)>,
    /// Messages taken so far.
    pub messages: u64,
    /// Whether the last message was one record without an array around it.
    pub last_was_one_record: bool,
}

impl Subscriber {
    /// Opens the socket at `target`, a path with its query.
    pub fn connect(port: u16, target: &str, credentials: Option<&Basic>) -> Result<Self, Refused> {
        Self::connect_with(port, target, credentials, None)
    }

    /// The same with a subprotocol, which the server must take.
    pub fn connect_with(
        port: u16,
        target: &str,
        credentials: Option<&Basic>,
        subprotocol: Option<&str>,
    ) -> Result<Self, Refused> {
        let broken = |error: &dyn std::fmt::Display| Refused::Broken(error.to_string());
        let stream = http::connect(port, Duration::from_secs(20)).map_err(|error| broken(&error))?;
        let uri = format!("ws://127.0.0.1:{port}{target}").parse().map_err(|error| broken(&error))?;
        let mut request = ClientRequestBuilder::new(uri);
        if let Some(credentials) = credentials {
            request = request.with_header("Authorization", credentials.header());
        }
        if let Some(subprotocol) = subprotocol {
            request = request.with_sub_protocol(subprotocol);
        }
        let config = WebSocketConfig::default().max_message_size(Some(300 << 20)).max_frame_size(Some(300 << 20));
        match tungstenite::client::client_with_config(request, stream, Some(config)) {
            Ok((socket, answer)) => {
                let headers = headers_of(answer.headers());
                Ok(Self { socket, pending: VecDeque::new(), headers, messages: 0, last_was_one_record: false })
            }
            Err(HandshakeError::Failure(Error::Http(answer))) => Err(Refused::Answer(as_answer(*answer))),
            Err(error) => Err(broken(&error)),
        }
    }

    /// A header of the answer to the handshake.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The next record, waited for up to `patience`.
    pub fn next(&mut self, patience: Duration) -> Next {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(record) = self.pending.pop_front() {
                return Next::Record(record);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Next::Quiet;
            }
            if let Err(ended) = self.take_message(left) {
                return ended.map_or(Next::Quiet, Next::Ended);
            }
        }
    }

    /// The next record; panics when none comes within `patience`.
    pub fn expect_record(&mut self, patience: Duration) -> Record {
        match self.next(patience) {
            Next::Record(record) => record,
            other => panic!("a record was expected within {patience:?}: {other:?}"),
        }
    }

    /// The next record with a position; panics when none comes within `patience`.
    pub fn expect_data(&mut self, patience: Duration) -> Record {
        let deadline = Instant::now() + patience;
        loop {
            let record = self.expect_record(deadline.saturating_duration_since(Instant::now()));
            if record.pos().is_some() {
                return record;
            }
        }
    }

    /// Reads one message; `Err(None)` when none came in time.
    fn take_message(&mut self, patience: Duration) -> Result<(), Option<Ended>> {
        let patience = patience.max(Duration::from_millis(1));
        self.socket
            .get_ref()
            .set_read_timeout(Some(patience))
            .map_err(|error| Some(Ended::Broken(error.to_string())))?;
        match self.socket.read() {
            Ok(Message::Text(text)) => {
                self.messages += 1;
                let read = if text.starts_with('{') {
                    serde_json::from_str(&text).map(|record| vec![record])
                } else {
                    serde_json::from_str::<Vec<Box<RawValue>>>(&text)
                };
                let records = read.unwrap_or_else(|error| panic!("a message holds no records: {error}: {text}"));
                self.last_was_one_record = text.starts_with('{');
                self.pending.extend(records.into_iter().map(|raw| {
                    let json = serde_json::from_str(raw.get()).unwrap_or(Value::Null);
                    Record { text: raw.get().to_owned(), json }
                }));
                Ok(())
            }
            Ok(Message::Close(close)) => {
                // The handshake is ours to finish; the peer waits for it.
                while self.socket.read().is_ok() {}
                let (code, reason) = close.map_or((1005, String::new()), |c| (c.code.into(), c.reason.to_string()));
                Err(Some(Ended::Closed(code, reason)))
            }
            Ok(_) => Ok(()),
            Err(Error::Io(error)) if is_timeout(&error) => Err(None),
            Err(error) => Err(Some(Ended::Broken(error.to_string()))),
        }
    }

    /// Sends a message.
    pub fn say(&mut self, message: Message) -> Result<(), Error> {
        self.socket.send(message)
    }

    /// Acknowledges a position, as a member of a consumer group.
    pub fn acknowledge(&mut self, pos: &str) -> Result<(), Error> {
        self.say(Message::text(format!("{{\"ack\":\"{pos}\"}}")))
    }

    /// Says goodbye with 1000 and waits for the answer; returns the close code that came back.
    pub fn close(mut self) -> Option<u16> {
        self.socket.close(None).ok()?;
        self.socket.get_ref().set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        let mut code = None;
        loop {
            match self.socket.read() {
                Ok(Message::Close(close)) => code = Some(close.map_or(1005, |close| close.code.into())),
                Ok(_) => {}
                Err(_) => return code,
            }
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

fn headers_of(headers: &tungstenite::http::HeaderMap) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("").to_owned())).collect()
}

fn as_answer(answer: tungstenite::http::Response<Option<Vec<u8>>>) -> Answer {
    Answer {
        status: answer.status().as_u16(),
        headers: headers_of(answer.headers()),
        body: answer.into_body().unwrap_or_default(),
    }
}
