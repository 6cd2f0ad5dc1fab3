//! A recording of all calls and answers, to check against Stripe's specification.

use crate::error::Error;
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Permissions of the file: a recording shows everything that was asked and answered.
const FILE_MODE: u32 = 0o600;
/// What stands for a signing secret in it.
const MASKED: &str = "whsec_masked";

/// An open recording.
#[derive(Debug)]
pub(crate) struct Recorder(Mutex<File>);

impl Recorder {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new().create(true).append(true).mode(FILE_MODE).open(path);
        let file = file.map_err(|source| Error::File { path: path.display().to_string(), source })?;
        Ok(Self(Mutex::new(file)))
    }

    /// Appends one line, without the secret of a webhook endpoint. A failure is logged only.
    pub(crate) fn write(&self, mut line: Value) {
        if let Some(secret) = line.pointer_mut("/response/secret") {
            *secret = MASKED.into();
        }
        let text = format!("{line}\n");
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(text.as_bytes()) {
            tracing::warn!(error = %error, "a call could not be recorded");
        }
    }
}
