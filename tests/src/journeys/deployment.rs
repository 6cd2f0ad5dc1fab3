//! Where the application of a run runs: as the real `bursar` in its own process, which can be killed, or inside this
//! process, where its clock moves with Stripe's.

use crate::app::{Backend, TestApp, WEBHOOK_SECRETS, config};
use crate::chaos::cluster::Cluster;
use crate::chaos::run_log::RunLog;
use crate::journeys::sold;
use anyhow::{Context, Result};
use bursar_engine::clock::Clock;
use bursar_engine::domain::catalogue::SharedCatalogue;
use bursar_engine::usecase::verify::verify;
use bursar_sandbox::{NewEndpoint, Sandbox};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The API key of the sandbox.
pub const STRIPE_KEY: &str = "sk_test_journeys";
/// Timeout of one try of a call to Stripe: longer than the sandbox needs, shorter than most delayed answers.
const STRIPE_TIMEOUT_MS: u64 = 1_000;
/// How long the outcome of a stored failure is in doubt.
const STRIPE_DOUBT_MS: i64 = 1_000;
/// How long a request waits for Stripe: shorter than some calls, so that some operations end later.
const WAIT_MS: u64 = 1_500;
/// The first wait between attempts of a job.
const BACKOFF_BASE_MS: i64 = 200;
/// The longest wait between attempts of a job.
const BACKOFF_MAX_MS: i64 = 2_000;
/// The allowed age of signatures: the sandbox signs by the machine's clock, whatever its own clock shows.
const TOLERANCE_S: i64 = 100 * 365 * 86_400;
/// How often the clock of an application inside this process advances.
const TICK: Duration = Duration::from_millis(5);

/// Where the application runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// In its own process.
    OwnProcess,
    /// In this process.
    InProcess,
}

/// The running application.
pub enum Deployment {
    /// In a process of its own.
    OwnProcess(Box<Cluster>),
    /// In this process.
    InProcess(Box<InProcess>),
}

/// The application inside this process.
pub struct InProcess {
    app: Mutex<Option<TestApp>>,
    base: String,
    clock: Clock,
    ticker: JoinHandle<()>,
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.ticker.abort();
    }
}

impl Deployment {
    /// Starts the application with this sandbox and this file of a catalogue, and registers its webhook endpoint there.
    ///
    /// # Errors
    /// If a server does not start.
    pub async fn start(
        placement: Placement,
        backend: Backend,
        stripe: &Sandbox,
        catalogue: &Path,
        log: &Arc<RunLog>,
    ) -> Result<Self> {
        let deployment = match placement {
            Placement::OwnProcess => {
                let cluster = Cluster::start(backend, &[0], &environment(stripe, catalogue), log).await?;
                cluster.wait_until_ready(&reqwest::Client::new()).await?;
                Self::OwnProcess(Box::new(cluster))
            }
            Placement::InProcess => Self::InProcess(Box::new(InProcess::start(backend, stripe).await?)),
        };
        let endpoint = NewEndpoint::new(format!("{}/webhooks/stripe", deployment.base()), WEBHOOK_SECRETS[0]);
        stripe.add_endpoint(&endpoint)?;
        Ok(deployment)
    }

    /// `http://127.0.0.1:…`, the same for as long as the run lasts.
    pub fn base(&self) -> &str {
        match self {
            Self::OwnProcess(cluster) => &cluster.nodes[0].base,
            Self::InProcess(local) => &local.base,
        }
    }

    /// The application's clock.
    pub fn clock(&self) -> Clock {
        match self {
            Self::OwnProcess(_) => Clock::System,
            Self::InProcess(local) => local.clock.clone(),
        }
    }

    /// The application's current time.
    pub fn now_ms(&self) -> i64 {
        self.clock().now_ms()
    }

    /// Whether the application's clock moves with Stripe's.
    pub fn moves_with_stripe(&self) -> bool {
        matches!(self, Self::InProcess(_))
    }

    /// Advances Stripe's clock, and the application's if it moves with it. Returns how many things became due at
    /// Stripe.
    ///
    /// # Errors
    /// If the sandbox refuses.
    pub fn advance(&self, stripe: &Sandbox, by: Duration) -> Result<usize> {
        if let Self::InProcess(local) = self {
            local.clock.advance_ms(i64::try_from(by.as_millis())?);
        }
        Ok(stripe.advance(by)?)
    }

    /// Ends the application and starts it again: with `kill -9` in its own process, in order inside this process.
    ///
    /// # Errors
    /// If it cannot be ended or started.
    pub async fn crash(&self, down: Duration) -> Result<()> {
        match self {
            Self::OwnProcess(cluster) => {
                let node = &cluster.nodes[0];
                let mut slot = node.lock().await;
                node.kill(&mut slot).await?;
                tokio::time::sleep(down).await;
                node.start(&mut slot)
            }
            Self::InProcess(local) => {
                let mut slot = local.app.lock().await;
                let app = slot.take().context("the application runs")?;
                let (config, folder) = app.halt().await;
                tokio::time::sleep(down).await;
                *slot = Some(TestApp::start_at(config, folder, local.clock.clone()).await);
                Ok(())
            }
        }
    }

