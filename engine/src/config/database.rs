//! Settings: the database pool.

use super::check::{TIME_MAX_MS, need_within};
use serde::{Deserialize, Serialize};

/// The fewest connections: one for each pool.
const CONNECTIONS_MIN: u32 = 4;
/// The highest `connections_max`.
const CONNECTIONS_MAX: u32 = 10_000;

/// The database pool.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// Maximum number of connections to Postgres from this process.
    pub connections_max: u32,
    /// How long a caller waits for a connection.
    pub acquire_timeout_ms: u64,
    /// The largest offset between the machine's clock and that of Postgres; a node beyond it is not ready.
    pub clock_offset_max_ms: i64,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { connections_max: 20, acquire_timeout_ms: 3_000, clock_offset_max_ms: 1_000 }
    }
}

impl DatabaseConfig {
    /// Reports each problem.
    pub(super) fn check(&self, need: &mut impl FnMut(bool, &str)) {
        need_within(need, "database.connections_max", self.connections_max, CONNECTIONS_MIN..=CONNECTIONS_MAX);
        need_within(need, "database.acquire_timeout_ms", self.acquire_timeout_ms, 100..=TIME_MAX_MS);
        need_within(need, "database.clock_offset_max_ms", self.clock_offset_max_ms, 1..=TIME_MAX_MS.cast_signed());
    }
}
