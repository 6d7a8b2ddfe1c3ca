//! What an extract's configuration says of values: which are masked, and how a JSON null is told from SQL NULL.
//!
//! Handed to the code of a product's folder that describes tables and writes rows.

use super::mask::Masks;
use crate::catalog::extract::{ExtractConfig, JsonNull};

/// Those of one extract.
#[derive(Debug, Clone, Default)]
pub(super) struct ValueRules {
    pub(super) masks: Masks,
    pub(super) json_null: JsonNull,
}

impl ValueRules {
    /// As they are configured.
    pub(super) fn of(config: &ExtractConfig) -> Self {
        Self { masks: Masks::new(&config.columns), json_null: config.json_null }
    }
}
