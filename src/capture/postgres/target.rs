//! What an extract captures of PostgreSQL: the server, the tables, the slot and the publications, as its configuration says.

use tokio::time::Duration;

use super::connection::{Address, identifier};
use super::lsn::Lsn;
use crate::capture::value_rules::ValueRules;
use crate::catalog::extract::postgresql::{OUR_PREFIX, inserts_publication};
use crate::catalog::extract::row_filters::RowFilter;
use crate::catalog::extract::{ExtractConfig, NewTables, OnCoverageLost, Secret, Snapshot, WithoutIdentity};
use crate::catalog::table_pattern::{Glyph, TablePattern, wild_match};
use crate::limits;
use crate::record::{ResourceName, TableName};

/// What the product is called.
pub(in crate::capture) const PRODUCT: &str = "PostgreSQL";
/// What a trail's name for its source begins with.
pub(in crate::capture) const IDENTITY: &str = "postgresql";

/// What to capture, from where, through which slot.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) address: Address,
    pub(super) tables: Vec<TablePattern>,
    pub(super) slot: String,
    /// Named in the configuration: taken over as it is when it exists.
    pub(super) slot_is_theirs: bool,
    /// Where a new trail begins, if that is not where the slot does.
    pub(super) begin: Option<Lsn>,
    /// Time between two heartbeats, if there are to be any.
    pub(super) heartbeat: Option<Duration>,
    pub(super) publication: String,
    /// Named in the configuration: used as it is when it exists.
    pub(super) publication_is_theirs: bool,
    pub(super) without_identity: Option<WithoutIdentity>,
    pub(super) on_coverage_lost: OnCoverageLost,
    pub(super) new_tables: NewTables,
    /// The rows that are there already are loaded.
    pub(super) loads_first: bool,
    /// Rows a second that a load is held to.
    pub(super) load_rate: Option<u64>,
    /// What becomes of values.
    pub(super) value_rules: ValueRules,
    /// Rows that are left at the source.
    pub(super) row_filters: Vec<RowFilter>,
    /// Patterns of the prefixes of logical messages.
    messages: Vec<String>,
    /// Bytes that transactions may take on the disk before their end.
    pub(super) spill_bytes: u64,
}

impl Target {
    /// From a configuration that was validated.
    pub(super) fn new(name: &ResourceName, config: &ExtractConfig, password: Option<Secret>) -> Self {
        let source = config.source.clone();
        Self {
            tables: config.tables.clone(),
            slot: config.postgresql.slot_of(name),
            slot_is_theirs: config.postgresql.slot.is_some(),
            begin: Lsn::parse(&config.begin),
            heartbeat: config.postgresql.heartbeat_seconds.map(u64::from).map(Duration::from_secs),
            publication: config.postgresql.publication_of(name),
            without_identity: config.without_identity,
            publication_is_theirs: config.postgresql.publication.is_some(),
            on_coverage_lost: config.on_coverage_lost,
            new_tables: config.new_tables,
            loads_first: config.snapshot == Snapshot::Initial,
            load_rate: config.load_rate,
            value_rules: ValueRules::of(config),
            row_filters: config.row_filters.clone(),
            messages: config.postgresql.messages.clone(),
            spill_bytes: config.postgresql.spill_bytes.unwrap_or(limits::SPILL_BYTES_DEFAULT),
            address: Address {
                user: source.user.clone().unwrap_or_default(),
                password: password.or_else(|| source.password.clone()),
                source,
            },
        }
    }

    /// Whether whole schemas may be published, with later tables: not where something is to be said of single tables.
    pub(super) fn publishes_whole(&self) -> bool {
        self.without_identity.is_none() && self.row_filters.is_empty()
    }

    /// Tables whose writes would be refused are not asked for.
    pub(super) fn skips_without_identity(&self) -> bool {
        self.without_identity == Some(WithoutIdentity::Skip)
    }

    /// The second publication, where there is to be one.
    pub(super) fn inserts_publication(&self) -> Option<String> {
        let wanted = self.without_identity == Some(WithoutIdentity::InsertsOnly);
        wanted.then(|| inserts_publication(&self.publication))
    }

    /// The publications that a stream names, as PostgreSQL's list of identifiers.
    pub(super) fn publications(&self) -> String {
        let mut names = identifier(&self.publication);
        if let Some(inserts) = self.inserts_publication() {
            names.push(',');
            names.push_str(&identifier(&inserts));
        }
        names
    }

    /// Tells what makes the content of a transaction of tables with masked columns from what would make it another; empty
    /// without masks.
    pub(super) fn masks(&self) -> String {
        let masks = self.value_rules.masks.fingerprint();
        let tables: Vec<String> = self.tables.iter().cloned().map(String::from).collect();
        if masks.is_empty() { masks } else { format!("{masks}{:08x}", crc32c::crc32c(tables.join("\n").as_bytes())) }
    }

    /// Whether values are hidden from whoever reads the trail, also by filters in a publication that is the user's.
    pub(super) fn hides_values(&self) -> bool {
        !self.value_rules.masks.is_empty() || !self.row_filters.is_empty() || self.publication_is_theirs
    }

    /// Whether logical messages of that prefix become records.
    pub(super) fn wants_message(&self, prefix: &str) -> bool {
        let matches = |pattern: &String| wild_match(pattern.chars().map(Glyph::from), prefix.chars());
        !prefix.starts_with(OUR_PREFIX) && self.messages.iter().any(matches)
    }

    /// Whether any logical messages become records.
    pub(super) fn wants_messages(&self) -> bool {
        !self.messages.is_empty()
    }

    pub(super) fn captures(&self, schema: &str, table: &str) -> bool {
        self.tables.iter().any(|pattern| pattern.matches(schema, table))
    }

    /// Whether a table by that name of the trail is captured.
    pub(super) fn is_captured(&self, table: &TableName) -> bool {
        matches!(table.parts(), [schema, name] if self.captures(schema, name))
    }
}
