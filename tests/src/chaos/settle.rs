//! Waits until no job is left.

use super::caller::Caller;
use super::load::HOLD_SHORT_S;
use super::record::Discrepancy;
use super::run_log::RunLog;
use anyhow::Result;
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// How long the jobs may take to end.
const LIMIT: Duration = Duration::from_secs(120);
/// How often they are read.
const POLL: Duration = Duration::from_millis(300);
/// Jobs listed in the report if they do not end.
const LISTED_MAX: usize = 20;
/// Unfinished jobs, as filters of the list of jobs. Scheduled jobs of other kinds are due later: holds that expire in
/// an hour, tomorrow's retention.
const UNFINISHED: [&[(&str, &str)]; 3] =
    [&[("state", "available")], &[("state", "running")], &[("state", "scheduled"), ("kind", "stripe.event")]];
/// Kinds whose jobs must never be dead in this run.
const NEVER_DEAD: [&str; 4] = ["account.settle", "replay.run", "retention", "mail.send"];

/// Waits until no job is due, running or waiting for a retry; returns a discrepancy for each that does not end.
pub async fn settle(caller: &Caller, run_log: &RunLog) -> Result<Vec<Discrepancy>> {
    // The last short hold was opened a moment ago and must expire as well.
    tokio::time::sleep(Duration::from_secs(HOLD_SHORT_S.unsigned_abs() + 1)).await;
    let deadline = Instant::now() + LIMIT;
    let mut idle_reads = 0;
    loop {
        let mut unfinished = None;
        for filter in UNFINISHED {
            let mut query = filter.to_vec();
            query.push(("limit", "1"));
            if caller.get_as_staff("/admin/v1/jobs", &query).await?["data"]
                .as_array()
                .is_some_and(|jobs| !jobs.is_empty())
            {
                unfinished = Some(filter);
                break;
            }
        }
        // Twice, because a job can move from one list to another between two reads.
        idle_reads = if unfinished.is_none() { idle_reads + 1 } else { 0 };
        if idle_reads == 2 {
            return dead_jobs(caller).await;
        }
        if Instant::now() >= deadline {
            return unfinished_jobs(caller).await;
        }
        if let Some(filter) = unfinished {
            run_log.show(format!("waiting for jobs ({filter:?})"));
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn unfinished_jobs(caller: &Caller) -> Result<Vec<Discrepancy>> {
    let mut discrepancies = Vec::new();
    for filter in UNFINISHED {
        for job in caller.list_as_staff("/admin/v1/jobs", filter).await? {
            if discrepancies.len() < LISTED_MAX {
                let id = job["id"].as_str().unwrap_or_default();
                let detail = caller.get_as_staff(&format!("/admin/v1/jobs/{id}"), &[]).await?;
                let text = format!("a job is not done {} s after the load: {detail}", LIMIT.as_secs());
                discrepancies.push(Discrepancy::wrong(text));
            }
        }
    }
    discrepancies.extend(dead_jobs(caller).await?);
    Ok(discrepancies)
}

async fn dead_jobs(caller: &Caller) -> Result<Vec<Discrepancy>> {
    let mut discrepancies = Vec::new();
    for kind in NEVER_DEAD {
        let jobs: Vec<Value> = caller.list_as_staff("/admin/v1/jobs", &[("state", "dead"), ("kind", kind)]).await?;
        discrepancies.extend(jobs.iter().map(|job| Discrepancy::wrong(format!("this job must not be dead: {job}"))));
    }
    Ok(discrepancies)
}
