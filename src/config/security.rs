//! The tables of the configuration file that say how clients are known and what is kept about them: `[tls]`, `[jwt]`,
//! `[audit]`.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::AuditTarget;
use super::section::Section;
use crate::access::Network;
use crate::access::jwt::{JwtKeys, JwtRules};
use crate::catalog::AuditFileOptions;
use crate::limits;

/// `trustedProxies`, each that can be read.
pub(super) fn trusted_proxies(file: &Section<'_>) -> Vec<Network> {
    let given = file.numbered_texts("trustedProxies");
    if given.len() > limits::TRUSTED_PROXIES_MAX {
        file.problem("trustedProxies", format!("names at most {}", limits::TRUSTED_PROXIES_MAX));
        return Vec::new();
    }
    let read = |(at, text): (usize, String)| file.noted(&format!("trustedProxies[{at}]"), text.parse());
    given.into_iter().filter_map(read).collect()
}

/// `[tls]`: the files of the listener.
#[derive(Debug, Clone, Default)]
pub struct TlsMembers {
    /// `certificate`.
    pub certificate: Option<PathBuf>,
    /// `key`.
    pub key: Option<PathBuf>,
    /// `clientCa`.
    pub client_ca: Option<PathBuf>,
    /// `[tls.users]`: which user a common name stands for, where it is not the user's own name.
    pub users: BTreeMap<String, String>,
}

impl TlsMembers {
    pub(super) fn read(file: &Section<'_>) -> Self {
        let Some(tls) = file.inner("tls") else { return Self::default() };
        let path = |member: &str| tls.text(member).map(PathBuf::from);
        let mut users = BTreeMap::new();
        match tls.table().get("users") {
            None => {}
            Some(toml::Value::Table(names)) => {
                for (name, user) in names {
                    match user.as_str() {
                        Some(user) => drop(users.insert(name.clone(), user.to_owned())),
                        None => tls.problem(&format!("users.{name}"), "must be a user's name"),
                    }
                }
            }
            Some(_) => tls.problem("users", "is written as a table [tls.users]"),
        }
        Self { users, certificate: path("certificate"), key: path("key"), client_ca: path("clientCa") }
    }
}

/// `[jwt]`: whose tokens are believed, and where their keys are.
#[derive(Debug, Clone)]
pub struct JwtMembers {
    issuer: String,
    audience: String,
    algorithms: Vec<String>,
    keys: KeyPlace,
    role_claim: Option<String>,
    grants_claim: Option<String>,
    loaded: KeyStamp,
}

#[derive(Debug, Clone)]
enum KeyPlace {
    Pem(PathBuf),
    Jwks(PathBuf),
    Url(JwksUrl),
}

/// Where an issuer serves its keys: `https://…`. Plain text is not taken, not even on this host: whoever could answer in the
/// issuer's place could make every token, and a file does what a loopback address would.
#[derive(Clone, PartialEq, Eq)]
pub struct JwksUrl(http::Uri);

impl std::fmt::Debug for JwksUrl {
    /// Without its query.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("JwksUrl").field(&self.authority()).finish()
    }
}

/// The text is no URL of a key set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a file, or https:// with a host, perhaps a port, a path and a query, without user, password and fragment"
)]
pub struct InvalidJwksUrl;

impl std::str::FromStr for JwksUrl {
    type Err = InvalidJwksUrl;

    fn from_str(text: &str) -> Result<Self, InvalidJwksUrl> {
        let uri: http::Uri = text.parse().map_err(|_| InvalidJwksUrl)?;
        let host_is_there = uri.host().is_some_and(|host| !host.is_empty());
        let is_bare = uri.authority().is_some_and(|authority| !authority.as_str().contains('@')) && !text.contains('#');
        let port_is_none_or_fits = uri
            .authority()
            .is_some_and(|authority| authority.port_u16().is_some() || authority.as_str() == authority.host());
        let fits = text.len() <= limits::JWKS_URL_BYTES_MAX;
        if uri.scheme_str() == Some("https") && host_is_there && is_bare && port_is_none_or_fits && fits {
            Ok(Self(uri))
        } else {
            Err(InvalidJwksUrl)
        }
    }
}

impl JwksUrl {
    /// The host; an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        self.0.host().unwrap_or_default().trim_matches(['[', ']'])
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or(443)
    }

    /// Host and port, to be shown.
    pub fn authority(&self) -> &str {
        self.0.authority().map_or("", http::uri::Authority::as_str)
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        self.0.path_and_query().map_or("/", http::uri::PathAndQuery::as_str)
    }
}

/// Tells one state of the key file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStamp(Option<(SystemTime, u64)>);

