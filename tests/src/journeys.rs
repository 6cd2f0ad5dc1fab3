//! The journeys run: random customers with random cards and random faults, over simulated days. After each day the
//! ledger, the sandbox's money and Stripe's objects must agree to the cent and the credit.
//!
//! A run consists of these steps, each in its own module:
//!
//! | step | module |
//! |---|---|
//! | plan the days from the seed | [`plan`], [`faults`] |
//! | start the sandbox and the application | [`deployment`] |
//! | sell two plans and two packs | [`sold`] |
//! | during the day, customers act while faults strike | [`customer`] |
//! | at its end, wait until no job is left and recover lost webhooks | [`settle`] |
//! | compare | [`audit`] |
//! | advance the clock, and begin the next day | |
//! | report | [`report`] |
//!
//! The sandbox runs in this process and survives the application's crashes. The seed decides what happens. The timing
//! of answers is not reproducible, so two runs with the same seed are similar, not identical.

pub mod audit;
pub mod customer;
pub mod deployment;
pub mod faults;
pub mod plan;
pub mod report;
pub mod settle;
pub mod sold;

use crate::Backend;
use crate::chaos::caller::Caller;
use crate::chaos::run_log::RunLog;
use crate::chaos::tally::Tally;
use anyhow::Result;
use bursar_engine::metric;
use bursar_sandbox::{AfterRetries, Options as StripeOptions, Rules, Sandbox};
use customer::{Customer, CustomerDeps};
use deployment::{Deployment, Placement};
use faults::{DayFault, DayFaults};
use futures_util::future::join_all;
use plan::Day;
use report::{CounterGrowth, Counts, Report};
use serde_json::Value;
use settle::EndOfDay;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How long the requests of a day are retried.
const PATIENCE: Duration = Duration::from_secs(120);
/// Seconds between the sandbox's tries to deliver an event: long enough for the application to start again.
const WEBHOOK_TRIES_AFTER_S: [i64; 5] = [1, 1, 2, 4, 8];
/// How much of Stripe's time may pass until lost webhooks are recovered: Stripe lists events for 30 days.
const RECOVERED_WITHIN_S: i64 = 25 * 86_400;
/// Kinds of Stripe's objects that are saved after a failed run.
const SAVED_KINDS: [&str; 11] = [
    "customer",
    "payment_method",
    "payment_intent",
    "charge",
    "refund",
    "dispute",
    "subscription",
    "subscription_schedule",
    "invoice",
    "invoice_payment",
    "event",
];
/// Maximum number of days of a run.
const DAYS_MAX: usize = 10_000;

/// The options of a run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The seed of the plan.
    pub seed: u64,
    /// Number of customers.
    pub customers: usize,
    /// No day starts after this many seconds.
    pub seconds: Option<u64>,
    /// Maximum number of days.
    pub days: Option<usize>,
    /// The backends.
    pub backend: Backend,
    /// Where the application runs.
    pub placement: Placement,
}

/// A run in progress.
struct Run {
    options: Options,
    deployment: Deployment,
    stripe: Arc<Sandbox>,
    caller: Caller,
    counts: Arc<Counts>,
    log: Arc<RunLog>,
    customers: Vec<Customer>,
    metrics: CounterGrowth,
}

