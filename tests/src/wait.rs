//! Waits for conditions, never for a fixed time.

use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// Far longer than any condition takes.
const LIMIT: Duration = Duration::from_secs(60);
/// How often the condition is checked.
const POLL: Duration = Duration::from_millis(20);

/// Waits until the condition returns a value.
///
/// # Panics
/// If it does not within a minute.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(started.elapsed() < LIMIT, "waited too long until {what}");
        tokio::time::sleep(POLL).await;
    }
}
