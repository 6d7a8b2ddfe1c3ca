//! A source: a database of one product, as an extract captures it.
//!
//! ```text
//! new          from an extract's configuration; nothing is asked yet
//! preflight    before an extract is made or changed: does the source speak against it?
//! session      connects, finds where the trail stands, streams; ends when it is asked to, or with a fault
//! check        looks at everything that capture needs at the source, and says what is to be changed
//! release      takes away what the extract made at the source, when it is deleted
//! watch        beside the sessions, and also when there is none: what does the source keep for us?
//! ```
//!
//! Owns the choice of the product, and nothing else: everything that a product does is in its folder, and everything that is
//! the same for all is beside this file. A folder of a product knows nothing of this file.

use std::convert::Infallible;

use tokio::sync::watch;

use super::coverage::SharedCoverage;
use super::error::{CaptureError, Fault};
use super::extract_status::{Product, SharedStatus};
use super::finding::Finding;
use super::postgres;
use super::released::Released;
use super::snapshot::orders::SharedLoads;
#[cfg(test)]
use super::{status, toy};
use crate::catalog::extract::{ExtractConfig, Secret, SourceKind, columns};
use crate::catalog::table_pattern::TablePattern;
use crate::clock::SharedClock;
use crate::record::ResourceName;
use crate::trail::Appender;

/// A source of one extract.
#[derive(Debug)]
#[cfg_attr(test, expect(clippy::large_enum_variant, reason = "an extract has one; only tests have the small variant"))]
pub(super) enum Source {
    /// PostgreSQL.
    Postgresql(postgres::Source),
    /// A log in memory that tests write.
    #[cfg(test)]
    Toy(toy::Source, status::SharedStatus),
}

impl Source {
    /// Of a configuration that is checked first. `password` is the one to log in with, wherever it was kept; without it, the
    /// configuration's own. `status` is where the source shows itself.
    pub(super) fn new(
        name: &ResourceName,
        config: &ExtractConfig,
        password: Option<Secret>,
        status: &SharedStatus,
    ) -> Result<Self, CaptureError> {
        config.validate()?;
        // Without its key a hash hides nothing from who can try out values.
        if let Some(missing) = columns::missing_key(&config.columns) {
            return Err(missing.into());
        }
        match (config.source.kind, &status.0) {
            (SourceKind::Postgresql, Product::Postgresql(status)) => {
                Ok(Self::Postgresql(postgres::Source::new(name, config, password, status.clone())))
            }
            _ => Err(CaptureError::Refused("sources of this type are not supported in this version".to_owned())),
        }
    }

    /// Connects and streams until it is asked to stop, or something fails.
    pub(super) async fn session(
        &self,
        appender: &mut Appender,
        coverage: &SharedCoverage,
        loads: &SharedLoads,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<(), Fault> {
        match self {
            Self::Postgresql(source) => source.session(appender, coverage, loads, shutdown).await,
            #[cfg(test)]
            Self::Toy(source, status) => source.session(appender, status, shutdown).await,
        }
    }

    /// Looks before an extract is made, or gets other tables than the patterns `known`: what speaks against it.
    pub(super) async fn preflight(&self, known: Option<&[TablePattern]>) -> Result<Option<CaptureError>, Fault> {
        match self {
            Self::Postgresql(source) => source.preflight(known).await,
            #[cfg(test)]
            Self::Toy(..) => Ok(None),
        }
    }

    /// Looks at everything that capture needs at the source, and changes nothing.
    pub(super) async fn check(&self, clock: &SharedClock) -> Vec<Finding> {
        match self {
            Self::Postgresql(source) => source.check(clock).await,
            #[cfg(test)]
            Self::Toy(..) => Vec::new(),
        }
    }

    /// Takes away what the extract made at the source.
    pub(super) async fn release(&self) -> Result<Released, Fault> {
        match self {
            Self::Postgresql(source) => source.release().await,
            #[cfg(test)]
            Self::Toy(..) => Ok(Released::default()),
        }
    }

    /// The captured tables that the patterns take in, once the source has said that the condition means something for each.
    pub(super) async fn loadable(
        &self,
        tables: &[TablePattern],
        condition: Option<&str>,
    ) -> Result<Vec<String>, Fault> {
        match self {
            Self::Postgresql(source) => source.loadable(tables, condition).await,
            #[cfg(test)]
            Self::Toy(..) => Ok(Vec::new()),
        }
    }

    /// Looks now and then at what the source keeps for the extract, whether it runs or not, and notes it in its status.
    pub(super) async fn watch(&self) -> Infallible {
        match self {
            Self::Postgresql(source) => source.watch().await,
            #[cfg(test)]
            Self::Toy(..) => std::future::pending().await,
        }
    }
}

/// An extract: its name and configuration.
pub type Named<'a> = (&'a ResourceName, &'a ExtractConfig);

/// What two extracts of the same server would both use there, where only one can: in words that go on "extract e1 uses …".
pub fn shared_at_source(one: Named<'_>, other: Named<'_>) -> Option<String> {
    match (one.1.source.kind, other.1.source.kind) {
        (SourceKind::Postgresql, SourceKind::Postgresql) => postgres::shared(one, other),
        _ => None,
    }
}

/// The SQL that installs the helper at a source by which statements that change tables become records.
pub fn helper_sql() -> &'static str {
    // The only product that has one.
    postgres::HELPER
}

/// What people call the product that a trail's source says of itself.
pub fn product_of(known: Option<&str>) -> &'static str {
    match known {
        // Before the first connection there is no identity, and only one product that there could be.
        None | Some(postgres::IDENTITY) => postgres::PRODUCT,
        Some(_) => "unknown",
    }
}
