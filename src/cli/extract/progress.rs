//! How far an initial load is, as the server says it.
//!
//! Owns what is read of it, and how a table is put into words; how that is shown is `load`'s and `bars`'s.

use serde::Deserialize;
use serde_json::Value;

use crate::cli::failure::Failure;
use crate::cli::output::harmless;

/// How far a load is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Progress {
    pub(super) state: String,
    #[serde(default)]
    pub(super) tables: Vec<TableProgress>,
    #[serde(default)]
    pub(super) waits_for: Option<Wait>,
}

/// How far one table is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TableProgress {
    pub(super) table: String,
    pub(super) state: String,
    #[serde(default)]
    pub(super) rows: u64,
    pub(super) estimated_rows: Option<u64>,
    pub(super) percent: Option<f64>,
    pub(super) rows_per_second: Option<f64>,
    pub(super) seconds_left: Option<f64>,
    pub(super) error: Option<String>,
}

/// What a load waits for before it can begin.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Wait {
    pub(super) what: String,
}

impl Progress {
    /// As an answer has it.
    pub(super) fn read(answer: &Value) -> Result<Self, Failure> {
        let progress = Self::deserialize(answer);
        progress.map_err(|error| Failure::failed(format!("the answer is no progress of a load: {error}")))
    }

    /// Whether nothing more will come of it.
    pub(super) fn is_over(&self) -> bool {
        let is_open = |table: &TableProgress| matches!(table.state.as_str(), "queued" | "loading");
        matches!(self.state.as_str(), "done" | "failed") || !self.tables.iter().any(is_open)
    }

    /// Tables that could not be loaded.
    pub(super) fn failed(&self) -> Vec<&TableProgress> {
        self.tables.iter().filter(|table| table.state == "failed").collect()
    }
}

impl TableProgress {
    /// In words, without the table's name.
    pub(super) fn worded(&self) -> String {
        let mut text = format!("{:<9} {} rows", self.state, self.rows);
        if let Some(percent) = self.percent {
            text += &format!(", {percent:.1} %");
        }
        if let Some(rate) = self.rows_per_second.filter(|_| self.state == "loading") {
            text += &format!(", {rate:.0} rows/s");
        }
        if let Some(left) = self.seconds_left.filter(|_| self.state == "loading") {
            text += &format!(", {left:.0} s left");
        }
        if let Some(error) = &self.error {
            text += &format!(": {error}");
        }
        harmless(&text)
    }
}
