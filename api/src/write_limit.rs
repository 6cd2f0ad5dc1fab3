//! Limits on what a customer may do for free: requests, holds that it releases, keys, exports, operations that fail,
//! purchases that are refused. Writes have a write cost.
//!
//! Debits and captures are bounded by credits; only the number of requests limits them. All limits hold across nodes
//! ([`bursar_actors::Limiter`]). Without the database the limit of requests lets them pass, because what needs the
//! database fails by itself; the others fail, because nothing that they limit can be done.

use crate::limit_fields;
use bursar_actors::{Decision, Limiter, Limiters, UsedUnits, WithoutDatabase};
use bursar_engine::config::LimitsConfig;
use bursar_engine::domain::rate_limit::Quota;
use bursar_engine::ids::CustomerId;
use bursar_engine::{Error, Result};

/// The write cost of a hold: its entry and the entry that ends it.
pub const HOLD_COST: u32 = 2;
/// The write cost of an operation at Stripe: its row, its jobs and its calls.
pub const OPERATION_COST: u32 = 10;
/// Characters of an API key's hash that name it in a limit: 128 bits, which no two keys share, and from which nobody
/// gets the hash.
const KEY_NAME_LEN: usize = 32;

/// The additional write cost of metadata: one for each KiB begun.
pub fn metadata_cost(metadata: Option<&str>) -> u32 {
    let bytes = metadata.map_or(0, str::len);
    u32::try_from(bytes.div_ceil(1_024)).unwrap_or(u32::MAX)
}

/// The limits of all API keys and customers.
pub struct WriteLimits {
    /// For all requests of an API key.
    requests: WriteLimit,
    /// For all writes.
    pub writes: WriteLimit,
    /// For API keys that are made or rotated.
    pub keys: WriteLimit,
    /// For exports.
    pub exports: WriteLimit,
    /// For purchases that are refused. Each asks the database for all that decides it, so that a customer who repeats
    /// them without end would make others wait.
    pub refusals: WriteLimit,
}

impl WriteLimits {
    /// Creates the configured limits.
    pub fn new(config: &LimitsConfig, limiters: &Limiters) -> Self {
        let limit = |name, quota: Option<Quota>, without_database| {
            WriteLimit(quota.map(|quota| limiters.limiter(name, quota, without_database)))
        };
        Self {
            requests: limit("requests", config.requests(), WithoutDatabase::Passes),
            writes: limit("writes", config.writes(), WithoutDatabase::Fails),
            keys: limit("keys", config.keys(), WithoutDatabase::Fails),
            exports: limit("exports", config.exports(), WithoutDatabase::Fails),
            refusals: limit("refusals", config.refusals(), WithoutDatabase::Fails),
        }
    }

    /// Counts a request of the API key with this hash; once, however often its credentials are checked.
    ///
    /// # Errors
    /// [`Error::RateLimited`].
    pub async fn take_request(&self, key_hash: &str) -> Result<()> {
        let name = key_hash.get(..KEY_NAME_LEN).unwrap_or(key_hash);
        if !limit_fields::count_once() {
            return Ok(());
        }
        // Counted for good, whatever becomes of the request.
        self.requests.take_of(name, 1).await.map(drop)
    }
}

/// One limit, if it is configured.
pub struct WriteLimit(Option<Limiter>);

impl WriteLimit {
    /// Counts the cost of a write against the customer's limit, before anything is written.
    ///
    /// # Errors
    /// [`Error::RateLimited`]; that of the database.
    pub async fn take(&self, customer: &CustomerId, cost: u32) -> Result<WriteCost> {
        self.take_of(customer.as_str(), cost).await
    }

    /// Gives back the cost of an earlier write that turned out to cost credits.
    pub async fn give_back(&self, customer: &CustomerId, cost: u32) {
        if let Some(limiter) = &self.0 {
            limiter.give_back(customer.as_str(), cost).await;
        }
    }

    async fn take_of(&self, subject: &str, cost: u32) -> Result<WriteCost> {
        let Some(limiter) = self.0.as_ref().filter(|_| cost > 0) else { return Ok(WriteCost::none()) };
        let (decision, left) = limiter.take(subject, cost).await?;
        match decision {
            Decision::Used(used) => {
                limit_fields::note(limiter.name(), limiter.quota(), left, None);
                Ok(WriteCost(Some(used)))
            }
            Decision::Denied { retry_after_ms } => {
                limit_fields::note(limiter.name(), limiter.quota(), left, Some(retry_after_ms));
                Err(Error::RateLimited { retry_after_ms })
            }
            Decision::Unchecked => Ok(WriteCost::none()),
        }
    }
}

/// The write cost that was counted for one write.
#[must_use]
pub struct WriteCost(Option<UsedUnits>);

impl WriteCost {
    /// The cost of a write that is not limited.
    pub fn none() -> Self {
        Self(None)
    }

    /// Gives the cost back: nothing was written, or the write cost credits.
    pub fn give_back(self) {
        if let Some(used) = self.0 {
            used.give_back();
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
mod tests {
    use super::*;

    #[test]
    fn metadata_costs_one_for_each_kib_begun() {
        let text = "x".repeat(4_096);
        assert_eq!([0, 1, 1_024, 1_025, 4_096].map(|len| metadata_cost(Some(&text[..len]))), [0, 1, 1, 2, 4]);
        assert_eq!(metadata_cost(None), 0);
    }
}
