//! The servers of a run: the nodes, and on the production backend Postgres and RabbitMQ.

use super::node::{Launch, Node, UnexpectedExit};
use super::run_log::RunLog;
use super::services::Services;
use crate::Backend;
use crate::app::{ADMIN_TOKEN, SECRET_KEY, WEBHOOK_SECRETS};
use anyhow::{Context, Result, bail};
use bursar::serve::CLOCK_SKEW_VARIABLE;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;

/// How long nodes may take until they are ready.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How often their health is read.
const READY_POLL: Duration = Duration::from_millis(100);
/// How long `bursar verify` may take.
const VERIFY_LIMIT: Duration = Duration::from_secs(180);
/// How much of its output is shown, in characters.
const OUTPUT_LEN_MAX: usize = 20_000;
/// The program under test, in the folder of this program.
const PROGRAM: &str = "bursar";

/// Settings of every node: shorter waits than in production, so that a run of a minute has retries, dead letters and
/// rescues.
const SETTINGS: &[(&str, &str)] = &[
    ("BURSAR_JOBS__BACKOFF_BASE_MS", "200"),
    ("BURSAR_JOBS__BACKOFF_FACTOR", "2"),
    ("BURSAR_JOBS__BACKOFF_MAX_MS", "2000"),
    ("BURSAR_JOBS__LEASE_MS", "3000"),
    ("BURSAR_JOBS__SWEEP_GRACE_MS", "1000"),
    ("BURSAR_AMQP__TIERS_MS", "[200,1000,5000]"),
    // All customers sign up from one address.
    ("BURSAR_ONBOARDING__PER_IP_PER_MINUTE", "0"),
    ("BURSAR_LIMITS__REQUESTS_PER_MINUTE", "1000000"),
];

/// The servers of a run.
pub struct Cluster {
    /// The nodes, which share one database and one broker.
    pub nodes: Vec<Arc<Node>>,
    /// Postgres and RabbitMQ; `None` on the embedded backend.
    pub services: Option<Arc<Services>>,
    folder: Mutex<TempDir>,
}

impl Cluster {
    /// Starts the services and all nodes on an empty database: one node for each of `skews_ms`, the skew of its
    /// clock. `more` is added to the nodes' environment.
    pub async fn start(
        backend: Backend,
        skews_ms: &[i64],
        more: &[(String, String)],
        run_log: &Arc<RunLog>,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("bursar-chaos-logs-").tempdir()?;
        let services = match backend {
            Backend::Embedded => None,
            Backend::Production => Some(Arc::new(Services::start().await?)),
        };
        let mut environment = environment(folder.path(), services.as_deref());
        environment.extend(more.iter().cloned());
        let launch = Launch { program: program()?, environment, folder: folder.path().to_path_buf() };
        let node = |(n, skew_ms): (usize, &i64)| {
            let mut launch = launch.clone();
            if *skew_ms != 0 {
                launch.environment.insert(CLOCK_SKEW_VARIABLE.to_owned(), skew_ms.to_string());
            }
            Node::new(format!("node-{n}"), launch, run_log.clone()).map(Arc::new)
        };
        let nodes: Result<Vec<_>> = skews_ms.iter().enumerate().map(node).collect();
        let cluster = Self { nodes: nodes?, services, folder: Mutex::new(folder) };
        for node in &cluster.nodes {
            node.start(&mut *node.lock().await)?;
        }
        Ok(cluster)
    }

    /// Waits until every node is up. A node with a skewed clock must report that it is not ready.
    pub async fn wait_until_ready(&self, client: &reqwest::Client) -> Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        for node in &self.nodes {
            while !node.is_up(client).await {
                if Instant::now() >= deadline {
                    bail!("{} is not up after {} s; see {}", node.name, READY_LIMIT.as_secs(), node.log().display());
                }
                tokio::time::sleep(READY_POLL).await;
            }
        }
        Ok(())
    }

    /// Runs `bursar verify` on the live database. The inner error describes the violations.
    pub async fn verify(&self) -> Result<Result<(), String>> {
        let launch = self.nodes.first().context("there is a node")?.launch();
        let mut command = launch.command(&["verify", "--json"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let output = match tokio::time::timeout(VERIFY_LIMIT, command.output()).await {
            Ok(output) => output?,
            Err(_) => return Ok(Err(format!("bursar verify takes longer than {} s", VERIFY_LIMIT.as_secs()))),
        };
        if output.status.success() {
            return Ok(Ok(()));
        }
        let text = [output.stdout, output.stderr].concat();
        let text: String = String::from_utf8_lossy(&text).chars().take(OUTPUT_LEN_MAX).collect();
        Ok(Err(format!("bursar verify says ({}):\n{text}", output.status)))
    }

    /// Stops all nodes concurrently, in order; returns what went wrong.
    pub async fn stop(&self) -> Result<Vec<String>> {
        let ends = self.nodes.iter().map(|node| async { node.terminate(&mut *node.lock().await).await });
        let ends: Result<Vec<_>> = join_all(ends).await.into_iter().collect();
        Ok(ends?.into_iter().filter_map(Result::err).collect())
    }

    /// Unexpected ends of nodes. A node that cannot start while the database is down is excused: its supervisor
    /// starts it again.
    pub async fn unexpected_exits(&self) -> Vec<UnexpectedExit> {
        let mut ends = Vec::new();
        for node in &self.nodes {
            ends.extend(node.unexpected_exits().await);
        }
        ends.retain(|end| {
            let was_down = |services: &Arc<Services>| services.postgres_was_down(end.started, end.ended);
            end.had_served || !self.services.as_ref().is_some_and(was_down)
        });
        ends
    }

    /// Keeps logs and data for investigation; returns their folder.
    pub async fn keep(&self) -> PathBuf {
        let path = {
            let mut folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
            folder.disable_cleanup(true);
            folder.path().to_path_buf()
        };
        if let Some(services) = &self.services
            && let Err(error) = services.keep(&path).await
        {
            // A partial copy is still useful.
            let _ = std::fs::write(path.join("not-kept.txt"), format!("{error:#}\n"));
        }
        path
    }
}

fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("the path of this program is not known")?;
    let program = own.with_file_name(PROGRAM);
    anyhow::ensure!(program.is_file(), "{} is not there; build the whole workspace first", program.display());
    Ok(program)
}

fn environment(folder: &Path, services: Option<&Services>) -> BTreeMap<String, String> {
    let mut environment: BTreeMap<String, String> =
        SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut set = |name: &str, value: &str| environment.insert(name.to_owned(), value.to_owned());
    set("BURSAR_DATA_DIR", &folder.join("data").display().to_string());
    set("BURSAR_ADMIN_TOKEN", ADMIN_TOKEN);
    set("BURSAR_SECRET_KEY", SECRET_KEY);
    set("STRIPE_WEBHOOK_SECRET", &WEBHOOK_SECRETS.join(","));
    // The run makes its own events.
    set("BURSAR_STRIPE__SANDBOX", "false");
    if let Some(services) = services {
        set("DATABASE_URL", &services.database_url);
        set("AMQP_URL", &services.amqp_url);
    }
    environment
}
