//! Settings: customer actors and ledger writers.

use serde::{Deserialize, Serialize};

/// Customer actors and ledger writers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LedgerConfig {
    /// Ledger writers on Postgres; SQLite always has one.
    pub writers: usize,
    /// Most accounts in one transaction.
    pub batch_max: usize,
    /// Most commands that may wait for one customer.
    pub customer_queue_max: usize,
    /// Most commands that may be under way in this process.
    pub commands_max: usize,
    /// Memory for the actors of customers in this process, in KiB; beyond it, idle ones are let go sooner.
    /// An actor takes about 8 KiB.
    pub customers_memory_kib: usize,
    /// Memory for accounts of customers without an actor in this process, in KiB: who is remembered comes back
    /// without a look at the database. An account takes about 0.7 KiB.
    pub accounts_memory_kib: usize,
    /// A customer actor without work for this long is let go.
    pub idle_ms: u64,
    /// How long a caller waits for an answer.
    pub timeout_ms: u64,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self {
            writers: 2,
            batch_max: 256,
            customer_queue_max: 1_000,
            commands_max: 4_096,
            customers_memory_kib: 56 * 1_024,
            accounts_memory_kib: 16 * 1_024,
            idle_ms: 60_000,
            timeout_ms: 10_000,
        }
    }
}
