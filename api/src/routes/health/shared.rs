//! Shares the results of checks, so that a flood of requests for health costs no more than a few, and keeps nobody's
//! from being answered.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// A result of this age is no longer given to others.
const AGE_MAX: Duration = Duration::from_secs(5);

/// Checks of one kind.
pub struct SharedChecks<T> {
    permits: Semaphore,
    latest: Mutex<Option<(Instant, T)>>,
}

impl<T: Clone> SharedChecks<T> {
    /// Allows `checks_max` checks at once.
    pub fn new(checks_max: usize) -> Self {
        Self { permits: Semaphore::new(checks_max), latest: Mutex::default() }
    }

    /// Runs a check. While too many run, returns the latest result, or waits if that is too old.
    pub async fn run(&self, check: impl Future<Output = T>) -> T {
        let permit = match self.permits.try_acquire() {
            Ok(permit) => Some(permit),
            Err(_) => match self.recent() {
                Some(result) => return result,
                None => self.permits.acquire().await.ok(),
            },
        };
        let result = check.await;
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), result.clone()));
        drop(permit);
        result
    }

    fn recent(&self) -> Option<T> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.as_ref().filter(|(at, _)| at.elapsed() < AGE_MAX).map(|(_, result)| result.clone())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::future::{pending, ready};
    use std::pin::pin;

    #[tokio::test]
    async fn while_a_check_runs_others_get_the_latest_result() {
        let checks = SharedChecks::new(1);
        assert_eq!(checks.run(ready(1)).await, 1);
        assert_eq!(checks.run(ready(2)).await, 2);
        let mut running = Box::pin(checks.run(pending::<i32>()));
        assert!(running.as_mut().now_or_never().is_none());
        assert_eq!(checks.run(ready(3)).await, 2);
        // A result that is too old is not given away.
        *checks.latest.lock().unwrap() = Some((Instant::now().checked_sub(AGE_MAX).unwrap(), 2));
        let mut waiting = pin!(checks.run(ready(4)));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(running);
        assert_eq!(waiting.await, 4);
    }
}
