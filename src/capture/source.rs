//! A source: a database of one product, as an extract captures it.
//!
//! ```text
//! new          from an extract's configuration; nothing is asked yet
//! preflight    before an extract is made or changed: does the source speak against it?
//! session      connects, finds where the trail stands, streams; ends when it is asked to, or with a fault
//! watch        beside the sessions, and also when there is none: what does the source keep for us?
//! ```
//!
//! Owns the choice of the product, and nothing else: everything that a product does is in its folder, and everything that is
//! the same for all is beside this file. A folder of a product knows nothing of this file.

use std::convert::Infallible;

use serde::Serialize;
use tokio::sync::watch;

use super::coverage::SharedCoverage;
use super::error::{CaptureError, Fault};
use super::postgres;
use super::status::{self, Status};
#[cfg(test)]
use super::toy;
use crate::catalog::extract::{ExtractConfig, Secret, SourceKind};
use crate::catalog::table_pattern::TablePattern;
use crate::record::ResourceName;
use crate::trail::Appender;

/// A source of one extract.
#[derive(Debug)]
pub(super) enum Source {
    /// PostgreSQL.
    Postgresql(postgres::Source),
    /// A log in memory that tests write.
    #[cfg(test)]
    Toy(toy::Source),
}

impl Source {
    /// Of a configuration that is checked first. `password` is the one to log in with, wherever it was kept; without it, the
    /// configuration's own.
    pub(super) fn new(
        name: &ResourceName,
        config: &ExtractConfig,
        password: Option<Secret>,
    ) -> Result<Self, CaptureError> {
        config.validate()?;
        match config.source.kind {
            SourceKind::Postgresql => Ok(Self::Postgresql(postgres::Source::new(name, config, password))),
            SourceKind::Mysql | SourceKind::Mariadb => {
                Err(CaptureError::Refused("sources of this type are not supported in this version".to_owned()))
            }
        }
    }

    /// Connects and streams until it is asked to stop, or something fails.
    pub(super) async fn session(
        &self,
        appender: &mut Appender,
        status: &SharedStatus,
        coverage: &SharedCoverage,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<(), Fault> {
        match (self, &status.0) {
            (Self::Postgresql(source), Product::Postgresql(status)) => {
                source.session(appender, status, coverage, shutdown).await
            }
            #[cfg(test)]
            (Self::Toy(source), Product::Toy(status)) => source.session(appender, status, shutdown).await,
            #[cfg(test)]
            _ => Err(CaptureError::Refused("the status is that of another product".to_owned()).into()),
        }
    }

    /// Looks before an extract is made, or gets other tables than the patterns `known`: what speaks against it.
    pub(super) async fn preflight(&self, known: Option<&[TablePattern]>) -> Result<Option<CaptureError>, Fault> {
        match self {
            Self::Postgresql(source) => source.preflight(known).await,
            #[cfg(test)]
            Self::Toy(_) => Ok(None),
        }
    }

    /// Looks now and then at what the source keeps for the extract, whether it runs or not, and notes it in its status.
    pub(super) async fn watch(&self, status: &SharedStatus) -> Infallible {
        match (self, &status.0) {
            (Self::Postgresql(source), Product::Postgresql(status)) => source.watch(status).await,
            #[cfg(test)]
            _ => std::future::pending().await,
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

/// What people call the product that a trail's source says of itself.
pub fn product_of(known: Option<&str>) -> &'static str {
    match known {
        // Before the first connection there is no identity, and only one product that there could be.
        None | Some(postgres::IDENTITY) => postgres::PRODUCT,
        Some(_) => "unknown",
    }
}

/// The status of an extract that capture writes and REST reads: all clones are one.
#[derive(Debug, Clone)]
pub struct SharedStatus(Product);

#[derive(Debug, Clone)]
enum Product {
    Postgresql(postgres::SharedStatus),
    #[cfg(test)]
    Toy(status::SharedStatus),
}

/// What an extract shows of itself (`extracts/{name}/info`).
#[derive(Debug, Clone, Serialize)]
pub struct ExtractStatus {
    /// What every extract shows.
    #[serde(flatten)]
    pub common: Status,
    /// What only its product has.
    #[serde(flatten)]
    pub product: ProductStatus,
}

/// What only one product shows of an extract.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum ProductStatus {
    /// PostgreSQL.
    Postgresql(postgres::PostgresStatus),
    /// Nothing.
    #[cfg(test)]
    Toy {},
}

/// What a source keeps of its log for an extract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptLog {
    /// In a word, of a list that the product has.
    pub state: &'static str,
    /// Bytes of its log that the source keeps because of the extract.
    pub retained_bytes: Option<u64>,
    /// Bytes that the source may still write before that is in danger; none without a limit.
    pub safe_bytes: Option<u64>,
    /// Bytes that the source has spilled to its disk while it decoded large transactions.
    pub spilled_bytes: Option<u64>,
}

impl SharedStatus {
    /// Of an extract of that product that has shown nothing yet.
    pub fn new(kind: SourceKind) -> Self {
        match kind {
            SourceKind::Postgresql | SourceKind::Mysql | SourceKind::Mariadb => {
                Self(Product::Postgresql(postgres::SharedStatus::default()))
            }
        }
    }

    /// Of the source that tests write.
    #[cfg(test)]
    pub(super) fn of_toy() -> Self {
        Self(Product::Toy(status::SharedStatus::default()))
    }

    /// What every extract shows.
    pub fn common(&self) -> &status::SharedStatus {
        match &self.0 {
            Product::Postgresql(status) => status.common(),
            #[cfg(test)]
            Product::Toy(status) => status,
        }
    }

    /// All of it, now.
    pub fn snapshot(&self) -> ExtractStatus {
        let product = match &self.0 {
            Product::Postgresql(status) => ProductStatus::Postgresql(status.own()),
            #[cfg(test)]
            Product::Toy(_) => ProductStatus::Toy {},
        };
        ExtractStatus { common: self.common().snapshot(), product }
    }

    /// Forgets what is only known while somebody looks at the source.
    pub fn forget_source(&self) {
        self.common().update(|status| status.heard = None);
        match &self.0 {
            Product::Postgresql(status) => status.update_own(|status| status.slot = None),
            #[cfg(test)]
            Product::Toy(_) => {}
        }
    }
}

impl ExtractStatus {
    /// What goes on with less than it should have.
    pub fn warnings(&self) -> Vec<String> {
        match &self.product {
            ProductStatus::Postgresql(status) => status.warnings(),
            #[cfg(test)]
            ProductStatus::Toy {} => Vec::new(),
        }
    }

    /// What the source keeps of its log for the extract, as last looked at.
    pub fn kept_log(&self) -> Option<KeptLog> {
        match &self.product {
            ProductStatus::Postgresql(status) => status.slot.as_ref().map(|slot| KeptLog {
                state: slot.wal_status,
                retained_bytes: slot.retained_wal_bytes,
                safe_bytes: slot.safe_wal_bytes,
                spilled_bytes: slot.spilled_bytes,
            }),
            #[cfg(test)]
            ProductStatus::Toy {} => None,
        }
    }

    /// Tables on which the source refuses its application's writes because of the extract, and tables that are left out so
    /// that it does not: how many.
    pub fn refused_and_left_out(&self) -> (usize, usize) {
        match &self.product {
            ProductStatus::Postgresql(status) => {
                (status.publication.refused_writes.len(), status.publication.left_out.len())
            }
            #[cfg(test)]
            ProductStatus::Toy {} => (0, 0),
        }
    }
}
