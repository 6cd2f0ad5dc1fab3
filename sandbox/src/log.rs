//! A log of recent calls.

use serde::Serialize;
use std::collections::VecDeque;

/// Maximum number of calls in the log.
const CALLS_MAX: usize = 100_000;

/// A call in the log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoggedCall {
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The status of the answer, even if the answer was lost.
    pub status: u16,
    /// Whether it was a replayed answer.
    pub is_replay: bool,
}

/// The calls, oldest first.
#[derive(Debug, Default)]
pub(crate) struct CallLog(VecDeque<LoggedCall>);

impl CallLog {
    pub(crate) fn push(&mut self, call: LoggedCall) {
        if self.0.len() >= CALLS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(call);
    }

    /// The calls of a method (any if `None`) to paths that start with `prefix`.
    pub(crate) fn of<'a>(&'a self, method: Option<&'a str>, prefix: &'a str) -> impl Iterator<Item = &'a LoggedCall> {
        self.0.iter().filter(move |call| {
            method.is_none_or(|method| method.eq_ignore_ascii_case(&call.method)) && call.path.starts_with(prefix)
        })
    }
}
