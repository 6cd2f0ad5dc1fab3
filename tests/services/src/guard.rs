//! A helper process that cleans up after its owner has died.

use crate::{Error, find};
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};

/// Runs one cleanup action when its owner dies without dropping it.
///
/// The guard is a shell that reads from a pipe whose other end only the owner has. A line on the pipe dismisses it;
/// the end of the pipe means that the owner has died, even by `SIGKILL`. It has its own process group, so that
/// signals for the owner's group do not reach it.
#[derive(Debug)]
pub(crate) struct Guard {
    shell: Child,
}

/// Sends a signal; a target that has already ended is not an error.
const SIGNAL: &str = r#"read -r _ || kill -s "$1" -- "$2""#;

/// Removes a directory, in a loop, because ending servers may still write to it.
const REMOVE: &str = r#"read -r _ && exit 0
tries=0
while [ -e "$1" ] && [ "$tries" -lt 40 ]; do
    sleep 0.5
    rm -rf -- "$1"
    tries=$((tries + 1))
done"#;

impl Guard {
    /// Sends `signal` (such as `"KILL"`) to the group `pgid` when the owner dies.
    pub(crate) fn group(signal: &str, pgid: u32) -> Result<Guard, Error> {
        Guard::start(SIGNAL, &[signal.as_ref(), format!("-{pgid}").as_ref()])
    }

    /// Removes `dir` and its contents when the owner dies.
    pub(crate) fn directory(dir: &Path) -> Result<Guard, Error> {
        Guard::start(REMOVE, &[dir.as_os_str()])
    }

    fn start(script: &str, arguments: &[&OsStr]) -> Result<Guard, Error> {
        let shell = find::hermetic(Path::new("sh"))
            .args(["-c", script, "guard"])
            .args(arguments)
            // The owner's working directory may be removed, or unreadable for us.
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(Error::io("cannot start a guard process"))?;
        Ok(Guard { shell })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(mut pipe) = self.shell.stdin.take() {
            // A guard that has ended cannot be told.
            let _ = pipe.write_all(b"well\n");
        }
        let _ = self.shell.wait();
    }
}
