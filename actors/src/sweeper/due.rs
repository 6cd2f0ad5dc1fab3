//! Which due jobs a sweep looks at. A sweep has a bounded cost, however many due jobs cannot run because their stream
//! is paused or its head waits, and those delay the jobs of other streams little.

use bursar_engine::Result;
use bursar_engine::clock::TimeMs;
use bursar_engine::domain::job::Wake;
use bursar_engine::ids::JobId;
use bursar_engine::infra::store::Db;
use bursar_engine::infra::store::job::{DuePosition, job_due, job_due_expired};
use std::collections::HashMap;
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
/// A sweep begins no further look once it found so many jobs …
const FOUND_MAX: usize = 5_000;
/// … or after this time. At least one part is looked at in every sweep.
const BUDGET: Duration = Duration::from_millis(250);

/// Where the sweeps of a process are in the due jobs.
///
/// The sweeps go through all due jobs, each as far as its budget reaches, and begin again at the end. Few due jobs need
/// one look. When a pass takes many sweeps, each of them first looks at what the pass would find late: streams whose
/// lease expired, and jobs that became due since the last sweep.
#[derive(Default)]
pub(super) struct Progress {
    /// Where the pass is.
    pass: DuePosition,
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
        // On SQLite, writers must not wait for this.
        let lane = if db.is_postgres() { db.write() } else { db.read() };
        let look = async |after: &DuePosition| job_due(lane, after, due_before_ms, now_ms, PART).await;
        found.add(job_due_expired(lane, due_before_ms, now_ms, EXPIRED_MAX).await?);
        for _ in 0..RECENT_LOOKS_MAX {
            let Some(recent) = &self.recent else { break };
            let part = look(recent).await?;
            found.add(part.wakes);
            self.recent = part.next;
        }
        self.recent.get_or_insert(DuePosition { run_at_ms: due_before_ms - OVERLAP_MS, id: String::new() });
        loop {
            let part = look(&self.pass).await?;
            found.add(part.wakes);
            self.pass = part.next.unwrap_or_default();
            let is_end = self.pass == DuePosition::default();
            if is_end || found.0.len() >= FOUND_MAX || began.elapsed() >= BUDGET {
                return Ok(());
            }
        }
    }
}
