//! Errors of starting, stopping and querying servers.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An error, worded for the person who runs the tests.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A program was not found in any of the searched places.
    MissingProgram {
        /// The program's name.
        name: String,
        /// How to install it.
        hint: &'static str,
    },
    /// The operating system refused something.
    Io {
        /// The attempted operation.
        what: String,
        /// The system's error.
        source: io::Error,
    },
    /// A program ended with a failure, or ended when it should have kept running.
    Failed {
        /// The failed operation.
        what: String,
        /// The end of what the program wrote.
        output: String,
    },
    /// A server did not reach the wanted state in time.
    TimedOut {
        /// The awaited condition.
        what: String,
        /// The time limit.
        waited: Duration,
        /// The end of what the program wrote.
        output: String,
    },
}

impl Error {
    /// Converts an [`io::Error`], with a description of the operation.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::MissingProgram { name, hint } => write!(f, "{name} was not found: {hint}"),
            Error::Io { what, source } => write!(f, "{what}: {source}"),
            Error::Failed { what, output } => write!(f, "{what}{}", Tail(output)),
            Error::TimedOut { what, waited, output } => {
                write!(f, "{what}: not after {} seconds{}", waited.as_secs(), Tail(output))
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Shows a program's output under the message, when there is any.
struct Tail<'a>(&'a str);

impl fmt::Display for Tail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.trim().is_empty() { Ok(()) } else { write!(f, "; it wrote:\n{}", self.0.trim_end()) }
    }
}

/// The last lines of a log file; empty if it cannot be read, since it only adds detail.
pub(crate) fn tail(log: &Path) -> String {
    const LINES: usize = 20;
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// Creates a directory and its parents, with `mode` for the last one.
pub(crate) fn make_dir(dir: &Path, mode: u32) -> Result<PathBuf, Error> {
    use std::os::unix::fs::PermissionsExt;

    let what = || format!("cannot create the directory {}", dir.display());
    std::fs::create_dir_all(dir).map_err(Error::io(what()))?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode)).map_err(Error::io(what()))?;
    // Servers change their working directory, so their paths must be absolute.
    dir.canonicalize().map_err(Error::io(what()))
}
