//! A server process in its own process group.

use crate::error::tail;
use crate::guard::Guard;
use crate::{Error, find};
use std::fs::File;
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// How often a condition is checked.
const POLL: Duration = Duration::from_millis(20);
/// How long a process may take to end when it is dropped.
const DROP_LIMIT: Duration = Duration::from_secs(10);

/// A running child that leads a process group.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    /// The signal that ends it when it is dropped.
    last_signal: &'static str,
    /// Held because dropping it dismisses the guard.
    _guard: Guard,
}

impl Process {
    /// Starts a [gated](find::gated) command, with its output added to `log`. The child's
    /// group gets `last_signal` when the value is dropped or this process dies.
    pub(crate) fn start(
        name: &'static str,
        mut command: Command,
        log: &Path,
        last_signal: &'static str,
    ) -> Result<Process, Error> {
        let cannot = || format!("cannot start {name}");
        let output = File::options().create(true).append(true).open(log).map_err(Error::io(cannot()))?;
        let errors = output.try_clone().map_err(Error::io(cannot()))?;
        let mut child = command.stdout(output).stderr(errors).process_group(0).spawn().map_err(Error::io(cannot()))?;
        let gate = child.stdin.take();
        // The server starts only once its guard runs. After an earlier failure, the gate closes and nothing starts.
        let guard = Guard::group(last_signal, child.id())?;
        gate.expect("a gated command has a pipe for its input").write_all(b"go\n").map_err(Error::io(cannot()))?;
        Ok(Process { name, child, log: log.to_owned(), last_signal, _guard: guard })
    }

    /// The process id, which is also its group's.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, or `None` while it runs.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.child.try_wait().map_err(Error::io(format!("cannot look after {}", self.name)))
    }

    /// Waits until `ready` returns true; fails as soon as the process has ended.
    pub(crate) fn wait_ready(&mut self, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<(), Error> {
        let started = Instant::now();
        loop {
            // Checked first, so that an answer on the port cannot come from another program that took the port before
            // the server gave up.
            let answers = ready();
            if let Some(status) = self.ended()? {
                return Err(Error::Failed {
                    what: format!("{} ended at its start ({})", self.name, describe(status)),
                    output: tail(&self.log),
                });
            }
            if answers {
                return Ok(());
            }
            if started.elapsed() >= limit {
                return Err(Error::TimedOut {
                    what: format!("{} is not ready", self.name),
                    waited: limit,
                    output: tail(&self.log),
                });
            }
            std::thread::sleep(POLL);
        }
    }

    /// Sends `signal` to the process and waits until it has ended.
    pub(crate) fn end(mut self, signal: &str, limit: Duration) -> Result<(), Error> {
        self.signal_and_wait(signal, limit)
    }

    /// Kills the whole group with `SIGKILL` and waits until the process has ended.
    pub(crate) fn kill(mut self) -> Result<(), Error> {
        self.kill_and_wait()
    }

    fn signal_and_wait(&mut self, signal: &str, limit: Duration) -> Result<(), Error> {
        let started = Instant::now();
        if self.ended()?.is_none() {
            send(signal, &self.pid().to_string())?;
        }
        while self.ended()?.is_none() {
            if started.elapsed() >= limit {
                return self.kill_and_wait();
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    fn kill_and_wait(&mut self) -> Result<(), Error> {
        if self.ended()?.is_none() {
            send("KILL", &format!("-{}", self.pid()))?;
        }
        self.child.wait().map_err(Error::io(format!("cannot wait for {}", self.name)))?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let end = match self.last_signal {
            "KILL" => self.kill_and_wait(),
            signal => self.signal_and_wait(signal, DROP_LIMIT),
        };
        // A drop cannot report errors; the guard is still there.
        let _ = end;
    }
}

/// Sends a signal to a process (`"12"`) or a group (`"-12"`) with the shell's `kill`, since a small image may lack
/// the program. The result is ignored, because a target that has just ended is what the caller wants.
fn send(signal: &str, target: &str) -> Result<(), Error> {
    let script = r#"kill -s "$1" -- "$2" 2>/dev/null"#;
    find::hermetic(Path::new("sh"))
        .args(["-c", script, "signal", signal, target])
        .status()
        .map_err(Error::io(format!("cannot send SIG{signal}")))?;
    Ok(())
}

/// An exit status in words.
fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no exit code".to_owned(),
    }
}
