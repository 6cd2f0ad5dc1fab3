//! Limits on what a customer may do for free: holds that it releases, keys, operations that fail, purchases that are
//! refused. Each such write has a write cost.
//!
//! Debits and captures are bounded by credits and are not limited here. Each process counts for itself, without a
//! query: on `n` nodes a customer may write `n` times as much.

use bursar_engine::clock::TimeMs;
use bursar_engine::config::LimitsConfig;
use bursar_engine::domain::token_bucket::{Rate, TokenBucket};
use bursar_engine::ids::CustomerId;
use bursar_engine::{Error, Result};
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The write cost of a hold: its entry and the entry that ends it.
pub const HOLD_COST: u32 = 2;
/// The write cost of an operation at Stripe: its row, its jobs and its calls.
pub const OPERATION_COST: u32 = 10;
/// Maximum number of customers that are counted. Beyond it, the least recently used are forgotten.
const CUSTOMERS_MAX: u64 = 100_000;

/// The additional write cost of metadata: one for each KiB begun.
pub fn metadata_cost(metadata: Option<&str>) -> u32 {
    let bytes = metadata.map_or(0, str::len);
    u32::try_from(bytes.div_ceil(1_024)).unwrap_or(u32::MAX)
}

/// The limits of all customers.
pub struct WriteLimits {
    /// For all writes.
    pub writes: WriteLimit,
    /// For API keys that are made or rotated.
    pub keys: WriteLimit,
    /// For purchases that are refused. Each asks the database for all that decides it, so that a customer who repeats
    /// them without end would make others wait.
    pub refusals: WriteLimit,
}

impl WriteLimits {
    /// Creates the configured limits.
    pub fn new(config: &LimitsConfig) -> Self {
        Self {
            writes: WriteLimit::new(Rate::for_writes(config)),
            keys: WriteLimit::new(Rate::for_new_keys(config)),
            refusals: WriteLimit::new(Rate::for_refusals(config)),
        }
    }
}

type Bucket = Arc<Mutex<TokenBucket>>;

/// One limit, for each customer.
pub struct WriteLimit {
    /// `None` without a limit.
    limited: Option<(Rate, Cache<CustomerId, Bucket>)>,
}

impl WriteLimit {
    fn new(rate: Option<Rate>) -> Self {
        let buckets = |rate: Rate| {
            // A full bucket equals a new one, so it can be dropped.
            Cache::builder()
                .max_capacity(CUSTOMERS_MAX)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_idle(Duration::from_millis(rate.full_after_ms()))
                .build()
        };
        Self { limited: rate.map(|rate| (rate, buckets(rate))) }
    }

    /// Counts the cost of a write against the customer's limit, before anything is written.
    ///
    /// # Errors
    /// [`Error::RateLimited`].
    pub async fn take(&self, customer: &CustomerId, cost: u32, now_ms: TimeMs) -> Result<WriteCost> {
        let Some((rate, buckets)) = &self.limited else { return Ok(WriteCost(None)) };
        let new = async { Arc::new(Mutex::new(TokenBucket::new(*rate, now_ms))) };
        let bucket = buckets.entry_by_ref(customer).or_insert_with(new).await.into_value();
        lock(&bucket).take(*rate, cost, now_ms).into_result()?;
        Ok(WriteCost(Some((*rate, bucket, cost))))
    }

    /// Gives back the cost of an earlier write that turned out to cost credits.
    pub async fn give_back(&self, customer: &CustomerId, cost: u32) {
        if let Some((rate, buckets)) = &self.limited
            && let Some(bucket) = buckets.get(customer).await
        {
            lock(&bucket).give_back(*rate, cost);
        }
    }
}

fn lock(bucket: &Mutex<TokenBucket>) -> std::sync::MutexGuard<'_, TokenBucket> {
    bucket.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The write cost that was counted for one write.
#[must_use]
pub struct WriteCost(Option<(Rate, Bucket, u32)>);

impl WriteCost {
    /// The cost of a write that is not limited.
    pub fn none() -> Self {
        Self(None)
    }

    /// Gives the cost back: nothing was written, or the write cost credits.
    pub fn give_back(self) {
        if let Some((rate, bucket, cost)) = self.0 {
            lock(&bucket).give_back(rate, cost);
        }
    }

    /// Gives the cost back if the write certainly did not happen.
    pub fn settle(self, error: &Error) {
        if matches!(
            error,
            Error::Refused(_)
                | Error::Invalid { .. }
                | Error::NotFound(_)
                | Error::Conflict { .. }
                | Error::NotAccepted { .. }
                | Error::Busy(_)
                | Error::TooMany { .. }
        ) {
            self.give_back();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn limit(burst: u32) -> WriteLimit {
        WriteLimit::new(Some(Rate { units: 1, window_ms: 1_000, burst }))
    }

    fn is_denied(taken: &Result<WriteCost>) -> bool {
        matches!(taken, Err(Error::RateLimited { .. }))
    }

    #[tokio::test]
    async fn each_customer_has_a_limit_of_its_own() {
        let (limit, one, other) = (limit(2), CustomerId::new(), CustomerId::new());
        let _ = limit.take(&one, 2, 0).await.unwrap();
        assert!(is_denied(&limit.take(&one, 1, 0).await));
        assert!(limit.take(&other, 2, 0).await.is_ok());
        assert!(limit.take(&one, 1, 1_000).await.is_ok());
    }

    #[tokio::test]
    async fn only_a_write_that_may_have_happened_is_counted() {
        let (limit, customer) = (limit(2), CustomerId::new());
        limit.take(&customer, 2, 0).await.unwrap().settle(&Error::NotFound("hold"));
        limit.take(&customer, 2, 0).await.unwrap().settle(&Error::Timeout("the ledger"));
        assert!(is_denied(&limit.take(&customer, 1, 0).await));
        limit.give_back(&customer, 1).await;
        assert!(limit.take(&customer, 1, 0).await.is_ok());
    }

    #[tokio::test]
    async fn without_a_limit_every_write_passes() {
        let limit = WriteLimit::new(None);
        limit.take(&CustomerId::new(), u32::MAX, 0).await.unwrap().give_back();
    }

    #[test]
    fn metadata_costs_one_for_each_kib_begun() {
        let text = "x".repeat(4_096);
        assert_eq!([0, 1, 1_024, 1_025, 4_096].map(|len| metadata_cost(Some(&text[..len]))), [0, 1, 1, 2, 4]);
        assert_eq!(metadata_cost(None), 0);
    }
}
