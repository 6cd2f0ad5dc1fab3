//! Settings: jobs and streams.

use super::check::{CAPACITY_MAX, TIME_MAX_MS, need_within};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// The range of `timeout_ms`.
const TIMEOUT_MS: RangeInclusive<u64> = 1_000..=TIME_MAX_MS;
/// The highest `backoff_factor`.
const BACKOFF_FACTOR_MAX: i64 = 1_000;
/// The highest `backoff_max_ms`: 30 days.
const BACKOFF_MAX_MS: i64 = 30 * 24 * 60 * 60 * 1_000;
/// The range of `retention_days`: 30 days (how long Stripe lists events) to 100 years.
const RETENTION_DAYS: RangeInclusive<i64> = 30..=36_500;

/// Jobs and streams.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobsConfig {
    /// Maximum number of concurrent jobs in this process.
    pub workers_max: usize,
    /// Duration of a lease; it is renewed after a third of it.
    pub lease_ms: i64,
    /// How long a job may run before its attempt counts as failed.
    pub timeout_ms: u64,
    /// Wait after the first failure.
    pub backoff_base_ms: i64,
    /// Factor between consecutive waits.
    pub backoff_factor: i64,
    /// The longest wait.
    pub backoff_max_ms: i64,
    /// Interval between looks for due jobs in the database.
    pub sweep_interval_ms: u64,
    /// With a broker: how long a job may be overdue before it is published again.
    pub sweep_grace_ms: i64,
    /// Days for which ended jobs and their events are kept; at least 30, because Stripe can list an event again for
    /// that long.
    pub retention_days: i64,
}

impl JobsConfig {
    /// Whether `timeout_ms` is in its range; other limits are compared with it.
    pub(super) fn is_timeout_in_range(&self) -> bool {
        TIMEOUT_MS.contains(&self.timeout_ms)
    }

    /// Reports each problem.
    pub(super) fn check(&self, need: &mut impl FnMut(bool, &str)) {
        let time_max_ms = TIME_MAX_MS.cast_signed();
        need_within(need, "jobs.workers_max", self.workers_max, 1..=CAPACITY_MAX);
        need_within(need, "jobs.lease_ms", self.lease_ms, 1_000..=time_max_ms);
        need_within(need, "jobs.timeout_ms", self.timeout_ms, TIMEOUT_MS);
        need_within(need, "jobs.backoff_base_ms", self.backoff_base_ms, 1..=time_max_ms);
        need_within(need, "jobs.backoff_factor", self.backoff_factor, 1..=BACKOFF_FACTOR_MAX);
        need(
            (self.backoff_base_ms..=BACKOFF_MAX_MS).contains(&self.backoff_max_ms),
            &format!("jobs.backoff_max_ms must be at least backoff_base_ms and at most {BACKOFF_MAX_MS}"),
        );
        need_within(need, "jobs.sweep_interval_ms", self.sweep_interval_ms, 1..=TIME_MAX_MS);
        need_within(need, "jobs.sweep_grace_ms", self.sweep_grace_ms, 0..=time_max_ms);
        need_within(need, "jobs.retention_days", self.retention_days, RETENTION_DAYS);
    }
}

impl Default for JobsConfig {
    /// Waits of 5 s, 20 s, 80 s, 5 min, 21 min, … up to 6 h.
    fn default() -> Self {
        Self {
            workers_max: 256,
            lease_ms: 30_000,
            timeout_ms: 60_000,
            backoff_base_ms: 5_000,
            backoff_factor: 4,
            backoff_max_ms: 6 * 60 * 60 * 1_000,
            sweep_interval_ms: 500,
            sweep_grace_ms: 10_000,
            retention_days: 90,
        }
    }
}
