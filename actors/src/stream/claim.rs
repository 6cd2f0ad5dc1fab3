//! Claims of work, gathered: one statement leases many streams.

use crate::batcher::{Batcher, Limits, Work};
use crate::root::Child;
use bursar_engine::clock::Clock;
use bursar_engine::job::Claimed;
use bursar_engine::store::Db;
use bursar_engine::{Error, Result, work};
use std::collections::HashMap;
use std::sync::Arc;

/// Most streams claimed at once.
const BATCH_MAX: usize = 128;
/// Claims under way at once.
const CONCURRENCY: usize = 2;

pub(crate) struct Claim {
    db: Db,
    node: String,
    clock: Clock,
    lease_ms: i64,
}

impl Work for Claim {
    type Item = String;
    type Answer = Result<Option<Claimed>, Arc<Error>>;
    const NAME: &'static str = "claim";

    async fn run(&self, streams: Vec<String>) -> Vec<Self::Answer> {
        match work::claim(&self.db, &streams, &self.node, self.clock.now_ms(), self.lease_ms).await {
            Ok(claimed) => {
                let mut by_stream: HashMap<String, Claimed> =
                    claimed.into_iter().map(|claimed| (claimed.job.stream_key.clone(), claimed)).collect();
                streams.iter().map(|stream| Ok(by_stream.remove(stream))).collect()
            }
            Err(error) => {
                let error = Arc::new(error);
                streams.iter().map(|_| Err(error.clone())).collect()
            }
        }
    }
}

/// Claims the head of a stream; `None` if there is nothing to do or somebody else does it.
pub(crate) type Claims = Batcher<Claim>;

pub(crate) fn claims(db: &Db, node: &str, clock: &Clock, lease_ms: i64, waiting_max: usize) -> (Claims, Child) {
    let work = Claim { db: db.clone(), node: node.to_owned(), clock: clock.clone(), lease_ms };
    Batcher::new(work, Limits { batch_max: BATCH_MAX, concurrency: CONCURRENCY, waiting_max })
}
