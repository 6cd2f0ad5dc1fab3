//! The chaos run: mixed load on real processes while they, Postgres and RabbitMQ are killed, and
//! then a comparison of what was acknowledged with what is there.
//!
//! A run goes through these steps, each in a module of its own:
//!
//! | step | module |
//! |---|---|
//! | start the services and the nodes | [`site`], [`services`], [`node`], [`process`] |
//! | work the schedule of faults off | [`plan`], [`fault`] |
//! | meanwhile, ask for things until there is an answer | [`load`], [`story`], [`caller`], [`record`] |
//! | wait until nothing is left to do | [`settle`] |
//! | compare, run `bursar verify`, stop in good order | [`check`] |
//! | say what came of it | [`report`], [`tally`], [`chronicle`] |
//!
//! The seed decides the schedule and what the load chooses; when an answer comes is up to the
//! machine, so a run with the same seed is alike, not the same.

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
/// How long starting may take before a request gives up.
const START_PATIENCE: Duration = Duration::from_secs(120);

/// By how much the clocks of nodes are wrong, one node after the other, where they are to be.
const SKEWS_MS: [i64; 4] = [0, 20 * 60_000, -7 * 60_000, 3 * 60_000];

/// What a run is made of.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long the load lasts.
    pub seconds: u64,
    /// How many nodes there are.
    pub nodes: usize,
    /// Whether their clocks differ by minutes. Only a Postgres can put them right.
    pub is_skewed: bool,
    /// What the schedule and the load are made from.
    pub seed: u64,
    /// Acts begun each second; one act is a request or a few.
    pub rate: u32,
    /// Which backends.
    pub backend: Backend,
}

/// Runs once.
///
/// # Errors
/// If something fails that is not under test, such as the start of Postgres. What is wrong with the
/// product is in the report.
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
    /// By how much the clock of each node is wrong.
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

/// Load and faults at the same time, until both are over and everything is up again.
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
    // Everything that waits has to end: the load's time, then what the last faults take, then a while.
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
