//! A private Postgres cluster.

use crate::error::make_dir;
use crate::find::{self, Account};
use crate::process::Process;
use crate::{Error, pgwire};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a start may take, crash recovery included.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long an orderly stop may take before the server is killed.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// Attempts to start on a free port, which another process may take first.
const START_TRIES: u32 = 3;
/// The longest path of a Unix socket, less the name Postgres gives it.
const SOCKET_DIR_MAX: usize = 85;

/// Settings of every cluster. Durability is on as in production, because tests look for losses in crashes.
const SETTINGS: [&str; 9] = [
    "listen_addresses=127.0.0.1",
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "max_connections=300",
    "shared_buffers=256MB",
    "max_wal_size=2GB",
    "timezone=UTC",
    "log_timezone=UTC",
];

/// A Postgres cluster whose server is stopped when this is dropped.
///
/// It listens on 127.0.0.1 and on a Unix socket in its directory, trusts every local client, and its port stays the
/// same.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    /// The account of the server, if it is not the caller's.
    account: Option<Account>,
    dir: PathBuf,
    port: u16,
    server: Option<Process>,
}

impl Postgres {
    /// Creates a cluster in `dir` and starts it. An existing cluster is reused. As root, the server runs as the user
    /// `postgres`, who becomes the owner of `dir` and must be able to reach it.
    ///
    /// # Errors
    /// When the programs are missing or the server does not accept queries in time.
    pub fn start(dir: &Path) -> Result<Postgres, Error> {
        let programs = find::postgres_programs()?;
        let account = find::unprivileged("postgres")?;
        let dir = make_dir(dir, 0o700)?;
        if let Some(Account { uid, gid }) = account {
            chown(&dir, Some(uid), Some(gid))
                .map_err(Error::io(format!("cannot change the owner of {}", dir.display())))?;
        }
        let mut postgres = Postgres { programs, account, dir, port: 0, server: None };
        if !postgres.data().join("PG_VERSION").exists() {
            postgres.init()?;
        }
        for attempt in 1.. {
            postgres.port = find::free_port()?;
            match postgres.start_again() {
                Err(Error::Failed { .. }) if attempt < START_TRIES => {}
                result => return result.map(|()| postgres),
            }
        }
        unreachable!("the last attempt returns");
    }

    /// The URL of a database of this cluster, which need not exist yet.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The TCP port, which stays the same.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The id of the server's main process, or `None` if it is stopped.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Process::pid)
    }

    /// The server's log file.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join("postgres.log")
    }

    /// Creates an empty database and returns its URL. The name must have only letters, digits and underscores, since
    /// it is not escaped.
    ///
    /// # Errors
    /// When the server is stopped or the database exists.
    pub fn create_database(&self, name: &str) -> Result<String, Error> {
        let mut createdb = find::hermetic(&self.programs.join("createdb"));
        createdb
            .args(["--host=127.0.0.1", "--username=postgres", "--no-password"])
            .args(["--maintenance-db=postgres", "--template=template0"])
            .arg(format!("--port={}", self.port))
            .args(["--", name]);
        finish(createdb, &format!("cannot create the database {name}"))?;
        Ok(self.url(name))
    }

    /// Stops the server in order: clients are disconnected, and committed data is flushed. No error if it is already
    /// stopped.
    ///
    /// # Errors
    /// When the process cannot be signalled or waited for.
    pub fn stop(&mut self) -> Result<(), Error> {
        self.end("INT", STOP_LIMIT)
    }

    /// Stops the server at once, as in a crash; the next start recovers from the log.
    ///
    /// # Errors
    /// When the process cannot be signalled or waited for.
    pub fn kill(&mut self) -> Result<(), Error> {
        // Immediate mode rather than SIGKILL: the server also ends its children, so the next one finds no shared
        // memory in use. The data is in the same state.
        self.end("QUIT", STOP_LIMIT)
    }

    /// Starts the stopped server on the same port with the same data. No error if it already runs.
    ///
    /// # Errors
    /// When the server does not accept queries in time.
    pub fn start_again(&mut self) -> Result<(), Error> {
        if let Some(server) = &mut self.server
            && server.ended()?.is_none()
        {
            return Ok(());
        }
        let mut command = self.prepare(find::gated(&self.programs.join("postgres")));
        command.arg("-D").arg(self.data()).arg("-p").arg(self.port.to_string());
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command.args(["-c", &format!("unix_socket_directories={}", self.sockets())]);
        let mut server = Process::start("postgres", command, &self.log(), "QUIT")?;
        let port = self.port;
        server.wait_ready(START_LIMIT, || pgwire::takes_queries(port))?;
        self.server = Some(server);
        Ok(())
    }

    /// Crashes the server and starts it again on the same port with the same data.
    ///
    /// # Errors
    /// Those of [`kill`](Self::kill) and [`start_again`](Self::start_again).
    pub fn restart(&mut self) -> Result<(), Error> {
        self.kill()?;
        self.start_again()
    }

    fn end(&mut self, signal: &str, limit: Duration) -> Result<(), Error> {
        match self.server.take() {
            Some(server) => server.end(signal, limit),
            None => Ok(()),
        }
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The directory of the Unix socket; empty if its path would be too long.
    fn sockets(&self) -> String {
        match self.dir.to_str() {
            Some(dir) if dir.len() <= SOCKET_DIR_MAX && !dir.contains(',') => dir.to_owned(),
            _ => String::new(),
        }
    }

    fn init(&self) -> Result<(), Error> {
        let mut initdb = self.prepare(find::hermetic(&self.programs.join("initdb")));
        initdb
            .arg("--pgdata")
            .arg(self.data())
            // The same on every machine: no local sorting rules, and no account name of the caller. The new cluster
            // need not survive a power cut, so it is not synced to disk.
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8"])
            .args(["--locale=C", "--no-sync", "--no-instructions"]);
        finish(initdb, &self.cannot_init())
    }

    fn cannot_init(&self) -> String {
        let dir = self.dir.display();
        let who = match self.account {
            Some(_) => " (it runs as the user postgres, who must be able to get there)",
            None => "",
        };
        format!("cannot create a Postgres cluster in {dir}{who}")
    }

    /// Sets a command's account, and a working directory that the account can reach.
    fn prepare(&self, mut command: Command) -> Command {
        command.current_dir(&self.dir);
        if let Some(Account { uid, gid }) = self.account {
            // This also drops root's supplementary groups.
            command.uid(uid).gid(gid);
        }
        command
    }
}

/// Runs a helper program to its end.
fn finish(mut command: Command, what: &str) -> Result<(), Error> {
    let output = command.output().map_err(Error::io(what))?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(Error::Failed { what: what.to_owned(), output: String::from_utf8_lossy(&text).into_owned() })
}
