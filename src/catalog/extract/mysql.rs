//! What an extract of MySQL or MariaDB is configured with beside what every extract has.

use serde::{Deserialize, Serialize};

/// What only MySQL and MariaDB have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MysqlOptions {
    /// The replica's own number.
    pub server_id: u32,
}
