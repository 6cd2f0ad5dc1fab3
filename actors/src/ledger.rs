//! The ledger writers: group commit of decisions from many customers and streams.

use crate::batcher::{Batcher, Limits, Work};
use crate::root::Child;
use bursar_engine::clock::Clock;
use bursar_engine::store::Db;
use bursar_engine::store::commit::{Unit, UnitResult, commit_units};
use bursar_engine::{Error, Result};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

struct Commit {
    db: Db,
    node: String,
    clock: Clock,
}

impl Work for Commit {
    type Item = Unit;
    type Answer = Result<UnitResult, Arc<Error>>;
    const NAME: &'static str = "ledger";

    async fn run(&self, units: Vec<Unit>) -> Vec<Self::Answer> {
        match commit_units(&self.db, &units, &self.node, self.clock.now_ms()).await {
            Ok(results) => results.into_iter().map(Ok).collect(),
            Err(error) => {
                tracing::warn!(error = %error.chain(), units = units.len(), "a batch was not committed");
                let error = Arc::new(error);
                units.iter().map(|_| Err(error.clone())).collect()
            }
        }
    }
}

/// Commits units. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    writers: Arc<Vec<Batcher<Commit>>>,
}

impl Ledger {
    /// Handle and children. Each writer commits one batch at a time; the account or stream decides
    /// which writer, so two writers never wait for the same rows.
    pub(crate) fn new(
        db: &Db,
        node: &str,
        clock: &Clock,
        writers: usize,
        batch_max: usize,
        waiting_max: usize,
    ) -> (Self, Vec<Child>) {
        let limits = Limits { batch_max, concurrency: 1, waiting_max };
        let writers = if db.is_postgres() { writers } else { 1 };
        let (batchers, children) = (0..writers)
            .map(|_| Batcher::new(Commit { db: db.clone(), node: node.to_owned(), clock: clock.clone() }, limits))
            .unzip();
        (Self { writers: Arc::new(batchers) }, children)
    }

    /// Commits a unit together with others.
    ///
    /// # Errors
    /// Of the database. Unless it says `Busy`, the unit may have been committed.
    pub async fn commit(&self, unit: Unit) -> Result<UnitResult, Arc<Error>> {
        let mut hasher = DefaultHasher::new();
        match (&unit.account, unit.finishes.first()) {
            (Some(write), _) => write.customer_id.hash(&mut hasher),
            (None, Some(finish)) => finish.stream_key.hash(&mut hasher),
            (None, None) => {}
        }
        let at = usize::try_from(hasher.finish() % self.writers.len() as u64).unwrap_or(0);
        self.writers[at].submit(unit).await.map_err(Arc::new)?
    }
}
