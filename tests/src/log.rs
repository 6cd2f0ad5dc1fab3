//! The log of the application under test: JSON lines in memory, as the program writes them to its standard error.

use bursar::access_log;
use bursar::logging::{self, Format, Output, filter};
use serde_json::Value;
use std::sync::{Mutex, Once, PoisonError};

/// How much of the log is kept.
const LEN_MAX: usize = 16 << 20;

static TEXT: Mutex<String> = Mutex::new(String::new());

/// Starts the log of this process, once.
pub(crate) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let started = logging::start_with(filter::DEFAULT, Format::Json, false, Output(keep));
        started.expect("nothing else installs a log");
    });
}

fn keep(lines: &[u8]) {
    let mut text = TEXT.lock().unwrap_or_else(PoisonError::into_inner);
    if text.len() > LEN_MAX {
        text.clear();
    }
    text.push_str(&String::from_utf8_lossy(lines));
}

/// The log so far.
pub fn text() -> String {
    access_log::flush();
    TEXT.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The lines about a request so far.
pub fn of_request(id: &str) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str::<Value>(line).expect("a line is JSON");
    text().lines().map(parse).filter(|line| line["request_id"] == id).collect()
}
