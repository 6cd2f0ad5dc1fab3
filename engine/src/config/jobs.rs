//! Settings: jobs and streams.

use super::check::{PLACES_MAX, TIME_MAX_MS, need_within};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// How long a job may be allowed to run.
const TIMEOUT_MS: RangeInclusive<u64> = 1_000..=TIME_MAX_MS;
/// The largest factor between two waits.
const BACKOFF_FACTOR_MAX: i64 = 1_000;
/// The longest wait between two attempts: 30 days.
const BACKOFF_MAX_MS: i64 = 30 * 24 * 60 * 60 * 1_000;
/// How long ended jobs may be kept: from what Stripe lists events for to 100 years.
const RETENTION_DAYS: RangeInclusive<i64> = 30..=36_500;

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
    /// Whether `timeout_ms` is in its range; other limits are compared with it.
    pub(super) fn is_timeout_sound(&self) -> bool {
        TIMEOUT_MS.contains(&self.timeout_ms)
    }

    /// Says what is wrong.
    pub(super) fn check(&self, need: &mut impl FnMut(bool, &str)) {
        let time_max_ms = TIME_MAX_MS.cast_signed();
        need_within(need, "jobs.workers_max", self.workers_max, 1..=PLACES_MAX);
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
    /// Attempts are 5 s, 20 s, 80 s, 5 min, 21 min, … up to 6 h apart.
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
