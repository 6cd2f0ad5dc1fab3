//! Claims of work, gathered: one statement leases many streams.

use crate::batcher::{Batcher, Limits, Work};
use bursar_engine::clock::Clock;
use bursar_engine::job::Claimed;
use bursar_engine::store::Db;
use bursar_engine::{Result, work};
use std::collections::HashMap;

/// Most streams claimed at once.
const BATCH_MAX: usize = 128;
/// Claims under way at once.
const CONCURRENCY: usize = 2;
/// Streams that wait before a second claim begins.
const CROWD: usize = 32;

pub(crate) struct Claim {
    db: Db,
    node: String,
    clock: Clock,
    lease_ms: i64,
}

impl Work for Claim {
    type Item = String;
    type Answer = Option<Claimed>;
    const NAME: &'static str = "claim";

    fn about(stream: &String) -> &str {
        stream
    }

    async fn run(&self, streams: &[String], in_haste: bool) -> Result<Vec<Option<Claimed>>> {
        let db = self.db.in_haste(in_haste);
        let claimed = work::claim(&db, streams, &self.node, self.clock.now_ms(), self.lease_ms).await?;
        let mut by_stream: HashMap<String, Claimed> =
            claimed.into_iter().map(|claimed| (claimed.job.stream_key.clone(), claimed)).collect();
        Ok(streams.iter().map(|stream| by_stream.remove(stream)).collect())
    }
}

/// Claims the head of a stream; `None` if there is nothing to do or somebody else does it.
pub(crate) type Claims = Batcher<Claim>;

pub(crate) fn claims(db: &Db, node: &str, clock: &Clock, lease_ms: i64, waiting_max: usize) -> Claims {
    let work = Claim { db: db.clone(), node: node.to_owned(), clock: clock.clone(), lease_ms };
    Batcher::new(work, Limits { batch_max: BATCH_MAX, concurrency: CONCURRENCY, crowd: CROWD, waiting_max })
}
