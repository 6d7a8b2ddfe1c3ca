//! HTTP Digest (RFC 7616) as the generated clients do it: `qop=auth` with SHA-256 or MD5, without a state between requests.
//!
//! Three habits of those clients are taken within a nonce's lifetime: the digest is computed over the path without the
//! query, the same header (nonce and count included) comes again with the upgrade, and Go's leaves `uri` empty.

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha2::{Digest as _, Sha256};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::catalog::user::DigestHashes;
use crate::limits;
use crate::record::Timestamp;

/// The realm of every challenge; stored hashes hold it too.
pub const REALM: &str = "trailcast";

/// The header is no Digest answer that we take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Not a list of `name=value`, or a member is missing.
    #[error("the Digest header lacks a member, or is malformed")]
    Malformed,
    /// Another algorithm.
    #[error("Digest is taken with the algorithms SHA-256 and MD5")]
    Algorithm,
    /// Another quality of protection.
    #[error("Digest is taken with qop=auth")]
    Quality,
    /// Computed for another path.
    #[error("the Digest was computed for another path")]
    OtherPath,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Md5,
    Sha256,
}

impl Algorithm {
    fn hex(self, text: &str) -> String {
        match self {
            Self::Md5 => hex(&Md5::digest(text)),
            Self::Sha256 => hex(&Sha256::digest(text)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is stored of a password, for this realm.
pub fn hashes(name: &str, password: &str) -> DigestHashes {
    let text = format!("{name}:{REALM}:{password}");
    DigestHashes { md5: Algorithm::Md5.hex(&text), sha256: Algorithm::Sha256.hex(&text) }
}

/// The challenges for a 401, the stronger one first, each for a header line of its own: Go's client reads one line only.
pub fn challenges(key: &[u8; 32], now: Timestamp, stale: bool) -> [String; 2] {
    let nonce = nonce(key, now);
    let stale = if stale { ", stale=true" } else { "" };
    ["SHA-256", "MD5"].map(|algorithm| {
        format!("Digest realm=\"{REALM}\", nonce=\"{nonce}\", qop=\"auth\", algorithm={algorithm}{stale}")
    })
}

/// The time of issue and a keyed hash over it: nothing needs to be remembered.
fn nonce(key: &[u8; 32], now: Timestamp) -> String {
    let issued = now.micros().to_be_bytes();
    let tag = nonce_mac(key, &issued).map(|mac| mac.finalize().into_bytes()).unwrap_or_default();
    URL_SAFE_NO_PAD.encode([issued.as_slice(), &tag].concat())
}

fn nonce_mac(key: &[u8; 32], issued: &[u8; 8]) -> Option<Hmac<Sha256>> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).ok()?;
    mac.update(b"digest nonce");
    mac.update(issued);
    Some(mac)
}

/// A client's answer to a challenge.
#[derive(Clone, PartialEq, Eq)]
pub struct DigestAnswer {
    /// The user's name.
    pub name: String,
    nonce: String,
    uri: String,
    response: String,
    algorithm: Algorithm,
    count: String,
    client_nonce: String,
}

impl std::fmt::Debug for DigestAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DigestAnswer")
    }
}

impl DigestAnswer {
    /// Reads what follows `Digest ` in the header.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let members = members(text).ok_or(DigestError::Malformed)?;
        let get = |name: &str| members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let need = |name: &str| get(name).cloned().ok_or(DigestError::Malformed);
        let algorithm = match get("algorithm").map(|name| name.to_ascii_uppercase()).as_deref() {
            None | Some("MD5") => Algorithm::Md5,
            Some("SHA-256") => Algorithm::Sha256,
            Some(_) => return Err(DigestError::Algorithm),
        };
        if get("qop").is_none_or(|qop| qop != "auth") {
            return Err(DigestError::Quality);
        }
        let name = need("username")?;
        if name.len() > limits::CREDENTIAL_BYTES_MAX || need("realm")? != REALM {
            return Err(DigestError::Malformed);
        }
        Ok(Self {
            name,
            nonce: need("nonce")?,
            uri: need("uri")?,
            response: need("response")?.to_ascii_lowercase(),
            algorithm,
            count: need("nc")?,
            client_nonce: need("cnonce")?,
        })
    }

    /// Whether the nonce is ours and young enough.
    pub fn is_fresh(&self, key: &[u8; 32], now: Timestamp) -> bool {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(&self.nonce) else { return false };
        let Some((issued, tag)) = bytes.split_first_chunk::<8>() else { return false };
        let ours = nonce_mac(key, issued).is_some_and(|mac| mac.verify_slice(tag).is_ok());
        let age = now.micros().saturating_sub(i64::from_be_bytes(*issued));
        ours && (0..limits::DIGEST_NONCE_SECONDS * 1_000_000).contains(&age)
    }

    /// The nonce that is answered.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Whether `uri` is empty, so that the answer is bound to no path.
    pub fn is_for_any_path(&self) -> bool {
        self.uri.is_empty()
    }

    /// Checks that the answer was made for the path of the request; the query does not count.
    pub fn check_path(&self, path: &str) -> Result<(), DigestError> {
        let uri = self.uri.split(['?', '#']).next().unwrap_or_default();
        // Behind a proxy a client may name the whole URL.
        let named = match uri.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |slash| &rest[slash..]),
            None => uri,
        };
        if uri.is_empty() || named == path { Ok(()) } else { Err(DigestError::OtherPath) }
    }

    /// Whether the answer was made with the password whose hashes these are.
    pub fn fits(&self, method: &str, path: &str, hashes: &DigestHashes) -> bool {
        let over = |uri: &str| {
            let secret = match self.algorithm {
                Algorithm::Md5 => &hashes.md5,
                Algorithm::Sha256 => &hashes.sha256,
            };
            let request = self.algorithm.hex(&format!("{method}:{uri}"));
            let text = format!("{secret}:{}:{}:{}:auth:{request}", self.nonce, self.count, self.client_nonce);
            same(self.algorithm.hex(&text).as_bytes(), self.response.as_bytes())
        };
        over(&self.uri) || (self.uri.is_empty() && over(path))
    }
}

