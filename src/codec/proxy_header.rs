//! The header of the PROXY protocol, versions 1 and 2 (HAProxy's specification of 2020): whose connection a proxy passes on.
//!
//! Owns the format, without IO; who may send one, and for how long it is waited, is the listener's business. Of version 2 the
//! additional members (TLV) are passed over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The first bytes of version 2.
pub const SIGNATURE_V2: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Length of the fixed part of version 2.
pub const HEAD_V2_BYTES: usize = 16;
/// The first bytes of version 1.
pub const START_V1: [u8; 6] = *b"PROXY ";
/// Longest line of version 1 with its end.
pub const LINE_V1_BYTES_MAX: usize = 107;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// The connection that the proxy has taken comes from here.
    From(SocketAddr),
    /// The proxy speaks for itself (a look whether we live), or does not know for whom.
    Itself,
}

/// The bytes are no header of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection does not begin with a header of the PROXY protocol that can be read")]
pub struct InvalidProxyHeader;

/// Reads a line of version 1, without its end.
pub fn version_1(line: &[u8]) -> Result<ProxyHeader, InvalidProxyHeader> {
    let text = std::str::from_utf8(line).map_err(|_| InvalidProxyHeader)?;
    let rest = text.strip_prefix("PROXY ").ok_or(InvalidProxyHeader)?;
    // What follows UNKNOWN does not count.
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        return Ok(ProxyHeader::Itself);
    }
    let parts: Vec<&str> = rest.split(' ').collect();
    let [family, source, destination, port, destination_port] = parts[..] else { return Err(InvalidProxyHeader) };
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let source = address(source).zip(number(port));
    let destination = address(destination).zip(number(destination_port));
    match (source, destination) {
        (Some((ip, port)), Some(_)) => Ok(ProxyHeader::From(SocketAddr::new(ip, port))),
        _ => Err(InvalidProxyHeader),
    }
}

/// How many bytes follow the fixed part of version 2.
pub fn version_2_rest(head: &[u8; HEAD_V2_BYTES]) -> usize {
    usize::from(u16::from_be_bytes([head[14], head[15]]))
}

/// Reads version 2: the fixed part, and as many bytes as [`version_2_rest`] says.
pub fn version_2(head: &[u8; HEAD_V2_BYTES], rest: &[u8]) -> Result<ProxyHeader, InvalidProxyHeader> {
    if !head.starts_with(&SIGNATURE_V2) || rest.len() != version_2_rest(head) {
        return Err(InvalidProxyHeader);
    }
    match head[12] {
        0x20 => return Ok(ProxyHeader::Itself),
        0x21 => {}
        _ => return Err(InvalidProxyHeader),
    }
    let port = |at: usize| rest.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    let source = match head[13] {
        // TCP over IPv4: two addresses, then two ports.
        0x11 => {
            let ip = rest.first_chunk::<4>().map(|bytes| IpAddr::V4(Ipv4Addr::from(*bytes)));
            ip.zip(port(8)).filter(|_| rest.len() >= 12)
        }
        0x21 => {
            let ip = rest.first_chunk::<16>().map(|bytes| IpAddr::V6(Ipv6Addr::from(*bytes)));
            ip.zip(port(32)).filter(|_| rest.len() >= 36)
        }
        // Unspecified, datagrams, sockets of the proxy's own host: no address of a client.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => return Ok(ProxyHeader::Itself),
        _ => None,
    };
    source.map(|(ip, port)| ProxyHeader::From(SocketAddr::new(ip, port))).ok_or(InvalidProxyHeader)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> Result<ProxyHeader, InvalidProxyHeader> {
        Ok(ProxyHeader::From(text.parse().unwrap()))
    }

    #[test]
    fn a_line_of_version_1_names_the_source() {
        let read = |line: &str| version_1(line.as_bytes());
        assert_eq!(read("PROXY TCP4 192.0.2.7 203.0.113.1 56324 443"), from("192.0.2.7:56324"));
        assert_eq!(read("PROXY TCP6 2001:db8::7 2001:db8::1 56324 443"), from("[2001:db8::7]:56324"));
        assert_eq!(read("PROXY UNKNOWN"), Ok(ProxyHeader::Itself));
        assert_eq!(read("PROXY UNKNOWN ffff::1 ffff::2 1 2"), Ok(ProxyHeader::Itself));
        for bad in [
            "",
            "PROXY",
            "PROXY ",
            "PROXY TCP4",
            "proxy TCP4 192.0.2.7 203.0.113.1 1 2",
            "PROXY TCP4 2001:db8::7 203.0.113.1 1 2",
            "PROXY TCP4 192.0.2.7 203.0.113.1 65536 2",
            "PROXY TCP4 192.0.2.7 203.0.113.1 +1 2",
            "PROXY TCP4 192.0.2.7 203.0.113.1 1",
            "PROXY TCP4  192.0.2.7 203.0.113.1 1 2",
            "PROXY TCP4 192.0.2.7 203.0.113.1 1 2 3",
            "PROXY UDP4 192.0.2.7 203.0.113.1 1 2",
            "PROXY UNKNOWNS",
            "GET / HTTP/1.1",
        ] {
            assert_eq!(read(bad), Err(InvalidProxyHeader), "{bad:?}");
        }
    }

    fn head(command: u8, family: u8, length: u16) -> [u8; HEAD_V2_BYTES] {
        let mut head = [0; HEAD_V2_BYTES];
        head[..12].copy_from_slice(&SIGNATURE_V2);
        (head[12], head[13]) = (command, family);
        head[14..].copy_from_slice(&length.to_be_bytes());
        head
    }

    #[test]
    fn version_2_names_the_source_whatever_follows() {
        let four = [192, 0, 2, 7, 203, 0, 113, 1, 0xdc, 0x04, 0x01, 0xbb];
        assert_eq!(version_2(&head(0x21, 0x11, 12), &four), from("192.0.2.7:56324"));
        let with_more = [four.as_slice(), &[0x03, 0, 4, 1, 2, 3, 4]].concat();
        assert_eq!(version_2(&head(0x21, 0x11, 19), &with_more), from("192.0.2.7:56324"));
        let mut six = [0; 36];
        six[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        six[32..34].copy_from_slice(&7_u16.to_be_bytes());
        assert_eq!(version_2(&head(0x21, 0x21, 36), &six), from("[2001:db8::7]:7"));
        assert_eq!(version_2(&head(0x20, 0x00, 0), &[]), Ok(ProxyHeader::Itself));
        assert_eq!(version_2(&head(0x21, 0x00, 3), &[1, 2, 3]), Ok(ProxyHeader::Itself));
        assert_eq!(version_2(&head(0x21, 0x31, 216), &[0; 216]), Ok(ProxyHeader::Itself));
        for (command, family, rest) in [
            (0x11, 0x11, four.as_slice()),
            (0x22, 0x11, &four),
            (0x21, 0x41, &four),
            (0x21, 0x11, &four[..11]),
            (0x21, 0x21, &six[..35]),
        ] {
            let read = version_2(&head(command, family, rest.len() as u16), rest);
            assert_eq!(read, Err(InvalidProxyHeader), "{command:x} {family:x}");
        }
        assert_eq!(version_2(&head(0x21, 0x11, 13), &four), Err(InvalidProxyHeader), "a byte is missing");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(head: [u8; 4], rest in proptest::collection::vec(0u8.., 0..120)) {
            let mut whole = [0; HEAD_V2_BYTES];
            whole[..12].copy_from_slice(&SIGNATURE_V2);
            whole[12..].copy_from_slice(&head);
            let _ = (version_2(&whole, &rest), version_1(&rest));
        }
    }
}
