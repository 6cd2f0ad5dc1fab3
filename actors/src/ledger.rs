//! The ledger writers: group commit for many customers and streams.

use crate::batcher::{Answered, Batcher, Limits, Work};
use crate::deadline::{COMMIT_MAX, within};
use crate::dispatch::Dispatcher;
use bursar_engine::clock::Clock;
use bursar_engine::config::Config;
use bursar_engine::domain::job::Wake;
use bursar_engine::ids::CustomerId;
use bursar_engine::infra::store::Db;
use bursar_engine::infra::store::commit::{LockedAccount, Unit, UnitResult, commit_units, lock_account};
use bursar_engine::{Error, Result};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Waiting units needed to start a second batch beside the first.
const SECOND_BATCH_MIN: usize = 64;
/// Accounts locked at once in this process; each holds a connection.
const LOCKED_MAX: usize = 4;

pub(crate) struct CommitWork {
    db: Db,
    node: String,
    clock: Clock,
    dispatcher: Dispatcher,
}

impl CommitWork {
    /// Announces the jobs that units created, even if the caller has stopped waiting. The next attempt of a unit's own
    /// job is left out: the job's runner announces it before it acknowledges the broker's message.
    fn announce<'a>(&self, done: impl Iterator<Item = (&'a Unit, &'a UnitResult)>) {
        let mut wakes = Vec::new();
        for (unit, result) in done {
            if let UnitResult::Committed(all) = result {
                let is_own = |wake: &Wake| unit.finishes.iter().any(|finish| finish.job_id == wake.job_id);
                wakes.extend(all.iter().filter(|wake| !is_own(wake)).cloned());
            }
        }
        self.dispatcher.announce(wakes);
    }
}

impl Work for Arc<CommitWork> {
    type Item = Unit;
    type Answer = UnitResult;
    const NAME: &'static str = "ledger";

    fn key(unit: &Unit) -> &str {
        match (&unit.account, unit.finishes.first()) {
            (Some(write), _) => write.customer_id.as_str(),
            (None, Some(finish)) => &finish.stream_key,
            (None, None) => "",
        }
    }

    async fn run(&self, units: &[Unit], short_lock_wait: bool) -> Result<Vec<UnitResult>> {
        let results =
            commit_units(&self.db.with_short_lock_wait(short_lock_wait), units, &self.node, self.clock.now_ms())
                .await?;
        self.announce(units.iter().zip(&results));
        Ok(results)
    }
}

/// A locked account with its permit. Only its holder can write the account until this is committed or dropped.
pub(crate) struct LockedWithPermit {
    pub(crate) locked: LockedAccount,
    _permit: OwnedSemaphorePermit,
}

/// Commits units. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    commit: Arc<CommitWork>,
    /// Units that only write accounts: one statement commits a batch.
    plain: Batcher<Arc<CommitWork>>,
    /// All other units.
    mixed: Batcher<Arc<CommitWork>>,
    locks: Arc<Semaphore>,
}

impl Ledger {
    pub(crate) fn new(db: &Db, node: &str, clock: &Clock, dispatcher: &Dispatcher, config: &Config) -> Self {
        let waiting_max = config.ledger.commands_max + config.jobs.workers_max;
        let concurrency = if db.is_postgres() { config.ledger.writers } else { 1 };
        let limits =
            Limits { batch_max: config.ledger.batch_max, concurrency, second_batch_min: SECOND_BATCH_MIN, waiting_max };
        let commit = Arc::new(CommitWork {
            db: db.clone(),
            node: node.to_owned(),
            clock: clock.clone(),
            dispatcher: dispatcher.clone(),
        });
        let mixed = Batcher::new(commit.clone(), limits);
        // SQLite has one writer, so all units share its transactions.
        let plain = if db.is_postgres() { Batcher::new(commit.clone(), limits) } else { mixed.clone() };
        Self { commit, plain, mixed, locks: Arc::new(Semaphore::new(LOCKED_MAX)) }
    }

    fn batcher(&self, unit: &Unit) -> &Batcher<Arc<CommitWork>> {
        if unit.is_plain() { &self.plain } else { &self.mixed }
    }

    /// Commits a unit together with others and announces the jobs that it creates.
    ///
    /// # Errors
    /// Database errors. The unit may have been committed, unless the error is `Busy` or [`Error::is_item_fault`].
    pub async fn commit(&self, unit: Unit) -> Result<UnitResult, Arc<Error>> {
        self.batcher(&unit).submit(unit).await
    }

    /// Like [`Ledger::commit`], but calls `reply` with the result, or drops it uncalled if the outcome is unknown.
    pub(crate) fn commit_then(&self, unit: Unit, reply: impl FnOnce(Answered<Arc<CommitWork>>) + Send + 'static) {
        self.batcher(&unit).submit_then(unit, reply);
    }

    /// Locks a customer's account, so that no other node can write it during a decision. `None` if there is no
    /// account.
    ///
    /// # Errors
    /// `Timeout`, or a database error, such as when another node holds the lock too long. In both cases nothing was
    /// changed.
    pub(crate) async fn lock(&self, customer: &CustomerId) -> Result<Option<LockedWithPermit>> {
        within(COMMIT_MAX, async {
            let permit = self.locks.clone().acquire_owned().await.map_err(|_| Error::Busy("the ledger"))?;
            let locked = lock_account(&self.commit.db, customer).await?;
            Ok(locked.map(|locked| LockedWithPermit { locked, _permit: permit }))
        })
        .await
    }

    /// Commits a unit of a locked account and unlocks it.
    ///
    /// # Errors
    /// Those of [`Ledger::commit`]; `Timeout`, after which the outcome is unknown.
    pub(crate) async fn commit_locked(&self, lock: LockedWithPermit, unit: Unit) -> Result<UnitResult> {
        let CommitWork { node, clock, .. } = &*self.commit;
        let LockedWithPermit { locked, _permit } = lock;
        let result = within(COMMIT_MAX, locked.commit(&unit, node, clock.now_ms())).await?;
        self.commit.announce(std::iter::once((&unit, &result)));
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_engine::domain::ledger::Account;
    use bursar_engine::infra::store::account::AccountWrite;

    #[test]
    fn a_unit_that_cannot_be_committed_is_suspected_by_its_account_and_one_without_has_no_name() {
        let customer_id = CustomerId::new();
        let account = AccountWrite {
            customer_id: customer_id.clone(),
            expected_version: 0,
            account: Account::default(),
            entries: Vec::new(),
        };
        let of_account = Unit { account: Some(account), ..Unit::default() };
        assert_eq!(Arc::<CommitWork>::key(&of_account), customer_id.as_str());
        assert_eq!(Arc::<CommitWork>::key(&Unit::default()), "");
    }
}
