//! Claims of jobs in batches: one statement leases many streams.

use crate::batcher::{Batcher, Limits, Work};
use bursar_engine::Result;
use bursar_engine::clock::Clock;
use bursar_engine::domain::catalogue::SharedCatalogue;
use bursar_engine::domain::job::JobKind;
use bursar_engine::infra::store::Db;
use bursar_engine::infra::store::stream::stream_due_many;
use bursar_engine::usecase::handler::{Claimed, Deps};
use bursar_engine::usecase::{version, work};
use std::collections::{HashMap, HashSet};

/// Maximum number of streams claimed at once.
const BATCH_MAX: usize = 128;
/// Claims under way at once.
const CONCURRENCY: usize = 2;
/// Waiting streams needed to start a second claim beside the first.
const SECOND_BATCH_MIN: usize = 32;

/// A request for the head job of a stream.
#[derive(Debug, Clone)]
pub(crate) struct ClaimRequest {
    pub(crate) stream: String,
    /// False if the stream was woken; true after a job has ended, when there may be no other.
    pub(crate) may_be_empty: bool,
}

/// The answer to a claim.
#[derive(Debug)]
pub(crate) enum Claim {
    /// The stream's head job.
    Head(Box<Claimed>),
    /// No job is due, or another node holds the lease.
    Nothing,
    /// A job is due, but another transaction holds the stream's row. That one may announce nothing: it may be another
    /// node that leases the stream, or a request that adds a job, but also one that adds none in the end.
    Locked,
}

pub(crate) struct ClaimWork {
    db: Db,
    node: String,
    clock: Clock,
    lease_ms: i64,
    catalogue: SharedCatalogue,
}

impl ClaimWork {
    /// Takes the newest catalogue before jobs decide by it: what another node sold by a newer one must not be judged by
    /// an older one. Without the database the present one stays until the sweeper's next look.
    async fn refresh_catalogue(&self, claimed: &[Claimed]) {
        let present = self.catalogue.version();
        let needs_newer = |claimed: &Claimed| {
            JobKind::parse(&claimed.job.kind).is_some_and(JobKind::needs_catalogue)
                && claimed.catalogue_version.is_none_or(|newest| newest > present)
        };
        if claimed.iter().any(needs_newer)
            && let Err(error) = version::refresh(self.db.read(), &self.catalogue).await
        {
            tracing::debug!(error = %error.chain(), "the newest catalogue could not be read");
        }
    }
}

impl Work for ClaimWork {
    type Item = ClaimRequest;
    type Answer = Claim;
    const NAME: &'static str = "claim";

    fn key(request: &ClaimRequest) -> &str {
        &request.stream
    }

    async fn run(&self, requests: &[ClaimRequest], short_lock_wait: bool) -> Result<Vec<Claim>> {
        let (db, now_ms) = (self.db.with_short_lock_wait(short_lock_wait), self.clock.now_ms());
        let (unsure, woken): (Vec<&ClaimRequest>, Vec<&ClaimRequest>) =
            requests.iter().partition(|request| request.may_be_empty);
        let mut keys: Vec<String> = woken.iter().map(|request| request.stream.clone()).collect();
        if !unsure.is_empty() {
            // Most streams have no second job, and a query is cheaper than a transaction that claims nothing.
            let unsure: Vec<&str> = unsure.iter().map(|request| request.stream.as_str()).collect();
            keys.extend(stream_due_many(db.ledger(), &unsure, now_ms).await?);
        }
        if keys.is_empty() {
            return Ok(requests.iter().map(|_| Claim::Nothing).collect());
        }
        let claimed = work::claim(&db, &keys, &self.node, now_ms, self.lease_ms).await?;
        self.refresh_catalogue(&claimed).await;
        let mut by_stream: HashMap<String, Claimed> =
            claimed.into_iter().map(|claimed| (claimed.job.stream_key.clone(), claimed)).collect();
        let missed: Vec<&str> = keys.iter().map(String::as_str).filter(|key| !by_stream.contains_key(*key)).collect();
        // This look waits for no lock. What is free and due for it was skipped because it is locked.
        let locked: HashSet<String> = match missed.is_empty() {
            true => HashSet::new(),
            false => stream_due_many(db.ledger(), &missed, now_ms).await?.into_iter().collect(),
        };
        let answer = |request: &ClaimRequest| match by_stream.remove(&request.stream) {
            Some(claimed) => Claim::Head(Box::new(claimed)),
            None if locked.contains(&request.stream) => Claim::Locked,
            None => Claim::Nothing,
        };
        Ok(requests.iter().map(answer).collect())
    }
}

/// Batches claims.
pub(crate) type Claims = Batcher<ClaimWork>;

pub(crate) fn claims(handlers: &Deps, clock: &Clock, lease_ms: i64, waiting_max: usize) -> Claims {
    let Deps { db, node, catalogue, .. } = handlers.clone();
    let work = ClaimWork { db, node, clock: clock.clone(), lease_ms, catalogue };
    Batcher::new(
        work,
        Limits { batch_max: BATCH_MAX, concurrency: CONCURRENCY, second_batch_min: SECOND_BATCH_MIN, waiting_max },
    )
}
