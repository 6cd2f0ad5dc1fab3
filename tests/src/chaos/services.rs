//! The private Postgres and RabbitMQ of a run, and the times when Postgres was down.

use anyhow::{Context, Result};
use bursar_services::{Postgres, RabbitMq, ScratchDir};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::process::Command;
use tokio::time::Instant;

/// The database of a run.
const DATABASE: &str = "chaos";
/// How long a dump of the database may take.
const DUMP_LIMIT: Duration = Duration::from_secs(60);

/// Both servers. They are stopped and their files deleted when this is dropped.
pub struct Services {
    postgres: Arc<Mutex<Postgres>>,
    rabbitmq: Arc<Mutex<RabbitMq>>,
    /// URL of the database.
    pub database_url: String,
    /// URL of the broker.
    pub amqp_url: String,
    outages: Mutex<Vec<Outage>>,
    /// Dropped last, so that the files go after the servers.
    _scratch: ScratchDir,
}

/// A time when Postgres was down.
struct Outage {
    began: Instant,
    /// `None` while it is down.
    ended: Option<Instant>,
}

impl Services {
    /// Starts both with an empty database.
    pub async fn start() -> Result<Self> {
        tokio::task::spawn_blocking(|| {
            let scratch = ScratchDir::new("chaos")?;
            let (postgres, rabbitmq) = bursar_services::start_both(scratch.path())?;
            let database_url = postgres.create_database(DATABASE)?;
            Ok(Self {
                database_url,
                amqp_url: rabbitmq.url(),
                postgres: Arc::new(Mutex::new(postgres)),
                rabbitmq: Arc::new(Mutex::new(rabbitmq)),
                outages: Mutex::new(Vec::new()),
                _scratch: scratch,
            })
        })
        .await?
    }

    /// Crashes Postgres and starts it again after a while.
    pub async fn postgres_restart(&self, down: Duration) -> Result<()> {
        self.outages().push(Outage { began: Instant::now(), ended: None });
        run_blocking(&self.postgres, Postgres::kill).await?;
        tokio::time::sleep(down).await;
        run_blocking(&self.postgres, Postgres::start_again).await?;
        if let Some(outage) = self.outages().last_mut() {
            outage.ended = Some(Instant::now());
        }
        Ok(())
    }

    /// Stops RabbitMQ in order and starts it again.
    pub async fn rabbitmq_restart(&self) -> Result<()> {
        run_blocking(&self.rabbitmq, RabbitMq::restart).await
    }

    /// Kills RabbitMQ and starts it again after a while.
    pub async fn rabbitmq_kill(&self, down: Duration) -> Result<()> {
        run_blocking(&self.rabbitmq, RabbitMq::kill).await?;
        tokio::time::sleep(down).await;
        run_blocking(&self.rabbitmq, RabbitMq::start_again).await
    }

    /// Replaces RabbitMQ by an empty one.
    pub async fn rabbitmq_wipe(&self) -> Result<()> {
        run_blocking(&self.rabbitmq, RabbitMq::wipe).await
    }

    /// Whether Postgres was down at some time between these two.
    pub fn postgres_was_down(&self, from: Instant, to: Instant) -> bool {
        self.outages().iter().any(|outage| outage.began <= to && outage.ended.is_none_or(|ended| ended >= from))
    }

    /// Copies the servers' logs and a dump of the database into a folder, to investigate a failed run.
    pub async fn keep(&self, folder: &Path) -> Result<()> {
        let postgres = self.postgres.lock().unwrap_or_else(PoisonError::into_inner).log();
        let rabbitmq = self.rabbitmq.lock().unwrap_or_else(PoisonError::into_inner).log();
        std::fs::copy(postgres, folder.join("postgres.log")).context("the log of Postgres cannot be kept")?;
        std::fs::copy(rabbitmq, folder.join("rabbitmq.log")).context("the log of RabbitMQ cannot be kept")?;
        let mut dump = Command::new("pg_dump");
        dump.arg("--dbname").arg(&self.database_url).arg("--file").arg(folder.join("database.sql")).kill_on_drop(true);
        let status = tokio::time::timeout(DUMP_LIMIT, dump.status()).await.context("pg_dump takes too long")??;
        anyhow::ensure!(status.success(), "pg_dump failed ({status})");
        Ok(())
    }

    fn outages(&self) -> MutexGuard<'_, Vec<Outage>> {
        self.outages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a blocking operation on a server.
async fn run_blocking<S: Send + 'static>(
    server: &Arc<Mutex<S>>,
    operation: impl FnOnce(&mut S) -> Result<(), bursar_services::Error> + Send + 'static,
) -> Result<()> {
    let server = server.clone();
    let done =
        tokio::task::spawn_blocking(move || operation(&mut server.lock().unwrap_or_else(PoisonError::into_inner)));
    Ok(done.await??)
}