    /// Restarts the application whenever it ends by itself, while this is polled.
    ///
    /// # Errors
    /// If it cannot be started.
    pub async fn watch(&self) -> Result<()> {
        match self {
            Self::OwnProcess(cluster) => cluster.nodes[0].watch().await,
            Self::InProcess(_) => std::future::pending().await,
        }
    }

    /// Runs the checks of `bursar verify`; returns the violations.
    ///
    /// # Errors
    /// If the checks cannot be run.
    pub async fn verify(&self) -> Result<Vec<String>> {
        match self {
            Self::OwnProcess(cluster) => Ok(cluster.verify().await?.err().into_iter().collect()),
            Self::InProcess(local) => {
                let slot = local.app.lock().await;
                let app = slot.as_ref().context("the application runs")?;
                let report = verify(&app.app.db, |_| {}).await?;
                Ok(report
                    .checks
                    .iter()
                    .flat_map(|check| &check.violations)
                    .map(|row| format!("verify: {row}"))
                    .collect())
            }
        }
    }

    /// Stops it; returns what went wrong, and every time it ended by itself.
    ///
    /// # Errors
    /// If it cannot be stopped.
    pub async fn close(&self) -> Result<Vec<String>> {
        match self {
            Self::OwnProcess(cluster) => {
                let mut problems = cluster.stop().await?;
                let ends = cluster.unexpected_exits().await;
                problems.extend(ends.iter().map(|end| format!("{} ended by itself: {}", end.node, end.how)));
                Ok(problems)
            }
            Self::InProcess(local) => {
                if let Some(app) = local.app.lock().await.take() {
                    app.stop().await;
                }
                Ok(Vec::new())
            }
        }
    }

    /// Keeps logs and data of another process for investigation.
    pub async fn keep(&self) -> Option<PathBuf> {
        match self {
            Self::OwnProcess(cluster) => Some(cluster.keep().await),
            Self::InProcess(_) => None,
        }
    }
}

impl InProcess {
    async fn start(backend: Backend, stripe: &Sandbox) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut config = config(backend, &folder).await;
        config.catalogue = SharedCatalogue::new(Arc::new(sold::catalogue()?));
        config.stripe.secret_key = STRIPE_KEY.to_owned();
        config.stripe.api_base = stripe.url().to_owned();
        config.stripe.timeout_ms = STRIPE_TIMEOUT_MS;
        config.stripe.total_timeout_ms = STRIPE_TIMEOUT_MS * 2;
        config.stripe.tries_max = 2;
        config.stripe.doubt_ms = STRIPE_DOUBT_MS;
        config.stripe.wait_ms = WAIT_MS;
        config.stripe.tolerance_s = TOLERANCE_S;
        config.stripe.reconcile_grace_s = 0;
        config.stripe.reconcile_hour = -1;
        config.jobs.backoff_base_ms = BACKOFF_BASE_MS;
        config.jobs.backoff_factor = 2;
        config.jobs.backoff_max_ms = BACKOFF_MAX_MS;
        let clock = Clock::manual();
        // The port must stay the same after a restart.
        config.listen = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let app = TestApp::start_at(config, Some(folder), clock.clone()).await;
        let base = app.base.clone();
        let ticker = tokio::spawn(tick(clock.clone()));
        Ok(Self { app: Mutex::new(Some(app)), base, clock, ticker })
    }
}

/// Advances a clock with the machine's.
async fn tick(clock: Clock) {
    let mut last = Instant::now();
    loop {
        tokio::time::sleep(TICK).await;
        let passed_ms = last.elapsed().as_millis();
        last += Duration::from_millis(u64::try_from(passed_ms).unwrap_or(0));
        clock.advance_ms(i64::try_from(passed_ms).unwrap_or(0));
    }
}

fn environment(stripe: &Sandbox, catalogue: &Path) -> Vec<(String, String)> {
    [
        ("STRIPE_SECRET_KEY", STRIPE_KEY.to_owned()),
        ("STRIPE_API_BASE", stripe.url().to_owned()),
        ("BURSAR_CATALOGUE_FILE", catalogue.display().to_string()),
        ("BURSAR_STRIPE__TIMEOUT_MS", STRIPE_TIMEOUT_MS.to_string()),
        ("BURSAR_STRIPE__TOTAL_TIMEOUT_MS", (STRIPE_TIMEOUT_MS * 2).to_string()),
        ("BURSAR_STRIPE__TRIES_MAX", "2".to_owned()),
        ("BURSAR_STRIPE__DOUBT_MS", STRIPE_DOUBT_MS.to_string()),
        ("BURSAR_STRIPE__WAIT_MS", WAIT_MS.to_string()),
        ("BURSAR_STRIPE__RECONCILE_HOUR", "-1".to_owned()),
        ("BURSAR_CREDITS__BONUS_ONCE_PER_CARD", "false".to_owned()),
        ("BURSAR_JOBS__BACKOFF_BASE_MS", BACKOFF_BASE_MS.to_string()),
        ("BURSAR_JOBS__BACKOFF_MAX_MS", BACKOFF_MAX_MS.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
