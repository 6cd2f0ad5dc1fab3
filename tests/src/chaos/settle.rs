//! Waits until no job is left.

use super::caller::Caller;
use super::load::HOLD_SHORT_S;
use super::record::Discrepancy;
use super::run_log::RunLog;
use anyhow::{Result, bail};
use serde_json::Value;
use std::collections::HashSet;
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
/// Mails that wait for their hour, as a filter of the list of jobs: a customer gets one of a kind an hour.
const LATER_MAILS: &[(&str, &str)] = &[("state", "scheduled"), ("kind", "mail.send")];
/// Kinds whose jobs must never be dead in this run.
const NEVER_DEAD: [&str; 4] = ["account.settle", "replay.run", "retention", "mail.send"];

/// Waits until no job is due, running or waiting for a retry; returns a discrepancy for each that does not end.
pub async fn settle(caller: &Caller, run_log: &RunLog) -> Result<Vec<Discrepancy>> {
    // The last short hold was opened a moment ago and must expire as well.
    tokio::time::sleep(Duration::from_secs(HOLD_SHORT_S.unsigned_abs() + 1)).await;
    let deadline = Instant::now() + LIMIT;
    let mut idle_reads = 0;
    loop {
        let unfinished = unfinished_jobs(caller, 1).await?;
        // Twice, because a job can move from one list to another between two reads.
        idle_reads = if unfinished.is_empty() { idle_reads + 1 } else { 0 };
        if idle_reads == 2 {
            return dead_jobs(caller).await;
        }
        if Instant::now() >= deadline {
            let mut discrepancies = Vec::new();
            for job in unfinished_jobs(caller, LISTED_MAX).await? {
                let id = job["id"].as_str().unwrap_or_default();
                let detail = caller.get_as_staff(&format!("/admin/v1/jobs/{id}"), &[]).await?;
                let text = format!("a job is not done {} s after the load: {detail}", LIMIT.as_secs());
                discrepancies.push(Discrepancy::wrong(text));
            }
            discrepancies.extend(dead_jobs(caller).await?);
            return Ok(discrepancies);
        }
        if let Some(job) = unfinished.first() {
            run_log.show(format!("waiting for jobs ({}, {})", job["kind"], job["state"]));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// At most `limit` jobs that are not done and do not wait for a later time.
async fn unfinished_jobs(caller: &Caller, limit: usize) -> Result<Vec<Value>> {
    let mut unfinished = Vec::new();
    for filter in UNFINISHED {
        let left = limit.saturating_sub(unfinished.len());
        let mut query = filter.to_vec();
        let most = left.to_string();
        query.push(("limit", &most));
        let page = caller.get_as_staff("/admin/v1/jobs", &query).await?["data"].take();
        let Value::Array(mut jobs) = page else { bail!("there is no list of jobs in the answer") };
        if jobs.iter().any(is_mail) {
            let later = later_streams(caller).await?;
            jobs = caller.list_as_staff("/admin/v1/jobs", filter).await?;
            jobs.retain(|job| !is_behind(job, &later));
            jobs.truncate(left);
        }
        unfinished.extend(jobs);
        if unfinished.len() == limit {
            break;
        }
    }
    Ok(unfinished)
}

/// The streams whose next mail waits for its hour. Mails behind it wait with it, though they are listed as available.
///
/// # Errors
/// If the application does not answer.
pub async fn later_streams(caller: &Caller) -> Result<HashSet<String>> {
    let later = caller.list_as_staff("/admin/v1/jobs", LATER_MAILS).await?;
    Ok(later.iter().filter_map(|job| job["stream"].as_str()).map(str::to_owned).collect())
}

/// Whether an available job waits behind the next mail of such a stream.
pub fn is_behind(job: &Value, later_streams: &HashSet<String>) -> bool {
    is_mail(job) && job["state"] == "available" && job["stream"].as_str().is_some_and(|it| later_streams.contains(it))
}

fn is_mail(job: &Value) -> bool {
    job["kind"] == "mail.send"
}

async fn dead_jobs(caller: &Caller) -> Result<Vec<Discrepancy>> {
    let mut discrepancies = Vec::new();
    for kind in NEVER_DEAD {
        let jobs: Vec<Value> = caller.list_as_staff("/admin/v1/jobs", &[("state", "dead"), ("kind", kind)]).await?;
        discrepancies.extend(jobs.iter().map(|job| Discrepancy::wrong(format!("this job must not be dead: {job}"))));
    }
    Ok(discrepancies)
}
