//! What an extract is configured with: the source, the tables, the trail it writes.
//!
//! Owns the members, their defaults and their ranges (`extracts/{name}` over REST, `[[extract]]` in the configuration
//! file: the same members). Leaves running it to `capture`, and what only one product has to a file of its own. What the design names but this version cannot do is
//! accepted by the parser and refused by [`ExtractConfig::validate`], so that the message says "not supported" instead
//! of "unknown member".

pub mod columns;
pub mod mysql;
pub mod postgresql;
pub mod row_filters;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::columns::ColumnMask;
use self::mysql::MysqlOptions;
use self::postgresql::PostgresqlOptions;
use self::row_filters::RowFilter;
use super::table_pattern::TablePattern;
use crate::limits;
use crate::record::TrailName;

/// Configuration of one extract.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExtractConfig {
    /// The database.
    pub source: SourceConfig,
    /// Which tables: `schema.table` with `*` and `?`.
    pub tables: Vec<TablePattern>,
    /// The trail it writes; it is that trail's only writer.
    pub trail: TrailName,
    /// Where a new trail begins: `now`, or a position of the source's log that the slot still has.
    #[serde(default = "now")]
    pub begin: String,
    /// Whether the rows that are there already are loaded.
    #[serde(default)]
    pub snapshot: Snapshot,
    /// Rows a second that loads are held to; as fast as it goes when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_rate: Option<u64>,
    /// What to do with tables that would have the application's own UPDATEs and DELETEs refused if they were published
    /// with all operations; when left out, the extract is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_identity: Option<WithoutIdentity>,
    /// What happens when a table that flowed does not.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_coverage_lost: OnCoverageLost,
    /// What happens when a later table may have had rows before it was published.
    #[serde(default, skip_serializing_if = "is_default")]
    pub new_tables: NewTables,
    /// What only PostgreSQL has.
    #[serde(default, skip_serializing_if = "is_default")]
    pub postgresql: PostgresqlOptions,
    /// What only MySQL and MariaDB have (not yet supported).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mysql: Option<MysqlOptions>,
    /// Columns to leave out or to mask. The first entry that names a column holds for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<ColumnMask>,
    /// Rows to leave at the source.
    #[serde(default, rename = "where", skip_serializing_if = "Vec::is_empty")]
    pub row_filters: Vec<RowFilter>,
    /// How a JSON null is told from SQL NULL.
    #[serde(default, skip_serializing_if = "is_default")]
    pub json_null: JsonNull,
    /// Whether it is meant to run.
    #[serde(default)]
    pub status: DesiredStatus,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn now() -> String {
    "now".into()
}

/// Where the database is and who asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceConfig {
    /// Which database product.
    #[serde(rename = "type")]
    pub kind: SourceKind,
    /// Host name or address.
    pub host: String,
    /// TCP port; the product's own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The database.
    pub database: String,
    /// The role to log in as; required for PostgreSQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its password, in place of `credentials`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Where the password is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialsRef>,
    /// How the connection is protected.
    #[serde(default)]
    pub tls: TlsMode,
}

impl SourceConfig {
    /// The port, given or the product's own.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.kind {
            SourceKind::Postgresql => 5432,
            SourceKind::Mysql | SourceKind::Mariadb => 3306,
        })
    }
}

/// A database product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// PostgreSQL, 13 or newer.
    #[default]
    Postgresql,
    /// MySQL (not yet supported).
    Mysql,
    /// MariaDB (not yet supported).
    Mariadb,
}

/// A kept credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CredentialsRef {
    /// The group it stands in.
    pub domain: String,
    /// Its name there.
    pub alias: String,
}

/// How a connection to a source is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Never TLS.
    Disable,
    /// TLS if the server has it, without checking its certificate.
    #[default]
    Prefer,
    /// TLS or nothing, without checking its certificate.
    Require,
    /// TLS, and the certificate must be of a trusted issuer and name the host.
    VerifyFull,
}

/// Whether existing rows are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Snapshot {
    /// Changes only.
    #[default]
    None,
    /// Existing rows too, while changes flow.
    Initial,
}

