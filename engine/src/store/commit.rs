//! Group commit: many decisions in one transaction, each of them whole or not at all.
//!
//! A unit is all that must commit together: one account's new state with its entries, the ends of
//! attempts, other effects. Units of one call share a transaction and its one flush to disk. When a
//! unit turns out to be impossible (somebody else wrote the account, the lease is lost, an
//! idempotency key was used before) the transaction is rolled back and tried again without it.

mod effects;
mod locked;
mod plain;

pub use locked::{LockedAccount, lock_account};

use super::account::AccountWrite;
use super::{Db, account, attempt, job, stream};
use crate::clock::TimeMs;
use crate::effect::Effect;
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::job::{BLOCKED, JobFinish, Wake};
use crate::ledger::Entry;
use effects::{Effects, write_effects};
use sea_orm::DatabaseTransaction;
use std::collections::{HashMap, HashSet};

/// What commits together.
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
    /// Whether it is a decision about an account and nothing else.
    pub fn is_plain(&self) -> bool {
        self.account.is_some() && self.finishes.is_empty() && self.effects.is_empty()
    }
}

/// What became of a unit.
#[derive(Debug, Clone)]
pub enum UnitResult {
    /// All of it is committed. Jobs that it made or put off are to be announced.
    Committed(Vec<Wake>),
    /// The account was written by somebody else: load it and decide again.
    Stale,
    /// These keys were used before, by these entries: answer them, decide the rest again.
    KeysUsed(Vec<Entry>),
    /// These streams are no longer leased under the given epoch: the results do not count.
    Fenced(Vec<String>),
}

/// Commits units; the results are in the order of the units. An error means that the transaction
/// was not committed, or, if the connection broke during COMMIT, that nobody knows: the caller loads
/// the accounts again before it decides anything else.
pub async fn commit_units(db: &Db, units: &[Unit], node: &str, now_ms: TimeMs) -> Result<Vec<UnitResult>> {
    if db.is_postgres() && !db.is_hasty() && units.iter().all(Unit::is_plain) {
        return plain::commit_plain(db, units).await;
    }
    let mut results = twins(units);
    loop {
        let open: Vec<usize> = (0..units.len()).filter(|at| results[*at].is_none()).collect();
        if open.is_empty() {
            break;
        }
        let tx = db.begin().await?;
        let mut attempt = Attempt { tx: &tx, units, open: &open, node, now_ms };
        match attempt.run().await? {
            Run::Whole(wakes) => {
                tx.commit().await?;
                for (at, wakes) in open.iter().zip(wakes) {
                    results[*at] = Some(UnitResult::Committed(wakes));
                }
            }
            Run::Without(impossible) => {
                tx.rollback().await?;
                for (at, result) in impossible {
                    results[at] = Some(result);
                }
            }
        }
    }
    Ok(results.into_iter().flatten().collect())
}

/// Two entries of one unit are under one key, which no caller may do.
fn key_twice() -> Error {
    Error::Corrupt("an idempotency key twice in one unit".to_owned())
}

/// The idempotency keys of entries, each with its customer.
fn keys<'a>(writes: impl Iterator<Item = &'a AccountWrite>) -> Vec<(&'a CustomerId, &'a str)> {
    let entries = writes.flat_map(|write| write.entries.iter().map(|entry| (&write.customer_id, entry)));
    entries.filter_map(|(customer, entry)| Some((customer, entry.idempotency_key.as_deref()?))).collect()
}

/// Of the entries that were found, those of a write's customer up to a sequence number.
fn entries_of(found: &[(String, Entry)], write: &AccountWrite, upto: i64) -> Vec<Entry> {
    let own = found.iter().filter(|(customer, entry)| customer == write.customer_id.as_str() && entry.seq <= upto);
    own.map(|(_, entry)| entry.clone()).collect()
}

/// `Stale` for units whose account or lease an earlier one of the list has already: only one of them
/// can be right, and a statement that writes a row for both would do so once. An actor that failed
/// with a unit in hand leaves such a twin behind.
fn twins(units: &[Unit]) -> Vec<Option<UnitResult>> {
    let (mut accounts, mut leases) = (HashSet::new(), HashSet::new());
    let mut results = Vec::with_capacity(units.len());
    for unit in units {
        let account = unit.account.as_ref().is_none_or(|write| accounts.insert(&write.customer_id));
        let all = unit.finishes.iter().fold(account, |first, finish| leases.insert(&finish.stream_key) && first);
        results.push((!all).then_some(UnitResult::Stale));
    }
    results
}

/// Writes one unit inside a transaction of the caller, who commits or rolls back. Gives `None` if
/// the unit is impossible.
pub async fn write_unit(
    tx: &DatabaseTransaction,
    unit: &Unit,
    node: &str,
    now_ms: TimeMs,
) -> Result<Option<Vec<Wake>>> {
    let units = std::slice::from_ref(unit);
    match (Attempt { tx, units, open: &[0], node, now_ms }).run().await? {
        Run::Whole(wakes) => Ok(Some(wakes.into_iter().flatten().collect())),
        Run::Without(_) => Ok(None),
    }
}

enum Run {
    Whole(Vec<Vec<Wake>>),
    Without(HashMap<usize, UnitResult>),
}

struct Attempt<'a> {
    tx: &'a DatabaseTransaction,
    units: &'a [Unit],
    open: &'a [usize],
    node: &'a str,
    now_ms: TimeMs,
}

impl<'a> Attempt<'a> {
    fn units(&self) -> impl Iterator<Item = (usize, &'a Unit)> {
        let (units, open) = (self.units, self.open);
        open.iter().map(move |at| (*at, &units[*at]))
    }

