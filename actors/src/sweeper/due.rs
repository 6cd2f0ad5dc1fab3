//! Which due jobs a sweep looks at. A sweep has a constant cost, however many due jobs cannot run because their stream
//! is paused or its head waits, and none of those delays the jobs of other streams.

use bursar_engine::Result;
use bursar_engine::clock::TimeMs;
use bursar_engine::domain::job::Wake;
use bursar_engine::infra::store::Db;
use bursar_engine::infra::store::job::{DuePosition, job_due, job_due_expired};
use std::collections::HashSet;

/// Maximum of due jobs that one look reads.
const PART: u64 = 5_000;
/// Maximum of jobs that one look finds.
const FOUND_MAX: u64 = 1_000;
/// The sweeps repeat this much of the latest due times, because a job may be committed after its time.
const OVERLAP_MS: TimeMs = 5_000;
/// Maximum of sweeps that stay with a part because some of its jobs can run.
const STAYS_MAX: u32 = 10;

/// Where the sweeps of a process are in the due jobs.
#[derive(Default)]
pub(super) struct Progress {
    /// The sweeps go through all due jobs, part by part, and begin again.
    all: DuePosition,
    /// How often they have stayed with the part that begins there.
    stays: u32,
    /// Meanwhile they look at the jobs that became due since, so that these do not wait for their part.
    recent: Option<DuePosition>,
}

impl Progress {
    /// Finds jobs to announce. If the database fails, the next sweep looks at the same part.
    pub(super) async fn sweep(&mut self, db: &Db, due_before_ms: TimeMs, now_ms: TimeMs) -> Result<Vec<Wake>> {
        let latest = DuePosition { run_at_ms: due_before_ms - OVERLAP_MS, id: String::new() };
        let part = job_due(db.write(), &self.all, due_before_ms, now_ms, (PART, FOUND_MAX)).await?;
        if self.all == DuePosition::default() && part.next.is_none() {
            (self.recent, self.stays) = (Some(latest), 0);
            return Ok(part.wakes);
        }
        let recent = self.recent.get_or_insert_with(|| latest.clone());
        let newest = job_due(db.write(), recent, due_before_ms, now_ms, (PART, FOUND_MAX)).await?;
        let expired = job_due_expired(db.write(), due_before_ms, now_ms, FOUND_MAX).await?;
        self.recent = Some(newest.next.unwrap_or(latest));
        self.stays += 1;
        if part.wakes.is_empty() || self.stays > STAYS_MAX {
            (self.all, self.stays) = (part.next.unwrap_or_default(), 0);
        }
        let mut seen = HashSet::new();
        let all = newest.wakes.into_iter().chain(expired).chain(part.wakes);
        Ok(all.filter(|wake| seen.insert(wake.job_id.clone())).collect())
    }
}
