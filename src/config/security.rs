//! The tables of the configuration file that say how clients are known: `[tls]`.

use std::path::PathBuf;

use super::file::{ConfigFileError, text_of};

/// `[tls]`: the files of the listener.
#[derive(Debug, Clone, Default)]
pub struct TlsMembers {
    /// `certificate`.
    pub certificate: Option<PathBuf>,
    /// `key`.
    pub key: Option<PathBuf>,
    /// `clientCa`.
    pub client_ca: Option<PathBuf>,
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
        let tls = table_of(table, "tls", &["certificate", "key", "clientCa"])?.unwrap_or_default();
        let path = |member: &str| Ok(text_of(&tls, member)?.map(PathBuf::from));
        Ok(Self { certificate: path("certificate")?, key: path("key")?, client_ca: path("clientCa")? })
    }
}
