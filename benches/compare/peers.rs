//! The other side of `benches/compare/run`: fills and reads the peers (Redis Streams, NATS JetStream over WebSocket), and
//! serves ready-made frames over plain sockets, which is the limit that any server of such records has.
//!
//! Reads peers as `trailcast bench subscribe` reads us: whole buffers, records counted by the same marker, no JSON. Each
//! reader gets a kind protocol: Redis is asked for as many entries at once as is told, with no answer taken apart, NATS delivers without acknowledgements to a pull consumer that always has requests open.

#![allow(clippy::print_stdout, clippy::print_stderr, unused_crate_dependencies, missing_docs)]

use std::error::Error;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Barrier};
use std::time::Instant;

use clap::{Parser, Subcommand};

#[path = "../../src/cli/bench/frames.rs"]
#[allow(dead_code, unreachable_pub)]
mod frames;
#[path = "../../src/cli/bench/marker.rs"]
#[allow(dead_code, unreachable_pub)]
mod marker;

use frames::{Frames, Sink, Wish};
use marker::MarkerCount;
// Where `frames` looks for the codes that end a connection.
use trailcast::codec;

/// The member whose text is counted, once a record.
const POS: &str = "\"pos\"";

type Done<T> = Result<T, Box<dyn Error + Send + Sync>>;

const READ_BYTES: usize = 256 << 10;
const BLOCK_BYTES: usize = 64 << 10;
/// Entries that one XREAD or one pull asks for.
const ASKED: u64 = 5_000;
const STREAM: &str = "bench";

#[derive(Parser)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Push ready-made messages to every WebSocket client, until it goes
    LimitServer {
        #[arg(long, default_value_t = 200)]
        record_bytes: usize,
    },
    /// Fill a Redis stream
    RedisFill {
        #[arg(long)]
        port: u16,
        #[arg(long)]
        records: u64,
        #[arg(long, default_value_t = 200)]
        record_bytes: usize,
    },
    /// Read a Redis stream from its start
    RedisRead {
        #[arg(long)]
        port: u16,
        #[arg(long)]
        records: u64,
        #[arg(long, default_value_t = 1)]
        subscribers: usize,
        /// Entries that one XREAD asks for
        #[arg(long, default_value_t = ASKED)]
        count: u64,
        /// Ask before the last answer has been read, which only works when the ids are known
        #[arg(long)]
        ahead: bool,
    },
    /// Fill a JetStream stream
    NatsFill {
        #[arg(long)]
        port: u16,
        #[arg(long)]
        records: u64,
        #[arg(long, default_value_t = 200)]
        record_bytes: usize,
    },
    /// Read a JetStream stream from its start, each subscriber a consumer of its own over WebSocket
    NatsRead {
        #[arg(long)]
        port: u16,
        #[arg(long)]
        records: u64,
        #[arg(long, default_value_t = 1)]
        subscribers: usize,
    },
}

fn main() -> Done<()> {
    match CommandLine::parse().command {
        Command::LimitServer { record_bytes } => limit_server(record_bytes),
        Command::RedisFill { port, records, record_bytes } => redis_fill(port, records, record_bytes),
        Command::RedisRead { port, records, subscribers, count, ahead } => {
            read_all(subscribers, records, move |wait| redis_read(port, records, count, ahead, wait))
        }
        Command::NatsFill { port, records, record_bytes } => nats_fill(port, records, record_bytes),
        Command::NatsRead { port, records, subscribers } => {
            read_all(subscribers, records, move |wait| nats_read(port, records, wait))
        }
    }
}

/// A record as our default encoding sends it.
fn record(id: u64, bytes: usize) -> String {
    let pos = format!("{id:044}");
    let start = format!(
        "{{\"op_type\":\"INSERT\",\"qual_table\":\"bench.rows\",\"op_ts\":\"2026-11-22 03:20:08.000000\",\
         \"pos\":\"{pos}\",\"after\":{{\"id\":{id},\"amount\":123.45,\"note\":\""
    );
    let note: String =
        "lorem ipsum dolor sit amet ".chars().cycle().take(bytes.saturating_sub(start.len() + 4)).collect();
    format!("{start}{note}\"}}}}")
}

// --- the limit ------------------------------------------------------------------------------------------------------

fn limit_server(record_bytes: usize) -> Done<()> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut records = Vec::new();
    let mut length = 2;
    while length + record_bytes + 1 < BLOCK_BYTES - 10 {
        records.push(record(1_000_000 + records.len() as u64, record_bytes));
        length += records.last().map_or(0, String::len) + 1;
    }
    let text = format!("[{}]", records.join(","));
    let mut block = vec![0x81, 126];
    block.extend_from_slice(&u16::try_from(text.len())?.to_be_bytes());
    block.extend_from_slice(text.as_bytes());
    let block = Arc::new(block);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        eprintln!("listening on http://{}", listener.local_addr()?);
        loop {
            let (mut socket, _) = listener.accept().await?;
            let block = block.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    if socket.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap_or_default();
                let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
                let answer = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Accept: {accept}\r\n\r\n"
                );
                if socket.write_all(answer.as_bytes()).await.is_ok() {
                    while socket.write_all(&block).await.is_ok() {}
                }
            });
        }
    })
}

