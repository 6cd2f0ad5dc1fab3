//! Look-ups of API keys, gathered: one statement finds the owners of many.

use crate::batcher::{Batcher, Limits, Work};
use bursar_engine::api_key::KeyOwner;
use bursar_engine::clock::Clock;
use bursar_engine::store::{Db, api_key};
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
        let found: HashMap<String, KeyOwner> = found.into_iter().collect();
        Ok(hashes.iter().map(|hash| found.get(hash).cloned()).collect())
    }
}

/// Finds out whose API keys are. Cheap to clone.
#[derive(Clone)]
pub struct Credentials {
    batcher: Batcher<Find>,
}

impl Credentials {
    pub(crate) fn new(db: &Db, clock: &Clock, waiting_max: usize) -> Self {
        let limits = Limits { batch_max: BATCH_MAX, concurrency: CONCURRENCY, crowd: CROWD, waiting_max };
        Self { batcher: Batcher::new(Find { db: db.clone(), clock: clock.clone() }, limits) }
    }

    /// Whose an API key is, by its hash; `None` if it does not work.
    ///
    /// # Errors
    /// Of the database; `Busy` if too many look-ups wait already.
    pub async fn owner(&self, hash: String) -> Result<Option<KeyOwner>> {
        self.batcher.submit(hash).await.map_err(Error::from)
    }
}
