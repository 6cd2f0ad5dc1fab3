//! One node: the real `bursar serve` in its own process, which is started, killed and watched.

use super::process::{self, Child};
use super::run_log::RunLog;
use anyhow::{Context, Result, bail};
use bursar::serve::CLOCK_SKEW_VARIABLE;
use reqwest::StatusCode;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

/// How long an orderly stop may take: what the product promises.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How often a node is checked for having ended by itself.
const WATCH_EVERY: Duration = Duration::from_millis(100);
/// Wait before a node that ended by itself is started again.
const RESTART_WAIT: Duration = Duration::from_millis(500);
/// Logged by a node when it serves.
const LISTENS: &str = "bursar is listening";
/// How much of a log is shown with a failure, in bytes.
const TAIL_LEN_MAX: u64 = 2_000;
/// Ports to choose from. They lie below the kernel's ephemeral ports: an outgoing connection to a node that is down
/// must not be given the node's own port.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// How a node is started, each time.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The `bursar` program.
    pub program: PathBuf,
    /// The whole environment, apart from `PATH`.
    pub environment: BTreeMap<String, String>,
    /// Its working folder, which also has its log.
    pub folder: PathBuf,
}

impl Launch {
    /// Builds a command of the program in the node's environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env_clear().envs(&self.environment).current_dir(&self.folder);
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }
}

/// The end of a node that nobody ended.
#[derive(Debug, Clone)]
pub struct UnexpectedExit {
    /// Which node.
    pub node: String,
    /// When it was started.
    pub started: Instant,
    /// When its end was noticed.
    pub ended: Instant,
    /// Whether it was serving.
    pub had_served: bool,
    /// Its exit status and the end of its log.
    pub how: String,
}

/// A node.
pub struct Node {
    /// Its name.
    pub name: String,
    /// `http://127.0.0.1:…`, the same for as long as the run lasts.
    pub base: String,
    launch: Launch,
    run_log: Arc<RunLog>,
    slot: Mutex<Slot>,
}

/// The process, and the unexpected ends of earlier ones.
#[derive(Default)]
pub struct Slot {
    running: Option<Running>,
    unexpected_exits: Vec<UnexpectedExit>,
}

struct Running {
    child: Child,
    started: Instant,
    log_from: u64,
}

impl Node {
    /// Creates a node that is not started yet, on its own port.
    pub fn new(name: String, mut launch: Launch, run_log: Arc<RunLog>) -> Result<Self> {
        let address = format!("127.0.0.1:{}", free_port()?);
        launch.environment.insert("BURSAR_LISTEN".to_owned(), address.clone());
        let base = format!("http://{address}");
        Ok(Self { name, base, launch, run_log, slot: Mutex::new(Slot::default()) })
    }

    /// How it is started.
    pub fn launch(&self) -> &Launch {
        &self.launch
    }

    /// Where its log is.
    pub fn log(&self) -> PathBuf {
        self.launch.folder.join(format!("{}.log", self.name))
    }

    /// Whether it serves: it is ready or, if its clock is skewed, not ready for that reason alone.
    pub async fn is_up(&self, client: &reqwest::Client) -> bool {
        let Ok(answer) = client.get(format!("{}/health/ready", self.base)).send().await else { return false };
        if !self.launch.environment.contains_key(CLOCK_SKEW_VARIABLE) {
            return answer.status().is_success();
        }
        let is_refused = answer.status() == StatusCode::SERVICE_UNAVAILABLE;
        let health: Value = answer.json().await.unwrap_or_default();
        let is_in = |name: &str, state: &str| {
            let found = health["dependencies"].as_array().into_iter().flatten().find(|found| found["name"] == name);
            found.is_some_and(|found| found["state"] == state)
        };
        is_refused && is_in("database", "up") && is_in("clock", "off")
    }

