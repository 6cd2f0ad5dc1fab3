//! A helper process that outlives its owner just long enough to clean up after it.

use crate::{Error, find};
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};

/// Does one deed when the process that holds it dies without saying so.
///
/// The guard is a shell that reads from a pipe whose other end only the owner has. A word
/// on the pipe means "all is well" and ends it; the end of the pipe means that the owner
/// is gone, however that came about, `SIGKILL` included. It has a process group of its
/// own, so that a signal meant for the owner's group does not reach it.
#[derive(Debug)]
pub(crate) struct Guard {
    shell: Child,
}

/// Sends a signal; that the target is gone already is nothing to report.
const SIGNAL: &str = r#"read -r _ || kill -s "$1" -- "$2""#;

/// Removes a directory. Servers that are just ending may write once more, hence the loop.
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

    /// Removes `dir` and all that is in it when the owner dies.
    pub(crate) fn directory(dir: &Path) -> Result<Guard, Error> {
        Guard::start(REMOVE, &[dir.as_os_str()])
    }

    fn start(script: &str, arguments: &[&OsStr]) -> Result<Guard, Error> {
        let shell = find::hermetic(Path::new("sh"))
            .args(["-c", script, "guard"])
            .args(arguments)
            // The owner's own may be a directory that is removed, or unreadable for us.
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
            // A guard that is gone has nothing left to be told.
            let _ = pipe.write_all(b"well\n");
        }
        let _ = self.shell.wait();
    }
}
