//! Claims of work, gathered: one statement leases many streams.

use crate::batcher::{Batcher, Limits, Work};
use bursar_engine::Result;
use bursar_engine::clock::Clock;
use bursar_engine::infra::store::Db;
use bursar_engine::infra::store::stream::stream_due_many;
use bursar_engine::usecase::handler::Claimed;
use bursar_engine::usecase::work;
use std::collections::HashMap;

/// Most streams claimed at once.
const BATCH_MAX: usize = 128;
/// Claims under way at once.
const CONCURRENCY: usize = 2;
/// Streams that wait before a second claim begins.
const SECOND_BATCH_MIN: usize = 32;

/// A stream whose head is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) stream: String,
    /// Whether it was not woken: its last job has ended, and it may have another.
    pub(crate) may_be_empty: bool,
}

pub(crate) struct Claim {
    db: Db,
    node: String,
    clock: Clock,
    lease_ms: i64,
}

impl Work for Claim {
    type Item = Wanted;
    type Answer = Option<Claimed>;
    const NAME: &'static str = "claim";

    fn key(wanted: &Wanted) -> &str {
        &wanted.stream
    }

    async fn run(&self, wanted: &[Wanted], in_haste: bool) -> Result<Vec<Option<Claimed>>> {
        let (db, now_ms) = (self.db.in_haste(in_haste), self.clock.now_ms());
        let (unsure, woken): (Vec<&Wanted>, Vec<&Wanted>) = wanted.iter().partition(|wanted| wanted.may_be_empty);
        let mut keys: Vec<String> = woken.iter().map(|wanted| wanted.stream.clone()).collect();
        if !unsure.is_empty() {
            // Most streams have one job and then none: a look costs less than a transaction that claims nothing.
            let unsure: Vec<&str> = unsure.iter().map(|wanted| wanted.stream.as_str()).collect();
            keys.extend(stream_due_many(db.ledger(), &unsure, now_ms).await?);
        }
        if keys.is_empty() {
            return Ok(wanted.iter().map(|_| None).collect());
        }
        let claimed = work::claim(&db, &keys, &self.node, now_ms, self.lease_ms).await?;
        let mut by_stream: HashMap<String, Claimed> =
            claimed.into_iter().map(|claimed| (claimed.job.stream_key.clone(), claimed)).collect();
        Ok(wanted.iter().map(|wanted| by_stream.remove(&wanted.stream)).collect())
    }
}

/// Claims the head of a stream; `None` if no job is due or another node works on it.
pub(crate) type Claims = Batcher<Claim>;

pub(crate) fn claims(db: &Db, node: &str, clock: &Clock, lease_ms: i64, waiting_max: usize) -> Claims {
    let work = Claim { db: db.clone(), node: node.to_owned(), clock: clock.clone(), lease_ms };
    Batcher::new(
        work,
        Limits { batch_max: BATCH_MAX, concurrency: CONCURRENCY, second_batch_min: SECOND_BATCH_MIN, waiting_max },
    )
}
