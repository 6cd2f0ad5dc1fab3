//! Answers a request whose handler panicked.

use crate::problem::ApiError;
use futures_util::FutureExt;
use std::any::Any;
use std::panic::AssertUnwindSafe;

/// The answer, or 500 `internal` if a mistake in the code ends it: the connection and the process go on. Nothing of what
/// the handler held is used afterwards: it is dropped.
pub async fn caught<T>(answer: impl Future<Output = T>) -> Result<T, ApiError> {
    AssertUnwindSafe(answer).catch_unwind().await.map_err(|panic| {
        tracing::error!(panic = message(&*panic), "a request failed: its handler panicked");
        ApiError::internal()
    })
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem;
    use poem::http::StatusCode;

    #[tokio::test]
    async fn a_handler_that_panics_is_answered_with_500_and_others_as_they_answer() {
        assert_eq!(caught(async { 1 }).await.ok(), Some(1));
        let error = caught(async { panic!("a mistake") }).await.map(|(): ()| ()).expect_err("it panicked");
        assert_eq!(problem::respond(error).status(), StatusCode::INTERNAL_SERVER_ERROR);
        let panic: Box<dyn Any + Send> = Box::new("a mistake".to_owned());
        assert_eq!([message(&"why"), message(&*panic), message(&1)], ["why", "a mistake", "(no message)"]);
    }
}
