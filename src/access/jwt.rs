//! Tokens of another issuer: JSON Web Tokens, checked against a fixed issuer, audience, list of algorithms and set of keys.
//!
//! Only public-key algorithms are taken, and each key only with those of its own kind. Owns reading keys and judging tokens;
//! where keys come from, and when they are fetched anew, is for whoever calls.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation};
use serde_json::Value;

use crate::catalog::user::check_user_name;
use crate::catalog::{Grants, Role};
use crate::limits;
use crate::record::Timestamp;

/// The algorithms that may be configured.
const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// The rules cannot be used. The text names the member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidJwtRules(String);

/// Public keys as configured.
#[derive(Debug, Clone, Copy)]
pub enum JwtKeys<'a> {
    /// One or more public keys in PEM.
    Pem(&'a str),
    /// A JSON Web Key Set (RFC 7517).
    Jwks(&'a str),
    /// A JSON Web Key Set as its issuer serves it now: while keys change, it may lack one for an algorithm of the list.
    FetchedJwks(&'a str),
    /// None yet: no token is believed before there are some.
    ToBeFetched,
}

/// Which tokens are believed.
#[derive(Clone)]
pub struct JwtRules {
    issuer: String,
    audience: String,
    algorithms: Vec<Algorithm>,
    keys: Vec<(Option<String>, DecodingKey)>,
    role_claim: Option<String>,
    grants_claim: Option<String>,
}

impl std::fmt::Debug for JwtRules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JwtRules").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// What a believed token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtClaims {
    /// The user's name (`sub`).
    pub name: String,
    /// The role that it gives, if roles come from tokens; else the user of that name has his own.
    pub role: Option<Role>,
    /// What it is narrowed to, if grants come from tokens.
    pub grants: Option<Grants>,
    /// When it ends.
    pub expires: Timestamp,
}

/// A token is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JwtRefusal {
    /// Its time is over.
    Expired,
    /// Anything else; who it is for knows, and others need not.
    Invalid,
    /// It names a key (`kid`) that is not among ours: perhaps the issuer has a new one.
    UnknownKey,
    /// It is believed, but gives no role.
    NoRole,
    /// It is believed, but grants are to come from tokens, and it has none that can be read.
    NoGrants,
}

impl JwtRules {
    /// Rules for tokens of one issuer. `role_claim` names the claim with the role, dots leading into objects; see also
    /// [`Self::narrowed_by`].
    pub fn new(
        issuer: &str,
        audience: &str,
        algorithms: &[String],
        given: JwtKeys<'_>,
        role_claim: Option<&str>,
    ) -> Result<Self, InvalidJwtRules> {
        let algorithms: Vec<Algorithm> = algorithms.iter().map(|name| algorithm(name)).collect::<Result<_, _>>()?;
        let is_served = matches!(given, JwtKeys::FetchedJwks(_));
        let keys = match given {
            JwtKeys::Pem(text) => pem_keys(text)?,
            JwtKeys::Jwks(text) | JwtKeys::FetchedJwks(text) => jwks_keys(text)?,
            JwtKeys::ToBeFetched => Vec::new(),
        };
        let rules = |keys| Self {
            issuer: issuer.into(),
            audience: audience.into(),
            algorithms: algorithms.clone(),
            keys,
            role_claim: role_claim.map(str::to_owned),
            grants_claim: None,
        };
        if matches!(given, JwtKeys::ToBeFetched) {
            return Ok(rules(keys));
        }
        if !(1..=limits::JWT_KEYS_MAX).contains(&keys.len()) {
            return Err(InvalidJwtRules(format!("there must be 1 to {} usable keys", limits::JWT_KEYS_MAX)));
        }
        let useless: Vec<_> =
            algorithms.iter().filter(|wanted| !keys.iter().any(|(_, key)| fits(key, **wanted))).collect();
        if let Some(first) = useless.first().filter(|_| !is_served || useless.len() == algorithms.len()) {
            return Err(InvalidJwtRules(format!("no key is of the kind that the algorithm {first:?} needs")));
        }
        Ok(rules(keys))
    }

    /// The same, with grants from the claim of that name: a token without it is not let in, since whoever forgets to narrow one
    /// has not widened it.
    #[must_use]
    pub fn narrowed_by(mut self, claim: Option<&str>) -> Self {
        self.grants_claim = claim.map(str::to_owned);
        self
    }

    /// Checks the name of an algorithm.
    pub fn check_algorithm(name: &str) -> Result<(), InvalidJwtRules> {
        algorithm(name).map(drop)
    }

