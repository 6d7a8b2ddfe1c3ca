//! A connection to a PostgreSQL server: start, log in, ask, and switch to replication.
//!
//! One code for both uses: a walsender (which takes replication commands) and an ordinary session (catalogue, set-up).
//! Answers are text. Waits are the caller's to cap, but for connecting and for queries, which cap themselves.

use std::time::Duration;

use bytes::BufMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::server_error::ServerError;
use super::settings;
use super::socket::Socket;
use super::tls;
use super::wire::{Transport, Wire};
use crate::capture::error::{CaptureError, Fault};
use crate::catalog::extract::{Secret, SourceConfig, TlsMode};
use crate::codec::byte_text::{self, Charset};
use crate::limits;

/// Where to connect and as whom.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) source: SourceConfig,
    pub(super) user: String,
    pub(super) password: Option<Secret>,
}

/// A row of an answer: text or NULL per column.
pub(super) type Row = Vec<Option<String>>;

/// A logged-in connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) wire: Wire,
    /// What is known of the texts that the server sends and takes.
    pub(super) charset: Charset,
}

impl Connection {
    /// Connects and logs in, as a walsender if `replication`.
    pub(super) async fn open(address: &Address, replication: bool) -> Result<Self, Fault> {
        let limit = Duration::from_secs(limits::SOURCE_CONNECT_SECONDS_MAX);
        timeout(limit, Self::open_unlimited(address, replication))
            .await
            .map_err(|_| Fault::Passing(format!("no connection to the source within {} s", limit.as_secs())))?
    }

    async fn open_unlimited(address: &Address, replication: bool) -> Result<Self, Fault> {
        let mut connection = Self { wire: Wire::new(transport(&address.source).await?), charset: Charset::default() };
        let mut parameters = vec![("user", address.user.as_str()), ("database", &address.source.database)];
        parameters.extend(settings::AT_START);
        if replication {
            parameters.push(("replication", "database"));
        }
        frontend::startup_message(parameters, &mut connection.wire.output)?;
        connection.wire.flush().await?;
        connection.log_in(address).await?;
        let major = connection.until_ready().await?;
        if let Some(statement) = major.and_then(settings::later) {
            connection.query(&statement).await?;
        }
        if connection.charset == Charset::Undeclared {
            connection.try_query_unlimited("SET client_encoding TO 'SQL_ASCII'").await??;
        }
        Ok(connection)
    }

    /// Runs one statement and gives its rows.
    pub(super) async fn query(&mut self, sql: &str) -> Result<Vec<Row>, Fault> {
        self.try_query(sql).await?.map_err(Fault::from)
    }

    /// Runs one statement; a refusal by the server is told apart, and the connection is good for more.
    pub(super) async fn try_query(&mut self, sql: &str) -> Result<Result<Vec<Row>, ServerError>, Fault> {
        let limit = Duration::from_secs(limits::SOURCE_QUERY_SECONDS_MAX);
        timeout(limit, self.try_query_unlimited(sql))
            .await
            .map_err(|_| Fault::Passing(format!("no answer from the source within {} s", limit.as_secs())))?
    }

    /// As [`Connection::try_query`], for a statement that may take as long as it wants.
    pub(super) async fn try_query_unlimited(&mut self, sql: &str) -> Result<Result<Vec<Row>, ServerError>, Fault> {
        self.push_query(sql)?;
        self.wire.flush().await?;
        let mut rows = Vec::new();
        let mut refused = None;
        loop {
            let (tag, body) = self.wire.frame().await?;
            match tag {
                b'D' if rows.len() < limits::SOURCE_QUERY_ROWS_MAX => rows.push(data_row(&body, self.charset)?),
                b'D' => return Err(malformed("an answer with too many rows")),
                b'E' => refused = Some(ServerError::decode(&body)),
                b'Z' => return Ok(refused.map_or(Ok(rows), Err)),
                b'T' | b'C' | b'I' | b'N' | b'S' | b'A' => {}
                tag => return Err(unexpected(tag)),
            }
        }
    }

    /// Sends statements, whose answers the caller reads off the wire itself.
    pub(super) async fn send_query(&mut self, sql: &str) -> Result<(), Fault> {
        self.push_query(sql)?;
        self.wire.flush().await
    }

