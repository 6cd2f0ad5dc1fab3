//! Logging of errors, and the list of codes.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::framework::{why_body_is_refused, without_types};
use super::*;
use sea_orm::{DbErr, RuntimeErr};
use std::io::Write;
use std::sync::{Arc, Mutex};
use tracing_subscriber::fmt::MakeWriter;

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn outage() -> Error {
    Error::DatabaseUnavailable(DbErr::Conn(RuntimeErr::Internal("connection refused".to_owned())))
}

#[test]
fn a_request_that_cannot_reach_the_database_is_logged_once_with_the_cause() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    tracing::subscriber::with_default(subscriber, || {
        for _ in 0..3 {
            let ApiError::Unavailable(problem, retry_after) = ApiError::from(outage()) else {
                panic!("another status")
            };
            assert_eq!((problem.code.as_str(), retry_after), ("unavailable", Some(RETRY_AFTER_S)));
            assert!(!problem.detail.contains("refused"), "the cause is for the log");
        }
        let _ = ApiError::from(Error::NotFound("customer"));
    });
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("WARN") && text.contains("connection refused"), "{text}");
}

#[test]
fn codes_are_unique_and_sorted_by_status() {
    let order: Vec<_> = code::CODES.iter().map(|code| (code.status, code.name)).collect();
    assert!(order.is_sorted());
    let names: std::collections::HashSet<_> = code::CODES.iter().map(|code| code.name).collect();
    assert_eq!(names.len(), code::CODES.len());
}

#[test]
fn no_type_of_this_program_is_named_in_what_is_wrong_with_a_request() {
    let none = |_: &str| None;
    let unknown = "parse request payload error: failed to parse \"UsageRequest\": unknown field `unit`.";
    assert_eq!(why_body_is_refused(unknown, none), "The body cannot be used: unknown field `unit`.");
    let nested = "parse request payload error: failed to parse \"When\": unknown enum value: \"x\" (occurred while \
                  parsing \"ChangeRequest\")";
    assert_eq!(why_body_is_refused(nested, none), "The body cannot be used: unknown enum value: \"x\"");
    let parameter = "failed to parse parameter `limit`: failed to parse \"integer(uint64)\": invalid digit";
    assert_eq!(without_types(parameter), "failed to parse parameter `limit`: invalid digit");
}