    /// What a token says, if it is to be believed at `now`.
    pub fn check(&self, token: &str, now: Timestamp) -> Result<JwtClaims, JwtRefusal> {
        if token.len() > limits::TOKEN_BYTES_MAX {
            return Err(JwtRefusal::Invalid);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| JwtRefusal::Invalid)?;
        if !self.algorithms.contains(&header.alg) || names_critical_members(token) {
            return Err(JwtRefusal::Invalid);
        }
        let is_ours = |(kid, _): &(Option<String>, DecodingKey)| kid.is_none() || *kid == header.kid;
        if header.kid.is_some() && !self.keys.iter().any(is_ours) {
            return Err(JwtRefusal::UnknownKey);
        }
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["iss", "aud", "sub"]);
        // Times are read and compared below, by the one clock of the program; the library takes no fraction of a second.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let wanted = |kid: &Option<String>| kid.is_none() || header.kid.is_none() || *kid == header.kid;
        let candidates = self.keys.iter().filter(|(kid, key)| wanted(kid) && fits(key, header.alg));
        let claims: Value = candidates
            .filter_map(|(_, key)| jsonwebtoken::decode(token, key, &validation).ok())
            .map(|data| data.claims)
            .next()
            .ok_or(JwtRefusal::Invalid)?;
        self.believed(&claims, now)
    }

    fn believed(&self, claims: &Value, now: Timestamp) -> Result<JwtClaims, JwtRefusal> {
        let time = |claim: &str| claims.get(claim).and_then(Value::as_f64).map(|seconds| (seconds * 1e6) as i64);
        let expires = time("exp").ok_or(JwtRefusal::Invalid)?;
        if expires <= now.micros() {
            return Err(JwtRefusal::Expired);
        }
        let earliest = match claims.get("nbf") {
            None => i64::MIN,
            Some(_) => time("nbf").ok_or(JwtRefusal::Invalid)?,
        };
        if earliest > now.micros().saturating_add(limits::JWT_CLOCK_SECONDS_MAX * 1_000_000) {
            return Err(JwtRefusal::Invalid);
        }
        let name = claims.get("sub").and_then(Value::as_str).ok_or(JwtRefusal::Invalid)?;
        check_user_name(name).map_err(|_| JwtRefusal::Invalid)?;
        let role = match &self.role_claim {
            None => None,
            Some(claim) => Some(role_in(claims, claim).ok_or(JwtRefusal::NoRole)?),
        };
        let grants = match &self.grants_claim {
            None => None,
            Some(claim) => {
                let given = found(claims, claim).ok_or(JwtRefusal::NoGrants)?;
                Some(Grants::from_value(claim, given).map_err(|_| JwtRefusal::NoGrants)?)
            }
        };
        Ok(JwtClaims { name: name.into(), role, grants, expires: Timestamp::from_micros(expires) })
    }
}

/// Whether the header says that some of its members must be understood (`crit`, RFC 7515 section 4.1.11). None of those
/// that it could name are understood here, and a list that is empty or no list is refused by the same section.
fn names_critical_members(token: &str) -> bool {
    let header = token.split('.').next().unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    !serde_json::from_slice::<Value>(&bytes).is_ok_and(|header| header.get("crit").is_none())
}

fn algorithm(name: &str) -> Result<Algorithm, InvalidJwtRules> {
    ALGORITHMS.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm).ok_or_else(|| {
        let known = ALGORITHMS.map(|(known, _)| known).join(", ");
        InvalidJwtRules(format!("an algorithm is one of {known}"))
    })
}

fn fits(key: &DecodingKey, algorithm: Algorithm) -> bool {
    key.family().algorithms().contains(&algorithm)
}

fn pem_keys(text: &str) -> Result<Vec<(Option<String>, DecodingKey)>, InvalidJwtRules> {
    const WANTED: &str = "the file holds public keys in PEM";
    let refused = |what: &str| Err(InvalidJwtRules(what.to_owned()));
    let mut keys = Vec::new();
    let mut rest = text;
    while let Some((_, block)) = rest.split_once("-----BEGIN ") {
        let Some((label, _)) = block.split_once("-----") else {
            return refused(&format!("{WANTED}, and one has no beginning"));
        };
        match label {
            "PUBLIC KEY" | "RSA PUBLIC KEY" => {}
            // The library would take it for the public key that it holds too.
            private if private.contains("PRIVATE") => return refused(PRIVATE_KEY),
            "CERTIFICATE" => {
                return refused(
                    "it holds a certificate; give the public key in it (openssl x509 -pubkey -noout -in FILE)",
                );
            }
            _ => return refused(&format!("{WANTED}, and one block is something else")),
        }
        let end = format!("-----END {label}-----");
        let Some((body, after)) = block.split_once(&end) else {
            return refused(&format!("{WANTED}, and one has no end"));
        };
        let pem = format!("-----BEGIN {body}{end}\n");
        let key = DecodingKey::from_rsa_pem(pem.as_bytes())
            .or_else(|_| DecodingKey::from_ec_pem(pem.as_bytes()))
            .or_else(|_| DecodingKey::from_ed_pem(pem.as_bytes()));
        let key = key.map_err(|_| InvalidJwtRules(format!("{WANTED}, and one block is no such key")))?;
        keys.push((None, key));
        rest = after;
    }
    Ok(keys)
}

