//! Waits until no job is left, and recovers lost webhooks.

use super::audit::overdue_top_ups;
use super::customer::Customer;
use super::deployment::Deployment;
use super::report::Counts;
use crate::chaos::caller::Caller;
use crate::chaos::run_log::RunLog;
use crate::chaos::settle::{is_behind, later_streams};
use crate::unique::unique;
use crate::wait;
use anyhow::{Context, Result};
use bursar_engine::clock::parse_rfc3339;
use bursar_sandbox::{Policy, Sandbox};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// How long settling may take.
const LIMIT: Duration = Duration::from_secs(180);
/// How often the jobs are read.
const POLL: Duration = Duration::from_millis(150);
/// Jobs due within this time are waited for: an operation is retried after a minute at most. A job blocked by its
/// customer is due again after five minutes and is not waited for.
const SOON_MS: i64 = 90 * 1_000;
/// By how much clocks that can be moved advance while all jobs are only scheduled.
const SKIP: Duration = Duration::from_secs(5);
/// Jobs listed in the report if they do not end.
const LISTED_MAX: usize = 10;
/// Reasons of dead letters that lost webhooks or faults explain; support replays these once the webhooks are
/// recovered.
const EXPECTED_REASONS: [&str; 4] = ["grant_missing", "stripe_unavailable", "customer_unknown", "customer_missing"];
/// The window of a reconciliation in hours: as long as Stripe keeps events.
const RECONCILED_HOURS: i64 = 720;

/// The end of a day.
pub struct EndOfDay<'a> {
    /// Where the application runs.
    pub deployment: &'a Deployment,
    /// Makes requests to the application.
    pub caller: &'a Caller,
    /// The sandbox.
    pub stripe: &'a Sandbox,
    /// The customers.
    pub customers: &'a [Customer],
    /// Counts actions and their results.
    pub counts: &'a Counts,
    /// The log.
    pub log: &'a RunLog,
}

