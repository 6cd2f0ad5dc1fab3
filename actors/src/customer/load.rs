//! Loads of accounts, gathered: one statement reads many.

use crate::batcher::{Batcher, Limits, Work};
use crate::root::Child;
use bursar_engine::ids::CustomerId;
use bursar_engine::ledger::Account;
use bursar_engine::store::{Db, account};
use bursar_engine::{Error, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// Most accounts loaded at once.
const BATCH_MAX: usize = 256;
/// Loads under way at once.
const CONCURRENCY: usize = 2;

pub(crate) struct Load {
    db: Db,
}

impl Work for Load {
    type Item = CustomerId;
    type Answer = Result<Option<Account>, Arc<Error>>;
    const NAME: &'static str = "load";

    async fn run(&self, customers: Vec<CustomerId>) -> Vec<Self::Answer> {
        let ids: Vec<String> = customers.iter().map(ToString::to_string).collect();
        match account::account_find_many(self.db.read(), &ids).await {
            Ok(found) => {
                let mut found: HashMap<CustomerId, Account> = found.into_iter().collect();
                customers.iter().map(|customer| Ok(found.remove(customer))).collect()
            }
            Err(error) => {
                tracing::warn!(error = %error.chain(), accounts = ids.len(), "accounts could not be loaded");
                let error = Arc::new(error);
                ids.iter().map(|_| Err(error.clone())).collect()
            }
        }
    }
}

/// Loads the account of a customer; `None` if it has none.
pub(crate) type Loads = Batcher<Load>;

pub(crate) fn loads(db: &Db, waiting_max: usize) -> (Loads, Child) {
    let limits = Limits { batch_max: BATCH_MAX, concurrency: CONCURRENCY, waiting_max };
    Batcher::new(Load { db: db.clone() }, limits)
}