// --- readers --------------------------------------------------------------------------------------------------------

/// Runs so many readers at once, each a thread, and prints what they reached together.
fn read_all(
    subscribers: usize,
    records: u64,
    read: impl Fn(&Barrier) -> Done<u64> + Send + Sync + 'static,
) -> Done<()> {
    let barrier = Arc::new(Barrier::new(subscribers + 1));
    let read = Arc::new(read);
    let threads: Vec<_> = (0..subscribers)
        .map(|_| {
            let (barrier, read) = (barrier.clone(), read.clone());
            std::thread::spawn(move || read(&barrier))
        })
        .collect();
    barrier.wait();
    let start = Instant::now();
    let mut bytes = 0;
    for thread in threads {
        bytes += thread.join().map_err(|_| "a reader broke")??;
    }
    let seconds = start.elapsed().as_secs_f64();
    let all = records * subscribers as u64;
    println!(
        "{{\"subscribers\":{subscribers},\"seconds\":{seconds:.3},\"records\":{all},\"recordsPerSecond\":{:.0},\"bytes\":{bytes}}}",
        all as f64 / seconds
    );
    Ok(())
}

// --- Redis ----------------------------------------------------------------------------------------------------------

fn redis_fill(port: u16, records: u64, record_bytes: usize) -> Done<()> {
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    let mut answers = BufReader::new(socket.try_clone()?);
    let mut line = String::new();
    socket.write_all(format!("DEL {STREAM}\r\n").as_bytes())?;
    answers.read_line(&mut line)?;
    let mut id = 1;
    while id <= records {
        let last = (id + 999).min(records);
        let mut commands = Vec::new();
        for id in id..=last {
            let (entry, value) = (format!("{id}-0"), record(id, record_bytes));
            let (n, m) = (entry.len(), value.len());
            write!(
                commands,
                "*5\r\n$4\r\nXADD\r\n$5\r\n{STREAM}\r\n${n}\r\n{entry}\r\n$1\r\nr\r\n${m}\r\n{value}\r\n"
            )?;
        }
        socket.write_all(&commands)?;
        // Each answer is a bulk string of two lines.
        for _ in 0..2 * (last - id + 1) {
            line.clear();
            answers.read_line(&mut line)?;
            if line.starts_with('-') {
                return Err(line.into());
            }
        }
        id = last + 1;
    }
    Ok(())
}

/// Reads all entries. Their ids are 1-0, 2-0, …, so that no answer need be taken apart to know where to go on.
fn redis_read(port: u16, records: u64, at_once: u64, ahead: bool, wait: &Barrier) -> Done<u64> {
    let socket = TcpStream::connect(("127.0.0.1", port));
    wait.wait();
    let mut socket = socket?;
    let mut asked = 0;
    let mut ask = |socket: &mut TcpStream| {
        let after = asked;
        asked += at_once;
        if after >= records {
            return Ok(());
        }
        socket.write_all(format!("XREAD COUNT {at_once} STREAMS {STREAM} {after}-0\r\n").as_bytes())
    };
    ask(&mut socket)?;
    if ahead {
        ask(&mut socket)?;
    }
    let mut buffer = vec![0; READ_BYTES];
    let (mut markers, mut count, mut bytes) = (MarkerCount::of(POS), 0, 0);
    while count < records {
        let read = socket.read(&mut buffer)?;
        if read == 0 {
            return Err("Redis ended the connection".into());
        }
        bytes += read as u64;
        let before = count / at_once;
        count += markers.count(&buffer[..read]);
        for _ in before..count / at_once {
            ask(&mut socket)?;
        }
    }
    Ok(bytes)
}

// --- NATS -----------------------------------------------------------------------------------------------------------

fn nats_fill(port: u16, records: u64, record_bytes: usize) -> Done<()> {
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    let mut answers = BufReader::new(socket.try_clone()?);
    let connect = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB inbox 1\r\n";
    socket.write_all(connect.as_bytes())?;
    let config = format!("{{\"name\":\"{STREAM}\",\"subjects\":[\"{STREAM}.rows\"],\"storage\":\"file\"}}");
    nats_request(&mut socket, &mut answers, &format!("$JS.API.STREAM.DELETE.{STREAM}"), "")?;
    let made = nats_request(&mut socket, &mut answers, &format!("$JS.API.STREAM.CREATE.{STREAM}"), &config)?;
    if made.contains("\"error\"") {
        return Err(made.into());
    }
    let mut id = 1;
    while id <= records {
        let last = (id + 999).min(records);
        let mut commands = Vec::new();
        for id in id..=last {
            let value = record(id, record_bytes);
            write!(commands, "PUB {STREAM}.rows {}\r\n{value}\r\n", value.len())?;
        }
        socket.write_all(&commands)?;
        // Not faster than the stream stores: the last of each batch is asked for.
        loop {
            let info = nats_request(&mut socket, &mut answers, &format!("$JS.API.STREAM.INFO.{STREAM}"), "")?;
            if info.contains(&format!("\"messages\":{last},")) {
                break;
            }
        }
        id = last + 1;
    }
    Ok(())
}

