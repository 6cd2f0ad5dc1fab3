//! Faults: does what the plan says, each at its time.

use super::chronicle::Chronicle;
use super::plan::{Fault, Planned};
use super::site::Site;
use super::tally::Tally;
use anyhow::{Context, Result};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// What faults work with.
pub struct Faults {
    /// What they are done to.
    pub site: Arc<Site>,
    /// Where they are written down.
    pub chronicle: Arc<Chronicle>,
    /// Where they are counted.
    pub tally: Arc<Tally>,
    /// Stops that were not in good order.
    pub bad_stops: Mutex<Vec<String>>,
    /// One fault of the broker at a time.
    broker: tokio::sync::Mutex<()>,
    /// One fault of the database at a time.
    postgres: tokio::sync::Mutex<()>,
}

impl Faults {
    /// Nothing has been done yet.
    pub fn new(site: Arc<Site>, chronicle: Arc<Chronicle>, tally: Arc<Tally>) -> Self {
        Self {
            site,
            chronicle,
            tally,
            bad_stops: Mutex::default(),
            broker: tokio::sync::Mutex::default(),
            postgres: tokio::sync::Mutex::default(),
        }
    }

    /// Works the plan off; returns when the last fault is over and everything was started again. A
    /// fault that has to wait for an earlier one is left out if that takes until the load ends.
    ///
    /// # Errors
    /// Of the servers that are not under test: then the run says nothing.
    pub async fn run(self: Arc<Self>, plan: Vec<Planned>, until: Instant) -> Result<()> {
        let began = self.chronicle.began();
        let mut under_way = JoinSet::new();
        for Planned { at_ms, fault } in plan {
            tokio::time::sleep_until(began + Duration::from_millis(at_ms)).await;
            let faults = self.clone();
            under_way.spawn(async move {
                let done = faults.strike(fault, until).await;
                done.with_context(|| format!("while doing this: {fault}"))
            });
        }
        while let Some(done) = under_way.join_next().await {
            done??;
        }
        Ok(())
    }

    async fn strike(&self, fault: Fault, until: Instant) -> Result<()> {
        match fault {
            Fault::Kill { node, down_ms } => self.end_node(fault, node, down_ms, false).await,
            Fault::Terminate { node, down_ms } => self.end_node(fault, node, down_ms, true).await,
            Fault::PostgresRestart { down_ms } => {
                let Some(services) = &self.site.services else { return Ok(()) };
                let Ok(_turn) = timeout_at(until, self.postgres.lock()).await else { return self.skip(fault) };
                self.chronicle.note(&fault.to_string());
                self.tally.postgres_restarts.up();
                services.postgres_restart(Duration::from_millis(down_ms)).await?;
                self.chronicle.note("Postgres is back");
                Ok(())
            }
            Fault::RabbitRestart | Fault::RabbitKill { .. } | Fault::RabbitWipe => {
                self.strike_broker(fault, until).await
            }
        }
    }

    async fn strike_broker(&self, fault: Fault, until: Instant) -> Result<()> {
        let Some(services) = &self.site.services else { return Ok(()) };
        let Ok(_turn) = timeout_at(until, self.broker.lock()).await else { return self.skip(fault) };
        self.chronicle.note(&fault.to_string());
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
        self.chronicle.note("RabbitMQ is back");
        Ok(())
    }

    /// Ends a node, or the next one if another fault has it, and starts it again.
    async fn end_node(&self, fault: Fault, wanted: usize, down_ms: u64, politely: bool) -> Result<()> {
        let nodes = &self.site.nodes;
        let free = (0..nodes.len()).map(|n| &nodes[(wanted + n) % nodes.len()]);
        let Some((node, mut slot)) = free.into_iter().find_map(|node| Some((node, node.take()?))) else {
            return self.skip(fault);
        };
        let what = if politely { "SIGTERM" } else { "kill -9" };
        self.chronicle.note(&format!("{what} of {}, away for {down_ms} ms", node.name));
        if politely {
            match node.terminate(&mut slot).await? {
                Ok(took) => {
                    self.tally.graceful_stops.up();
                    self.chronicle.note(&format!("{} ended in good order after {} ms", node.name, took.as_millis()));
                }
                Err(problem) => {
                    self.chronicle.note(&format!("{} did not end in good order", node.name));
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
        self.chronicle.note(&format!("left out, as an earlier fault is not over: {fault}"));
        Ok(())
    }
}
