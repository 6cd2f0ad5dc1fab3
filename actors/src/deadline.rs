//! Time limits for the database. An unreachable host returns not even an error, so every call needs a limit.

use bursar_engine::{Error, Result};
use std::future::Future;
use std::time::Duration;

/// How long a single query may take.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long a batch or a commit may take. After that its outcome is unknown.
pub(crate) const COMMIT_MAX: Duration = Duration::from_secs(30);

/// Waits for `work` for at most `limit`.
///
/// # Errors
/// The work's error; `Timeout` at the limit.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(Error::Timeout("the database")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_database_that_never_answers_times_out() {
        let never = within(Duration::from_millis(1), std::future::pending::<Result<()>>()).await;
        assert!(matches!(never, Err(Error::Timeout("the database"))));
        assert!(matches!(within(ANSWER_MAX, std::future::ready(Ok(7))).await, Ok(7)));
    }
}
