//! Settings: customer actors and ledger writers.

use super::check::{CAPACITY_MAX, TIME_MAX_MS, need_within};
use serde::{Deserialize, Serialize};

/// The highest memory limit, in KiB: a TiB.
const MEMORY_MAX_KIB: usize = 1 << 30;

/// Customer actors and ledger writers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LedgerConfig {
    /// Ledger writers on Postgres; SQLite always has one.
    pub writers: usize,
    /// Maximum number of accounts in one transaction.
    pub batch_max: usize,
    /// Maximum number of commands waiting for one customer.
    pub customer_queue_max: usize,
    /// Maximum number of commands under way in this process.
    pub commands_max: usize,
    /// Memory for customer actors in this process, in KiB; above it, idle ones stop early. An actor takes about 8
    /// KiB.
    pub customers_memory_kib: usize,
    /// Memory for cached accounts of customers without an actor in this process, in KiB; a cached account saves a
    /// read of the database. An account takes about 0.7 KiB.
    pub accounts_memory_kib: usize,
    /// How long an idle customer actor lives.
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

impl LedgerConfig {
    /// Reports each problem.
    pub(super) fn check(&self, need: &mut impl FnMut(bool, &str)) {
        need_within(need, "ledger.writers", self.writers, 1..=16);
        need_within(need, "ledger.batch_max", self.batch_max, 1..=2_000);
        need_within(need, "ledger.customer_queue_max", self.customer_queue_max, 1..=CAPACITY_MAX);
        need_within(need, "ledger.commands_max", self.commands_max, 1..=CAPACITY_MAX);
        need_within(need, "ledger.customers_memory_kib", self.customers_memory_kib, 1..=MEMORY_MAX_KIB);
        need_within(need, "ledger.accounts_memory_kib", self.accounts_memory_kib, 1..=MEMORY_MAX_KIB);
        need_within(need, "ledger.idle_ms", self.idle_ms, 1..=TIME_MAX_MS);
        need_within(need, "ledger.timeout_ms", self.timeout_ms, 100..=TIME_MAX_MS);
    }
}