impl EndOfDay<'_> {
    /// Stops all faults. Faults that never struck are removed and counted.
    ///
    /// # Errors
    /// If the sandbox does not answer.
    pub async fn stop_faults(&self) -> Result<()> {
        let url = format!("{}/sandbox/v1/faults", self.stripe.url());
        let pending: Value = self.control(url).await?;
        let pending = pending["faults"].as_array().map_or(0, Vec::len);
        self.counts.add("faults", "never struck", pending as u64);
        self.stripe.clear_faults();
        self.stripe.set_policy(Policy::default());
        Ok(())
    }

    /// The number of webhooks that Stripe gave up on.
    ///
    /// # Errors
    /// If the sandbox does not answer.
    pub async fn lost_webhooks(&self) -> Result<u64> {
        let url = format!("{}/sandbox/v1/deliveries", self.stripe.url());
        let known: Value = self.control(url).await?;
        Ok(known["failed"].as_u64().unwrap_or(0))
    }

    /// Reads from the sandbox's control API.
    async fn control(&self, url: String) -> Result<Value> {
        let token = self.stripe.control_token().reveal();
        Ok(self.caller.client().get(url).bearer_auth(token).send().await?.error_for_status()?.json().await?)
    }

    /// Waits until no webhook is being delivered, no job is due soon and no automatic top-up is due; returns what is
    /// left after the limit.
    ///
    /// # Errors
    /// If the application does not answer.
    pub async fn settle(&self) -> Result<Vec<String>> {
        let deadline = Instant::now() + LIMIT;
        let mut idle_reads = 0;
        loop {
            let unfinished = self.unfinished().await?;
            let waiting = self.stripe.deliveries_waiting();
            let is_idle = unfinished.is_empty() && waiting == 0;
            // These are read last: while jobs are left, balances still change.
            let due = if is_idle { self.overdue_top_ups().await? } else { Vec::new() };
            // Twice, because a job can move from one list to another between two reads.
            idle_reads = if is_idle && due.is_empty() { idle_reads + 1 } else { 0 };
            if idle_reads == 2 {
                return Ok(Vec::new());
            }
            if Instant::now() >= deadline {
                let named = unfinished.iter().take(LISTED_MAX);
                let mut problems: Vec<String> = named.map(|job| format!("a job is not done: {job}")).collect();
                problems.extend(due);
                if waiting > 0 {
                    problems.push(format!("{waiting} webhooks are not delivered"));
                }
                return Ok(problems);
            }
            self.log.show(format!("waiting for {} jobs and {waiting} webhooks", unfinished.len()));
            let only_time =
                waiting == 0 && !unfinished.is_empty() && unfinished.iter().all(|job| job["state"] == "scheduled");
            if only_time && self.deployment.moves_with_stripe() {
                self.deployment.advance(self.stripe, SKIP)?;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn overdue_top_ups(&self) -> Result<Vec<String>> {
        overdue_top_ups(self.caller, self.customers, self.deployment.now_ms()).await
    }

    async fn unfinished(&self) -> Result<Vec<Value>> {
        let mut unfinished = Vec::new();
        for state in ["available", "running"] {
            unfinished.extend(self.caller.list_as_staff("/admin/v1/jobs", &[("state", state)]).await?);
        }
        if !unfinished.is_empty() {
            let later = later_streams(self.caller).await?;
            unfinished.retain(|job| !is_behind(job, &later));
        }
        let until_ms = self.deployment.now_ms() + SOON_MS;
        let scheduled = self.caller.list_as_staff("/admin/v1/jobs", &[("state", "scheduled")]).await?;
        unfinished.extend(
            scheduled.into_iter().filter(|job| job["run_at"].as_str().and_then(parse_rfc3339).unwrap_or(0) <= until_ms),
        );
        Ok(unfinished)
    }

    /// Recovers lost webhooks: by a reconciliation if the application's clock moves with Stripe's, otherwise by
    /// delivering them again. Returns the problems.
    ///
    /// # Errors
    /// If the application does not answer.
    pub async fn recover_webhooks(&self) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        if self.deployment.moves_with_stripe() {
            self.clock_passes_stripes().await;
            let found = self.reconcile().await?;
            self.counts.add("reconciliation", "differences repaired", found["repaired"].as_u64().unwrap_or(0));
            self.counts.add("reconciliation", "differences found", found["drift"].as_u64().unwrap_or(0));
            problems.extend(self.settle().await?);
        } else {
            let redelivered = self.stripe.redeliver(None)?;
            self.counts.add("webhooks", "lost, sent again", redelivered as u64);
            problems.extend(self.settle().await?);
        }
        self.replay_dead_jobs().await?;
        problems.extend(self.settle().await?);
        problems.extend(self.dead_jobs().await?.iter().map(|job| format!("still dead after the replay: {job}")));
        if self.deployment.moves_with_stripe() {
            let found = self.reconcile().await?;
            if found["drift"] != 0 {
                let path = format!("/admin/v1/stripe/reconciliations/{}/findings", found["id"].as_str().unwrap_or(""));
                let findings = self.caller.list_as_staff(&path, &[]).await?;
                problems.extend(findings.iter().map(|row| format!("a reconciliation still finds: {row}")));
                problems.extend(self.settle().await?);
            }
        }
        Ok(problems)
    }

    /// Waits until all that has happened at Stripe is in the past here: a reconciliation compares what is older than its
    /// beginning, and Stripe's clock shows whole seconds.
    async fn clock_passes_stripes(&self) {
        let reached_ms = (self.stripe.now_s() + 1) * 1_000;
        wait::until("Stripe's present is past", || async { (self.deployment.now_ms() >= reached_ms).then_some(()) })
            .await;
    }

    /// Runs one reconciliation to its end.
    async fn reconcile(&self) -> Result<Value> {
        let body = json!({ "since_hours": RECONCILED_HOURS, "repair": true, "full": true });
        let begun = self.caller.staff("/admin/v1/stripe/reconciliations", &unique(), &body).await;
        let begun = begun.filter(|answer| answer.is_success()).context("a reconciliation does not begin")?;
        let id = begun.body["reconciliation"]["id"].as_str().context("it has an id")?.to_owned();
        let path = format!("/admin/v1/stripe/reconciliations/{id}");
        let deadline = Instant::now() + LIMIT;
        loop {
            let mut found = self.caller.get_as_staff(&path, &[]).await?;
            let run = found["reconciliation"].take();
            match run["state"].as_str() {
                Some("done") => return Ok(run),
                Some("running") if Instant::now() < deadline => tokio::time::sleep(POLL).await,
                _ => anyhow::bail!("a reconciliation does not end: {run}"),
            }
        }
    }

    async fn dead_jobs(&self) -> Result<Vec<Value>> {
        self.caller.list_as_staff("/admin/v1/jobs", &[("state", "dead")]).await
    }

    /// Replays dead letters with an expected reason, as support.
    async fn replay_dead_jobs(&self) -> Result<()> {
        for job in self.dead_jobs().await? {
            let reason = job["last_error"].as_str().unwrap_or_default();
            let word = EXPECTED_REASONS.iter().find(|word| reason.contains(**word));
            let (Some(word), Some(id)) = (word, job["id"].as_str()) else { continue };
            self.counts.up("dead letters replayed", word);
            let body = json!({ "reason": "what it needed is there now" });
            let path = format!("/admin/v1/jobs/{id}/replay");
            self.caller.staff(&path, &unique(), &body).await.context("a dead letter cannot be replayed")?;
        }
        Ok(())
    }
}
