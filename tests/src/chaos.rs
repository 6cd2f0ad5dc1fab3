//! The chaos run: mixed load on real processes while they, Postgres and RabbitMQ are killed, followed by a comparison
//! of the acknowledged requests with the stored state.
//!
//! A run consists of these steps, each in its own module:
//!
//! | step | module |
//! |---|---|
//! | start the services and the nodes | [`cluster`], [`services`], [`node`], [`process`] |
//! | carry out the schedule of faults | [`plan`], [`fault`] |
//! | meanwhile, make requests until each has an answer | [`load`], [`scenario`], [`caller`], [`record`] |
//! | wait until no job is left | [`settle`] |
//! | compare, run `bursar verify`, stop in good order | [`check`] |
//! | report | [`report`], [`tally`], [`run_log`] |
//!
//! The seed decides the schedule and what the load does. The timing of answers is not reproducible, so two runs with
//! the same seed are similar, not identical.

pub mod caller;
pub mod check;
pub mod cluster;
pub mod fault;
pub mod load;
pub mod node;
pub mod plan;
pub mod process;
pub mod record;
pub mod report;
pub mod run_log;
pub mod scenario;
pub mod services;
pub mod settle;
pub mod tally;

use crate::Backend;
use anyhow::{Context, Result};
use bursar_engine::clock::Clock;
use caller::Caller;
use cluster::Cluster;
use fault::Faults;
use load::Load;
use record::{Discrepancy, Known};
use report::Report;
use run_log::RunLog;
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
    /// How long the load duration.
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
    let run_log = Arc::new(RunLog::new(label));
    run_log.note("starting");
    let cluster = Arc::new(Cluster::start(options.backend, &options.skews_ms(), &[], &run_log).await?);
    let mut watchers = JoinSet::new();
    for node in &cluster.nodes {
        let node = node.clone();
        watchers.spawn(async move { node.watch().await });
    }
    let done = tokio::select! {
        done = run_and_check(options, &cluster, &run_log) => done,
        Some(ended) = watchers.join_next() => Err(ended.map_or_else(Into::into, |watched| {
            watched.err().unwrap_or_else(|| anyhow::anyhow!("a watcher ended"))
        })),
    };
    watchers.abort_all();
    let outcome = match done {
        Ok(outcome) => outcome,
        Err(error) => {
            let kept = cluster.keep().await;
            return Err(
                error.context(format!("the {label} run could not be carried out; logs are in {}", kept.display()))
            );
        }
    };
    let kept = if outcome.discrepancies.is_empty() { None } else { Some(cluster.keep().await) };
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
        log: run_log.lines(),
        kept,
    })
}

impl Options {
    /// The clock skew of each node.
    fn skews_ms(self) -> Vec<i64> {
        (0..self.nodes).map(|n| if self.is_skewed { SKEWS_MS[n % SKEWS_MS.len()] } else { 0 }).collect()
    }
}

struct RunOutcome {
    tally: Arc<Tally>,
    customers: usize,
    events: check::events::EventOutcomes,
    discrepancies: Vec<Discrepancy>,
}

async fn run_and_check(options: Options, cluster: &Arc<Cluster>, run_log: &Arc<RunLog>) -> Result<RunOutcome> {
    let began_ms = Clock::System.now_ms();
    let tally = Arc::new(Tally::default());
    let bases = cluster.nodes.iter().map(|node| node.base.clone()).collect();
    let caller = Caller::new(bases, tally.clone(), START_PATIENCE)?;
    cluster.wait_until_ready(caller.client()).await?;
    let load = Arc::new(Load::new(caller.clone(), tally.clone(), run_log.clone()));
    load.prepare().await?;
    let faults = Arc::new(Faults::new(cluster.clone(), run_log.clone(), tally.clone()));
    run_load_and_faults(options, cluster, &caller, &load, &faults).await?;

    let mut discrepancies = settle::settle(&caller, run_log).await?;
    run_log.note("no job is left; comparing");
    let known: Known = load.record.lock().clone();
    discrepancies.extend(known.discrepancies.iter().cloned());
    let (found, events) = check::everything(&caller, &known, began_ms).await?;
    discrepancies.extend(found);
    run_log.note("bursar verify");
    discrepancies.extend(cluster.verify().await?.err().map(Discrepancy::wrong));
    let mut bad_stops = std::mem::take(&mut *faults.bad_stops.lock().unwrap_or_else(PoisonError::into_inner));
    bad_stops.extend(cluster.stop().await?);
    discrepancies.extend(bad_stops.into_iter().map(Discrepancy::wrong));
    for end in cluster.unexpected_exits().await {
        let text = format!("{} ended by itself (was serving: {}): {}", end.node, end.had_served, end.how);
        discrepancies.push(Discrepancy::wrong(text));
    }
    Ok(RunOutcome { tally, customers: known.customers.len(), events, discrepancies })
}

/// Runs load and faults concurrently until both have ended and all servers are up again.
async fn run_load_and_faults(
    options: Options,
    cluster: &Arc<Cluster>,
    caller: &Caller,
    load: &Arc<Load>,
    faults: &Arc<Faults>,
) -> Result<()> {
    let Options { seconds, nodes, seed, rate, backend, .. } = options;
    let run_log = &load.run_log;
    let plan = plan::schedule(seed, seconds, nodes, backend);
    run_log.load_begins();
    run_log.note(&format!("the load begins; {} faults are planned", plan.len()));
    // Retries must end some time after the load and the last faults.
    let duration = Duration::from_secs(seconds);
    caller.set_patience(duration + START_PATIENCE);
    let mut tasks = JoinSet::new();
    let until = run_log.began() + duration;
    tasks.spawn(load.clone().run(seed, rate, until));
    let (faults, cluster, caller, log) = (faults.clone(), cluster.clone(), caller.clone(), run_log.clone());
    tasks.spawn(async move {
        faults.run(plan, until).await?;
        tokio::time::sleep_until(until).await;
        log.note("no more faults");
        cluster.wait_until_ready(caller.client()).await?;
        log.note("all servers are up");
        caller.set_patience(PATIENCE);
        Ok(())
    });
    while let Some(ended) = tasks.join_next().await {
        ended.context("a task of the run failed")??;
    }
    run_log.note("every request is answered");
    Ok(())
}