    /// The row in a DataRow message.
    pub(super) fn row(&self, body: &[u8]) -> Result<Row, Fault> {
        data_row(body, self.charset)
    }

    /// Sends START_REPLICATION; afterwards the wire carries CopyData both ways.
    pub(super) async fn start_replication(&mut self, command: &str) -> Result<(), Fault> {
        self.push_query(command)?;
        self.wire.flush().await?;
        let limit = Duration::from_secs(limits::SOURCE_QUERY_SECONDS_MAX);
        timeout(limit, self.until_copy_both())
            .await
            .map_err(|_| Fault::Passing("the source did not start to replicate in time".into()))?
    }

    async fn until_copy_both(&mut self) -> Result<(), Fault> {
        loop {
            let (tag, body) = self.wire.frame().await?;
            match tag {
                b'W' => return Ok(()),
                b'E' => return Err(ServerError::decode(&body).into()),
                b'N' | b'S' => {}
                tag => return Err(unexpected(tag)),
            }
        }
    }

    /// A Query message: as bytes, since names of a database without a character set need not be UTF-8.
    fn push_query(&mut self, sql: &str) -> Result<(), Fault> {
        let sql = byte_text::encode(sql, self.charset);
        if sql.contains(&0) {
            return Err(malformed("a name with a zero byte"));
        }
        let output = &mut self.wire.output;
        output.put_u8(b'Q');
        output.put_u32(sql.len() as u32 + 5);
        output.put_slice(&sql);
        output.put_u8(0);
        Ok(())
    }

    /// Sends one CopyData message.
    pub(super) async fn send_copy_data(&mut self, body: &[u8]) -> Result<(), Fault> {
        let output = &mut self.wire.output;
        output.put_u8(b'd');
        output.put_u32(body.len() as u32 + 4);
        output.put_slice(body);
        let limit = Duration::from_secs(limits::SOURCE_SILENCE_SECONDS_MAX);
        timeout(limit, self.wire.flush()).await.map_err(|_| Fault::Passing("the source takes no more bytes".into()))?
    }

    /// Says good-bye, as far as the socket takes it at once.
    pub(super) async fn close(mut self) {
        frontend::terminate(&mut self.wire.output);
        let _ = timeout(Duration::from_millis(limits::SOURCE_BACKOFF_MILLIS_MIN), self.wire.flush()).await;
    }

    /// The end of the log-in, and the server's major version if it said it.
    async fn until_ready(&mut self) -> Result<Option<u32>, Fault> {
        let mut major = None;
        loop {
            let (tag, body) = self.wire.frame().await?;
            match tag {
                b'Z' => return Ok(major),
                b'E' => return Err(ServerError::decode(&body).into()),
                b'S' => {
                    self.note_parameter(&body);
                    major = major.or_else(|| server_version(&body).and_then(settings::major));
                }
                b'K' | b'N' => {}
                tag => return Err(unexpected(tag)),
            }
        }
    }

    /// Notes what the server says of itself. One whose database has no character set cannot convert anything: it would
    /// refuse to send what is no UTF-8, for ever.
    fn note_parameter(&mut self, body: &[u8]) {
        let mut texts = body.split(|byte| *byte == 0);
        if texts.next() == Some(b"server_encoding") && texts.next() == Some(b"SQL_ASCII") {
            self.charset = Charset::Undeclared;
        }
    }

    async fn log_in(&mut self, address: &Address) -> Result<(), Fault> {
        let password = || {
            let missing = || CaptureError::Refused("the source asks for a password and none is configured".into());
            address.password.as_ref().map(|secret| secret.reveal().as_bytes()).ok_or_else(missing)
        };
        loop {
            let (method, data) = self.authentication().await?;
            match method {
                0 => return Ok(()),
                3 => frontend::password_message(password()?, &mut self.wire.output)?,
                5 => {
                    let salt = *data.first_chunk::<4>().ok_or_else(|| malformed("an MD5 salt"))?;
                    let hash = md5_hash(address.user.as_bytes(), password()?, salt);
                    frontend::password_message(hash.as_bytes(), &mut self.wire.output)?;
                }
                10 => self.scram(&data, password()?).await?,
                _ => {
                    let message = "it asks for an authentication method other than SCRAM-SHA-256, MD5 or password";
                    return Err(CaptureError::Refused(message.into()).into());
                }
            }
            self.wire.flush().await?;
        }
    }

