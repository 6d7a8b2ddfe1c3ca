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
    let given = file.texts("trustedProxies");
    if given.len() > limits::TRUSTED_PROXIES_MAX {
        file.problem("trustedProxies", format!("names at most {}", limits::TRUSTED_PROXIES_MAX));
        return Vec::new();
    }
    let read = |(at, text): (usize, &String)| file.noted(&format!("trustedProxies[{at}]"), text.parse());
    given.iter().enumerate().filter_map(read).collect()
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
                        None => tls.problem("users", "each is a user's name"),
                    }
                }
            }
            Some(_) => tls.problem("users", "is written as a table [tls.users]"),
        }
        Self { users, certificate: path("certificate"), key: path("key"), client_ca: path("clientCa") }
    }
}

/// `[jwt]`: whose tokens are believed, and the file of their keys.
#[derive(Debug, Clone)]
pub struct JwtMembers {
    issuer: String,
    audience: String,
    algorithms: Vec<String>,
    keys: KeyFile,
    role_claim: Option<String>,
    loaded: KeyStamp,
}

#[derive(Debug, Clone)]
enum KeyFile {
    Pem(PathBuf),
    Jwks(PathBuf),
}

/// Tells one state of the key file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStamp(Option<(SystemTime, u64)>);

impl JwtMembers {
    pub(super) fn read(file: &Section<'_>) -> Option<(Self, JwtRules)> {
        let jwt = file.inner("jwt")?;
        let (issuer, audience) = (jwt.need("issuer"), jwt.need("audience"));
        let algorithms = jwt.texts("algorithms");
        if algorithms.is_empty() {
            jwt.problem("algorithms", "names at least one, such as \"RS256\"");
        }
        let keys = match (jwt.text("keys"), jwt.text("jwks")) {
            (Some(path), None) => KeyFile::Pem(path.into()),
            (None, Some(path)) => KeyFile::Jwks(path.into()),
            _ => {
                file.problem("jwt", "has either keys (a PEM file) or jwks (a JSON file)");
                return None;
            }
        };
        let role_claim = jwt.text("roleClaim").map(str::to_owned);
        let members = Self {
            issuer: issuer?.into(),
            audience: audience?.into(),
            algorithms,
            keys,
            role_claim,
            loaded: KeyStamp(None),
        };
        let members = Self { loaded: members.stamp(), ..members };
        if jwt.has_problems() {
            return None;
        }
        let rules = file.noted("jwt", members.load())?;
        Some((members, rules))
    }

    /// Reads the keys. Blocks.
    pub fn load(&self) -> Result<JwtRules, String> {
        let text = key_file(self.key_file())?;
        let keys = match self.keys {
            KeyFile::Pem(_) => JwtKeys::Pem(&text),
            KeyFile::Jwks(_) => JwtKeys::Jwks(&text),
        };
        let rules = JwtRules::new(&self.issuer, &self.audience, &self.algorithms, keys, self.role_claim.as_deref());
        rules.map_err(|error| error.to_string())
    }

    /// The state of the key file when the configuration was read.
    pub fn loaded_stamp(&self) -> KeyStamp {
        self.loaded.clone()
    }

    /// The state of the key file now; one that is not there is a state too. Blocks.
    pub fn stamp(&self) -> KeyStamp {
        let metadata = std::fs::metadata(self.key_file()).ok();
        KeyStamp(metadata.and_then(|metadata| Some((metadata.modified().ok()?, metadata.len()))))
    }

    fn key_file(&self) -> &Path {
        let (KeyFile::Pem(path) | KeyFile::Jwks(path)) = &self.keys;
        path
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
}
