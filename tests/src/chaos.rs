//! The chaos run: mixed load on real processes while they, Postgres and RabbitMQ are killed, followed by a comparison
//! of the acknowledged requests with the stored state.
//!
//! A run consists of these steps, each in its own module:
//!
//! | step | module |
//! |---|---|
//! | start the services and the nodes | [`site`], [`services`], [`node`], [`process`] |
//! | carry out the schedule of faults | [`plan`], [`fault`] |
//! | meanwhile, make requests until each has an answer | [`load`], [`story`], [`caller`], [`record`] |
//! | wait until no job is left | [`settle`] |
//! | compare, run `bursar verify`, stop in good order | [`check`] |
//! | report | [`report`], [`tally`], [`chronicle`] |
//!
//! The seed decides the schedule and what the load does. The timing of answers is not reproducible, so two runs with
//! the same seed are similar, not identical.

pub mod caller;
pub mod check;
pub mod chronicle;
pub mod fault;
pub mod load;
pub mod node;
pub mod plan;
pub mod process;
pub mod record;
pub mod report;
pub mod services;
pub mod settle;
pub mod site;
pub mod story;
pub mod tally;

use crate::Backend;
use anyhow::{Context, Result};
use bursar_engine::clock::Clock;
use caller::Caller;
use chronicle::Chronicle;
use fault::Faults;
use load::Load;
use record::{Discrepancy, Known};
use report::Report;
use site::Site;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tally::Tally;
use tokio::task::JoinSet;

/// How long requests are tried again once the load has ended and everything is up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long requests are retried before the servers have started.
const START_PATIENCE: Duration = Duration::from_secs(120);

/// Clock skew of the nodes, in turn, if the run has skewed clocks.
const SKEWS_MS: [i64; 4] = [0, 20 * 60_000, -7 * 60_000, 3 * 60_000];

/// The options of a run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long the load lasts.
    pub seconds: u64,
    /// How many nodes there are.
    pub nodes: usize,
    /// Whether their clocks differ by minutes. This needs Postgres, whose time corrects theirs.
    pub is_skewed: bool,
    /// The seed of the schedule and the load.
    pub seed: u64,
    /// Actions started each second; one action is one request or a few.
    pub rate: u32,
    /// The backends.
    pub backend: Backend,
}

/// Runs the load and the faults once.
///
/// # Errors
/// If something that is not under test fails, such as the start of Postgres. Problems of the application are in the
/// report.
pub async fn run(options: Options) -> Result<Report> {
    let label = match options.backend {
        Backend::Embedded => "embedded",
        Backend::Production => "production",
    };
    let chronicle = Arc::new(Chronicle::new(label));
    chronicle.note("starting");
    let site = Arc::new(Site::start(options.backend, &options.skews_ms(), &[], &chronicle).await?);
    let mut watchers = JoinSet::new();
    for node in &site.nodes {
        let node = node.clone();
        watchers.spawn(async move { node.watch().await });
    }
    let done = tokio::select! {
        done = carry_out(options, &site, &chronicle) => done,
        Some(ended) = watchers.join_next() => Err(ended.map_or_else(Into::into, |watched| {
            watched.err().unwrap_or_else(|| anyhow::anyhow!("a watcher ended"))
        })),
    };
    watchers.abort_all();
    let outcome = match done {
        Ok(outcome) => outcome,
        Err(error) => {
            let kept = site.keep().await;
            return Err(
                error.context(format!("the {label} run could not be carried out; logs are in {}", kept.display()))
            );
        }
    };
    let kept = if outcome.discrepancies.is_empty() { None } else { Some(site.keep().await) };
    Ok(Report {
        backend: label,
        seed: options.seed,
        seconds: options.seconds,
        nodes: options.nodes,
        skews_ms: options.skews_ms(),
        tally: outcome.tally,
        customers: outcome.customers,
        events: outcome.events,
        discrepancies: outcome.discrepancies,
        log: chronicle.lines(),
        kept,
    })
}

impl Options {
    /// The clock skew of each node.
    fn skews_ms(self) -> Vec<i64> {
        (0..self.nodes).map(|n| if self.is_skewed { SKEWS_MS[n % SKEWS_MS.len()] } else { 0 }).collect()
    }
}

struct Outcome {
    tally: Arc<Tally>,
    customers: usize,
    events: check::events::Ends,
    discrepancies: Vec<Discrepancy>,
}

async fn carry_out(options: Options, site: &Arc<Site>, chronicle: &Arc<Chronicle>) -> Result<Outcome> {
    let began_ms = Clock::System.now_ms();
    let tally = Arc::new(Tally::default());
    let bases = site.nodes.iter().map(|node| node.base.clone()).collect();
    let caller = Caller::new(bases, tally.clone(), START_PATIENCE)?;
    site.ready(caller.client()).await?;
    let load = Arc::new(Load::new(caller.clone(), tally.clone(), chronicle.clone()));
    load.prepare().await?;
    let faults = Arc::new(Faults::new(site.clone(), chronicle.clone(), tally.clone()));
    under_fire(options, site, &caller, &load, &faults).await?;

    let mut discrepancies = settle::settle(&caller, chronicle).await?;
    chronicle.note("nothing is left to do; comparing");
    let known: Known = load.record.known().clone();
    discrepancies.extend(known.discrepancies.iter().cloned());
    let (found, events) = check::everything(&caller, &known, began_ms).await?;
    discrepancies.extend(found);
    chronicle.note("bursar verify");
    discrepancies.extend(site.verify().await?.err().map(Discrepancy::wrong));
    let mut bad_stops = std::mem::take(&mut *faults.bad_stops.lock().unwrap_or_else(PoisonError::into_inner));
    bad_stops.extend(site.stop().await?);
    discrepancies.extend(bad_stops.into_iter().map(Discrepancy::wrong));
    for end in site.self_ends().await {
        let text = format!("{} ended by itself (had served: {}): {}", end.node, end.had_served, end.how);
        discrepancies.push(Discrepancy::wrong(text));
    }
    Ok(Outcome { tally, customers: known.customers.len(), events, discrepancies })
}

/// Runs load and faults concurrently until both have ended and all servers are up again.
async fn under_fire(
    options: Options,
    site: &Arc<Site>,
    caller: &Caller,
    load: &Arc<Load>,
    faults: &Arc<Faults>,
) -> Result<()> {
    let Options { seconds, nodes, seed, rate, backend, .. } = options;
    let chronicle = &load.chronicle;
    let plan = plan::schedule(seed, seconds, nodes, backend);
    chronicle.load_begins();
    chronicle.note(&format!("the load begins; {} faults are planned", plan.len()));
    // Retries must end some time after the load and the last faults.
    let lasts = Duration::from_secs(seconds);
    caller.patience(lasts + START_PATIENCE);
    let mut tasks = JoinSet::new();
    let until = chronicle.began() + lasts;
    tasks.spawn(load.clone().run(seed, rate, until));
    let (faults, site, caller, log) = (faults.clone(), site.clone(), caller.clone(), chronicle.clone());
    tasks.spawn(async move {
        faults.run(plan, until).await?;
        tokio::time::sleep_until(until).await;
        log.note("no more faults");
        site.ready(caller.client()).await?;
        log.note("everything is up");
        caller.patience(PATIENCE);
        Ok(())
    });
    while let Some(ended) = tasks.join_next().await {
        ended.context("a task of the run failed")??;
    }
    chronicle.note("everything is answered");
    Ok(())
}
