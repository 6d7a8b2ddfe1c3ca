//! The tables of the configuration file that say how clients are known: `[tls]` and `[jwt]`.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;

use super::file::{ConfigFileError, text_of, texts_of};
use crate::access::jwt::{JwtKeys, JwtRules};
use crate::limits;

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

/// The table of that name; an empty one when there is none. Its members must be among `members`.
fn table_of(table: &toml::Table, name: &str, members: &[&str]) -> Result<Option<toml::Table>, ConfigFileError> {
    match table.get(name) {
        None => Ok(None),
        Some(toml::Value::Table(inner)) => match inner.keys().find(|key| !members.contains(&key.as_str())) {
            None => Ok(Some(inner.clone())),
            Some(unknown) => {
                let shown: String = unknown.chars().take(64).collect();
                let known = members.join(", ");
                Err(ConfigFileError::new(name, format!("unknown member {shown:?}; the members are {known}")))
            }
        },
        Some(_) => Err(ConfigFileError::new(name, format!("is written as a table [{name}]"))),
    }
}

impl TlsMembers {
    pub(super) fn read(table: &toml::Table) -> Result<Self, ConfigFileError> {
        let tls = table_of(table, "tls", &["certificate", "key", "clientCa", "users"])?.unwrap_or_default();
        let path = |member: &str| Ok(text_of(&tls, member)?.map(PathBuf::from));
        let users = match tls.get("users") {
            None => BTreeMap::new(),
            Some(toml::Value::Table(users)) => users
                .iter()
                .map(|(name, user)| user.as_str().map(|user| (name.clone(), user.to_owned())))
                .collect::<Option<_>>()
                .ok_or_else(|| ConfigFileError::new("tls.users", "each is a user's name"))?,
            Some(_) => return Err(ConfigFileError::new("tls.users", "is written as a table [tls.users]")),
        };
        Ok(Self { users, certificate: path("certificate")?, key: path("key")?, client_ca: path("clientCa")? })
    }
}

/// `[jwt]`, with the keys that its file holds.
pub(super) fn jwt(table: &toml::Table) -> Result<Option<JwtRules>, ConfigFileError> {
    let members = ["issuer", "audience", "algorithms", "keys", "jwks", "roleClaim"];
    let Some(jwt) = table_of(table, "jwt", &members)? else { return Ok(None) };
    let need = |member: &str| {
        text_of(&jwt, member)?.ok_or_else(|| ConfigFileError::new(&format!("jwt.{member}"), "is missing"))
    };
    let (issuer, audience) = (need("issuer")?, need("audience")?);
    let algorithms = texts_of(&jwt, "algorithms")?;
    if algorithms.is_empty() {
        return Err(ConfigFileError::new("jwt.algorithms", "names at least one, such as \"RS256\""));
    }
    let text;
    let keys = match (text_of(&jwt, "keys")?, text_of(&jwt, "jwks")?) {
        (Some(path), None) => {
            text = key_file(path)?;
            JwtKeys::Pem(&text)
        }
        (None, Some(path)) => {
            text = key_file(path)?;
            JwtKeys::Jwks(&text)
        }
        _ => return Err(ConfigFileError::new("jwt", "has either keys (a PEM file) or jwks (a JSON file)")),
    };
    let rules = JwtRules::new(issuer, audience, &algorithms, keys, text_of(&jwt, "roleClaim")?);
    rules.map(Some).map_err(|error| ConfigFileError::new("jwt", error))
}

fn key_file(path: &str) -> Result<String, ConfigFileError> {
    let about = |what: &dyn std::fmt::Display| ConfigFileError::new("jwt", format!("{path}: {what}"));
    let file = std::fs::File::open(path).map_err(|error| about(&error))?;
    let mut text = String::new();
    let limit = limits::PEM_FILE_BYTES_MAX;
    match file.take(limit + 1).read_to_string(&mut text) {
        Ok(length) if length as u64 <= limit => Ok(text),
        Ok(_) => Err(about(&format_args!("has more than {limit} bytes"))),
        Err(error) => Err(about(&error)),
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
        assert!(error("[tls]\ncert = \"c.pem\"").contains("clientCa"));
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