impl JwtMembers {
    pub(super) fn read(file: &Section<'_>) -> Option<(Self, JwtRules)> {
        let jwt = file.inner("jwt")?;
        let (issuer, audience) = (jwt.need("issuer"), jwt.need("audience"));
        let given = jwt.numbered_texts("algorithms");
        if !jwt.table().contains_key("algorithms") || given.is_empty() && !jwt.is_wrong("algorithms") {
            jwt.problem("algorithms", "names at least one, such as \"RS256\"");
        }
        let check = |(at, name): (usize, String)| {
            jwt.noted(&format!("algorithms[{at}]"), JwtRules::check_algorithm(&name)).map(|()| name)
        };
        let algorithms = given.into_iter().filter_map(check).collect();
        let (member, keys) = match (jwt.text("keys"), jwt.text("jwks")) {
            (Some(path), None) => ("keys", Some(KeyPlace::Pem(path.into()))),
            (None, Some(url)) if url.contains("://") => ("jwks", jwt.noted("jwks", url.parse()).map(KeyPlace::Url)),
            (None, Some(path)) => ("jwks", Some(KeyPlace::Jwks(path.into()))),
            _ => {
                file.problem("jwt", "has either keys (a PEM file) or jwks (a JSON file or an https URL)");
                ("jwt", None)
            }
        };
        let claim = |member: &str| jwt.text(member).map(str::to_owned);
        let (role_claim, grants_claim) = (claim("roleClaim"), claim("grantsClaim"));
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let (issuer, audience) = (text(issuer), text(audience));
        let loaded = KeyStamp(None);
        let members = Self { issuer, audience, algorithms, keys: keys?, role_claim, grants_claim, loaded };
        let members = Self { loaded: members.stamp(), ..members };
        // The keys are looked at whatever else is wrong.
        let rules = jwt.noted(member, members.load())?;
        (!jwt.has_problems()).then_some((members, rules))
    }

    /// Reads the keys; none of an issuer that serves them, which are fetched later. Blocks.
    pub fn load(&self) -> Result<JwtRules, String> {
        let path = match &self.keys {
            KeyPlace::Url(_) => return self.rules(JwtKeys::ToBeFetched),
            KeyPlace::Pem(path) | KeyPlace::Jwks(path) => path,
        };
        let text = key_file(path)?;
        let is_pem = matches!(self.keys, KeyPlace::Pem(_));
        let rules = self.rules(if is_pem { JwtKeys::Pem(&text) } else { JwtKeys::Jwks(&text) });
        rules.map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The rules with keys that were fetched.
    pub fn rules_of(&self, text: &str) -> Result<JwtRules, String> {
        self.rules(JwtKeys::FetchedJwks(text))
    }

    fn rules(&self, keys: JwtKeys<'_>) -> Result<JwtRules, String> {
        let rules = JwtRules::new(&self.issuer, &self.audience, &self.algorithms, keys, self.role_claim.as_deref());
        let rules = rules.map_err(|error| error.to_string())?;
        Ok(rules.narrowed_by(self.grants_claim.as_deref()))
    }

    /// Where keys are fetched, if they do not stand in a file.
    pub fn url(&self) -> Option<&JwksUrl> {
        match &self.keys {
            KeyPlace::Url(url) => Some(url),
            KeyPlace::Pem(_) | KeyPlace::Jwks(_) => None,
        }
    }

    /// The state of the key file when the configuration was read.
    pub fn loaded_stamp(&self) -> KeyStamp {
        self.loaded.clone()
    }

    /// The state of the key file now; one that is not there is a state too. Blocks.
    pub fn stamp(&self) -> KeyStamp {
        let metadata = match &self.keys {
            KeyPlace::Pem(path) | KeyPlace::Jwks(path) => std::fs::metadata(path).ok(),
            KeyPlace::Url(_) => None,
        };
        KeyStamp(metadata.and_then(|metadata| Some((metadata.modified().ok()?, metadata.len()))))
    }
}

fn key_file(path: &Path) -> Result<String, String> {
    let about = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
    let file = std::fs::File::open(path).map_err(|error| about(&error))?;
    let mut text = String::new();
    let limit = limits::PEM_FILE_BYTES_MAX;
    match file.take(limit + 1).read_to_string(&mut text) {
        Ok(length) if length as u64 <= limit => Ok(text),
        Ok(_) => Err(about(&format_args!("has more than {limit} bytes"))),
        Err(error) => Err(about(&error)),
    }
}

/// `[audit]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditSizes {
    /// `maxBytes`.
    pub bytes_max: u64,
    /// `keep`.
    pub kept: u64,
}

impl Default for AuditSizes {
    fn default() -> Self {
        Self { bytes_max: limits::AUDIT_FILE_BYTES_DEFAULT, kept: limits::AUDIT_FILES_KEPT_DEFAULT }
    }
}