const PRIVATE_KEY: &str = "it holds a private key, and whoever can read that can sign tokens for everybody: give the public key \
                           only, and if others could read this one, replace it";

fn jwks_keys(text: &str) -> Result<Vec<(Option<String>, DecodingKey)>, InvalidJwtRules> {
    let no_set = || InvalidJwtRules("it is no JSON Web Key Set".into());
    let set: Value = serde_json::from_str(text).map_err(|_| no_set())?;
    let members = set.get("keys").and_then(Value::as_array).ok_or_else(no_set)?;
    // `d` is the private part of RSA, EC and OKP keys alike (RFC 7518 section 6, RFC 8037).
    if members.iter().any(|key| key.get("d").is_some()) {
        return Err(InvalidJwtRules(PRIVATE_KEY.into()));
    }
    let usable = members.iter().filter_map(|member| {
        // One that is not understood is passed over (RFC 7517 section 5).
        let key: Jwk = serde_json::from_value(member.clone()).ok()?;
        let decoding = DecodingKey::from_jwk(&key).ok()?;
        // A secret in a file of public keys would make every reader of it an issuer.
        (decoding.family() != AlgorithmFamily::Hmac).then_some((key.common.key_id, decoding))
    });
    Ok(usable.collect())
}

/// The claim of that name, or where its dots lead.
fn found<'c>(claims: &'c Value, claim: &str) -> Option<&'c Value> {
    claims.get(claim).or_else(|| claim.split('.').try_fold(claims, |value, part| value.get(part)))
}

