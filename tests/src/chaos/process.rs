//! Child processes that end when this process does, even if it is killed.

use anyhow::{Context, Result};
use std::io;
use std::process::{ExitStatus, Stdio};
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, Command};

/// Kills a process group unless a line arrives first: the end of the pipe means that its other holder has died.
const GUARD: &str = r#"read -r _ || kill -s KILL -- "-$1" 2>/dev/null"#;

/// A process that leads a group; the group gets SIGKILL when this is dropped or its owner dies.
pub struct Child {
    process: tokio::process::Child,
    guard: tokio::process::Child,
    pipe: Option<ChildStdin>,
    id: u32,
}

impl Child {
    /// Starts a command without standard input.
    pub fn spawn(mut command: Command) -> Result<Self> {
        let process = command.stdin(Stdio::null()).process_group(0).kill_on_drop(true).spawn()?;
        let id = process.id().context("a process that was just started has a number")?;
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "guard", &id.to_string()]).current_dir("/").process_group(0).stdin(Stdio::piped());
        let mut guard =
            guard.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("a guard cannot be started")?;
        let pipe = guard.stdin.take();
        Ok(Self { process, guard, pipe, id })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The exit status, or `None` while it runs.
    pub async fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.process.try_wait()?;
        if status.is_some() {
            self.dismiss().await;
        }
        Ok(status)
    }

    /// Waits for its end.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.process.wait().await?;
        self.dismiss().await;
        Ok(status)
    }

    /// Sends SIGKILL and waits for its end.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.process.kill().await?;
        self.dismiss().await;
        Ok(())
    }

    /// Ends the guard: the group has ended, and its number may soon be reused.
    async fn dismiss(&mut self) {
        if let Some(mut pipe) = self.pipe.take() {
            // A guard that has ended cannot be told.
            let _ = pipe.write_all(b"well\n").await;
        }
        let _ = self.guard.wait().await;
    }
}

/// Sends a signal. A process that has already ended is not an error; the caller sees its end by waiting.
pub async fn signal(name: &str, id: u32) -> Result<()> {
    let script = r#"kill -s "$1" -- "$2" 2>/dev/null"#;
    let mut kill = Command::new("sh");
    kill.args(["-c", script, "signal", name, &id.to_string()]).stdin(Stdio::null());
    kill.status().await.with_context(|| format!("SIG{name} cannot be sent"))?;
    Ok(())
}
