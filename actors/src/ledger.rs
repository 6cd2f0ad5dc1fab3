//! The ledger writers: group commit of decisions from many customers and streams.

use crate::batcher::{Batcher, Limits, Work};
use crate::dispatch::Dispatcher;
use crate::root::Child;
use bursar_engine::clock::Clock;
use bursar_engine::config::Config;
use bursar_engine::job::Wake;
use bursar_engine::store::Db;
use bursar_engine::store::commit::{Unit, UnitResult, commit_units};
use bursar_engine::{Error, Result};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

struct Commit {
    db: Db,
    node: String,
    clock: Clock,
    dispatcher: Dispatcher,
}

impl Work for Commit {
    type Item = Unit;
    type Answer = UnitResult;
    const NAME: &'static str = "ledger";

    fn about(unit: &Unit) -> &str {
        match (&unit.account, unit.finishes.first()) {
            (Some(write), _) => write.customer_id.as_str(),
            (None, Some(finish)) => &finish.stream_key,
            (None, None) => "",
        }
    }

    async fn run(&self, units: &[Unit], in_haste: bool) -> Result<Vec<UnitResult>> {
        let results = commit_units(&self.db.in_haste(in_haste), units, &self.node, self.clock.now_ms()).await?;
        // Here, because whoever asked may have given up waiting. Its own next attempt a job's runner
        // announces itself, before the message that led there is acknowledged.
        let mut wakes = Vec::new();
        for (unit, result) in units.iter().zip(&results) {
            if let UnitResult::Committed(all) = result {
                let is_own = |wake: &Wake| unit.finishes.iter().any(|finish| finish.job_id == wake.job_id);
                wakes.extend(all.iter().filter(|wake| !is_own(wake)).cloned());
            }
        }
        self.dispatcher.announce(wakes);
        Ok(results)
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
        dispatcher: &Dispatcher,
        config: &Config,
    ) -> (Self, Vec<Child>) {
        let waiting_max = config.ledger.commands_max + config.jobs.workers_max;
        let limits = Limits { batch_max: config.ledger.batch_max, concurrency: 1, waiting_max };
        let writers = if db.is_postgres() { config.ledger.writers } else { 1 };
        let commit =
            || Commit { db: db.clone(), node: node.to_owned(), clock: clock.clone(), dispatcher: dispatcher.clone() };
        let (batchers, children) = (0..writers).map(|_| Batcher::new(commit(), limits)).unzip();
        (Self { writers: Arc::new(batchers) }, children)
    }

    /// Commits a unit together with others, and announces the jobs that it makes.
    ///
    /// # Errors
    /// Of the database. Unless it `is_particular` or says `Busy`, the unit may have been committed.
    pub async fn commit(&self, unit: Unit) -> Result<UnitResult, Arc<Error>> {
        let mut hasher = DefaultHasher::new();
        Commit::about(&unit).hash(&mut hasher);
        let at = usize::try_from(hasher.finish() % self.writers.len() as u64).unwrap_or(0);
        self.writers[at].submit(unit).await
    }
}