/// The highest role that the claim names: a text, or a list of texts of which those that are no role do not count. The
/// names are those of the documentation to the letter: what an issuer calls `administrator` may be something else there.
fn role_in(claims: &Value, claim: &str) -> Option<Role> {
    let role = |value: &Value| {
        let text = value.as_str()?;
        [Role::User, Role::Operator, Role::Administrator].into_iter().find(|role| role.to_string() == text)
    };
    match found(claims, claim)? {
        Value::Array(values) => values.iter().filter_map(role).max(),
        value => role(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use rcgen::KeyPair;
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);
    const NOW_SECONDS: i64 = 1_800_000_000;

    struct Issuer {
        key: rcgen::KeyPair,
    }

    impl Issuer {
        fn new() -> Self {
            Self { key: rcgen::KeyPair::generate().unwrap() }
        }

        fn rules(&self, role_claim: Option<&str>) -> JwtRules {
            let pem = self.key.public_key_pem();
            JwtRules::new("https://issuer", "trailcast", &["ES256".into()], JwtKeys::Pem(&pem), role_claim).unwrap()
        }

        fn token(&self, claims: &Value) -> String {
            let key = EncodingKey::from_ec_pem(self.key.serialize_pem().as_bytes()).unwrap();
            encode(&Header::new(Algorithm::ES256), claims, &key).unwrap()
        }
    }

    fn claims() -> Value {
        json!({"iss": "https://issuer", "aud": "trailcast", "sub": "ann", "exp": NOW_SECONDS + 60})
    }

    fn with(member: &str, value: Value) -> Value {
        let mut claims = claims();
        claims[member] = value;
        claims
    }

    #[test]
    fn a_token_of_the_issuer_gives_name_and_end() {
        let issuer = Issuer::new();
        let known = issuer.rules(None).check(&issuer.token(&claims()), NOW).unwrap();
        assert_eq!((known.name.as_str(), known.role), ("ann", None));
        assert_eq!(known.expires.micros(), (NOW_SECONDS + 60) * 1_000_000);
    }

    #[test]
    fn grants_come_from_the_claim_that_is_named_and_a_token_without_any_is_not_let_in() {
        let issuer = Issuer::new();
        let rules = issuer.rules(None).narrowed_by(Some("app.grants"));
        let checked = |grants: Value| rules.check(&issuer.token(&with("app", json!({"grants": grants}))), NOW);
        let object = json!({"trails": ["a*"], "streams": ["*"], "may": ["read"]});
        let known = checked(json!([object])).unwrap().grants.unwrap();
        assert_eq!(checked(json!(["read trails=a* streams=*"])).unwrap().grants, Some(known));
        for none in [json!([]), Value::Null, json!("read trails=a*"), json!(["see trails=a"]), json!([object, 7])] {
            assert_eq!(checked(none.clone()), Err(JwtRefusal::NoGrants), "{none}");
        }
        assert_eq!(rules.check(&issuer.token(&claims()), NOW), Err(JwtRefusal::NoGrants));
        let unasked = issuer.rules(None).check(&issuer.token(&with("grants", json!([object]))), NOW).unwrap();
        assert_eq!(unasked.grants, None);
    }

    #[test]
    fn times_may_have_fractions() {
        let issuer = Issuer::new();
        let rules = issuer.rules(None);
        let token = |exp: &str| {
            let text = with("exp", json!(0)).to_string().replace("\"exp\":0", &format!("\"exp\":{exp}"));
            issuer.token(&serde_json::from_str(&text).unwrap())
        };
        let known = rules.check(&token(&format!("{NOW_SECONDS}.500")), NOW).unwrap();
        assert_eq!(known.expires.micros(), NOW_SECONDS * 1_000_000 + 500_000);
        assert_eq!(rules.check(&token("1.7e9"), NOW), Err(JwtRefusal::Expired));
        assert_eq!(rules.check(&token("1e999"), NOW), Err(JwtRefusal::Invalid));
    }

    #[test]
    fn every_deviation_is_refused() {
        let issuer = Issuer::new();
        let rules = issuer.rules(None);
        let refusal = |claims: &Value| rules.check(&issuer.token(claims), NOW).unwrap_err();
        assert_eq!(refusal(&with("exp", json!(NOW_SECONDS))), JwtRefusal::Expired);
        for bad in [
            with("iss", json!("https://other")),
            with("aud", json!("other")),
            with("sub", json!("a:b")),
            with("sub", Value::Null),
            with("exp", Value::Null),
            with("nbf", json!(NOW_SECONDS + 3_600)),
        ] {
            assert_eq!(refusal(&bad), JwtRefusal::Invalid, "{bad}");
        }
        let stranger = Issuer::new();
        assert_eq!(rules.check(&stranger.token(&claims()), NOW), Err(JwtRefusal::Invalid));
        let mut altered = issuer.token(&claims());
        altered.insert(altered.find('.').unwrap() + 5, 'A');
        assert_eq!(rules.check(&altered, NOW), Err(JwtRefusal::Invalid));
    }

    #[test]
    fn neither_none_nor_a_shared_secret_passes_for_a_key() {
        let issuer = Issuer::new();
        let rules = issuer.rules(None);
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let none = format!("{}.{}.", part(&json!({"alg": "none", "typ": "JWT"})), part(&claims()));
        assert_eq!(rules.check(&none, NOW), Err(JwtRefusal::Invalid));
        // The classic: the public key as the secret of an HMAC.
        let secret = EncodingKey::from_secret(issuer.key.public_key_pem().as_bytes()).unwrap();
        let confused = encode(&Header::new(Algorithm::HS256), &claims(), &secret).unwrap();
        assert_eq!(rules.check(&confused, NOW), Err(JwtRefusal::Invalid));
        let pem = issuer.key.public_key_pem();
        for bad in ["none", "HS256", "RS256"] {
            assert!(JwtRules::new("i", "a", &[bad.into()], JwtKeys::Pem(&pem), None).is_err(), "{bad}");
        }
        let secret = r#"{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}"#;
        assert!(JwtRules::new("i", "a", &["ES256".into()], JwtKeys::Jwks(secret), None).is_err());
    }

    #[test]
    fn what_must_be_understood_and_is_not_makes_a_token_invalid() {
        use rcgen::SigningKey as _;
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let pem = key.public_key_pem();
        let rules = JwtRules::new("https://issuer", "trailcast", &["EdDSA".into()], JwtKeys::Pem(&pem), None).unwrap();
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = |header: Value| {
            let message = format!("{}.{}", part(&header), part(&claims()));
            let signature = URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()).unwrap());
            format!("{message}.{signature}")
        };
        let header = |member: &str, value: Value| json!({"alg": "EdDSA", "typ": "JWT", member: value});
        assert!(rules.check(&signed(header("cty", json!("x"))), NOW).is_ok(), "what need not be understood passes");
        for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!("exp"), Value::Null] {
            assert_eq!(rules.check(&signed(header("crit", crit.clone())), NOW), Err(JwtRefusal::Invalid), "{crit}");
        }
    }

    #[test]
    fn a_token_that_names_a_key_which_is_not_there_says_so() {
        let issuer = Issuer::new();
        let point = issuer.key.public_key_raw();
        let jwk = |kid: &str| {
            let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
            json!({"kty": "EC", "crv": "P-256", "x": part(&point[1..33]), "y": part(&point[33..]), "kid": kid})
        };
        let rules = |text: &str| {
            JwtRules::new("https://issuer", "trailcast", &["ES256".into()], JwtKeys::FetchedJwks(text), None).unwrap()
        };
        let of = |kid: &str| rules(&json!({"keys": [jwk(kid)]}).to_string());
        let key = EncodingKey::from_ec_pem(issuer.key.serialize_pem().as_bytes()).unwrap();
        let token =
            encode(&Header { kid: Some("k2".into()), ..Header::new(Algorithm::ES256) }, &claims(), &key).unwrap();
        assert_eq!(of("k1").check(&token, NOW), Err(JwtRefusal::UnknownKey));
        assert!(of("k2").check(&token, NOW).is_ok());
        let none = JwtRules::new("https://issuer", "a", &["ES256".into()], JwtKeys::ToBeFetched, None).unwrap();
        assert_eq!(none.check(&token, NOW), Err(JwtRefusal::UnknownKey));
        assert_eq!(none.check(&issuer.token(&claims()), NOW), Err(JwtRefusal::Invalid));
        let half = ["ES256".into(), "RS256".into()];
        let set = json!({"keys": [jwk("k1"), {"kty": "mystery"}]}).to_string();
        assert!(JwtRules::new("i", "a", &half, JwtKeys::FetchedJwks(&set), None).is_ok(), "an issuer changes its keys");
        assert!(JwtRules::new("i", "a", &half, JwtKeys::Jwks(&set), None).is_err());
    }

    #[test]
    fn a_private_key_is_no_key_to_check_tokens_with() {
        let issuer = Issuer::new();
        let refusal =
            |keys: JwtKeys<'_>| JwtRules::new("i", "a", &["ES256".into()], keys, None).unwrap_err().to_string();
        let (private, public) = (issuer.key.serialize_pem(), issuer.key.public_key_pem());
        for pem in [private.clone(), format!("{public}{private}"), private.replace("PRIVATE", "EC PRIVATE")] {
            let said = refusal(JwtKeys::Pem(&pem));
            assert!(said.contains("private key") && !said.contains(pem.lines().nth(1).unwrap()), "{said}");
        }
        let jwk = r#"{"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "d": "c2VjcmV0"}]}"#;
        assert!(refusal(JwtKeys::Jwks(jwk)).contains("private key"));
        assert!(
            refusal(JwtKeys::Pem("-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----")).contains("openssl")
        );
        for bad in
            ["", "no PEM", "-----BEGIN PUBLIC KEY-----\nAA", "-----BEGIN PUBLIC KEY-----\nAA\n-----END PUBLIC KEY-----"]
        {
            refusal(JwtKeys::Pem(bad));
        }
        let two = format!("{public}\n{}", Issuer::new().key.public_key_pem());
        assert_eq!(JwtRules::new("i", "a", &["ES256".into()], JwtKeys::Pem(&two), None).unwrap().keys.len(), 2);
    }

    #[test]
    fn roles_come_from_the_claim_that_is_configured() {
        let issuer = Issuer::new();
        let role = |claim: &str, claims: &Value| {
            issuer.rules(Some(claim)).check(&issuer.token(claims), NOW).map(|known| known.role)
        };
        assert_eq!(role("role", &with("role", json!("Operator"))), Ok(Some(Role::Operator)));
        let nested = with("realm", json!({"roles": ["x", "User", "Administrator"]}));
        assert_eq!(role("realm.roles", &nested), Ok(Some(Role::Administrator)));
        assert_eq!(role("role", &claims()), Err(JwtRefusal::NoRole));
        assert_eq!(role("role", &with("role", json!(["root"]))), Err(JwtRefusal::NoRole));
        for other in ["operator", "OPERATOR", "Operator ", "Operators", ""] {
            assert_eq!(role("role", &with("role", json!(other))), Err(JwtRefusal::NoRole), "{other:?}");
            assert_eq!(role("role", &with("role", json!(["User", other]))), Ok(Some(Role::User)), "{other:?}");
        }
    }
}
