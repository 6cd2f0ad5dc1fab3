//! The server of a run without a URL: `bursar serve` with nothing configured but secrets, on a temporary folder, with
//! the Stripe sandbox.

use super::target::Target;
use crate::chaos::process::{Child, signal};
use anyhow::{Context, Result, bail};
use bursar_sandbox::CONTROL_TOKEN_FILE;
use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::Instant;

/// How long the server may take to start.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How long an orderly stop may take: what the product promises.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How often its output is read.
const POLL: Duration = Duration::from_millis(50);
/// How much of the log is shown when it does not start, in characters.
const LOG_SHOWN_MAX: usize = 4_000;
const PROGRAM: &str = "bursar";

const ADMIN_TOKEN: &str = "bat_e2e_7c1e94b0d25f83a6e90b4d17f2c8a5";
const STRIPE_SECRET: &str = "whsec_9uKd3XwQe7Rb5TnYc2HsLm4Z";
const GITHUB_SECRET: &str = "ghwh_e2e_5f0c2d9b71e84a36";

/// A server that is killed when this is dropped.
pub struct LocalServer {
    child: Child,
    program: PathBuf,
    folder: TempDir,
    url: String,
    sandbox_url: String,
}

impl LocalServer {
    /// Starts a server and waits until it serves.
    ///
    /// # Errors
    /// If it does not start; the error has the end of its log.
    pub async fn start() -> Result<Self> {
        let program = program()?;
        let folder = tempfile::Builder::new().prefix("bursar-e2e-").tempdir()?;
        let mut command = Command::new(&program);
        command.args(["serve", "--demo"]).current_dir(folder.path()).env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
            .env("BURSAR_DATA_DIR", folder.path().join("data"))
            .env("BURSAR_LISTEN", "127.0.0.1:0")
            .env("BURSAR_ADMIN_TOKEN", ADMIN_TOKEN)
            .env("STRIPE_WEBHOOK_SECRET", STRIPE_SECRET)
            .env("GITHUB_WEBHOOK_SECRET", GITHUB_SECRET)
            // All customers sign up from one address.
            .env("BURSAR_ONBOARDING__PER_IP_PER_MINUTE", "0")
            .env("BURSAR_CREDITS__BONUS_ONCE_PER_CARD", "false")
            .stdout(File::create(folder.path().join("stdout.txt"))?)
            .stderr(File::create(folder.path().join("log.txt"))?);
        let child = Child::spawn(command).context("the server cannot be started")?;
        let mut server = Self { child, program, folder, url: String::new(), sandbox_url: String::new() };
        server.wait_until_ready().await?;
        Ok(server)
    }

    /// Reads its address and the sandbox's from its output.
    async fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let output = std::fs::read_to_string(self.folder.path().join("stdout.txt")).unwrap_or_default();
            let url = word_after(&output, "address ");
            if let (Some(url), Some(sandbox_url)) = (url, word_after(&output, "SANDBOX at ")) {
                self.url = url;
                sandbox_url.trim_end_matches(':').clone_into(&mut self.sandbox_url);
                return Ok(());
            }
            let ended = self.child.ended().await?;
            if ended.is_some() || Instant::now() >= deadline {
                let log = std::fs::read_to_string(self.folder.path().join("log.txt")).unwrap_or_default();
                let from = log.char_indices().rev().nth(LOG_SHOWN_MAX).map_or(0, |(at, _)| at);
                bail!("the server does not serve; its log ends so:\n{}", &log[from..]);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The server as a target, with all options.
    pub fn target(&self) -> Target {
        Target {
            admin_token: Some(ADMIN_TOKEN.to_owned()),
            stripe_webhook_secret: Some(STRIPE_SECRET.to_owned()),
            github_secret: Some(GITHUB_SECRET.to_owned()),
            sandbox_url: Some(self.sandbox_url.clone()),
            sandbox_token: std::fs::read_to_string(self.folder.path().join("data/sandbox").join(CONTROL_TOKEN_FILE))
                .ok(),
            ..Target::new(&self.url)
        }
    }

    /// Environment variables with which a `bursar` command finds the program, this server and its data.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("BURSAR", self.program.clone().into_os_string()),
            ("BURSAR_URL", self.url.clone().into()),
            ("BURSAR_DATA_DIR", self.folder.path().join("data").into_os_string()),
            ("BURSAR_ADMIN_TOKEN", ADMIN_TOKEN.into()),
            ("STRIPE_WEBHOOK_SECRET", STRIPE_SECRET.into()),
        ]
    }

    /// Keeps log and data for investigation; returns their folder.
    pub fn keep(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_path_buf()
    }

    /// Stops it with SIGTERM.
    ///
    /// # Errors
    /// If it does not stop in time, or fails.
    pub async fn stop(mut self) -> Result<()> {
        signal("TERM", self.child.id()).await?;
        match tokio::time::timeout(STOP_LIMIT, self.child.wait()).await {
            Ok(status) => {
                let status = status?;
                anyhow::ensure!(status.success(), "the server ended with {status}");
                Ok(())
            }
            Err(_) => bail!("the server has not stopped within {} s", STOP_LIMIT.as_secs()),
        }
    }
}

/// The program to start: in the folder of this program, or above it if this is a test.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("the path of this program is not known")?;
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join(PROGRAM)).find(|path| path.is_file());
    found.with_context(|| format!("{PROGRAM} is not beside {}; build the whole workspace first", own.display()))
}

/// The first word after a text in the same line.
fn word_after(text: &str, before: &str) -> Option<String> {
    let (_, rest) = text.split_once(before)?;
    // An incomplete line may lack the end of the word.
    let (line, _) = rest.split_once('\n')?;
    line.split_whitespace().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_once_its_line_is_complete() {
        let output = "\n  address      http://127.0.0.1:4711\n  Stripe       SANDBOX at http://127.0.0.1:1: no real";
        assert_eq!(word_after(output, "address ").as_deref(), Some("http://127.0.0.1:4711"));
        assert_eq!(word_after(output, "SANDBOX at "), None);
        assert_eq!(word_after(&format!("{output}\n"), "SANDBOX at ").as_deref(), Some("http://127.0.0.1:1:"));
    }
}
