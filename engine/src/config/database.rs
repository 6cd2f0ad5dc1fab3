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
    /// How far the machine's clock may be from that of Postgres; a node further off is not ready.
    pub clock_offset_max_ms: i64,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { connections_max: 20, acquire_timeout_ms: 3_000, clock_offset_max_ms: 1_000 }
    }
}
