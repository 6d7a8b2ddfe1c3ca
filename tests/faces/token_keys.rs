//! Goal: keys of tokens that their issuer serves are fetched, followed when they change, and kept when the issuer fails.
//! Method: an issuer on this host, over TLS, that serves what the test wants, and tokens signed with its keys.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::KeyPair;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use crate::support::authority::{Authority, valid_for};
use crate::support::{Folder, Server, http, until};

const TRAILS: &str = "/services/v2/trails";

/// What the issuer answers: status and body.
type Served = Arc<Mutex<(u16, String)>>;

struct KeyServer {
    served: Served,
    port: u16,
    folder: Folder,
}

impl KeyServer {
    /// Listens, and serves until the test ends.
    fn new() -> Self {
        let (authority, folder) = (Authority::new("Test authority"), Folder::new("issuer"));
        std::fs::write(folder.path().join("ca.pem"), authority.certificate.pem()).unwrap();
        let pair = authority.signed(&valid_for(&["127.0.0.1"]));
        let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
        let private = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = Arc::new(builder.with_single_cert(vec![certificate], private).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let served: Served = Arc::new(Mutex::new((503, String::new())));
        let shared = served.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let _ = socket.set_read_timeout(Some(Duration::from_secs(30)));
                let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), socket);
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if !matches!(stream.read(&mut byte), Ok(1)) {
                        break;
                    }
                    head.push(byte[0]);
                }
                assert!(!String::from_utf8_lossy(&head).to_lowercase().contains("authorization"));
                let (status, body) = shared.lock().unwrap().clone();
                let more = if status == 302 { "Location: https://elsewhere.example/\r\n" } else { "" };
                let length = body.len();
                let answer = format!("HTTP/1.1 {status} X\r\n{more}Content-Length: {length}\r\n\r\n{body}");
                let _ = stream.write_all(answer.as_bytes());
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        });
        Self { served, port, folder }
    }

    fn serve(&self, status: u16, body: impl ToString) {
        *self.served.lock().unwrap() = (status, body.to_string());
    }

    fn serve_keys(&self, keys: &[&SigningKey]) {
        self.serve(200, json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}));
    }

    /// A server that takes tokens of this issuer.
    fn trailcast(&self) -> Server {
        let config = self.folder.path().join("t.toml");
        let text = format!(
            "[jwt]\nissuer = \"https://issuer\"\naudience = \"trailcast\"\nalgorithms = [\"ES256\"]\nroleClaim = \"role\"\n\
             jwks = \"https://127.0.0.1:{}/keys?secret=in-the-query\"\n",
            self.port
        );
        std::fs::write(&config, text).unwrap();
        let ca = self.folder.path().join("ca.pem");
        Server::start_with(&["--config", config.to_str().unwrap()], &[("SSL_CERT_FILE", ca.to_str().unwrap())])
    }
}

struct SigningKey {
    kid: &'static str,
    key: KeyPair,
}

impl SigningKey {
    fn new(kid: &'static str) -> Self {
        Self { kid, key: KeyPair::generate().unwrap() }
    }

    fn jwk(&self) -> serde_json::Value {
        let point = self.key.public_key_raw();
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid,
            "x": part(&point[1..33]), "y": part(&point[33..])})
    }

    /// The status of a request with a token that this key signed.
    fn status_at(&self, server: &Server) -> u16 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let claims =
            json!({"iss": "https://issuer", "aud": "trailcast", "sub": "ann", "exp": now + 600, "role": "Operator"});
        let key = EncodingKey::from_ec_pem(self.key.serialize_pem().as_bytes()).unwrap();
        let header = Header { kid: Some(self.kid.into()), ..Header::new(Algorithm::ES256) };
        let token = format!("Bearer {}", jsonwebtoken::encode(&header, &claims, &key).unwrap());
        http::request(server.port(), "GET", TRAILS, &[("Authorization", &token)], b"").unwrap().status
    }

    fn is_taken_by(&self, server: &Server) {
        until(|| match self.status_at(server) {
            200 => Ok(()),
            status => Err(format!("{}: {status}\n{}", self.kid, server.log_text())),
        });
    }
}

#[test]
fn the_issuers_keys_are_fetched_and_a_new_one_is_known_by_the_first_token_that_names_it() {
    let issuer = KeyServer::new();
    let (old, new) = (SigningKey::new("k1"), SigningKey::new("k2"));
    issuer.serve_keys(&[&old]);
    let mut server = issuer.trailcast();
    server.says("new keys of tokens in use");
    assert_eq!((old.status_at(&server), new.status_at(&server)), (200, 401));
    server.sample_until("trailcast_jwks_fetches_total{result=\"taken\"}", |taken| taken >= 1.0);
    server.sample_until("trailcast_jwks_last_fetch_timestamp_seconds", |at| at > 1.7e9);
    issuer.serve_keys(&[&old, &new]);
    new.is_taken_by(&server);
    assert_eq!(old.status_at(&server), 200);
    issuer.serve_keys(&[&new]);
    SigningKey::new("k3").status_at(&server);
    until(|| {
        // Anybody's token with an unknown key has the issuer asked, once in a while.
        SigningKey::new("k4").status_at(&server);
        if old.status_at(&server) == 401 { Ok(()) } else { Err("the old key is still taken".to_owned()) }
    });
    let log = server.last_words();
    assert!(!log.contains("in-the-query"), "{log}");
}

#[test]
fn an_issuer_that_fails_takes_no_key_away_and_is_a_warning() {
    let issuer = KeyServer::new();
    let (old, new) = (SigningKey::new("k1"), SigningKey::new("k2"));
    issuer.serve_keys(&[&old]);
    let server = issuer.trailcast();
    server.says("new keys of tokens in use");
    let failed = "trailcast_jwks_fetches_total{result=\"failed\"}";
    let private = json!({"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "d": "c2VjcmV0"}]}).to_string();
    for (number, (status, body, says)) in [
        (500, String::new(), "answers 500"),
        (302, String::new(), "redirects are not followed"),
        (200, "no JSON".into(), "no JSON Web Key Set"),
        (200, "{\"keys\": []}".into(), "1 to 64 usable keys"),
        (200, private, "private key"),
        (200, "x".repeat((1 << 20) + 1), "more than 1048576 bytes"),
    ]
    .into_iter()
    .enumerate()
    {
        issuer.serve(status, body);
        let hang_up = format!("kill -HUP {}", server.pid());
        assert!(std::process::Command::new("sh").args(["-c", &hang_up]).status().unwrap().success());
        server.sample_until(failed, |count| count >= number as f64 + 1.0);
        server.says(says);
        assert_eq!(old.status_at(&server), 200, "after {says}");
    }
    let ready = server.readiness(200);
    assert!(ready["warnings"][0].as_str().unwrap().contains("keys of another issuer's tokens"), "{ready}");
    issuer.serve_keys(&[&new]);
    new.is_taken_by(&server);
    server.get_ready_until(|seen| seen["warnings"].as_array().is_some_and(Vec::is_empty));
}

#[test]
fn a_server_starts_without_its_issuer_and_takes_tokens_once_that_is_there() {
    let issuer = KeyServer::new();
    let key = SigningKey::new("k1");
    let server = issuer.trailcast();
    server.says("the keys of tokens cannot be fetched from their issuer");
    assert_eq!(key.status_at(&server), 401);
    server.get(TRAILS).expect(200);
    issuer.serve_keys(&[&key]);
    key.is_taken_by(&server);
}
