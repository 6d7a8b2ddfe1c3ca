//! HTTP/1.1 by hand: one request a connection, so that a test can send what no well-behaved client would.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Deref;
use std::time::Duration;

use base64::Engine;

/// Time that one answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A user and a password, as one header.
#[derive(Debug, Clone)]
pub struct Basic(String);

impl Basic {
    /// Basic credentials.
    pub fn new(user: &str, password: &str) -> Self {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        Self(format!("Basic {pair}"))
    }

    /// The value of `Authorization`.
    pub fn header(&self) -> &str {
        &self.0
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, unpacked from its transfer coding.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header field of that name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self}"))
    }

    /// The member `response` of the envelope.
    pub fn response(&self) -> serde_json::Value {
        self.json().get("response").unwrap_or_else(|| panic!("no response in {self}")).clone()
    }

    /// The titles of the envelope's messages, one a line.
    pub fn titles(&self) -> String {
        let json = self.json();
        let messages = json["messages"].as_array().cloned().unwrap_or_default();
        messages.iter().filter_map(|message| message["title"].as_str()).collect::<Vec<_>>().join("\n")
    }

    /// The same answer, when its status is `status`.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.text();
        write!(f, "{} {}", self.status, text.chars().take(2_000).collect::<String>())
    }
}

/// Connects to a port of this machine. A port between two lives of its server can be given to the very connection that
/// looks for it; such a connection to itself counts as refused.
pub fn connect(port: u16, patience: Duration) -> std::io::Result<Connection> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(std::io::ErrorKind::ConnectionRefused.into());
    }
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.set_nodelay(true)?;
    Ok(Connection(stream))
}

/// A connection whose reads and writes go on when the process was stopped for a moment: the kernel ends a wait with a limit
/// by an error then (signal(7)), whatever the signal was.
#[derive(Debug)]
pub struct Connection(TcpStream);

impl Deref for Connection {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.0
    }
}

impl Read for Connection {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        uninterrupted(|| self.0.read(bytes))
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        uninterrupted(|| self.0.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

fn uninterrupted<T>(mut call: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Sends one request and reads the whole answer. `target` goes out as it is.
pub fn request(
    port: u16,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Answer> {
    exchange(&mut connect(port, PATIENCE)?, port, method, target, headers, body)
}

/// The same over a connection that is there, which it uses up.
pub fn exchange(
    stream: &mut (impl Read + Write),
    port: u16,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || method != "GET" {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    // A server may answer and close before it has read a body that it refuses.
    let sent = stream.write_all(body);
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    match parse(&bytes, method) {
        Some(answer) => Ok(answer),
        None => Err(sent.and(read).err().unwrap_or_else(|| std::io::ErrorKind::UnexpectedEof.into())),
    }
}

/// Sends these bytes and reads what comes until the server ends: the way of a client that first sends and then reads.
pub fn raw(port: u16, bytes: &[u8]) -> String {
    let mut stream = connect(port, PATIENCE).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// The answer in what [`raw`] read, the interim ones (1xx) left out.
pub fn raw_answer(text: &str) -> Answer {
    let mut rest = text;
    while rest.starts_with("HTTP/1.1 1") {
        rest = rest.split_once("\r\n\r\n").map_or("", |(_, rest)| rest);
    }
    parse(rest.as_bytes(), "GET").unwrap_or_else(|| panic!("no answer in {text:?}"))
}

fn parse(bytes: &[u8], method: &str) -> Option<Answer> {
    let head_end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..head_end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut answer = Answer { status, headers, body: Vec::new() };
    let rest = &bytes[head_end + 4..];
    // These have no body whatever its length is said to be (RFC 9110, 9.3.2 and 15.4.5).
    let is_head_only = method == "HEAD" || answer.status == 304;
    answer.body = if is_head_only {
        rest.to_vec()
    } else if answer.header("transfer-encoding") == Some("chunked") {
        unchunk(rest)?
    } else {
        let length = answer.header("content-length").map_or(Some(rest.len()), |length| length.parse().ok())?;
        rest.get(..length)?.to_vec()
    };
    Some(answer)
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line_end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..line_end]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = &rest[line_end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

/// A path of the document with names in place of its patterns: `name` where the thing itself is named.
pub fn filled_path(pattern: &str, name: &str) -> String {
    let names = [("{name}", name), ("{domain}", "d1"), ("{alias}", "a1"), ("{group}", "g1")];
    names.iter().fold(pattern.to_owned(), |path, (pattern, name)| path.replace(pattern, name))
}

#[test]
fn answers_are_read_in_both_transfer_codings() {
    let plain = parse(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\n{}", "GET").unwrap();
    assert_eq!((plain.status, plain.header("x-a"), plain.text().as_str()), (200, Some("b"), "{}"));
    let chunked =
        parse(b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n", "GET").unwrap();
    assert_eq!((chunked.status, chunked.text().as_str()), (404, "abcd"));
    assert!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "GET").is_none(), "a cut answer is no answer");
    let head = parse(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "HEAD").unwrap();
    assert!(head.body.is_empty(), "{head}");
}
