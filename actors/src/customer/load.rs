//! Loads of accounts, gathered: one statement reads many.

use crate::batcher::{Batcher, Limits, Work};
use bursar_engine::Result;
use bursar_engine::ids::CustomerId;
use bursar_engine::ledger::Account;
use bursar_engine::store::{Db, account};
use std::collections::HashMap;

/// Most accounts loaded at once.
const BATCH_MAX: usize = 256;
/// Loads under way at once.
const CONCURRENCY: usize = 2;
/// Accounts that wait before a second load begins.
const CROWD: usize = 32;

pub(crate) struct Load {
    db: Db,
}

impl Work for Load {
    type Item = CustomerId;
    type Answer = Option<Account>;
    const NAME: &'static str = "load";

    fn about(customer: &CustomerId) -> &str {
        customer.as_str()
    }

    async fn run(&self, customers: &[CustomerId], _in_haste: bool) -> Result<Vec<Option<Account>>> {
        let ids: Vec<String> = customers.iter().map(ToString::to_string).collect();
        let found = account::account_find_many(self.db.ledger(), &ids).await?;
        let mut found: HashMap<CustomerId, Account> = found.into_iter().collect();
        Ok(customers.iter().map(|customer| found.remove(customer)).collect())
    }
}

/// Loads the account of a customer; `None` if it has none.
pub(crate) type Loads = Batcher<Load>;

pub(crate) fn loads(db: &Db, waiting_max: usize) -> Loads {
    let limits = Limits { batch_max: BATCH_MAX, concurrency: CONCURRENCY, crowd: CROWD, waiting_max };
    Batcher::new(Load { db: db.clone() }, limits)
}