    /// Locks the node for a fault; `None` if another fault holds it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, Slot>> {
        self.slot.try_lock().ok()
    }

    /// Locks the node, after waiting for a fault to end.
    pub async fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().await
    }

    /// Starts the process unless it runs.
    pub fn start(&self, slot: &mut Slot) -> Result<()> {
        if slot.running.is_some() {
            return Ok(());
        }
        let path = self.log();
        let log = File::options().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("{} cannot be opened", path.display()))?;
        let log_from = log.metadata().map_or(0, |metadata| metadata.len());
        let mut command = self.launch.command(&["serve"]);
        command.stdout(log.try_clone()?).stderr(log);
        let child = Child::spawn(command).with_context(|| format!("{} cannot be started", self.name))?;
        slot.running = Some(Running { child, started: Instant::now(), log_from });
        Ok(())
    }

    /// `kill -9`; returns once the process is gone.
    pub async fn kill(&self, slot: &mut Slot) -> Result<()> {
        if let Some(mut running) = slot.running.take() {
            running.child.kill().await?;
        }
        Ok(())
    }

    /// Sends SIGTERM and returns how long the process took to exit. The inner error says that it failed, or took longer
    /// than the limit.
    pub async fn terminate(&self, slot: &mut Slot) -> Result<Result<Duration, String>> {
        let Some(mut running) = slot.running.take() else { return Ok(Ok(Duration::ZERO)) };
        let asked = Instant::now();
        process::signal("TERM", running.child.id()).await?;
        match tokio::time::timeout(STOP_LIMIT, running.child.wait()).await {
            Ok(status) => {
                let status = status?;
                if status.success() {
                    return Ok(Ok(asked.elapsed()));
                }
                let tail = self.tail(running.log_from);
                Ok(Err(format!("{} ended with {status} after SIGTERM; its log ends with:\n{tail}", self.name)))
            }
            Err(_) => {
                running.child.kill().await?;
                let tail = self.tail(running.log_from);
                let limit_s = STOP_LIMIT.as_secs();
                Ok(Err(format!("{} was not gone {limit_s} s after SIGTERM; its log ends with:\n{tail}", self.name)))
            }
        }
    }

    /// Acts as the supervisor while it is polled: a node that ends by itself is logged and started again.
    pub async fn watch(&self) -> Result<()> {
        loop {
            tokio::time::sleep(WATCH_EVERY).await;
            let mut slot = self.slot.lock().await;
            let Some(running) = &mut slot.running else { continue };
            let Some(status) = running.child.ended().await? else { continue };
            let ended = self.unexpected_exit(running, status);
            self.run_log.note(&format!("{} ended by itself ({status}) and is started again", self.name));
            slot.unexpected_exits.push(ended);
            slot.running = None;
            tokio::time::sleep(RESTART_WAIT).await;
            self.start(&mut slot)?;
        }
    }

    /// Its unexpected ends.
    pub async fn unexpected_exits(&self) -> Vec<UnexpectedExit> {
        self.slot.lock().await.unexpected_exits.clone()
    }

    fn unexpected_exit(&self, running: &Running, status: ExitStatus) -> UnexpectedExit {
        let log = read_from(&self.log(), running.log_from);
        UnexpectedExit {
            node: self.name.clone(),
            started: running.started,
            ended: Instant::now(),
            had_served: log.contains(LISTENS),
            how: format!("{status}; its log ends with:\n{}", self.tail(running.log_from)),
        }
    }

    fn tail(&self, from: u64) -> String {
        let path = self.log();
        let len = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        read_from(&path, from.max(len.saturating_sub(TAIL_LEN_MAX)))
    }
}

/// A log from a position on; empty if it cannot be read, since it only adds detail.
fn read_from(path: &Path, from: u64) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(from))?;
        file.read_to_end(&mut bytes)
    });
    read.map(|_| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn free_port() -> Result<u16> {
    const TRIES: usize = 200;
    for _ in 0..TRIES {
        let port = rand::random_range(PORTS);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port from {} to {} after {TRIES} tries", PORTS.start, PORTS.end)
}
