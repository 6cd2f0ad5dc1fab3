//! Settings: the database pool.

use serde::{Deserialize, Serialize};

/// The database pool.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// Most connections to Postgres from this process.
    pub connections_max: u32,
    /// How long a caller waits for a connection.
    pub acquire_timeout_ms: u64,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { connections_max: 20, acquire_timeout_ms: 3_000 }
    }
}
