//! Group commit: many decisions in one transaction, each of them whole or not at all.
//!
//! A unit is a set of changes that must commit together: one account's new state with its entries, the ends of
//! attempts, other effects. The units of one call share a transaction and its flush to disk. A unit that cannot be
//! written (the account changed, an idempotency key was already used, the lease is lost) is left out without
//! affecting the others.

mod accounts;
mod effects;
mod locked;
mod plain;

pub use locked::{LockedAccount, lock_account};

use super::account::AccountWrite;
use super::{Db, attempt, job, stream};
use crate::clock::TimeMs;
use crate::domain::effect::Effect;
use crate::domain::job::{JobFinish, PAUSED_BY_DEAD_JOB, Wake};
use crate::domain::ledger::Entry;
use crate::error::Result;
use accounts::{LeftOut, write_accounts};
use effects::{Effects, Stored, write_effects, write_invoices};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend};
use std::collections::{BTreeSet, HashSet};

/// Changes that commit together.
#[derive(Debug, Clone, Default)]
pub struct Unit {
    /// One account's change.
    pub account: Option<AccountWrite>,
    /// Ends of attempts.
    pub finishes: Vec<JobFinish>,
    /// Everything else.
    pub effects: Vec<Effect>,
}

impl Unit {
    /// Whether it changes only an account.
    pub fn is_plain(&self) -> bool {
        self.account.is_some() && self.finishes.is_empty() && self.effects.is_empty()
    }
}

/// The result of a unit.
#[derive(Debug, Clone)]
pub enum UnitResult {
    /// All of it is committed. Jobs that it created or postponed must be announced.
    Committed(Vec<Wake>),
    /// The account was changed by another writer: load it and decide again.
    Stale,
    /// These entries already used some of the keys: return them, and decide the rest again.
    KeysUsed(Vec<Entry>),
    /// These streams are no longer leased under the given epoch: the results are discarded.
    Fenced(Vec<String>),
}

/// Commits units; the results are in the order of the units. An error means that the transaction was not committed
/// or, if the connection broke during COMMIT, that this is unknown: the caller must reload the accounts before its
/// next decision.
pub async fn commit_units(db: &Db, units: &[Unit], node: &str, now_ms: TimeMs) -> Result<Vec<UnitResult>> {
    if db.is_postgres() && !db.short_lock_wait() && units.iter().all(Unit::is_plain) {
        return plain::commit_plain(db, units).await;
    }
    let mut results = reject_duplicates(units);
    loop {
        let open: Vec<usize> = (0..units.len()).filter(|at| results[*at].is_none()).collect();
        if open.is_empty() {
            break;
        }
        let tx = db.begin().await?;
        let left = match (Attempt { tx: &tx, units, open, node, now_ms }).run().await? {
            RunResult::Written { wakes, left } => {
                tx.commit().await?;
                for (at, wakes) in wakes {
                    results[at] = Some(UnitResult::Committed(wakes));
                }
                left
            }
            RunResult::Nothing(impossible) => {
                tx.rollback().await?;
                impossible
            }
        };
        for (at, result) in left {
            results[at] = Some(result);
        }
    }
    Ok(results.into_iter().flatten().collect())
}

/// `Stale` for units with an account or lease that an earlier unit has: at most one of them can be valid, and a
/// statement would write a row for both only once. An actor that failed with a unit in hand leaves such a duplicate
/// behind.
fn reject_duplicates(units: &[Unit]) -> Vec<Option<UnitResult>> {
    let (mut accounts, mut leases) = (HashSet::new(), HashSet::new());
    let mut results = Vec::with_capacity(units.len());
    for unit in units {
        let account = unit.account.as_ref().is_none_or(|write| accounts.insert(&write.customer_id));
        let all = unit.finishes.iter().fold(account, |first, finish| leases.insert(&finish.stream_key) && first);
        results.push((!all).then_some(UnitResult::Stale));
    }
    results
}

/// Writes one unit inside the caller's transaction. Returns `None` if it cannot be written.
pub async fn write_unit(
    tx: &DatabaseTransaction,
    unit: &Unit,
    node: &str,
    now_ms: TimeMs,
) -> Result<Option<Vec<Wake>>> {
    let units = std::slice::from_ref(unit);
    match (Attempt { tx, units, open: vec![0], node, now_ms }).run().await? {
        RunResult::Written { wakes, .. } => Ok(Some(wakes.into_iter().flat_map(|(_, wakes)| wakes).collect())),
        RunResult::Nothing(_) => Ok(None),
    }
}

/// The result of a transaction. Units are identified by their index.
enum RunResult {
    /// Some units are written whole, with the jobs to announce. The others were left out.
    Written { wakes: Vec<(usize, Vec<Wake>)>, left: LeftOut },
    /// These cannot be written, and the transaction must be rolled back: retry the rest without them.
    Nothing(LeftOut),
}

