//! A connection between a client and a server that can be cut and mended, and can keep an answer's header from the client.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::until;

/// Listens for a server and passes on what is said, for as long as it lives.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    wire: Arc<Wire>,
}

#[derive(Debug)]
struct Wire {
    server: u16,
    hidden: Option<&'static str>,
    is_cut: AtomicBool,
    is_over: AtomicBool,
    refused: AtomicU64,
    answered: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Before the server at this port.
    pub fn before(server: u16) -> Self {
        Self::start(server, None)
    }

    /// The same, and clients never see this header of an answer.
    pub fn hiding(server: u16, header: &'static str) -> Self {
        Self::start(server, Some(header))
    }

    fn start(server: u16, hidden: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let wire = Arc::new(Wire {
            server,
            hidden,
            is_cut: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            refused: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            open: Mutex::default(),
        });
        let accepting = wire.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.is_over.load(Ordering::SeqCst) {
                    return;
                }
                accepting.connect(client);
            }
        });
        Self { port, wire }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends every connection and refuses new ones, until [`Self::mend`].
    pub fn cut(&self) {
        self.wire.is_cut.store(true, Ordering::SeqCst);
        self.wire.end_all();
    }

    /// Passes on again.
    pub fn mend(&self) {
        self.wire.is_cut.store(false, Ordering::SeqCst);
    }

    /// Waits until a client has been answered something.
    pub fn wait_for_an_answer(&self) {
        wait(&self.wire.answered);
    }

    /// Waits until a client has tried to come back while the connection was cut.
    pub fn wait_for_a_try(&self) {
        wait(&self.wire.refused);
    }
}

fn wait(count: &AtomicU64) {
    until(|| if count.load(Ordering::SeqCst) > 0 { Ok(()) } else { Err("nothing yet".to_owned()) });
}

impl Wire {
    fn connect(self: &Arc<Self>, client: TcpStream) {
        if self.is_cut.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return;
        }
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.server)) else { return };
        self.open.lock().unwrap().extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
        // Cut while it was being made.
        if self.is_cut.load(Ordering::SeqCst) {
            self.end_all();
        }
        let (asking, asked) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || pass_on(asking, asked, None, None));
        let wire = self.clone();
        std::thread::spawn(move || pass_on(server, client, wire.hidden, Some(&wire.answered)));
    }

    fn end_all(&self) {
        for socket in self.open.lock().unwrap().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// The head of an answer comes in one piece; the header gets another name of the same length in it.
fn pass_on(mut from: TcpStream, mut to: TcpStream, mut hidden: Option<&str>, passed: Option<&AtomicU64>) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        if let Some(name) = hidden.take() {
            let at = bytes[..read].windows(name.len()).position(|found| found.eq_ignore_ascii_case(name.as_bytes()));
            let at = at.unwrap_or_else(|| panic!("no {name} in {}", String::from_utf8_lossy(&bytes[..read])));
            bytes[at..at + name.len()].fill(b'x');
        }
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
        passed.map(|passed| passed.fetch_add(1, Ordering::SeqCst));
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.wire.is_over.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the listener, which then ends.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}
