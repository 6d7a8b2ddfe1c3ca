//! An address that moves from one server to another, as that of a primary does.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A port of 127.0.0.1 behind which is whichever server it was last moved to.
#[derive(Debug)]
pub struct MovingAddress {
    port: u16,
    behind: Arc<Mutex<Behind>>,
}

#[derive(Debug)]
struct Behind {
    server: u16,
    open: Vec<TcpStream>,
    is_over: bool,
}

impl MovingAddress {
    /// Of the server at that port.
    pub fn of(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let behind = Arc::new(Mutex::new(Behind { server, open: Vec::new(), is_over: false }));
        let accepting = behind.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut behind = accepting.lock().unwrap();
                if behind.is_over {
                    return;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", behind.server)) else { continue };
                behind.open.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                pass_on(client.try_clone().unwrap(), server.try_clone().unwrap());
                pass_on(server, client);
            }
        });
        Self { port, behind }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on another server is there; connections to the one before end.
    pub fn move_to(&self, server: u16) {
        let mut behind = self.behind.lock().unwrap();
        behind.server = server;
        behind.end_all();
    }
}

impl Behind {
    fn end_all(&mut self) {
        for socket in self.open.drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for MovingAddress {
    fn drop(&mut self) {
        let mut behind = self.behind.lock().unwrap();
        behind.is_over = true;
        behind.end_all();
        drop(behind);
        // Wakes whoever accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}
