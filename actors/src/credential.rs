//! Look-ups of API keys, gathered: one statement finds the owners of many.

use crate::batcher::{Batcher, Limits, Work};
use crate::customer::Remembered;
use bursar_engine::clock::Clock;
use bursar_engine::domain::api_key::KeyOwner;
use bursar_engine::infra::store::Db;
use bursar_engine::infra::store::api_key::{self, Found};
use bursar_engine::{Error, Result};
use std::collections::HashMap;

/// Most keys looked up at once.
const BATCH_MAX: usize = 256;
/// Look-ups under way at once.
const CONCURRENCY: usize = 2;
/// Keys that wait before a second look-up begins.
const CROWD: usize = 32;

struct Find {
    db: Db,
    clock: Clock,
    remembered: Remembered,
}

impl Work for Find {
    type Item = String;
    type Answer = Option<KeyOwner>;
    const NAME: &'static str = "credential";

    fn about(hash: &String) -> &str {
        hash
    }

    async fn run(&self, hashes: &[String], _in_haste: bool) -> Result<Vec<Option<KeyOwner>>> {
        let found = api_key::api_key_owner_many(self.db.ledger(), hashes, self.clock.now_ms()).await?;
        let known = |Found { hash, owner, account }: Found| {
            // Whoever comes with a key mostly comes to spend.
            if let Some(account) = account {
                self.remembered.see(owner.customer_id.clone(), account);
            }
            (hash, owner)
        };
        let found: HashMap<String, KeyOwner> = found.into_iter().map(known).collect();
        Ok(hashes.iter().map(|hash| found.get(hash).cloned()).collect())
    }
}

/// Finds out whose API keys are. Cheap to clone.
#[derive(Clone)]
pub struct Credentials {
    batcher: Batcher<Find>,
}

impl Credentials {
    pub(crate) fn new(db: &Db, clock: &Clock, remembered: Remembered, waiting_max: usize) -> Self {
        let limits = Limits { batch_max: BATCH_MAX, concurrency: CONCURRENCY, crowd: CROWD, waiting_max };
        Self { batcher: Batcher::new(Find { db: db.clone(), clock: clock.clone(), remembered }, limits) }
    }

    /// Whose an API key is, by its hash; `None` if it does not work.
    ///
    /// # Errors
    /// Of the database; `Busy` if too many look-ups wait already.
    pub async fn owner(&self, hash: String) -> Result<Option<KeyOwner>> {
        self.batcher.submit(hash).await.map_err(Error::from)
    }
}
