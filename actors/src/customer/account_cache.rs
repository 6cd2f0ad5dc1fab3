//! A cache of the accounts of customers that have no actor.
//!
//! An actor takes far more memory than its account. So an actor that stops puts its account here, and the look-up of an
//! API key puts the account that it read with the key. The customer's next actor starts with it instead of reading the
//! database. A cached account may be stale, here as in an actor; its version guards both.

use bursar_engine::domain::ledger::Account;
use bursar_engine::ids::CustomerId;
use moka::sync::Cache;

/// The estimated size of an entry without its account, in bytes: the key and the cache's bookkeeping.
const ENTRY_BYTES: usize = 512;

/// Accounts by customer, with eviction of the least recently used. Cheap to clone.
#[derive(Clone)]
pub(crate) struct AccountCache(Cache<CustomerId, Account>);

impl AccountCache {
    /// Makes a cache of at most `bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let weigh = |_: &CustomerId, account: &Account| {
            let bytes = ENTRY_BYTES + size_of::<Account>() + account.heap_bytes();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(bytes_max as u64).weigher(weigh).build())
    }

    /// Adds an account that was read or written.
    pub(crate) fn insert(&self, customer: CustomerId, account: Account) {
        self.0.insert(customer, account);
    }

    /// Removes a customer's account and returns it, for the customer's actor.
    pub(crate) fn take(&self, customer: &CustomerId) -> Option<Account> {
        self.0.remove(customer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_engine::amount::Credits;

    #[test]
    fn an_account_is_cached_until_it_is_taken() {
        let cache = AccountCache::new(1 << 20);
        let (customer, other) = (CustomerId::new(), CustomerId::new());
        cache.insert(customer.clone(), Account { balance: Credits(7), ..Account::default() });
        assert_eq!(cache.take(&other), None);
        assert_eq!(cache.take(&customer).map(|account| account.balance), Some(Credits(7)));
        assert_eq!(cache.take(&customer), None);
    }

    #[test]
    fn the_cache_stays_within_its_bytes() {
        let cache = AccountCache::new(1 << 20);
        for _ in 0..10_000 {
            cache.insert(CustomerId::new(), Account::default());
        }
        cache.0.run_pending_tasks();
        assert!((100..=2_048).contains(&cache.0.entry_count()), "{}", cache.0.entry_count());
    }
}
