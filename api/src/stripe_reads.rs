//! How many requests of one customer may ask Stripe at a time.
//!
//! Such a request waits for Stripe's rate limit with a connection open. Its calls wait in the customer's own line (see
//! [`bursar_engine::infra::stripe`]), so more of them at once bring the customer nothing. Each process counts for
//! itself.

use bursar_engine::ids::CustomerId;
use bursar_engine::{Error, Result};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Maximum number of requests of one customer that ask Stripe at a time.
const UNDER_WAY_MAX: usize = 3;
/// When a customer with so many may try again.
const RETRY_AFTER_MS: i64 = 1_000;

/// The requests under way of all customers.
#[derive(Debug, Clone, Default)]
pub struct StripeReads(Arc<Mutex<HashMap<CustomerId, usize>>>);

/// A request that asks Stripe. Ends when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct StripeRead {
    reads: StripeReads,
    customer: CustomerId,
}

impl StripeReads {
    /// Begins a request of a customer.
    ///
    /// # Errors
    /// [`Error::RateLimited`] if too many are under way.
    pub fn begin(&self, customer: &CustomerId) -> Result<StripeRead> {
        let mut under_way = self.under_way();
        let count = under_way.entry(customer.clone()).or_default();
        if *count >= UNDER_WAY_MAX {
            return Err(Error::RateLimited { retry_after_ms: RETRY_AFTER_MS });
        }
        *count += 1;
        Ok(StripeRead { reads: self.clone(), customer: customer.clone() })
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<CustomerId, usize>> {
        // A count is whole after each step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StripeRead {
    fn drop(&mut self) {
        let mut under_way = self.reads.under_way();
        let Some(count) = under_way.get_mut(&self.customer) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            under_way.remove(&self.customer);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_customer_has_a_few_requests_under_way_and_others_are_not_touched() {
        let (reads, one, other) = (StripeReads::default(), CustomerId::new(), CustomerId::new());
        let mut under_way: Vec<StripeRead> = (0..UNDER_WAY_MAX).map(|_| reads.begin(&one).unwrap()).collect();
        assert!(matches!(reads.begin(&one), Err(Error::RateLimited { .. })));
        assert!(reads.begin(&other).is_ok());
        under_way.pop();
        let again = reads.begin(&one).unwrap();
        drop((under_way, again));
        assert!(reads.under_way().is_empty(), "nothing is left of them");
    }
}
