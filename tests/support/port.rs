//! Ports that belong to one test, although nobody listens there now.

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// A port of 127.0.0.1. While this value lives the system gives it to nobody who takes any free port; whoever asks for it by
/// its number may listen there, and until somebody does, connections are refused.
#[derive(Debug)]
pub struct Port {
    number: u16,
    // Bound and never listening. Servers bind with SO_REUSEADDR, which lets them share the port with such a socket.
    _held: Socket,
}

impl Port {
    /// One that was free.
    pub fn hold() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let number = socket.local_addr().unwrap().as_socket_ipv4().unwrap().port();
        Self { number, _held: socket }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

#[test]
fn a_held_port_refuses_connections_until_somebody_listens_there() {
    let port = Port::hold();
    let address = (Ipv4Addr::LOCALHOST, port.number());
    assert!(std::net::TcpStream::connect(address).is_err());
    let listener = std::net::TcpListener::bind(address).unwrap();
    assert!(std::net::TcpStream::connect(address).is_ok());
    drop(listener);
    assert!(std::net::TcpStream::connect(address).is_err());
}
