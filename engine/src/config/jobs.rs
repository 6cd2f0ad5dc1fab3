//! Settings: jobs and streams.

use crate::job::Backoff;
use serde::{Deserialize, Serialize};

/// Jobs and streams.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobsConfig {
    /// Most jobs that run at once in this process.
    pub workers_max: usize,
    /// How long a lease lasts; it is renewed at a third of this.
    pub lease_ms: i64,
    /// How long a job may run before its attempt counts as failed.
    pub timeout_ms: u64,
    /// Wait after the first failure.
    pub backoff_base_ms: i64,
    /// Factor from one failure to the next.
    pub backoff_factor: i64,
    /// The longest wait.
    pub backoff_max_ms: i64,
    /// How often the database is asked for due jobs.
    pub sweep_interval_ms: u64,
    /// With a broker: how long a job may be overdue before it is published again.
    pub sweep_grace_ms: i64,
    /// Ended jobs and their events are kept this long, in days; at least 30, because Stripe can list
    /// an event again for that long.
    pub retention_days: i64,
}

impl JobsConfig {
    /// The backoff of retries.
    pub fn backoff(&self) -> Backoff {
        Backoff { base_ms: self.backoff_base_ms, factor: self.backoff_factor, max_ms: self.backoff_max_ms }
    }
}

impl Default for JobsConfig {
    fn default() -> Self {
        let backoff = Backoff::default();
        Self {
            workers_max: 256,
            lease_ms: 30_000,
            timeout_ms: 60_000,
            backoff_base_ms: backoff.base_ms,
            backoff_factor: backoff.factor,
            backoff_max_ms: backoff.max_ms,
            sweep_interval_ms: 500,
            sweep_grace_ms: 10_000,
            retention_days: 90,
        }
    }
}
