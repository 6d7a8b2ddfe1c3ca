//! Goal: clients are known by every way that the contract names, and by nothing else, and what they were let in by ends when
//! it ends. Method: the real program over plain text and TLS, with certificates made on the spot and headers written by hand.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use md5::Digest as _;
use rcgen::{DistinguishedName, DnType, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use tungstenite::client::ClientRequestBuilder;
use tungstenite::{Error, HandshakeError, Message, WebSocket};

use crate::support::authority::{Authority, Pair, valid_for, valid_for_days};
use crate::support::http::{self, Answer, Basic};
use crate::support::{Folder, Server};

const PATIENCE: Duration = Duration::from_secs(30);
const STREAM: &str = "/services/v2/stream/s1";
const TOKENS: &str = "/services/v2/tokens";

// --- plain and TLS connections ----------------------------------------------------------------------------------------

/// An authority, and the files of its certificate and of a server's that it signed.
struct Signed {
    authority: Authority,
    folder: Folder,
}

impl Signed {
    /// With a server certificate in `server.pem` and `server.key`, and the authority's in `ca.pem`.
    fn new() -> Self {
        let (authority, folder) = (Authority::new("Test authority"), Folder::new("certificates"));
        std::fs::write(folder.path().join("ca.pem"), authority.certificate.pem()).unwrap();
        let signed = Self { authority, folder };
        signed.renew();
        signed
    }

    fn pair(&self, name: &str) -> Pair {
        let mut params = valid_for(&["127.0.0.1", "localhost"]);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        self.authority.signed(&params)
    }

    /// Another certificate for the server.
    fn renew(&self) {
        self.pair("trailcast").write(self.folder.path());
    }

    fn renew_for(&self, days: i64) {
        self.authority.signed(&valid_for_days(&["127.0.0.1"], days)).write(self.folder.path());
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn server(&self, more: &[&str]) -> Server {
        let (certificate, key) = (self.path("server.pem"), self.path("server.key"));
        let mut arguments = vec!["--tls-certificate", &certificate, "--tls-key", &key];
        arguments.extend_from_slice(more);
        Server::start_with(&arguments, &[])
    }

    fn connect(&self, port: u16, client: Option<&Pair>) -> StreamOwned<ClientConnection, http::Connection> {
        self.connect_by(port, client, rustls::ALL_VERSIONS)
    }

    fn connect_by(
        &self,
        port: u16,
        client: Option<&Pair>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> StreamOwned<ClientConnection, http::Connection> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificate.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_protocol_versions(versions).unwrap().with_root_certificates(roots);
        let config = match client {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        StreamOwned::new(connection, http::connect(port, PATIENCE).unwrap())
    }

    fn get(&self, port: u16, client: Option<&Pair>, target: &str, headers: &[(&str, &str)]) -> Answer {
        http::exchange(&mut self.connect(port, client), port, "GET", target, headers, b"").unwrap()
    }
}

/// Opens a stream's socket over any connection; the status, if it is refused.
fn open<S: Read + Write>(stream: S, port: u16, target: &str, header: Option<&str>) -> Result<WebSocket<S>, u16> {
    let mut request = ClientRequestBuilder::new(format!("ws://127.0.0.1:{port}{target}").parse().unwrap());
    if let Some(header) = header {
        request = request.with_header("Authorization", header);
    }
    match tungstenite::client::client(request, stream) {
        Ok((socket, _)) => Ok(socket),
        Err(HandshakeError::Failure(Error::Http(answer))) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error:?}"),
    }
}

fn open_plain(server: &Server, target: &str, header: Option<&str>) -> Result<WebSocket<http::Connection>, u16> {
    open(http::connect(server.port(), PATIENCE).unwrap(), server.port(), target, header)
}

/// The next message with rows.
fn rows<S: Read + Write>(socket: &mut WebSocket<S>) -> String {
    loop {
        let message = socket.read().unwrap();
        if message.is_text() && message.to_text().unwrap().contains("\"pos\"") {
            return message.to_text().unwrap().to_owned();
        }
    }
}

/// The close code that ends the socket.
fn close_code<S: Read + Write>(socket: &mut WebSocket<S>) -> u16 {
    loop {
        if let Message::Close(close) = socket.read().unwrap() {
            while socket.read().is_ok() {}
            return close.unwrap().code.into();
        }
    }
}

// --- servers ------------------------------------------------------------------------------------------------------------

/// One trail with one row, and two streams over it.
fn furnish(call: impl Fn(&str, &str, &Value) -> Answer) {
    call("POST", "/services/v2/trails/a1", &json!({})).expect(200);
    for stream in ["s1", "s2"] {
        call("POST", &format!("/services/v2/stream/{stream}"), &json!({"source": {"trail": "a1"}})).expect(200);
    }
    let row = json!({"xid": "x1", "operations": [
        {"op": "INSERT", "table": "app.t", "key": ["id"], "after": {"id": 1}}]});
    call("POST", "/services/v2/trails/a1/transactions", &row).expect(200);
}

fn furnished(arguments: &[&str], environment: &[(&str, &str)]) -> Server {
    let server = Server::start_with(arguments, environment);
    furnish(|method, target, body| {
        server.request(method, target, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    });
    server
}

fn add_user(server: &Server, name: &str, role: &str) -> Basic {
    let body = json!({"role": role, "password": "pass-word-1"});
    server.post(&format!("/services/v2/users/{name}"), &body).expect(200);
    Basic::new(name, "pass-word-1")
}

fn get(server: &Server, target: &str, header: Option<&str>) -> Answer {
    let headers: Vec<(&str, &str)> = header.map(|header| ("Authorization", header)).into_iter().collect();
    http::request(server.port(), "GET", target, &headers, b"").unwrap()
}

fn post_as(server: &Server, header: &str, target: &str, body: &Value) -> Answer {
    let headers = [("Authorization", header), ("Content-Type", "application/json")];
    http::request(server.port(), "POST", target, &headers, body.to_string().as_bytes()).unwrap()
}

fn token(server: &Server, header: &str, seconds: u64) -> String {
    let answer = post_as(server, header, TOKENS, &json!({"stream": "s1", "ttlSeconds": seconds})).expect(200);
    answer.response()["token"].as_str().unwrap().to_owned()
}

// --- TLS ----------------------------------------------------------------------------------------------------------------

#[test]
fn rest_and_sockets_are_served_over_both_versions_of_tls() {
    let authority = Signed::new();
    let server = authority.server(&[]);
    let (port, admin) = (server.port(), server.credentials().header().to_owned());
    server.says(&format!("listening on https://127.0.0.1:{port}"));
    furnish(|method, target, body| {
        let headers = [("Authorization", admin.as_str()), ("Content-Type", "application/json")];
        let mut stream = authority.connect(port, None);
        http::exchange(&mut stream, port, method, target, &headers, body.to_string().as_bytes()).unwrap()
    });
    let document =
        authority.get(port, None, &format!("{STREAM}/yaml"), &[("Authorization", &admin)]).expect(200).text();
    assert!(document.contains("protocol: wss") && document.contains("bearerAuth"), "{document}");
    assert!(!document.contains("digestAuth") && !document.contains("X509"), "{document}");
    for versions in [[&rustls::version::TLS12], [&rustls::version::TLS13]] {
        let stream = authority.connect_by(port, None, &versions);
        let mut socket = open(stream, port, &format!("{STREAM}?begin=earliest"), Some(&admin)).unwrap();
        assert!(rows(&mut socket).contains("app.t"));
    }
    // Plain text at this door is no conversation.
    assert!(http::request(port, "GET", "/healthz", &[], b"").is_err());
}

#[test]
fn a_new_certificate_is_taken_without_a_restart_and_a_bad_one_is_not() {
    let authority = Signed::new();
    let server = authority.server(&[]);
    let shown = || {
        let mut stream = authority.connect(server.port(), None);
        http::exchange(&mut stream, server.port(), "GET", "/healthz", &[], b"").unwrap().expect(200);
        stream.conn.peer_certificates().unwrap()[0].to_vec()
    };
    let first = shown();
    std::fs::write(authority.path("server.pem"), "no certificate").unwrap();
    hang_up(server.pid());
    server.wait_for_log("new TLS files refused", PATIENCE).unwrap();
    assert_eq!(shown(), first);
    authority.renew();
    // No signal: the server looks by itself.
    server.wait_for_log("new TLS certificate in use", PATIENCE).unwrap();
    assert_ne!(shown(), first);
}

#[test]
fn a_certificate_that_expires_is_told_by_the_log_the_figures_and_when_it_is_over_by_readiness() {
    let authority = Signed::new();
    authority.renew_for(7);
    let server = authority.server(&[]);
    let line = server.says("a TLS certificate expires in 7 days");
    assert!(line.contains("WARN") && line.contains("tls.certificate"), "{line}");
    let expiry = || {
        let admin = server.credentials().header().to_owned();
        let page = authority.get(server.port(), None, "/metrics", &[("Authorization", &admin)]).expect(200).text();
        let name = "trailcast_tls_certificate_expiry_timestamp_seconds{file=\"certificate\"} ";
        page.lines().find_map(|line| line.strip_prefix(name)?.parse::<f64>().ok()).expect("the figure")
    };
    let days = (expiry() - seconds_from_now(0) as f64) / 86_400.0;
    assert!((6.9..7.1).contains(&days), "{days}");
    // The handshake with one that has expired fails at the client: asked for is what the log says.
    authority.renew_for(-2);
    server.says("a TLS certificate has expired");
    authority.renew_for(90);
    server.says_times("new TLS certificate in use", 2);
    assert!((expiry() - seconds_from_now(0) as f64) / 86_400.0 > 89.0);
}

fn hang_up(pid: u32) {
    let done = std::process::Command::new("sh").arg("-c").arg(format!("kill -HUP {pid}")).status().unwrap();
    assert!(done.success());
}

#[test]
fn a_client_certificate_stands_for_its_user() {
    let authority = Signed::new();
    let config = authority.path("t.toml");
    let ca = authority.path("ca.pem");
    std::fs::write(&config, "[tls.users]\n\"Service 7\" = \"ann\"\n").unwrap();
    let server = authority.server(&["--tls-client-ca", &ca, "--config", &config]);
    let (port, admin) = (server.port(), server.credentials().header().to_owned());
    let call = |method: &str, target: &str, body: &Value| {
        let headers = [("Authorization", admin.as_str()), ("Content-Type", "application/json")];
        let mut stream = authority.connect(port, None);
        http::exchange(&mut stream, port, method, target, &headers, body.to_string().as_bytes()).unwrap()
    };
    furnish(call);
    let ann = authority.pair("ann");
    let before = authority.get(port, Some(&ann), STREAM, &[]);
    assert_eq!(before.status, 401, "a certificate without a user: {before}");
    call("POST", "/services/v2/users/ann", &json!({"role": "Operator", "password": "p"})).expect(200);
    authority.get(port, Some(&ann), STREAM, &[]).expect(200);
    authority.get(port, Some(&authority.pair("Service 7")), STREAM, &[]).expect(200);
    authority.get(port, Some(&ann), "/services/v2/users", &[]).expect(403);
    authority.get(port, None, STREAM, &[]).expect(401);
    let document = authority.get(port, Some(&ann), &format!("{STREAM}/yaml"), &[]).expect(200).text();
    assert!(document.contains("X509"), "{document}");
    let mut socket = open(authority.connect(port, Some(&ann)), port, STREAM, None).unwrap();
    assert!(rows(&mut socket).contains("app.t"));
    // Another authority's word does not count, and a certificate does not outlive its user.
    let stranger = Signed::new().pair("ann");
    let mut stream = authority.connect(port, Some(&stranger));
    assert!(http::exchange(&mut stream, port, "GET", STREAM, &[], b"").is_err());
    call("DELETE", "/services/v2/users/ann", &json!({})).expect(200);
    assert_eq!(close_code(&mut socket), 4001);
    authority.get(port, Some(&ann), STREAM, &[]).expect(401);
}

// --- Digest -------------------------------------------------------------------------------------------------------------

struct Challenge {
    algorithm: String,
    nonce: String,
}

/// The Digest challenges, in the order of the header lines.
fn challenges(answer: &Answer) -> Vec<Challenge> {
    let lines = answer.headers.iter().filter(|(name, _)| name == "www-authenticate").map(|(_, line)| line);
    let member = |line: &str, name: &str| {
        let rest = line.split(&format!("{name}=")).nth(1)?;
        Some(rest.split(',').next()?.trim().trim_matches('"').to_owned())
    };
    lines
        .filter(|line| line.starts_with("Digest "))
        .map(|line| Challenge { algorithm: member(line, "algorithm").unwrap(), nonce: member(line, "nonce").unwrap() })
        .collect()
}

impl Challenge {
    /// The header that a client computes over `uri`.
    fn answered(&self, user: &str, password: &str, uri: &str) -> String {
        let hash = |text: String| -> String {
            let bytes = match self.algorithm.as_str() {
                "MD5" => md5::Md5::digest(text).to_vec(),
                "SHA-256" => sha2::Sha256::digest(text).to_vec(),
                other => panic!("{other}"),
            };
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        };
        let secret = hash(format!("{user}:trailcast:{password}"));
        let request = hash(format!("GET:{uri}"));
        let response = hash(format!("{secret}:{}:00000001:c0ffee:auth:{request}", self.nonce));
        format!(
            "Digest username=\"{user}\", realm=\"trailcast\", nonce=\"{}\", uri=\"{uri}\", response=\"{response}\", \
             algorithm={}, cnonce=\"c0ffee\", qop=auth, nc=00000001",
            self.nonce, self.algorithm
        )
    }
}

#[test]
fn digest_is_taken_as_the_generated_clients_send_it() {
    let server = furnished(&["--digest"], &[]);
    add_user(&server, "ann", "Operator");
    let refused = get(&server, STREAM, None).expect(401);
    let offered = challenges(&refused);
    assert!(refused.header("www-authenticate").unwrap().starts_with("Digest "), "the first line is all that one reads");
    assert!(refused.headers.iter().any(|(name, line)| name == "www-authenticate" && line.starts_with("Basic ")));
    assert_eq!(offered.iter().map(|one| one.algorithm.as_str()).collect::<Vec<_>>(), ["SHA-256", "MD5"]);
    for challenge in &offered {
        // Over the path alone, first on the plain GET and then, unchanged, on the upgrade with its query.
        let header = challenge.answered("ann", "pass-word-1", STREAM);
        get(&server, STREAM, Some(&header)).expect(200);
        let mut socket = open_plain(&server, &format!("{STREAM}?begin=earliest"), Some(&header)).unwrap();
        assert!(rows(&mut socket).contains("app.t"));
        // Over nothing, as Go's does; it opens streams and nothing else.
        let header = challenge.answered("ann", "pass-word-1", "");
        assert!(open_plain(&server, &format!("{STREAM}?begin=now"), Some(&header)).is_ok());
        get(&server, "/services/v2/trails", Some(&header)).expect(403);
        get(&server, STREAM, Some(&challenge.answered("ann", "wrong", STREAM))).expect(401);
        get(&server, STREAM, Some(&challenge.answered("ann", "pass-word-1", "/services/v2/stream/s2"))).expect(401);
        get(&server, STREAM, Some(&challenge.answered("nobody", "pass-word-1", STREAM))).expect(401);
    }
    let foreign = Challenge { algorithm: "MD5".into(), nonce: "AAAAAAAAAAAAAAAA".into() };
    let stale = get(&server, STREAM, Some(&foreign.answered("ann", "pass-word-1", STREAM))).expect(401);
    assert!(stale.header("www-authenticate").unwrap().contains("stale=true"));
    let document = server.get(&format!("{STREAM}/yaml")).text();
    assert!(document.contains("scheme: digest"), "{document}");
}

#[test]
fn digest_is_off_unless_asked_for_and_then_leaves_no_hashes() {
    let server = furnished(&[], &[]);
    let refused = get(&server, STREAM, None).expect(401);
    assert!(challenges(&refused).is_empty());
    let catalog = std::fs::read(server.data_dir().join("catalog.redb")).unwrap();
    assert!(!catalog.windows(8).any(|bytes| bytes == b"\"digest\""));
    assert!(catalog.windows(9).any(|bytes| bytes == b"$argon2id"), "the catalog's text is found this way");
}

// --- tokens -------------------------------------------------------------------------------------------------------------

#[test]
fn a_streams_token_opens_its_stream_and_nothing_else() {
    let server = furnished(&[], &[]);
    let ann = add_user(&server, "ann", "Operator");
    let token = token(&server, ann.header(), 600);
    let bearer = format!("Bearer {token}");
    for path in ["", "/yaml", "/asyncapi.yaml", "/asyncapi.json"] {
        get(&server, &format!("{STREAM}{path}"), Some(&bearer)).expect(200);
        get(&server, &format!("{STREAM}{path}?access_token={token}"), None).expect(200);
        get(&server, &format!("/services/v2/stream/s2{path}"), Some(&bearer)).expect(403);
    }
    for target in ["/services/v2/stream", "/services/v2/trails", "/services/v2/stream/s1/info"] {
        get(&server, target, Some(&bearer)).expect(403);
    }
    post_as(&server, &bearer, TOKENS, &json!({"stream": "s1"})).expect(403);
    let mut by_query = open_plain(&server, &format!("{STREAM}?access_token={token}&begin=earliest"), None).unwrap();
    assert!(rows(&mut by_query).contains("app.t"));
    assert!(open_plain(&server, STREAM, Some(&bearer)).is_ok());
    assert_eq!(open_plain(&server, "/services/v2/stream/s2", Some(&bearer)).unwrap_err(), 403);
    let mut altered = token.clone();
    altered.insert(8, 'A');
    get(&server, STREAM, Some(&format!("Bearer {altered}"))).expect(401);

    // A new password ends what was given out before; a restart does not.
    let mut server = server;
    assert!(server.terminate().success());
    server.start_again();
    get(&server, STREAM, Some(&bearer)).expect(200);
    server.patch("/services/v2/users/ann", &json!({"password": "pass-word-2"})).expect(200);
    get(&server, STREAM, Some(&bearer)).expect(401);
}

#[test]
fn who_may_not_read_streams_gets_no_token_and_out_of_range_is_said() {
    let server = furnished(&[], &[]);
    let bob = add_user(&server, "bob", "User");
    post_as(&server, bob.header(), TOKENS, &json!({"stream": "s1"})).expect(403);
    assert_eq!(server.post(TOKENS, &json!({"stream": "nowhere"})).status, 404);
    for seconds in [0, 86_401] {
        let answer = server.post(TOKENS, &json!({"stream": "s1", "ttlSeconds": seconds})).expect(400);
        assert!(answer.titles().contains("ttlSeconds"), "{answer}");
    }
}

#[test]
fn an_expired_token_closes_its_session_with_4000() {
    let server = furnished(&[], &[]);
    let token = token(&server, server.credentials().header(), 5);
    let started = Instant::now();
    let mut socket = open_plain(&server, &format!("{STREAM}?access_token={token}"), None).unwrap();
    assert_eq!(close_code(&mut socket), 4000);
    assert!(started.elapsed() > Duration::from_secs(1), "{:?}", started.elapsed());
    let late = get(&server, &format!("{STREAM}?access_token={token}"), None).expect(401);
    assert!(late.titles().contains("expired"), "{late}");
}

#[test]
fn a_user_removed_or_demoted_loses_his_sessions_with_4001() {
    let server = furnished(&[], &[]);
    let (ann, bob, eve) = (
        add_user(&server, "ann", "Operator"),
        add_user(&server, "bob", "Operator"),
        add_user(&server, "eve", "Operator"),
    );
    let token = token(&server, ann.header(), 600);
    let mut by_password = open_plain(&server, STREAM, Some(ann.header())).unwrap();
    let mut by_token = open_plain(&server, &format!("{STREAM}?access_token={token}"), None).unwrap();
    let mut demoted = open_plain(&server, STREAM, Some(bob.header())).unwrap();
    let mut stays = open_plain(&server, STREAM, Some(eve.header())).unwrap();
    server.delete("/services/v2/users/ann").expect(200);
    assert_eq!((close_code(&mut by_password), close_code(&mut by_token)), (4001, 4001));
    server.patch("/services/v2/users/bob", &json!({"role": "User"})).expect(200);
    assert_eq!(close_code(&mut demoted), 4001);
    rows(&mut stays);
    server.put("a1", &[json!({"operations": [{"op": "INSERT", "table": "app.t", "after": {"id": 2}}]})]).expect(200);
    rows(&mut stays);
}

#[test]
fn a_new_password_ends_the_tokens_and_the_sessions_of_its_user_with_4001() {
    let server = furnished(&[], &[]);
    let (ann, eve) = (add_user(&server, "ann", "Operator"), add_user(&server, "eve", "Operator"));
    let token = token(&server, ann.header(), 600);
    let with_token = format!("{STREAM}?access_token={token}");
    let mut by_password = open_plain(&server, STREAM, Some(ann.header())).unwrap();
    let mut by_token = open_plain(&server, &with_token, None).unwrap();
    let mut others = open_plain(&server, STREAM, Some(eve.header())).unwrap();
    rows(&mut others);
    server.patch("/services/v2/users/ann", &json!({"password": "pass-word-2"})).expect(200);
    assert_eq!((close_code(&mut by_password), close_code(&mut by_token)), (4001, 4001));
    get(&server, &with_token, None).expect(401);
    get(&server, STREAM, Some(ann.header())).expect(401);
    get(&server, STREAM, Some(Basic::new("ann", "pass-word-2").header())).expect(200);
    server.put("a1", &[json!({"operations": [{"op": "INSERT", "table": "app.t", "after": {"id": 2}}]})]).expect(200);
    rows(&mut others);
}

// --- another issuer's tokens --------------------------------------------------------------------------------------------

fn jwt(key: &KeyPair, claims: &Value) -> String {
    let key = EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).unwrap();
    format!("Bearer {}", jsonwebtoken::encode(&Header::new(Algorithm::ES256), claims, &key).unwrap())
}

fn seconds_from_now(seconds: u64) -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_secs() + seconds
}

fn write_jwt_config(folder: &Path, key: &KeyPair, role_claim: &str) -> String {
    let keys = folder.join("keys.pem");
    std::fs::write(&keys, key.public_key_pem()).unwrap();
    let path = folder.join("trailcast.toml");
    let text = format!(
        "[jwt]\nissuer = \"https://issuer.example\"\naudience = \"trailcast\"\nalgorithms = [\"ES256\"]\n\
         keys = {keys:?}\n{role_claim}\n"
    );
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn another_issuers_token_is_narrowed_by_its_claim_beside_its_user_and_refused_without_one() {
    let (folder, key) = (Folder::new("jwt"), KeyPair::generate().unwrap());
    for role_claim in ["roleClaim = \"role\"\n", ""] {
        let config = write_jwt_config(folder.path(), &key, &format!("{role_claim}grantsClaim = \"may.trailcast\""));
        let server = furnished(&["--config", &config], &[]);
        let narrowed =
            json!({"role": "Operator", "password": "correct-horse-9", "grants": ["read trails=* streams=s*"]});
        server.post("/services/v2/users/carol", &narrowed).expect(200);
        let status = |grants: Value| {
            let claims = json!({"iss": "https://issuer.example", "aud": "trailcast", "sub": "carol", "role": "Operator",
                                "exp": seconds_from_now(600), "may": {"trailcast": grants}});
            get(&server, STREAM, Some(&jwt(&key, &claims))).status
        };
        assert_eq!(status(json!([{"trails": ["a*"], "streams": ["s1"], "may": ["read"]}])), 200);
        assert_eq!(status(json!(["read trails=a1 streams=*"])), 200);
        assert_eq!(status(json!(["read trails=b* streams=*"])), 404);
        assert_eq!(status(json!(["read trails=a* streams=t*"])), 403);
        for unreadable in [Value::Null, json!([]), json!("read trails=* streams=*"), json!([{"trails": ["*"]}])] {
            assert_eq!(status(unreadable.clone()), 403, "{unreadable}");
        }
        // A user who exists here has what both allow; one who does not has what his token allows.
        server.patch("/services/v2/users/carol", &json!({"grants": ["read trails=* streams=t*"]})).expect(200);
        assert_eq!(status(json!(["read trails=a1 streams=*"])), 403);
        if !role_claim.is_empty() {
            server.delete("/services/v2/users/carol").expect(200);
            assert_eq!(status(json!(["read trails=a1 streams=*"])), 200);
        }
    }
}

#[test]
fn another_issuers_token_gives_the_role_that_it_names_until_it_expires() {
    let (folder, key) = (Folder::new("jwt"), KeyPair::generate().unwrap());
    let config = write_jwt_config(folder.path(), &key, "roleClaim = \"trailcast.role\"");
    let server = furnished(&["--config", &config], &[]);
    let claims = |role: &str, seconds: u64| {
        json!({"iss": "https://issuer.example", "aud": "trailcast", "sub": "carol", "exp": seconds_from_now(seconds),
               "trailcast": {"role": role}})
    };
    let operator = jwt(&key, &claims("Operator", 600));
    get(&server, STREAM, Some(&operator)).expect(200);
    get(&server, "/services/v2/users", Some(&operator)).expect(403);
    get(&server, STREAM, Some(&jwt(&key, &claims("User", 600)))).expect(403);
    get(&server, STREAM, Some(&jwt(&KeyPair::generate().unwrap(), &claims("Operator", 600)))).expect(401);
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = format!("Bearer {}.{}.", part(json!({"alg": "none"})), part(claims("Administrator", 600)));
    get(&server, STREAM, Some(&unsigned)).expect(401);
    // In the address it counts for streams only.
    let text = operator.strip_prefix("Bearer ").unwrap();
    get(&server, &format!("{STREAM}?access_token={text}"), None).expect(200);
    get(&server, &format!("/services/v2/trails?access_token={text}"), None).expect(403);
    let mut socket = open_plain(&server, STREAM, Some(&jwt(&key, &claims("Operator", 3)))).unwrap();
    assert_eq!(close_code(&mut socket), 4000);
}

#[test]
fn new_keys_count_without_a_restart_and_a_bad_file_of_keys_does_not() {
    let folder = crate::support::Folder::new("jwt");
    let (old, new) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let config = write_jwt_config(folder.path(), &old, "roleClaim = \"role\"");
    let server = furnished(&["--config", &config], &[]);
    let claims = json!({"iss": "https://issuer.example", "aud": "trailcast", "sub": "carol", "role": "Operator",
        "exp": seconds_from_now(600)});
    get(&server, STREAM, Some(&jwt(&old, &claims))).expect(200);
    get(&server, STREAM, Some(&jwt(&new, &claims))).expect(401);
    let keys = folder.path().join("keys.pem");
    std::fs::write(&keys, "no key").unwrap();
    hang_up(server.pid());
    server.wait_for_log("new keys of tokens refused", PATIENCE).unwrap();
    get(&server, STREAM, Some(&jwt(&old, &claims))).expect(200);
    std::fs::write(&keys, new.public_key_pem()).unwrap();
    hang_up(server.pid());
    server.wait_for_log("new keys of tokens in use", PATIENCE).unwrap();
    get(&server, STREAM, Some(&jwt(&new, &claims))).expect(200);
    get(&server, STREAM, Some(&jwt(&old, &claims))).expect(401);
}

#[test]
fn without_a_role_claim_the_user_must_be_one_of_ours() {
    let (folder, key) = (Folder::new("jwt"), KeyPair::generate().unwrap());
    let config = write_jwt_config(folder.path(), &key, "");
    let server = furnished(&["--config", &config], &[]);
    let header = jwt(
        &key,
        &json!({"iss": "https://issuer.example", "aud": "trailcast", "sub": "carol", "exp": seconds_from_now(600)}),
    );
    get(&server, STREAM, Some(&header)).expect(401);
    add_user(&server, "carol", "Operator");
    let mut socket = open_plain(&server, STREAM, Some(&header)).unwrap();
    server.delete("/services/v2/users/carol").expect(200);
    assert_eq!(close_code(&mut socket), 4001);
}

// --- what is not said, and what the kernel is told ----------------------------------------------------------------------

#[test]
fn no_password_token_or_query_is_ever_logged() {
    let mut server = furnished(&["--digest"], &[("TRAILCAST_LOG", "debug,trailcast=trace")]);
    let ann = add_user(&server, "ann", "Operator");
    let token = token(&server, ann.header(), 600);
    let mut socket = open_plain(&server, &format!("{STREAM}?begin=earliest&access_token={token}"), None).unwrap();
    rows(&mut socket);
    drop(socket);
    get(&server, &format!("{STREAM}?access_token={token}x&mark=query-mark"), None).expect(401);
    get(&server, STREAM, Some(Basic::new("ann", "guess-word-3").header())).expect(401);
    server.says("session-end");
    let log = server.last_words();
    let encoded = ann.header().trim_start_matches("Basic ");
    for secret in [token.as_str(), "access_token", "query-mark", "pass-word-1", "guess-word-3", encoded] {
        assert!(!log.contains(secret), "{secret:?} stands in the log:\n{log}");
    }
    assert!(log.contains("session-start") && log.contains("ann"), "{log}");
}

#[test]
fn the_kernel_looks_after_idle_sockets_in_the_time_of_the_stream() {
    let server = furnished(&[], &[]);
    server.patch(STREAM, &json!({"tcpKeepAliveTimeout": 7})).expect(200);
    let mut socket =
        open_plain(&server, &format!("{STREAM}?begin=earliest"), Some(server.credentials().header())).unwrap();
    rows(&mut socket);
    let client = socket.get_ref().local_addr().unwrap().port();
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Field 5: which timer runs (02: keep-alive), and in how many hundredths of a second it fires.
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let ours = (format!(":{:04X}", server.port()), format!(":{client:04X}"));
        let timer = table.lines().find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_ours = fields[1].ends_with(&ours.0) && fields[2].ends_with(&ours.1);
            is_ours.then(|| fields[5].to_owned())
        });
        let timer = timer.unwrap();
        let (kind, left) = timer.split_once(':').unwrap();
        if kind == "02" {
            let left = u64::from_str_radix(left, 16).unwrap();
            assert!(left <= 700, "{left}");
            return;
        }
        // Another timer may run while an acknowledgement is on its way.
        assert!(Instant::now() < deadline, "{timer}");
        std::thread::yield_now();
    }
}
