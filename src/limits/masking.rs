//! Caps of what an extract is told to hide: masks of columns and row filters.

/// Masks of columns of one extract.
pub const EXTRACT_MASKS_MAX: usize = 1_024;
/// Longest fixed text in place of a value, in bytes: it stands in every row.
pub const MASK_TEXT_BYTES_MAX: usize = 1_024;
/// Shortest key of a hash, in bytes: a shorter one can be tried out.
pub const MASK_KEY_BYTES_MIN: usize = 16;
/// Longest key of a hash, in bytes.
pub const MASK_KEY_BYTES_MAX: usize = 1_024;
/// Tables with masked columns that are remembered, so that no such column comes under another name; far more than any source
/// has. With more, the extract stops.
pub const MASKED_TABLES_MAX: usize = 100_000;
/// Row filters of one extract.
pub const EXTRACT_ROW_FILTERS_MAX: usize = 1_024;
/// Longest row filter, in bytes.
pub const ROW_FILTER_BYTES_MAX: usize = 4_096;