/// Whether an extract is meant to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DesiredStatus {
    /// It runs, and starts with the server.
    #[default]
    Running,
    /// It stays stopped.
    Stopped,
}

/// What to do with tables that nothing identifies the rows of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WithoutIdentity {
    /// They are not published, and so not captured.
    Skip,
    /// Only their INSERTs are published.
    InsertsOnly,
}

/// What happens when a table that the patterns name does not flow any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnCoverageLost {
    /// The extract stops, and goes on when a person accepts the gap.
    #[default]
    Stop,
    /// The gap is written at once and the other tables flow.
    Continue,
}

/// What happens when a later table that the patterns name may have had rows before it was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NewTables {
    /// It is published, with a gap of that table alone.
    #[default]
    Add,
    /// The extract stops, as for a table that was lost.
    Stop,
}

/// What becomes of values of types that are JSON already, among which `null` is not SQL's NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JsonNull {
    /// They stand in records as the JSON that they are: both are `null` there.
    #[default]
    Same,
    /// Each is a string with its JSON text: JSON null is `"null"`, SQL NULL is `null`.
    Text,
}

/// A password, or the key of a mask. Never printed; [`ExtractConfig::redacted`] leaves it out. Serializing it writes the plain text, which is
/// for the catalog's own (encrypted) storage only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a password.
    pub fn new(password: impl Into<String>) -> Self {
        Self(password.into())
    }

    /// The password in the open, for the one call that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A member of the configuration is out of its range, or not supported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{member}: {message}")]
pub struct InvalidExtract {
    /// The member, such as `source.host`.
    pub member: String,
    /// What is allowed.
    pub message: String,
}

fn refuse(member: &str, message: impl Into<String>) -> InvalidExtract {
    InvalidExtract { member: member.into(), message: message.into() }
}

impl ExtractConfig {
    /// Checks every member's range and that this version supports what is asked for.
    pub fn validate(&self) -> Result<(), InvalidExtract> {
        self.source.validate()?;
        if !(1..=limits::EXTRACT_TABLES_MAX).contains(&self.tables.len()) {
            return Err(refuse("tables", format!("1 to {} patterns", limits::EXTRACT_TABLES_MAX)));
        }
        if self.begin != "now" && !postgresql::is_position(&self.begin) {
            return Err(refuse("begin", "\"now\", or a position of the source's log, such as 0/16B3748"));
        }
        if self.load_rate.is_some_and(|rate| !(1..=limits::LOAD_RATE_MAX).contains(&rate)) {
            return Err(refuse("loadRate", format!("1 to {} rows a second", limits::LOAD_RATE_MAX)));
        }
        if self.mysql.is_some() {
            return Err(refuse("mysql", "not supported in this version"));
        }
        columns::validate(&self.columns)?;
        row_filters::validate(&self.row_filters, self.postgresql.publication.is_some())?;
        self.postgresql.validate(self.without_identity)
    }

    /// Whether it takes the same from the same source as `other` does.
    pub fn captures_like(&self, other: &Self) -> bool {
        self.source == other.source
            && self.tables == other.tables
            && self.without_identity == other.without_identity
            && (&self.columns, &self.row_filters) == (&other.columns, &other.row_filters)
            && (&self.postgresql, &self.mysql) == (&other.postgresql, &other.mysql)
    }

    /// The shortest configuration that is right, for who checks one member after the other.
    pub fn sample() -> Value {
        let source = json!({"type": "postgresql", "host": "h", "database": "d", "user": "u"});
        json!({"tables": ["public.*"], "trail": "t1", "source": source})
    }

    /// The configuration as REST shows it: without the password and the keys of masks.
    pub fn redacted(&self) -> Value {
        let mut shown = self.clone();
        shown.source.password = None;
        shown.columns.iter_mut().for_each(|mask| mask.key = None);
        serde_json::to_value(shown).unwrap_or_else(|_| json!({}))
    }
}

