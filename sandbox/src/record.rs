//! A recording of all calls and answers, to check against Stripe's specification.

use crate::error::Error;
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// An open recording.
#[derive(Debug)]
pub(crate) struct Recorder(Mutex<File>);

impl Recorder {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|source| Error::File { path: path.display().to_string(), source })?;
        Ok(Self(Mutex::new(file)))
    }

    /// Appends one line. A failure is logged only.
    pub(crate) fn write(&self, line: &Value) {
        let text = format!("{line}\n");
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(text.as_bytes()) {
            tracing::warn!(error = %error, "a call could not be recorded");
        }
    }
}
