//! Follows a replay until it ends.

use super::client::{Client, admin_path};
use super::error::Error;
use super::output;
use super::progress::Progress;
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// The exit code after Ctrl-C, as in shells.
pub const INTERRUPTED: u8 = 130;
/// How often the server is polled.
const INTERVAL_MS: u64 = 1_000;
/// How long the jobs of a replay that is done are waited for. They run at once unless their streams are paused or busy.
const JOBS_TIMEOUT_S: u64 = 120;
/// Maximum number of consecutive failures: at one poll a second, long enough for the server to restart.
const FAILURES_MAX: u32 = 60;

/// How watching ended.
#[derive(Debug)]
pub enum Watched {
    /// The replay is done, cancelled or has failed; the server's last answer.
    Ended(Value),
    /// Ctrl-C was pressed; the replay continues on the server.
    Interrupted,
}

/// Follows a replay until it ends and its jobs have run, starting with the server's last answer. Ctrl-C ends the
/// watching, not the replay.
///
/// # Errors
/// See [`Error`]; or the replay was never started.
pub async fn watch(client: &Client, id: &str, answer: Value) -> anyhow::Result<Watched> {
    tokio::select! {
        ended = follow(client, id, answer) => return Ok(Watched::Ended(ended?)),
        () = ctrl_c() => {}
    }
    output::note("\nThe replay continues on the server.");
    for (what, action) in [("Watch it:", "watch"), ("End it:  ", "cancel")] {
        output::note(&format!("  {what} {}", output::hint(&format!("replays {action} {id}"))));
    }
    Ok(Watched::Interrupted)
}

/// Waits for Ctrl-C. If the handler cannot be installed, this waits forever and Ctrl-C ends the process as usual.
pub(super) async fn ctrl_c() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn follow(client: &Client, id: &str, mut answer: Value) -> anyhow::Result<Value> {
    let path = admin_path(&["replays", id])?;
    let steps = |answer: &Value, key: &str| answer["replay"][key].as_u64().unwrap_or(0);
    let progress = Progress::bar("Replaying", steps(&answer, "total"));
    let (mut failures, mut message) = (0, String::new());
    let mut jobs_until = None;
    loop {
        progress.set(steps(&answer, "done"), steps(&answer, "total"));
        match answer["replay"]["state"].as_str().unwrap_or_default() {
            "done" => {
                let until = *jobs_until.get_or_insert_with(|| Instant::now() + Duration::from_secs(JOBS_TIMEOUT_S));
                match answer["outcomes"]["waiting"].as_i64().unwrap_or(0) {
                    1.. if Instant::now() < until => {
                        if failures == 0 {
                            show_message(&progress, &mut message, "the jobs are back in their streams");
                        }
                    }
                    _ => return Ok(answer),
                }
            }
            "cancelled" | "failed" => return Ok(answer),
            "preview" => {
                anyhow::bail!("the replay was not started: {}", output::hint(&format!("replays start {id}")))
            }
            _ if failures > 0 => {}
            "running" => show_message(&progress, &mut message, ""),
            other => show_message(&progress, &mut message, other),
        }
        tokio::time::sleep(Duration::from_millis(INTERVAL_MS)).await;
        match client.get(&path, &[]).await {
            Ok(next) => (answer, failures) = (next, 0),
            Err(error) => show_message(&progress, &mut message, &retry_message(error, &mut failures, FAILURES_MAX)?),
        }
    }
}

/// Counts a failed poll. Returns the message about it, or the error if no other poll follows.
pub(super) fn retry_message(error: Error, failures: &mut u32, failures_max: u32) -> Result<String, Error> {
    *failures += 1;
    if !error.is_retryable() || *failures > failures_max {
        return Err(error);
    }
    Ok(format!("{}; trying again", error.to_string().lines().next().unwrap_or_default()))
}

/// Shows a message if it has changed: beside the bar, or as a line if the bar is hidden.
fn show_message(progress: &Progress, last: &mut String, message: &str) {
    if last != message {
        message.clone_into(last);
        progress.set_message(message);
        if progress.is_hidden() && !message.is_empty() {
            output::note(&format!("replay: {message}"));
        }
    }
}
