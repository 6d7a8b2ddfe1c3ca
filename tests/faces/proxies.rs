//! Goal: behind a proxy each client is known by its own address, for failed log-ins, caps and the audit, and nobody chooses
//! the address that he is known by. Method: this process is the proxy; it writes the headers that proxies write, and those
//! of liars. Where nobody is trusted, the same requests show what goes wrong.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::http::{self, Answer, Basic};
use crate::support::{Folder, Server, until};

const PATIENCE: Duration = Duration::from_secs(30);
const LIST: &str = "/services/v2/stream";
/// Failed log-ins of one address that are answered with 401 (`limits::FAILED_LOGINS_PER_ADDRESS_MAX`).
const OF_ADDRESS: usize = 100;

/// GET, with a password and further header fields.
fn get(server: &Server, credentials: &Basic, more: &[(&str, &str)]) -> Answer {
    let mut headers = vec![("Authorization", credentials.header())];
    headers.extend_from_slice(more);
    http::request(server.port(), "GET", LIST, &headers, b"").unwrap()
}

/// Guesses from `from` until they are held.
fn guess(server: &Server, from: &[(&str, &str)]) {
    for number in 0..OF_ADDRESS {
        assert_eq!(get(server, &Basic::new(&format!("nobody{number}"), "guess"), from).status, 401, "guess {number}");
    }
    assert_eq!(get(server, &Basic::new("nobody", "guess"), from).status, 429);
}

fn add_user(server: &Server, name: &str) -> Basic {
    server.post(&format!("/services/v2/users/{name}"), &json!({"role": "User", "password": "pass-word-1"})).expect(200);
    Basic::new(name, "pass-word-1")
}

#[test]
fn a_guesser_behind_the_proxy_locks_out_himself_and_nobody_else() {
    let server = Server::start_with(&["--trusted-proxy", "127.0.0.0/8"], &[]);
    let ann = add_user(&server, "ann");
    let guesser = [("X-Forwarded-For", "192.0.2.66")];
    guess(&server, &guesser);
    assert_eq!(get(&server, &ann, &guesser).status, 429, "who was never here before waits there too");
    get(&server, &ann, &[("X-Forwarded-For", "192.0.2.7")]).expect(200);
    get(&server, &ann, &[("Forwarded", "for=\"192.0.2.8:4711\";proto=https")]).expect(200);
    // What the guesser writes himself stands further left.
    let bob = add_user(&server, "bob");
    assert_eq!(get(&server, &bob, &[("X-Forwarded-For", "192.0.2.7, 192.0.2.66")]).status, 429);
    assert_eq!(get(&server, &bob, &[("Forwarded", "for=192.0.2.7, for=192.0.2.66")]).status, 429);
}

#[test]
fn without_a_trusted_proxy_headers_count_for_nothing() {
    // The control: one guesser behind a proxy that is not named locks out everybody who was not there before.
    let server = Server::start_with(&["--trusted-proxy", "10.0.0.0/8,fd00::/8"], &[]);
    let (ann, bob) = (add_user(&server, "ann"), add_user(&server, "bob"));
    get(&server, &ann, &[]).expect(200);
    guess(&server, &[("X-Forwarded-For", "192.0.2.66")]);
    for header in [("X-Forwarded-For", "192.0.2.7"), ("Forwarded", "for=192.0.2.7")] {
        assert_eq!(get(&server, &bob, &[header]).status, 429);
        get(&server, &ann, &[header]).expect(200);
    }
}

#[test]
fn a_client_behind_the_proxy_has_places_of_its_own() {
    let folder = Folder::new("proxies");
    let config = folder.path().join("t.toml");
    std::fs::write(
        &config,
        "trustedProxies = [\"127.0.0.1\"]\n[limits]\nconnections = 20\nconnectionsPerAddress = 2\n",
    )
    .unwrap();
    let server = Server::start_with(&["--config", config.to_str().unwrap()], &[]);
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    let open = |client: &str| {
        let mut socket = http::connect(server.port(), PATIENCE).unwrap();
        let request = format!(
            "GET /services/v2/stream/s1 HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {}\r\nX-Forwarded-For: {client}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            server.credentials().header()
        );
        socket.write_all(request.as_bytes()).unwrap();
        let mut head = [0; 12];
        socket.read_exact(&mut head).unwrap();
        (String::from_utf8_lossy(&head[9..]).into_owned(), socket)
    };
    let held: Vec<(String, http::Connection)> = ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"].map(open).into();
    assert!(held.iter().all(|(status, _)| status == "101"), "more of the proxy's than one address may have: {held:?}");
    assert_eq!(open("192.0.2.1").0, "429");
    assert_eq!(open("9.9.9.9, 192.0.2.1").0, "429");
    server.sample_until("trailcast_limit_hits_total{limit=\"connections_per_address\"}", |hits| hits == 2.0);
    // Its places are free again when its sockets end.
    drop(held);
    until(|| match open("192.0.2.1") {
        (status, _) if status == "101" => Ok(()),
        (status, _) => Err(status),
    });
}

/// A server with an audit file that a proxy at 127.0.0.1 speaks the PROXY protocol to.
struct Proxied {
    server: Server,
    audit: std::path::PathBuf,
    _folder: Folder,
}

impl Proxied {
    fn new(trusted: &str) -> Self {
        let folder = Folder::new("proxies");
        let audit = folder.path().join("audit.log");
        let config = folder.path().join("t.toml");
        let text = format!("trustedProxies = [\"{trusted}\"]\nproxyProtocol = true\n[limits]\nheaderSeconds = 1\n");
        std::fs::write(&config, text).unwrap();
        // It starts where nobody can ask it without a header: the test's own requests have one.
        let arguments = ["--config", config.to_str().unwrap(), "--audit-log", audit.to_str().unwrap()];
        Self { server: Server::start_with(&arguments, &[]), audit, _folder: folder }
    }

