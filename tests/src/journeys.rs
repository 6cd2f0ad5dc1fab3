//! The journeys run: random customers with random cards and random faults, for days of Stripe's time. After each day
//! the ledger, the sandbox's money and Stripe's objects must agree to the cent and the credit.
//!
//! A run consists of these steps, each in its own module:
//!
//! | step | module |
//! |---|---|
//! | plan the days from the seed | [`plan`], [`weather`] |
//! | start the sandbox and the application | [`venue`] |
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
pub mod plan;
pub mod report;
pub mod settle;
pub mod venue;
pub mod weather;

use crate::Backend;
use crate::chaos::caller::Caller;
use crate::chaos::chronicle::Chronicle;
use crate::chaos::tally::Tally;
use anyhow::Result;
use bursar_engine::metric;
use bursar_sandbox::{AfterRetries, Options as StripeOptions, Rules, Sandbox};
use customer::{Customer, Stage};
use futures_util::future::join_all;
use plan::Day;
use report::{Counts, Report, Restarting};
use serde_json::Value;
use settle::Evening;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use venue::{Place, Venue};
use weather::{Squall, Weather};

/// How long the requests of a day are retried.
const PATIENCE: Duration = Duration::from_secs(120);
/// Seconds between the sandbox's tries to deliver an event: long enough for the application to start again.
const WEBHOOK_TRIES_AFTER_S: [i64; 5] = [1, 1, 2, 4, 8];
/// How much of Stripe's time may pass until lost webhooks are recovered: Stripe lists events for 30 days.
const MADE_UP_WITHIN_S: i64 = 25 * 86_400;
/// Kinds of Stripe's objects that are saved after a failed run.
const KEPT: [&str; 10] = [
    "customer",
    "payment_method",
    "payment_intent",
    "charge",
    "refund",
    "dispute",
    "subscription",
    "invoice",
    "invoice_payment",
    "event",
];
/// Maximum of days of a run.
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
    /// Maximum of days.
    pub days: Option<usize>,
    /// The backends.
    pub backend: Backend,
    /// Where the application runs.
    pub place: Place,
}

