//! Which peers are proxies of ours, and whose request such a proxy passes on.
//!
//! Owns the list of trusted proxies, the headers `Forwarded` (RFC 7239) and `X-Forwarded-For`, and the rule by which one
//! address is taken from them: read from the right, the first that is no trusted proxy. Everything further left was written
//! by whoever that is. Reading the PROXY protocol from a socket is the listener's business.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddr {
    /// The client's address.
    pub ip: IpAddr,
    /// Its port, where a proxy tells that too.
    pub port: Option<u16>,
    /// The trusted proxy at the other end of the connection, if it speaks for somebody else.
    pub via: Option<SocketAddr>,
}

impl From<SocketAddr> for ClientAddr {
    fn from(peer: SocketAddr) -> Self {
        Self { ip: peer.ip(), port: Some(peer.port()), via: None }
    }
}

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}", SocketAddr::new(self.ip, port)),
            None => write!(f, "{}", self.ip),
        }
    }
}

/// An address, or all addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

/// The text names no address and no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// Neither an address nor an address, a slash and a length.
    #[error("must be an address or a network, such as 10.0.0.7, 10.1.0.0/16 or fd00::/8")]
    Malformed,
    /// It names one address of a network, which may be a slip.
    #[error("has bits beyond its length: give the network's own address, such as 10.1.0.0/16, or one address alone")]
    BitsBeyondLength,
    /// Everybody.
    #[error("would trust everybody, and whoever connects could claim any address: name the proxies")]
    Everybody,
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let given: IpAddr = address.parse().map_err(|_| InvalidNetwork::Malformed)?;
        let most = if given.is_ipv4() { 32 } else { 128 };
        let bits = match length {
            None => most,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|bits| *bits <= most).ok_or(InvalidNetwork::Malformed)?
            }
            Some(_) => return Err(InvalidNetwork::Malformed),
        };
        // An IPv4 network in IPv6 clothes is itself.
        let address = if bits + 32 >= most { given.to_canonical() } else { given };
        let bits = if address.is_ipv4() && given.is_ipv6() { bits - 96 } else { bits };
        if bits == 0 {
            return Err(InvalidNetwork::Everybody);
        }
        let network = Self { address, bits };
        if network.head(address) == number(address) { Ok(network) } else { Err(InvalidNetwork::BitsBeyondLength) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.address.is_ipv4() { 32 } else { 128 };
        if self.bits == whole { write!(f, "{}", self.address) } else { write!(f, "{}/{}", self.address, self.bits) }
    }
}

/// An address as a number whose first bit is its first.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl Network {
    fn head(&self, address: IpAddr) -> u128 {
        let rest = 128 - self.bits;
        number(address).checked_shr(rest).and_then(|head| head.checked_shl(rest)).unwrap_or_default()
    }

    fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && self.head(address) == number(self.address)
    }
}

/// The proxies whose word on a client's address counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<Network>,
    proxy_protocol: bool,
}

/// A trusted proxy's word cannot be used: its own address counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnclearClient {
    /// An address in the header is none: `unknown`, a name, or nothing that can be read.
    #[error("the header names no address where the client's should stand")]
    Unreadable,
    /// One of the headers may be the client's own.
    #[error("Forwarded and X-Forwarded-For name different clients: have the proxy set one and remove the other")]
    Disagree,
}

impl TrustedProxies {
    /// These proxies; with `proxy_protocol` each of their connections begins with a PROXY header.
    pub fn new(networks: Vec<Network>, proxy_protocol: bool) -> Self {
        Self { networks, proxy_protocol }
    }

    /// The networks.
    pub fn networks(&self) -> &[Network] {
        &self.networks
    }

    /// Whether their connections begin with a PROXY header.
    pub fn speaks_proxy_protocol(&self) -> bool {
        self.proxy_protocol
    }

    /// Whether this address is a trusted proxy's.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }

    /// Who asks, by the lines of the two headers in the order of the request. `sender` is the connection's peer, or whom its
    /// PROXY header names. Where a proxy's word is unclear, the last address that is sure counts, and why it is unclear.
    pub fn client<'h>(
        &self,
        sender: ClientAddr,
        forwarded: impl Iterator<Item = &'h [u8]>,
        x_forwarded_for: impl Iterator<Item = &'h [u8]>,
    ) -> (ClientAddr, Option<UnclearClient>) {
        if !self.trusts(sender.ip) {
            return (sender, None);
        }
        let forwarded = joined(forwarded).map(|text| self.walk(sender, forwarded_nodes(&text)));
        let x_forwarded_for = joined(x_forwarded_for).map(|text| self.walk(sender, x_forwarded_for_nodes(&text)));
        match (forwarded, x_forwarded_for) {
            (None, None) => (sender, None),
            (Some(told), None) | (None, Some(told)) => told,
            (Some(told), Some((other, _))) if told.0.ip == other.ip => told,
            // A proxy that sets one of them may let the client's own other one pass.
            (Some(_), Some(_)) => (sender, Some(UnclearClient::Disagree)),
        }
    }

    /// From the right to the first address that is no trusted proxy.
    fn walk(&self, sender: ClientAddr, nodes: Option<Vec<Option<Node>>>) -> (ClientAddr, Option<UnclearClient>) {
        let mut client = sender;
        let Some(nodes) = nodes else { return (client, Some(UnclearClient::Unreadable)) };
        let via = sender.via.or_else(|| Some(SocketAddr::new(sender.ip, sender.port?)));
        for node in nodes.into_iter().rev() {
            let Some(Node { ip, port }) = node else { return (client, Some(UnclearClient::Unreadable)) };
            client = ClientAddr { ip, port, via };
            if !self.trusts(ip) {
                break;
            }
        }
        (client, None)
    }
}

/// An address as a proxy writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Node {
    ip: IpAddr,
    port: Option<u16>,
}

/// Several lines are one list. What is no ASCII is no address either.
fn joined<'h>(lines: impl Iterator<Item = &'h [u8]>) -> Option<String> {
    let lines: Vec<_> = lines.map(|line| String::from_utf8_lossy(line)).collect();
    (!lines.is_empty()).then(|| lines.join(","))
}

/// `address`, `address:port`, `[address]`, `[address]:port`.
fn node(text: &str) -> Option<Node> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(Node { ip: ip.to_canonical(), port: None });
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(Node { ip: address.ip().to_canonical(), port: Some(address.port()) });
    }
    let (ip, rest) = match text.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']').map(|(ip, rest)| (ip.parse().ok().map(IpAddr::V6), rest))?,
        // A port may be hidden: `192.0.2.1:_p7` (RFC 7239 section 6.2).
        None => text.split_once(':').map(|(ip, port)| (ip.parse().ok().map(IpAddr::V4), port))?,
    };
    let port = rest.trim_start_matches(':');
    let is_hidden = port.starts_with('_') && port.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    (rest.is_empty() || is_hidden).then_some(Node { ip: ip?.to_canonical(), port: None })
}

fn x_forwarded_for_nodes(text: &str) -> Option<Vec<Option<Node>>> {
    Some(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(node).collect())
}

/// The `for` of each element; none for one without. `None` when quotes do not pair, so that elements cannot be told apart.
fn forwarded_nodes(text: &str) -> Option<Vec<Option<Node>>> {
    let mut nodes = Vec::new();
    for element in split_outside_quotes(text, ',')? {
        if element.trim().is_empty() {
            continue;
        }
        let mut found = None;
        let mut clear = true;
        for pair in split_outside_quotes(element, ';')? {
            let Some((name, value)) = pair.split_once('=') else {
                clear &= pair.trim().is_empty();
                continue;
            };
            if name.trim().eq_ignore_ascii_case("for") {
                // One that stands twice says nothing.
                clear &= found.replace(unquoted(value.trim())).is_none();
            }
        }
        nodes.push(found.filter(|_| clear).flatten().and_then(|value| node(&value)));
    }
    Some(nodes)
}

fn split_outside_quotes(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if character == separator && !quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!quoted).then_some(parts)
}

/// A token, or what stands between quotes.
fn unquoted(value: &str) -> Option<String> {
    let Some(inside) = value.strip_prefix('"') else { return Some(value.to_owned()) };
    let inside = inside.strip_suffix('"')?;
    let mut text = String::new();
    let mut characters = inside.chars();
    while let Some(character) = characters.next() {
        text.push(if character == '\\' { characters.next()? } else { character });
    }
    Some(text)
}

#[cfg(test)]
mod tests;
