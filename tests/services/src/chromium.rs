//! A private browser: Chromium without a window, driven over two pipes.
//!
//! It speaks the Chrome DevTools Protocol: JSON, each message ended by a NUL. Its `--remote-debugging-pipe` reads file
//! descriptor 3 and writes 4, which a shell opens from two named pipes.

use crate::Error;
use crate::error::make_dir;
use crate::find;
use crate::process::Process;
use std::fs::File;
use std::path::Path;

/// A browser that ends when this is dropped.
#[derive(Debug)]
pub struct Chromium {
    requests: File,
    answers: File,
    _browser: Process,
}

impl Chromium {
    /// Starts a browser with its profile in `dir`. Whether it works shows in its first answer.
    ///
    /// # Errors
    /// When the program is missing, or the pipes cannot be made.
    pub fn start(dir: &Path) -> Result<Self, Error> {
        let program = find::chromium()?;
        let dir = make_dir(dir, 0o700)?;
        let pipes = ["requests", "answers"].map(|name| dir.join(name));
        for pipe in &pipes {
            let what = || format!("cannot make the pipe {}", pipe.display());
            let status = find::hermetic(Path::new("mkfifo")).arg(pipe).status().map_err(Error::io(what()))?;
            if !status.success() {
                return Err(Error::Failed { what: what(), output: status.to_string() });
            }
        }
        // Opened for both directions, a named pipe does not wait for its other end.
        let open = |pipe: &Path| {
            let file = File::options().read(true).write(true).open(pipe);
            file.map_err(Error::io(format!("cannot open the pipe {}", pipe.display())))
        };
        let (requests, answers) = (open(&pipes[0])?, open(&pipes[1])?);
        let mut command = find::gated(Path::new("sh"));
        command
            .args(["-c", r#"in=$1 out=$2; shift 2; exec "$@" 3<"$in" 4>"$out""#, "pipes"])
            .args(&pipes)
            .arg(program)
            // Root, which tests in a container are, has no sandbox of Chromium's.
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .arg(format!("--user-data-dir={}", dir.join("profile").display()))
            .args(["--remote-debugging-pipe", "about:blank"])
            .env("HOME", &dir)
            .current_dir(&dir);
        let browser = Process::start("chromium", command, &dir.join("chromium.log"), "KILL")?;
        Ok(Self { requests, answers, _browser: browser })
    }

    /// The pipe that takes requests.
    #[must_use]
    pub fn requests(&self) -> &File {
        &self.requests
    }

    /// The pipe that gives answers and events. A read waits for them, also if the browser has ended.
    ///
    /// # Errors
    /// When the descriptor cannot be copied.
    pub fn answers(&self) -> Result<File, Error> {
        self.answers.try_clone().map_err(Error::io("cannot copy the browser's pipe"))
    }
}
