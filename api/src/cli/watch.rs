//! Follows a replay until it ends.

use super::client::{Client, admin_path};
use super::error::Error;
use super::output;
use super::progress::Progress;
use serde_json::Value;
use std::time::Duration;

/// The exit code when Ctrl-C ended the watching: what shells use for it.
pub const INTERRUPTED: u8 = 130;
/// How often the server is asked.
const INTERVAL_MS: u64 = 1_000;
/// So many failures in a row are put up with: a server that restarts takes a while.
const FAILURES_MAX: u32 = 60;

/// How watching ended.
#[derive(Debug)]
pub enum Watched {
    /// The replay is done, cancelled or has failed; the server's last answer.
    Ended(Value),
    /// A person pressed Ctrl-C; the replay goes on.
    Interrupted,
}

/// Follows a replay until it ends, from this answer of the server on. Ctrl-C ends the watching, not
/// the replay.
///
/// # Errors
/// See [`Error`]; or the replay was never started.
pub async fn watch(client: &Client, id: &str, answer: Value) -> anyhow::Result<Watched> {
    tokio::select! {
        ended = follow(client, id, answer) => return Ok(Watched::Ended(ended?)),
        () = ctrl_c() => {}
    }
    output::note("\nThe replay goes on without you.");
    for (what, action) in [("Watch it:", "watch"), ("End it:  ", "cancel")] {
        output::note(&format!("  {what} {}", output::hint(&format!("replays {action} {id}"))));
    }
    Ok(Watched::Interrupted)
}

/// Without a way to hear of Ctrl-C it keeps its usual meaning.
async fn ctrl_c() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn follow(client: &Client, id: &str, mut answer: Value) -> anyhow::Result<Value> {
    let path = admin_path(&["replays", id])?;
    let steps = |answer: &Value, key: &str| answer["replay"][key].as_u64().unwrap_or(0);
    let progress = Progress::bar("Replaying", steps(&answer, "total"));
    let (mut failures, mut said) = (0, String::new());
    loop {
        progress.set(steps(&answer, "done"), steps(&answer, "total"));
        match answer["replay"]["state"].as_str().unwrap_or_default() {
            "done" | "cancelled" | "failed" => return Ok(answer),
            "preview" => {
                anyhow::bail!("the replay was not started: {}", output::hint(&format!("replays start {id}")))
            }
            _ if failures > 0 => {}
            "running" => say(&progress, &mut said, ""),
            other => say(&progress, &mut said, other),
        }
        tokio::time::sleep(Duration::from_millis(INTERVAL_MS)).await;
        match client.get(&path, &[]).await {
            Ok(next) => (answer, failures) = (next, 0),
            Err(error) => give_up_or_wait(error, &mut failures, &progress, &mut said)?,
        }
    }
}

fn give_up_or_wait(error: Error, failures: &mut u32, progress: &Progress, said: &mut String) -> Result<(), Error> {
    *failures += 1;
    if !error.is_retryable() || *failures > FAILURES_MAX {
        return Err(error);
    }
    let reason = error.to_string();
    say(progress, said, &format!("{}; trying again", reason.lines().next().unwrap_or_default()));
    Ok(())
}

/// Shows what has changed: beside the bar, or in a line of its own if there is no bar to be seen.
fn say(progress: &Progress, said: &mut String, what: &str) {
    if said != what {
        what.clone_into(said);
        progress.say(what);
        if progress.is_hidden() && !what.is_empty() {
            output::note(&format!("replay: {what}"));
        }
    }
}
