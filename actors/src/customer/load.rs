//! Loads accounts in batches: one statement reads many.

use crate::batcher::{Batcher, Limits, Work};
use bursar_engine::Result;
use bursar_engine::domain::ledger::Account;
use bursar_engine::ids::CustomerId;
use bursar_engine::infra::store::{Db, account};
use std::collections::HashMap;

/// Maximum number of accounts loaded at once.
const BATCH_MAX: usize = 256;
/// Loads under way at once.
const CONCURRENCY: usize = 2;
/// Waiting accounts needed to start a second load beside the first.
const SECOND_BATCH_MIN: usize = 32;

pub(crate) struct Load {
    db: Db,
}

impl Work for Load {
    type Item = CustomerId;
    type Answer = Option<Account>;
    const NAME: &'static str = "load";

    fn key(customer: &CustomerId) -> &str {
        customer.as_str()
    }

    async fn run(&self, customers: &[CustomerId], _short_lock_wait: bool) -> Result<Vec<Option<Account>>> {
        let ids: Vec<String> = customers.iter().map(ToString::to_string).collect();
        let found = account::account_find_many(self.db.ledger(), &ids).await?;
        Ok(answers(customers, &found.into_iter().collect()))
    }
}

/// Returns the account of each customer, in order. A customer can occur twice in a batch, if its actor failed during a
/// load and the next actor loads again.
fn answers(customers: &[CustomerId], found: &HashMap<CustomerId, Account>) -> Vec<Option<Account>> {
    customers.iter().map(|customer| found.get(customer).cloned()).collect()
}

/// Loads a customer's account. `None` if there is none.
pub(crate) type Loads = Batcher<Load>;

pub(crate) fn loads(db: &Db, waiting_max: usize) -> Loads {
    let limits =
        Limits { batch_max: BATCH_MAX, concurrency: CONCURRENCY, second_batch_min: SECOND_BATCH_MIN, waiting_max };
    Batcher::new(Load { db: db.clone() }, limits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_engine::amount::Credits;

    #[test]
    fn a_customer_loaded_twice_in_a_batch_is_found_twice() {
        let (known, unknown) = (CustomerId::new(), CustomerId::new());
        let found = HashMap::from([(known.clone(), Account { balance: Credits(7), ..Account::default() })]);
        let loaded = answers(&[known.clone(), unknown, known], &found);
        let balances: Vec<_> = loaded.into_iter().map(|account| account.map(|account| account.balance)).collect();
        assert_eq!(balances, [Some(Credits(7)), None, Some(Credits(7))]);
    }
}