struct Attempt<'a> {
    tx: &'a DatabaseTransaction,
    units: &'a [Unit],
    open: Vec<usize>,
    node: &'a str,
    now_ms: TimeMs,
}

impl<'a> Attempt<'a> {
    fn units(&self) -> impl Iterator<Item = (usize, &'a Unit)> {
        let units = self.units;
        self.open.iter().map(move |at| (*at, &units[*at]))
    }

    async fn run(&mut self) -> Result<RunResult> {
        // In the order in which every transaction locks rows: accounts, events, invoices, streams, jobs, then the rest.
        let accounts = write_accounts(self.tx, self.units()).await?;
        let mut left = accounts.left;
        self.open.retain(|at| !left.contains_key(at));
        if self.open.is_empty() || accounts.must_roll_back {
            return Ok(RunResult::Nothing(left));
        }
        let mut effects = Effects::default();
        for (place, (_, unit)) in self.units().enumerate() {
            unit.effects.iter().for_each(|effect| effects.add(place, effect));
        }
        let effects = effects.store_events(self.tx).await?;
        // Before the streams, for whose locks intake waits until the end.
        write_invoices(self.tx, &effects).await?;
        self.lock_streams(&effects).await?;
        // The locked stream rows keep other nodes from starting the same jobs.
        let mut fenced = self.release_leases().await?;
        if fenced.is_empty() {
            fenced = self.finish_jobs().await?;
        }
        if !fenced.is_empty() {
            left.extend(fenced);
            return Ok(RunResult::Nothing(left));
        }
        let own_wakes = |unit: &Unit| unit.finishes.iter().filter_map(JobFinish::wake).collect();
        let mut wakes: Vec<(usize, Vec<Wake>)> = self.units().map(|(at, unit)| (at, own_wakes(unit))).collect();
        for (place, wake) in write_effects(self.tx, effects, self.now_ms).await? {
            wakes[place].1.push(wake);
        }
        Ok(RunResult::Written { wakes, left })
    }

    /// Leases are released first and jobs inserted last, each locking streams in the order of their keys; but
    /// intake locks all its streams in that order at once. So if there are streams beyond those released, this
    /// locks all of them first. SQLite has no row locks.
    async fn lock_streams(&self, effects: &Stored<'_>) -> Result<()> {
        let finishes = self.units().flat_map(|(_, unit)| &unit.finishes);
        let mut keys: BTreeSet<String> = finishes.map(|finish| finish.stream_key.clone()).collect();
        if keys.is_empty() || self.tx.get_database_backend() != DbBackend::Postgres {
            return Ok(());
        }
        let released = keys.len();
        keys.extend(effects.shared_streams(self.tx).await?);
        if keys.len() > released {
            stream::stream_lock_many(self.tx, &keys, self.now_ms).await?;
        }
        Ok(())
    }

    async fn release_leases(&self) -> Result<LeftOut> {
        let mut leases: Vec<_> = self.units().flat_map(|(_, unit)| &unit.finishes).map(lease).collect();
        if leases.is_empty() {
            return Ok(LeftOut::new());
        }
        leases.sort_unstable();
        let released = stream::stream_release_many(self.tx, &leases, self.now_ms).await?;
        if released.len() == leases.len() {
            return Ok(LeftOut::new());
        }
        let released: HashSet<&str> = released.iter().map(String::as_str).collect();
        Ok(self.fenced(|finish| !released.contains(finish.stream_key.as_str())))
    }

    /// The units with an attempt that `is_lost`.
    fn fenced(&self, is_lost: impl Fn(&JobFinish) -> bool) -> LeftOut {
        let lost_of = |unit: &Unit| -> Vec<String> {
            let lost = unit.finishes.iter().filter(|finish| is_lost(finish));
            lost.map(|finish| finish.stream_key.clone()).collect()
        };
        let lost = self.units().map(|(at, unit)| (at, lost_of(unit))).filter(|(_, lost)| !lost.is_empty());
        lost.map(|(at, lost)| (at, UnitResult::Fenced(lost))).collect()
    }

    /// The lease's holder has set the job to running; if it is not, the result is discarded too.
    async fn finish_jobs(&self) -> Result<LeftOut> {
        let finishes: Vec<&JobFinish> = self.units().flat_map(|(_, unit)| &unit.finishes).collect();
        if finishes.is_empty() {
            return Ok(LeftOut::new());
        }
        let written = job::job_finish_many(self.tx, &finishes).await?;
        if written.len() < finishes.len() {
            let written: HashSet<&str> = written.iter().map(String::as_str).collect();
            return Ok(self.fenced(|finish| !written.contains(finish.job_id.as_str())));
        }
        attempt::attempt_insert_many(self.tx, &finishes, self.node).await?;
        Ok(LeftOut::new())
    }
}

fn lease(finish: &JobFinish) -> (&str, i64, Option<&str>) {
    let pause = finish.pauses_stream.then_some(PAUSED_BY_DEAD_JOB);
    (&finish.stream_key, finish.epoch, pause)
}