/// Runs the customers and the faults once.
///
/// # Errors
/// If something that is not under test fails. Problems of the application are in the report.
pub async fn run(options: Options) -> Result<Report> {
    let label = match options.backend {
        Backend::Embedded => "embedded",
        Backend::Production => "production",
    };
    let log = Arc::new(RunLog::new(label));
    log.note(&format!("seed {}: starting", options.seed));
    let mut folder = tempfile::Builder::new().prefix("bursar-journeys-").tempdir()?;
    let calls = folder.path().join("calls.jsonl");
    let stripe = Arc::new(Sandbox::start(stripe_options(options.seed, calls)).await?);
    sold::make_team_price(&stripe).await?;
    let catalogue = folder.path().join("bursar.catalogue.toml");
    sold::write_catalogue(&catalogue)?;
    let deployment = Deployment::start(options.placement, options.backend, &stripe, &catalogue, &log).await?;
    let caller = Caller::new(vec![deployment.base().to_owned()], Arc::new(Tally::default()), PATIENCE)?;
    let counts = Arc::new(Counts::default());
    let clock = deployment.clock();
    let deps = CustomerDeps { caller: caller.clone(), stripe: stripe.clone(), counts: counts.clone(), clock };
    let customers = (0..options.customers).map(|n| Customer::new(format!("customer-{n}"), deps.clone())).collect();
    let run = Run {
        options,
        deployment,
        stripe,
        caller,
        counts,
        log: log.clone(),
        customers,
        metrics: CounterGrowth::default(),
    };
    let done = tokio::select! {
        done = run.run_days() => done,
        Err(error) = run.deployment.watch() => Err(error),
    };
    let (days, mut problems) = match done {
        Ok(done) => done,
        Err(error) => (0, vec![format!("the run could not be carried out: {error:#}")]),
    };
    problems.extend(run.deployment.close().await?);
    let mut kept = Vec::new();
    if !problems.is_empty() {
        folder.disable_cleanup(true);
        let objects: BTreeMap<&str, Vec<Value>> =
            SAVED_KINDS.iter().map(|kind| (*kind, run.stripe.list(kind))).collect();
        std::fs::write(folder.path().join("objects.json"), serde_json::to_string_pretty(&objects)?)?;
        kept.push(folder.path().to_path_buf());
        kept.extend(run.deployment.keep().await);
    }
    Ok(Report {
        backend: label,
        is_inside: options.placement == Placement::InProcess,
        seed: options.seed,
        customers: options.customers,
        days,
        counts: run.counts.all(),
        problems,
        log: log.lines(),
        kept,
    })
}

/// What Stripe does after the last retry of a payment differs from account to account, so it depends on the seed.
fn stripe_options(seed: u64, calls: PathBuf) -> StripeOptions {
    let endings = [AfterRetries::Cancel, AfterRetries::Unpaid, AfterRetries::PastDue];
    let after_retries = endings[usize::try_from(seed % 3).unwrap_or(0)];
    StripeOptions {
        seed: Some(seed),
        record: Some(calls),
        retry_after_s: WEBHOOK_TRIES_AFTER_S.to_vec(),
        rules: Rules { after_retries, ..Rules::default() },
        ..StripeOptions::default()
    }
}

impl Run {
    /// Runs day after day until one has problems; returns the number of days, and the problems.
    async fn run_days(&self) -> Result<(usize, Vec<String>)> {
        self.log.load_begins();
        let until = self.options.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let is_over = |days| {
            let is_late = until.is_some_and(|until| Instant::now() >= until);
            is_late || days >= self.options.days.unwrap_or(DAYS_MAX)
        };
        let (mut days, mut since_recovery_s) = (0, 0);
        loop {
            days += 1;
            let day = plan::day(self.options.seed, days, self.customers.len());
            self.run_day(&day).await?;
            let is_last = is_over(days);
            let must_recover = since_recovery_s + day.after.advance_s > RECOVERED_WITHIN_S;
            let recovers = is_last || must_recover || day.after.recovers_webhooks;
            let problems = self.end_day(recovers).await?;
            if is_last || !problems.is_empty() {
                return Ok((days, problems));
            }
            since_recovery_s = if recovers { 0 } else { since_recovery_s } + day.after.advance_s;
            self.advance_clock(&day)?;
        }
    }