    async fn run(&mut self) -> Result<Run> {
        // Leases first: the locked stream rows keep every other node from taking the same jobs up.
        let fenced = self.release_leases().await?;
        if !fenced.is_empty() {
            return Ok(Run::Without(fenced));
        }
        let stale = self.write_accounts().await?;
        if !stale.is_empty() {
            return Ok(Run::Without(stale));
        }
        let used = self.append_entries().await?;
        if !used.is_empty() {
            return Ok(Run::Without(used));
        }
        let ended = self.finish_jobs().await?;
        if !ended.is_empty() {
            return Ok(Run::Without(ended));
        }
        let mut wakes: Vec<Vec<Wake>> = Vec::with_capacity(self.open.len());
        let mut effects = Effects::default();
        for (place, (_, unit)) in self.units().enumerate() {
            wakes.push(unit.finishes.iter().filter_map(JobFinish::wake).collect());
            unit.effects.iter().for_each(|effect| effects.add(place, effect));
        }
        for (place, wake) in write_effects(self.tx, effects, self.now_ms).await? {
            wakes[place].push(wake);
        }
        Ok(Run::Whole(wakes))
    }

    async fn release_leases(&self) -> Result<HashMap<usize, UnitResult>> {
        let mut leases: Vec<_> = self.units().flat_map(|(_, unit)| &unit.finishes).map(lease).collect();
        if leases.is_empty() {
            return Ok(HashMap::new());
        }
        leases.sort_unstable();
        let released = stream::stream_release_many(self.tx, &leases, self.now_ms).await?;
        if released.len() == leases.len() {
            return Ok(HashMap::new());
        }
        let released: HashSet<&str> = released.iter().map(String::as_str).collect();
        Ok(self.fenced(|finish| !released.contains(finish.stream_key.as_str())))
    }

    /// The units with an end of an attempt that does not count.
    fn fenced(&self, is_lost: impl Fn(&JobFinish) -> bool) -> HashMap<usize, UnitResult> {
        let lost_of = |unit: &Unit| -> Vec<String> {
            let lost = unit.finishes.iter().filter(|finish| is_lost(finish));
            lost.map(|finish| finish.stream_key.clone()).collect()
        };
        let lost = self.units().map(|(at, unit)| (at, lost_of(unit))).filter(|(_, lost)| !lost.is_empty());
        lost.map(|(at, lost)| (at, UnitResult::Fenced(lost))).collect()
    }

    fn writes(&self) -> Vec<(usize, &'a AccountWrite)> {
        let mut writes: Vec<_> =
            self.units().filter_map(|(at, unit)| unit.account.as_ref().map(|write| (at, write))).collect();
        writes.sort_unstable_by(|(_, a), (_, b)| a.customer_id.cmp(&b.customer_id));
        writes
    }

    async fn write_accounts(&self) -> Result<HashMap<usize, UnitResult>> {
        let writes = self.writes();
        if writes.is_empty() {
            return Ok(HashMap::new());
        }
        let list: Vec<&AccountWrite> = writes.iter().map(|(_, write)| *write).collect();
        let updated = account::account_update_many(self.tx, &list).await?;
        if updated.len() == writes.len() {
            return Ok(HashMap::new());
        }
        let updated: HashSet<&str> = updated.iter().map(String::as_str).collect();
        let stale = writes.iter().filter(|(_, write)| !updated.contains(write.customer_id.as_str()));
        Ok(stale.map(|(at, _)| (*at, UnitResult::Stale)).collect())
    }

    async fn append_entries(&self) -> Result<HashMap<usize, UnitResult>> {
        let writes = self.writes();
        let list: Vec<&AccountWrite> = writes.iter().map(|(_, write)| *write).collect();
        let expected: u64 = list.iter().map(|write| write.entries.len() as u64).sum();
        if expected == 0 || account::entry_append_many(self.tx, &list).await? == expected {
            return Ok(HashMap::new());
        }
        // Rare: find out which keys were used before. What this transaction itself appended has a
        // sequence number above the version that was expected.
        let found = account::entry_find_by_keys(self.tx, &keys(list.iter().copied())).await?;
        let mut used: HashMap<usize, UnitResult> = HashMap::new();
        for (at, write) in writes {
            let entries = entries_of(&found, write, write.expected_version);
            if !entries.is_empty() {
                used.insert(at, UnitResult::KeysUsed(entries));
            }
        }
        if used.is_empty() {
            // Two entries of one unit under one key: the caller must not do that, and a retry would
            // not end.
            return Err(key_twice());
        }
        Ok(used)
    }

    /// Whoever holds the lease has the job running; if it is not, the result does not count either.
    async fn finish_jobs(&self) -> Result<HashMap<usize, UnitResult>> {
        let finishes: Vec<&JobFinish> = self.units().flat_map(|(_, unit)| &unit.finishes).collect();
        if finishes.is_empty() {
            return Ok(HashMap::new());
        }
        let written = job::job_finish_many(self.tx, &finishes).await?;
        if written.len() < finishes.len() {
            let written: HashSet<&str> = written.iter().map(String::as_str).collect();
            return Ok(self.fenced(|finish| !written.contains(finish.job_id.as_str())));
        }
        attempt::attempt_insert_many(self.tx, &finishes, self.node).await?;
        Ok(HashMap::new())
    }
}

fn lease(finish: &JobFinish) -> (&str, i64, Option<&str>) {
    let pause = finish.blocks_stream.then_some(BLOCKED);
    (&finish.stream_key, finish.epoch, pause)
}