/// Compares in a time that does not depend on where they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

/// `name=value` and `name="value"`, separated by commas.
fn members(text: &str) -> Option<Vec<(String, String)>> {
    let mut members = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if members.len() >= limits::DIGEST_MEMBERS_MAX {
            return None;
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        members.push((name.trim().to_owned(), value));
        rest = after.trim_start();
        if !rest.is_empty() {
            rest = rest.strip_prefix(',')?.trim_start();
        }
    }
    Some(members)
}

/// The text up to the closing quote, and what follows it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];
    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    fn later(seconds: i64) -> Timestamp {
        Timestamp::from_micros(NOW.micros() + seconds * 1_000_000)
    }

    /// A header as a client computes it, over `over`, naming `uri`.
    fn header(algorithm: &str, uri: &str, over: &str) -> String {
        let hash = |text: &str| match algorithm {
            "MD5" => hex(&Md5::digest(text)),
            _ => hex(&Sha256::digest(text)),
        };
        let nonce = nonce(&KEY, NOW);
        let (ha1, ha2) = (hash("ann:trailcast:pass,\"word\""), hash(&format!("GET:{over}")));
        let response = hash(&format!("{ha1}:{nonce}:00000001:abc:auth:{ha2}"));
        format!(
            "username=\"ann\", realm=\"trailcast\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", \
             algorithm={algorithm}, cnonce=\"abc\", qop=auth, nc=00000001"
        )
    }

    fn fits(header: &str, path: &str) -> bool {
        let answer = DigestAnswer::parse(header).unwrap();
        answer.check_path(path).is_ok()
            && answer.is_fresh(&KEY, later(1))
            && answer.fits("GET", path, &hashes("ann", "pass,\"word\""))
    }

    #[test]
    fn the_answer_over_the_path_fits_with_and_without_query_and_with_an_empty_uri() {
        for algorithm in ["MD5", "SHA-256"] {
            assert!(fits(&header(algorithm, "/s", "/s"), "/s"));
            assert!(fits(&header(algorithm, "/s?begin=now", "/s?begin=now"), "/s"));
            assert!(fits(&header(algorithm, "", ""), "/s"));
            assert!(fits(&header(algorithm, "", "/s"), "/s"));
            assert!(fits(&header(algorithm, "http://h:1/s", "http://h:1/s"), "/s"));
        }
    }

    #[test]
    fn another_path_password_or_method_does_not_fit() {
        assert!(!fits(&header("MD5", "/other", "/other"), "/s"));
        assert!(!fits(&header("MD5", "/s", "/other"), "/s"));
        let answer = DigestAnswer::parse(&header("MD5", "/s", "/s")).unwrap();
        assert!(!answer.fits("GET", "/s", &hashes("ann", "guess")));
        assert!(!answer.fits("DELETE", "/s", &hashes("ann", "pass,\"word\"")));
    }

    #[test]
    fn a_nonce_lives_for_its_time_and_only_ours_lives_at_all() {
        let answer = DigestAnswer::parse(&header("MD5", "/s", "/s")).unwrap();
        assert!(answer.is_fresh(&KEY, NOW));
        assert!(answer.is_fresh(&KEY, later(limits::DIGEST_NONCE_SECONDS - 1)));
        assert!(!answer.is_fresh(&KEY, later(limits::DIGEST_NONCE_SECONDS)));
        assert!(!answer.is_fresh(&KEY, later(-1)));
        assert!(!answer.is_fresh(&[8; 32], NOW));
    }

    #[test]
    fn what_is_missing_or_unknown_is_told() {
        let whole = header("MD5", "/s", "/s");
        assert_eq!(DigestAnswer::parse(&whole.replace("qop=auth, ", "")), Err(DigestError::Quality));
        assert_eq!(DigestAnswer::parse(&whole.replace("MD5", "MD4")), Err(DigestError::Algorithm));
        assert_eq!(DigestAnswer::parse(&whole.replace("cnonce", "c")), Err(DigestError::Malformed));
        assert_eq!(DigestAnswer::parse(&whole.replace("\"trailcast\"", "\"x\"")), Err(DigestError::Malformed));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z=\",\\\\ ü]{0,60}") {
            let _ = DigestAnswer::parse(&text);
        }
    }
}