    async fn run_day(&self, day: &Day) -> Result<()> {
        self.log.note(&format!("day {}", day.number));
        self.caller.set_patience(PATIENCE);
        self.stripe.set_policy(day.faults.webhooks.clone());
        let is_over = AtomicBool::new(false);
        let customers = async {
            join_all(self.customers.iter().zip(&day.customers).map(|(customer, rounds)| async move {
                for round in rounds {
                    join_all(round.iter().map(|action| customer.act(*action))).await;
                }
            }))
            .await;
            is_over.store(true, Ordering::Relaxed);
        };
        let ((), injected) = tokio::join!(customers, self.inject_faults(&day.faults, &is_over));
        injected?;
        self.caller.until_definite(|client, base| client.get(format!("{base}/health/ready"))).await;
        Ok(())
    }

    /// Injects the day's faults until its customers are done; the rest of them is dropped.
    async fn inject_faults(&self, faults: &DayFaults, is_over: &AtomicBool) -> Result<()> {
        for (pause_ms, fault) in &faults.sequence {
            tokio::time::sleep(Duration::from_millis(*pause_ms)).await;
            if is_over.load(Ordering::Relaxed) {
                return Ok(());
            }
            match fault {
                DayFault::StripeFault(rule) => {
                    self.stripe.fault(rule.clone())?;
                    self.counts.up("faults", faults::name(&rule.fault));
                }
                DayFault::Crash { down_ms } => {
                    self.log.note(&format!("a crash, down for {down_ms} ms"));
                    self.deployment.crash(Duration::from_millis(*down_ms)).await?;
                    self.counts.up("crashes", if self.deployment.moves_with_stripe() { "restart" } else { "kill -9" });
                }
            }
        }
        Ok(())
    }

    /// Settles, compares and verifies; returns the problems.
    async fn end_day(&self, recovers: bool) -> Result<Vec<String>> {
        let (deployment, caller, stripe, customers) =
            (&self.deployment, &self.caller, &*self.stripe, &self.customers[..]);
        let end_of_day = EndOfDay { deployment, caller, stripe, customers, counts: &self.counts, log: &self.log };
        caller.set_patience(PATIENCE * 3);
        end_of_day.stop_faults().await?;
        let mut problems = end_of_day.settle().await?;
        self.counts.add("webhooks", "lost", self.metrics.since_last("lost", end_of_day.lost_webhooks().await?));
        if recovers {
            problems.extend(end_of_day.recover_webhooks().await?);
            problems.extend(audit::audit(caller, stripe, customers, deployment.now_ms()).await?);
            self.counts.up("comparisons", if problems.is_empty() { "no difference" } else { "differences" });
        }
        problems.extend(deployment.verify().await?);
        self.count_webhooks().await?;
        if !problems.is_empty() {
            self.log.note(&format!("{} problems", problems.len()));
        }
        Ok(problems)
    }

    /// Counts webhooks by the application's own metrics.
    async fn count_webhooks(&self) -> Result<()> {
        let text = self.caller.client().get(format!("{}/metrics", self.deployment.base())).send().await?.text().await?;
        for (name, end) in
            [(metric::WEBHOOKS_RECEIVED, "received"), (metric::WEBHOOKS_DUPLICATE, "of these, duplicates")]
        {
            let lines = text.lines().filter(|line| line.starts_with(name));
            let now: u64 = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum();
            self.counts.add("webhooks", end, self.metrics.since_last(name, now));
        }
        Ok(())
    }

    /// Advances the clock. Events about what becomes due at Stripe are delivered under this day's policy.
    fn advance_clock(&self, day: &Day) -> Result<()> {
        self.stripe.set_policy(day.faults.webhooks.clone());
        let due = self.deployment.advance(&self.stripe, Duration::from_secs(day.after.advance_s.unsigned_abs()))?;
        self.counts.up("clock jumps", &format!("{} h", day.after.advance_s / 3_600));
        self.counts.add("due at stripe", "renewals, retries, ends", due as u64);
        self.log.note(&format!("{} h pass", day.after.advance_s / 3_600));
        Ok(())
    }
}
