//! Carries out the schedule of faults.

use super::cluster::Cluster;
use super::plan::{Fault, Planned};
use super::run_log::RunLog;
use super::tally::Tally;
use anyhow::{Context, Result};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// The targets of the faults, and where they are logged and counted.
pub struct Faults {
    /// The servers.
    pub cluster: Arc<Cluster>,
    /// The log.
    pub run_log: Arc<RunLog>,
    /// The counters.
    pub tally: Arc<Tally>,
    /// Orderly stops that failed.
    pub bad_stops: Mutex<Vec<String>>,
    /// Held during a fault of the broker.
    broker: tokio::sync::Mutex<()>,
    /// Held during a fault of the database.
    postgres: tokio::sync::Mutex<()>,
}

impl Faults {
    /// Creates the faults of a run on these servers.
    pub fn new(cluster: Arc<Cluster>, run_log: Arc<RunLog>, tally: Arc<Tally>) -> Self {
        Self {
            cluster,
            run_log,
            tally,
            bad_stops: Mutex::default(),
            broker: tokio::sync::Mutex::default(),
            postgres: tokio::sync::Mutex::default(),
        }
    }

    /// Carries out the plan; returns when the last fault is over and all servers were started again. A fault that
    /// waits for an earlier one until the load ends is skipped.
    ///
    /// # Errors
    /// If a server that is not under test fails; the run has no result then.
    pub async fn run(self: Arc<Self>, plan: Vec<Planned>, until: Instant) -> Result<()> {
        let began = self.run_log.began();
        let mut running = JoinSet::new();
        for Planned { at_ms, fault } in plan {
            tokio::time::sleep_until(began + Duration::from_millis(at_ms)).await;
            let faults = self.clone();
            running.spawn(async move {
                let done = faults.inject(fault, until).await;
                done.with_context(|| format!("during the fault: {fault}"))
            });
        }
        while let Some(done) = running.join_next().await {
            done??;
        }
        Ok(())
    }

    async fn inject(&self, fault: Fault, until: Instant) -> Result<()> {
        match fault {
            Fault::Kill { node, down_ms } => self.end_node(fault, node, down_ms, false).await,
            Fault::Terminate { node, down_ms } => self.end_node(fault, node, down_ms, true).await,
            Fault::PostgresRestart { down_ms } => {
                let Some(services) = &self.cluster.services else { return Ok(()) };
                let Ok(_turn) = timeout_at(until, self.postgres.lock()).await else { return self.skip(fault) };
                self.run_log.note(&fault.to_string());
                self.tally.postgres_restarts.up();
                services.postgres_restart(Duration::from_millis(down_ms)).await?;
                self.run_log.note("Postgres is back");
                Ok(())
            }
            Fault::RabbitRestart | Fault::RabbitKill { .. } | Fault::RabbitWipe => {
                self.inject_broker_fault(fault, until).await
            }
        }
    }

    async fn inject_broker_fault(&self, fault: Fault, until: Instant) -> Result<()> {
        let Some(services) = &self.cluster.services else { return Ok(()) };
        let Ok(_turn) = timeout_at(until, self.broker.lock()).await else { return self.skip(fault) };
        self.run_log.note(&fault.to_string());
        match fault {
            Fault::RabbitKill { down_ms } => {
                self.tally.rabbitmq_kills.up();
                services.rabbitmq_kill(Duration::from_millis(down_ms)).await?;
            }
            Fault::RabbitWipe => {
                self.tally.rabbitmq_wipes.up();
                services.rabbitmq_wipe().await?;
            }
            _ => {
                self.tally.rabbitmq_restarts.up();
                services.rabbitmq_restart().await?;
            }
        }
        self.run_log.note("RabbitMQ is back");
        Ok(())
    }

    /// Ends a node, or the next one if it is held by another fault, and starts it again.
    async fn end_node(&self, fault: Fault, wanted: usize, down_ms: u64, gracefully: bool) -> Result<()> {
        let nodes = &self.cluster.nodes;
        let free = (0..nodes.len()).map(|n| &nodes[(wanted + n) % nodes.len()]);
        let Some((node, mut slot)) = free.into_iter().find_map(|node| Some((node, node.try_lock()?))) else {
            return self.skip(fault);
        };
        let what = if gracefully { "SIGTERM" } else { "kill -9" };
        self.run_log.note(&format!("{what} of {}, down for {down_ms} ms", node.name));
        if gracefully {
            match node.terminate(&mut slot).await? {
                Ok(took) => {
                    self.tally.graceful_stops.up();
                    self.run_log.note(&format!("{} stopped in order after {} ms", node.name, took.as_millis()));
                }
                Err(problem) => {
                    self.run_log.note(&format!("{} did not stop in order", node.name));
                    self.bad_stops.lock().unwrap_or_else(PoisonError::into_inner).push(problem);
                }
            }
        } else {
            node.kill(&mut slot).await?;
            self.tally.kills.up();
        }
        tokio::time::sleep(Duration::from_millis(down_ms)).await;
        node.start(&mut slot)
    }

    fn skip(&self, fault: Fault) -> Result<()> {
        self.tally.faults_skipped.up();
        self.run_log.note(&format!("skipped, because an earlier fault is not over: {fault}"));
        Ok(())
    }
}
