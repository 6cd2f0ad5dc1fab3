//! Which due jobs a sweep looks at. A sweep has a bounded cost, however many due jobs cannot run because their stream is
//! paused or its head waits, and those delay the jobs of other streams little.

use bursar_engine::Result;
use bursar_engine::clock::TimeMs;
use bursar_engine::domain::job::Wake;
use bursar_engine::ids::JobId;
use bursar_engine::infra::store::Db;
use bursar_engine::infra::store::job::{DuePosition, job_due, job_due_expired};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// Maximum number of due jobs that one look reads.
const PART: u64 = 5_000;
/// Maximum number of streams with an expired lease that one look reads.
const EXPIRED_MAX: u64 = 1_000;
/// The sweeps repeat this much of the latest due times, because a job may be committed after its time.
const OVERLAP_MS: TimeMs = 5_000;
/// Maximum number of looks at jobs that became due since the last sweep.
const RECENT_LOOKS_MAX: usize = 4;
/// Maximum number of parts that every sweep looks at again because some of their jobs could run.
const WARM_MAX: usize = 64;
/// A sweep begins no further look once it found so many jobs …
const FOUND_MAX: usize = 5_000;
/// … or after this time. At least one part is looked at in every sweep.
const BUDGET: Duration = Duration::from_millis(250);

/// Where the sweeps of a process are in the due jobs.
///
/// If all due jobs fit into one part, a sweep looks at that part. Otherwise the sweeps go through all due jobs part by
/// part, and begin again at the end. Meanwhile every sweep also looks at what a whole pass would find too late: jobs that
/// became due since the last sweep, heads of expired leases, and parts in which jobs could run, because the process may
/// have been too busy to run them all.
#[derive(Default)]
pub(super) struct Progress {
    /// Where the pass is.
    pass: DuePosition,
    /// Parts in which jobs could run.
    warm: VecDeque<DuePosition>,
    /// Up to where the jobs that became due were looked at.
    recent: Option<DuePosition>,
}

/// The jobs that one sweep found.
#[derive(Default)]
pub(super) struct Found(HashMap<JobId, Wake>);

impl Found {
    fn add(&mut self, wakes: Vec<Wake>) {
        self.0.extend(wakes.into_iter().map(|wake| (wake.job_id.clone(), wake)));
    }

    /// The jobs, those that have been due for longest first.
    pub(super) fn into_wakes(self) -> Vec<Wake> {
        let mut wakes: Vec<Wake> = self.0.into_values().collect();
        wakes.sort_by(|one, other| (one.run_at_ms, &one.job_id).cmp(&(other.run_at_ms, &other.job_id)));
        wakes
    }
}

impl Progress {
    /// Finds jobs to announce. If the database fails, those found until then count, and the next sweep goes on with the
    /// part that failed.
    pub(super) async fn sweep(
        &mut self,
        db: &Db,
        due_before_ms: TimeMs,
        now_ms: TimeMs,
        found: &mut Found,
    ) -> Result<()> {
        let began = Instant::now();
        let look = async |after: &DuePosition| job_due(db.write(), after, due_before_ms, now_ms, PART).await;
        let latest = DuePosition { run_at_ms: due_before_ms - OVERLAP_MS, id: String::new() };
        let part = look(&self.pass).await?;
        let is_all = self.pass == DuePosition::default() && part.next.is_none();
        self.remember(&part.wakes);
        found.add(part.wakes);
        self.pass = part.next.unwrap_or_default();
        if is_all {
            self.recent = Some(latest);
            self.warm.clear();
            return Ok(());
        }
        found.add(job_due_expired(db.write(), due_before_ms, now_ms, EXPIRED_MAX).await?);
        let mut recent = self.recent.take().unwrap_or_else(|| latest.clone());
        for _ in 0..RECENT_LOOKS_MAX {
            let part = look(&recent).await?;
            self.remember(&part.wakes);
            found.add(part.wakes);
            let Some(next) = part.next else {
                recent = latest;
                break;
            };
            recent = next;
        }
        self.recent = Some(recent);
        let is_enough = |found: &Found| found.0.len() >= FOUND_MAX || began.elapsed() >= BUDGET;
        for _ in 0..self.warm.len() {
            if is_enough(found) {
                return Ok(());
            }
            let Some(after) = self.warm.pop_front() else { break };
            let part = look(&after).await?;
            self.remember(&part.wakes);
            found.add(part.wakes);
        }
        while !is_enough(found) {
            let part = look(&self.pass).await?;
            self.remember(&part.wakes);
            found.add(part.wakes);
            self.pass = part.next.unwrap_or_default();
            if self.pass == DuePosition::default() {
                break;
            }
        }
        Ok(())
    }

    /// Keeps the position of a part in which jobs can run: before the first of them.
    fn remember(&mut self, wakes: &[Wake]) {
        let Some(first) = wakes.first() else { return };
        let before = DuePosition { run_at_ms: first.run_at_ms, id: String::new() };
        if self.warm.len() < WARM_MAX && !self.warm.contains(&before) {
            self.warm.push_back(before);
        }
    }
}