    async fn scram(&mut self, mechanisms: &[u8], password: &[u8]) -> Result<(), Fault> {
        if !mechanisms.split(|byte| *byte == 0).any(|mechanism| mechanism == SCRAM_SHA_256.as_bytes()) {
            return Err(CaptureError::Refused("it offers SASL, but not SCRAM-SHA-256".into()).into());
        }
        let mut scram = ScramSha256::new(password, ChannelBinding::unsupported());
        frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut self.wire.output)?;
        self.wire.flush().await?;
        let first = self.expect_authentication(11).await?;
        scram.update(&first)?;
        frontend::sasl_response(scram.message(), &mut self.wire.output)?;
        self.wire.flush().await?;
        let last = self.expect_authentication(12).await?;
        scram.finish(&last)?;
        Ok(())
    }

    async fn expect_authentication(&mut self, expected: u32) -> Result<bytes::Bytes, Fault> {
        let (method, data) = self.authentication().await?;
        if method == expected { Ok(data) } else { Err(malformed("an authentication step out of order")) }
    }

    /// The next Authentication message: its number and data.
    async fn authentication(&mut self) -> Result<(u32, bytes::Bytes), Fault> {
        loop {
            let (tag, body) = self.wire.frame().await?;
            match tag {
                b'R' => {
                    let method = *body.first_chunk::<4>().ok_or_else(|| malformed("an authentication message"))?;
                    return Ok((u32::from_be_bytes(method), body.slice(4..)));
                }
                b'E' => return Err(ServerError::decode(&body).into()),
                b'N' => {}
                tag => return Err(unexpected(tag)),
            }
        }
    }
}

/// Connects the socket, and puts TLS on it as configured.
async fn transport(source: &SourceConfig) -> Result<Transport, Fault> {
    let mut stream = TcpStream::connect((source.host.as_str(), source.port())).await?;
    stream.set_nodelay(true)?;
    if source.tls == TlsMode::Disable {
        return Ok(Transport::Plain(Socket::new(stream)));
    }
    let mut request = bytes::BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await?;
    // Exactly one byte: anything after it in clear text would be someone else's.
    match stream.read_u8().await? {
        b'S' => {
            let verify = source.tls == TlsMode::VerifyFull;
            Ok(Transport::Tls(Box::new(tls::connect(&source.host, verify, Socket::new(stream)).await?)))
        }
        b'N' if source.tls == TlsMode::Prefer => Ok(Transport::Plain(Socket::new(stream))),
        b'N' => Err(CaptureError::Refused("source.tls asks for TLS, the server has none".into()).into()),
        tag => Err(unexpected(tag)),
    }
}

/// The server's version, if that is what a ParameterStatus message says.
fn server_version(body: &[u8]) -> Option<&str> {
    let mut texts = body.split(|byte| *byte == 0);
    (texts.next()? == b"server_version").then_some(())?;
    std::str::from_utf8(texts.next()?).ok()
}

fn data_row(body: &[u8], charset: Charset) -> Result<Row, Fault> {
    let wrong = || malformed("a row of an answer");
    let (count, mut rest) = body.split_first_chunk::<2>().ok_or_else(wrong)?;
    let mut row = Row::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(wrong)?;
        rest = after;
        let length = i32::from_be_bytes(*length);
        let Ok(length) = usize::try_from(length) else {
            row.push(None);
            continue;
        };
        let (value, after) = rest.split_at_checked(length).ok_or_else(wrong)?;
        row.push(Some(byte_text::decode(value, charset).into_owned()));
        rest = after;
    }
    Ok(row)
}

fn malformed(what: &str) -> Fault {
    CaptureError::Malformed(what.into()).into()
}

fn unexpected(tag: u8) -> Fault {
    malformed(&format!("an unexpected message {:?}", char::from(tag)))
}

/// `text` as an SQL string constant. Backslashes are ordinary under `standard_conforming_strings`, which a leading `E`
/// with them doubled does not depend on.
pub(super) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// `name` as an SQL identifier.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_cannot_leave_their_quotes() {
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("a'b\\"), "E'a''b\\\\'");
    }

    proptest::proptest! {
        #[test]
        fn no_row_makes_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)) {
            let _ = data_row(&bytes, Charset::Utf8);
        }
    }
}
