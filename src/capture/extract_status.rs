//! What an extract shows of itself, whatever its product: the common status, and the product's own part beside it.
//!
//! Owns the choice of the product among statuses, and what of its own part concerns everybody: warnings, and what the source
//! keeps. A folder of a product knows nothing of this file.

use serde::Serialize;

use super::postgres;
use super::snapshot::status::LoadStatus;
use super::status::{self, Status};
use crate::catalog::extract::SourceKind;

/// The status of an extract that capture writes and REST reads: all clones are one.
#[derive(Debug, Clone)]
pub struct SharedStatus(pub(super) Product);

/// The same, by product.
#[derive(Debug, Clone)]
pub(super) enum Product {
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
#[cfg_attr(test, expect(clippy::large_enum_variant, reason = "an extract has one; only tests have the small variant"))]
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
            // Extracts of the other products are refused when they are to be made.
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
        let mut warnings = match &self.product {
            ProductStatus::Postgresql(status) => status.warnings(),
            #[cfg(test)]
            ProductStatus::Toy {} => Vec::new(),
        };
        let failed: Vec<&str> = self.common.snapshot.iter().flat_map(LoadStatus::failed).collect();
        if !failed.is_empty() {
            warnings.push(format!("could not load tables, its info says why: {}", failed.join(", ")));
        }
        warnings
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
