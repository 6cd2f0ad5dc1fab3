//! Look-ups of API keys in batches: one statement finds the owners of many keys.

use crate::batcher::{Batcher, Limits, Work};
use crate::customer::AccountCache;
use bursar_engine::clock::Clock;
use bursar_engine::domain::api_key::KeyOwner;
use bursar_engine::infra::store::Db;
use bursar_engine::infra::store::api_key::{self, Found};
use bursar_engine::{Error, Result};
use std::collections::HashMap;

/// Maximum number of keys looked up at once.
const BATCH_MAX: usize = 256;
/// Look-ups under way at once.
const CONCURRENCY: usize = 2;
/// Waiting keys needed to start a second look-up beside the first.
const SECOND_BATCH_MIN: usize = 32;

struct KeyLookup {
    db: Db,
    clock: Clock,
    account_cache: AccountCache,
}

impl Work for KeyLookup {
    type Item = String;
    type Answer = Option<KeyOwner>;
    const NAME: &'static str = "credential";

    fn key(hash: &String) -> &str {
        hash
    }

    async fn run(&self, hashes: &[String], _short_lock_wait: bool) -> Result<Vec<Option<KeyOwner>>> {
        let found = api_key::api_key_owner_many(self.db.ledger(), hashes, self.clock.now_ms()).await?;
        let to_owner = |Found { hash, owner, account }: Found| {
            // Most requests with a key spend credits.
            if let Some(account) = account {
                self.account_cache.insert(owner.customer_id.clone(), account);
            }
            (hash, owner)
        };
        let found: HashMap<String, KeyOwner> = found.into_iter().map(to_owner).collect();
        Ok(hashes.iter().map(|hash| found.get(hash).cloned()).collect())
    }
}

/// Looks up the owners of API keys. Cheap to clone.
#[derive(Clone)]
pub struct Credentials {
    batcher: Batcher<KeyLookup>,
}

impl Credentials {
    pub(crate) fn new(db: &Db, clock: &Clock, account_cache: AccountCache, waiting_max: usize) -> Self {
        let limits =
            Limits { batch_max: BATCH_MAX, concurrency: CONCURRENCY, second_batch_min: SECOND_BATCH_MIN, waiting_max };
        Self { batcher: Batcher::new(KeyLookup { db: db.clone(), clock: clock.clone(), account_cache }, limits) }
    }

    /// Finds the owner of an API key by the key's hash. `None` if the key is unknown or revoked.
    ///
    /// # Errors
    /// The database's; `Busy` if too many look-ups are waiting.
    pub async fn owner(&self, hash: String) -> Result<Option<KeyOwner>> {
        self.batcher.submit(hash).await.map_err(Error::from)
    }
}
