//! What only an extract of PostgreSQL shows of itself: its slot and its publications.
//!
//! Owns these members and what of them people are warned of; looking at slot and publications is the business of
//! `slot_watch` and `publication_report`.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::replica_identity::RefusedWrites;
use crate::capture::status::{self, Status};

/// The part of `extracts/{name}/info` that only PostgreSQL has.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PostgresStatus {
    /// Where the last bytes received stand.
    pub received_lsn: Option<String>,
    /// What the source was told that it need not keep.
    pub confirmed_lsn: Option<String>,
    /// What the source keeps for us, as last looked at.
    pub slot: Option<SlotStatus>,
    /// What there is to say of the publications, as last looked at.
    #[serde(skip_serializing_if = "PublicationStatus::is_empty")]
    pub publication: PublicationStatus,
    /// Where a look found the end of the source's log, if that was before what the trail had by then.
    #[serde(skip)]
    pub log_ends_early: Option<String>,
    /// Until the trail has come to this place, transactions are asked for whole: a large one could not be taken before its end.
    #[serde(skip)]
    pub whole_before: Option<u64>,
}

/// What a source keeps for an extract.
#[derive(Debug, Clone, Default, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SlotStatus {
    /// The end of the source's log.
    #[serde(skip)]
    pub current: Option<u64>,
    /// Bytes of its log that the source keeps because of the slot.
    pub retained_wal_bytes: Option<u64>,
    /// Bytes that the source may still write before the slot is in danger; none without a limit.
    pub safe_wal_bytes: Option<u64>,
    /// `reserved`, `extended`, `unreserved`, `lost`; `missing` when there is no slot, `unknown` for what is none of these.
    pub wal_status: &'static str,
    /// Bytes that the source has spilled to its disk while it decoded large transactions.
    pub spilled_bytes: Option<u64>,
}

/// What there is to say of an extract's publications; nothing, in the best case.
#[derive(Debug, Clone, Default, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PublicationStatus {
    /// Published tables on which the source refuses the application's UPDATE and DELETE.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused_writes: Vec<RefusedWrites>,
    /// Tables that are not published, because their writes would be refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<RefusedWrites>,
    /// Tables of which only INSERTs are published.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inserts_only: Vec<String>,
    /// Generated columns that are not published.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns_left_out: Vec<String>,
    /// Masks that name no column of a captured table.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub masks_unmatched: Vec<String>,
}

impl PublicationStatus {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl PostgresStatus {
    /// What may come to a standstill, or already keeps the source's application from its work.
    pub(in crate::capture) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.slot.as_ref().is_some_and(|slot| slot.wal_status == "unreserved") {
            let what = "may lose its slot: the source may discard what it needs at its next checkpoint (unreserved)";
            warnings.push(what.to_owned());
        }
        let refused: Vec<&str> = self.publication.refused_writes.iter().map(|writes| writes.table.as_str()).collect();
        if !refused.is_empty() {
            let tables = refused.join(", ");
            warnings
                .push(format!("publishes tables whose UPDATE and DELETE the source refuses its application: {tables}"));
        }
        warnings
    }
}

/// The whole status of an extract of PostgreSQL: all clones are one.
#[derive(Debug, Clone, Default)]
pub struct SharedStatus {
    common: status::SharedStatus,
    own: Arc<Mutex<PostgresStatus>>,
}

impl SharedStatus {
    /// The part that every extract has.
    pub(in crate::capture) fn common(&self) -> &status::SharedStatus {
        &self.common
    }

    /// The part that only PostgreSQL has, now.
    pub(in crate::capture) fn own(&self) -> PostgresStatus {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the part that every extract has. `change` must be short.
    pub(super) fn update(&self, change: impl FnOnce(&mut Status)) {
        self.common.update(change);
    }

    /// Changes the part that only PostgreSQL has. `change` must be short.
    pub(in crate::capture) fn update_own(&self, change: impl FnOnce(&mut PostgresStatus)) {
        change(&mut self.own.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
