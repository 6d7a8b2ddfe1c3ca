//! The progress of a load as bars in a terminal, one a table.

use std::collections::HashMap;
use std::io::{self, IsTerminal as _};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::progress::{Progress, TableProgress};
use crate::cli::output::harmless;
use crate::limits;

/// A table whose number of rows is known, about.
const KNOWN: &str = "{prefix:32} [{bar:30}] {msg}";
/// One whose is not, and what stands below the bars.
const UNKNOWN: &str = "{prefix:32} {msg}";

/// The bars.
pub(super) struct Bars {
    all: MultiProgress,
    tables: HashMap<String, ProgressBar>,
    /// What does not fit, and what the load waits for.
    below: ProgressBar,
}

impl Bars {
    /// Bars, if there is somebody to see them.
    pub(super) fn in_terminal() -> Option<Self> {
        if !io::stderr().is_terminal() {
            return None;
        }
        let all = MultiProgress::new();
        let below = all.add(ProgressBar::new_spinner().with_style(style(UNKNOWN)));
        Some(Self { all, tables: HashMap::new(), below })
    }

    pub(super) fn show(&mut self, progress: &Progress) {
        // What is loaded now comes first, then what waits.
        let mut tables: Vec<&TableProgress> = progress.tables.iter().collect();
        tables.sort_by_key(|table| match table.state.as_str() {
            "loading" => 0,
            "failed" => 1,
            "queued" => 2,
            _ => 3,
        });
        let (shown, hidden) = tables.split_at(tables.len().min(limits::LOAD_BARS_MAX));
        self.tables.retain(|name, bar| {
            let stays = shown.iter().any(|table| table.table == *name);
            if !stays {
                bar.finish_and_clear();
            }
            stays
        });
        for table in shown {
            self.show_table(table);
        }
        let more = if hidden.is_empty() { String::new() } else { format!("and {} more tables. ", hidden.len()) };
        let waits = progress.waits_for.as_ref().map(|wait| harmless(&wait.what)).unwrap_or_default();
        self.below.set_prefix(progress.state.clone());
        self.below.set_message(more + &waits);
        self.below.tick();
    }

    fn show_table(&mut self, table: &TableProgress) {
        let bar = self.tables.entry(table.table.clone()).or_insert_with(|| {
            let bar = self.all.insert_before(&self.below, ProgressBar::new(0).with_style(style(UNKNOWN)));
            bar.set_prefix(harmless(&table.table));
            bar
        });
        bar.set_style(style(if table.estimated_rows.is_some() { KNOWN } else { UNKNOWN }));
        // An estimate may be too low.
        bar.set_length(table.estimated_rows.unwrap_or(0).max(table.rows));
        bar.set_position(table.rows);
        bar.set_message(table.worded());
    }
}

impl Drop for Bars {
    /// They stay as they stand.
    fn drop(&mut self) {
        for bar in self.tables.values().chain([&self.below]) {
            bar.abandon();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are our own; one that cannot be read is none.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
