//! Accounts of customers without an actor, as they were when they were last seen.
//!
//! An actor takes up far more memory than the account that it decides on. So one that goes leaves its account
//! here, and whoever looks an API key up leaves the account that was read along with it: the next actor of the
//! customer begins with that, without a look at the database. What is remembered may be old, as what an actor
//! remembers may: the account's version guards both.

use bursar_engine::domain::ledger::Account;
use bursar_engine::ids::CustomerId;
use moka::sync::Cache;

/// What an entry takes up besides its account, in bytes: an estimate of the key and of the cache's own records.
const ENTRY_BYTES: usize = 512;

/// Accounts, those that were seen least recently forgotten first. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Remembered(Cache<CustomerId, Account>);

impl Remembered {
    /// Remembers as many accounts as fit into so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let weigh = |_: &CustomerId, account: &Account| {
            let bytes = ENTRY_BYTES + size_of::<Account>() + account.heap_bytes();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(bytes_max as u64).weigher(weigh).build())
    }

    /// An account was seen.
    pub(crate) fn see(&self, customer: CustomerId, account: Account) {
        self.0.insert(customer, account);
    }

    /// Takes what is remembered of a customer, whose actor will know better from now on.
    pub(crate) fn take(&self, customer: &CustomerId) -> Option<Account> {
        self.0.remove(customer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_engine::amount::Credits;

    #[test]
    fn an_account_is_remembered_until_it_is_taken() {
        let remembered = Remembered::new(1 << 20);
        let (customer, other) = (CustomerId::new(), CustomerId::new());
        remembered.see(customer.clone(), Account { balance: Credits(7), ..Account::default() });
        assert_eq!(remembered.take(&other), None);
        assert_eq!(remembered.take(&customer).map(|account| account.balance), Some(Credits(7)));
        assert_eq!(remembered.take(&customer), None);
    }

    #[test]
    fn no_more_is_remembered_than_fits() {
        let remembered = Remembered::new(1 << 20);
        for _ in 0..10_000 {
            remembered.see(CustomerId::new(), Account::default());
        }
        remembered.0.run_pending_tasks();
        assert!((100..=2_048).contains(&remembered.0.entry_count()), "{}", remembered.0.entry_count());
    }
}
