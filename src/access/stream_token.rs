//! Tokens of our own: short-lived, bound to one user and one stream, for clients that cannot send a password.
//!
//! Nothing is stored: a token is signed, with a key of the data folder and the user's password hash, so that a new password,
//! or another user of the same name, ends it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::catalog::{Grants, User};
use crate::limits;

/// What every token starts with; tells it from a JWT.
const PREFIX: &str = "tct1.";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    user: String,
    stream: String,
    /// Microseconds since 1970.
    expires: i64,
    /// Grants beside the user's own. A program that does not know them refuses the token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    grants: Vec<Grants>,
}

/// A token that was read but not verified yet.
#[derive(Debug)]
pub struct StreamToken {
    /// Whom it stands for.
    pub user: String,
    /// The only stream that it opens.
    pub stream: String,
    /// When it ends, in microseconds since 1970.
    pub expires_micros: i64,
    /// What it is narrowed to beside the user's own grants: all of these.
    pub grants: Vec<Grants>,
    signed: String,
    signature: Vec<u8>,
}

/// Makes a token; `None` if its grants are too large to be sent.
pub fn make(key: &[u8; 32], user: &User, stream: &str, expires_micros: i64, grants: Vec<Grants>) -> Option<String> {
    if serde_json::to_vec(&grants).ok()?.len() > limits::TOKEN_GRANTS_BYTES_MAX {
        return None;
    }
    let claims = Claims { user: user.name.clone(), stream: stream.into(), expires: expires_micros, grants };
    let signed = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).ok()?));
    let signature = signature(key, &signed, user)?.finalize().into_bytes();
    Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Whether a text is meant to be one of our tokens.
pub fn is_ours(text: &str) -> bool {
    text.starts_with(PREFIX)
}

impl StreamToken {
    /// Reads a token; nothing in it is to be believed before [`StreamToken::is_of`].
    pub fn read(text: &str) -> Option<Self> {
        if text.len() > limits::TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let claims = URL_SAFE_NO_PAD.decode(signed.strip_prefix(PREFIX)?).ok()?;
        let claims: Claims = serde_json::from_slice(&claims).ok()?;
        Some(Self {
            user: claims.user,
            stream: claims.stream,
            expires_micros: claims.expires,
            grants: claims.grants,
            signed: signed.into(),
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    /// Whether the server made it for this user as he is now.
    pub fn is_of(&self, key: &[u8; 32], user: &User) -> bool {
        signature(key, &self.signed, user).is_some_and(|mac| mac.verify_slice(&self.signature).is_ok())
    }
}

fn signature(key: &[u8; 32], signed: &str, user: &User) -> Option<Hmac<Sha256>> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).ok()?;
    mac.update(signed.as_bytes());
    mac.update(b"\0");
    mac.update(user.password_hash.as_bytes());
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Role;

    const KEY: [u8; 32] = [3; 32];

    fn ann(password_hash: &str) -> User {
        User {
            name: "ann".into(),
            role: Role::Operator,
            password_hash: password_hash.into(),
            digest: None,
            grants: None,
        }
    }

    #[test]
    fn a_token_says_for_whom_for_what_and_until_when() {
        let text = make(&KEY, &ann("hash"), "s1", 42, Vec::new()).unwrap();
        let token = StreamToken::read(&text).unwrap();
        assert_eq!((token.user.as_str(), token.stream.as_str(), token.expires_micros), ("ann", "s1", 42));
        assert!(is_ours(&text) && token.is_of(&KEY, &ann("hash")));
    }

    #[test]
    fn a_token_carries_the_grants_it_was_made_with_up_to_a_limit() {
        let grants = |pattern: &str| {
            let value = serde_json::json!([{"trails": [pattern, pattern], "may": ["read"]}]);
            Grants::from_value("grants", &value).unwrap()
        };
        let text = make(&KEY, &ann("hash"), "s1", 42, vec![grants("a*"), grants("b?")]).unwrap();
        assert_eq!(StreamToken::read(&text).unwrap().grants, [grants("a*"), grants("b?")]);
        let long = vec![grants(&"a".repeat(64)); limits::TOKEN_GRANTS_BYTES_MAX / 128];
        assert_eq!(make(&KEY, &ann("hash"), "s1", 42, long), None);
    }

    #[test]
    fn another_key_a_new_password_or_one_changed_character_ends_it() {
        let text = make(&KEY, &ann("hash"), "s1", 42, Vec::new()).unwrap();
        let token = StreamToken::read(&text).unwrap();
        assert!(!token.is_of(&[4; 32], &ann("hash")) && !token.is_of(&KEY, &ann("new")));
        for at in 0..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert!(StreamToken::read(&altered).is_none_or(|token| !token.is_of(&KEY, &ann("hash"))), "{at}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}") {
            let _ = StreamToken::read(&format!("{PREFIX}{text}"));
        }
    }
}