    /// All that comes back for a request behind these bytes; none if the connection is closed without a word.
    fn after(&self, header: &[u8], method: &str, target: &str, more: &[(&str, &str)]) -> Option<Answer> {
        let mut socket = http::connect(self.server.port(), PATIENCE).unwrap();
        socket.write_all(header).unwrap();
        let mut headers = vec![("Authorization", self.server.credentials().header())];
        headers.extend_from_slice(more);
        http::exchange(&mut socket, self.server.port(), method, target, &headers, b"").ok()
    }

    /// Who the audit says made the change after this header.
    fn known_after(&self, header: &[u8], more: &[(&str, &str)]) -> Value {
        let name = format!("a{}", self.lines().len());
        let target = format!("/services/v2/trails/{name}");
        let mut more = more.to_vec();
        more.push(("Content-Type", "application/json"));
        let answer = self.after(header, "DELETE", &target, &more).expect("an answer");
        assert_eq!(answer.status, 404);
        self.lines().into_iter().find(|line| line["path"] == target).expect("a line")
    }

    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.audit).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn version_2(source: [u8; 4], port: u16) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend_from_slice(&source);
    header.extend_from_slice(&[127, 0, 0, 1]);
    header.extend_from_slice(&port.to_be_bytes());
    header.extend_from_slice(&[0, 80]);
    header
}

#[test]
fn the_proxy_protocol_tells_whose_connection_it_is() {
    let proxied = Proxied::new("127.0.0.1");
    let first = proxied.known_after(b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\r\n", &[]);
    assert_eq!(first["peer"], "192.0.2.7:4711");
    assert!(first["via"].as_str().unwrap().starts_with("127.0.0.1:"), "{first}");
    let six = proxied.known_after(b"PROXY TCP6 2001:db8::7 ::1 4712 80\r\n", &[]);
    assert_eq!(six["peer"], "[2001:db8::7]:4712");
    assert_eq!(proxied.known_after(&version_2([192, 0, 2, 8], 4713), &[])["peer"], "192.0.2.8:4713");
    // The client behind it is no proxy of ours: what it says of itself counts for nothing.
    let liar = proxied.known_after(&version_2([192, 0, 2, 9], 1), &[("X-Forwarded-For", "127.0.0.1")]);
    assert_eq!(liar["peer"], "192.0.2.9:1");
    // Two proxies of ours, the first of which speaks in HTTP.
    let chained = proxied.known_after(&version_2([127, 0, 0, 1], 1), &[("X-Forwarded-For", "192.0.2.10")]);
    assert_eq!(chained["peer"], "192.0.2.10");
    // The proxy's own look whether we live.
    for own in [b"PROXY UNKNOWN\r\n".as_slice(), b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let line = proxied.known_after(own, &[]);
        assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:") && line.get("via").is_none(), "{line}");
    }
}

#[test]
fn a_proxys_connection_without_its_header_is_closed_and_one_that_says_nothing_too() {
    let proxied = Proxied::new("127.0.0.1");
    for bad in [b"".as_slice(), b"PROXY TCP4 1.2.3 4.5.6.7 1 2\r\n", b"PROXY TCP4 ", &[b'P'; 200]] {
        assert!(proxied.after(bad, "GET", "/healthz", &[]).is_none(), "{bad:?}");
    }
    proxied.server.says("a trusted proxy's connection was closed");
    let mut silent = http::connect(proxied.server.port(), PATIENCE).unwrap();
    silent.write_all(b"PROXY TCP4 192.0.2.7 127.0.0.1 47").unwrap();
    assert_eq!(silent.read(&mut [0; 16]).unwrap(), 0, "its time is over");
    proxied.after(b"PROXY UNKNOWN\r\n", "GET", "/healthz", &[]).expect("the next one is served").expect(200);
}

#[test]
fn who_is_no_proxy_of_ours_may_send_no_such_header() {
    let proxied = Proxied::new("10.0.0.0/8");
    let answer = proxied.after(b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\r\n", "GET", "/healthz", &[]);
    assert!(answer.is_none_or(|answer| answer.status == 400));
    proxied.after(b"", "GET", "/healthz", &[]).unwrap().expect(200);
    let line = proxied.known_after(b"", &[("X-Forwarded-For", "192.0.2.7")]);
    assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
}

#[test]
fn a_header_that_says_nothing_clear_leaves_the_proxys_own_address() {
    let folder = Folder::new("proxies");
    let audit = folder.path().join("audit.log");
    let server = Server::start_with(&["--trusted-proxy", "127.0.0.1", "--audit-log", audit.to_str().unwrap()], &[]);
    for (number, headers) in [
        vec![("X-Forwarded-For", "unknown")],
        vec![("Forwarded", "for=_hidden")],
        vec![("Forwarded", "for=\"192.0.2.7")],
        vec![("Forwarded", "for=192.0.2.7"), ("X-Forwarded-For", "192.0.2.8")],
    ]
    .into_iter()
    .enumerate()
    {
        let target = format!("/services/v2/trails/t{number}");
        server.request("DELETE", &target, &headers, b"").expect(404);
        let text = std::fs::read_to_string(&audit).unwrap();
        let line = text.lines().find(|line| line.contains(&target)).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
    }
    server.says("a trusted proxy does not say for whom it asks");
}