impl AuditSizes {
    pub(super) fn read(audit: &Section<'_>) -> Self {
        let usual = Self::default();
        let bytes_max = audit.number("maxBytes", limits::AUDIT_FILE_BYTES_MIN, limits::AUDIT_FILE_BYTES_MAX);
        let kept = audit.number("keep", 1, limits::AUDIT_FILES_KEPT_MAX);
        Self { bytes_max: bytes_max.unwrap_or(usual.bytes_max), kept: kept.unwrap_or(usual.kept) }
    }

    pub(super) fn target(self, file: PathBuf) -> AuditTarget {
        if file.as_os_str() == "-" {
            return AuditTarget::StandardOutput;
        }
        AuditTarget::File(AuditFileOptions { path: file, bytes_max: self.bytes_max, kept: self.kept })
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{ConfigFile, Overrides, Settings};

    fn error(text: &str) -> String {
        ConfigFile::parse(text).unwrap_err().to_string()
    }

    fn settings(text: &str) -> Result<Settings, String> {
        Settings::new(ConfigFile::parse(text).unwrap(), Overrides::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn tls_needs_certificate_and_key_and_then_may_leave_the_host() {
        let whole = "listen = \"0.0.0.0:1\"\n[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n";
        assert_eq!(settings(whole).unwrap().tls.unwrap().certificate.to_str(), Some("c.pem"));
        assert!(settings("[tls]\ncertificate = \"c.pem\"").unwrap_err().contains("tls.key"));
        assert!(settings("[tls]\nclientCa = \"c.pem\"").unwrap_err().contains("tls.key"));
        assert!(error("[tls]\nca = \"c.pem\"").contains("clientCa"));
        let mapped = format!("{whole}clientCa = \"a.pem\"\n[tls.users]\n\"CN of Ann\" = \"ann\"");
        assert_eq!(settings(&mapped).unwrap().access.certificates.unwrap()["CN of Ann"], "ann");
        assert!(settings(whole).unwrap().access.certificates.is_none());
    }

    #[test]
    fn the_rules_of_tokens_name_what_is_missing() {
        assert!(error("[jwt]").contains("jwt.issuer"));
        let some = "[jwt]\nissuer = \"i\"\naudience = \"a\"\n";
        assert!(error(some).contains("jwt.algorithms"));
        assert!(error(&format!("{some}algorithms = [\"ES256\"]")).contains("either keys"));
        let missing = error(&format!("{some}algorithms = [\"ES256\"]\nkeys = \"/nowhere.pem\""));
        assert!(missing.contains("/nowhere.pem"), "{missing}");
    }

    #[test]
    fn keys_come_from_a_file_or_over_https_and_from_nowhere_else() {
        use super::JwksUrl;
        let url = |text: &str| text.parse::<JwksUrl>();
        let whole = url("https://login.example.com:8443/realms/main/keys?p=b2c").unwrap();
        assert_eq!(
            (whole.host(), whole.port(), whole.target()),
            ("login.example.com", 8443, "/realms/main/keys?p=b2c")
        );
        assert!(!format!("{whole:?}").contains("b2c"), "{whole:?}");
        let six = url("https://[::1]/k").unwrap();
        assert_eq!((six.host(), six.port()), ("::1", 443));
        assert_eq!(url("https://login.example.com").unwrap().target(), "/");
        for bad in [
            "http://login.example.com/keys",
            "http://127.0.0.1/keys",
            "https://",
            "https:///keys",
            "https://u:hunter2@h/keys",
            "https://h/keys#a",
            "https://h:99999/keys",
            "https://h:/keys",
            "https://h h/",
            "ftp://h/",
        ] {
            assert!(url(bad).is_err(), "{bad}");
            let file = format!("[jwt]\nissuer = \"i\"\naudience = \"a\"\nalgorithms = [\"ES256\"]\njwks = \"{bad}\"");
            let said = error(&file);
            assert!(said.starts_with("line 5: jwt.jwks: must be a file, or https://"), "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn everything_that_is_wrong_with_the_rules_of_tokens_is_said() {
        let said =
            error("[jwt]\naudience = 7\nalgorithms = [\"none\", 3, \"ES256\", \"HS256\"]\nkeys = \"/nowhere.pem\"");
        for problem in [
            "line 1: jwt.issuer: is missing",
            "line 2: jwt.audience: must be a string that is not empty; it is 7",
            "line 3: jwt.algorithms[0]: an algorithm is one of",
            "line 3: jwt.algorithms[3]: an algorithm is one of",
            "line 3: jwt.algorithms[1]: must be a string; it is 3",
            "line 4: jwt.keys: /nowhere.pem",
        ] {
            assert!(said.contains(problem), "{problem}: {said}");
        }
        assert_eq!(said.lines().count(), 6, "{said}");
    }
}