impl SourceConfig {
    fn validate(&self) -> Result<(), InvalidExtract> {
        if self.kind != SourceKind::Postgresql {
            return Err(refuse("source.type", "only \"postgresql\" is supported in this version"));
        }
        text("source.host", &self.host, limits::SOURCE_HOST_BYTES_MAX)?;
        text("source.database", &self.database, limits::SOURCE_IDENTIFIER_BYTES_MAX)?;
        if self.port == Some(0) {
            return Err(refuse("source.port", "1 to 65535"));
        }
        match &self.user {
            None => return Err(refuse("source.user", "the name to log in as is required")),
            Some(user) => text("source.user", user, limits::SOURCE_IDENTIFIER_BYTES_MAX)?,
        }
        if self.password.is_some() && self.credentials.is_some() {
            return Err(refuse("source.password", "either password or credentials, not both"));
        }
        if let Some(password) = &self.password {
            text("source.password", password.reveal(), limits::SOURCE_PASSWORD_BYTES_MAX)?;
        }
        Ok(())
    }
}

fn text(member: &str, value: &str, bytes_max: usize) -> Result<(), InvalidExtract> {
    if value.is_empty() || value.len() > bytes_max || value.contains('\0') {
        return Err(refuse(member, format!("1 to {bytes_max} bytes without NUL")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ResourceName;

    fn config(extra: Value) -> Result<ExtractConfig, serde_json::Error> {
        let mut all = json!({
            "source": {"type": "postgresql", "host": "db", "database": "shop", "user": "cdc", "password": "hush"},
            "tables": ["public.*"], "trail": "a1",
        });
        for (member, value) in extra.as_object().unwrap() {
            all[member] = value.clone();
        }
        serde_json::from_value(all)
    }

    fn config_with_hash() -> ExtractConfig {
        let mask = json!({"table": "a.b", "column": "c", "mask": "hash", "key": "a hash key of ours"});
        config(json!({"columns": [mask]})).unwrap()
    }

    #[test]
    fn only_source_tables_and_trail_are_required() {
        let config = config(json!({})).unwrap();
        assert_eq!(config.validate(), Ok(()));
        assert_eq!((config.source.port(), config.source.tls), (5432, TlsMode::Prefer));
        assert_eq!(config.postgresql.slot_of(&ResourceName::new("My-Shop.1").unwrap()), "trailcast_my_shop_1");
    }

    #[test]
    fn a_trail_may_begin_at_a_position_of_the_log() {
        for begin in ["now", "0/16B3748", "ffffffff/0"] {
            assert_eq!(config(json!({ "begin": begin })).unwrap().validate(), Ok(()), "{begin}");
        }
        for bad in ["", "earliest", "0", "/", "0/", "/0", "0/123456789", "g/0", "0/0/0", " 0/1"] {
            assert_eq!(config(json!({ "begin": bad })).unwrap().validate().unwrap_err().member, "begin", "{bad}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let config = config(json!({})).unwrap();
        assert!(!format!("{config:?}").contains("hush"));
        assert!(!config.redacted().to_string().contains("hush"));
        let masked = config_with_hash();
        assert!(!format!("{masked:?}").contains("a hash key of ours"));
        assert!(!masked.redacted().to_string().contains("a hash key of ours"));
        let stored = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<ExtractConfig>(&stored).unwrap(), config);
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        for (member, value) in [
            ("loadRate", json!(0)),
            ("begin", json!("then")),
            ("begin", json!("0/16B37480A")),
            ("postgresql", json!({"heartbeatSeconds": 0})),
            ("postgresql", json!({"heartbeatSeconds": 3_601})),
            ("postgresql", json!({"spillBytes": 17_592_186_044_417_u64})),
            ("postgresql", json!({"messages": ["trailcast.x"]})),
            ("columns", json!([{"table": "a.b", "column": "c", "mask": "text"}])),
            ("where", json!([{"table": "a.*", "filter": "id > 1"}])),
            ("mysql", json!({"serverId": 7})),
            ("tables", json!([])),
            ("postgresql", json!({"slot": "Upper"})),
            ("source", json!({"type": "mysql", "host": "h", "database": "d", "user": "u"})),
            ("source", json!({"type": "postgresql", "host": "h", "database": "d"})),
        ] {
            let refused = config(json!({ member: value })).unwrap().validate().unwrap_err();
            assert!(refused.member.starts_with(member), "{refused}");
        }
        assert!(config(json!({"sorce": 1})).unwrap_err().to_string().contains("sorce"));
    }
}