/// A running run.
struct Run {
    options: Options,
    venue: Venue,
    stripe: Arc<Sandbox>,
    caller: Caller,
    counts: Arc<Counts>,
    log: Arc<Chronicle>,
    people: Vec<Customer>,
    metrics: Restarting,
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
    let log = Arc::new(Chronicle::new(label));
    log.note(&format!("seed {}: starting", options.seed));
    let mut folder = tempfile::Builder::new().prefix("bursar-journeys-").tempdir()?;
    let calls = folder.path().join("calls.jsonl");
    let stripe = Arc::new(Sandbox::start(stripe_options(options.seed, calls)).await?);
    let venue = Venue::open(options.place, options.backend, &stripe, &log).await?;
    let caller = Caller::new(vec![venue.base().to_owned()], Arc::new(Tally::default()), PATIENCE)?;
    let counts = Arc::new(Counts::default());
    let stage = Stage { caller: caller.clone(), stripe: stripe.clone(), counts: counts.clone() };
    let people = (0..options.customers).map(|n| Customer::new(format!("customer-{n}"), stage.clone())).collect();
    let run = Run { options, venue, stripe, caller, counts, log: log.clone(), people, metrics: Restarting::default() };
    let done = tokio::select! {
        done = run.carry_out() => done,
        Err(error) = run.venue.watch() => Err(error),
    };
    let (days, mut problems) = match done {
        Ok(done) => done,
        Err(error) => (0, vec![format!("the run could not be carried out: {error:#}")]),
    };
    problems.extend(run.venue.close().await?);
    let mut kept = Vec::new();
    if !problems.is_empty() {
        folder.disable_cleanup(true);
        let objects: BTreeMap<&str, Vec<Value>> = KEPT.iter().map(|kind| (*kind, run.stripe.list(kind))).collect();
        std::fs::write(folder.path().join("objects.json"), serde_json::to_string_pretty(&objects)?)?;
        kept.push(folder.path().to_path_buf());
        kept.extend(run.venue.keep().await);
    }
    Ok(Report {
        backend: label,
        is_inside: options.place == Place::Inside,
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
    async fn carry_out(&self) -> Result<(usize, Vec<String>)> {
        self.log.load_begins();
        let until = self.options.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let is_over = |days| {
            let is_late = until.is_some_and(|until| Instant::now() >= until);
            is_late || days >= self.options.days.unwrap_or(DAYS_MAX)
        };
        let (mut days, mut since_made_up_s) = (0, 0);
        loop {
            days += 1;
            let day = plan::day(self.options.seed, days, self.people.len());
            self.by_day(&day).await?;
            let is_last = is_over(days);
            let must_make_up = since_made_up_s + day.night.passes_s > MADE_UP_WITHIN_S;
            let makes_up = is_last || must_make_up || day.night.makes_up;
            let problems = self.evening(makes_up).await?;
            if is_last || !problems.is_empty() {
                return Ok((days, problems));
            }
            since_made_up_s = if makes_up { 0 } else { since_made_up_s } + day.night.passes_s;
            self.night(&day)?;
        }
    }

    async fn by_day(&self, day: &Day) -> Result<()> {
        self.log.note(&format!("day {}", day.number));
        self.caller.patience(PATIENCE);
        self.stripe.set_policy(day.weather.webhooks.clone());
        let is_over = AtomicBool::new(false);
        let customers = async {
            join_all(self.people.iter().zip(&day.customers).map(|(customer, beats)| async move {
                for beat in beats {
                    join_all(beat.iter().map(|what| customer.act(*what))).await;
                }
            }))
            .await;
            is_over.store(true, Ordering::Relaxed);
        };
        let ((), storm) = tokio::join!(customers, self.storm(&day.weather, &is_over));
        storm?;
        self.caller.until_definite(|client, base| client.get(format!("{base}/health/ready"))).await;
        Ok(())
    }

    /// Injects the day's faults until its customers are done; the rest of them is dropped.
    async fn storm(&self, weather: &Weather, is_over: &AtomicBool) -> Result<()> {
        for (pause_ms, squall) in &weather.squalls {
            tokio::time::sleep(Duration::from_millis(*pause_ms)).await;
            if is_over.load(Ordering::Relaxed) {
                return Ok(());
            }
            match squall {
                Squall::Fault(rule) => {
                    self.stripe.fault(rule.clone())?;
                    self.counts.up("faults", weather::name(&rule.fault));
                }
                Squall::Crash { away_ms } => {
                    self.log.note(&format!("a crash, away for {away_ms} ms"));
                    self.venue.crash(Duration::from_millis(*away_ms)).await?;
                    self.counts.up("crashes", if self.venue.moves_with_stripe() { "restart" } else { "kill -9" });
                }
            }
        }
        Ok(())
    }

    /// Settles, compares and verifies; returns the problems.
    async fn evening(&self, makes_up: bool) -> Result<Vec<String>> {
        let (venue, caller, stripe) = (&self.venue, &self.caller, &*self.stripe);
        let evening = Evening { venue, caller, stripe, counts: &self.counts, log: &self.log };
        caller.patience(PATIENCE * 3);
        evening.calm().await?;
        let mut problems = evening.settle().await?;
        self.counts.add("webhooks", "lost", self.metrics.grown("lost", evening.lost().await?));
        if makes_up {
            problems.extend(evening.make_up().await?);
            problems.extend(audit::audit(caller, stripe, &self.people).await?);
            self.counts.up("comparisons", if problems.is_empty() { "all agrees" } else { "something differs" });
        }
        problems.extend(venue.verify().await?);
        self.count_webhooks().await?;
        if !problems.is_empty() {
            self.log.note(&format!("{} things are wrong", problems.len()));
        }
        Ok(problems)
    }

    /// Counts webhooks by the application's own metrics.
    async fn count_webhooks(&self) -> Result<()> {
        let text = self.caller.client().get(format!("{}/metrics", self.venue.base())).send().await?.text().await?;
        for (name, end) in
            [(metric::WEBHOOKS_RECEIVED, "received"), (metric::WEBHOOKS_DUPLICATE, "of these, duplicates")]
        {
            let lines = text.lines().filter(|line| line.starts_with(name));
            let now: u64 = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum();
            self.counts.add("webhooks", end, self.metrics.grown(name, now));
        }
        Ok(())
    }

    /// Advances the clock. Events about what becomes due at Stripe are delivered under this day's policy.
    fn night(&self, day: &Day) -> Result<()> {
        self.stripe.set_policy(day.weather.webhooks.clone());
        let due = self.venue.pass(&self.stripe, Duration::from_secs(day.night.passes_s.unsigned_abs()))?;
        self.counts.up("clock jumps", &format!("{} h", day.night.passes_s / 3_600));
        self.counts.add("due at stripe", "renewals, retries, ends", due as u64);
        self.log.note(&format!("{} h pass", day.night.passes_s / 3_600));
        Ok(())
    }
}