fn nats_request(socket: &mut TcpStream, answers: &mut BufReader<TcpStream>, subject: &str, body: &str) -> Done<String> {
    socket.write_all(format!("PUB {subject} inbox {}\r\n{body}\r\n", body.len()).as_bytes())?;
    loop {
        let mut line = String::new();
        if answers.read_line(&mut line)? == 0 {
            return Err("NATS ended the connection".into());
        }
        if line.starts_with("PING") {
            socket.write_all(b"PONG\r\n")?;
        } else if line.starts_with("-ERR") {
            return Err(line.into());
        } else if let Some(head) = line.strip_prefix("MSG inbox ") {
            let length: usize = head.trim().rsplit(' ').next().unwrap_or_default().parse()?;
            let mut body = vec![0; length + 2];
            answers.read_exact(&mut body)?;
            return Ok(String::from_utf8_lossy(&body).into_owned());
        }
    }
}

/// Counts markers over all frames: a record may lie in two.
struct Counted {
    markers: MarkerCount,
    count: u64,
    control: Vec<u8>,
}

impl Default for Counted {
    fn default() -> Self {
        Self { markers: MarkerCount::of(POS), count: 0, control: Vec::new() }
    }
}

impl Sink for Counted {
    fn data(&mut self, bytes: &[u8]) {
        self.count += self.markers.count(bytes);
        if self.count == 0 {
            self.control.extend_from_slice(bytes);
        }
    }

    fn message(&mut self) {}
}

/// A masked binary frame, the mask all zeros.
fn client_frame(payload: &str) -> Vec<u8> {
    let mut frame = vec![0x82];
    match u8::try_from(payload.len()) {
        Ok(short) if short < 126 => frame.push(0x80 | short),
        _ => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload.as_bytes());
    frame
}

fn nats_connect(port: u16) -> Done<(TcpStream, String)> {
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.write_all(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    )?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    if !head.starts_with(b"HTTP/1.1 101") {
        return Err(String::from_utf8_lossy(&head).into_owned().into());
    }
    let inbox = format!("inbox.{}", socket.local_addr()?.port());
    let consumer = format!("c{}", socket.local_addr()?.port());
    let config = format!(
        "{{\"stream_name\":\"{STREAM}\",\"config\":{{\"name\":\"{consumer}\",\"ack_policy\":\"none\",\
         \"deliver_policy\":\"all\",\"inactive_threshold\":60000000000,\"mem_storage\":true}}}}"
    );
    let commands = format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB {inbox} 1\r\nSUB made.{inbox} 2\r\n\
         PUB $JS.API.CONSUMER.CREATE.{STREAM}.{consumer} made.{inbox} {}\r\n{config}\r\n",
        config.len()
    );
    socket.write_all(&client_frame(&commands))?;
    let next = format!("$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{consumer} {inbox}");
    Ok((socket, next))
}

fn nats_read(port: u16, records: u64, wait: &Barrier) -> Done<u64> {
    let connected = nats_connect(port);
    let mut buffer = vec![0; READ_BYTES];
    let (mut frames, mut counted, mut wishes) = (Frames::default(), Counted::default(), Vec::new());
    let mut made = connected;
    if let Ok((socket, _)) = &mut made {
        // Until the consumer is there.
        while !String::from_utf8_lossy(&counted.control).contains("\"created\"") {
            let read = socket.read(&mut buffer)?;
            frames.take(&buffer[..read], &mut counted, &mut wishes)?;
            let control = String::from_utf8_lossy(&counted.control);
            if read == 0 || control.contains("-ERR") || control.contains("\"error\"") {
                return Err(control.into_owned().into());
            }
        }
    }
    wait.wait();
    let (mut socket, next) = made?;
    let pull = format!("{{\"batch\":{ASKED}}}");
    let pull = client_frame(&format!("PUB {next} {}\r\n{pull}\r\n", pull.len()));
    for _ in 0..3 {
        socket.write_all(&pull)?;
    }
    let mut bytes = 0;
    while counted.count < records {
        let read = socket.read(&mut buffer)?;
        if read == 0 {
            return Err("NATS ended the connection".into());
        }
        bytes += read as u64;
        let before = counted.count / ASKED;
        frames.take(&buffer[..read], &mut counted, &mut wishes)?;
        for _ in before..counted.count / ASKED {
            socket.write_all(&pull)?;
        }
        for wish in wishes.drain(..) {
            match wish {
                Wish::Pong(payload) => socket.write_all(&frames::pong(&payload))?,
                Wish::Closed(code, reason) => return Err(format!("NATS closed with {code}: {reason}").into()),
            }
        }
    }
    Ok(bytes)
}
